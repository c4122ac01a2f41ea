"""The single writer of its instances: messages in, one batch out.

`Partition.step(messages, now, loaded)` applies messages one at a time and returns everything that changed as one
`Batch`. It is pure: no I/O, no clock. One object steps all the partitions that a worker owns, so that their number
costs nothing; `epochs` says which those are, and under which epoch each is owned.

Recently used instances are kept live, so that a step costs a `.send()`. The others come as `loaded` snapshots and
are replayed. `missing` tells which ids must be loaded for a list of messages.

Every message is applied (its facts become a history row), dropped (a duplicate, or too late), refused (the verdict
says why), parked in the inbox because the instance is held (G7), or put back until its next generation has started.
In each case the row it came from is closed in the same batch (G2).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from msgspec import Raw
from msgspec.json import decode
from msgspec.structs import replace

from bide.batch import ACCEPTED, Batch, Message, RequestKey, ScheduledActivity, Snapshot, Verdict, words_of
from bide.clock import Timestamp
from bide.core.changes import Changes, encode_facts
from bide.core.context import ResponseLinks
from bide.core.failures import failure_as, said
from bide.core.isolation import OwnGenerators
from bide.core.openwork import OpenWork
from bide.core.records import Record
from bide.core.registry import OrchestratorDefinition, Registry
from bide.core.replay import Execution, replay
from bide.core.rewinding import still_wanted, to_reopen, told_again, undone_from
from bide.errors import (
    BideError,
    DataRefusedError,
    FunctionNotFoundError,
    HeldStep,
    InstanceExistsError,
    InstanceFinishedError,
    InstanceNotFoundError,
    NotAllowedError,
    RequestError,
    RequestReusedError,
    RunawayStep,
    StepFailedError,
    WaitClosedError,
)
from bide.history import (
    NULL,
    ContinuedAsNew,
    EventRaised,
    ExecutionCompleted,
    ExecutionPurged,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionTerminated,
    Fact,
    Failure,
    Parent,
    Step,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TimerFired,
    Unreadable,
)
from bide.instance import (
    ALL_PARTITIONS,
    OPERATOR,
    UNREADABLE,
    Instance,
    RuntimeStatus,
    partition_of,
)
from bide.interrupts import from_outside
from bide.payload import MAX_PAYLOAD, encode
from bide.rules import ANSWERS, moved, next_status, status_after
from bide.sealing import Sealer, input_place, is_sealed, sealed_event

_NOT_HELD: dict[str, Any] = {"held": None, "held_by": ""}


class _Live(Record):
    """An instance in memory. Without `execution` it is not replayed yet, held, or has ended."""

    instance: Instance
    partition: int
    long_at: int
    """The length at which its history is long."""
    at: Timestamp
    """The instant of its present step, or its last. Time never goes back for it, whatever the clock shows."""
    history_length: int = 0
    snapshot: Snapshot | None = None
    execution: Execution | None = None
    _work: OpenWork | None = None

    @property
    def work(self) -> OpenWork:
        """What the instance waits for, found without running its code."""
        if self._work is None:
            self._work = OpenWork.of(self.snapshot.history if self.snapshot else ())
        return self._work

    @property
    def readable(self) -> bool:
        """Whether all is known of what was loaded: what it waits for."""
        assert self.snapshot is not None, "it is not in memory"
        return not any(isinstance(fact, Unreadable) for step in self.snapshot.history for fact in step.facts)

    def run_by(self, execution: Execution | None, work: OpenWork | None) -> None:
        """`work` is what the execution has asked for; None: nothing."""
        self.execution = execution
        self._work = work
        self.snapshot = None


class Partition:
    """Steps the instances of all owned partitions."""

    def __init__(
        self,
        registry: Registry,
        links: ResponseLinks,
        sealer: Sealer,
        max_live: int = 10_000,
        long_history: int = 10_000,
        apart: Callable[[], AbstractContextManager[None]] = nullcontext,
        strict_replay: bool = False,
        code: str = "",
        max_payload: int = MAX_PAYLOAD,
    ) -> None:
        """`sealer` is for what only the code may read. `max_live` bounds how many instances keep their code in
        memory; the rest is replayed when needed.

        A history of `long_history` steps is told of. All of the users' code runs within `apart()`.
        With `strict_replay`, code must ask for what history has in all its parts. `code` is the version of the
        users' code: what it was held for at great cost, the same code is not given again. No value that code hands
        in has more than `max_payload` bytes as JSON.
        """
        self.epochs: dict[int, int] = {}
        self._registry = registry
        self._links = links
        self._sealer = sealer
        self._max_live = max_live
        self._long_history = long_history
        self._apart = apart
        self._strict = strict_replay
        self._code = code
        self._max_payload = max_payload
        self._live: dict[str, _Live] = {}
        self._held: dict[str, set[int]] = {}
        """The instances that this code is not to try again, each with the waits for which an answer is parked."""
        self._catching_up: set[str] = set()
        """Instances that are held no longer, and were not given yet what they were kept from: it comes first."""
        self._stepping: tuple[Execution] | None = None
        self._changes = Changes(0, self.epochs, sealer)
        self._requests: dict[tuple[str, str], RequestKey] = {}
        self._accused: Mapping[str, str] = {}

    # --- the door

    @property
    def live_count(self) -> int:
        """How many instances are in memory."""
        return len(self._live)

    def runs(self, instance_id: str) -> bool:
        """Whether the instance's code is in memory."""
        live = self._live.get(instance_id)
        return live is not None and live.execution is not None

    def missing(self, messages: Iterable[Message]) -> set[str]:
        """The ids of the instances that must be loaded before these messages can be stepped."""
        return {message.instance_id for message in messages if not message.fresh} - self._live.keys()

    def step(
        self,
        messages: Sequence[Message],
        now: Timestamp,
        loaded: Mapping[str, Snapshot],
        starting: Sequence[ScheduledActivity] = (),
        remembered: Mapping[tuple[str, str], RequestKey] | None = None,
        accused: Mapping[str, str] | None = None,
    ) -> Batch:
        """Apply the messages in order. The caller commits the batch before the next step, or calls `forget`.

        `starting` are once-activities whose bodies may run as soon as the batch is durable; `remembered` those of
        the messages' requests that took effect earlier; `accused` the instances whose code is not to run, and why:
        they are held.
        """
        self._changes = Changes(now, self.epochs, self._sealer)
        self._changes.start(starting)
        self._requests = dict(remembered or {})
        self._accused = accused or {}
        for instance_id, snapshot in loaded.items():
            self._live[instance_id] = self._loaded(snapshot)
        batch = self._changes.batch
        with self._apart(), OwnGenerators():
            judge, verdicts = self._judge, batch.verdicts
            try:
                for message in messages:
                    verdicts.append(judge(message))
            except BaseException as error:  # one message's failure is no other's
                if isinstance(error, KeyboardInterrupt) and from_outside(error):
                    raise
                raise StepFailedError(len(batch.verdicts), _what_failed(error)) from error
            self._evict(messages)
        return batch

    def undo(self, messages: Iterable[Message]) -> None:
        """The last batch is not committed: forget the instances that it changed, or was about to."""
        changed = {message.instance_id for message in messages} | self._changes.batch.instances.keys()
        with self._apart(), OwnGenerators():
            for instance_id in changed:
                live = self._live.pop(instance_id, None)
                if live is not None and live.execution is not None:
                    live.execution.close()
        for instance_id in changed:
            self._held.pop(instance_id, None)
        self._catching_up -= changed

    def refuse(self, message: Message, refusal: BideError, now: Timestamp) -> Batch:
        """Refuse a message without a look at its instance, which is not in memory."""
        self._changes = Changes(now, self.epochs, self._sealer)
        self._drop(message)
        return self._only(message, refusal)

    def set_aside(self, message: Message, snapshot: Snapshot | None, reason: str, now: Timestamp) -> Batch:
        """Hold an instance that cannot take a message, and keep the message for it.

        It is not in memory. Without an instance, or after its end, there is nobody to keep the message for.
        """

        self._changes = Changes(now, self.epochs, self._sealer)
        if snapshot is None or snapshot.instance.status.finished:
            verdict = self._drop(message)
            fact = message.fact
            if snapshot is None and isinstance(fact, ExecutionStarted) and fact.parent is not None:
                failure = failure_as(StepFailedError, reason)
                self._changes.answer(fact.parent, SubOrchestrationInstanceFailed(fact.parent.task_id, failure))
        else:
            verdict = self._hold(message, self._loaded(snapshot), reason)
        if message.request is not None:
            self._remember(message.instance_id, message.request, verdict)
        return self._only(message, verdict)

    def _only(self, message: Message, verdict: Verdict) -> Batch:
        """The batch of this one message."""
        self._tell_sender(message, verdict)
        self._changes.batch.verdicts = [verdict]
        return self._changes.batch

    def _loaded(self, snapshot: Snapshot) -> _Live:
        length, long_at = len(snapshot.history), self._long_history
        while long_at <= length:  # it was told of; the next time is when it has doubled
            long_at *= 2
        instance = snapshot.instance
        return _Live(instance, partition_of(instance.id), long_at, instance.updated, length, snapshot)

    def purge(self, instance_ids: Iterable[str], now: Timestamp) -> Batch:
        """Delete instances that have ended, as the store told just now: between two steps, none of them is here."""
        self._changes = Changes(now, self.epochs, self._sealer)
        for instance_id in instance_ids:
            self._changes.fence(partition_of(instance_id))
            self._changes.batch.purged.append(instance_id)
        return self._changes.batch

    def hold(
        self, loaded: Mapping[str, Snapshot], reasons: Mapping[str, str], now: Timestamp, by: str = ""
    ) -> Batch:
        """Hold instances that are not in memory: `by` an operator, or (empty) this code."""
        self._changes = Changes(now, self.epochs, self._sealer)
        for instance_id, snapshot in loaded.items():
            self._keep(self._loaded(snapshot), reasons[instance_id], by or self._code)
        return self._changes.batch

    def holds(self, held_by: str) -> bool:
        """Whether what is held by that is not to be tried by this code."""
        return held_by in (OPERATOR, UNREADABLE) or (held_by != "" and held_by == self._code)

    def caught_up(self, instance_ids: Iterable[str]) -> None:
        """These are given now what they were kept from, before anything else."""
        self._catching_up.difference_update(instance_ids)

    def forget(self, partitions: Collection[int] = ALL_PARTITIONS) -> None:
        """Drop all memory of the instances of these partitions: what the store has is not what is here (G6)."""
        with self._apart(), OwnGenerators():
            for instance_id, live in [*self._live.items()]:
                if live.partition in partitions:
                    del self._live[instance_id]
                    if live.execution is not None:
                        live.execution.close()
        self._held = {
            instance_id: answered
            for instance_id, answered in self._held.items()
            if partition_of(instance_id) not in partitions
        }
        self._catching_up = {each for each in self._catching_up if partition_of(each) not in partitions}

    @property
    def stepping(self) -> tuple[Execution] | None:
        """The execution whose code runs at this moment, for whoever watches from another thread.

        Each step makes a tuple of its own: the same tuple means the same step.
        """
        return self._stepping

    # --- one message

    def _judge(self, message: Message) -> Verdict:
        """Take a message, unless its request took effect already; and note who asked, and what became of it."""
        request = message.request
        if request is None and message.audit is None and not message.reply_to:
            return self._take(message)
        earlier = request and self._earlier(message.instance_id, request)
        if request is None or earlier is None:
            verdict = self._take(message)
            if request is not None and _is_kept(verdict):
                self._remember(message.instance_id, request, verdict)
        else:
            verdict = self._drop(message, _told_before(earlier, request))
        self._tell_sender(message, verdict, repeated=earlier is not None)
        return verdict

    def _tell_sender(self, message: Message, verdict: Verdict, *, repeated: bool = False) -> None:
        """Note who asked, and what became of it, where that is wanted."""
        if message.audit is not None:
            self._changes.audit(message, message.audit, verdict, repeated=repeated)
        if message.reply_to:
            self._changes.reply(message, verdict)

    def _earlier(self, instance_id: str, request: RequestKey) -> RequestKey | None:
        """The request that has the key. One that was refused has not used it up."""
        earlier = self._requests.get((instance_id, request.key))
        return earlier if earlier and (not earlier.error or earlier.digest == request.digest) else None

    def _remember(self, instance_id: str, request: RequestKey, verdict: Verdict) -> None:
        if verdict is not ACCEPTED:
            error, text, path = words_of(verdict)
            request = replace(request, error=error, text=text, path=path)
        self._requests[instance_id, request.key] = request
        self._changes.batch.requests[instance_id, request.key] = request

    def _take(self, message: Message) -> Verdict:
        live = self._live.pop(message.instance_id, None)
        if live is not None:
            self._live[message.instance_id] = live  # the most recently used is last
        fact = message.fact
        if message.birth and (live is None or live.instance.birth != message.birth):
            return self._drop(message, InstanceNotFoundError(message.instance_id))  # it was for an earlier life
        if type(fact) is ExecutionStarted:
            return self._take_start(message, fact, live)
        if live is None:
            return self._without_instance(message)
        if message.generation is not None and message.generation != live.instance.generation:
            return self._come_late(message)
        goes_on = message.instance_id not in self._accused and message.instance_id not in self._catching_up
        if live.execution is not None and type(fact) in ANSWERS and goes_on:
            return self._tell(message, live, live.execution, live.instance.status)
        return self._manage(message, live)

    def _without_instance(self, message: Message) -> Verdict:
        if isinstance(message.fact, Unreadable):  # perhaps a start, for a newer version: it stays
            return ACCEPTED
        return self._drop(message, InstanceNotFoundError(message.instance_id))

    def _manage(self, message: Message, live: _Live) -> Verdict:
        """Take what is not for the code, or what is and finds no code in memory."""
        instance, fact = live.instance, message.fact
        if isinstance(fact, Unreadable):
            return self._hold_unread(message, fact, live)
        if isinstance(fact, ExecutionPurged):
            return self._purge(message, live)
        if isinstance(fact, ExecutionRewound):
            return self._rewind(message, fact, live)
        if isinstance(fact, ExecutionResumed) and instance.held is not None:
            return self._drop(message) if instance.held_by == UNREADABLE else self._let_go(message, live)
        status = next_status(instance.status, fact)
        if status is RuntimeStatus.TERMINATED:
            return self._terminate(message, live)
        if instance.status.finished:
            return self._end_orphans(message, live)
        if instance.status is RuntimeStatus.PENDING or self._is_held(live) or instance.id in self._catching_up:
            return self._park(message, live) if self._is_open(message, live) else self._come_late(message)
        if status is None:
            refusal = f"Instance '{instance.id}' is {instance.status}: this cannot be done now."
            return self._drop(message, NotAllowedError(refusal))
        return self._apply(message, live, status)

    def _apply(self, message: Message, live: _Live, status: RuntimeStatus) -> Verdict:
        execution = live.execution
        accused = self._accused.get(live.instance.id)
        if accused is not None:
            if execution is not None:
                self._drop_code(live, execution)
            return self._hold(message, live, accused, self._code)
        if execution is None:
            try:
                execution = self._revive(live)
            except (Exception, HeldStep) as error:  # code that does not fit, or is gone, or spins
                return self._hold(message, live, _reason(error), self._holder(error))
        return self._tell(message, live, execution, status)

    def _tell(self, message: Message, live: _Live, execution: Execution, status: RuntimeStatus) -> Verdict:
        """Tell the code, if it is to hear of it."""
        fact = message.fact
        if type(fact) is EventRaised and not message.accepted:
            refusal = self._refusal(execution, fact)
            if refusal is not None:
                return self._drop(message, refusal)
        elif not execution.work.expects(fact):
            return self._come_late(message)
        return self._advance(message, live, execution, status)

    def _is_open(self, message: Message, live: _Live) -> bool:
        """Whether what an event is for is open, as far as that can be told without the code."""
        fact = message.fact
        if type(fact) is not EventRaised or not fact.id or message.accepted:
            return True
        if fact.id in self._held.get(live.instance.id, ()):
            return False
        if live.snapshot is not None and not live.readable:
            return True
        return live.work.taker(fact) is not None and live.work.expects(fact)

    def _come_late(self, message: Message) -> Verdict:
        """An answer to what is not open any more. Whoever sent an event hears of it, or at least the audit does."""
        if type(message.fact) is not EventRaised:
            return self._drop(message)
        if message.accepted:
            self._changes.note_late(message.instance_id)
            return self._drop(message)
        return self._drop(message, WaitClosedError())

    def _refusal(self, execution: Execution, event: EventRaised) -> Verdict:
        """Why the code cannot take the event. To find out runs code of the type that it waits for."""
        self._stepping = (execution,)
        try:
            return execution.refusal(event)
        finally:
            self._stepping = None

    def _take_start(self, message: Message, fact: ExecutionStarted, live: _Live | None) -> Verdict:
        if live is None:
            return self._bear(message, fact)
        if message.generation is not None:  # the start of a further generation, or one that was held
            begins = next_status(live.instance.status, fact) is RuntimeStatus.RUNNING
            due = begins and message.generation == live.instance.generation
            if due and self._is_held(live):
                return self._park(message, live)
            return self._begin(message, fact, live) if due else self._drop(message)
        if message.restart:
            return self._restart(message, fact, live)
        if fact.parent is not None:
            return self._take_child(message, fact, fact.parent, live)
        if message.reuse == "replace" or (message.reuse == "ended" and live.instance.status.finished):
            return self._replace(message, fact, live)
        if message.reuse == "never":
            return self._drop(message, InstanceExistsError(message.instance_id, ""))
        same = self._same_start(live.instance, fact)
        return self._drop(message, ACCEPTED if same else InstanceExistsError(message.instance_id))

    def _drop(self, message: Message, refusal: Verdict = ACCEPTED) -> Verdict:
        self._changes.close_source(message, partition_of(message.instance_id))
        return refusal

    def _same_start(self, instance: Instance, fact: ExecutionStarted) -> bool:
        """Whether a repeated start asks for what is there already."""
        if instance.parent is not None or instance.name != fact.name:
            return False
        if instance.generation:  # the input of its first run is not kept
            return True
        mine, theirs = instance.input_json, fact.input
        if is_sealed(mine) or is_sealed(theirs):
            mine = self._sealer.open(mine, input_place(instance.id, instance.birth))
            theirs = self._sealer.open(theirs, input_place(instance.id, fact.birth))
        return mine == theirs or decode(mine) == decode(theirs)

    # --- beginning

    def _bear(self, message: Message, fact: ExecutionStarted) -> Verdict:
        now = self._changes.batch.at
        instance = Instance(
            message.instance_id,
            fact.name,
            RuntimeStatus.PENDING,
            now,
            now,
            input_json=fact.input,
            parent=fact.parent,
            tags=fact.tags,
            birth=fact.birth,
        )
        live = self._live[instance.id] = _Live(instance, partition_of(instance.id), self._long_history, now)
        return self._begin(message, fact, live)

    def _replace(self, message: Message, fact: ExecutionStarted, live: _Live) -> Verdict:
        """Let another instance have the id, in the same commit that ends what is there and deletes it."""
        if not live.instance.status.finished:
            self._end(live, ExecutionTerminated("Replaced by another instance with this id.", recurse=True))
        self._changes.make_way(live.instance)
        self._forget_requests(live.instance.id, outliving=False)
        return self._bear(message, fact)

    def _begin(self, message: Message, fact: ExecutionStarted, live: _Live) -> Verdict:
        instance = live.instance
        accused = self._accused.get(instance.id)
        if accused is not None:
            return self._hold(message, live, accused, self._code)
        try:
            definition = self._registry.orchestrator(fact.name)
        except FunctionNotFoundError as error:
            return self._hold(message, live, str(error))
        execution = self._execution(definition, instance)
        return self._advance(message, live, execution, moved(instance.status, fact))

    def _restart(self, message: Message, fact: ExecutionStarted, live: _Live) -> Verdict:
        instance = live.instance
        status = next_status(instance.status, fact)
        if status is not RuntimeStatus.PENDING:
            refusal = f"Instance '{instance.id}' is {instance.status}; only one that has ended can be restarted."
            return self._drop(message, NotAllowedError(refusal))
        self._next_generation(live, status, replace(fact, birth=instance.birth), [])
        return self._drop(message)

    def _take_child(self, message: Message, fact: ExecutionStarted, parent: Parent, live: _Live) -> Verdict:
        """A child's id is taken: by this very child, whose parent was rewound and asks once more; or by another
        instance, which makes way if it has ended."""
        child, rewound = live.instance, ExecutionRewound("Its parent was rewound.")
        if fact.birth != child.birth:
            if child.status.finished:
                return self._replace(message, fact, live)
            failure = failure_as(InstanceExistsError, _taken(child, parent))
            self._changes.answer(parent, SubOrchestrationInstanceFailed(parent.task_id, failure))
        elif next_status(child.status, rewound) is not None:
            refusal = self._set_back(live, rewound)
            if refusal is not ACCEPTED:
                self._answer_parent(child, Failure("Failed", str(refusal)))
        elif child.status.finished:
            ended = Failure("Terminated", f"Instance '{child.id}' was terminated.")
            self._answer_parent(child, ended if child.status is RuntimeStatus.TERMINATED else None)
        return self._drop(message)

    def _revive(self, live: _Live) -> Execution:
        """Replay a loaded instance. Raises what makes it held."""
        assert live.snapshot is not None
        execution = self._replayed(live.instance, live.snapshot.history)
        live.run_by(execution, execution.work)
        if live.instance.held is not None:
            self._change(live, **_NOT_HELD)
        return execution

    def _replayed(self, instance: Instance, history: Sequence[Step]) -> Execution:
        definition = self._registry.orchestrator(instance.name)
        execution = self._execution(definition, instance)
        self._stepping = (execution,)
        try:
            replay(execution, history)
        except BaseException:
            execution.close()
            raise
        finally:
            self._stepping = None
        return execution

    def _execution(self, definition: OrchestratorDefinition, instance: Instance) -> Execution:
        return Execution(
            self._registry,
            definition,
            instance.id,
            instance.generation,
            self._links,
            self._sealer,
            self._strict,
            self._max_payload,
        )

    # --- stepping

    def _advance(self, message: Message, live: _Live, execution: Execution, status: RuntimeStatus) -> Verdict:
        changes, fact = self._changes, message.fact
        self._reach(live)
        if type(fact) is TimerFired and fact.fire_at > live.at:
            live.at = fact.fire_at  # it hears of a timer when that was due, even if the clock was set back since
        self._stepping = (execution,)
        try:
            kept = execution.as_kept(fact, live.history_length) if type(fact) is EventRaised else fact
            asked = execution.advance(fact, live.at)
            facts_json = encode_facts((kept, *asked))
            waits = execution.take_wait_changes() if execution.has_wait_changes else ()
        except (Exception, HeldStep) as error:  # contained: it must not stop the other instances
            self._drop_code(live, execution)
            return self._hold(message, live, _reason(error), self._holder(error))
        finally:
            self._stepping = None
        if live.execution is not execution:
            live.run_by(execution, execution.work)
        changes.close_source(message, live.partition)
        self._record(live, facts_json, asked)
        if waits:
            changes.waits(live.instance.id, waits)
        if execution.answered:
            changes.batch.answered += execution.answered
            execution.answered.clear()
        ending = asked[-1] if asked else None
        if type(ending) is ExecutionCompleted:
            self._complete(live, moved(status, ending), ending, execution.custom_status_json)
        elif type(ending) is ContinuedAsNew:
            self._continue(live, moved(status, ending), ending)
        else:
            self._change(live, status=status, custom_status_json=execution.custom_status_json, **_NOT_HELD)
        return ACCEPTED

    def _reach(self, live: _Live) -> None:
        """The instance changes now. What changes nothing does not move its time, either."""
        now = self._changes.batch.at
        if now > live.at:
            live.at = now

    def _drop_code(self, live: _Live, execution: Execution) -> None:
        """Let go of the code, and not of what it waits for."""
        live.run_by(None, execution.work)
        execution.close()

    def _record(self, live: _Live, facts_json: bytes, asked: Sequence[Fact] = ()) -> None:
        self._changes.record(live.instance, live.history_length, live.at, facts_json, asked)
        live.history_length += 1
        if live.history_length == live.long_at:
            live.long_at *= 2
            self._changes.batch.long[live.instance.id] = live.history_length

    def _change(self, live: _Live, **changes: Any) -> None:
        batch = self._changes.batch
        self._reach(live)
        live.instance = changed = replace(live.instance, updated=live.at, **changes)
        if self._held and changed.held is None:
            self._held.pop(changed.id, None)
        batch.instances[changed.id] = changed
        batch.epochs[live.partition] = self.epochs[live.partition]

    # --- ending

    def _complete(self, live: _Live, status: RuntimeStatus, end: ExecutionCompleted, custom_status: Raw) -> None:
        if end.unawaited:
            self._changes.batch.unawaited[live.instance.id] = end.unawaited
        output = end.result if end.failure is None else encode(end.failure.message)
        self._finish(live, status, output, end.failure, custom_status)

    def _continue(self, live: _Live, status: RuntimeStatus, again: ContinuedAsNew) -> None:
        if again.unawaited:
            self._changes.batch.unawaited[live.instance.id] = again.unawaited
        instance = live.instance
        start = ExecutionStarted(instance.name, again.input, instance.parent, birth=instance.birth)
        self._next_generation(live, status, start, live.work.kept_events() if again.keep_events else [])

    def _terminate(self, message: Message, live: _Live) -> Verdict:
        fact = message.fact
        assert isinstance(fact, ExecutionTerminated)
        self._changes.close_source(message, live.partition)
        self._end(live, fact)
        return ACCEPTED

    def _end(self, live: _Live, fact: ExecutionTerminated) -> None:
        if fact.recurse:
            for request in live.work.requests.values():
                if isinstance(request, SubOrchestrationInstanceCreated):
                    self._changes.end_child(live.instance, request, fact)
        self._reach(live)
        self._record(live, encode_facts((fact,)))
        failure = Failure("Terminated", f"Instance '{live.instance.id}' was terminated: {fact.reason}")
        status = moved(live.instance.status, fact)
        self._finish(live, status, encode(fact.reason), failure, live.instance.custom_status_json)

    def _end_orphans(self, message: Message, live: _Live) -> Verdict:
        """End what an instance has left when it ended, if that is asked for. Children that have ended do the same:
        so it gets to all below."""
        instance, fact = live.instance, message.fact
        refused = self._drop(message, InstanceFinishedError(instance.id, instance.status))
        if not isinstance(fact, ExecutionTerminated) or not fact.recurse:
            return refused
        if live.snapshot is None:  # it has ended in this very step
            self._changes.send(instance.id, fact, birth=instance.birth)
            return ACCEPTED
        asked = [fact for step in live.snapshot.history for fact in step.facts]
        children = [fact for fact in asked if isinstance(fact, SubOrchestrationInstanceCreated)]
        for request in children:
            self._changes.end_child(instance, request, fact)
        return ACCEPTED if children else refused

    def _finish(
        self, live: _Live, status: RuntimeStatus, output: Raw, failure: Failure | None, custom_status: Raw
    ) -> None:
        self._leave(live)
        self._change(live, status=status, output_json=output, custom_status_json=custom_status, **_NOT_HELD)
        if live.instance.parent is not None:
            self._answer_parent(live.instance, failure)

    def _answer_parent(self, child: Instance, failure: Failure | None) -> None:
        """Tell whoever waits for this instance how it ended."""
        parent = child.parent
        if parent is not None:
            answer = (
                SubOrchestrationInstanceCompleted(parent.task_id, child.output_json)
                if failure is None
                else SubOrchestrationInstanceFailed(parent.task_id, failure)
            )
            self._changes.answer(parent, answer)

    def _next_generation(
        self, live: _Live, status: RuntimeStatus, start: ExecutionStarted, kept: Iterable[EventRaised]
    ) -> None:
        """Begin again with an empty history, by a message: no step ever runs two generations."""
        self._leave(live)
        instance = live.instance
        self._change(
            live,
            status=status,
            generation=instance.generation + 1,
            name=start.name,
            input_json=start.input,
            output_json=NULL,
            custom_status_json=NULL,
        )
        live.history_length = 0
        self._changes.batch.forgotten[instance.id] = live.instance.generation
        self._changes.put_back(instance, start, live.instance.generation)
        for number, event in enumerate(kept):
            nonce = f"{instance.birth}-{instance.generation}-kept-{number}"
            self._changes.put_back(instance, sealed_event(self._sealer, instance.id, event, nonce))

    def _leave(self, live: _Live) -> None:
        """Let go of a generation: its code, and everything it waited for."""
        if live.snapshot is None or live.readable:
            self._changes.drop(live.instance, live.work)
        else:
            self._changes.clear(live.instance)
        if live.execution is not None:
            live.execution.close()
        live.run_by(None, None)

    # --- after the end

    def _purge(self, message: Message, live: _Live) -> Verdict:
        instance = live.instance
        if next_status(instance.status, message.fact) is None:
            refusal = f"Instance '{instance.id}' is {instance.status}; only one that has ended can be purged."
            return self._drop(message, NotAllowedError(refusal))
        if instance.id in self._changes.batch.instances:
            self._changes.send(instance.id, message.fact, birth=instance.birth)  # its new rows must be there first
            return self._drop(message)
        del self._live[instance.id]
        self._changes.batch.purged.append(instance.id)
        self._forget_requests(instance.id, outliving=True)
        return self._drop(message)

    def _forget_requests(self, instance_id: str, *, outliving: bool) -> None:
        self._requests = {
            key: request
            for key, request in self._requests.items()
            if key[0] != instance_id or (request.outlives and not outliving)
        }

    def _rewind(self, message: Message, fact: ExecutionRewound, live: _Live) -> Verdict:
        instance = live.instance
        if next_status(instance.status, fact) is not None:
            return self._drop(message, self._set_back(live, fact))
        if instance.status.finished:
            return self._drop(message, InstanceFinishedError(instance.id, instance.status))
        refusal = f"Instance '{instance.id}' is {instance.status}; only one that has failed can be rewound."
        return self._drop(message, NotAllowedError(refusal))

    def _set_back(self, live: _Live, fact: ExecutionRewound) -> Verdict:
        """Undo the steps in which a failed instance went wrong (see `rewinding`)."""
        instance = live.instance
        if live.snapshot is None:  # it has failed in this very step
            self._changes.send(instance.id, fact, birth=instance.birth)
            return ACCEPTED
        history = live.snapshot.history
        cut = undone_from(history)
        try:
            execution = self._replayed(instance, history[:cut])
        except (Exception, HeldStep) as error:
            return NotAllowedError(f"Instance '{instance.id}' cannot be rewound: {_reason(error)}")
        again = told_again(history[cut:])
        status = status_after(history[:cut], moved(instance.status, fact))
        self._changes.batch.undone[instance.id] = (instance.generation, history[cut].seq)
        live.history_length = cut
        if cut == 0:
            live.run_by(None, OpenWork())
            self._change(live, status=status, output_json=NULL, custom_status_json=NULL)
        else:
            live.run_by(execution, execution.work)
            self._reach(live)
            execution.advance(fact, live.at)
            self._record(live, encode_facts((fact,)))
            again = self._wanted_again(instance, execution.work, again)
            self._changes.reopen(instance, to_reopen(execution.work, again), execution.waits())
            self._change(live, status=status, output_json=NULL, custom_status_json=execution.custom_status_json)
        for message in again:
            generation = None if type(message) is EventRaised and not message.id else instance.generation
            self._changes.send(instance.id, message, generation, instance.birth)
        return ACCEPTED

    def _wanted_again(self, instance: Instance, work: OpenWork, undone: Sequence[Fact]) -> list[Fact]:
        """What is to be told again. An answer to one wait only, whose opening was undone, is of no use any more."""
        wanted = still_wanted(work, undone)
        for fact in undone:
            if type(fact) is EventRaised and fact not in wanted:
                self._changes.note_late(instance.id)
        return wanted

    # --- holding

    def _hold_unread(self, message: Message, fact: Unreadable, live: _Live) -> Verdict:
        """Hold an instance for which there is a message that cannot be read, and leave that as it is."""
        if live.instance.status.finished:
            return self._drop(message)
        if live.execution is not None:
            self._drop_code(live, live.execution)
        self._keep(live, fact.reason, "")
        return ACCEPTED

    def _is_held(self, live: _Live) -> bool:
        """True if the instance is held, and was tried by this very code: since this worker started, or at a cost
        that nobody is to bear again."""
        instance = live.instance
        return instance.held is not None and (instance.id in self._held or self.holds(instance.held_by))

    def _hold(self, message: Message, live: _Live, reason: str, by: str = "") -> Verdict:
        """Keep the instance as it is, with its messages, until fitting code is deployed (G7)."""
        self._keep(live, reason, by)
        return self._park(message, live)

    def _keep(self, live: _Live, reason: str, by: str) -> None:
        self._held.setdefault(live.instance.id, set())
        if (live.instance.held, live.instance.held_by) != (reason, by):
            self._change(live, held=reason, held_by=by)
            self._changes.batch.held.append(live.instance)

    def _holder(self, error: BaseException) -> str:
        """Whether only other code is to try again, or every worker that starts. A step that does not end costs all
        other instances its time; one that does not fit costs nothing, and what it lacks may be there then."""
        return self._code if isinstance(error, RunawayStep) else ""

    def _let_go(self, message: Message, live: _Live) -> Verdict:
        """Somebody says that the instance is to go on: whatever it was kept from is tried again."""
        self._change(live, **_NOT_HELD)
        self._changes.batch.let_go.append(live.instance.id)
        self._catching_up.add(live.instance.id)
        status = next_status(live.instance.status, message.fact)
        return self._drop(message) if status is None else self._apply(message, live, status)

    def _park(self, message: Message, live: _Live) -> Verdict:
        """Keep a message in the inbox: until the next worker starts if the instance is held, else until the next
        step, when the generation that it must not overtake has begun."""
        instance, generation, fact = live.instance, message.generation, message.fact
        batch = self._changes.batch
        if isinstance(fact, ExecutionStarted):
            generation = instance.generation
        elif isinstance(fact, EventRaised):
            nonce = f"{batch.at}-{len(batch.parked)}-{len(batch.returned)}"
            fact = sealed_event(self._sealer, instance.id, fact, nonce)
        if instance.held is None and instance.id not in self._catching_up:
            self._changes.put_back(instance, fact, generation)
            return self._drop(message)
        if type(fact) is EventRaised and fact.id:
            self._held.setdefault(instance.id, set()).add(fact.id)
        judged = Message(instance.id, fact, generation, message.inbox_id, birth=instance.birth)
        if message.inbox_id:
            self._changes.keep(message, judged)
            return ACCEPTED
        batch.parked.append(judged)
        return self._drop(message)

    # --- memory

    def _evict(self, stepped: Iterable[Message]) -> None:
        """Let go of what has no code in memory, and of the least recently used beyond the bound."""
        for message in stepped:
            live = self._live.get(message.instance_id)
            if live is not None and live.execution is None:
                del self._live[message.instance_id]
        while len(self._live) > self._max_live:
            live = self._live.pop(next(iter(self._live)))
            if live.execution is not None:
                live.execution.close()


