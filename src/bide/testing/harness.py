"""Durable functions in a test, under the test's own time.

`Durable` runs the real worker over a store in memory and a clock that only the test moves. Its verbs are
synchronous: each returns when everything is at rest, that is, when nothing is left to do before time passes or
somebody answers. Machine time is only a safety net, for activities that do not end.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from datetime import timedelta
from enum import Enum, auto
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

from msgspec import UNSET

from bide.app import App
from bide.core.calls import ActivityCall, current_call
from bide.core.registry import ActivityDefinition, Function, Registry
from bide.core.replay import Executions, check_replay
from bide.engine.activities import Activities, ActivityRunner
from bide.engine.client import Client
from bide.engine.code_version import code_version
from bide.engine.options import WorkerOptions
from bide.engine.worker import Worker
from bide.errors import PayloadError
from bide.model.batch import Batch, Message, Reply, ScheduledActivity
from bide.model.clock import Timestamp, to_datetime, to_micros, to_span
from bide.model.history import ExecutionCompleted, Step, SubOrchestrationInstanceCreated
from bide.model.instance import PARTITIONS, Instance, Reuse, RuntimeStatus, Wait
from bide.model.links import SignedLinks
from bide.model.metrics import Metrics
from bide.model.payload import decoder, encode
from bide.model.sealing import SealingKeys
from bide.store.memory import MemoryStore
from bide.testing.clock import ManualClock

T = TypeVar("T")

Span: TypeAlias = str | float | timedelta
"""`"90s"`, `"1h30m"`, `"2d"`; a number of seconds; or a `timedelta`."""

_ALL = range(PARTITIONS)
_SECRET = bytes(32)
_SEALER = SealingKeys([_SECRET])
_LINKS = SignedLinks(_SECRET, "http://127.0.0.1:7071")


class _Unchecked(Enum):
    """The default of arguments whose None means something."""

    UNCHECKED = auto()


def _delta(span: Span) -> timedelta:
    """What is meant by a span of time. Raises `ValueError` for text that means none."""
    if isinstance(span, timedelta):
        return span
    return to_span(span) if isinstance(span, str) else timedelta(seconds=span)


class Fake:
    """Stands in for the body of an activity. `calls` has every call that it got, in order."""

    def __init__(self, definition: ActivityDefinition, replacement: object) -> None:
        self.calls: list[ActivityCall] = []
        self._replacement = _checked(definition, replacement)

    @property
    def arguments(self) -> list[tuple[Any, ...]]:
        """The arguments of every call, in order."""
        return [call.arguments for call in self.calls]

    async def run(self, *arguments: Any, **keywords: Any) -> Any:
        """The body."""
        self.calls.append(current_call())
        replacement = self._replacement
        if isinstance(replacement, BaseException) or _is_error_class(replacement):
            raise replacement
        if not callable(replacement):
            return replacement
        result = replacement(*arguments, **keywords)
        return await result if inspect.isawaitable(result) else result


class Hold(Fake):
    """The body of an activity whose calls begin, and stay open until the test ends them."""

    def __init__(self, definition: ActivityDefinition, durable: Durable) -> None:
        super().__init__(definition, self._stay_open)
        self._durable = durable
        self._open: list[asyncio.Future[Any]] = []

    @property
    def open(self) -> int:
        """How many calls are open."""
        return len(self._open)

    def finish(self, result: Any = None) -> None:
        """Let the oldest open call return."""
        self._oldest().set_result(result)
        self._durable.settle()

    def fail(self, error: Exception) -> None:
        """Let the oldest open call raise."""
        self._oldest().set_exception(error)
        self._durable.settle()

    def _oldest(self) -> asyncio.Future[Any]:
        if not self._open:
            raise AssertionError("No call of this activity is open.")
        return self._open[0]

    async def _stay_open(self, *_: Any, **__: Any) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._open.append(future)
        self._durable.changed.set()
        try:
            return await future
        finally:
            self._open.remove(future)


def _is_error_class(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _checked(definition: ActivityDefinition, replacement: object) -> Any:
    """The replacement itself. Raises `TypeError` if the activity could not have been written so."""
    if isinstance(replacement, BaseException) or _is_error_class(replacement):
        return replacement
    if callable(replacement):
        parameters = inspect.signature(definition.function).parameters
        by_name = {name: None for name, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY}
        try:
            inspect.signature(replacement).bind(*(name for name in parameters if name not in by_name), **by_name)
        except TypeError as error:
            raise TypeError(
                f"The fake of '{definition.name}' cannot be called with ({', '.join(parameters)}): {error}"
            ) from None
        return replacement
    try:
        decoder(definition.signature.result)(encode(replacement))
    except PayloadError as error:
        raise TypeError(f"'{definition.name}' cannot return {replacement!r}: {error}") from None
    return replacement


class _Bodies(Registry):
    """An app's activities, some with another body. Nothing else of them is changed."""

    def __init__(self, registry: Registry, fakes: dict[str, Fake]) -> None:
        super().__init__()
        self._real = registry
        self._fakes = fakes

    def activity(self, wanted: str | Function) -> ActivityDefinition:
        definition = self._real.activity(wanted)
        fake = self._fakes.get(definition.name)
        return definition if fake is None else replace(definition, function=fake.run)


