"""One instance's code, driven fact by fact: the native executor.

`Execution.advance` gives the orchestrator one fact and returns what it asks for in answer. Replay is nothing else:
give it the recorded facts in order, and compare what it asks with what history has (`replay`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType
from typing import Any, ClassVar, TypeAlias, TypeGuard, TypeVar, cast
from uuid import UUID, uuid5

from msgspec import Raw, field
from msgspec.structs import replace

from bide.core.context import CallOptions, OrchestrationContext, ResponseLinks
from bide.core.executors import Answer
from bide.core.explaining import explained, not_durable, undecided, user_frame
from bide.core.failures import failure_as, failure_of, said, task_error
from bide.core.hiding import KnownSecrets, hide_values
from bide.core.isolation import SENT_ON, Wall
from bide.core.opened import OpenCall, OpenWait, Target, called, is_seen, is_wait, task_of
from bide.core.openwork import OpenWork
from bide.core.recorded import Asked, Recorded
from bide.core.records import Record
from bide.core.registry import OrchestratorDefinition, Registry
from bide.core.tasks import (
    DurableTimer,
    ExternalEvent,
    SubOrchestration,
    Task,
    cancelled,
    race,
    settle,
    with_watchers,
)
from bide.errors import (
    ContinueAsNew,
    EventTimeoutError,
    MisfitError,
    NotADurableTaskError,
    OrchestratorError,
    PayloadError,
    WaitClosedError,
)
from bide.model.clock import Timestamp, to_datetime
from bide.model.history import (
    NULL,
    ContinuedAsNew,
    EventAwaited,
    EventDeadlineChanged,
    EventDiscarded,
    EventRaised,
    EventSent,
    EventWaitCancelled,
    ExecutionCompleted,
    ExecutionPurged,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    Fact,
    Failure,
    Parent,
    Request,
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
from bide.model.instance import birth_of_child
from bide.model.interrupts import from_outside
from bide.model.payload import MAX_PAYLOAD, decoder, encode, has_secret, read_or_open, schema, too_large
from bide.model.rules import Role, check_covers
from bide.model.sealing import (
    Sealer,
    arguments_place,
    event_place,
    input_place,
    is_sealed,
    output_place,
    result_place,
    sealed_event,
    status_place,
)
from bide.model.tokens import ResponseGrant

_CHILDREN = UUID("b3a3b0f4-1a53-4b58-8a0e-6f7b6f3f6a52")


Carrying = TypeVar("Carrying", TaskScheduled, SubOrchestrationInstanceCreated, EventSent)
_Code: TypeAlias = "Generator[Any, Any, Any] | CoroutineType[Any, Any, Any]"
_CODE = (CoroutineType, GeneratorType)
_CLOSINGS = 100
"""How often code that catches what ends it is told to end."""


class Stepping:
    """Which execution's code runs at this moment, for whoever watches from another thread.

    Each step makes a tuple of its own: the same tuple means the same step.
    """

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now: tuple[Execution] | None = None


class Execution(Record):
    """The live code of one generation of an instance."""

    registry: Registry
    definition: OrchestratorDefinition
    instance_id: str
    generation: int
    links: ResponseLinks
    sealer: Sealer
    strict: bool = False
    """On replay: what is asked for must be the same in all its parts, and not only in kind, id and name."""
    max_payload: int = MAX_PAYLOAD
    """How many bytes a value that the code hands in has at most, as JSON."""
    stepping: Stepping = field(default_factory=Stepping)
    work: OpenWork = field(default_factory=OpenWork)
    birth: str = ""
    parent: Parent | None = None
    at: Timestamp = 0
    is_replaying: bool = False
    suspended: bool = False
    custom_status_json: Raw = NULL
    _code: _Code | None = None
    _awaited: Task[Any] | None = None
    _asked: list[Fact] = []
    _last_id: int = 0
    _open: dict[int, Target] = {}
    _unseen: list[tuple[str, list[Task[Any]]]] = []
    """What failed before anybody had looked at it: in words, and the tasks by which it may be seen yet."""
    _fresh: list[OpenWait] = []
    """The waits that were opened in this step."""
    _answered: list[tuple[int, int]] = []
    """The waits that were answered in this step, and how long each had been open."""
    _recorded: Recorded | None = None
    """On replay: what history has of the present step."""
    differences: list[str] = []
    """In words: what the code asks for in other words than history has. Filled in on replay."""
    _fault: NotADurableTaskError | None = None
    _dropped: bool = False
    _refusals: int = 0
    """How often the code asked for something while it was dropped."""
    _wall: Wall | None = None
    _known: KnownSecrets | None = None
    _failures: list[Failure] = []
    """Of calls, as history has them."""
    _judge: OpenWait | None = None
    """The wait that was last found to take an event."""

    @property
    def name(self) -> str:
        """The orchestrator's registered name."""
        return self.definition.name

    # --- driving

    def advance(self, fact: Fact, at: Timestamp, seq: int) -> Answer:
        """Give the orchestrator one fact. May raise `HeldStep`.

        While suspended, facts are taken, but the code does not see them before `ExecutionResumed`.
        """
        self.stepping.now = (self,)
        try:
            kept = self._as_kept(fact, seq) if type(fact) is EventRaised else fact
            asked = self.tell(fact, at)
        finally:
            self.stepping.now = None
        answered: Sequence[tuple[int, int]] = ()
        if self._answered:
            answered, self._answered = self._answered, []
        ending = asked[-1] if asked else None
        if type(ending) is not ExecutionCompleted and type(ending) is not ContinuedAsNew:
            ending = None
        return Answer(kept, asked, self.custom_status_json, ending, answered)

    def tell(self, fact: Fact, at: Timestamp) -> list[Fact]:
        """Give the orchestrator one fact, and return what it asks for."""
        if at > self.at:
            self.at = at
        asked: list[Fact] = []
        self._asked = asked
        if self._fresh:
            for wait in self._fresh:
                wait.place = -1
            self._fresh = []
        control = self._controls.get(type(fact))
        if control is not None:
            control(self, fact)
        elif self.suspended:
            self.work.deferred.append(fact)
        else:
            self._deliver(fact)
        return asked

    def refusal(self, event: EventRaised) -> MisfitError | WaitClosedError | None:
        """Why the wait that would take this event cannot: its data does not fit the declared type (G8), or it is
        for one wait only, which is over."""
        wait = self._open.get(self.work.taker(event) or 0)
        if not isinstance(wait, OpenWait) or (event.id and self._is_over(wait, event)):
            return WaitClosedError() if event.id else None
        self.stepping.now = (self,)  # the type that it waits for may have code of its own
        try:
            return self._misfit(wait, event)
        finally:
            self.stepping.now = None

    def _is_over(self, wait: OpenWait, event: EventRaised) -> bool:
        """Whether an open wait has been answered, or has timed out, while the instance was suspended."""
        timed_out = any(isinstance(fact, TimerFired) and fact.id == wait.timer_id for fact in self.work.deferred)
        return timed_out or not self.work.expects(event)

    def _as_kept(self, event: EventRaised, seq: int) -> EventRaised:
        """The event as step `seq` of the history has it: in clear only if a wait takes it that has no secret."""
        wait, self._judge = self._judge, None
        if wait is None or wait.judged is not event:
            taker = self._open.get(self.work.taker(event) or 0)
            wait = taker if type(taker) is OpenWait else None
        if self.suspended:  # the code may give the wait up before it hears of the event
            wait = None
        if wait is not None and not wait.secret:
            return event
        nonce = f"{self.birth}-{self.generation}-{seq}"
        return sealed_event(self.sealer, self.instance_id, event, nonce, declared=wait is not None)

    def expect(self, recorded: Sequence[Fact]) -> None:
        """On replay: what the next fact was answered with.

        Links are taken from there, not made again; and, unless the replay is strict, all that was asked for.
        """
        self._recorded = Recorded(recorded, strict=self.strict)

    def go_live(self) -> None:
        """The replay is over: what was asked for in it is in history."""
        self.is_replaying = False
        self._recorded = None
        self._answered = []

    def _as_recorded(self, asked: Asked) -> Asked:
        """What is asked for; on replay, what history has in its place."""
        return asked if self._recorded is None else self._recorded.in_place_of(asked, self.differences)

    @property
    def frame(self) -> FrameType | None:
        """The innermost frame of the user's own code, or None before its begin and after its end."""
        return user_frame(self._code)

    def where(self) -> str:
        """The file and line at which the code stands."""
        frame = self.frame
        if frame is not None:
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        code: CodeType = self.definition.function.__code__
        return f"{code.co_filename}:{code.co_firstlineno}"

    def close(self) -> None:
        """Drop the code. Its `finally` blocks run, but what they ask for goes nowhere."""
        code, self._code = self._code, None
        self._dropped = True
        for target in self._open.values():  # no cycle is left: what goes out of memory goes at once
            task_of(target).watchers_ = None
        self._open.clear()
        self._awaited = self._judge = None
        if code is not None:
            self._close(code)
        self._wall = None

    def _close(self, code: _Code) -> None:
        """Nobody hears what code says that is dropped: it neither logs nor asks for anything."""
        self.is_replaying = True
        wall, self._wall = self._behind_wall, None
        for _ in range(_CLOSINGS):
            try:
                wall.run(lambda code, _: code.close(), code, None)
                return
            except BaseException as error:  # it may raise anything, and go on for a while
                if isinstance(error, KeyboardInterrupt) and from_outside(error):
                    raise

    def _suspend(self, fact: ExecutionSuspended) -> None:
        self.suspended = True

    def _resume(self, fact: ExecutionResumed) -> None:
        self.suspended = False
        self._catch_up()

    def _go_on(self, fact: ExecutionRewound) -> None:
        """What a rewind undid is not in the history that led here."""

    def _begin(self, fact: ExecutionStarted) -> None:
        self.birth, self.parent = fact.birth, fact.parent
        context = OrchestrationContext(self, fact.input, self.definition.signature)
        try:
            code = self._called(context, fact.input)
        except StopIteration as raised:  # in `_end` it means that the code returned
            self._end(RuntimeError(f"The orchestrator raised {said(raised)}"))
            return
        except BaseException as raised:  # whatever the code raises is its outcome
            self._end(raised)
            return
        if isinstance(code, _CODE):
            self._code = cast("_Code", code)
            self._send(self._code, None)
        else:
            self._end(StopIteration(code))

    def _called(self, context: OrchestrationContext, text: Raw) -> object:
        definition = self.definition
        call = definition.signature.call
        arguments = read_or_open(definition.signature.decode, text, self.open_input)
        if definition.makes_coroutine:
            return call(definition.function, arguments, context)
        return self._behind_wall.run(partial(call, definition.function), arguments, context)

    _controls: ClassVar[dict[type[Fact], Callable[[Execution, Any], None]]] = {
        ExecutionStarted: _begin,
        ExecutionSuspended: _suspend,
        ExecutionResumed: _resume,
        ExecutionRewound: _go_on,
    }
    """What the engine hears, and the code does not."""
    check_covers(_controls, Role.CONTROL, without=(ExecutionTerminated, ExecutionPurged))

    def _catch_up(self) -> None:
        """Let the code see what came while it was suspended, one by one, as long as it goes on."""
        deferred, self.work.deferred = self.work.deferred, []
        for number, fact in enumerate(deferred):
            if self._code is None:
                self.work.deferred = deferred[number:]
                break
            if self.work.expects(fact):  # the code may have given up a timer that was due meanwhile
                self._deliver(fact)
            elif isinstance(fact, EventRaised):
                self._asked.append(EventDiscarded(0, fact.name, "The wait that it was for is over."))

    def _deliver(self, fact: Fact) -> None:
        if type(fact) is EventRaised:
            wait = self._open.get(self.work.taker(fact) or 0)
            if type(wait) is OpenWait and wait.judged is not fact and self._discards_for(wait, fact):
                return
        settled = self.work.settle(fact)
        if settled is None:
            return  # it is kept until somebody waits for it
        self._resolve(settled, fact)
        awaited, code = self._awaited, self._code
        if awaited is not None and awaited.done_ and code is not None:
            self._send(code, awaited)

    def _send(self, code: _Code, awaited: Task[Any] | None) -> None:
        """Send the code on with what it awaited, until it awaits a task that is not done, or ends."""
        self._awaited = None
        try:
            awaited = (self._wall or self._behind_wall).run(self._send_behind_wall, code, awaited)
        except BaseException as raised:  # whatever the code raises is its outcome
            self._end(raised)
        else:
            self._awaited = awaited
            self._note_deadlines(awaited)

    def _send_behind_wall(self, code: _Code, awaited: Task[Any] | None) -> Task[Any]:
        """Returns the task that the code awaits now; raises what it ends with."""
        error = awaited.error_ if awaited else None
        while True:
            if error is not None:
                asked_for: object = code.throw(error)
            else:
                asked_for = code.send(awaited.value_ if awaited else None)
            if self._fault is not None:
                awaited, error, self._fault = None, self._fault, None
            elif _is_task(asked_for):
                awaited = asked_for
                awaited.seen_ = True
                if not awaited.done_:
                    return awaited
                error = awaited.error_
            else:
                awaited, error = None, not_durable(self.where(), self.name, asked_for)

    @property
    def _behind_wall(self) -> Wall:
        if self._wall is None:
            self._wall = Wall(self.name, self._left_early)
        return self._wall

    def _left_early(self, generator: AsyncGeneratorType[Any, Any]) -> None:
        """The code dropped an asynchronous generator: clean up at once, at the same place on every replay."""
        frame = generator.ag_frame
        where = "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}: "
        left = f"{where}{self.name} left {generator.__qualname__} before its end"
        try:
            generator.aclose().send(None)
        except StopIteration:
            return  # it had nothing to await
        except BaseException as error:
            self._fault = NotADurableTaskError(f"{left}, and its clean-up failed: {said(error)}")
        else:
            self._fault = NotADurableTaskError(
                f"{left}, and it is too late for its clean-up to await anything. Write: "
                "async with contextlib.aclosing(rows(ctx)) as each: async for row in each"
            )

    def _end(self, raised: BaseException) -> None:
        """The code is through: it returned (`StopIteration`), gave the sign to start anew, or failed."""
        fault, self._fault = self._fault, None
        match raised:
            case StopIteration(value=result) if fault is None:
                try:
                    ending: Fact = ExecutionCompleted(self._returned(result), unawaited=self._unawaited())
                except PayloadError as error:
                    ending = ExecutionCompleted(failure=self._failure(error))
            case _ if from_outside(raised):
                raise raised
            case _ if fault is not None:
                ending = ExecutionCompleted(failure=self._failure(fault))
            case ContinueAsNew():
                ending = ContinuedAsNew(raised.input_json, raised.keep_events, self._unawaited())
            case _:
                ending = ExecutionCompleted(failure=self._failure(explained(raised, self.where(), self.name)))
        self._code = None
        self._asked.append(ending)

    def _failure(self, raised: BaseException) -> Failure:
        """What the code raised, without the secrets that it was given."""
        failure = failure_of(raised)
        return failure if self._known is None else self._known.hide_failure(failure, self._failures)

    def _know(self, text: Raw, place: str) -> Raw:
        """What the code is given, in clear text, of which nothing is to stand in the text of an error."""
        plain = self.sealer.open(text, place)
        if self._known is None:
            self._known = KnownSecrets()
        self._known.add(plain)
        return plain

    def _returned(self, result: object) -> Raw:
        """The result as JSON. Raises `PayloadError` for what is none, and for what is not of the declared type."""
        text, wanted = encode(result), self.definition.signature.result
        if len(text) > self.max_payload:
            raise too_large(text, self.max_payload, f"The result of {self.name}")
        if wanted is not Any:
            try:
                decoder(wanted)(text)
            except MisfitError as error:
                refusal = f"The result of {self.name} does not fit its declared type: {error}"
                raise MisfitError(refusal, error.path) from None
        signature = self.definition.signature
        if signature.perhaps_secret_result and signature.is_secret_result(result):
            return self.sealer.seal(text, output_place(self.instance_id, self.birth))
        return text

    def _unawaited(self) -> tuple[str, ...]:
        """In words: what is lost of what the code asked for, and it has never looked at it."""
        if not self._open and not self._unseen:
            return ()
        failed = [text for text, tasks in self._unseen if not is_seen(tasks)]
        lost = [
            f"{called(target)} was never awaited: it is given up."
            for key, target in self._open.items()
            if not isinstance(self.work.requests.get(key), SubOrchestrationInstanceCreated)  # a child runs on
            and (is_wait(target, key) or not isinstance(target, OpenWait))
            and not is_seen(with_watchers(task_of(target)))
        ]
        return (*(failed if self._known is None else map(self._known.hide, failed)), *lost)

    def _check_sent_on(self) -> None:
        """What code asks for when it was not sent on would be at another place on each replay."""
        if SENT_ON[0] is self._wall:
            return
        if self._dropped or _is_running(self._code):  # Python closes code that nobody refers to any more
            self._refusals += 1
            if self._refusals > _CLOSINGS:  # it asks again and again: only what never comes brings it to await
                self.work, self._asked = OpenWork(), []
                return
        raise OrchestratorError(
            f"The context of instance '{self.instance_id}' was used while its orchestrator was not running: "
            "from a thread, a callback, or a clean-up. Nothing was asked for."
        )

    # --- answers

    def _resolve(self, task_id: int, fact: Fact) -> None:
        target = self._open.pop(task_id)
        if isinstance(target, OpenCall):
            self._resolve_call(target, fact)
        elif isinstance(target, DurableTimer):
            settle(target, None)
        elif isinstance(fact, EventRaised):
            self._answer(target, fact)
        else:
            self._time_out(target)

    def _resolve_call(self, call: OpenCall, fact: Fact) -> None:
        match fact:
            case TaskCompleted() | SubOrchestrationInstanceCompleted():
                self._settle_decoded(call, fact.result)
            case TaskFailed() | SubOrchestrationInstanceFailed():
                self._retry_later(call, fact.failure)
            case _:  # the timer before the next attempt
                self._retry(call)

    def _retry_later(self, call: OpenCall, failure: Failure) -> None:
        """Begin the pause before the next attempt, or settle the call if there is none."""
        self._failures.append(failure)
        try:
            delay = self._retry_delay(call, failure)
        except BaseException as raised:  # `retry_if` is the author's code: it may raise anything
            if from_outside(raised):
                raise
            self._fail(call, undecided(call.request, failure, raised))
            return
        if delay is None:
            self._fail(call, task_error(call.request, failure))
        else:
            self._open_request(self._as_recorded(TimerCreated(self._next_id(), self.at + delay)), call)

    def _retry_delay(self, call: OpenCall, failure: Failure) -> int | None:
        if call.retry is None:
            return None
        decide = partial(call.retry.delay, call.request.attempt)
        return self._behind_wall.run(decide, self.at - call.began, failure)

    def _settle_decoded(self, target: OpenCall | OpenWait, text: Raw) -> None:
        try:
            value = target.decode(text)
        except MisfitError as error:
            if is_sealed(text):
                place = self._place_of_answer(target)
                secret = isinstance(target, OpenCall) or target.secret
                self._settle_decoded(target, self._know(text, place) if secret else self.sealer.open(text, place))
                return
            refusal = f"{called(target)} gave what does not fit its declared type: {error}"
            self._fail(target, MisfitError(refusal, error.path))
        except PayloadError as error:
            self._fail(target, error)
        else:
            settle(task_of(target), value)

    def _misfit(self, wait: OpenWait, event: EventRaised) -> MisfitError | None:
        """Why an event is none for this wait."""
        if wait.judged is event:
            return None
        text = event.input
        try:
            try:
                wait.value = wait.decode(text)
            except PayloadError:
                if not is_sealed(text):
                    raise
                text = self.sealer.open(text, self._place_of_answer(wait))
                wait.value = wait.decode(text)
            wait.judged = event
            self._judge = wait
        except PayloadError as error:
            path = error.path if isinstance(error, MisfitError) else "$"
            why = hide_values(str(error), text) if wait.secret else str(error)
            return MisfitError(f"The data does not fit what '{wait.event.name}' waits for: {why}", path)
        return None

    def _fail(self, target: OpenCall | OpenWait, error: Exception) -> None:
        task = task_of(target)
        tasks = with_watchers(task)
        if not is_seen(tasks):
            self._unseen.append((f"{called(target)} failed, and nobody looked at it: {said(error)}", tasks))
        settle(task, None, error)

    def _answer(self, wait: OpenWait, event: EventRaised) -> None:
        self._answered.append((wait.id, self.at - wait.since))
        self._cancel_timeout(wait)
        if wait.secret:
            self._know(event.input, self._place_of_answer(wait))
        if wait.judged is event:
            settle(wait.event, wait.value)
        else:
            self._settle_decoded(wait, event.input)

    def _time_out(self, wait: OpenWait) -> None:
        del self._open[wait.id]
        self._give_up(EventWaitCancelled(wait.id))
        message = f"Nobody raised '{wait.event.name}' before {to_datetime(wait.deadline or self.at)}."
        failure = failure_as(EventTimeoutError, message, "timeout")
        self._fail(wait, EventTimeoutError(message, failure))

    # --- what the context asks for (see context.Execution)

    def call_activity(
        self, name: str, input_json: Raw, secret: bool, result: Any, options: CallOptions
    ) -> Task[Any]:
        self._check_sent_on()
        request = self._fitting(TaskScheduled(self._next_id(), name, input_json), "The input of the activity")
        if secret or self._recorded is not None:
            request = self._sealed(request, secret)
        return self._schedule(OpenCall(request, Task(), decoder(result), options.retry, self.at))

    def call_child(
        self, name: str, input_json: Raw, secret: bool, result: Any, options: CallOptions
    ) -> SubOrchestration[Any]:
        self._check_sent_on()
        task_id = self._next_id()
        child_id = options.instance_id or self._child_id(task_id)
        request = self._fitting(
            SubOrchestrationInstanceCreated(task_id, child_id, name, input_json),
            "The input of the sub-orchestration",
        )
        if secret or self._recorded is not None:
            request = self._sealed(request, secret)
        child: SubOrchestration[Any] = SubOrchestration(self)
        self._schedule(OpenCall(request, child, decoder(result), options.retry, self.at, options.instance_id))
        return child

    def create_timer(self, fire_at: Timestamp, reminder: bool) -> DurableTimer:
        self._check_sent_on()
        request = self._as_recorded(TimerCreated(self._next_id(), fire_at))
        timer = DurableTimer(self, request.id, request.fire_at, reminder)
        self._open_request(request, timer)
        return timer

    def open_wait(self, name: str, wanted: Any, fire_at: Timestamp | None) -> ExternalEvent[Any]:
        self._check_sent_on()
        wait_id = self._next_id()
        event: ExternalEvent[Any] = ExternalEvent(self, wait_id, name)
        wait = OpenWait(wait_id, event, wanted, decoder(wanted), has_secret(wanted), self.at, -1)
        self.definition.note_event(name, wanted)
        while (early := self.work.next_kept(name)) is not None and self._discards_for(wait, early):
            self.work.take_kept(name)
        wait.place = len(self._asked)
        request = EventAwaited(wait_id, name, wait.secret, schema(wanted), fire_at)
        self._asked.append(request)
        kept = self.work.open_wait(request)
        if kept is not None:
            self._answer(wait, kept)
            return event
        self._open[wait_id] = wait
        self._fresh.append(wait)
        if fire_at is not None:
            timer = self._as_recorded(TimerCreated(self._next_id(), fire_at))
            wait.timer_id = timer.id
            wait.timeout_at = wait.deadline = timer.fire_at
            self._open_request(timer, wait)
        return event

    def _discards_for(self, wait: OpenWait, event: EventRaised) -> bool:
        """Whether an event is of no use to the wait that is to take it: then the code never hears of it.

        On replay it is what it was, whatever the type is by now.
        """
        if self.is_replaying:
            discarded = self._recorded and self._recorded.next_discard(wait.id)
            if discarded:
                self._asked.append(discarded)
            return discarded is not None
        misfit = self._misfit(wait, event)
        if misfit is not None:
            self._asked.append(EventDiscarded(wait.id, event.name, str(misfit)))
        return misfit is not None

    def send_event(self, instance_id: str, name: str, input_json: Raw, secret: bool) -> None:
        self._check_sent_on()
        event = self._fitting(EventSent(self._next_id(), instance_id, name, input_json), "The data of the event")
        if secret or self._recorded is not None:
            event = self._sealed(event, secret)
        self._asked.append(self._as_recorded(event))

    def response_url(self, event: str | ExternalEvent[Any], expires_at: Timestamp | None) -> str:
        self._check_sent_on()
        name, wait_id = self._named(event)
        link_id = self._next_id()
        recorded = self._recorded and self._recorded.of(ResponseLinkCreated, link_id)
        if isinstance(recorded, ResponseLinkCreated):
            url = recorded.url
        else:
            wait = self._open.get(wait_id)
            asked_at = wait.since if isinstance(wait, OpenWait) else self.at
            url = self.links.url(
                ResponseGrant(
                    self.instance_id,
                    self.birth,
                    self.generation,
                    name,
                    wait_id or link_id,
                    asked_at,
                    f"{self.generation}.{link_id}",
                    expires_at,
                )
            )
        self._asked.append(ResponseLinkCreated(link_id, name, url))
        return url

    def _named(self, event: str | ExternalEvent[Any]) -> tuple[str, int]:
        """The name of an event, and the id of the wait for it that is meant (0: the next one)."""
        if isinstance(event, str):
            return event, self.work.next_wait(event) or 0
        if event.owner_ is not self:
            raise ValueError(f"This wait for '{event.name}' is one of another instance, or of another run.")
        return event.name, event.id_

    def set_custom_status(self, status_json: Raw, secret: bool) -> None:
        self._check_sent_on()
        if secret:
            status_json = self.sealer.seal(status_json, status_place(self.instance_id, self.birth))
        self.custom_status_json = status_json

    def cancel(self, task_id: int) -> None:
        """Give up an open timer or wait. Does nothing if it is closed already."""
        self._check_sent_on()
        target = self._open.pop(task_id, None)
        if isinstance(target, DurableTimer):
            self._give_up(TimerCancelled(task_id, target.fire_at_))
            settle(target, None, cancelled("This timer"))
        elif isinstance(target, OpenWait):
            self._give_up(EventWaitCancelled(task_id))
            self._cancel_timeout(target)
            settle(target.event, None, cancelled(f"This wait for '{target.event.name}'"))

    def cancel_call(self, open_id: int, reason: str) -> None:
        """Give up a sub-orchestration: its child, or its next attempt. Does nothing if it is done already."""
        self._check_sent_on()
        call = self._open.pop(open_id, None)
        if not isinstance(call, OpenCall):
            return
        request, waits = call.request, self.work.requests[open_id]
        if isinstance(waits, TimerCreated):  # the one before the next attempt
            self._give_up(TimerCancelled(open_id, waits.fire_at))
        elif isinstance(request, SubOrchestrationInstanceCreated):
            given_up = SubOrchestrationInstanceCancelled(open_id, request.instance_id, reason)
            self._give_up(self._as_recorded(given_up))
        settle(call.task, None, cancelled(f"This call of '{request.name}'"))

    def _cancel_timeout(self, wait: OpenWait) -> None:
        if wait.timeout_at is not None:
            del self._open[wait.timer_id]
            self._give_up(TimerCancelled(wait.timer_id, wait.timeout_at))

    def _schedule(self, call: OpenCall) -> Task[Any]:
        call.request = self._as_recorded(call.request)
        self._open_request(call.request, call)
        return call.task

    def _retry(self, call: OpenCall) -> None:
        """The next attempt: the same call under a new id."""
        task_id, failed = self._next_id(), call.request
        call_id, attempt = failed.call_id or failed.id, failed.attempt + 1
        if isinstance(failed, TaskScheduled):
            call.request = TaskScheduled(task_id, failed.name, failed.input, attempt, call_id)
        else:
            child_id = call.child_id or self._child_id(task_id)
            secret = is_sealed(failed.input)
            text = self.sealer.open(failed.input, self._place_of(failed)) if secret else failed.input
            again = SubOrchestrationInstanceCreated(task_id, child_id, failed.name, text, attempt, call_id)
            call.request = self._sealed(again, secret)
        self._schedule(call)

    def _fitting(self, asked: Carrying, what: str) -> Carrying:
        """What is asked for, if it is not too large. Of what is in history that is not asked again: a call of its
        id was made then, or it was refused. Raises `PayloadError`."""
        if len(asked.input) > self.max_payload and self._recorded_like(asked) is None:
            raise too_large(asked.input, self.max_payload, f"{what} '{asked.name}'")
        return asked

    def next_input(self, text: Raw, secret: bool) -> Raw:
        """The input of the next generation, as it is kept. Raises `PayloadError` if it is too large."""
        if len(text) > self.max_payload:
            raise too_large(text, self.max_payload, f"The next input of {self.name}")
        return self.sealer.seal(text, input_place(self.instance_id, self.birth)) if secret else text

    def open_input(self, text: Raw) -> Raw:
        """The input of this generation, which is sealed."""
        return self._know(text, input_place(self.instance_id, self.birth))

    def _sealed(self, asked: Carrying, secret: bool) -> Carrying:
        """What is asked for, sealed if it is secret. On replay it is sealed if it was then, and under the same key,
        whatever its type says by now: so it is seen whether it is the same."""
        recorded = self._recorded_like(asked)
        like = None if recorded is None else recorded.input
        if secret if like is None else is_sealed(like):
            return replace(asked, input=self.sealer.seal(asked.input, self._place_of(asked), like=like))
        return asked

    def _recorded_like(self, asked: Carrying) -> Carrying | None:
        """What history has under its kind and id."""
        recorded = self._recorded and self._recorded.of(type(asked), asked.id)
        return cast("Carrying | None", recorded)

    def _place_of(self, asked: TaskScheduled | SubOrchestrationInstanceCreated | EventSent) -> str:
        """For where the payload of what is asked for is sealed."""
        match asked:
            case TaskScheduled():
                return arguments_place(self.instance_id, self.birth, self.generation, asked.call_id or asked.id)
            case SubOrchestrationInstanceCreated():
                return input_place(asked.instance_id, self._birth_of_child(asked))
            case EventSent():
                return event_place(asked.instance_id, asked.name)

    def _place_of_answer(self, target: OpenCall | OpenWait) -> str:
        """For where what answers it is sealed."""
        if isinstance(target, OpenWait):
            return event_place(self.instance_id, target.event.name)
        request = target.request
        if isinstance(request, SubOrchestrationInstanceCreated):
            return output_place(request.instance_id, self._birth_of_child(request))
        return result_place(self.instance_id, self.birth, self.generation, request.id)

    def _birth_of_child(self, request: SubOrchestrationInstanceCreated) -> str:
        return birth_of_child(Parent(self.instance_id, self.generation, request.id, self.birth))

    def _child_id(self, task_id: int) -> str:
        return uuid5(_CHILDREN, f"{self.instance_id}/{self.birth}/{self.generation}/{task_id}").hex

    def _open_request(self, request: Request, target: Target) -> None:
        """Ask for what `target` will be told of."""
        self._asked.append(request)
        self.work.open(request)
        self._open[request.id] = target
        if type(target) is OpenCall and isinstance(target.task, SubOrchestration):
            target.task.open_id_ = request.id

    def _give_up(self, fact: TimerCancelled | EventWaitCancelled | SubOrchestrationInstanceCancelled) -> None:
        self._asked.append(fact)
        self.work.give_up(fact)

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    # --- deadlines

    def _note_deadlines(self, awaited: Task[Any]) -> None:
        """A wait is due at its own timeout, or else when the last timer fires that it is raced against now."""
        if type(awaited) is Task:
            return  # a call: no wait is raced against anything
        waits, raced_until = race(awaited)
        for wait_id in waits:
            wait = self._open[wait_id]
            if isinstance(wait, OpenWait):
                due = raced_until if wait.timeout_at is None else wait.timeout_at
                if due != wait.deadline:
                    self._change_deadline(wait, due)

    def _change_deadline(self, wait: OpenWait, due: Timestamp | None) -> None:
        wait.deadline = due
        if wait.place < 0:
            self._asked.append(EventDeadlineChanged(wait.id, due))
        else:
            self._asked[wait.place] = replace(self._asked[wait.place], deadline=due)


def _is_running(code: _Code | None) -> bool:
    return getattr(code, "cr_running", False) or getattr(code, "gi_running", False)


def _is_task(awaited: object) -> TypeGuard[Task[Any]]:
    return isinstance(awaited, Task)