def _is_kept(verdict: Verdict) -> bool:
    """Whether a repetition is to be told the same. What found no instance was told nothing by any."""
    return not isinstance(verdict, InstanceNotFoundError)


def _told_before(earlier: RequestKey, request: RequestKey) -> Verdict:
    if earlier.digest != request.digest:
        return RequestReusedError()
    told = earlier.verdict
    return told if isinstance(told, RequestError) else ACCEPTED


def _reason(error: BaseException) -> str:
    if isinstance(error, BideError | HeldStep):
        return str(error)
    return f"The step failed inside the engine{_place(error)}: {said(error)}"


def why_held(fault: StepFailedError | DataRefusedError) -> str:
    """What failed, where, and what to do about it."""
    cause = fault.__cause__
    if isinstance(fault, StepFailedError) and cause is not None:
        what = _reason(cause)
    else:
        what = f"The database does not take what the step makes: {fault}"
    return f"{what.rstrip('.')}. Deploy code that mends it and start again, or terminate the instance."


def _what_failed(error: BaseException) -> str:
    """For whoever sent a message: what an error says may be somebody's data, and is in the log."""
    return str(error) if isinstance(error, HeldStep) else f"{type(error).__name__}{_place(error)}"


def _place(error: BaseException) -> str:
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return "" if place is None else f" at {place.tb_frame.f_code.co_filename}:{place.tb_lineno}"


def _taken(child: Instance, parent: Parent) -> str:
    """Why a call cannot have that id."""
    owner = child.parent
    if owner is None:
        whose = "it was not called by an orchestrator"
    elif owner.instance_id != parent.instance_id:
        whose = f"it was called by instance '{owner.instance_id}'"
    elif (owner.birth, owner.generation) != (parent.birth, parent.generation):
        whose = f"an earlier run of '{parent.instance_id}' called it"
    else:
        whose = f"'{parent.instance_id}' called it before"
    return (
        f"Instance '{child.id}' already exists: {whose}, and it is {child.status}. "
        "An id can be used again when its instance has ended."
    )
