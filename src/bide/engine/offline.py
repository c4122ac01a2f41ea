"""Changes one instance while no worker runs: its code, and the bodies of its activities, stay where they are.

For when an instance ends every process that has it, so that no server answers. The message is judged by the
partition, as ever, and committed under a fence; but no function is known, so nothing of the users' runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from bide.core.dispatcher import Dispatcher
from bide.core.registry import Registry
from bide.core.replay import Executions
from bide.errors import InstanceFinishedError, InstanceNotFoundError, StoreInUseError
from bide.model.batch import Audit, AuditEntry, Batch, Loaded, Message, Snapshot
from bide.model.clock import Clock, Timestamp
from bide.model.history import ExecutionPurged, ExecutionTerminated
from bide.model.instance import OPERATOR, PARTITIONS, check_reason, partition_of
from bide.model.links import LinksToNowhere
from bide.model.sealing import WithoutKeys
from bide.store.protocol import Store

_OWNER = "bide db"
_TRIES = 20
"""A killed worker's lease ends 15 seconds after it was last renewed."""

_Step: TypeAlias = Callable[[Dispatcher, Snapshot, Timestamp], Batch]


async def hold(store: Store, clock: Clock, instance_id: str, reason: str) -> None:
    """Keep an instance from running, with its messages, until it is resumed. Raises what `terminate` does."""

    def step(dispatcher: Dispatcher, snapshot: Snapshot, now: Timestamp) -> Batch:
        instance = snapshot.instance
        if instance.status.finished:
            raise InstanceFinishedError(instance.id, instance.status)
        why = check_reason(reason) or "An operator holds it, until it is resumed."
        batch = dispatcher.hold({instance.id: snapshot}, {instance.id: why}, now, OPERATOR)
        batch.audit.append(AuditEntry(now, "hold", _OWNER, "", reason, instance_id=instance.id))
        return batch

    await _change(store, clock, instance_id, step)


async def terminate(store: Store, clock: Clock, instance_id: str, reason: str, *, recurse: bool) -> None:
    """End an instance; with `recurse` its sub-orchestrations too, as soon as a worker runs, also if it has ended.

    Raises `InstanceNotFoundError`, `InstanceFinishedError`, and `StoreInUseError` while a worker has it.
    """
    await _tell(
        store,
        clock,
        instance_id,
        ExecutionTerminated(check_reason(reason), recurse),
        Audit("terminate", _OWNER, "", reason),
    )


async def purge(store: Store, clock: Clock, instance_id: str) -> None:
    """Delete an instance that has ended. Raises `NotAllowedError` if it has not, and what `terminate` does."""
    await _tell(store, clock, instance_id, ExecutionPurged(), Audit("purge", _OWNER, ""))


async def _tell(
    store: Store, clock: Clock, instance_id: str, fact: ExecutionTerminated | ExecutionPurged, audit: Audit
) -> None:
    def step(dispatcher: Dispatcher, snapshot: Snapshot, now: Timestamp) -> Batch:
        batch = dispatcher.step([Message(instance_id, fact, audit=audit)], now, Loaded({instance_id: snapshot}))
        (refusal,) = batch.verdicts
        if refusal is not None:
            raise refusal
        return batch

    await _change(store, clock, instance_id, step)


async def _change(store: Store, clock: Clock, instance_id: str, step: _Step) -> None:
    dispatcher = Dispatcher(Executions(Registry(), LinksToNowhere(), WithoutKeys()), WithoutKeys())
    async with _owning(store, clock, partition_of(instance_id)) as epochs:
        dispatcher.epochs.update(epochs)
        found = await store.load([instance_id])
        if instance_id not in found:
            raise InstanceNotFoundError(instance_id)
        batch = step(dispatcher, found[instance_id], clock.now())
        notes = await store.reruns([partition_of(instance_id)])
        batch.reruns.closed += [key for key in notes if key[0] == instance_id]
        await store.commit(batch)


@asynccontextmanager
async def _owning(store: Store, clock: Clock, partition: int) -> AsyncGenerator[dict[int, int], None]:
    """Own what is free, that partition among it. Raises `StoreInUseError`."""
    for _ in range(_TRIES):
        now = clock.now()
        taken = await store.acquire(_OWNER, now, now, PARTITIONS)
        try:
            if partition in taken:
                yield taken
                return
        finally:
            await _leave(store, taken)
        await asyncio.sleep(1)
    raise StoreInUseError("A worker has the instance. While one runs, ask it: bide suspend, terminate or purge.")


async def _leave(store: Store, taken: dict[int, int]) -> None:
    """Give back what was owned, as it was found: what was cut off is not released, but its lease is over."""
    cut_off = await store.cut_off(taken)
    await store.release(_OWNER, {each: epoch for each, epoch in taken.items() if each not in cut_off})
