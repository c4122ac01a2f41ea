"""The single writer of its instances: messages in, one batch out.

`Dispatcher.step(messages, now, loaded)` applies messages one at a time and returns everything that changed as one
`Batch`. It is pure: no I/O, no clock. One object steps all the partitions that a worker owns, so that their number
costs nothing; `epochs` says which those are, and under which epoch each is owned.

Recently used instances are kept live, so that a step costs a `.send()`. The others come as `loaded` snapshots and
are replayed. `missing` tells which ids must be loaded for a list of messages.

Every message is applied (its facts become a history row), dropped (a duplicate, or too late), refused (the verdict
says why), parked in the inbox because the instance is held (G7), or put back until its next generation has started.
In each case the row it came from is closed in the same batch (G2).

This module is the door. What happens to an instance is in `stepping`, `endings`, `afterwards` and `holding`; what
belongs to one step is in its `Turn`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from msgspec.json import decode

from bide.core.afterwards import purge, replace_by, restart, rewind, take_child
from bide.core.endings import end_orphans, terminate
from bide.core.executors import Executors
from bide.core.failures import failure_as
from bide.core.holding import hold, hold_unread, is_held, keep, park, refusal_without_code, what_failed
from bide.core.isolation import OwnGenerators
from bide.core.live import Instances, Live
from bide.core.stepping import apply, bear, begin, come_late, let_go, tell
from bide.core.turn import House, Turn, begun, told_before
from bide.errors import (
    BideError,
    InstanceExistsError,
    InstanceNotFoundError,
    NotAllowedError,
    StepFailedError,
)
from bide.model.batch import ACCEPTED, Batch, Loaded, Message, ScheduledActivity, Snapshot, Verdict
from bide.model.clock import Timestamp
from bide.model.history import (
    ExecutionPurged,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    SubOrchestrationInstanceFailed,
    Unreadable,
)
from bide.model.instance import ALL_PARTITIONS, UNREADABLE, Instance, RuntimeStatus, partition_of
from bide.model.interrupts import from_outside
from bide.model.rules import ANSWERS, next_status
from bide.model.sealing import Sealer, input_place, is_sealed

NOTHING = Loaded()


class Dispatcher:
    """Steps the instances of all owned partitions."""

    def __init__(
        self,
        executors: Executors,
        sealer: Sealer,
        max_live: int = 10_000,
        long_history: int = 10_000,
        apart: Callable[[], AbstractContextManager[None]] = nullcontext,
        code: str = "",
    ) -> None:
        """`sealer` is for what only the code may read. `max_live` bounds how many instances keep their code in
        memory; the rest is replayed when needed.

        A history of `long_history` steps is told of. All of the users' code runs within `apart()`. `code` is the
        version of the users' code: what it was held for at great cost, the same code is not given again.
        """
        self.instances = Instances(executors, max_live, long_history)
        self.house = House(executors, self.instances, sealer, code)
        self.epochs = self.house.epochs
        """Owned partition -> the epoch under which it is owned. Whoever owns them says so here."""
        self._apart = apart

    def runs(self, instance_id: str) -> bool:
        """Whether the instance's code is in memory."""
        live = self.instances.peek(instance_id)
        return live is not None and live.executor is not None

    def step(
        self,
        messages: Sequence[Message],
        now: Timestamp,
        loaded: Loaded = NOTHING,
        starting: Sequence[ScheduledActivity] = (),
        accused: Mapping[str, str] | None = None,
    ) -> Batch:
        """Apply the messages in order. The caller commits the batch before the next step, or calls `forget`.

        `starting` are once-activities whose bodies may run as soon as the batch is durable; `accused` the instances
        whose code is not to run, and why: they are held.
        """
        turn = begun(self.house, now, loaded.requests, accused)
        turn.changes.start(starting)
        self.instances.load(loaded.snapshots)
        verdicts = turn.batch.verdicts
        with self._apart(), OwnGenerators():
            try:
                for message in messages:
                    verdicts.append(_judge(turn, message))
            except BaseException as error:  # one message's failure is no other's
                if isinstance(error, KeyboardInterrupt) and from_outside(error):
                    raise
                raise StepFailedError(len(verdicts), what_failed(error)) from error
            self.instances.evict(messages)
        return turn.batch

    def undo(self, messages: Iterable[Message]) -> None:
        """The batch of these messages is not committed: forget their instances."""
        with self._apart(), OwnGenerators():
            for instance_id in {message.instance_id for message in messages}:
                self.instances.remove(instance_id)
                self.house.given_up.pop(instance_id, None)

    def refuse(self, message: Message, refusal: BideError, now: Timestamp) -> Batch:
        """Refuse a message without a look at its instance, which is not in memory."""
        turn = begun(self.house, now)
        turn.drop(message)
        return _only(turn, message, refusal)

    def set_aside(self, message: Message, snapshot: Snapshot | None, reason: str, now: Timestamp) -> Batch:
        """Hold an instance that cannot take a message, and keep the message for it.

        It is not in memory. Without an instance, or after its end, there is nobody to keep the message for.
        """
        turn = begun(self.house, now)
        if snapshot is None or snapshot.instance.status.finished:
            verdict = turn.drop(message)
            fact = message.fact
            if snapshot is None and isinstance(fact, ExecutionStarted) and fact.parent is not None:
                failure = failure_as(StepFailedError, reason)
                turn.changes.answer(fact.parent, SubOrchestrationInstanceFailed(fact.parent.task_id, failure))
        else:
            verdict = hold(turn, message, self.instances.loaded(snapshot), reason)
        if message.request is not None:
            turn.remember(message.instance_id, message.request, verdict)
        return _only(turn, message, verdict)

    def purge(self, instance_ids: Iterable[str], now: Timestamp) -> Batch:
        """Delete instances that have ended, as the store told just now: between two steps, none of them is here."""
        turn = begun(self.house, now)
        for instance_id in instance_ids:
            turn.changes.fence(partition_of(instance_id))
            turn.batch.purged.append(instance_id)
        return turn.batch

    def hold(
        self, loaded: Mapping[str, Snapshot], reasons: Mapping[str, str], now: Timestamp, by: str = ""
    ) -> Batch:
        """Hold instances that are not in memory: `by` an operator, or (empty) this code."""
        turn = begun(self.house, now)
        for instance_id, snapshot in loaded.items():
            keep(turn, self.instances.loaded(snapshot), reasons[instance_id], by or self.house.code)
        return turn.batch

    def forget(self, partitions: Collection[int] = ALL_PARTITIONS) -> None:
        """Drop all memory of the instances of these partitions: what the store has is not what is here (G6)."""
        with self._apart(), OwnGenerators():
            self.instances.forget(partitions)
        self.house.forget(partitions)