class _Store(MemoryStore):
    """Remembers which instances there are."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: dict[str, None] = {}

    async def commit(self, batch: Batch) -> list[int]:
        inbox_ids = await super().commit(batch)
        for purged in batch.purged:  # the same id may begin anew in this batch
            self.ids.pop(purged, None)
        self.ids.update(dict.fromkeys(batch.instances))
        return inbox_ids


class _Worker(Worker):
    """The worker, telling when it was given something to do."""

    changed: asyncio.Event

    def submit(self, message: Message, reply: Reply) -> None:
        super().submit(message, reply)
        self.changed.set()

    def hear(self, activities: Activities) -> None:
        """Take what these activities have for it."""

        def post(message: Message) -> None:
            self.intake.post(message)
            self.changed.set()

        def claim(activity: ScheduledActivity, reply: Reply) -> None:
            self.intake.claim(activity, reply)
            self.changed.set()

        activities.connect(post, claim)


class Durable:
    """An app that runs in the test's own time. The fixture `durable` gives one.

        def test_nobody_answers(durable: Durable) -> None:
            sms = durable.fake(send_sms, "0042")
            verification = durable.start(verify_phone, "+14255550100")
            durable.assert_waiting_for(verification, "SmsChallengeResponse", until="90s")
            durable.advance("90s")
            assert durable.output(verification) is False
            assert sms.arguments == [("+14255550100",)]

    Outside of pytest it is a context manager: `with Durable(app) as durable: ...`.
    """

    def __init__(self, app: App, *, options: WorkerOptions | None = None, patience_s: float = 5.0) -> None:
        """`patience_s` is how long, in machine time, activities may take between two verbs of the test."""
        self.clock = ManualClock()
        self.patience_s = patience_s
        self.changed = asyncio.Event()
        """Set when there is something to do. For fakes and holds; a test has no need of it."""
        self._app = app
        self._options = options
        self._fakes: dict[str, Fake] = {}
        self._store = _Store()
        self._loop = asyncio.new_event_loop()
        self._workers = 0
        self._begin()

    def __enter__(self) -> Durable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the app, and whatever it was doing."""
        if not self._loop.is_closed():
            self._loop.run_until_complete(self._end())
            self._loop.close()
            self._app.running_client = None

    # --- what callers do

    @property
    def client(self) -> Client:
        """The app's client. Its verbs are coroutines: hand them to `run`."""
        return self._client

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine while the app works, until both are at rest. Returns its result."""
        _refuse_running_loop(work)
        return self._loop.run_until_complete(self._run(work))

    def start(
        self,
        orchestrator: str | Function,
        input: object = UNSET,
        *more: object,
        instance_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        reuse: Reuse | None = None,
    ) -> str:
        """Start an instance; returns its id. See `Client.start`."""
        return self.run(
            self._client.start(
                orchestrator,
                input,
                *more,
                instance_id=instance_id,
                tags=tags,
                idempotency_key=idempotency_key,
                reuse=reuse,
            )
        )

    def raise_event(self, instance_id: str, name: str, data: object = None) -> None:
        """Give an instance the named event. See `Client.raise_event`."""
        self.run(self._client.raise_event(instance_id, name, data))

    def suspend(self, instance_id: str, reason: str = "") -> None:
        """Let an instance take its messages, but not go on."""
        self.run(self._client.suspend(instance_id, reason))

    def resume(self, instance_id: str, reason: str = "") -> None:
        """Let a suspended instance go on."""
        self.run(self._client.resume(instance_id, reason))

    def terminate(self, instance_id: str, reason: str = "", *, recurse: bool = False) -> None:
        """End an instance now; with `recurse`, its running sub-orchestrations too, also if it has ended itself."""
        self.run(self._client.terminate(instance_id, reason, recurse=recurse))

    def rewind(self, instance_id: str, reason: str = "") -> None:
        """Set a failed instance back to before the step that ended it. See `Client.rewind`."""
        self.run(self._client.rewind(instance_id, reason))

    def purge(self, instance_id: str) -> None:
        """Delete an ended instance with its history."""
        self.run(self._client.purge(instance_id))

    def restart(self, instance_id: str, *, new_instance_id: bool = True) -> str:
        """Start again with the same function and input; returns the id. See `Client.restart`."""
        return self.run(self._client.restart(instance_id, new_instance_id=new_instance_id))

    # --- time

    def advance(self, span: Span) -> None:
        """Let time pass. Every timer that is due on the way fires at its own time, in order."""
        delta = _delta(span)
        if delta < timedelta(0):
            raise ValueError("Time goes forward.")
        self.settle()
        until = self.clock.now() + to_micros(delta)
        while (due := self._next_timer(until)) is not None:
            self._jump(due)
        self._jump(until)

    def wait(self, instance_id: str) -> Instance:
        """Let time pass, from timer to timer, until the instance has ended.

        Raises `AssertionError` if it waits for what time does not bring.
        """
        self.settle()
        while not (instance := self.status(instance_id)).status.finished:
            due = self._next_timer(None)
            if due is None or instance.held is not None:
                raise AssertionError(f"{self._describe(instance)} It does not end by itself.")
            self._jump(due)
        return instance

    def settle(self) -> None:
        """Let everything be done that can be done without time passing. Every verb ends with this.

        Raises `TimeoutError` if an activity does not end.
        """
        self.run(_nothing())

    # --- the world

    def fake(self, activity: str | Function, replacement: object) -> Fake:
        """Replace the body of an activity: by a function with its parameters, by the value that it returns, or by
        the error that it raises.

        All else stays: time limit, retries, once, reconcile. The fake lasts until the end of the test, through
        crashes. Raises `TypeError` for what the activity could not have been.
        """
        definition = self._app.registry.activity(activity)
        fake = self._fakes[definition.name] = Fake(definition, replacement)
        return fake

    def hold(self, activity: str | Function) -> Hold:
        """Let calls of an activity begin, and stay open until the test ends them: to look at what is in between."""
        definition = self._app.registry.activity(activity)
        hold = self._fakes[definition.name] = Hold(definition, self)
        return hold

    def crash(self) -> None:
        """Drop everything that is only in memory, as `kill -9` would, and start again from the store.

        As there, an activity that is under way at two of them in a row waits for 30 s before it runs again, 60 s if
        it is under way at the next one too, and then its instance is put on hold.
        """
        self._loop.run_until_complete(self._kill())
        self._begin()

    def deploy(self, app: App) -> None:
        """End in order, and start again with the functions of another app: the next version of the code."""
        self._loop.run_until_complete(self._end())
        self._app = app
        self._begin()

    # --- looking

    def status(self, instance_id: str) -> Instance:
        """The instance as it is now. Raises `InstanceNotFoundError`."""
        return self.run(self._client.get(instance_id))

    def output(self, instance_id: str) -> Any:
        """What the orchestrator returned. Raises `AssertionError` if it did not, saying why."""
        instance = self.status(instance_id)
        if instance.status is not RuntimeStatus.COMPLETED:
            raise AssertionError(self._describe(instance))
        return instance.output

    def history(self, instance_id: str) -> list[Step]:
        """What happened in the instance's present generation. Raises `InstanceNotFoundError`."""
        return self.run(self._client.history(instance_id))

    def children(self, instance_id: str) -> list[Instance]:
        """The sub-orchestrations that the instance's present generation called, in order, as they are now."""
        ids = [
            fact.instance_id
            for step in self.history(instance_id)
            for fact in step.facts
            if isinstance(fact, SubOrchestrationInstanceCreated)
        ]
        return [self.status(child_id) for child_id in ids if child_id in self._store.ids]

    def waiting(self, instance_id: str) -> list[Wait]:
        """The events that the instance waits for, oldest first. Raises `InstanceNotFoundError`."""
        return self.run(self._client.waits(instance_id))

    def assert_waiting_for(
        self, instance_id: str, name: str, until: Span | _Unchecked | None = _Unchecked.UNCHECKED
    ) -> None:
        """The instance waits for the named event, and for so long from now (None: for ever)."""
        waits = [wait for wait in self.waiting(instance_id) if wait.name.lower() == name.lower()]
        if not waits:
            raise AssertionError(f"{self._describe(self.status(instance_id))} It does not wait for '{name}'.")
        if isinstance(until, _Unchecked):
            return
        wanted = None if until is None else self.clock.now() + to_micros(_delta(until))
        if all(wait.due != wanted for wait in waits):
            shown = "for ever" if wanted is None else f"until {to_datetime(wanted)}"
            raise AssertionError(f"{self._describe(self.status(instance_id))} It does not wait {shown}.")

    def assert_not_waiting(self, instance_id: str) -> None:
        """The instance waits for no event."""
        if self.waiting(instance_id):
            raise AssertionError(self._describe(self.status(instance_id)))

    def replay_all(self) -> None:
        """Replay every history with the present code.

        Raises `NonDeterminismError` for the first that does not fit: the code depends on something that is not in
        history, or it was changed in a way that would hold the instances that are there.
        """
        for instance_id in self._store.ids:
            instance, history = self.status(instance_id), self.run(self._store.history(instance_id))
            place = (instance.name, instance.id, instance.generation)
            check_replay(self._app.registry, *place, history, sealer=_SEALER)

    def _describe(self, instance: Instance) -> str:
        """An instance in words, for the message of a failed assertion."""
        text = f"Instance '{instance.id}' of {instance.name} is {instance.status}"
        ending = [step.facts[-1] for step in self.history(instance.id)][-1:]
        if ending and isinstance(ending[0], ExecutionCompleted) and ending[0].failure:
            text += f": {ending[0].failure.type}: {ending[0].failure.message}"
        if instance.held is not None:
            text += f", and held: {instance.held}"
        waits = [_in_words(wait) for wait in self.waiting(instance.id)]
        if waits:
            text += f". It waits for {' and '.join(waits)}"
        return f"{text}."

    # --- the engine

    def _begin(self) -> None:
        """Start a worker over what the store has."""
        self._workers += 1
        registry = self._app.registry
        metrics = Metrics(self.clock.now())
        self._runner = ActivityRunner(_Bodies(registry, self._fakes), _SECRET, _SEALER, self.clock, metrics)
        owner = f"worker {self._workers}"
        code = code_version(registry, files=False)
        strict = self._options is not None and self._options.strict_replay
        executions = Executions(registry, _LINKS, _SEALER, strict=strict)
        self._worker = _Worker(
            self._store, executions, self.clock, self._runner, owner, _SEALER, metrics, self._options, code
        )
        self._worker.changed = self.changed
        self._worker.hear(self._runner)
        self._client = self._app.running_client = Client(
            self._worker, self._store, registry, self.clock, opens=True
        )
        self.settle()

    async def _kill(self) -> None:
        """Stop the worker where it stands. What it owned is free, as it is when a process has ended."""
        await self._runner.drain(0)
        self._worker.dispatcher.forget()
        await self._store.open()

    async def _end(self) -> None:
        await self._kill()
        await self._worker.release()

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(work)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.patience_s
        while True:
            await asyncio.sleep(0)  # let others hand in what they have for the worker
            self.changed.clear()
            if await self._worker.turn():
                continue
            if not self._worker.ready:
                raise RuntimeError("The worker failed; its log says why.")
            pending: set[asyncio.Future[Any]] = {task} if not task.done() else set()
            pending.update(self._runner.tasks)
            if task.done() and len(pending) == self._held():
                return await task
            await self._something(pending, deadline - loop.time())

    async def _something(self, pending: set[asyncio.Future[Any]], limit_s: float) -> None:
        """Wait until one of these is done, or there is something to do."""
        changed = asyncio.ensure_future(self.changed.wait())
        try:
            done, _ = await asyncio.wait({*pending, changed}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
        if not done:
            for task in pending:
                task.cancel()
            raise TimeoutError(await self._who_hangs())

    async def _who_hangs(self) -> str:
        running = self._runner.running
        names = [call.name for call in await self._store.activities(_ALL) if call.key in running]
        who = f"Activity {' and '.join(sorted(set(names)))} has" if names else "What was to be run has"
        return (
            f"{who} not ended after {self.patience_s:g} s of machine time. A test cannot move the time in which an "
            "activity sleeps: fake the activity (durable.fake), or hold it open (durable.hold)."
        )

    def _held(self) -> int:
        return sum(fake.open for fake in self._fakes.values() if isinstance(fake, Hold))

    def _next_timer(self, until: Timestamp | None) -> Timestamp | None:
        """When the next timer is due, if that is not after `until`."""
        timers = self.run(self._store.timers(_ALL, 2**62 if until is None else until))
        if timers and timers[0].fire_at <= self.clock.now():
            raise RuntimeError(f"A timer of instance '{timers[0].instance_id}' is due, and does not fire.")
        return timers[0].fire_at if timers else None

    def _jump(self, to: Timestamp) -> None:
        self.clock.set(to)
        self.settle()


def _in_words(wait: Wait) -> str:
    until = "" if wait.deadline is None else f" until {wait.deadline}"
    return f"'{wait.name}'{until}"


async def _nothing() -> None:
    """Nothing to do but to settle."""


def _refuse_running_loop(work: Coroutine[Any, Any, Any]) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    work.close()
    raise RuntimeError("`durable` has a loop of its own: use it in a plain `def` test, not in an `async def` one.")
