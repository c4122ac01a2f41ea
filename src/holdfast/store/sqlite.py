"""A task hub in one SQLite file, owned by one process.

WAL with `synchronous=FULL`: a commit that returned survives power loss. One connection writes, and it alone
checkpoints; reads have a connection of their own. The process that opened the file holds a lock beside it
(`<file>.lock`) until it ends, however it ends.

Every verb is a plain function over a connection. With `writer_thread`, commits run in one thread of their own and
overlap with the next step; otherwise they run where they are called. See docs/performance.md for both.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from holdfast.batch import Batch, Message, ScheduledActivity, Snapshot, Timer
from holdfast.clock import Timestamp
from holdfast.errors import LeaseLostError, SchemaTooNewError, StoreError, StoreInUseError
from holdfast.history import Fact, Parent, Step
from holdfast.instance import PARTITIONS, Instance, RuntimeStatus, Wait, partition_of

T = TypeVar("T")

_decode_facts = msgspec.json.Decoder(tuple[Fact, ...]).decode
_decode_fact = msgspec.json.Decoder(Fact).decode
_decode_parent = msgspec.json.Decoder(Parent).decode
_encode = msgspec.json.Encoder().encode

_IDS_PER_QUERY = 500  # SQLite's limit on parameters is far above; the statement stays in the cache

_PUT_INSTANCE = """
    INSERT INTO instances (id, name, status, created_at, updated_at, input, output, custom_status, generation,
                           parent, held)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, status = excluded.status,
        updated_at = excluded.updated_at, input = excluded.input, output = excluded.output,
        custom_status = excluded.custom_status, generation = excluded.generation, held = excluded.held
"""
_INSTANCE = """
    SELECT id, name, status, created_at, updated_at, input, output, custom_status, generation, parent, held
    FROM instances WHERE id
"""
_PUT_HISTORY = "INSERT INTO history (instance_id, generation, seq, at, facts) VALUES (?, ?, ?, ?, ?)"
_FORGET = "DELETE FROM history WHERE instance_id = ? AND generation < ?"
_PUT_ACTIVITY = """
    INSERT INTO activities (instance_id, generation, task_id, name, input, attempt, idempotency_key, scheduled_at,
                            started)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_START_ACTIVITY = "UPDATE activities SET started = 1 WHERE instance_id = ? AND generation = ? AND task_id = ?"
_CLOSE_ACTIVITY = "DELETE FROM activities WHERE instance_id = ? AND generation = ? AND task_id = ?"
_PUT_TIMER = "INSERT INTO timers (instance_id, generation, task_id, fire_at) VALUES (?, ?, ?, ?)"
_CLOSE_TIMER = "DELETE FROM timers WHERE instance_id = ? AND generation = ? AND task_id = ? AND fire_at = ?"
_PUT_WAIT = """
    INSERT INTO waits (instance_id, id, name, since, deadline, schema) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (instance_id, id) DO UPDATE SET deadline = excluded.deadline
"""
_CLOSE_WAIT = "DELETE FROM waits WHERE instance_id = ? AND id = ?"
_PUT_MESSAGE = "INSERT INTO inbox (instance_id, generation, fact) VALUES (?, ?, ?)"
_CLOSE_MESSAGE = "DELETE FROM inbox WHERE id = ?"


