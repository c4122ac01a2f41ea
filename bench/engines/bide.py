"""Ours, in the driver's process: on SQLite (the default), or `postgres`."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import sqlite3
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import engines
from bide import App, OrchestrationContext, RuntimeStatus, Settings, current_call, when_all, when_any
from engines import CITIES, Database, Outbox, allocated_bytes

app = App()
outbox: Outbox


@app.activity
async def send_sms_challenge(phone_number: str) -> str:
    call = current_call()
    code = f"{int.from_bytes(call.derive('code')[:8]) % 10_000:04d}"
    outbox.deliver(call.instance_id, code)
    return code


@app.orchestrator
async def verify(ctx: OrchestrationContext, phone_number: str) -> bool:
    code = await ctx.call_activity(send_sms_challenge, phone_number)
    deadline = ctx.create_timer(timedelta(seconds=90))
    for _ in range(4):
        answer = ctx.wait_for_external_event("SmsChallengeResponse", str)
        if await when_any(answer, deadline) is deadline:
            return False
        if answer.result == code:
            deadline.cancel()
            return True
    return False


@app.activity
async def say_hello(name: str) -> str:
    return f"Hello {name}!"


@app.orchestrator
async def hello(ctx: OrchestrationContext) -> list[str]:
    return [await ctx.call_activity(say_hello, city) for city in CITIES]


@app.activity
async def one(number: int) -> int:
    return number


@app.orchestrator
async def fan(ctx: OrchestrationContext, width: int) -> int:
    return sum(await when_all(*[ctx.call_activity(one, number) for number in range(width)]))


@app.orchestrator
async def history(ctx: OrchestrationContext, steps: int) -> int:
    for number in range(steps):
        await ctx.call_activity(one, number)
    return steps


@app.orchestrator
async def events(ctx: OrchestrationContext, count: int) -> int:
    total = 0
    for _ in range(count):
        total += await ctx.wait_for_external_event("Number", int)
    return total


@app.activity
async def tell_time() -> None:
    outbox.deliver(current_call().instance_id, time.time())


@app.orchestrator
async def timer(ctx: OrchestrationContext, due: float) -> None:
    await ctx.create_timer(datetime.fromtimestamp(due, UTC))
    await ctx.call_activity(tell_time)


@app.orchestrator
async def waiter(ctx: OrchestrationContext) -> int:
    go, hour = ctx.wait_for_external_event("go", int), ctx.create_timer(timedelta(hours=1))
    await when_any(go, hour)
    return go.result if go.is_completed else -1


class Engine(engines.Engine):
    versions: ClassVar = {"bide": importlib.metadata.version("bide")}

    def __init__(self, setting: str, its_outbox: Outbox) -> None:
        global outbox
        outbox = its_outbox
        self._database = Database() if setting == "postgres" else None
        if self._database is None:
            self.versions["sqlite"] = sqlite3.sqlite_version
            self.durability = "SQLite, WAL, synchronous=FULL (default): synced at each commit"
        else:
            self.versions["postgresql"] = self._database.version()
            self.durability = "PostgreSQL, fsync=on, synchronous_commit=on (default): synced at each commit"

    async def open(self, directory: Path, *, fresh: bool) -> None:
        self._file = directory / "bide.db"
        self._running = AsyncExitStack()
        db = str(self._file) if self._database is None else self._database.url
        self._client = await self._running.enter_async_context(app.running(Settings(db=db)))

    async def start_verify(self, key: str, phone: str) -> str:
        return await self._client.start(verify, phone, instance_id=key)

    async def answer(self, key: str, code: str) -> None:
        await self._client.raise_event(key, "SmsChallengeResponse", code)

    async def result(self, handle: str) -> bool:
        return (await self._client.wait(handle)).output is True

    async def hello(self, key: str) -> list[str]:
        found = await self._client.wait(await self._client.start(hello, instance_id=key))
        assert isinstance(found.output, list)
        return found.output

    async def fan(self, key: str, width: int) -> int:
        return await self.total(await self._client.start(fan, width, instance_id=key))

    async def history(self, key: str, steps: int) -> int:
        return await self.total(await self._client.start(history, steps, instance_id=key))

    async def start_events(self, key: str, count: int) -> str:
        return await self._client.start(events, count, instance_id=key)

    async def send_event(self, key: str, number: int) -> None:
        await self._client.raise_event(key, "Number", number)

    async def total(self, handle: str) -> int:
        found = await self._client.wait(handle)
        assert isinstance(found.output, int)
        return found.output

    async def start_timer(self, key: str, due: float) -> None:
        await self._client.start(timer, due, instance_id=key)

    async def start_waiting(self, key: str) -> None:
        await self._client.start(waiter, instance_id=key)

    async def all_waiting(self, count: int) -> None:
        while (await self._client.counts()).get(RuntimeStatus.RUNNING, 0) < count:  # noqa: ASYNC110 - asks the database
            await asyncio.sleep(0.2)

    async def answer_waiting(self, key: str) -> None:
        await self._client.raise_event(key, "go", 1)

    async def completed_waiting(self) -> int:
        return (await self._client.counts()).get(RuntimeStatus.COMPLETED, 0)

    def processes(self) -> list[int]:
        return [os.getpid(), *(self._database.processes() if self._database else [])]

    def disk_bytes(self) -> int:
        if self._database is not None:
            return self._database.bytes()
        return allocated_bytes(self._file, self._file.with_name("bide.db-wal"))
