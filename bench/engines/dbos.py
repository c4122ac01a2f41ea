"""DBOS, a library in the driver's process. Settings: `default`; `tuned` has a log, not a journal, and asks often;
`postgres` is its default there.

Its SQLite needs 3.42 or later (`unixepoch` with subseconds), so pysqlite3 takes the place of Python's own.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import random
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import pysqlite3

sys.modules["sqlite3"], sys.modules["sqlite3.dbapi2"] = pysqlite3, pysqlite3.dbapi2

import sqlalchemy
from dbos import DBOS, DBOSConfig, SetWorkflowID

import engines
from engines import CITIES, Database, Outbox, allocated_bytes

outbox: Outbox
DURABILITY = {
    "default": "SQLite, rollback journal, synchronous=FULL, asks every second (default): synced at each commit",
    "tuned": "SQLite, WAL, synchronous=FULL, asks for events every 5 ms (set by us): synced at each commit",
    "postgres": "PostgreSQL, fsync=on, synchronous_commit=on, LISTEN/NOTIFY (default): synced at each commit",
}


async def send_challenge(phone: str) -> dict[str, float]:
    code = random.randrange(1_000, 10_000)
    outbox.deliver(str(DBOS.workflow_id), code)
    return {"code": code, "at": time.time()}


async def now() -> float:
    return time.time()


@DBOS.workflow()
async def verify(phone: str) -> bool:
    sent = await DBOS.run_step_async({}, send_challenge, phone)
    left = 90.0
    for _ in range(4):
        code = await DBOS.recv_async("SmsChallengeResponse", timeout_seconds=left)
        if code is None:
            return False
        if code == sent["code"]:
            return True
        left = max(0.0, 90 - (await DBOS.run_step_async({}, now) - sent["at"]))
    return False


async def say_hello(name: str) -> str:
    return f"Hello {name}!"


@DBOS.workflow()
async def hello() -> list[str]:
    return [await DBOS.run_step_async({}, say_hello, city) for city in CITIES]


async def one(number: int) -> int:
    return number


@DBOS.workflow()
async def fan(width: int) -> int:
    return sum(await asyncio.gather(*(DBOS.run_step_async({}, one, number) for number in range(width))))


@DBOS.workflow()
async def history(steps: int) -> int:
    for number in range(steps):
        await DBOS.run_step_async({}, one, number)
    return steps


@DBOS.workflow()
async def events(count: int) -> int:
    total = 0
    for _ in range(count):
        total += await DBOS.recv_async("Number", timeout_seconds=600)
    return total


async def tell_time() -> None:
    outbox.deliver(str(DBOS.workflow_id), time.time())


@DBOS.workflow()
async def timer(due: float) -> None:
    await DBOS.sleep_async(max(0.0, due - time.time()))  # kept as the moment at which it ends
    await DBOS.run_step_async({}, tell_time)


@DBOS.workflow()
async def waiter() -> Any:
    return await DBOS.recv_async("go", timeout_seconds=3600)


class Engine(engines.Engine):
    versions: ClassVar = {"dbos": importlib.metadata.version("dbos"), "sqlite": pysqlite3.sqlite_version}

    def __init__(self, setting: str, its_outbox: Outbox) -> None:
        global outbox
        outbox = its_outbox
        self._tuned = setting == "tuned"
        self._database = Database() if setting == "postgres" else None
        self.durability = DURABILITY[setting]
        if self._database is not None:
            del self.versions["sqlite"]
            self.versions["postgresql"] = self._database.version()

    async def open(self, directory: Path, *, fresh: bool) -> None:
        self._file = directory / "dbos.db"
        config = DBOSConfig(
            name="bench",
            system_database_url=self._database.url if self._database else f"sqlite:///{self._file}",
            log_level="ERROR",
            application_version="1",
            executor_id="local",
        )
        if self._tuned:
            pysqlite3.connect(str(self._file)).execute("pragma journal_mode=wal")
            config["notification_listener_polling_interval_sec"] = 0.005
        self._dbos = DBOS(config=config)
        DBOS.launch()

    async def _start(self, key: str, workflow: Any, *arguments: Any) -> Any:
        with SetWorkflowID(key):
            return await DBOS.start_workflow_async(workflow, *arguments)

    async def start_verify(self, key: str, phone: str) -> Any:
        return await self._start(key, verify, phone)

    async def answer(self, key: str, code: int) -> None:
        await DBOS.send_async(key, code, topic="SmsChallengeResponse")

    async def result(self, handle: Any) -> bool:
        return await handle.get_result() is True

    async def hello(self, key: str) -> list[str]:
        return await (await self._start(key, hello)).get_result()

    async def fan(self, key: str, width: int) -> int:
        return await self.total(await self._start(key, fan, width))

    async def history(self, key: str, steps: int) -> int:
        return await self.total(await self._start(key, history, steps))

    async def start_events(self, key: str, count: int) -> Any:
        return await self._start(key, events, count)

    async def send_event(self, key: str, number: int) -> None:
        await DBOS.send_async(key, number, topic="Number")

    async def total(self, handle: Any) -> int:
        return await handle.get_result()

    async def start_timer(self, key: str, due: float) -> None:
        await self._start(key, timer, due)

    async def start_waiting(self, key: str) -> None:
        await self._start(key, waiter)

    async def all_waiting(self, count: int) -> None:
        while len(self._dbos._sys_db.notifications_map._dict) < count:  # noqa: ASYNC110 - nothing public tells
            await asyncio.sleep(0.05)

    async def answer_waiting(self, key: str) -> None:
        await DBOS.send_async(key, 1, topic="go")

    async def completed_waiting(self) -> int:
        return await asyncio.to_thread(self._count)

    def _count(self) -> int:
        with self._dbos._sys_db.engine.begin() as connection:
            schema = "dbos." if self._database else ""
            query = f"select count(*) from {schema}workflow_status where status = 'SUCCESS'"
            return int(connection.execute(sqlalchemy.text(query)).scalar())

    def processes(self) -> list[int]:
        return [os.getpid(), *(self._database.processes() if self._database else [])]

    def disk_bytes(self) -> int:
        if self._database is not None:
            return self._database.bytes()
        return allocated_bytes(self._file, self._file.with_name("dbos.db-wal"))