class SqliteStore:
    """Implements `holdfast.store.protocol.Store`."""

    def __init__(self, path: Path, *, writer_thread: bool = False) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, "holdfast-writer") if writer_thread else None
        self._lock: int | None = None
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None

    # --- opening

    async def open(self) -> None:
        self._lock = _lock(self._path)
        try:
            self._writer = _connect(self._path)
            _migrate(self._writer, self._path)
            # The lock says that no other process lives, so whoever held a lease is gone.
            self._writer.execute("UPDATE partitions SET owner = NULL")
            self._reader = _connect(self._path)
            self._reader.execute("PRAGMA wal_autocheckpoint = 0")
            self._reader.execute("PRAGMA query_only = ON")
        except sqlite3.Error as error:
            await self.close()
            raise StoreError(f"{self._path} cannot be used as a database: {error}") from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown()
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()
        self._reader = self._writer = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # --- ownership

    async def acquire(self, owner: str, now: Timestamp, lease_until: Timestamp, at_most: int) -> dict[int, int]:
        def acquire(db: sqlite3.Connection) -> dict[int, int]:
            rows = db.execute(
                """UPDATE partitions SET owner = ?, epoch = epoch + 1, lease_until = ?
                   WHERE partition IN (SELECT partition FROM partitions WHERE owner IS NULL OR lease_until < ?
                                       ORDER BY partition LIMIT ?)
                   RETURNING partition, epoch""",
                (owner, lease_until, now, at_most),
            )
            return dict(rows.fetchall())

        return await self._write(acquire)

    async def renew(
        self, owner: str, epochs: Mapping[int, int], now: Timestamp, lease_until: Timestamp
    ) -> set[int]:
        def renew(db: sqlite3.Connection) -> set[int]:
            held = _held(db, owner, epochs)
            db.executemany(
                "UPDATE partitions SET lease_until = ? WHERE partition = ?",
                [(lease_until, partition) for partition in held],
            )
            return held

        return await self._write(renew)

    async def release(self, owner: str, epochs: Mapping[int, int]) -> None:
        def release(db: sqlite3.Connection) -> None:
            db.executemany(
                "UPDATE partitions SET owner = NULL WHERE partition = ?",
                [(partition,) for partition in _held(db, owner, epochs)],
            )

        await self._write(release)

    # --- stepping

    async def load(self, instance_ids: Iterable[str]) -> dict[str, Snapshot]:
        ids = list(instance_ids)
        found: dict[str, Snapshot] = {}
        for start in range(0, len(ids), _IDS_PER_QUERY):
            chunk = ids[start : start + _IDS_PER_QUERY]
            found.update(self._load(chunk))
        return found

    def _load(self, ids: Sequence[str]) -> dict[str, Snapshot]:
        marks = ", ".join("?" * len(ids))
        found = {row[0]: Snapshot(_instance(row), []) for row in self._read(f"{_INSTANCE} IN ({marks})", ids)}
        steps = self._read(
            f"""SELECT instance_id, generation, seq, at, facts FROM history WHERE instance_id IN ({marks})
                ORDER BY instance_id, generation, seq""",  # noqa: S608 - question marks only
            ids,
        )
        for instance_id, generation, seq, at, facts in steps:
            snapshot = found.get(instance_id)
            if snapshot is not None and generation == snapshot.instance.generation:
                snapshot.history.append(Step(seq, at, _decode_facts(facts)))
        return found

    async def commit(self, batch: Batch) -> list[int]:
        return await self._write(lambda db: _commit(db, batch))

    # --- work that waits for its owner

    async def send(self, messages: Sequence[Message]) -> list[int]:
        return await self._write(lambda db: _put_messages(db, messages))

    async def inbox(self, partitions: Collection[int], after: int, limit: int) -> list[Message]:
        rows = self._read("SELECT id, instance_id, generation, fact FROM inbox WHERE id > ? ORDER BY id", (after,))
        messages: list[Message] = []
        for inbox_id, instance_id, generation, fact in rows:
            if len(messages) == limit:
                break
            if partition_of(instance_id) in partitions:
                messages.append(Message(instance_id, _decode_fact(fact), generation, inbox_id))
        return messages

    async def timers(self, partitions: Collection[int], until: Timestamp) -> list[Timer]:
        rows = self._read(
            """SELECT instance_id, generation, task_id, fire_at FROM timers WHERE fire_at <= ?
               ORDER BY fire_at, instance_id, generation, task_id""",
            (until,),
        )
        return [Timer(*row) for row in rows if partition_of(row[0]) in partitions]

    async def activities(self, partitions: Collection[int]) -> list[ScheduledActivity]:
        rows = self._read(
            """SELECT instance_id, generation, task_id, name, input, attempt, idempotency_key, scheduled_at, started
               FROM activities ORDER BY scheduled_at, instance_id, task_id""",
            (),
        )
        return [_activity(row) for row in rows if partition_of(row[0]) in partitions]

    # --- reading

    async def instance(self, instance_id: str) -> Instance | None:
        row = self._read(f"{_INSTANCE} = ?", (instance_id,)).fetchone()
        return _instance(row) if row else None

    async def history(self, instance_id: str) -> list[Step]:
        snapshot = self._load([instance_id]).get(instance_id)
        return snapshot.history if snapshot else []

    async def waits(self, instance_id: str) -> list[Wait]:
        rows = self._read(
            "SELECT instance_id, id, name, since, deadline, schema FROM waits WHERE instance_id = ? ORDER BY id",
            (instance_id,),
        )
        return [_wait(row) for row in rows]

    # --- connections

    def _read(self, query: str, parameters: Sequence[Any]) -> sqlite3.Cursor:
        assert self._reader is not None, "the store is not open"
        return self._reader.execute(query, parameters)

    async def _write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Run `change` in one transaction."""
        assert self._writer is not None, "the store is not open"
        if self._thread is None:
            return _transaction(self._writer, change)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, _transaction, self._writer, change)


def _lock(path: Path) -> int:
    """Lock the file for this process. The kernel lets go of it when the process ends, however it ends."""
    lock_path = path.with_name(path.name + ".lock")
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # payloads are nobody else's business
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{path} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise StoreInUseError(
            f"{path} is in use by process {owner}. One process owns a SQLite database: stop that one, "
            "or use another file."
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA mmap_size = 0")  # a disk error must come back as an error, not as a signal
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring the schema up to date. `user_version` is the number of the last migration that ran."""
    scripts = sorted(
        (script for script in resources.files("holdfast.store").joinpath("schema").iterdir()),
        key=lambda script: script.name,
    )
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(scripts):
        raise SchemaTooNewError(
            f"{path} has schema {version}; this Holdfast knows {len(scripts)}. Install the newer version again."
        )
    for number, script in enumerate(scripts[version:], start=version + 1):
        db.executescript(f"BEGIN IMMEDIATE; {script.read_text()}; PRAGMA user_version = {number}; COMMIT;")
    _transaction(db, _put_partitions)


