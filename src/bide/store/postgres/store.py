"""A task hub in PostgreSQL, shared by many workers.

Its tables live in a schema of their own. Each verb is one statement and one round trip; a batch is one call of the
function `commit_batch`, so that its fence and its rows are one transaction, whatever stands between us and the
server. Commits go over one connection, lists and single reads over others, so that no list holds up a step.

Statements wait no longer than `PATIENCE_S`: a server that cannot be reached must not keep a worker believing that
it is still the owner of anything. After an error the connection is made anew.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
from msgspec.structs import astuple

from bide.errors import BideError, DataRefusedError, LeaseLostError, StoreUnavailableError
from bide.model.batch import (
    AuditEntry,
    Batch,
    Message,
    RemoteVerdict,
    RequestKey,
    ScheduledActivity,
    Snapshot,
    TaskKey,
    Timer,
    TimerKey,
)
from bide.model.clock import FastestWord, Timestamp
from bide.model.history import Step
from bide.model.instance import Instance, RuntimeStatus, Wait, partition_of
from bide.model.presence import REMEMBERED, Presence
from bide.model.query import FailureCursor, InstanceCursor, InstanceFilter, TimerCursor, WaitCursor, WaitFilter
from bide.store import listing
from bide.store.listing import POSTGRES, numbered
from bide.store.postgres.connecting import ERRORS, PATIENCE_S, connect, options, unusable, words
from bide.store.postgres.schema import SCHEMA, make_ready
from bide.store.protocol import BEFORE_ALL, LONGEST_LEASE
from bide.store.rows import (
    INSTANCE_COLUMNS,
    WAIT_COLUMNS,
    activity_of,
    activity_row,
    audit_of,
    audit_row,
    counts_of,
    encode,
    facts_of,
    instance_of,
    instance_row,
    message_of,
    presences,
    request_row,
    tag_rows,
    wait_of,
    wait_row,
)

log = logging.getLogger("bide.store")

_FAREWELL_S = 1.0
_READERS = 4
_FIRST_WORDS = 5
"""So often the database is asked for its time at first: one word comes late if this process stands still then."""
_LOOKED_AT = 1_000
_LEASE_LOST = "BD001"
_PLANS = {
    # Every statement here reads rows by key. Tables that were small when a plan was made will not stay so.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}

_HUB = """
    INSERT INTO secrets (name, secret) VALUES ('hub', $1) ON CONFLICT (name) DO UPDATE SET name = secrets.name
    RETURNING secret
"""
_ACQUIRE = """
    WITH free AS (
        SELECT partition, wanted = ANY ($7::text[]) AS besides FROM partitions
        WHERE (owner IS NULL OR lease_until NOT BETWEEN $2 AND $5) AND wanted <> ALL ($6::text[])
        FOR UPDATE SKIP LOCKED)
    UPDATE partitions SET cut_off = owner IS NOT NULL, owner = $1, epoch = greatest(epoch + 1, $2), lease_until = $3
    WHERE partition IN (SELECT partition FROM free ORDER BY besides DESC, partition
                        LIMIT $4 + (SELECT count(*) FROM free WHERE besides))
    RETURNING partition, epoch
"""
_RENEW = """
    UPDATE partitions AS p SET lease_until = $4
    FROM unnest($2::smallint[], $3::bigint[]) AS held (partition, epoch)
    WHERE p.partition = held.partition AND p.epoch = held.epoch AND p.owner = $1
    RETURNING p.partition
"""
_RELEASE = """
    WITH freed AS (
        UPDATE partitions AS p SET owner = NULL, wanted = coalesce(held.wanted, p.wanted)
        FROM unnest($2::smallint[], $3::bigint[], $4::text[]) AS held (partition, epoch, wanted)
        WHERE p.partition = held.partition AND p.epoch = held.epoch AND p.owner = $1
        RETURNING p.partition)
    SELECT pg_notify('bide', '') FROM freed LIMIT 1
