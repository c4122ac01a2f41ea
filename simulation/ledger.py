"""What truly happened in a simulated world, written down at the moment it happened.

The ledger sees every successful effect on the store (`WatchedStore`), every effect on the outside (an SMS), and
every answer a client got. Most promises are checked here, on the spot; the others at the end (`checks`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
from msgspec.json import encode
from msgspec.structs import replace

from bide.errors import BideError, DataRefusedError
from bide.model.batch import Batch, HistoryRow, Message, ScheduledActivity, Snapshot, TaskKey
from bide.model.clock import Timestamp
from bide.model.history import (
    EventAwaited,
    EventRaised,
    EventSent,
    EventWaitCancelled,
    ExecutionStarted,
    ExecutionTerminated,
    Fact,
    OrchestratorCompleted,
    Parent,
    SubOrchestrationInstanceCompleted,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCancelled,
    TimerCreated,
    TimerFired,
)
from bide.model.instance import Instance, partition_of
from bide.model.sealing import SealingKeys, event_place
from bide.store.protocol import Store
from bide.testing.faults import Faults, FaultyStore, Pause
from simulation.report import Report

SEALER = SealingKeys([bytes(32)])
"""Of all the processes of a world: they share its secret."""
FOR_ONE = "for one: "
"""How the payload of an event begins that is for one wait. Then it says which: birth, generation and id."""

_decode_facts = msgspec.json.Decoder(tuple[Fact, ...]).decode


@dataclass(slots=True)
class Sent:
    """An event that a client sent. Its payload is unique."""

    order: int
    client: str
    instance_id: str
    name: str
    payload: str
    worker: str
    answered: int = 0
    """When the answer came, in the same count as `order`; 0: it never came, the outcome is unknown."""
    error: BideError | None = None
    relayed: bool = False
    """A worker that did not own the instance left it in the inbox for the one that does."""

    @property
    def acked(self) -> bool:
        return bool(self.answered) and self.error is None


@dataclass(slots=True)
class Past:
    """All that was ever committed of one instance, over all its generations."""

    birth: str
    generation: int = -1
    seq: int = -1
    at: Timestamp = 0
    generations: list[list[tuple[Fact, ...]]] = field(default_factory=list[list[tuple[Fact, ...]]])
    raised: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    """Payload -> the generations in which the event is in history."""
    arrived: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """(lower-case name, payload) of each event, in the order of its first arrival."""


class Ledger:
    """The truth, and the checks that can be made at once."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.highest: Timestamp = 0
        """The latest that any process may have been, ever."""
        self.pasts: dict[str, Past] = {}
        """What was committed of the last instance of each id."""
        self.lives: dict[str, list[Past]] = {}
        """What was committed of all instances of each id, in the order in which they began."""
        self.unbegun: dict[tuple[str, str], Past] = {}
        """Instances that have a row, and no history yet."""
        self.produced: dict[TaskKey, set[bytes]] = {}
        """The results that the bodies of activities gave."""
        self.made_way: set[str] = set()
        """Ids of which an instance was replaced by another one."""
        self.children_over: set[Parent] = set()
        """The calls whose sub-orchestration has ended, or was refused."""
        self.epochs: dict[int, int] = {}
        self.scheduled: dict[TaskKey, ScheduledActivity] = {}
        self.started: set[TaskKey] = set()
        self.answered: set[TaskKey] = set()
        self.timers: dict[TaskKey, Timestamp] = {}
        self.timers_over: set[TaskKey] = set()
        self.in_transit: set[tuple[str, str]] = set()
        """(instance id, payload or function name) of everything ever put into the inbox."""
        self.effects: dict[TaskKey, int] = {}
        self.excused: dict[TaskKey, int] = {}
        """Repetitions allowed, because `reconcile` said truthfully that nothing was done *yet*."""
        self.sent: dict[str, Sent] = {}
        self.starts: dict[str, str] = {}
        """Instance id -> function, of every acknowledged start."""
        self.sent_by_instances: dict[str, str] = {}
        """Payload -> the instance it was sent to, of every `EventSent`."""
        self.held: set[str] = set()
        """Instances that are held because they were under way when processes ended."""
        self.misfits: set[str] = set()
        """Instances whose present code does not fit, and which were seen held."""

    # --- the store

    def acquired(self, epochs: Mapping[int, int]) -> None:
        for partition, epoch in epochs.items():
            if epoch <= self.epochs.get(partition, 0):
                self.report.broken("G6", f"partition {partition} was given out again under epoch {epoch}")
            self.epochs[partition] = epoch
        self.report.checks["G6"] += len(epochs)

    def committed(self, batch: Batch, unfit: frozenset[str], latest: Timestamp) -> None:
        """`unfit` are the functions that do not fit on the worker that wrote this; `latest` the latest that it may
        have been there."""
        self._check_fence(batch)
        self.report.counts["wanted elsewhere"] += len(batch.wanted)
        for key, activity in batch.activities.put.items():
            self.scheduled[key] = activity
        self.started.update(activity.key for activity in batch.activities_started)
        for row in batch.history:
            self._step(row, batch.instances[row.instance_id].birth, latest)
        for instance in batch.instances.values():
            self._updated(instance, latest)
        self.made_way |= batch.replaced.keys()
        for instance in (*batch.instances.values(), *batch.replaced.values()):
            if instance.parent is not None and instance.status.finished:
                self.children_over.add(instance.parent)
        self.held -= {*batch.purged, *batch.replaced, *batch.instances}
        self.held |= {each.id for each in batch.instances.values() if each.held_by}
        if unfit:
            self._check_held(batch, unfit)
        self.queued([*batch.returned, *batch.inbox, *batch.parked])

    def queued(self, messages: Sequence[Message], *, relayed: bool = False) -> None:
        for message in messages:
            if isinstance(message.fact, EventRaised):
                payload = text_of(message.instance_id, message.fact)
                self.in_transit.add((message.instance_id, payload))
                if relayed and payload in self.sent:
                    self.sent[payload].relayed = True
            elif isinstance(message.fact, ExecutionStarted):
                self.in_transit.add((message.instance_id, message.fact.name))

    def _check_fence(self, batch: Batch) -> None:
        for partition, epoch in batch.epochs.items():
            present = self.epochs.get(partition, 0)
            if epoch != present:
                text = f"a commit under epoch {epoch} of partition {partition}, whose epoch is {present}"
                self.report.broken("G6", text)
        self.report.checks["G6"] += len(batch.epochs)
        touched = {*batch.instances, *(row.instance_id for row in batch.history)}
        for instance_id in touched:
            fenced = partition_of(instance_id) in batch.epochs
            self.report.check("G6", fenced, "a commit changes an instance whose partition it does not fence")

    def _check_held(self, batch: Batch, unfit: frozenset[str]) -> None:
        for row in batch.history:
            instance = batch.instances[row.instance_id]
            if instance.name in unfit:
                ended = isinstance(_decode_facts(row.facts_json)[0], ExecutionTerminated)
                self.report.check("G7", ended, f"{row.instance_id} went on with code that does not fit")
        for instance in batch.instances.values():
            if instance.name in unfit and not instance.status.finished:
                self.misfits.add(instance.id)
                held = instance.held is not None or instance.id in batch.let_go  # then it is tried once more
                held = held or partition_of(instance.id) in batch.wanted  # by a worker that may have it
                self.report.check("G7", held, f"{instance.id} is not held")

    # --- histories

    def _updated(self, instance: Instance, latest: Timestamp) -> None:
        """The instant of an instance is that of its worker's clock, or the one that it had."""
        past = self.pasts.get(instance.id)
        if past is None or past.birth != instance.birth:
            past = self.unbegun.setdefault((instance.id, instance.birth), Past(instance.birth))
        at = instance.updated
        self.report.check("time", past.at <= at, f"{instance.id} was at {past.at}, and is at {at}")
        self.report.check("time", at <= max(past.at, latest), f"{instance.id} is at {at}, and it is {latest}")
        past.at = max(past.at, at)

    def _step(self, row: HistoryRow, birth: str, latest: Timestamp) -> None:
        past = self.pasts.get(row.instance_id)
        if past is None or past.birth != birth:
            past = self.pasts[row.instance_id] = self.unbegun.pop((row.instance_id, birth), Past(birth))
            self.lives.setdefault(row.instance_id, []).append(past)
        next_step = row.generation == past.generation and row.seq == past.seq + 1
        next_run = row.generation > past.generation and row.seq == 0
        if not next_step and not next_run:
            text = f"{row.instance_id}: step {row.generation}/{row.seq} after {past.generation}/{past.seq}"
            self.report.broken("G2", text)
        self.report.checks["G2"] += 1
        if row.generation > past.generation:
            past.generations.append([])
        past.generation, past.seq = row.generation, row.seq
        facts = _decode_facts(row.facts_json)
        due = facts[0].fire_at if isinstance(facts[0], TimerFired) else 0
        self.report.check("time", row.at >= max(past.at, due), f"{row.instance_id} goes back from {past.at}")
        latest = max(latest, past.at, due)
        self.report.check("time", row.at <= latest, f"{row.instance_id} is at {row.at}, and it is {latest}")
        past.at = max(past.at, row.at)
        past.generations[-1].append(facts)
        self._cause(row, past, facts[0])
        for fact in facts[1:]:
            self._request(row, past, fact)

    def _cause(self, row: HistoryRow, past: Past, fact: Fact) -> None:
        match fact:
            case EventRaised():
                self._event(row, past, fact)
            case OrchestratorCompleted():
                key = (row.instance_id, row.generation, fact.id, past.birth)
                self.report.check("G5", key in self.scheduled, f"an answer to {key}, which was never handed out")
                self.report.check("G5", key not in self.answered, f"a second answer to {key}")
                self.answered.add(key)
            case TaskCompleted() | TaskFailed():
                key = (row.instance_id, row.generation, fact.id, past.birth)
                self.report.check("G5", key in self.scheduled, f"a result of {key}, which was never asked for")
                self.report.check("G5", key not in self.answered, f"a second result of {key}")
                self.answered.add(key)
                mine = encode(replace(fact, started_at=0)) in self.produced.get(key, ())
                self.report.check("births", mine, f"{key} got a result that none of its bodies gave")
            case SubOrchestrationInstanceCompleted():
                call = Parent(row.instance_id, row.generation, fact.id, past.birth)
                self.report.check("births", call in self.children_over, f"{call} got a result, and its child runs")
            case TimerFired():
                self._fired(row, past, fact)
            case _:
                pass

    def _event(self, row: HistoryRow, past: Past, fact: EventRaised) -> None:
        payload = text_of(row.instance_id, fact)
        others = [other for other in self.lives[row.instance_id] if other is not past and payload in other.raised]
        text = f"event {payload} was taken by two instances that had the id {row.instance_id}"
        self.report.check("births", not others, text)
        seen = past.raised.setdefault(payload, [])
        if not seen:
            past.arrived.append((fact.name.lower(), payload))
        self.report.check(
            "G2", row.generation not in seen, f"event {payload} is twice in the history of {row.instance_id}"
        )
        seen.append(row.generation)
        if fact.id or payload.startswith(FOR_ONE):
            self._for_one(row, past, fact, payload)

    def _for_one(self, row: HistoryRow, past: Past, fact: EventRaised, payload: str) -> None:
        meant = payload.removeprefix(FOR_ONE).partition("#")[0]
        here = f"{past.birth}/{row.generation}/{fact.id}"
        self.report.check("waits", meant == here, f"{payload} was taken for {here} of {row.instance_id}")
        before = [each for facts in past.generations[-1][:-1] for each in facts]
        opened = any(isinstance(each, EventAwaited) and each.id == fact.id for each in before)
        closed = any(isinstance(each, EventRaised | EventWaitCancelled) and each.id == fact.id for each in before)
        self.report.check("waits", opened and not closed, f"{payload} was taken, and its wait was not open")

    def _fired(self, row: HistoryRow, past: Past, fact: TimerFired) -> None:
        key = (row.instance_id, row.generation, fact.id, past.birth)
        due = self.timers.get(key)
        self.report.check("G3", due == fact.fire_at, f"timer {key} fired as {fact.fire_at}, was set as {due}")
        self.report.check("G3", key not in self.timers_over, f"timer {key} fired, but was over already")
        self.report.check("G3", self.highest >= (due or 0), f"timer {key} fired {due} early, at {self.highest}")
        self.timers_over.add(key)

    def _request(self, row: HistoryRow, past: Past, fact: Fact) -> None:
        match fact:
            case TimerCreated():
                self.timers[(row.instance_id, row.generation, fact.id, past.birth)] = fact.fire_at
            case TimerCancelled():
                self.timers_over.add((row.instance_id, row.generation, fact.id, past.birth))
            case TaskScheduled():
                key = (row.instance_id, row.generation, fact.id, past.birth)
                if key not in self.scheduled:  # scheduled and dropped in one commit: it has no row
                    self.timers_over.add(key)
            case EventSent():
                payload = msgspec.json.decode(fact.input)
                twice = payload in self.sent_by_instances
                self.report.check("G2", not twice, f"{row.instance_id} sent {payload} twice")
                self.sent_by_instances[payload] = fact.instance_id
            case _:
                pass

    # --- the world outside

    def released(self, activity: ScheduledActivity) -> None:
        """An activity was handed to the runner."""
        durable = activity.key in self.scheduled
        self.report.check("G5", durable, f"activity {activity.key} was run before it was durable that it should")

    def effect(self, activity: ScheduledActivity, once: bool) -> None:
        """The body of an activity did what it does to the world."""
        key = activity.key
        count = self.effects[key] = self.effects.get(key, 0) + 1
        self.report.counts["effects"] += 1
        if once:
            self.report.check("G5", key in self.started, f"{key} was done before it was marked as started")
            allowed = 1 + self.excused.get(key, 0)
            self.report.check("G5", count <= allowed, f"once-activity {key} was done {count} times")

    def gave(self, activity: ScheduledActivity, fact: Fact) -> None:
        """The body of an activity came to its end."""
        self.produced.setdefault(activity.key, set()).add(encode(fact))

    def acked_start(self, instance_id: str, name: str) -> None:
        durable = instance_id in self.pasts or (instance_id, name) in self.in_transit
        self.report.check("G1", durable, f"the start of {instance_id} was acknowledged before it was durable")
        self.starts[instance_id] = name

    def acked_event(self, sent: Sent) -> None:
        taken = any(sent.payload in past.raised for past in self.lives.get(sent.instance_id, ()))
        ended = sent.instance_id in self.made_way  # perhaps in the commit that took the event
        durable = taken or ended or (sent.instance_id, sent.payload) in self.in_transit
        self.report.check("G1", durable, f"event {sent.payload} was acknowledged before it was durable")


