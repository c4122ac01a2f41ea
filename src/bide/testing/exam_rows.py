"""Rows as they may be, for examining stores."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw

from bide.model.batch import Batch, HistoryRow, Message, ScheduledActivity, Table, Timer
from bide.model.clock import SECOND, Timestamp
from bide.model.history import EventRaised, ExecutionStarted, Fact
from bide.model.instance import PARTITIONS, Instance, RuntimeStatus, Wait, partition_of
from bide.store.protocol import BEFORE_ALL, Store

Question: TypeAlias = Callable[[Store], Awaitable[None]]

NOW: Timestamp = 1_767_225_600 * SECOND
"""When the exam takes place."""
LATER = NOW + 15 * SECOND

ALL = range(PARTITIONS)
FOREVER: Timestamp = 2**62

ODD_PAYLOADS = {
    "nothing": b"null",
    "a zero byte": rb'"\u0000"',
    "an emoji": '"🙂"'.encode(),
    "a large integer": b"123456789012345678901234567890",
    "a number beyond all floats": b"1e400",
    "digits as they were written": b"1.10",
    "minus zero": b"-0.0",
    "keys in their order": b'{"b":1,"a":2}',
    "a key twice": b'{"a":1,"a":2}',
    "an escape as it was written": rb'"\/\u0041"',
    "a large one": b'"' + b"x" * 200_000 + b'"',
}


def instance(instance_id: str = "a", **fields: Any) -> Instance:
    """A row, as it may be."""
    values: dict[str, Any] = {
        "name": "order",
        "status": RuntimeStatus.RUNNING,
        "created": NOW,
        "updated": NOW,
        "birth": "b1",
    }
    return Instance(instance_id, **{**values, **fields})


def step(instance_id: str, seq: int, *facts: Fact, generation: int = 0) -> HistoryRow:
    """One row of history."""
    return HistoryRow(instance_id, generation, seq, NOW + seq, msgspec.json.encode(facts))


def activity(instance_id: str = "a", task_id: int = 1, **fields: Any) -> ScheduledActivity:
    """An activity that is scheduled."""
    values: dict[str, Any] = {"generation": 0, "name": "send", "input_json": Raw(b'"x"'), "attempt": 1}
    values |= {"call_id": task_id, "scheduled_at": NOW, "birth": "b1"}
    return ScheduledActivity(instance_id=instance_id, task_id=task_id, **{**values, **fields})


def event(instance_id: str = "a", number: int = 0, birth: str = "") -> Message:
    """A message that can be told from others."""
    return Message(instance_id, EventRaised("Item", Raw(str(number).encode())), birth=birth)


def numbers(messages: Iterable[Message]) -> list[int]:
    """Which events these are."""
    facts = [message.fact for message in messages]
    return [int(bytes(fact.input)) for fact in facts if isinstance(fact, EventRaised)]


async def own_all(store: Store, owner: str = "owner", now: Timestamp = NOW) -> dict[int, int]:
    """Take every partition."""
    return await store.acquire(owner, now, now + 15 * SECOND, PARTITIONS)


async def put(store: Store, epochs: dict[int, int], *ids: str, **rows: Any) -> list[int]:
    """Commit rows, under the fence of all partitions. Instances of the ids are made, if any are given.

    `activities` are rows to put and `activities_closed` keys of rows to close; so it is with the other tables.
    """
    for table in ("activities", "reruns", "timers", "waits"):
        rows[table] = Table(rows.pop(table, {}), rows.pop(f"{table}_closed", []))
    batch = Batch(NOW, epochs=epochs, **rows)
    batch.instances.update({instance_id: instance(instance_id) for instance_id in ids})
    return await store.commit(batch)


def everything(instance_id: str, epochs: dict[int, int], closes: int = 0) -> Batch:
    """A batch with a row of each kind."""
    call, timer = activity(instance_id, 1), Timer(instance_id, 0, 2, NOW, "b1")
    return Batch(
        NOW,
        epochs=epochs,
        instances={instance_id: instance(instance_id)},
        history=[step(instance_id, 0, ExecutionStarted("order"))],
        activities=Table({call.key: call}),
        timers=Table({timer.key: timer}),
        waits=Table({(instance_id, 3): Wait(instance_id, 3, "Answer", NOW, orchestrator="order")}),
        inbox=[event(instance_id, 1)],
        parked=[event(instance_id, 2, "b1")],
        inbox_closed=[closes] if closes else [],
    )


async def nothing_of(store: Store, instance_id: str) -> None:
    """No row of the instance is there."""
    own = [partition_of(instance_id)]
    assert await store.instance(instance_id) is None
    assert await store.load([instance_id]) == {}
    assert await store.history(instance_id) == []
    assert await store.waits(instance_id) == []
    assert [row for row in await store.activities(own) if row.instance_id == instance_id] == []
    assert [row for row in await store.timers(own, FOREVER) if row.instance_id == instance_id] == []
    assert [row for row in await store.inbox(own, BEFORE_ALL, 1000) if row.instance_id == instance_id] == []
