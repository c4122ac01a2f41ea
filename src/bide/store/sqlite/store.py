"""A task hub in one SQLite file, owned by one process.

WAL with `synchronous=FULL`: a commit that returned survives power loss. One connection writes, and it alone
checkpoints. Reads of single instances have a connection of their own; lists have another, and a thread, so that no
list holds up a step. The process that opened the file holds a lock on it, and says who it is in a file beside it
(`<file>.lock`), until it ends, however it ends.

Every verb is a plain function over a connection. With `writer_thread`, commits run in one thread of their own and
overlap with the next step; otherwise they run where they are called. See docs/performance.md for both.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import astuple

from bide.errors import (
    BideError,
    DataRefusedError,
    LeaseLostError,
    StoreError,
    StoreReplacedError,
    StoreUnavailableError,
)
from bide.model.batch import (
    AuditEntry,
    Batch,
    HistoryRow,
    Message,
    RemoteVerdict,
    RequestKey,
    ScheduledActivity,
    Snapshot,
    TaskKey,
    Timer,
)
from bide.model.clock import Timestamp
from bide.model.history import Step
from bide.model.instance import PARTITIONS, Instance, RuntimeStatus, Wait, partition_of
from bide.model.presence import REMEMBERED, Presence
from bide.model.query import FailureCursor, InstanceCursor, InstanceFilter, TimerCursor, WaitCursor, WaitFilter
from bide.store import listing
from bide.store.listing import SQLITE
from bide.store.protocol import BEFORE_ALL, LONGEST_LEASE
from bide.store.rows import (
    INSTANCE_COLUMNS,
    SHORT,
    WAIT_COLUMNS,
    activity_of,
    activity_row,
    audit_of,
    audit_row,
    counts_of,
    decode_steps,
    encode,
    fact_of,
    facts_of,
    instance_of,
    instance_row,
    message_of,
    presences,
    request_row,
    status_of,
    steps_of,
    tag_rows,
    wait_of,
    wait_row,
)
from bide.store.sqlite.files import (
    DatabaseLock,
    OpenFiles,
    connect,
    empty_log,
    hub_secret,
    is_damaged,
    is_locked,
    leave_open,
    lock,
    migrate_schema,
    wait_for_others,
)
from bide.store.sqlite.recent import Recent

T = TypeVar("T")

_RECENT = 5_000
_AGAIN_S = 0.01
"""How long to wait before a database that another process has locked is tried again."""
_SMALL_BYTES = 500
"""What is small."""
_LOOKED_AT = 1_000
_IDS_PER_QUERY = 500  # SQLite's limit on parameters is far above; the statement stays in the cache

_PUT_INSTANCE = f"""
    INSERT INTO instances ({INSTANCE_COLUMNS}, steps, length)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, nullif(?, x''), nullif(?, ''), nullif(?, x''), ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, status = excluded.status,
        updated_at = excluded.updated_at, input = excluded.input, output = excluded.output,
        custom_status = excluded.custom_status, generation = excluded.generation,
        held = excluded.held, held_by = excluded.held_by, length = max(instances.length, excluded.length),
        steps = CASE ? WHEN -1 THEN instances.steps
                       WHEN instances.length THEN CAST(instances.steps || excluded.steps AS BLOB) END
"""  # noqa: S608 - the names of columns
_STEP_INSTANCE = """
    UPDATE instances SET status = ?, updated_at = ?, output = ?, custom_status = ?,
        held = nullif(?, ''), held_by = ?, length = ?, steps = CASE length WHEN ? THEN CAST(steps || ? AS BLOB) END
    WHERE id = ?
"""
"""What a step changes, if it is not the first of its generation. One that does not follow what is there, because it
was written before or because another is missing, would make `steps` NULL, which is refused."""
_EMPTY = bytearray()
_PUT_TAG = "INSERT INTO tags (name, value, created_at, instance_id) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_INSTANCE = f"SELECT {INSTANCE_COLUMNS} FROM instances WHERE id"  # noqa: S608 - the names of columns
_SNAPSHOT = f"SELECT {INSTANCE_COLUMNS}, steps, length FROM instances WHERE id"  # noqa: S608 - as above
_PUT_HISTORY = "INSERT INTO history (instance_id, generation, seq, at, facts) VALUES (?, ?, ?, ?, ?)"
_FORGET = (
    "UPDATE instances SET steps = x'', length = 0 WHERE id = ? AND generation < ?",
    "DELETE FROM history WHERE instance_id = ? AND generation < ?",
)
_PUT_ACTIVITY = """
    INSERT INTO activities (instance_id, generation, task_id, name, input, attempt, call_id, scheduled_at,
                            started, birth)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_KEY = "instance_id = ? AND generation = ? AND task_id = ? AND birth = ?"