# --- one message


def _judge(turn: Turn, message: Message) -> Verdict:
    """Take a message, unless its request took effect already; and note who asked, and what became of it."""
    request = message.request
    if request is None and message.audit is None and not message.reply_to:
        return _take(turn, message)
    earlier = request and turn.earlier(message.instance_id, request)
    if request is None or earlier is None:
        verdict = _take(turn, message)
        if request is not None:
            turn.remember(message.instance_id, request, verdict)
    else:
        verdict = turn.drop(message, told_before(earlier, request))
    turn.tell_sender(message, verdict, repeated=earlier is not None)
    return verdict


def _only(turn: Turn, message: Message, verdict: Verdict) -> Batch:
    """The batch of this one message."""
    turn.tell_sender(message, verdict)
    turn.batch.verdicts = [verdict]
    return turn.batch


def _take(turn: Turn, message: Message) -> Verdict:
    live, fact = turn.house.instances.use(message.instance_id), message.fact
    if message.birth and (live is None or live.instance.birth != message.birth):
        return turn.drop(message, InstanceNotFoundError(message.instance_id))  # it was for an earlier life
    if type(fact) is ExecutionStarted:
        return _take_start(turn, message, fact, live)
    if live is None:
        if isinstance(fact, Unreadable):  # perhaps a start, for a newer version: it stays
            return ACCEPTED
        return turn.drop(message, InstanceNotFoundError(message.instance_id))
    instance = live.instance
    if message.generation is not None and message.generation != instance.generation:
        return come_late(turn, message)
    if live.executor is not None and type(fact) in ANSWERS and not turn.keeps_back(instance.id):
        return tell(turn, message, live, live.executor, instance.status)
    return _manage(turn, message, live)


def _manage(turn: Turn, message: Message, live: Live) -> Verdict:
    """Take what is not for the code, or what is and finds no code in memory."""
    instance, fact = live.instance, message.fact
    if isinstance(fact, Unreadable):
        return hold_unread(turn, message, fact, live)
    if isinstance(fact, ExecutionPurged):
        return purge(turn, message, live)
    if isinstance(fact, ExecutionRewound):
        return rewind(turn, message, fact, live)
    if isinstance(fact, ExecutionResumed) and instance.held is not None:
        return turn.drop(message) if instance.held_by == UNREADABLE else let_go(turn, message, live)
    status = next_status(instance.status, fact)
    if status is RuntimeStatus.TERMINATED:
        return terminate(turn, message, live)
    if instance.status.finished:
        return end_orphans(turn, message, live)
    if instance.status is RuntimeStatus.PENDING or is_held(turn, live) or turn.is_catching_up(instance.id):
        refusal = refusal_without_code(turn, message, live)
        return park(turn, message, live) if refusal is ACCEPTED else turn.drop(message, refusal)
    if status is None:
        refusal = NotAllowedError(f"Instance '{instance.id}' is {instance.status}: this cannot be done now.")
        return turn.drop(message, refusal)
    return apply(turn, message, live, status)


def _take_start(turn: Turn, message: Message, fact: ExecutionStarted, live: Live | None) -> Verdict:
    if live is None:
        return bear(turn, message, fact)
    if message.generation is not None:  # the start of a further generation, or one that was held
        begins = next_status(live.instance.status, fact) is RuntimeStatus.RUNNING
        due = begins and message.generation == live.instance.generation
        if due and is_held(turn, live):
            return park(turn, message, live)
        return begin(turn, message, live) if due else turn.drop(message)
    if message.restart:
        return restart(turn, message, fact, live)
    if fact.parent is not None:
        return take_child(turn, message, fact, fact.parent, live)
    if message.reuse == "replace" or (message.reuse == "ended" and live.instance.status.finished):
        return replace_by(turn, message, fact, live)
    if message.reuse == "never":
        return turn.drop(message, InstanceExistsError(message.instance_id, ""))
    same = _same_start(turn.house.sealer, live.instance, fact)
    return turn.drop(message, ACCEPTED if same else InstanceExistsError(message.instance_id))


def _same_start(sealer: Sealer, instance: Instance, fact: ExecutionStarted) -> bool:
    """Whether a repeated start asks for what is there already."""
    if instance.parent is not None or instance.name != fact.name:
        return False
    if instance.generation:  # the input of its first run is not kept
        return True
    mine, theirs = instance.input_json, fact.input
    if is_sealed(mine) or is_sealed(theirs):
        mine = sealer.open(mine, input_place(instance.id, instance.birth))
        theirs = sealer.open(theirs, input_place(instance.id, fact.birth))
    return mine == theirs or decode(mine) == decode(theirs)
