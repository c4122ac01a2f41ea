"""Runs activities: asynchronous ones on the event loop, the others in threads.

By default a body runs at least once: an activity that was cut off by a crash runs again. A *once*-activity (G5) is
marked as started, durably, before its body runs; if it is cut off after that, its body is not repeated blindly:
`reconcile` says what happened, or the orchestrator gets `OutcomeUnknownError`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import nullcontext
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Protocol, TypeAlias, cast

from msgspec import Raw
from msgspec.structs import replace

from bide.core.calls import ActivityCall, Done, NotDone, Outcome, Unknown, enter
from bide.core.failures import failure_as, failure_of, said
from bide.core.hiding import KnownSecrets
from bide.core.records import Record
from bide.core.registry import ActivityDefinition, Registry
from bide.engine.threads import Threads
from bide.errors import (
    BideError,
    CommitUnknownError,
    FunctionNotFoundError,
    LeaseLostError,
    OutcomeUnknownError,
    PayloadError,
    SealedStep,
)
from bide.model.batch import Message, ScheduledActivity, TaskKey
from bide.model.clock import Clock, Timestamp
from bide.model.history import TaskCompleted, TaskFailed, Unreadable
from bide.model.interrupts import raised_by_code
from bide.model.metrics import Metrics
from bide.model.payload import MAX_PAYLOAD, encode, read_or_open, too_large
from bide.model.sealing import Sealer, arguments_place, is_sealed, result_place

log = logging.getLogger("bide.activity")

_CLEAN_UP_S = 1.0
"""How long bodies that were cancelled may take to put things in order."""

_NOT_RECONCILED = "reconcile of activity %s, instance %s, failed"
_OUTLIVED = (
    "The body of activity %s, instance %s, runs on in its thread although nobody waits for it any more: a thread "
    "cannot be stopped. %d bodies do so now."
)

Post: TypeAlias = Callable[[Message], None]
Claim: TypeAlias = Callable[[ScheduledActivity, Callable[[BideError | None], None]], None]


class Activities(Protocol):
    """What a worker needs of whoever runs its activities."""

    def connect(self, post: Post, claim: Claim) -> None:
        """`post` takes results; `claim` marks a once-activity as started and answers when that is durable."""
        ...

    def run(self, activity: ScheduledActivity, *, recovered: bool = False) -> None:
        """Run it, unless it is running. `recovered`: it was scheduled before this worker owned it.

        What is known of an activity that only waits to begin is out of date then: another worker may have begun
        it meanwhile.
        """
        ...

    @property
    def running(self) -> Collection[TaskKey]:
        """Those that are running, or wait for a slot."""
        ...

    def cancel(self, keys: Iterable[TaskKey]) -> None:
        """Nobody waits for these any more: stop them where that is possible. Unknown keys are ignored."""
        ...


MAX_ACTIVITIES = 1_000
"""Bodies that run at once in one worker; the others wait."""
MAX_THREADS = 32
"""Of these, bodies that need a thread."""


class _Run(Record):
    """One activity that runs, or waits for a slot."""

    activity: ScheduledActivity
    """As it was when it was to run: its body began before that if it was `started`."""
    task: asyncio.Task[None] | None = None
    began: Timestamp = 0
    """When its body began. 0: it has not."""


class ActivityRunner:
    """Implements `Activities`."""

    def __init__(
        self,
        registry: Registry,
        secret: bytes,
        sealer: Sealer,
        clock: Clock,
        metrics: Metrics,
        max_concurrent: int = MAX_ACTIVITIES,
        max_threads: int = MAX_THREADS,
        max_payload: int = MAX_PAYLOAD,
    ) -> None:
        """`secret` is the hub's, for `ActivityCall.derive`. The limits are per worker; no result has more than
        `max_payload` bytes as JSON."""
        self._registry = registry
        self._secret = secret
        self._sealer = sealer
        self._clock = clock
        self._metrics = metrics
        self._max_payload = max_payload
        self._slots = asyncio.Semaphore(max_concurrent)
        self._slots_of: dict[str, asyncio.Semaphore] = {}
        self._threads = Threads(max_threads, "bide-activity")
        self._running: dict[TaskKey, _Run] = {}
        self._draining = False
        self._post: Post | None = None
        self._claim: Claim | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def connect(self, post: Post, claim: Claim) -> None:
        self._post, self._claim = post, claim

    def run(self, activity: ScheduledActivity, *, recovered: bool = False) -> None:
        key = activity.key
        running = self._running.get(key)
        if self._draining or (running is not None and (running.began or not recovered)):
            return
        if running is not None:
            self.cancel([key])
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        run = self._running[key] = _Run(activity)
        run.task = self._loop.create_task(self._run(key, run), context=Context())

    def cancel(self, keys: Iterable[TaskKey]) -> None:
        for key in keys:
            run = self._running.pop(key, None)  # by itself it would not go, if it has not begun
            if run is not None and run.task is not None:
                run.task.cancel()

    async def drain(self, timeout_s: float) -> None:
        """Let running activities end; cancel those that have not after `timeout_s`. They run again later."""
        self._draining = True
        if self._running:
            await asyncio.wait(self.tasks, timeout=timeout_s)
        cut_off = self.tasks
        self.cancel(list(self._running))
        if cut_off:
            await asyncio.wait(cut_off, timeout=_CLEAN_UP_S)
        self._threads.close()

    @property
    def running(self) -> Collection[TaskKey]:
        """The activities that are running or wait for a slot."""
        return self._running.keys()

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """In which they run, or wait."""
        return [run.task for run in self._running.values() if run.task is not None]

    @property
    def outlived(self) -> int:
        """Bodies of `def` activities that run on though nobody waits for them: their time was over, or their
        instance has ended."""
        return self._threads.outlived

    # --- one activity

    async def _run(self, key: TaskKey, run: _Run) -> None:
        assert self._post is not None, "connect() comes first"
        activity = run.activity
        try:
            self._post(_message(activity, await self._in_turn(run)))
        except FunctionNotFoundError as error:
            self._post(_message(activity, TaskFailed(activity.task_id, failure_of(error))))
        except LeaseLostError:
            pass  # it is another worker's now
        except SealedStep as error:  # the instance is held; who has the key, runs it
            self._post(_message(activity, Unreadable(str(error))))
        except Exception:
            log.exception("Activity %s of instance %s could not be run", activity.name, activity.instance_id)
        finally:
            if self._running.get(key) is run:
                del self._running[key]

    def _in_turn(self, run: _Run) -> Awaitable[TaskCompleted | TaskFailed]:
        """What becomes of an activity, once it is its turn. Raises `FunctionNotFoundError`."""
        definition = self._registry.activity(run.activity.name)
        limited = definition.max_concurrent is not None
        return self._in_own_slot(definition, run) if limited else self._in_slot(definition, run)

    async def _in_own_slot(self, definition: ActivityDefinition, run: _Run) -> TaskCompleted | TaskFailed:
        """An activity's own limit comes before the worker's, so that a crowded one takes none of its slots."""
        assert definition.max_concurrent is not None, "it has a limit"
        async with self._slots_of.setdefault(definition.name, asyncio.Semaphore(definition.max_concurrent)):
            return await self._in_slot(definition, run)

    async def _in_slot(self, definition: ActivityDefinition, run: _Run) -> TaskCompleted | TaskFailed:
        await self._slots.acquire()  # `async with` would make two coroutines more
        try:
            if definition.is_async:
                fact = await self._outcome(definition, run)
            else:
                async with self._threads.place():
                    fact = await self._outcome(definition, run)
        except PayloadError as error:
            fact = TaskFailed(run.activity.task_id, failure_of(error))
        finally:
            self._slots.release()
        if type(fact) is TaskFailed and is_sealed(run.activity.input_json):
            fact = replace(fact, failure=self._known_to(run.activity).hide_failure(fact.failure))
        return fact if fact.started_at == run.began else replace(fact, started_at=run.began)

    async def _outcome(self, definition: ActivityDefinition, run: _Run) -> TaskCompleted | TaskFailed:
        """Limits, and a once-activity's mark, begin here: with a slot, and a thread for a body that needs one."""
        activity = run.activity
        call = self._call_of(definition, activity)
        if definition.once and not activity.started:
            await self._mark_started(activity)
        now = run.began = self._clock.now()
        self._metrics.schedule_to_start.add(now, now - activity.scheduled_at)
        if definition.once:
            return await self._once(definition, run, call)
        return await self._body(definition, run, call)

    async def _mark_started(self, activity: ScheduledActivity) -> None:
        """Return once the mark is durable. Raises `LeaseLostError` if the activity is another worker's now."""
        assert self._claim is not None, "connect() comes first"
        while True:
            marked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._claim(activity, partial(_answer, marked))
            try:
                return await marked
            except CommitUnknownError:
                continue  # the body has not run: marking it again is safe

    async def _once(
        self, definition: ActivityDefinition, run: _Run, call: ActivityCall
    ) -> TaskCompleted | TaskFailed:
        """Run the body; if it is cut off, ask `reconcile`, and run it once more if that is certain it was not done.

        Never a third time: what is cut off again and again must not send again and again.
        """
        activity = run.activity
        runs, why = (1, "a crash cut it off") if activity.started else (0, "")
        while True:
            if runs:
                match await self._reconcile(definition, activity, call):
                    case Done(result):
                        return self._completed(definition, run, result)
                    case NotDone() if runs == 1:
                        pass
                    case _:
                        return _unknown(activity, why)
            try:
                return await self._body(definition, run, call)
            except _CutOff as cut:
                runs, why = runs + 1, str(cut)

    async def _body(
        self, definition: ActivityDefinition, run: _Run, call: ActivityCall
    ) -> TaskCompleted | TaskFailed:
        """One run of the body. Raises `_CutOff` if nobody knows what a once-activity did."""
        enter(call)
        function = partial(definition.signature.call, definition.function, call.arguments)
        limit = None if definition.timeout is None else definition.timeout.total_seconds()
        deadline = None if limit is None else asyncio.timeout(limit)
        try:
            if deadline is None:
                result = await self._call(function, run.activity, is_async=definition.is_async)
            else:
                async with deadline:
                    result = await self._call(function, run.activity, is_async=definition.is_async)
            return self._completed(definition, run, result)
        except BaseException as error:  # whatever the body raises is its outcome
            if _from_outside(error):
                raise
            late = deadline is not None and isinstance(error, TimeoutError) and deadline.expired()
            if definition.once and (late or isinstance(error, definition.unknown_on)):
                raise _CutOff(f"it ran out of its {limit:g} s" if late else said(error)) from error
            if late:
                text = f"The activity did not end within {limit:g} s."
                return TaskFailed(run.activity.task_id, failure_as(TimeoutError, text, "timeout"))
            return TaskFailed(run.activity.task_id, failure_of(error))

    def _completed(self, definition: ActivityDefinition, run: _Run, result: object) -> TaskCompleted | TaskFailed:
        """A once-activity whose result cannot be kept was done all the same: no retry may do it again (G5)."""
        try:
            text = encode(result)
            if len(text) > self._max_payload:
                raise too_large(text, self._max_payload, f"The result of the activity '{definition.name}'")
            signature = definition.signature
            if signature.perhaps_secret_result and signature.is_secret_result(result):
                activity = run.activity
                text = self._sealer.seal(
                    text,
                    result_place(activity.instance_id, activity.birth, activity.generation, activity.task_id),
                )
            return TaskCompleted(run.activity.task_id, text, run.began)
        except PayloadError as error:
            if definition.once:
                return _unknown(run.activity, f"it ended, but its result is lost: {error}")
            return TaskFailed(run.activity.task_id, failure_of(error))

    def _call(self, function: Callable[[], Any], activity: ScheduledActivity, *, is_async: bool) -> Awaitable[Any]:
        """What a user's function gives."""
        return cast("Awaitable[Any]", function()) if is_async else self._in_thread(function, activity)

    async def _in_thread(self, function: Callable[[], Any], activity: ScheduledActivity) -> Any:
        """What a function gives that is not `async def`, and may block. The caller has a place in `_threads`."""
        body = partial(copy_context().run, partial(_told_by_a_future, function))
        outlived = self._threads.outlived
        try:
            result = await self._threads.call(body)
        except asyncio.CancelledError:
            if self._threads.outlived > outlived:
                log.warning(_OUTLIVED, activity.name, activity.instance_id, self._threads.outlived)
            raise
        return await result if inspect.isawaitable(result) else result

    async def _reconcile(
        self, definition: ActivityDefinition, activity: ScheduledActivity, call: ActivityCall
    ) -> Outcome:
        if definition.reconcile is None:
            return Unknown()
        try:
            is_async = inspect.iscoroutinefunction(definition.reconcile)
            question = partial(definition.reconcile, call)
            place = self._threads.place() if definition.is_async and not is_async else nullcontext()
            async with place:
                outcome = await self._call(question, activity, is_async=is_async)
            if isinstance(outcome, Done | NotDone | Unknown):
                return outcome
            raise TypeError(f"reconcile answers Done, NotDone or Unknown, not {type(outcome).__qualname__}")
        except BaseException as error:
            if _from_outside(error):
                raise
            if is_sealed(activity.input_json):
                why = self._known_to(activity).hide(said(error))
                log.error(_NOT_RECONCILED + ": %s", activity.name, activity.instance_id, why)
            else:
                log.exception(_NOT_RECONCILED, activity.name, activity.instance_id)
            return Unknown()

    def _call_of(self, definition: ActivityDefinition, activity: ScheduledActivity) -> ActivityCall:
        """Raises `PayloadError` for arguments that do not fit, `SealedStep` for those that cannot be opened."""
        read = definition.signature.decode
        return ActivityCall(
            activity.name,
            read_or_open(read, activity.input_json, lambda _: self._opened_input(activity)),
            activity.instance_id,
            activity.attempt,
            activity.idempotency_key,
            activity.scheduled_at,
            self._secret,
        )

    def _known_to(self, activity: ScheduledActivity) -> KnownSecrets:
        """The secrets that it was given."""
        known = KnownSecrets()
        known.add(self._opened_input(activity))
        return known

    def _opened_input(self, activity: ScheduledActivity) -> Raw:
        place = arguments_place(activity.instance_id, activity.birth, activity.generation, activity.call_id)
        return self._sealer.open(activity.input_json, place)


def _message(activity: ScheduledActivity, fact: TaskCompleted | TaskFailed | Unreadable) -> Message:
    return Message(activity.instance_id, fact, activity.generation, birth=activity.birth)


class _CutOff(Exception):
    """Nobody knows what a once-activity did; the text says why."""


def _from_outside(error: BaseException) -> bool:
    """Whether the runner, or Ctrl-C, ended a body: then it has no outcome. It may raise the same signals itself."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | GeneratorExit) and not raised_by_code(error)


def _told_by_a_future(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except (StopIteration, GeneratorExit) as error:  # no future hands them on: nobody would ever hear of it
        raise RuntimeError(f"The activity raised {type(error).__name__}") from error


def _answer(future: asyncio.Future[None], error: BideError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _unknown(activity: ScheduledActivity, why: str) -> TaskFailed:
    text = f"nobody knows whether '{activity.name}' was done: {why}."
    return TaskFailed(activity.task_id, failure_as(OutcomeUnknownError, text, "outcome_unknown"))