_START_ACTIVITY = f"UPDATE activities SET started = 1 WHERE {_KEY}"  # noqa: S608 - the names of columns
_CLOSE_ACTIVITY = f"DELETE FROM activities WHERE {_KEY}"  # noqa: S608 - as above
_PUT_RERUN = """
    INSERT INTO reruns (instance_id, generation, task_id, birth, times) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (instance_id, generation, task_id, birth) DO UPDATE SET times = excluded.times
"""
_CLOSE_RERUN = f"DELETE FROM reruns WHERE {_KEY}"  # noqa: S608 - as above
_ACQUIRE = """
    WITH free AS (
        SELECT partition, wanted IN (SELECT value FROM json_each(:having)) AS besides FROM partitions
        WHERE (owner IS NULL OR lease_until NOT BETWEEN :now AND :latest)
            AND wanted NOT IN (SELECT value FROM json_each(:lacking)))
    UPDATE partitions SET cut_off = owner IS NOT NULL, owner = :owner, epoch = epoch + 1, lease_until = :until
    WHERE partition IN (SELECT partition FROM free ORDER BY besides DESC, partition
                        LIMIT :most + (SELECT count(*) FROM free WHERE besides))
    RETURNING partition, epoch
"""
_PUT_TIMER = "INSERT INTO timers (instance_id, generation, task_id, birth, fire_at) VALUES (?, ?, ?, ?, ?)"
_CLOSE_TIMER = f"DELETE FROM timers WHERE {_KEY} AND fire_at = ?"  # noqa: S608 - as above
_PUT_WAIT = "INSERT INTO waits (instance_id, id, name, since, deadline, schema) VALUES (?, ?, ?, ?, ?, ?)"
_CHANGE_DEADLINE = "UPDATE waits SET deadline = ? WHERE instance_id = ? AND id = ?"
_CLOSE_WAIT = "DELETE FROM waits WHERE instance_id = ? AND id = ?"
_PUT_MESSAGE = "INSERT INTO inbox (instance_id, generation, birth, fact, message) VALUES (?, ?, ?, ?, ?)"
_PUT_FIRST = "UPDATE inbox SET id = -id WHERE id = ?"
_PUT_VERDICT = "INSERT INTO verdicts (worker, inbox_id, error, text, path) VALUES (?, ?, ?, ?, ?)"
_TAKE_VERDICTS = "DELETE FROM verdicts WHERE worker = ? RETURNING worker, inbox_id, error, text, path"
_FORGET_VERDICTS = "DELETE FROM verdicts WHERE worker NOT IN (SELECT name FROM workers)"
_KEEP_MESSAGE = "UPDATE inbox SET generation = ?, birth = ?, message = NULL WHERE id = ?"
_CLOSE_MESSAGE = "DELETE FROM inbox WHERE id = ?"
_UNDO = "DELETE FROM history WHERE instance_id = ? AND generation = ? AND seq >= ?"
_PUT_REQUEST = """
    INSERT INTO requests (instance_id, key, digest, expires_at, outlives, error, text, path)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (instance_id, key) DO UPDATE SET digest = excluded.digest, expires_at = excluded.expires_at,
        error = excluded.error, text = excluded.text, path = excluded.path
"""
_EXPIRE_REQUESTS = """
    DELETE FROM requests WHERE (instance_id, key) IN
        (SELECT instance_id, key FROM requests WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)
"""
_PUT_AUDIT = """
    INSERT INTO audit (at, verb, caller, address, reason, result, instance_id) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_ANNOUNCE = """
    INSERT INTO workers (name, started_at, presence) VALUES (?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET presence = excluded.presence
"""
_FORGET_WORKERS = """
    DELETE FROM workers WHERE name NOT IN
        (SELECT name FROM workers ORDER BY started_at DESC, name DESC LIMIT ?)
"""
_REPLACE = (
    # An instance that has ended has no timers, activities or waits.
    """DELETE FROM tags WHERE (name, value, created_at, instance_id) IN
       (SELECT key, json_each.value, created_at, instances.id
        FROM instances, json_each(iif(json_valid(CAST(tags AS TEXT)), CAST(tags AS TEXT), '{}'))
        WHERE instances.id = ?)""",
    "DELETE FROM history WHERE instance_id = ?",
    "DELETE FROM reruns WHERE instance_id = ?",
    "DELETE FROM inbox WHERE instance_id = ? AND birth <> ''",
    "DELETE FROM requests WHERE instance_id = ? AND outlives = 0",
    "DELETE FROM instances WHERE id = ?",
)
_CLEAR = (
    "DELETE FROM activities WHERE instance_id = ?",
    "DELETE FROM timers WHERE instance_id = ?",
    "DELETE FROM waits WHERE instance_id = ?",
)
_PURGE = (
    "DELETE FROM requests WHERE instance_id = ?",
    "DELETE FROM audit WHERE instance_id = ?",
    *_REPLACE,
)


class SqliteStore:
    """Implements `bide.store.protocol.Store`."""

    shared = False

    def __init__(self, path: Path, *, writer_thread: bool = False, patience_s: float = 1.0) -> None:
        """`patience_s`: how long a commit waits for another process that has locked the database."""
        self._path = path
        self._patience_s = patience_s
        self._thread = ThreadPoolExecutor(1, "bide-writer") if writer_thread else None
        self._lock: DatabaseLock | None = None
        self._files: OpenFiles | None = None
        self._replaced = False
        """Whether the files were found deleted or replaced."""
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._lister: sqlite3.Connection | None = None
        self._list_thread = ThreadPoolExecutor(1, "bide-lists")
        self._epochs: dict[int, int] = {}
        """As the table has them at `_written`, or newer if a commit failed. Used inside transactions only."""
        self._written = -1
        """What SQLite counts up when another connection than the writer has written."""
        self._recent = Recent(_RECENT)

    # --- opening

    async def open(self) -> None:
        self._lock = lock(self._path)
        try:
            self._writer = connect(self._path)
            migrate_schema(self._writer, self._path)
            _transaction(self._writer, _put_partitions)
            # The lock says that no other process lives: whoever has a lease was killed, and the lease is over.
            self._writer.execute("UPDATE partitions SET lease_until = -1 WHERE owner IS NOT NULL")
            self._reader, self._lister = _reader(self._path), _reader(self._path)
            self._files = OpenFiles(self._path, self._lock)
            for connection in (self._writer, self._reader, self._lister):
                in_thread = connection is self._lister or (connection is self._writer and self._thread is not None)
                wait_for_others(connection, self._patience_s if in_thread else 0)
        except sqlite3.Error as error:
            await self.close()
            raise StoreError(f"{self._path} cannot be used as a database: {error}") from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        for thread in (self._list_thread, self._thread):
            if thread is not None:
                thread.shutdown()
        connections = [each for each in (self._lister, self._reader, self._writer) if each is not None]
        if self._replaced:
            leave_open(connections)
        else:
            for connection in connections:
                connection.close()
        self._lister = self._reader = self._writer = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def secret(self) -> bytes:
        return hub_secret(str(self._path))

    # --- ownership

    async def acquire(
        self,
        owner: str,
        now: Timestamp,
        lease_until: Timestamp,
        at_most: int,
        lacking: Collection[str] = (),
        having: Collection[str] = (),
    ) -> dict[int, int]:
        def acquire(db: sqlite3.Connection) -> dict[int, int]:
            rows = db.execute(
                _ACQUIRE,
                {
                    "owner": owner,
                    "until": lease_until,
                    "now": now,
                    "latest": now + LONGEST_LEASE,
                    "most": at_most,
                    "lacking": encode([*lacking]).decode(),
                    "having": encode([*having]).decode(),
                },
            )
            taken: dict[int, int] = dict(rows.fetchall())
            self._epochs.update(taken)
            return taken

        return await self._write(acquire)

    async def cut_off(self, partitions: Collection[int]) -> set[int]:
        rows = self._read("SELECT partition FROM partitions WHERE cut_off", ())
        return {partition for (partition,) in rows if partition in partitions}

    async def renew(
        self, owner: str, epochs: Mapping[int, int], now: Timestamp, lease_until: Timestamp
    ) -> set[int]:
        def renew(db: sqlite3.Connection) -> set[int]:
            owned = _owned(db, owner, epochs)
            db.executemany(
                "UPDATE partitions SET lease_until = ? WHERE partition = ?",
                [(lease_until, partition) for partition in owned],
            )
            return owned

        return await self._write(renew)

    async def release(self, owner: str, epochs: Mapping[int, int], wanted: Mapping[int, str] | None = None) -> None:
        def release(db: sqlite3.Connection) -> None:
            owned = _owned(db, owner, epochs)
            db.executemany("UPDATE partitions SET owner = NULL WHERE partition = ?", [(each,) for each in owned])
            db.executemany(
                "UPDATE partitions SET wanted = ? WHERE partition = ?",
                [(name, partition) for partition, name in (wanted or {}).items() if partition in owned],
            )

        await self._write(release)

    async def wanted(self, partitions: Collection[int]) -> dict[int, str]:
        rows = self._read("SELECT partition, wanted FROM partitions WHERE wanted <> ''", ())
        return {partition: name for partition, name in rows if partition in partitions}

    def listen(self, owner: str, mail: Callable[[], None], free: Callable[[], None]) -> None:
        """There is nobody to hear of."""

    # --- stepping

    async def load(self, instance_ids: Iterable[str]) -> dict[str, Snapshot]:
        ids = list(instance_ids)
        found: dict[str, Snapshot] = {}
        for start in range(0, len(ids), _IDS_PER_QUERY):
            chunk = ids[start : start + _IDS_PER_QUERY]
            found.update(self._load(chunk))
        return found

    def _load(self, ids: Sequence[str]) -> dict[str, Snapshot]:
        assert self._reader is not None, "the store is not open"
        try:
            self._reader.execute("BEGIN")  # the same moment for both queries: a thread may commit in between
            try:
                return self._snapshots(ids)
            finally:
                self._reader.execute("COMMIT")
        except _ERRORS as error:
            raise _told(error) from error

    def _snapshots(self, ids: Sequence[str]) -> dict[str, Snapshot]:
        marks = ", ".join("?" * len(ids))
        found = {
            row[0]: Snapshot(instance_of(row), steps_of(row[-2], row[-1]))
            for row in self._read(f"{_SNAPSHOT} IN ({marks})", ids)
        }
        if not found:
            return {}
        marks = ", ".join("?" * len(found))
        later = self._read(
            f"SELECT instance_id, seq, at, facts FROM history WHERE instance_id IN ({marks})",  # noqa: S608 - question marks only
            list(found),
        )
        for instance_id, seq, at, facts in later:  # of the present generation: others are not kept
            found[instance_id].history.append(Step(seq, at, facts_of(facts, seq)))
        for snapshot in found.values():  # a large one among the first is behind them
            snapshot.history.sort(key=_seq)
        return found

    async def requests(
        self, keys: Collection[tuple[str, str]], now: Timestamp
    ) -> dict[tuple[str, str], RequestKey]:
        found: dict[tuple[str, str], RequestKey] = {}
        for instance_id, key in keys:
            rows = self._read(
                """SELECT key, digest, expires_at, outlives, error, text, path FROM requests
                   WHERE instance_id = ? AND key = ? AND expires_at > ?""",
                (instance_id, key, now),
            )
            for name, digest, expires_at, outlives, *told in rows:
                found[instance_id, key] = RequestKey(name, digest, expires_at, bool(outlives), *told)
        return found

    async def commit(self, batch: Batch) -> list[int]:
        def commit(db: sqlite3.Connection) -> list[int]:
            self._check_fence(db, batch.epochs)
            return _commit(db, batch)

        try:
            ids = await self._write(commit)
        except BaseException:
            self._recent.clear()  # nobody knows what the database has
            raise
        self._recent.note(batch)
        return ids

    def _check_fence(self, db: sqlite3.Connection, epochs: Mapping[int, int]) -> None:
        """Raises `LeaseLostError`. Within the transaction SQLite tells whether anybody else has written before it;
        if so, the table is read again, and what was remembered of it does not count (G6)."""
        (written,) = db.execute("PRAGMA data_version").fetchone()
        if written != self._written:
            self._epochs = dict(db.execute("SELECT partition, epoch FROM partitions").fetchall())
            self._written = written
        present = self._epochs
        for partition, epoch in epochs.items():
            if present[partition] != epoch:
                raise LeaseLostError("A partition has another owner now.")

    # --- work that waits for its owner

    async def send(self, messages: Sequence[Message]) -> list[int]:
        return await self._write(lambda db: _put_messages(db, messages))

    async def verdicts(self, worker: str) -> list[RemoteVerdict]:
        return await self._write(
            lambda db: [RemoteVerdict(*row) for row in db.execute(_TAKE_VERDICTS, (worker,)).fetchall()]
        )

    async def inbox(self, partitions: Collection[int], after: int, limit: int) -> list[Message]:
        rows = self._read(
            "SELECT id, instance_id, generation, birth, fact, message FROM inbox WHERE id > ? ORDER BY id", (after,)
        )
        messages: list[Message] = []
        for inbox_id, instance_id, generation, birth, fact, message in rows:
            if len(messages) == limit:
                break
            if partition_of(instance_id) in partitions and message is not None:
                messages.append(message_of(inbox_id, instance_id, message))
            elif partition_of(instance_id) in partitions:
                messages.append(fact_of(inbox_id, instance_id, generation, birth, fact))
        return messages

    async def timers(
        self, partitions: Collection[int], until: Timestamp, after: Timestamp = BEFORE_ALL
    ) -> list[Timer]:
        rows = self._read(
            """SELECT instance_id, generation, task_id, fire_at, birth FROM timers
               WHERE fire_at > ? AND fire_at <= ? ORDER BY fire_at, instance_id, generation, task_id""",
            (after, until),
        )
        return [Timer(*row) for row in rows if partition_of(row[0]) in partitions]

    async def activities(self, partitions: Collection[int]) -> list[ScheduledActivity]:
        rows = self._read(
            """SELECT a.instance_id, a.generation, a.task_id, a.name, a.input, a.attempt, a.call_id, a.scheduled_at,
                      a.started, a.birth, i.held_by
               FROM activities AS a LEFT JOIN instances AS i ON i.id = a.instance_id
               ORDER BY a.scheduled_at, a.instance_id, a.task_id""",
            (),
        )
        return [activity_of(row) for row in rows if partition_of(row[0]) in partitions]

    async def reruns(self, partitions: Collection[int]) -> dict[TaskKey, int]:
        rows = self._read("SELECT instance_id, generation, task_id, birth, times FROM reruns", ())
        return {(*key,): times for *key, times in rows if partition_of(key[0]) in partitions}

    # --- reading

    async def instance(self, instance_id: str) -> Instance | None:
        recent = self._recent.get(instance_id)
        if recent is not None:
            return recent
        return next(map(instance_of, self._read(f"{_INSTANCE} = ?", (instance_id,))), None)

    async def rows(self, instance_ids: Collection[str]) -> list[Instance]:
        marks = ", ".join("?" * len(instance_ids))
        return [instance_of(row) for row in self._read(f"{_INSTANCE} IN ({marks})", [*instance_ids])]

    async def history(self, instance_id: str) -> list[Step]:
        snapshot = self._load([instance_id]).get(instance_id)
        return snapshot.history if snapshot else []

    async def waits(self, instance_id: str) -> list[Wait]:
        rows = self._read(
            f"""SELECT {WAIT_COLUMNS} FROM waits LEFT JOIN instances ON instances.id = waits.instance_id
                WHERE waits.instance_id = ? ORDER BY waits.id""",  # noqa: S608 - the names of columns
            (instance_id,),
        )
        return [wait_of(row) for row in rows]

    # --- lists

    async def instances(self, where: InstanceFilter, after: InstanceCursor | None, limit: int) -> list[Instance]:
        return [instance_of(row) for row in await self._list(*listing.instances(where, after, limit, SQLITE))]

    async def counts(self, where: InstanceFilter) -> dict[RuntimeStatus, int]:
        return counts_of(await self._list(*listing.counts(where, SQLITE)))

    async def open_waits(self, where: WaitFilter, after: WaitCursor | None, limit: int) -> list[Wait]:
        return [wait_of(row) for row in await self._list(*listing.waits(where, after, limit, SQLITE))]

    async def ended(
        self, partitions: Collection[int], before: Timestamp, after: InstanceCursor | None, limit: int
    ) -> tuple[list[str], InstanceCursor | None]:
        # An index of the ended ones would cost every end a tenth of a verification; this costs who waits for long.
        rows = self._read(
            """SELECT created_at, id, status FROM instances WHERE created_at < ? AND (created_at, id) > (?, ?)
               ORDER BY created_at, id LIMIT ?""",
            (before, *(after or (0, "")), _LOOKED_AT),
        )
        looked_at = [*rows]
        place, found = None, list[str]()
        for created_at, instance_id, status in looked_at:
            if len(found) == limit:
                break
            place = InstanceCursor(created_at, instance_id)
            if status_of(status).finished and partition_of(instance_id) in partitions:
                found.append(instance_id)
        more = len(found) == limit or len(looked_at) == _LOOKED_AT
        return self._not_changed_since(before, found), place if more else None

    def _not_changed_since(self, before: Timestamp, ids: Sequence[str]) -> list[str]:
        marks = ", ".join("?" * len(ids))
        rows = self._read(
            f"SELECT id FROM instances WHERE id IN ({marks}) AND updated_at < ?",  # noqa: S608 - question marks only
            (*ids, before),
        )
        return [row[0] for row in rows]

    async def failures(self, since: Timestamp, after: FailureCursor | None, limit: int) -> list[Instance]:
        return [instance_of(row) for row in await self._list(*listing.failures(since, after, limit, SQLITE))]

    async def open_timers(self, due_before: Timestamp, after: TimerCursor | None, limit: int) -> list[Timer]:
        return [Timer(*row) for row in await self._list(*listing.timers(due_before, after, limit))]

    async def audit(self, instance_id: str | None, before: int | None, limit: int) -> list[AuditEntry]:
        return [audit_of(row) for row in await self._list(*listing.audit(instance_id, before, limit))]

    async def note(self, entry: AuditEntry) -> None:
        await self._write(lambda db: db.execute(_PUT_AUDIT, audit_row(entry)))

    # --- who works

    async def announce(self, presence: Presence) -> None:
        def announce(db: sqlite3.Connection) -> None:
            db.execute(_ANNOUNCE, (presence.name, presence.started_at, encode(presence)))
            db.execute(_FORGET_WORKERS, (REMEMBERED,))
            db.execute(_FORGET_VERDICTS)

        await self._write(announce)

    async def workers(self) -> list[Presence]:
        rows = self._read("SELECT presence FROM workers ORDER BY started_at DESC, name DESC", ())
        return presences(row[0] for row in rows)

    # --- connections

    def _read(self, query: str, parameters: Sequence[Any]) -> Iterator[Any]:
        """The rows of a query, read as they are asked for."""
        assert self._reader is not None, "the store is not open"
        try:
            yield from self._reader.execute(query, parameters)
        except _ERRORS as error:
            raise _told(error) from error

    async def _list(self, query: str, parameters: Sequence[Any]) -> list[Any]:
        """The rows of a query that may take long. It runs beside the loop."""
        lister = self._lister
        assert lister is not None, "the store is not open"
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._list_thread, lambda: lister.execute(query, parameters).fetchall()
            )
        except _ERRORS as error:
            raise _told(error) from error

    async def _write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Run `change` in one transaction. What it wrote is in the database that the path names."""
        assert self._writer is not None, "the store is not open"
        try:
            if self._thread is None:
                return await self._patiently(self._writer, change)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._durably, self._writer, change)
        except _ERRORS as error:
            raise _told(error) from error

    async def _patiently(self, db: sqlite3.Connection, change: Callable[[sqlite3.Connection], T]) -> T:
        """As `_durably`; but a database that another process has locked is tried again, while the loop goes on."""
        tries_left = round(self._patience_s / _AGAIN_S)
        while True:
            try:
                return self._durably(db, change)
            except sqlite3.OperationalError as error:
                if not (is_locked(error) and tries_left):
                    raise
            tries_left -= 1
            await asyncio.sleep(_AGAIN_S)

    def _durably(self, db: sqlite3.Connection, change: Callable[[sqlite3.Connection], T]) -> T:
        assert self._files is not None, "the store is not open"
        try:
            return _transaction(db, change)
        finally:  # also if it failed: this may be why
            try:
                self._files.check()
            except StoreReplacedError:
                if not self._replaced:
                    empty_log(db)
                self._replaced = True
                raise


