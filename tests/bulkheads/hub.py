"""A running app with a database whose rows can be spoilt, and a second caller who must not notice."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TypeVar

import asyncpg

from bide import App, OrchestrationContext, RuntimeStatus
from bide.config import Settings
from bide.engine.client import Client
from bide.model.instance import Instance
from bide.testing.clock import ManualClock

PATIENCE_S = 10.0
BLAMES_THE_STORE = ("starting over", "did not confirm", "does not answer", "database failed")
"""What the log says when the database is away, and of nothing else."""
A_SECOND = 1.0
"""What a caller waits at most, whatever others do."""


class Hub:
    """An app that runs over one database, and can be started again."""

    def __init__(self, app: App, db: str, max_payload: int = 8 * 1_048_576) -> None:
        self.app = app
        self.db = db
        self.on_server = db.startswith("postgresql:")
        self.clock = ManualClock()
        self.settings = Settings(db=db, max_payload_bytes=max_payload, drain_s=0, max_wait_s=0.02)
        self.watch: Callable[[], float] = time.monotonic
        """What tells the second caller how long it has waited, in seconds."""
        self._client: Client | None = None
        self._stack = AsyncExitStack()
        self._up = asyncio.Event()
        app.orchestrator(_neighbour)

    @property
    def client(self) -> Client:
        assert self._client is not None, "it does not run"
        return self._client

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        await self.up()
        try:
            async with self.neighbour():
                yield
            assert await self.ready()
        finally:
            await self.down()

    async def up(self) -> None:
        self._client = await self._stack.enter_async_context(self.entered())
        await eventually(self.ready)
        self._up.set()

    def entered(self) -> AbstractAsyncContextManager[Client]:
        """Runs the app."""
        return self.app.running(self.settings, clock=self.clock)

    async def down(self) -> None:
        self._up.clear()
        self._client = None
        await self._stack.aclose()

    async def restart(self) -> None:
        await self.down()
        await self.up()

    async def ready(self) -> bool:
        return self.client.ready

    def advance(self, **span: float) -> None:
        self.clock.advance(timedelta(**span))
        self.client.clock_changed()

    # --- looking

    async def held(self, instance_id: str) -> str:
        """Why it is held, once it is."""

        async def look() -> str | None:
            return (await self.client.get(instance_id)).held

        return await eventually(look)

    async def ended(self, instance_id: str) -> Instance:
        async def look() -> Instance | None:
            instance = await self.client.get(instance_id)
            return instance if instance.status.finished else None

        return await eventually(look)

    async def waiting(self, instance_id: str) -> None:
        """Return when it waits for an event."""

        async def look() -> bool:
            return bool(await self.client.waits(instance_id))

        await eventually(look)

    async def listed(self) -> list[Instance]:
        return await self.client.instances()

    # --- the database

    async def sql(self, statement: str) -> None:
        """Change rows behind the back of whoever runs. `blob('...')` stands for bytes."""
        if self.on_server:
            connection = await asyncpg.connect(self.db)
            try:
                await connection.execute("SET search_path TO bide; " + statement.replace("blob(", "convert_to("))
            finally:
                await connection.close()
        else:
            with sqlite3.connect(self.db) as connection:
                connection.create_function("blob", 2, lambda text, _: text.encode())
                connection.executescript(statement)
            connection.close()

    async def column(self, table: str, column: str) -> list[str]:
        """What is in that column."""
        statement = f"SELECT {column} FROM {table}"
        if self.on_server:
            connection = await asyncpg.connect(self.db)
            try:
                return [row[0] for row in await connection.fetch(statement.replace("FROM ", "FROM bide."))]
            finally:
                await connection.close()
        with sqlite3.connect(self.db) as found:
            return [row[0] for row in found.execute(statement)]

    async def refuse(self, table: str, column: str, longest: int) -> None:
        """Let the database take no longer values there, as if that were its own limit."""
        name = f"short_{table}_{column}"
        if self.on_server:
            await self.sql(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK (length({column}) <= {longest})")
            return
        for event in ("INSERT", "UPDATE"):
            await self.sql(
                f"CREATE TRIGGER {name}_{event} BEFORE {event} ON {table} WHEN length(NEW.{column}) > {longest} "
                "BEGIN SELECT RAISE(ABORT, 'too long for this column'); END"
            )

    async def mend(self, table: str, column: str) -> None:
        """Take back what `refuse` did."""
        name = f"short_{table}_{column}"
        if self.on_server:
            await self.sql(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        else:
            await self.sql(f"DROP TRIGGER {name}_INSERT; DROP TRIGGER {name}_UPDATE")

    # --- the second caller

    @asynccontextmanager
    async def neighbour(self) -> AsyncGenerator[None, None]:
        """Somebody who starts, answers and ends instances all the time, and must not notice anything."""
        rounds, over = 0, asyncio.Event()

        async def go() -> None:
            nonlocal rounds
            while not over.is_set():
                await self._up.wait()
                await self.one_round()
                rounds += 1
                for _ in range(20):
                    await asyncio.sleep(0)

        task = asyncio.create_task(go())
        try:
            yield
        finally:
            over.set()
            await task
        assert rounds

    async def one_round(self) -> None:
        """What the second caller does, once."""
        client = self._client
        if client is None:
            return
        try:
            began = self.watch()
            mine, other = [await client.start("_neighbour") for _ in range(2)]
            await client.raise_event(mine, "Go", 7)
            await client.terminate(other, "enough")
            ends = [(await client.wait(each)) for each in (mine, other)]
            took = self.watch() - began
        except Exception:
            if self._client is not client:  # the server was stopped meanwhile
                return
            raise
        assert ends[0].output == 7
        assert ends[1].status is RuntimeStatus.TERMINATED
        assert took < A_SECOND, f"{took:.2f} s"


async def _neighbour(ctx: OrchestrationContext) -> int:
    return await ctx.wait_for_external_event("Go", int)


T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T | None]]) -> T:
    """What `look` finds, once it finds anything."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := await look()):
        assert time.monotonic() < deadline, "it does not come"
        await asyncio.sleep(0)
    return found