"""
_INSTANCES = f"SELECT {INSTANCE_COLUMNS} FROM instances WHERE id = ANY ($1)"  # noqa: S608 - the names of columns
_HISTORY = """
    SELECT h.instance_id, h.seq, h.at, h.facts FROM instances AS i
        JOIN history AS h ON h.instance_id = i.id AND h.generation = i.generation
    WHERE i.id = ANY ($1) ORDER BY h.instance_id, h.seq
"""
_REQUESTS = """
    SELECT r.instance_id, r.key, r.digest, r.expires_at, r.outlives, r.error, r.text, r.path
    FROM unnest($1::text[], $2::text[]) AS asked (instance_id, key)
        JOIN requests AS r ON r.instance_id = asked.instance_id AND r.key = asked.key
    WHERE r.expires_at > $3
"""
_SEND = "SELECT put_messages($1, NULL)"
_INBOX = """
    SELECT id, instance_id, message FROM inbox WHERE partition = ANY ($1::smallint[]) AND id > $2
    ORDER BY id LIMIT $3
"""
_VERDICTS = "DELETE FROM verdicts WHERE worker = $1 RETURNING worker, inbox_id, error, text, path"
_WANTED = "SELECT partition, wanted FROM partitions WHERE partition = ANY ($1::smallint[]) AND wanted <> ''"
_CUT_OFF = "SELECT partition FROM partitions WHERE partition = ANY ($1::smallint[]) AND cut_off"
_RERUNS = """
    SELECT instance_id, generation, task_id, birth, times FROM reruns WHERE partition = ANY ($1::smallint[])
"""
_TIMERS = """
    SELECT instance_id, generation, task_id, fire_at, birth FROM timers
    WHERE partition = ANY ($1::smallint[]) AND fire_at > $2 AND fire_at <= $3
    ORDER BY fire_at, instance_id, generation, task_id
"""
_ACTIVITIES = """
    SELECT a.instance_id, a.generation, a.task_id, a.name, a.input, a.attempt, a.call_id, a.scheduled_at, a.started,
        a.birth, i.held_by
    FROM activities AS a LEFT JOIN instances AS i ON i.id = a.instance_id
    WHERE a.partition = ANY ($1::smallint[]) ORDER BY a.scheduled_at, a.instance_id, a.task_id
"""
_WAITS = f"""
    SELECT {WAIT_COLUMNS} FROM waits LEFT JOIN instances ON instances.id = waits.instance_id
    WHERE waits.instance_id = $1 ORDER BY waits.id
"""  # noqa: S608 - as above
_LOOK_FOR_ENDED = """
    SELECT created_at, id FROM instances WHERE created_at < $1 AND (created_at, id) > ($2, $3)
    ORDER BY created_at, id LIMIT $4
"""
_ENDED = """
    SELECT id FROM instances
    WHERE id = ANY ($1) AND updated_at < $2 AND status IN ('Completed', 'Failed', 'Terminated')
"""
_NOTE = """
    INSERT INTO audit (at, verb, caller, address, reason, result, instance_id) VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_ANNOUNCE = f"""
    WITH forgotten AS (DELETE FROM workers WHERE name <> $1 AND name NOT IN
        (SELECT name FROM workers ORDER BY started_at DESC, name DESC LIMIT $4) RETURNING name),
    unread AS (DELETE FROM verdicts WHERE worker IN (SELECT name FROM forgotten))
    INSERT INTO workers (name, started_at, presence) VALUES ($1, $2, $3)
    ON CONFLICT (name) DO UPDATE SET presence = excluded.presence
    RETURNING {_NOW}
"""  # noqa: S608 - no value from outside