_REFUSED = (
    sqlite3.DataError,  # too big
    sqlite3.IntegrityError,  # a constraint, or another type than the column's
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,  # a parameter of a type that it does not know
    OverflowError,
    UnicodeError,
    MemoryError,
)
_ERRORS = (sqlite3.Error, OverflowError, UnicodeError, MemoryError)


def _told(error: BaseException) -> BideError:
    """Whether the database cannot be used now, or does not take what is in this very statement.

    A transaction was rolled back in either case.
    """
    if isinstance(error, _REFUSED):
        return DataRefusedError(f"SQLite does not take this: {error or type(error).__name__}")
    if isinstance(error, sqlite3.OperationalError) and is_locked(error):
        return StoreUnavailableError(_LOCKED)
    if isinstance(error, sqlite3.Error) and is_damaged(error):
        return StoreUnavailableError(_DAMAGED.format(error))
    return StoreUnavailableError(f"The database failed: {error}.")


_DAMAGED = "The database is damaged: {}. Stop the server, run bide doctor, and restore a copy (docs/deploy.md)."


_LOCKED = (
    "Another process has locked the database: a backup tool, or a transaction in the sqlite3 shell. End it there."
)


def _reader(path: Path) -> sqlite3.Connection:
    connection = connect(path)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA query_only = ON")
    connection.create_function("lower_text", 1, str.lower, deterministic=True)  # SQLite's own knows ASCII only
    return connection


