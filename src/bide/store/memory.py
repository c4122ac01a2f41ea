"""A store in dictionaries, for tests and for trying things out. Nothing survives the process."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from itertools import count
from typing import Any

import msgspec
from msgspec.structs import replace

from bide.errors import DataRefusedError, LeaseLostError
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
from bide.model.clock import Timestamp
from bide.model.history import Fact, Step
from bide.model.instance import PARTITIONS, Instance, RuntimeStatus, Wait, partition_of
from bide.model.presence import REMEMBERED, Presence
from bide.model.query import (
    FailureCursor,
    InstanceCursor,
    InstanceFilter,
    TimerCursor,
    WaitCursor,
    WaitFilter,
    failure_cursor,
    instance_cursor,
    timer_cursor,
    wait_cursor,
)
from bide.store.protocol import BEFORE_ALL, LONGEST_LEASE

_decode_facts = msgspec.json.Decoder(tuple[Fact, ...]).decode


class _Lease:
    __slots__ = ("cut_off", "epoch", "owner", "until", "wanted")

    def __init__(self) -> None:
        self.owner: str | None = None
        self.cut_off = False
        self.wanted = ""
        self.epoch = 0
        self.until: Timestamp = 0


@cache
def secret_in_memory() -> bytes:
    """The secret of hubs in memory: the same as long as the process lives."""
    return secrets.token_bytes(32)


class MemoryStore:
    """Implements `bide.store.protocol.Store`."""

    shared = False

    def __init__(self) -> None:
        self._leases = [_Lease() for _ in range(PARTITIONS)]
        self._instances: dict[str, Instance] = {}
        self._history: dict[str, list[Step]] = {}
        self._activities: dict[TaskKey, ScheduledActivity] = {}
        self._reruns: dict[TaskKey, int] = {}
        self._timers: dict[TimerKey, Timer] = {}
        self._waits: dict[tuple[str, int], Wait] = {}
        self._inbox: dict[int, Message] = {}
        self._verdicts: list[RemoteVerdict] = []
        self._requests: dict[tuple[str, str], RequestKey] = {}
        self._audit: list[AuditEntry] = []
        self._workers: dict[str, Presence] = {}
        self._ids = count(1)
        self._audit_ids = count(1)

    async def open(self) -> None:
        """Whoever opens it has it alone, so leases that were not released are over."""
        for lease in self._leases:
            if lease.owner is not None:
                lease.until = -1

    async def close(self) -> None:
        pass

    async def secret(self) -> bytes:
        return secret_in_memory()

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
        free = {
            partition: lease
            for partition, lease in enumerate(self._leases)
            if lease.owner is None or not now <= lease.until <= now + LONGEST_LEASE
        }
        besides = [partition for partition, lease in free.items() if lease.wanted and lease.wanted in having]
        others = [each for each, lease in free.items() if each not in besides and lease.wanted not in lacking]
        taken = {each: free[each] for each in sorted([*besides, *others[:at_most]])}
        for lease in taken.values():
            lease.cut_off = lease.owner is not None
            lease.owner, lease.until = owner, lease_until
            lease.epoch += 1
        return {partition: lease.epoch for partition, lease in taken.items()}

    async def cut_off(self, partitions: Collection[int]) -> set[int]:
        return {partition for partition in partitions if self._leases[partition].cut_off}

    async def renew(
        self, owner: str, epochs: Mapping[int, int], now: Timestamp, lease_until: Timestamp
    ) -> set[int]:
        held = {partition for partition, epoch in epochs.items() if self._holds(owner, partition, epoch)}
        for partition in held:
            self._leases[partition].until = lease_until
        return held

    async def release(self, owner: str, epochs: Mapping[int, int], wanted: Mapping[int, str] | None = None) -> None:
        for partition, epoch in epochs.items():
            if self._holds(owner, partition, epoch):
                lease = self._leases[partition]
                lease.owner = None
                lease.wanted = (wanted or {}).get(partition, lease.wanted)

    async def wanted(self, partitions: Collection[int]) -> dict[int, str]:
        return {each: self._leases[each].wanted for each in partitions if self._leases[each].wanted}

    def listen(self, owner: str, mail: Callable[[], None], free: Callable[[], None]) -> None:
        """Gives no hints."""

    def _holds(self, owner: str, partition: int, epoch: int) -> bool:
        lease = self._leases[partition]
        return lease.owner == owner and lease.epoch == epoch

    # --- stepping

    async def load(self, instance_ids: Iterable[str]) -> dict[str, Snapshot]:
        return {
            instance_id: Snapshot(self._instances[instance_id], list(self._history.get(instance_id, ())))
            for instance_id in instance_ids
            if instance_id in self._instances
        }

    async def requests(
        self, keys: Collection[tuple[str, str]], now: Timestamp
    ) -> dict[tuple[str, str], RequestKey]:
        found = {key: self._requests[key] for key in keys if key in self._requests}
        return {key: each for key, each in found.items() if each.expires_at > now}

    async def commit(self, batch: Batch) -> list[int]:
        if any(self._leases[partition].epoch != epoch for partition, epoch in batch.epochs.items()):
            raise LeaseLostError("A partition has another owner now.")
        try:
            steps = [(row, Step(row.seq, row.at, _decode_facts(row.facts_json))) for row in batch.history]
        except msgspec.MsgspecError as error:
            raise DataRefusedError(f"A fact cannot be read again: {error}") from error
        self._delete(batch)
        self._instances.update(batch.instances)
        for instance_id in batch.forgotten:
            self._history.pop(instance_id, None)
        for row, step in steps:
            if row.generation >= batch.forgotten.get(row.instance_id, 0):
                self._history.setdefault(row.instance_id, []).append(step)
        self._close(batch)
        self._activities.update(batch.activities.put)
        for call in batch.activities_started:
            if call.key in self._activities:
                self._activities[call.key] = replace(call, started=True)
        self._reruns.update(batch.reruns.put)
        self._timers.update(batch.timers.put)
        self._waits.update(batch.waits.put)
        self._waits.update(
            (key, replace(self._waits[key], due=due)) for key, due in batch.deadlines.items() if key in self._waits
        )
        self._requests.update(batch.requests)
        self._verdicts += batch.remote_verdicts
        for entry in batch.audit:
            await self.note(entry)
        ids = [*self._put_first(batch.returned), *await self.send(batch.inbox)]
        await self.send(batch.parked)
        return ids

    def _delete(self, batch: Batch) -> None:
        purged, gone = set(batch.purged), {*batch.purged, *batch.replaced}
        if gone:
            for instance_id in gone:
                self._instances.pop(instance_id, None)
                self._history.pop(instance_id, None)
            self._requests = {
                key: each
                for key, each in self._requests.items()
                if key[0] not in gone or (each.outlives and key[0] not in purged)
            }
            self._reruns = {key: count for key, count in self._reruns.items() if key[0] not in gone}
            self._audit = [entry for entry in self._audit if entry.instance_id not in purged]
            self._inbox = {
                key: each for key, each in self._inbox.items() if each.instance_id not in gone or not each.goes_with
            }
        for instance_id, (_, seq) in batch.undone.items():
            self._history[instance_id] = [step for step in self._history[instance_id] if step.seq < seq]
        expired = [key for key, each in self._requests.items() if each.expires_at <= batch.at]
        for key in expired if batch.requests else ():
            del self._requests[key]

    def _close(self, batch: Batch) -> None:
        for key in batch.activities.closed:
            self._activities.pop(key, None)
        for instance_id in batch.cleared:
            for rows in (self._activities, self._timers, self._waits):
                self._clear(rows, instance_id)
        for key in batch.reruns.closed:
            self._reruns.pop(key, None)
        for timer in batch.timers.closed:
            self._timers.pop(timer, None)
        for wait in batch.waits.closed:
            self._waits.pop(wait, None)
        for inbox_id in batch.inbox_closed:
            self._inbox.pop(inbox_id, None)
        self._inbox.update((message.inbox_id, message) for message in batch.inbox_kept)

    @staticmethod
    def _clear(rows: dict[Any, Any], instance_id: str) -> None:
        for key in [key for key in rows if key[0] == instance_id]:
            del rows[key]

    # --- work that waits for its owner

    async def send(self, messages: Sequence[Message]) -> list[int]:
        ids = [next(self._ids) for _ in messages]
        self._inbox.update(
            (inbox_id, replace(message, inbox_id=inbox_id)) for inbox_id, message in zip(ids, messages, strict=True)
        )
        return ids

    def _put_first(self, messages: Sequence[Message]) -> list[int]:
        ids = [-next(self._ids) for _ in messages][::-1]
        self._inbox.update(
            (inbox_id, replace(message, inbox_id=inbox_id)) for inbox_id, message in zip(ids, messages, strict=True)
        )
        return ids

    async def verdicts(self, worker: str) -> list[RemoteVerdict]:
        found = [each for each in self._verdicts if each.worker == worker]
        self._verdicts = [each for each in self._verdicts if each.worker != worker]
        return found

    async def inbox(self, partitions: Collection[int], after: int, limit: int) -> list[Message]:
        found = [
            message
            for inbox_id, message in sorted(self._inbox.items())
            if inbox_id > after and partition_of(message.instance_id) in partitions
        ]
        return found[:limit]

    async def timers(
        self, partitions: Collection[int], until: Timestamp, after: Timestamp = BEFORE_ALL
    ) -> list[Timer]:
        due = [
            timer
            for timer in self._timers.values()
            if after < timer.fire_at <= until and partition_of(timer.instance_id) in partitions
        ]
        return sorted(due, key=lambda timer: (timer.fire_at, timer.key))

    async def activities(self, partitions: Collection[int]) -> list[ScheduledActivity]:
        calls = [
            replace(call, held_by=self._holder(call.instance_id))
            for call in self._activities.values()
            if partition_of(call.instance_id) in partitions
        ]
        return sorted(calls, key=lambda call: (call.scheduled_at, call.key))

    def _holder(self, instance_id: str) -> str:
        instance = self._instances.get(instance_id)
        return "" if instance is None else instance.held_by

    async def reruns(self, partitions: Collection[int]) -> dict[TaskKey, int]:
        return {key: count for key, count in self._reruns.items() if partition_of(key[0]) in partitions}

    # --- reading

    async def instance(self, instance_id: str) -> Instance | None:
        return self._instances.get(instance_id)

    async def rows(self, instance_ids: Collection[str]) -> list[Instance]:
        return [self._instances[each] for each in instance_ids if each in self._instances]

    async def history(self, instance_id: str) -> list[Step]:
        return list(self._history.get(instance_id, ()))

    async def waits(self, instance_id: str) -> list[Wait]:
        found = [wait for key, wait in self._waits.items() if key[0] == instance_id]
        return sorted(found, key=lambda wait: wait.id)

    # --- lists

    async def instances(self, where: InstanceFilter, after: InstanceCursor | None, limit: int) -> list[Instance]:
        meant = [instance for instance in self._instances.values() if _is_meant(instance, where)]
        meant.sort(key=instance_cursor, reverse=True)
        return [each for each in meant if after is None or instance_cursor(each) < after][:limit]

    async def counts(self, where: InstanceFilter) -> dict[RuntimeStatus, int]:
        return dict(Counter(each.status for each in self._instances.values() if _is_meant(each, where)))

    async def open_waits(self, where: WaitFilter, after: WaitCursor | None, limit: int) -> list[Wait]:
        meant = [
            wait
            for wait in self._waits.values()
            if (where.due_before is None or wait_cursor(wait).due < where.due_before)
            and (not where.name or wait.name.lower() == where.name.lower())
            and (not where.orchestrator or wait.orchestrator == where.orchestrator)
            and where.tags.items() <= self._tags_of(wait.instance_id).items()
        ]
        meant.sort(key=wait_cursor)
        return [wait for wait in meant if after is None or wait_cursor(wait) > after][:limit]

    async def ended(
        self, partitions: Collection[int], before: Timestamp, after: InstanceCursor | None, limit: int
    ) -> tuple[list[str], InstanceCursor | None]:
        meant = sorted(
            instance_cursor(each)
            for each in self._instances.values()
            if each.status.finished and each.updated < before and partition_of(each.id) in partitions
        )
        found = [place for place in meant if after is None or place > after][:limit]
        return [place.id for place in found], found[-1] if len(found) == limit else None

    async def failures(self, since: Timestamp, after: FailureCursor | None, limit: int) -> list[Instance]:
        meant = [
            each
            for each in self._instances.values()
            if each.status is RuntimeStatus.FAILED and each.updated >= since
        ]
        meant.sort(key=failure_cursor, reverse=True)
        return [each for each in meant if after is None or failure_cursor(each) < after][:limit]

    async def open_timers(self, due_before: Timestamp, after: TimerCursor | None, limit: int) -> list[Timer]:
        meant = sorted((each for each in self._timers.values() if each.fire_at < due_before), key=timer_cursor)
        shown = [each for each in meant if after is None or timer_cursor(each) > after][:limit]
        return [replace(each, orchestrator=self._name_of(each.instance_id)) for each in shown]

    def _tags_of(self, instance_id: str) -> dict[str, str]:
        instance = self._instances.get(instance_id)
        return {} if instance is None else instance.tags

    def _name_of(self, instance_id: str) -> str:
        instance = self._instances.get(instance_id)
        return "" if instance is None else instance.name

    async def audit(self, instance_id: str | None, before: int | None, limit: int) -> list[AuditEntry]:
        meant = [
            entry
            for entry in reversed(self._audit)
            if (instance_id is None or entry.instance_id == instance_id) and (before is None or entry.id < before)
        ]
        return meant[:limit]

    async def note(self, entry: AuditEntry) -> None:
        self._audit.append(replace(entry, id=next(self._audit_ids)))

    # --- who works

    async def announce(self, presence: Presence) -> None:
        self._workers[presence.name] = presence
        self._workers = {each.name: each for each in (await self.workers())[:REMEMBERED]}
        self._verdicts = [each for each in self._verdicts if each.worker in self._workers]

    async def workers(self) -> list[Presence]:
        return sorted(self._workers.values(), key=lambda each: (each.started_at, each.name), reverse=True)


def _is_meant(instance: Instance, where: InstanceFilter) -> bool:
    return (
        (where.created_from is None or instance.created_at >= where.created_from)
        and (where.created_to is None or instance.created_at <= where.created_to)
        and (not where.statuses or instance.status in where.statuses)
        and instance.id.startswith(where.id_prefix)
        and (not where.name or instance.name == where.name)
        and where.tags.items() <= instance.tags.items()
        and not (where.held and instance.held is None)
    )
