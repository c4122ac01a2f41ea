"""How far could Python go? Generators, SQLite and a commit for many at once; no replay, leases, retries, types.

Nothing is told before the commit that holds it. It is a ceiling, and no engine: after a kill it knows nothing.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, ClassVar

import msgspec

import engines
from engines import CITIES, Outbox, allocated_bytes

Code = Generator[tuple[str, Any, Any], Any, Any]
encode = msgspec.json.encode
outbox: Outbox


def verify(key: str, phone: str) -> Code:
    code = yield "activity", send_challenge, {"key": key, "phone": phone}
    for _ in range(4):
        if (yield "event", "SmsChallengeResponse", 90.0) == code:
            return True
    return False


def send_challenge(call: dict[str, str]) -> int:
    code = random.randrange(1_000, 10_000)
    outbox.deliver(call["key"], code)
    return code


def hello(key: str, _: object) -> Code:
    greetings = []
    for city in CITIES:
        greetings.append((yield "activity", say_hello, city))
    return greetings


def say_hello(name: str) -> str:
    return f"Hello {name}!"


class Instance:
    __slots__ = ("code", "done", "key", "next_seq", "timer")

    def __init__(self, key: str, code: Code, done: asyncio.Future[Any]) -> None:
        self.key, self.code, self.done, self.next_seq, self.timer = key, code, done, 1, 0


class Engine(engines.Engine):
    versions: ClassVar = {"sqlite": sqlite3.sqlite_version}
    durability = "SQLite, WAL, synchronous=FULL: synced at each commit"

    def __init__(self, setting: str, its_outbox: Outbox) -> None:
        global outbox
        outbox = its_outbox
        self._live: dict[str, Instance] = {}
        self._armed = False
        self._clear()

    async def open(self, directory: Path, *, fresh: bool) -> None:
        self._file = directory / "toy.db"
        self._loop = asyncio.get_running_loop()
        self._database = sqlite3.connect(self._file, isolation_level=None)
        for statement in (
            "pragma journal_mode=wal",
            "pragma synchronous=full",
            "pragma wal_autocheckpoint=4000",
            "create table instances (id text primary key, name text, status int, input blob, output blob, at real)"
            " without rowid",
            "create table history (id text, seq int, kind int, body blob, primary key (id, seq)) without rowid",
            "create table timers (id text, seq int, due real, primary key (id, seq)) without rowid",
        ):
            self._database.execute(statement)

    def _clear(self) -> None:
        self._new: list[tuple[Any, ...]] = []
        self._ended: list[tuple[Any, ...]] = []
        self._facts: list[tuple[Any, ...]] = []
        self._timers: list[tuple[Any, ...]] = []
        self._cancelled: list[tuple[Any, ...]] = []
        self._then: list[Callable[[], None]] = []

    def _after_commit(self, then: Callable[[], None]) -> None:
        self._then.append(then)
        if not self._armed:
            self._armed = True
            self._loop.call_soon(self._commit)

    def _commit(self) -> None:
        self._armed = False
        write, then = self._database.executemany, self._then
        self._database.execute("begin immediate")
        write("insert into instances values (?, ?, 0, ?, null, ?)", self._new)
        write("insert into history values (?, ?, ?, ?)", self._facts)
        write("insert into timers values (?, ?, ?)", self._timers)
        write("delete from timers where id = ? and seq = ?", self._cancelled)
        write("update instances set status = 1, output = ? where id = ?", self._ended)
        self._database.execute("commit")
        self._clear()
        for effect in then:
            effect()

    def _start(self, key: str, code: Callable[[str, Any], Code], argument: object) -> asyncio.Future[Any]:
        body = encode(argument)
        instance = self._live[key] = Instance(key, code(key, argument), self._loop.create_future())
        self._new.append((key, code.__name__, body, time.time()))
        self._facts.append((key, 0, 0, body))
        self._step(instance, None)
        return instance.done

    def _fact(self, instance: Instance, kind: int, body: bytes) -> None:
        self._facts.append((instance.key, instance.next_seq, kind, body))
        instance.next_seq += 1

    def _step(self, instance: Instance, value: object) -> None:
        try:
            what, first, second = instance.code.send(value)
        except StopIteration as end:
            output = end.value
            body = encode(output)
            self._fact(instance, 9, body)
            self._ended.append((body, instance.key))
            del self._live[instance.key]
            self._after_commit(lambda: instance.done.set_result(output))
            return
        if what == "activity":
            self._fact(instance, 1, encode(second))
            self._after_commit(lambda: self._ran(instance, first(second)))
        else:
            due = time.time() + second
            self._fact(instance, 3, encode(due))
            instance.timer = instance.next_seq
            self._timers.append((instance.key, instance.timer, due))
            self._after_commit(lambda: None)

    def _ran(self, instance: Instance, result: object) -> None:
        self._fact(instance, 2, encode(result))
        self._step(instance, result)

    async def start_verify(self, key: str, phone: str) -> asyncio.Future[Any]:
        return self._start(key, verify, phone)

    async def answer(self, key: str, code: int) -> None:
        instance = self._live[key]
        while not instance.timer:  # noqa: ASYNC110 - its result is on the way to the disk
            await asyncio.sleep(0)
        self._fact(instance, 4, encode(code))
        self._cancelled.append((key, instance.timer))
        self._step(instance, code)

    async def result(self, handle: asyncio.Future[Any]) -> bool:
        return await handle is True

    async def hello(self, key: str) -> list[str]:
        return await self._start(key, hello, None)

    def disk_bytes(self) -> int:
        return allocated_bytes(self._file, self._file.with_name("toy.db-wal"))