def _put_partitions(db: sqlite3.Connection) -> None:
    db.executemany(
        """INSERT OR IGNORE INTO partitions (partition, owner, epoch, lease_until, cut_off, wanted)
           VALUES (?, NULL, 0, 0, 0, '')""",
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


def _seq(step: Step) -> int:
    return step.seq


def _commit(db: sqlite3.Connection, batch: Batch) -> list[int]:
    for instance_id, (_, seq) in batch.undone.items():
        _undo_first(db, instance_id, seq)
    for statement, rows in _statements(batch):
        changed = db.executemany(statement, rows).rowcount if rows else 0
        if statement is _STEP_INSTANCE and changed != len(rows):
            raise DataRefusedError("An instance that was stepped is not in the database.")
    if batch.requests:
        db.execute(_EXPIRE_REQUESTS, (batch.at, 2 * len(batch.requests)))
    ids = [*_put_first(db, batch.returned), *_put_messages(db, batch.inbox)]
    _put_messages(db, batch.parked)
    return ids


def _statements(batch: Batch) -> Iterator[tuple[str, Sequence[Any]]]:
    """The statements of a batch and their rows, in the order in which they must run."""
    for statement in _PURGE if batch.purged else ():
        yield statement, [(instance_id,) for instance_id in batch.purged]
    for statement in _REPLACE if batch.replaced else ():
        yield statement, [(instance_id,) for instance_id in batch.replaced]
    yield _UNDO, [(instance_id, *place) for instance_id, place in batch.undone.items()]
    for statement in _FORGET if batch.forgotten else ():
        yield statement, list(batch.forgotten.items())
    added, own_rows = _added(batch)
    rows = [(each, added.get(each.id, _NONE_ADDED)) for each in batch.instances.values()]
    yield _PUT_INSTANCE, [_instance_row(*row) for row in rows if row[1].first <= 0]
    yield _STEP_INSTANCE, [_stepped_row(*row) for row in rows if row[1].first > 0]
    yield _PUT_TAG, [tag for each in batch.instances.values() if each.tags for tag in tag_rows(each)]
    yield (
        _PUT_HISTORY,
        [(row.instance_id, row.generation, row.seq, row.at, bytearray(row.facts_json)) for row in own_rows],
    )
    for statement in _CLEAR if batch.cleared else ():
        yield statement, [(instance_id,) for instance_id in batch.cleared]
    yield _CLOSE_ACTIVITY, batch.activities.closed
    yield _PUT_ACTIVITY, [_activity_row(call) for call in batch.activities.put.values()]
    yield _START_ACTIVITY, [call.key for call in batch.activities_started]
    yield _CLOSE_RERUN, batch.reruns.closed
    yield _PUT_RERUN, [(*key, times) for key, times in batch.reruns.put.items()]
    yield _CLOSE_TIMER, batch.timers.closed
    yield _PUT_TIMER, [*batch.timers.put]
    yield _CLOSE_WAIT, batch.waits.closed
    yield _PUT_WAIT, [wait_row(wait) for wait in batch.waits.put.values()]
    yield _CHANGE_DEADLINE, [(due, *key) for key, due in batch.deadlines.items()]
    yield _PUT_REQUEST, [request_row(*each) for each in batch.requests.items()]
    yield _PUT_VERDICT, [astuple(each) for each in batch.remote_verdicts]
    yield _PUT_AUDIT, [audit_row(entry) for entry in batch.audit]
    yield _KEEP_MESSAGE, [(message.generation, message.birth, message.inbox_id) for message in batch.inbox_kept]
    yield _CLOSE_MESSAGE, [(inbox_id,) for inbox_id in batch.inbox_closed]


class _Added(Struct):
    """The steps that a batch adds to one history: those from `first` up to and without `end`."""

    first: int
    end: int
    text: bytearray
    """Those that belong into the instance's row."""


_NONE_ADDED = _Added(-1, 0, bytearray())


def _added(batch: Batch) -> tuple[dict[str, _Added], list[HistoryRow]]:
    """The new steps of each instance, and those that have rows of their own."""
    added: dict[str, _Added] = {}
    own: list[HistoryRow] = []
    for row in batch.history:
        instance = batch.instances.get(row.instance_id)
        if instance is None:
            raise DataRefusedError("A step comes without the row of its instance.")
        if row.generation < instance.generation:
            continue  # this generation is over, and forgotten
        steps = added.get(row.instance_id)
        if steps is None:
            steps = added[row.instance_id] = _Added(row.seq, 0, bytearray())
        steps.end = row.seq + 1
        if row.seq < SHORT and len(row.facts_json) <= _SMALL_BYTES:
            steps.text += b'{"seq":%d,"at":%d,"facts":%b},' % (row.seq, row.at, row.facts_json)
        else:
            own.append(row)
    return added, own


def _undo_first(db: sqlite3.Connection, instance_id: str, seq: int) -> None:
    """Take back those of the first steps that a rewind undoes."""
    for (steps,) in db.execute("SELECT steps FROM instances WHERE id = ?", (instance_id,)).fetchall():
        left = [step for step in decode_steps(b"[%b]" % steps[:-1]) if step.seq < seq]
        text = b"".join(b"%b," % encode(step) for step in left)
        db.execute("UPDATE instances SET steps = ?, length = ? WHERE id = ?", (text, seq, instance_id))


def _instance_row(instance: Instance, added: _Added) -> tuple[Any, ...]:
    """What may be NULL is an empty value, which the statement makes NULL: None would need an adapter, too."""
    *row, parent, held, tags, birth, held_by = instance_row(instance)
    return (*row, parent or _EMPTY, held or "", tags or _EMPTY, birth, held_by, added.text, added.end, added.first)


def _activity_row(call: ScheduledActivity) -> tuple[Any, ...]:
    """A bool would need an adapter, too."""
    *row, started, birth = activity_row(call)
    return (*row, int(started), birth)


def _stepped_row(instance: Instance, added: _Added) -> tuple[Any, ...]:
    return (
        str(instance.status),
        instance.updated,
        bytearray(instance.output_json),
        bytearray(instance.custom_status_json),
        instance.held or "",
        instance.held_by,
        added.end,
        added.first,
        added.text,
        instance.id,
    )


def _owned(db: sqlite3.Connection, owner: str, epochs: Mapping[int, int]) -> set[int]:
    rows = db.execute("SELECT partition, epoch FROM partitions WHERE owner = ?", (owner,))
    return {partition for partition, epoch in rows if epochs.get(partition) == epoch}


def _put_first(db: sqlite3.Connection, messages: Sequence[Message]) -> list[int]:
    """Put messages before all others: under the negatives of new ids, so that none is used twice."""
    ids = [-inbox_id for inbox_id in _put_messages(db, reversed(messages))]
    db.executemany(_PUT_FIRST, [(-inbox_id,) for inbox_id in ids])
    return ids[::-1]


def _put_messages(db: sqlite3.Connection, messages: Iterable[Message]) -> list[int]:
    ids: list[int] = []
    for message in messages:
        plain = message == Message(message.instance_id, message.fact, message.generation, birth=message.birth)
        whole = None if plain else encode(message)
        row = (message.instance_id, message.generation, message.goes_with, encode(message.fact), whole)
        ids.append(db.execute(_PUT_MESSAGE, row).lastrowid or 0)
    return ids