class Spoiler(Protocol):
    """What is wrong with single rows, as long as they are there."""

    def dies_of(self, batch: Batch) -> bool: ...
    def refuses(self, batch: Batch) -> bool: ...
    def spoils(self, found: dict[str, Snapshot]) -> dict[str, Snapshot]: ...


class WatchedStore(FaultyStore):
    """A faulty store whose effects go into the ledger at the moment they happen."""

    def __init__(
        self,
        store: Store,
        faults: Faults,
        ledger: Ledger,
        unfit: frozenset[str],
        spoiler: Spoiler,
        latest: Callable[[], Timestamp],
    ) -> None:
        super().__init__(store, faults)
        self._spoiler = spoiler
        self._latest = latest
        self._ledger = ledger
        self._unfit = unfit

    @property
    def shared(self) -> bool:
        return True  # the workers of the world share it, though all of them are in one process

    async def acquire(
        self,
        owner: str,
        now: Timestamp,
        lease_until: Timestamp,
        at_most: int,
        lacking: Collection[str] = (),
        having: Collection[str] = (),
    ) -> dict[int, int]:
        return await self._through("acquire", self._acquire, owner, now, lease_until, at_most, lacking, having)

    async def _acquire(
        self, owner: str, now: Timestamp, lease_until: Timestamp, at_most: int, *names: Collection[str]
    ) -> dict[int, int]:
        epochs = await self._store.acquire(owner, now, lease_until, at_most, *names)
        self._ledger.acquired(epochs)
        return epochs

    async def load(self, instance_ids: Iterable[str]) -> dict[str, Snapshot]:
        return self._spoiler.spoils(await super().load(instance_ids))

    async def commit(self, batch: Batch) -> list[int]:
        return await self._through("commit", self._commit, batch)

    async def _commit(self, batch: Batch) -> list[int]:
        while self._spoiler.dies_of(batch):
            await Pause()
        if self._spoiler.refuses(batch):
            raise DataRefusedError("too much of it")
        ids = await self._store.commit(batch)
        self._ledger.committed(batch, self._unfit, self._latest())
        return ids

    async def send(self, messages: Sequence[Message]) -> list[int]:
        return await self._through("send", self._send, messages)

    async def _send(self, messages: Sequence[Message]) -> list[int]:
        ids = await self._store.send(messages)
        self._ledger.queued(messages, relayed=True)
        return ids


def text_of(instance_id: str, event: EventRaised) -> str:
    """The payload of an event of the simulation: always a string, always unique."""
    return str(msgspec.json.decode(SEALER.open(event.input, event_place(instance_id, event.name))))