class PostgresStore:
    """Implements `bide.store.protocol.Store`.

    `url` is a `postgresql://` one, with libpq's parameters. `heard` is told what the database's clock shows, when
    it is opened and with each sign of life; the store itself never goes by it. `name` is what the server's list of
    sessions (`pg_stat_activity`) calls those of this store, unless the URL says it.
    """

    shared = True

    def __init__(self, url: str, heard: Callable[[Timestamp], None] = lambda at: None, name: str = "bide") -> None:
        self._url = url
        self._name = name
        self._heard = heard
        self._writer: asyncpg.Connection[Any] | None = None
        self._writing = asyncio.Lock()
        self._readers: asyncpg.Pool[Any] | None = None
        self._listening: asyncio.Task[None] | None = None

    # --- opening

    async def open(self) -> None:
        try:
            await make_ready(self._url, self._name)
            async with self._connected() as writer:
                word = FastestWord()
                for _ in range(_FIRST_WORDS):
                    word.heard(await writer.fetchval(f"SELECT {_NOW}"))
                self._heard(word.now())
            self._readers = await asyncpg.create_pool(
                self._url,
                min_size=0,
                max_size=_READERS,
                timeout=PATIENCE_S,
                command_timeout=3 * PATIENCE_S,
                init=_prepare_reader,
                reset=_keep_as_it_is,
                **options(self._url, self._name),
            )
        except ERRORS as error:
            await self.close()
            raise unusable(error, self._url) from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None
        readers, self._readers = self._readers, None
        writer, self._writer = self._writer, None
        for connections in (readers, writer):
            with suppress(*ERRORS):  # whom the server cannot hear any more, it forgets by itself
                if connections is not None:
                    await asyncio.wait_for(connections.close(), _FAREWELL_S)

    async def secret(self) -> bytes:
        rows = await self._write(_HUB, secrets.token_bytes(32))
        secret: bytes = rows[0][0]
        return secret

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
        latest = now + LONGEST_LEASE
        rows = await self._write(_ACQUIRE, owner, now, lease_until, at_most, latest, [*lacking], [*having])
        return {row[0]: row[1] for row in rows}

    async def cut_off(self, partitions: Collection[int]) -> set[int]:
        return {row[0] for row in await self._write(_CUT_OFF, [*partitions])}

    async def renew(
        self, owner: str, epochs: Mapping[int, int], now: Timestamp, lease_until: Timestamp
    ) -> set[int]:
        rows = await self._write(_RENEW, owner, [*epochs], [*epochs.values()], lease_until)
        return {row[0] for row in rows}

    async def release(self, owner: str, epochs: Mapping[int, int], wanted: Mapping[int, str] | None = None) -> None:
        names = [(wanted or {}).get(partition) for partition in epochs]
        await self._write(_RELEASE, owner, [*epochs], [*epochs.values()], names)

    async def wanted(self, partitions: Collection[int]) -> dict[int, str]:
        return {row[0]: row[1] for row in await self._write(_WANTED, [*partitions])}

    def listen(self, owner: str, mail: Callable[[], None], free: Callable[[], None]) -> None:
        self._listening = asyncio.create_task(self._listen(owner, mail, free))

    async def _listen(self, owner: str, mail: Callable[[], None], free: Callable[[], None]) -> None:
        """Hear what others tell this worker; and, after each silence, that there may have been something."""

        def told(*notification: Any) -> None:
            if notification[-1] == owner:
                mail()
            elif not notification[-1]:
                free()

        while True:
            try:
                connection = await self._connect()
                try:
                    await connection.add_listener("bide", told)
                    mail()
                    free()
                    while not connection.is_closed():
                        await asyncio.sleep(1)
                        await connection.execute("SELECT")  # a cut network says nothing by itself
                finally:
                    connection.terminate()
            except ERRORS as error:
                log.info("Hints from the database are out, so messages wait for the next look: %s", words(error))
            await asyncio.sleep(1)

    # --- stepping

    async def load(self, instance_ids: Iterable[str]) -> dict[str, Snapshot]:
        ids = [*instance_ids]
        async with self._transaction() as writer:
            rows = await writer.fetch(_INSTANCES, ids)
            found = {row[0]: Snapshot(instance_of(row), []) for row in rows}
            steps = await writer.fetch(_HISTORY, [*found]) if found else []
        for instance_id, seq, at, facts in steps:
            found[instance_id].history.append(Step(seq, at, facts_of(facts, seq)))
        return found

    async def requests(
        self, keys: Collection[tuple[str, str]], now: Timestamp
    ) -> dict[tuple[str, str], RequestKey]:
        ids, names = [instance_id for instance_id, _ in keys], [key for _, key in keys]
        rows = await self._write(_REQUESTS, ids, names, now)
        return {(row[0], row[1]): RequestKey(*row[1:]) for row in rows}

    async def commit(self, batch: Batch) -> list[int]:
        rows = await self._write(_COMMIT, *_parameters(batch).values())
        ids: list[int] = rows[0][0]
        first, last = len(batch.returned), len(batch.returned) + len(batch.inbox)
        return [*(-inbox_id for inbox_id in reversed(ids[:first])), *ids[first:last]]  # then come the parked ones

    # --- work that waits for its owner

    async def send(self, messages: Sequence[Message]) -> list[int]:
        if not messages:
            return []
        rows = await self._write(_SEND, [_message_row(message) for message in messages])
        ids: list[int] = rows[0][0]
        return ids

    async def verdicts(self, worker: str) -> list[RemoteVerdict]:
        return [RemoteVerdict(*row) for row in await self._write(_VERDICTS, worker)]

    async def inbox(self, partitions: Collection[int], after: int, limit: int) -> list[Message]:
        rows = await self._write(_INBOX, [*partitions], after, limit)
        return [message_of(*row) for row in rows]

    async def timers(
        self, partitions: Collection[int], until: Timestamp, after: Timestamp = BEFORE_ALL
    ) -> list[Timer]:
        rows = await self._write(_TIMERS, [*partitions], after, until)
        return [Timer(*row) for row in rows]

    async def activities(self, partitions: Collection[int]) -> list[ScheduledActivity]:
        return [activity_of(row) for row in await self._write(_ACTIVITIES, [*partitions])]

    async def reruns(self, partitions: Collection[int]) -> dict[TaskKey, int]:
        return {tuple(row[:4]): row[4] for row in await self._write(_RERUNS, [*partitions])}

    # --- reading

    async def instance(self, instance_id: str) -> Instance | None:
        rows = await self._read(_INSTANCES, [instance_id])
        return instance_of(rows[0]) if rows else None

    async def rows(self, instance_ids: Collection[str]) -> list[Instance]:
        return [instance_of(row) for row in await self._read(_INSTANCES, [*instance_ids])]

    async def history(self, instance_id: str) -> list[Step]:
        rows = await self._read(_HISTORY, [instance_id])
        return [Step(seq, at, facts_of(facts, seq)) for _, seq, at, facts in rows]

    async def waits(self, instance_id: str) -> list[Wait]:
        return [wait_of(row) for row in await self._read(_WAITS, instance_id)]

    # --- lists

    async def instances(self, where: InstanceFilter, after: InstanceCursor | None, limit: int) -> list[Instance]:
        rows = await self._list(listing.instances(where, after, limit, POSTGRES))
        return [instance_of(row) for row in rows]

    async def counts(self, where: InstanceFilter) -> dict[RuntimeStatus, int]:
        return counts_of(await self._list(listing.counts(where, POSTGRES)))

    async def open_waits(self, where: WaitFilter, after: WaitCursor | None, limit: int) -> list[Wait]:
        return [wait_of(row) for row in await self._list(listing.waits(where, after, limit, POSTGRES))]

    async def ended(
        self, partitions: Collection[int], before: Timestamp, after: InstanceCursor | None, limit: int
    ) -> tuple[list[str], InstanceCursor | None]:
        looked_at = await self._read(_LOOK_FOR_ENDED, before, *(after or (0, "")), _LOOKED_AT)
        mine = [row[1] for row in looked_at if partition_of(row[1]) in partitions]
        ended = {row[0] for row in await self._read(_ENDED, mine, before)} if mine else set[str]()
        place, found = None, list[str]()
        for created_at, instance_id in looked_at:
            if len(found) == limit:
                break
            place = InstanceCursor(created_at, instance_id)
            if instance_id in ended:
                found.append(instance_id)
        more = len(found) == limit or len(looked_at) == _LOOKED_AT
        return found, place if more else None

    async def failures(self, since: Timestamp, after: FailureCursor | None, limit: int) -> list[Instance]:
        rows = await self._list(listing.failures(since, after, limit, POSTGRES))
        return [instance_of(row) for row in rows]

    async def open_timers(self, due_before: Timestamp, after: TimerCursor | None, limit: int) -> list[Timer]:
        rows = await self._list(listing.timers(due_before, after, limit))
        return [Timer(*row) for row in rows]

    async def audit(self, instance_id: str | None, before: int | None, limit: int) -> list[AuditEntry]:
        return [audit_of(row) for row in await self._list(listing.audit(instance_id, before, limit))]

    async def note(self, entry: AuditEntry) -> None:
        await self._read(_NOTE, *audit_row(entry))

    # --- who works

    async def announce(self, presence: Presence) -> None:
        row = (presence.name, presence.started_at, encode(presence), REMEMBERED - 1)
        self._heard((await self._read(_ANNOUNCE, *row))[0][0])

    async def workers(self) -> list[Presence]:
        rows = await self._read("SELECT presence FROM workers ORDER BY started_at DESC, name DESC")
        return presences(row[0] for row in rows)

    # --- documents

    async def document(self, name: str) -> bytes | None:
        """What is kept under that name, the same for all workers."""
        rows = await self._read("SELECT content FROM documents WHERE name = $1", name)
        content: bytes | None = rows[0][0] if rows else None
        return content

    async def change_document(self, name: str, change: Callable[[bytes | None], bytes]) -> None:
        """Put what `change` makes of it in its place. Whoever else wants to change it waits meanwhile."""
        async with self._transaction() as writer, writer.transaction():
            await writer.execute("INSERT INTO documents (name) VALUES ($1) ON CONFLICT DO NOTHING", name)
            before = await writer.fetchval("SELECT content FROM documents WHERE name = $1 FOR UPDATE", name)
            await writer.execute("UPDATE documents SET content = $2 WHERE name = $1", name, change(before))

    # --- connections

    async def _write(self, statement: str, *parameters: Any) -> list[Any]:
        """Run one statement, a transaction of its own, on the connection that commits."""
        async with self._transaction() as writer:
            return await writer.fetch(statement, *parameters)

    @asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[asyncpg.Connection[Any], None]:
        try:
            async with self._writing, self._connected() as writer:
                yield writer
        except (*ERRORS, *_NOT_SENT) as error:
            raise _told(error) from error

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[asyncpg.Connection[Any], None]:
        """The connection that commits, made anew after anything went wrong on it: a cut-off statement may still be
        running, and the server may have become one that only reads."""
        try:
            if self._writer is None or self._writer.is_closed():
                self._writer = await self._connect()
                await _prepare_writer(self._writer)
            yield self._writer
        except BaseException as error:
            if not (_lease_lost(error) or _is_refused(error)):
                self._drop_writer()
            raise

    async def _connect(self) -> asyncpg.Connection[Any]:
        return await connect(self._url, self._name)

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.terminate()
            self._writer = None

    async def _read(self, statement: str, *parameters: Any) -> list[Any]:
        assert self._readers is not None, "the store is not open"
        try:
            return await self._readers.fetch(statement, *parameters)
        except (*ERRORS, *_NOT_SENT) as error:
            if not _is_refused(error):
                await self._readers.expire_connections()
            raise _told(error) from error

    async def _list(self, query: listing.Query) -> list[Any]:
        statement, parameters = query
        return await self._read(numbered(statement), *parameters)


