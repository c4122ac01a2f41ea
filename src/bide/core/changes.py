"""How what happens to an instance becomes rows of a batch.

The partition decides *what* happens; this module knows *which rows* say so. A row that is opened and closed in the
same step never reaches the database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from bide.core.openwork import OpenWork
from bide.model.batch import (
    ACCEPTED,
    Audit,
    AuditEntry,
    Batch,
    HistoryRow,
    Message,
    RemoteVerdict,
    ScheduledActivity,
    Timer,
    TimerKey,
    Verdict,
    words_of,
)
from bide.model.clock import Timestamp
from bide.model.history import (
    NULL,
    EventAwaited,
    EventDeadlineChanged,
    EventDiscarded,
    EventRaised,
    EventSent,
    EventWaitCancelled,
    ExecutionStarted,
    ExecutionTerminated,
    Fact,
    OrchestratorCompleted,
    OrchestratorStarted,
    Parent,
    ResponseLinkCreated,
    SubOrchestrationInstanceCancelled,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCancelled,
    TimerCreated,
    TimerFired,
)
from bide.model.instance import Instance, Wait, birth_of_child, partition_of
from bide.model.rules import Role, check_covers
from bide.model.sealing import Sealer, sealed_event

encode_facts = msgspec.json.Encoder().encode


class Changes:
    """Fills one batch."""

    __slots__ = ("_epochs", "_sealer", "batch")

    def __init__(self, at: Timestamp, epochs: Mapping[int, int], sealer: Sealer) -> None:
        self.batch = Batch(at)
        self._epochs = epochs
        self._sealer = sealer

    def fence(self, partition: int) -> None:
        """The batch is valid only while this partition is owned under the present epoch (G6)."""
        self.batch.epochs[partition] = self._epochs[partition]

    def start(self, activities: Sequence[ScheduledActivity]) -> None:
        """Mark once-activities as started, before their bodies run."""
        self.batch.activities_started.extend(activities)
        for activity in activities:
            self.fence(partition_of(activity.instance_id))

    def record(self, instance: Instance, seq: int, at: Timestamp, facts_json: bytes, asked: Sequence[Fact]) -> None:
        """One step of the history, and the rows of everything it asks for. `at` is the instance's own instant."""
        self.batch.history.append(HistoryRow(instance.id, instance.generation, seq, at, facts_json))
        self.ask(instance, at, asked)

    def ask(self, instance: Instance, at: Timestamp, asked: Sequence[Fact]) -> None:
        """The rows of what is asked for at that instant, or is open again after a rewind."""
        for fact in asked:
            row_of = self._rows.get(type(fact))
            if row_of is not None:
                row_of(self, instance, at, fact)

    def close_answered(self, instance: Instance, answered: Sequence[tuple[int, int]]) -> None:
        """The rows of waits that were answered, and how long each had been open."""
        for wait_id, waited in answered:
            self.batch.waits.close((instance.id, wait_id))
            self.batch.answered.append(waited)

    def make_way(self, instance: Instance) -> None:
        """The instance is deleted for another one of its id. What this batch has of it is not written."""
        batch, instance_id = self.batch, instance.id
        batch.replaced.setdefault(instance_id, instance)
        batch.history = [row for row in batch.history if row.instance_id != instance_id]
        batch.requests = {
            key: request for key, request in batch.requests.items() if key[0] != instance_id or request.outlives
        }
        batch.held = [held for held in batch.held if held.id != instance_id]
        for rows in (batch.instances, batch.forgotten, batch.undone, batch.long, batch.unawaited):
            rows.pop(instance_id, None)

    def drop(self, instance: Instance, work: OpenWork) -> None:
        """An ended generation waits for nothing: close its activities, timers and waits. Children live on."""
        for request in work.requests.values():
            match request:
                case TaskScheduled() | OrchestratorStarted():
                    self.batch.activities.close((instance.id, instance.generation, request.id, instance.birth))
                case TimerCreated():
                    self.batch.timers.close(_timer_key(instance, request))
                case EventAwaited():
                    self.batch.waits.close((instance.id, request.id))
                case SubOrchestrationInstanceCreated():
                    pass

    def clear(self, instance: Instance) -> None:
        """An instance ends whose history cannot be read: whatever it waited for, it waits no more."""
        self.batch.cleared.append(instance.id)

    def send(self, instance_id: str, fact: Fact, generation: int | None = None, birth: str = "") -> None:
        """A message to an instance, delivered once this batch is durable."""
        self.batch.inbox.append(Message(instance_id, fact, generation, birth=birth))

    def answer(self, parent: Parent, fact: Fact) -> None:
        """Tell whoever waits for a sub-orchestration what became of it."""
        self.send(parent.instance_id, fact, parent.generation, parent.birth)

    def put_back(self, instance: Instance, fact: Fact, generation: int | None = None) -> None:
        """A message that the next generation takes, in this order, and before whatever else is on its way."""
        self.batch.returned.append(Message(instance.id, fact, generation, birth=instance.birth))

    def audit(self, message: Message, asked: Audit, verdict: Verdict, *, repeated: bool) -> None:
        """Keep who asked, and what became of it."""
        result = type(verdict).__name__ if verdict is not ACCEPTED else "repeated" if repeated else "accepted"
        self.batch.audit.append(
            AuditEntry(
                self.batch.at,
                asked.verb,
                asked.caller,
                asked.address,
                asked.reason,
                result,
                message.instance_id,
            )
        )
        self.fence(partition_of(message.instance_id))

    def reply(self, message: Message, verdict: Verdict) -> None:
        """Tell the worker that put the message into the inbox what became of it."""
        told = RemoteVerdict(message.reply_to, message.inbox_id, *words_of(verdict))
        self.batch.remote_verdicts.append(told)

    def keep(self, message: Message, judged: Message) -> None:
        """A message stays in the inbox, in its place, but it has been judged: that is not done again."""
        if message != judged:
            self.batch.inbox_kept.append(judged)
            self.fence(partition_of(message.instance_id))

    def close_source(self, message: Message, partition: int) -> None:
        """Close the row that the message came from: it is taken, dropped, refused, or parked elsewhere (G2)."""
        if message.inbox_id:
            self.batch.inbox_closed.append(message.inbox_id)
        close = self._sources.get(type(message.fact))
        if close is not None:
            close(self, message, message.fact)
        self.fence(partition)

    def _close_task(self, message: Message, fact: TaskCompleted | TaskFailed | OrchestratorCompleted) -> None:
        self.batch.activities.close((message.instance_id, message.generation or 0, fact.id, message.birth))

    def _close_fired(self, message: Message, fact: TimerFired) -> None:
        key = (message.instance_id, message.generation or 0, fact.id, message.birth, fact.fire_at)
        self.batch.timers.close(key)
        self.batch.fired.append(fact.fire_at)

    def _set_timer(self, instance: Instance, at: Timestamp, fact: TimerCreated) -> None:
        timer = Timer(instance.id, instance.generation, fact.id, fact.fire_at, instance.birth)
        self.batch.timers.open(timer.key, timer)

    def _cancel_timer(self, instance: Instance, at: Timestamp, fact: TimerCancelled) -> None:
        self.batch.timers.close(_timer_key(instance, fact))

    def _open_wait(self, instance: Instance, at: Timestamp, fact: EventAwaited) -> None:
        wait = Wait(instance.id, fact.id, fact.name, at, fact.deadline, fact.schema, instance.name)
        key = (instance.id, fact.id)
        self.batch.waits.open(key, wait)
        if self.batch.deadlines:
            self.batch.deadlines.pop(key, None)  # it is not that of an earlier generation any more

    def _change_deadline(self, instance: Instance, at: Timestamp, fact: EventDeadlineChanged) -> None:
        key = (instance.id, fact.id)
        wait = self.batch.waits.put.get(key)
        if wait is None:
            self.batch.deadlines[key] = fact.deadline
        else:
            self.batch.waits.put[key] = replace(wait, due=fact.deadline)

    def _cancel_wait(self, instance: Instance, at: Timestamp, fact: EventWaitCancelled) -> None:
        self.batch.waits.close((instance.id, fact.id))

    def end_child(
        self,
        instance: Instance,
        request: SubOrchestrationInstanceCreated | SubOrchestrationInstanceCancelled,
        fact: ExecutionTerminated,
    ) -> None:
        """End the child that this request started, and no other that has its id by now."""
        parent = Parent(instance.id, instance.generation, request.id, instance.birth)
        self.send(request.instance_id, fact, birth=birth_of_child(parent))

    def _start_child(self, instance: Instance, at: Timestamp, fact: SubOrchestrationInstanceCreated) -> None:
        """A child has its parent's tags: whoever looks for all that belongs to somebody finds it, too."""
        parent = Parent(instance.id, instance.generation, fact.id, instance.birth)
        start = ExecutionStarted(fact.name, fact.input, parent, instance.tags, birth_of_child(parent))
        self.send(fact.instance_id, start)

    def _end_cancelled(self, instance: Instance, at: Timestamp, fact: SubOrchestrationInstanceCancelled) -> None:
        self.end_child(instance, fact, ExecutionTerminated(fact.reason, recurse=True))

    def _send_event(self, instance: Instance, at: Timestamp, fact: EventSent) -> None:
        nonce = f"{instance.birth}-{instance.generation}-{fact.id}"
        event = EventRaised(fact.name, fact.input)
        self.send(fact.instance_id, sealed_event(self._sealer, fact.instance_id, event, nonce))

    def note_late(self, instance_id: str) -> None:
        """An answer that was accepted found its wait closed."""
        self._note(instance_id, "The wait that it was for is over.")

    def _note_discarded(self, instance: Instance, at: Timestamp, fact: EventDiscarded) -> None:
        self._note(instance.id, fact.reason)

    def _note(self, instance_id: str, reason: str) -> None:
        """An event's sender was told that it was accepted: at least the audit says what became of it."""
        self.batch.audit.append(
            AuditEntry(self.batch.at, "raiseEvent", "bide", "", reason, "discarded", instance_id)
        )

    def _schedule(self, instance: Instance, at: Timestamp, fact: TaskScheduled) -> None:
        call_id = fact.call_id or fact.id
        self._hand_out(instance, fact.id, fact.name, fact.input, fact.attempt, call_id)

    def _schedule_turn(self, instance: Instance, at: Timestamp, fact: OrchestratorStarted) -> None:
        self._hand_out(instance, fact.id, instance.name, NULL, 1, fact.id)

    def _hand_out(
        self, instance: Instance, task_id: int, name: str, input_json: Raw, attempt: int, call_id: int
    ) -> None:
        activity = ScheduledActivity(
            instance.id,
            instance.generation,
            task_id,
            name,
            input_json,
            attempt,
            call_id,
            self.batch.at,
            birth=instance.birth,
        )
        self.batch.activities.open(activity.key, activity)

    _rows: ClassVar[dict[type[Fact], Callable[[Changes, Instance, Timestamp, Any], None]]] = {
        TaskScheduled: _schedule,
        OrchestratorStarted: _schedule_turn,
        EventAwaited: _open_wait,
        EventDeadlineChanged: _change_deadline,
        EventWaitCancelled: _cancel_wait,
        TimerCreated: _set_timer,
        TimerCancelled: _cancel_timer,
        SubOrchestrationInstanceCreated: _start_child,
        SubOrchestrationInstanceCancelled: _end_cancelled,
        EventSent: _send_event,
        EventDiscarded: _note_discarded,
    }
    """What an orchestrator asks for -> the rows that say so."""
    check_covers(_rows, Role.REQUEST, Role.GIVING_UP, Role.NOTICE, without=(ResponseLinkCreated,))

    _sources: ClassVar[dict[type[Fact], Callable[[Changes, Message, Any], None]]] = {
        TaskCompleted: _close_task,
        TaskFailed: _close_task,
        TimerFired: _close_fired,
        OrchestratorCompleted: _close_task,
    }
    """A message -> the row that it came from, where that is not in the inbox."""
    check_covers(
        _sources,
        Role.ANSWER,
        without=(EventRaised, SubOrchestrationInstanceCompleted, SubOrchestrationInstanceFailed),
    )


def _timer_key(instance: Instance, fact: TimerCreated | TimerCancelled) -> TimerKey:
    return (instance.id, instance.generation, fact.id, instance.birth, fact.fire_at)