def _put_partitions(db: sqlite3.Connection) -> None:
    db.executemany(
        "INSERT OR IGNORE INTO partitions (partition, owner, epoch, lease_until) VALUES (?, NULL, 0, 0)",
        [(partition,) for partition in range(PARTITIONS)],
    )


def _transaction(db: sqlite3.Connection, change: Callable[[sqlite3.Connection], T]) -> T:
    db.execute("BEGIN IMMEDIATE")
    try:
        result = change(db)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return result


def _commit(db: sqlite3.Connection, batch: Batch) -> list[int]:
    _check_fence(db, batch.epochs)
    run = db.executemany
    if batch.instances:
        run(_PUT_INSTANCE, [_instance_row(instance) for instance in batch.instances.values()])
    if batch.history:
        run(
            _PUT_HISTORY,
            [(row.instance_id, row.generation, row.seq, row.at, row.facts_json) for row in batch.history],
        )
    if batch.forgotten:
        run(_FORGET, list(batch.forgotten.items()))
    if batch.activities:
        run(_PUT_ACTIVITY, [_activity_row(call) for call in batch.activities.values()])
    if batch.activities_started:
        run(_START_ACTIVITY, [call.key for call in batch.activities_started])
    if batch.activities_closed:
        run(_CLOSE_ACTIVITY, batch.activities_closed)
    if batch.timers:
        run(_PUT_TIMER, [(*timer.key, timer.fire_at) for timer in batch.timers.values()])
    if batch.timers_closed:
        run(_CLOSE_TIMER, [(*timer.key, timer.fire_at) for timer in batch.timers_closed])
    if batch.waits:
        run(_PUT_WAIT, [_wait_row(wait) for wait in batch.waits.values()])
    if batch.waits_closed:
        run(_CLOSE_WAIT, batch.waits_closed)
    if batch.inbox_closed:
        run(_CLOSE_MESSAGE, [(inbox_id,) for inbox_id in batch.inbox_closed])
    ids = _put_messages(db, batch.inbox)
    _put_messages(db, batch.parked)
    return ids


def _check_fence(db: sqlite3.Connection, epochs: Mapping[int, int]) -> None:
    lowest, highest = db.execute("SELECT min(epoch), max(epoch) FROM partitions").fetchone()
    if lowest == highest and all(epoch == lowest for epoch in epochs.values()):
        return  # one owner took all of them at once, as in every process but a simulated one
    present = dict(db.execute("SELECT partition, epoch FROM partitions").fetchall())
    if any(present[partition] != epoch for partition, epoch in epochs.items()):
        raise LeaseLostError("A partition has another owner now.")


def _held(db: sqlite3.Connection, owner: str, epochs: Mapping[int, int]) -> set[int]:
    rows = db.execute("SELECT partition, epoch FROM partitions WHERE owner = ?", (owner,))
    return {partition for partition, epoch in rows if epochs.get(partition) == epoch}


def _put_messages(db: sqlite3.Connection, messages: Iterable[Message]) -> list[int]:
    ids: list[int] = []
    for message in messages:
        row = (message.instance_id, message.generation, _encode(message.fact))
        ids.append(db.execute(_PUT_MESSAGE, row).lastrowid or 0)
    return ids


def _instance_row(instance: Instance) -> tuple[Any, ...]:
    return (
        instance.id,
        instance.name,
        instance.status.value,
        instance.created_at,
        instance.updated_at,
        bytes(instance.input_json),
        bytes(instance.output_json),
        bytes(instance.custom_status_json),
        instance.generation,
        None if instance.parent is None else _encode(instance.parent),
        instance.held,
    )


def _instance(row: Sequence[Any]) -> Instance:
    return Instance(
        id=row[0],
        name=row[1],
        status=RuntimeStatus(row[2]),
        created_at=row[3],
        updated_at=row[4],
        input_json=Raw(row[5]),
        output_json=Raw(row[6]),
        custom_status_json=Raw(row[7]),
        generation=row[8],
        parent=None if row[9] is None else _decode_parent(row[9]),
        held=row[10],
    )


def _activity_row(call: ScheduledActivity) -> tuple[Any, ...]:
    return (
        call.instance_id,
        call.generation,
        call.task_id,
        call.name,
        bytes(call.input_json),
        call.attempt,
        call.idempotency_key,
        call.scheduled_at,
        call.started,
    )


def _activity(row: Sequence[Any]) -> ScheduledActivity:
    instance_id, generation, task_id, name, input_json, attempt, key, scheduled_at, started = row
    return ScheduledActivity(
        instance_id, generation, task_id, name, Raw(input_json), attempt, key, scheduled_at, bool(started)
    )


def _wait(row: Sequence[Any]) -> Wait:
    instance_id, wait_id, name, since, deadline, schema_json = row
    return Wait(instance_id, wait_id, name, since, deadline, Raw(schema_json))


def _wait_row(wait: Wait) -> tuple[Any, ...]:
    return (wait.instance_id, wait.id, wait.name, wait.since, wait.deadline, bytes(wait.schema_json))