# --- opening


async def _prepare_reader(connection: asyncpg.Connection[Any]) -> None:
    # A statement and not a parameter of the connection: poolers pass on statements only.
    await connection.execute(f"SET search_path TO {SCHEMA}")


async def _prepare_writer(connection: asyncpg.Connection[Any]) -> None:
    settings = "".join(f"SET {name} TO {value};" for name, value in _PLANS.items())
    await connection.execute(f"SET search_path TO {SCHEMA}; {settings}")


async def _keep_as_it_is(connection: asyncpg.Connection[Any]) -> None:
    """Between two reads there is nothing to undo on a connection, so no round trip is spent on it."""


# --- rows


def _parameters(batch: Batch) -> dict[str, Any]:
    """What `commit_batch` takes, by the names that it has there."""
    instances = batch.instances.values()
    return {
        "fences": [*batch.epochs.items()],
        "purged": batch.purged,
        "replaced": [*batch.replaced],
        "undone": [(instance_id, *place) for instance_id, place in batch.undone.items()],
        "instances_in": [instance_row(instance) for instance in instances],
        "failed": [instance.id for instance in instances if instance.status is RuntimeStatus.FAILED],
        "tags_in": [tag for instance in instances for tag in tag_rows(instance)],
        "history_in": [(row.instance_id, row.generation, row.seq, row.at, row.facts_json) for row in batch.history],
        "forgotten": [(instance_id, generation, 0) for instance_id, generation in batch.forgotten.items()],
        "activities_in": [
            (*activity_row(call), partition_of(key[0])) for key, call in batch.activities.put.items()
        ],
        "started": [call.key for call in batch.activities_started],
        "activities_closed": batch.activities.closed,
        "cleared": batch.cleared,
        "reruns_in": [(*key, times, partition_of(key[0])) for key, times in batch.reruns.put.items()],
        "reruns_closed": batch.reruns.closed,
        "timers_in": [_timer_row(key) for key in batch.timers.put],
        "timers_closed": [_timer_row(key) for key in batch.timers.closed],
        "waits_in": [_wait_row(wait) for wait in batch.waits.put.values()],
        "waits_closed": batch.waits.closed,
        "deadlines_in": [(*key, due) for key, due in batch.deadlines.items()],
        "requests_in": [request_row(*each) for each in batch.requests.items()],
        "expired_at": batch.at,
        "audit_in": [audit_row(entry) for entry in batch.audit],
        "inbox_closed": batch.inbox_closed,
        "inbox_kept": [(message.inbox_id, message.goes_with, encode(message)) for message in batch.inbox_kept],
        # Of those that come before all others, each is put before the one that was put last: so in reverse.
        "inbox_in": [_message_row(message, first=True) for message in reversed(batch.returned)]
        + [_message_row(message) for message in (*batch.inbox, *batch.parked)],
        "verdicts_in": [astuple(verdict) for verdict in batch.remote_verdicts],
    }


