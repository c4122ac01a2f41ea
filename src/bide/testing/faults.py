"""A store that fails: before the effect, after it (so that nobody knows whether it happened), or in its own time.

`FaultyStore` stands around any store. What goes wrong, and when, is decided by a `Faults` object; `SeededFaults` is
one that draws from a seed, so that a failing test can be repeated.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Generator, Iterable, Mapping, Sequence
from random import Random
from typing import Literal, ParamSpec, Protocol, TypeAlias, TypeVar

from bide.errors import StoreError
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
)
from bide.model.clock import Timestamp
from bide.model.history import Step
from bide.model.instance import Instance, RuntimeStatus, Wait
from bide.model.presence import Presence
from bide.model.query import FailureCursor, InstanceCursor, InstanceFilter, TimerCursor, WaitCursor, WaitFilter
from bide.store.protocol import BEFORE_ALL, Store

P = ParamSpec("P")
T = TypeVar("T")

Moment: TypeAlias = Literal["before", "after"]
"""Where in a verb: before its effect, or after it, when the caller has not heard of it yet."""


class InjectedError(StoreError):
    """The error of a store that was told to fail."""


class Faults(Protocol):
    """Decides what goes wrong. It is asked twice for each verb: before its effect, and after it."""

    def pause(self, verb: str, moment: Moment) -> bool:
        """Whether the caller is to be suspended here, so that something else can happen in between."""
        ...

    def error(self, verb: str, moment: Moment) -> Exception | None:
        """What to raise here, or None. An error after the effect leaves the caller without knowledge."""
        ...


class SeededFaults:
    """Implements `Faults` with fixed odds. `verbs` limits it to some verbs of the store."""

    def __init__(
        self, seed: int, errors: float = 0.05, pauses: float = 0.2, verbs: Collection[str] | None = None
    ) -> None:
        self._random = Random(seed)  # noqa: S311 - must be repeatable
        self._errors = errors
        self._pauses = pauses
        self._verbs = verbs

    def pause(self, verb: str, moment: Moment) -> bool:
        return self._strikes(verb, self._pauses)

    def error(self, verb: str, moment: Moment) -> Exception | None:
        return InjectedError(f"{verb}: injected {moment} the effect") if self._strikes(verb, self._errors) else None

    def _strikes(self, verb: str, odds: float) -> bool:
        return (self._verbs is None or verb in self._verbs) and self._random.random() < odds


class Pause:
    """Awaiting it is a bare `yield`: asyncio takes it as `sleep(0)`, and who drives by hand can stop here."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class FaultyStore:
    """Implements `bide.store.protocol.Store` over another one. `open`, `close` and `secret` never fail."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store = store
        self._faults = faults

    @property
    def shared(self) -> bool:
        return self._store.shared

    async def open(self) -> None:
        await self._store.open()

    async def close(self) -> None:
        await self._store.close()

    async def secret(self) -> bytes:
        return await self._store.secret()

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
        return await self._through(
            "acquire", self._store.acquire, owner, now, lease_until, at_most, lacking, having
        )

    async def cut_off(self, partitions: Collection[int]) -> set[int]:
        return await self._through("cut_off", self._store.cut_off, partitions)

    async def renew(
        self, owner: str, epochs: Mapping[int, int], now: Timestamp, lease_until: Timestamp
    ) -> set[int]:
        return await self._through("renew", self._store.renew, owner, epochs, now, lease_until)

    async def release(self, owner: str, epochs: Mapping[int, int], wanted: Mapping[int, str] | None = None) -> None:
        await self._through("release", self._store.release, owner, epochs, wanted)

    async def wanted(self, partitions: Collection[int]) -> dict[int, str]:
        return await self._through("wanted", self._store.wanted, partitions)

    def listen(self, owner: str, mail: Callable[[], None], free: Callable[[], None]) -> None:
        self._store.listen(owner, mail, free)

    # --- stepping

    async def load(self, instance_ids: Iterable[str]) -> dict[str, Snapshot]:
        return await self._through("load", self._store.load, instance_ids)

    async def requests(
        self, keys: Collection[tuple[str, str]], now: Timestamp
    ) -> dict[tuple[str, str], RequestKey]:
        return await self._through("requests", self._store.requests, keys, now)

    async def commit(self, batch: Batch) -> list[int]:
        return await self._through("commit", self._store.commit, batch)

    # --- work that waits for its owner

    async def send(self, messages: Sequence[Message]) -> list[int]:
        return await self._through("send", self._store.send, messages)

    async def verdicts(self, worker: str) -> list[RemoteVerdict]:
        return await self._through("verdicts", self._store.verdicts, worker)

    async def inbox(self, partitions: Collection[int], after: int, limit: int) -> list[Message]:
        return await self._through("inbox", self._store.inbox, partitions, after, limit)

    async def timers(
        self, partitions: Collection[int], until: Timestamp, after: Timestamp = BEFORE_ALL
    ) -> list[Timer]:
        return await self._through("timers", self._store.timers, partitions, until, after)

    async def activities(self, partitions: Collection[int]) -> list[ScheduledActivity]:
        return await self._through("activities", self._store.activities, partitions)

    async def reruns(self, partitions: Collection[int]) -> dict[TaskKey, int]:
        return await self._through("reruns", self._store.reruns, partitions)

    # --- reading

    async def instance(self, instance_id: str) -> Instance | None:
        return await self._through("instance", self._store.instance, instance_id)

    async def rows(self, instance_ids: Collection[str]) -> list[Instance]:
        return await self._through("rows", self._store.rows, instance_ids)

    async def history(self, instance_id: str) -> list[Step]:
        return await self._through("history", self._store.history, instance_id)

    async def waits(self, instance_id: str) -> list[Wait]:
        return await self._through("waits", self._store.waits, instance_id)

    # --- lists

    async def instances(self, where: InstanceFilter, after: InstanceCursor | None, limit: int) -> list[Instance]:
        return await self._through("instances", self._store.instances, where, after, limit)

    async def counts(self, where: InstanceFilter) -> dict[RuntimeStatus, int]:
        return await self._through("counts", self._store.counts, where)

    async def open_waits(self, where: WaitFilter, after: WaitCursor | None, limit: int) -> list[Wait]:
        return await self._through("open_waits", self._store.open_waits, where, after, limit)

    async def ended(
        self, partitions: Collection[int], before: Timestamp, after: InstanceCursor | None, limit: int
    ) -> tuple[list[str], InstanceCursor | None]:
        return await self._through("ended", self._store.ended, partitions, before, after, limit)

    async def failures(self, since: Timestamp, after: FailureCursor | None, limit: int) -> list[Instance]:
        return await self._through("failures", self._store.failures, since, after, limit)

    async def open_timers(self, due_before: Timestamp, after: TimerCursor | None, limit: int) -> list[Timer]:
        return await self._through("open_timers", self._store.open_timers, due_before, after, limit)

    async def audit(self, instance_id: str | None, before: int | None, limit: int) -> list[AuditEntry]:
        return await self._through("audit", self._store.audit, instance_id, before, limit)

    async def note(self, entry: AuditEntry) -> None:
        await self._through("note", self._store.note, entry)

    # --- who works

    async def announce(self, presence: Presence) -> None:
        await self._through("announce", self._store.announce, presence)

    async def workers(self) -> list[Presence]:
        return await self._through("workers", self._store.workers)

    # --- what goes wrong

    async def _through(self, verb: str, effect: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        await self._meet(verb, "before")
        result = await effect(*args, **kwargs)
        await self._meet(verb, "after")
        return result

    async def _meet(self, verb: str, moment: Moment) -> None:
        if self._faults.pause(verb, moment):
            await Pause()
        error = self._faults.error(verb, moment)
        if error is not None:
            raise error