_COMMIT = "SELECT commit_batch({})".format(
    ", ".join(f"{name} => ${number}" for number, name in enumerate(_parameters(Batch(0)), 1))
)


def _timer_row(key: TimerKey) -> tuple[Any, ...]:
    instance_id, generation, task_id, birth, fire_at = key
    return (partition_of(instance_id), fire_at, instance_id, generation, task_id, birth)


def _wait_row(wait: Wait) -> tuple[Any, ...]:
    instance_id, wait_id, name, since, deadline, schema = wait_row(wait)
    return (instance_id, wait_id, name, name.lower(), since, deadline, schema)


def _message_row(message: Message, *, first: bool = False) -> tuple[int, str, str, bytes, bool]:
    return (partition_of(message.instance_id), message.instance_id, message.goes_with, encode(message), first)


# --- errors

_NOT_SENT = (OverflowError, UnicodeError, BufferError, MemoryError)
"""What the driver raises for values that it cannot put into a message, beside its own errors."""
_REFUSED = ("22", "23", "54")
"""Classes of errors: a value that cannot be, a constraint, and a limit of the server."""


def _lease_lost(error: BaseException) -> bool:
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate == _LEASE_LOST


def _is_refused(error: BaseException) -> bool:
    """Whether the server is there, and does not take what is in this very statement: nothing of it was done."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate).startswith(_REFUSED)
    return isinstance(error, _NOT_SENT)


def _told(error: BaseException) -> BideError:
    if _lease_lost(error):
        return LeaseLostError("A partition has another owner now.")
    if _is_refused(error):
        return DataRefusedError(f"PostgreSQL does not take this: {_refusal(error)}")
    return StoreUnavailableError(f"The database failed: {words(error)}")


def _refusal(error: BaseException) -> str:
    """What is wrong, without the values that it is wrong with: the driver's own words quote them."""
    said_by_the_server = getattr(error, "severity", None) is not None
    return words(error) if said_by_the_server else "a value in it cannot be sent"
