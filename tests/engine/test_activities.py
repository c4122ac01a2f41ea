"""Activities: results and errors, retries, threads, limits, cancellation, once (G5)."""

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from msgspec import Raw

from bide import (
    ActivityCall,
    ActivityFailedError,
    App,
    Done,
    Failure,
    NotDone,
    OrchestrationContext,
    Outcome,
    OutcomeUnknownError,
    PayloadError,
    RetryPolicy,
    RuntimeStatus,
    SystemClock,
    Unknown,
    current_call,
    when_all,
)
from bide.core.registry import Registry
from bide.engine.activities import ActivityRunner
from bide.errors import BideError, CommitUnknownError, LeaseLostError
from bide.model.batch import Message, ScheduledActivity
from bide.model.clock import SECOND, Clock
from bide.model.history import NULL, TaskCompleted, TaskFailed, TaskScheduled, TimerCreated
from bide.model.metrics import Metrics
from bide.model.sealing import SealingKeys
from bide.testing.clock import ManualClock
from bide.testing.harness import Durable

SEALER = SealingKeys([bytes(32)])


class CardError(Exception):
    pass


def activity_runner(
    registry: Registry, max_concurrent: int = 1000, max_threads: int = 32, clock: Clock | None = None
) -> ActivityRunner:
    clock = clock or SystemClock()
    return ActivityRunner(registry, b"", SEALER, clock, Metrics(clock.now()), max_concurrent, max_threads)


def attempts(durable: Durable, instance_id: str) -> list[int]:
    facts = [fact for step in durable.history(instance_id) for fact in step.facts]
    return [fact.attempt for fact in facts if isinstance(fact, TaskScheduled)]


# --- results and errors


def test_an_error_keeps_type_message_stack_and_cause(app: App, durable: Durable) -> None:
    @app.activity
    def charge() -> None:
        try:
            raise OSError("line is dead")
        except OSError as error:
            raise CardError("declined") from error

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> list[str]:
        try:
            await ctx.call_activity(charge)
        except ActivityFailedError as error:
            failure = error.failure
            assert failure.cause is not None
            assert "raise CardError" in failure.stack
            return [str(error), failure.type, failure.message, failure.cause.type, failure.cause.message]
        return []

    where = f"{__name__}.CardError"
    instance = durable.start(caller)
    assert durable.output(instance) == [
        f"Activity 'charge' failed: {where}: declined",
        where,
        "declined",
        "OSError",
        "line is dead",
    ]
    durable.replay_all()


def test_an_error_that_nobody_catches_fails_the_instance(app: App, durable: Durable) -> None:
    @app.activity
    def charge() -> None:
        raise CardError("declined")

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> None:
        await ctx.call_activity(charge)

    instance = durable.status(durable.start(caller))
    assert instance.status is RuntimeStatus.FAILED
    assert str(instance.output).endswith("CardError: declined")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_error_without_a_text_is_an_error_still(app: App, durable: Durable) -> None:
    @app.activity
    def charge() -> None:
        raise Unspeakable

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> None:
        await ctx.call_activity(charge)

    assert "its text cannot be made: RuntimeError" in str(durable.status(durable.start(caller)).output)


async def cancels_itself() -> None:
    raise asyncio.CancelledError


async def exits() -> None:
    raise SystemExit("bye")


def exits_in_a_thread() -> None:
    raise SystemExit("bye")


def runs_dry_in_a_thread() -> None:
    next(iter(()))


@pytest.mark.parametrize("body", [cancels_itself, exits, exits_in_a_thread, runs_dry_in_a_thread])
def test_whatever_a_body_raises_is_an_answer(app: App, durable: Durable, body: Callable[..., Any]) -> None:
    app.activity(name="odd")(body)

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> str:
        try:
            await ctx.call_activity("odd")
        except ActivityFailedError as error:
            return error.failure.type
        return ""

    assert durable.output(durable.start(caller)) in (
        "asyncio.exceptions.CancelledError",
        "SystemExit",
        "RuntimeError",
    )


def test_a_function_that_returns_a_coroutine_is_awaited(app: App, durable: Durable) -> None:
    async def inner(number: int) -> int:
        return number + 1

    @app.activity
    def wrapped(number: int) -> Any:
        return inner(number)

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> int:
        return int(await ctx.call_activity(wrapped, 4))

    assert durable.output(durable.start(caller)) == 5


def test_a_result_that_is_no_json_fails_the_call(app: App, durable: Durable) -> None:
    @app.activity
    def odd() -> Any:
        return object()

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> str:
        try:
            await ctx.call_activity(odd)
        except ActivityFailedError as error:
            return error.failure.type
        return ""

    assert durable.output(durable.start(caller)) == "bide.errors.PayloadError"


def test_a_result_that_does_not_fit_its_type_raises_in_the_orchestrator(app: App, durable: Durable) -> None:
    @app.activity
    def lying() -> int:
        return "five"  # type: ignore[return-value]

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> str:
        try:
            await ctx.call_activity(lying)
        except PayloadError as error:
            return str(error)
        return ""

    assert "Expected `int`" in durable.output(durable.start(caller))
    durable.replay_all()


def test_arguments_are_checked_before_the_body_runs(app: App, durable: Durable) -> None:
    ran = []

    @app.activity
    def number(value: int) -> int:
        ran.append(value)
        return value

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> str:
        try:
            await ctx.call_activity("number", "x")
        except ActivityFailedError as error:
            return error.failure.type
        return ""

    assert durable.output(durable.start(caller)) == "bide.errors.MisfitError"
    assert ran == []


def test_arguments_travel_by_position_name_and_default(app: App, durable: Durable) -> None:
    @app.activity
    def add(first: int, second: int = 10, *, third: int = 100) -> int:
        return first + second + third

    @app.orchestrator
    async def misuse(ctx: OrchestrationContext) -> None:
        ctx.call_activity("add", first=1)  # type: ignore[call-overload]

    assert "first" in str(durable.status(durable.start(misuse)).output)

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> list[int]:
        call = ctx.call_activity
        by_name = call("add", {"first": 5, "third": 1})
        return list(await when_all(call(add, 1), call(add, 1, second=2), call(add, 1, 2, third=3), by_name))

    assert durable.output(durable.start(caller)) == [111, 103, 6, 16]


def test_a_body_knows_which_call_it_serves(app: App, durable: Durable) -> None:
    seen: list[ActivityCall] = []

    @app.activity
    async def first(number: int) -> None:
        seen.append(current_call())

    @app.activity
    def second(number: int) -> None:
        seen.append(current_call())

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> None:
        await ctx.call_activity(first, 1)
        await ctx.call_activity(second, 2)

    durable.start(caller, instance_id="a")
    assert [(call.name, call.arguments, call.instance_id, call.attempt) for call in seen] == [
        ("first", (1,), "a", 1),
        ("second", (2,), "a", 1),
    ]
    assert len({call.idempotency_key for call in seen}) == 2
    assert seen[0].scheduled_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert seen[0].derive("x") != seen[1].derive("x") != seen[1].derive("y")
    assert "secret" not in repr(seen[0])
    with pytest.raises(LookupError):
        current_call()


# --- retries


@pytest.fixture
def stubborn(app: App) -> Callable[[RetryPolicy], str]:
    """Declares `flaky`, which fails with the message of its input, under a policy."""

    def declare(policy: RetryPolicy) -> str:
        @app.activity
        def flaky(kind: str) -> str:
            raise {"value": ValueError, "card": CardError, "key": KeyError}[kind](kind)

        @app.orchestrator
        async def caller(ctx: OrchestrationContext, kind: str) -> str:
            return await ctx.with_options(retry=policy).call_activity(flaky, kind)

        return "caller"

    return declare


def test_delays_between_attempts_are_durable_timers(stubborn: Callable[..., str], durable: Durable) -> None:
    policy = RetryPolicy(5, timedelta(seconds=10), backoff=2, max_interval=timedelta(seconds=25))
    instance = durable.start(stubborn(policy), "value")
    keys = durable.fake("flaky", ValueError("again"))
    for wait in (10, 20, 25, 25):
        before = len(attempts(durable, instance))
        durable.crash()
        durable.advance(wait - 1)
        durable.crash()
        assert len(attempts(durable, instance)) == before
        durable.advance(1)
        assert len(attempts(durable, instance)) == before + 1
    assert durable.status(instance).status is RuntimeStatus.FAILED
    assert "(attempt 5): ValueError: again" in str(durable.status(instance).output)
    assert attempts(durable, instance) == [1, 2, 3, 4, 5]
    assert len({call.idempotency_key for call in keys.calls}) == 1
    assert [call.attempt for call in keys.calls] == [2, 3, 4, 5]
    durable.replay_all()


def test_the_idempotency_key_is_the_same_after_a_crash(app: App, durable: Durable) -> None:
    @app.activity
    def work() -> None: ...

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> None:
        await ctx.call_activity(work)
        await ctx.call_activity(work)

    hold = durable.hold(work)
    durable.start(caller)
    durable.crash()
    durable.crash()
    durable.advance("30s")
    assert len({call.idempotency_key for call in hold.calls}) == 1
    assert len({call.derive("code") for call in hold.calls}) == 1
    hold.finish()
    assert len({call.idempotency_key for call in hold.calls}) == 2
    hold.finish()
    assert hold.open == 0


@pytest.mark.parametrize(
    "policy",
    [
        RetryPolicy(9, non_retryable=(ValueError,)),
        RetryPolicy(9, non_retryable=("ValueError",)),
        RetryPolicy(9, retry_if=lambda failure: failure.type != "ValueError"),
        RetryPolicy(1),
    ],
)
def test_some_errors_are_final(stubborn: Callable[..., str], durable: Durable, policy: RetryPolicy) -> None:
    instance = durable.wait(durable.start(stubborn(policy), "value")).id
    assert attempts(durable, instance) == [1]


@pytest.mark.parametrize("refused", [CardError, "CardError", f"{__name__}.CardError"])
def test_errors_of_the_users_own_are_known_by_class_or_name(
    stubborn: Callable[..., str], durable: Durable, refused: Any
) -> None:
    caller = stubborn(RetryPolicy(2, non_retryable=(refused,)))
    assert attempts(durable, durable.wait(durable.start(caller, "card")).id) == [1]
    assert attempts(durable, durable.wait(durable.start(caller, "value")).id) == [1, 2]


def test_total_time_ends_the_retries(stubborn: Callable[..., str], durable: Durable) -> None:
    policy = RetryPolicy(99, timedelta(seconds=10), backoff=1, total_time=timedelta(seconds=30))
    instance = durable.wait(durable.start(stubborn(policy), "value")).id
    assert attempts(durable, instance) == [1, 2, 3, 4]
    durable.replay_all()


def test_a_predicate_that_raises_fails_the_instance_and_stops_nobody(app: App, durable: Durable) -> None:
    def broken(failure: Failure) -> bool:
        raise ZeroDivisionError("oops")

    @app.activity
    def flaky() -> None:
        raise ValueError

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> None:
        await ctx.with_options(retry=RetryPolicy(retry_if=broken)).call_activity(flaky)

    @app.orchestrator
    async def other(ctx: OrchestrationContext) -> str:
        return "fine"

    instance = durable.status(durable.start(caller))
    assert instance.held is not None or instance.status is RuntimeStatus.FAILED
    assert durable.output(durable.start(other)) == "fine"


def test_an_enormous_backoff_does_not_break_the_instance(stubborn: Callable[..., str], durable: Durable) -> None:
    policy = RetryPolicy(2_000, timedelta(seconds=1), backoff=1e300, max_interval=timedelta(seconds=1))
    instance = durable.start(stubborn(policy), "value")
    durable.advance("10s")
    assert attempts(durable, instance) == list(range(1, 12))


def test_a_delay_beyond_all_dates_ends_the_retries(stubborn: Callable[..., str], durable: Durable) -> None:
    policy = RetryPolicy(2_000, timedelta(days=365_000), backoff=10)
    instance = durable.start(stubborn(policy), "value")
    durable.advance("1s")
    status = durable.status(instance)
    assert status.held is None
    assert status.status in (RuntimeStatus.RUNNING, RuntimeStatus.FAILED)


# --- threads, limits, time limits: real concurrency, so outside of the test's own time


def test_a_sync_activity_does_not_block_the_loop(app: App, durable: Durable) -> None:
    gate = threading.Event()

    @app.activity
    def blocking() -> bool:
        return gate.wait(5)

    @app.activity
    async def opener() -> None:
        gate.set()

    @app.orchestrator
    async def both(ctx: OrchestrationContext) -> bool:
        opened, _ = await when_all(ctx.call_activity(blocking), ctx.call_activity(opener))
        return opened

    assert durable.output(durable.start(both)) is True


def test_max_concurrent_limits_an_activity(app: App, durable: Durable) -> None:
    now = 0
    most = 0

    @app.activity(max_concurrent=2)
    async def narrow() -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        now -= 1

    @app.orchestrator
    async def fan(ctx: OrchestrationContext) -> int:
        return len(await when_all(*[ctx.call_activity(narrow) for _ in range(10)]))

    assert durable.output(durable.start(fan)) == 10
    assert most == 2


class Door:
    """The worker's side of a runner: takes results, and answers claims as told."""

    def __init__(self, runner: ActivityRunner, claims: list[BideError | None] | None = None) -> None:
        self.results: list[Message] = []
        self.claimed = 0
        self._claims = claims if claims is not None else [None] * 99
        runner.connect(self.results.append, self.claim)

    def claim(self, activity: ScheduledActivity, reply: Callable[[BideError | None], None]) -> None:
        self.claimed += 1
        if self._claims:
            reply(self._claims.pop(0))


def scheduled(name: str, task_id: int = 1, *, started: bool = False) -> ScheduledActivity:
    return ScheduledActivity("i", 0, task_id, name, NULL, 1, task_id, 0, started)


async def rest(runner: ActivityRunner) -> None:
    """Wait until nothing runs."""
    if runner.tasks:
        await asyncio.wait(runner.tasks, timeout=5)
    await asyncio.sleep(0)
    assert not runner.running


def test_a_worker_runs_no_more_activities_than_it_may(app: App) -> None:
    now = 0
    most = 0

    @app.activity
    async def work() -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1

    async def main() -> None:
        runner = activity_runner(app.registry, max_concurrent=3)
        door = Door(runner)
        for task_id in range(10):
            runner.run(scheduled("work", task_id))
        await rest(runner)
        assert len(door.results) == 10

    asyncio.run(main())
    assert most == 3


def test_an_activity_that_is_running_is_not_run_again(app: App) -> None:
    ran = []

    @app.activity
    async def work() -> None:
        ran.append(1)
        await asyncio.sleep(0)

    async def main() -> None:
        runner = activity_runner(app.registry)
        Door(runner)
        runner.run(scheduled("work"))
        runner.run(scheduled("work"), recovered=True)
        await rest(runner)

    asyncio.run(main())
    assert ran == [1]


def test_what_waits_and_is_run_anew_is_still_known_when_the_first_try_is_gone(app: App) -> None:
    ran = []
    gate = asyncio.Event()

    @app.activity
    async def work() -> None:
        ran.append(1)
        await gate.wait()

    async def main() -> None:
        runner = activity_runner(app.registry, max_concurrent=1)
        door = Door(runner)
        runner.run(scheduled("work", 1))
        runner.run(scheduled("work", 2))
        await asyncio.sleep(0)
        for _ in range(2):
            runner.run(scheduled("work", 2), recovered=True)
            for _ in range(5):
                await asyncio.sleep(0)
            assert scheduled("work", 2).key in runner.running
        gate.set()
        await rest(runner)
        assert len(door.results) == 2

    asyncio.run(main())
    assert ran == [1, 1]


async def until(true: Callable[[], bool]) -> None:
    """Threads take their time."""
    for _ in range(5_000):
        if true():
            return
        await asyncio.sleep(0.001)
    raise TimeoutError


@pytest.mark.parametrize("once", [False, True])
def test_limits_begin_with_the_body_and_not_with_the_wait_for_a_thread(app: App, once: bool) -> None:
    gate = threading.Event()
    began: list[int] = []

    @app.activity(once=once, timeout=timedelta(seconds=60))
    def work() -> None:
        began.append(1)
        gate.wait(5)

    async def main() -> None:
        clock = ManualClock()
        runner = activity_runner(app.registry, max_threads=1, clock=clock)
        door = Door(runner)
        for task_id in range(3):
            runner.run(scheduled("work", task_id))
        await until(lambda: bool(began))
        assert door.claimed == (1 if once else 0), "a once-activity that waits for a thread has not begun"
        clock.advance(timedelta(seconds=600))
        later = clock.now()
        gate.set()
        await rest(runner)
        assert [type(result.fact) for result in door.results] == [TaskCompleted] * 3
        starts = [cast("TaskCompleted", result.fact).started_at for result in door.results]
        assert starts == [later - 600 * SECOND, later, later]

    asyncio.run(main())
    assert len(began) == 3


def test_a_body_that_outlives_its_call_is_shown_and_starves_nobody(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()

    @app.activity(timeout=timedelta(milliseconds=5))
    def hangs() -> None:
        gate.wait(5)

    @app.activity
    def short() -> str:
        return "done"

    async def main() -> None:
        runner = activity_runner(app.registry, max_threads=1)
        door = Door(runner)
        runner.run(scheduled("hangs", 1))
        runner.run(scheduled("short", 2))
        await rest(runner)
        assert [type(result.fact) for result in door.results] == [TaskFailed, TaskCompleted]
        assert runner.outlived == 1
        gate.set()
        await until(lambda: runner.outlived == 0)

    asyncio.run(main())
    assert "runs on in its thread although nobody waits for it" in caplog.text


def test_bodies_that_never_return_do_not_fill_the_memory_with_threads(app: App) -> None:
    gate = threading.Event()

    @app.activity(timeout=timedelta(milliseconds=5))
    def hangs() -> None:
        gate.wait(5)

    @app.activity
    def short() -> None: ...

    async def main() -> None:
        runner = activity_runner(app.registry, max_threads=2)
        door = Door(runner)
        for task_id in range(10):
            runner.run(scheduled("hangs", task_id))
        await until(lambda: len(door.results) == 4)  # two have given their places on, two keep them
        runner.run(scheduled("short", 99))
        await asyncio.sleep(0.02)
        assert len(door.results) == 4
        assert runner.outlived == 4
        gate.set()
        await rest(runner)
        await until(lambda: runner.outlived == 0)
        assert len(door.results) == 11

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_an_activity_that_exceeds_its_time_fails(app: App, durable: Durable, kind: str) -> None:
    async def sleepy() -> None:
        await asyncio.sleep(60)

    def blocking() -> None:
        time.sleep(0.05)

    app.activity(name="slow", timeout=timedelta(milliseconds=10))(sleepy if kind == "async" else blocking)

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> list[str]:
        try:
            await ctx.call_activity("slow")
        except ActivityFailedError as error:
            return [error.failure.type, error.failure.kind, error.failure.message, *error.failure.bases]
        return []

    output = durable.output(durable.start(caller))
    assert output == ["TimeoutError", "timeout", "The activity did not end within 0.01 s.", "OSError"]


def test_a_timeout_of_the_bodys_own_is_an_ordinary_error(app: App, durable: Durable) -> None:
    @app.activity(timeout=timedelta(seconds=60))
    async def inner() -> None:
        async with asyncio.timeout(0.001):
            await asyncio.sleep(60)

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> str:
        try:
            await ctx.call_activity(inner)
        except ActivityFailedError as error:
            return error.failure.kind
        return ""

    assert durable.output(durable.start(caller)) == "error"


def test_terminating_cancels_what_is_running(app: App, durable: Durable) -> None:
    ended = []

    @app.activity
    async def work() -> None: ...

    async def until_cancelled() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> None:
        await ctx.call_activity(work)

    begun = asyncio.Event()
    durable.fake(work, until_cancelled)

    async def main() -> str:
        instance = await durable.client.start(caller)
        await begun.wait()
        await durable.client.terminate(instance)
        return instance

    instance = durable.run(main())
    assert ended == ["cancelled"]
    assert durable.status(instance).status is RuntimeStatus.TERMINATED


def test_draining_lets_activities_end_and_cancels_those_that_do_not(app: App) -> None:
    ended = []

    @app.activity
    async def quick() -> None:
        await asyncio.sleep(0.001)
        ended.append("quick")

    @app.activity
    async def slow() -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        runner = activity_runner(app.registry)
        door = Door(runner)
        runner.run(scheduled("quick", 1))
        runner.run(scheduled("slow", 2))
        await runner.drain(0.05)
        await rest(runner)
        runner.run(scheduled("quick", 3))
        assert len(runner.running) == 0
        assert [type(message.fact) for message in door.results] == [TaskCompleted]

    asyncio.run(main())
    assert ended == ["quick"]


# --- once


class World:
    """What a once-activity did, and what its reconcile is to say."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.asked: list[ActivityCall] = []
        self.answer: Outcome | Exception = Unknown()

    async def reconcile(self, call: ActivityCall) -> Outcome:
        self.asked.append(call)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def transfer(app: App, world: World) -> App:
    @app.activity(once=True, reconcile=world.reconcile, unknown_on=(ConnectionError,))
    async def transfer(cents: int) -> str:
        world.done.append(current_call().idempotency_key)
        return f"sent {cents}"

    @app.orchestrator
    async def pay(ctx: OrchestrationContext, cents: int) -> str:
        try:
            patient = ctx.with_options(retry=RetryPolicy(5, retry_if=lambda failure: True))
            return await patient.call_activity(transfer, cents)
        except OutcomeUnknownError as error:
            return f"{error.failure.kind}: {error}".removeprefix("outcome_")

    return app


def test_a_once_activity_that_ends_needs_no_reconcile(transfer: App, durable: Durable, world: World) -> None:
    instance = durable.start("pay", 5)
    assert durable.output(instance) == "sent 5"
    assert world.asked == []


@pytest.mark.parametrize(
    ("answer", "output", "runs"),
    [
        (Done("found"), "found", 1),
        (NotDone(), "sent 5", 2),
        (Unknown(), "unknown: Activity 'transfer': nobody knows whether 'transfer' was done: a crash cut", 1),
        (OSError("bank is closed"), "unknown: Activity 'transfer': nobody knows whether", 1),
    ],
)
def test_after_a_crash_reconcile_says_what_was_done(
    transfer: App, durable: Durable, world: World, answer: Any, output: str, runs: int
) -> None:
    hold = durable.hold("transfer")
    instance = durable.start("pay", 5)
    world.answer = answer
    durable.crash()
    if isinstance(answer, NotDone):
        assert hold.open == 1
        hold.finish("sent 5")
    assert str(durable.output(instance)).startswith(output)
    assert len(hold.calls) == runs
    assert len({call.idempotency_key for call in (*world.asked, *hold.calls)}) == 1
    assert world.asked[0].arguments == (5,)
    durable.replay_all()


def test_a_once_activity_without_reconcile_is_unknown_after_a_crash(app: App, durable: Durable) -> None:
    @app.activity(once=True)
    async def fire() -> None: ...

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> str:
        try:
            await ctx.call_activity(fire)
        except OutcomeUnknownError:
            return "unknown"
        return "done"

    hold = durable.hold(fire)
    instance = durable.start(caller)
    durable.crash()
    assert durable.output(instance) == "unknown"
    assert len(hold.calls) == 1


def test_two_crashes_ask_reconcile_twice_and_run_the_body_when_sure(
    transfer: App, durable: Durable, world: World
) -> None:
    hold = durable.hold("transfer")
    instance = durable.start("pay", 5)
    world.answer = NotDone()
    durable.crash()
    durable.crash()
    durable.advance("30s")
    assert (len(world.asked), hold.open) == (2, 1)
    hold.finish("third time")
    assert durable.output(instance) == "third time"


def test_an_error_in_unknown_on_asks_reconcile(transfer: App, durable: Durable, world: World) -> None:
    durable.fake("transfer", ConnectionResetError("cut"))
    world.answer = Done("it went through")
    assert durable.output(durable.start("pay", 5)) == "it went through"
    world.answer = Unknown()
    assert "ConnectionResetError: cut" in durable.output(durable.start("pay", 6))


def test_another_error_of_a_once_activity_is_certain_and_retried(
    transfer: App, durable: Durable, world: World
) -> None:
    def second_time_lucky(cents: int) -> str:
        if current_call().attempt == 1:
            raise ValueError("not yet")
        return "sent"

    fake = durable.fake("transfer", second_time_lucky)
    assert durable.wait(durable.start("pay", 5)).output == "sent"
    assert world.asked == []
    assert [call.attempt for call in fake.calls] == [1, 2]


def test_running_out_of_time_asks_reconcile(app: App, durable: Durable, world: World) -> None:
    @app.activity(once=True, reconcile=world.reconcile, timeout=timedelta(milliseconds=5))
    async def slow() -> str:
        await asyncio.sleep(60)
        return "late"

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> str:
        return await ctx.call_activity(slow)

    world.answer = Done("in time after all")
    assert durable.output(durable.start(caller)) == "in time after all"


@pytest.mark.parametrize(("times", "output"), [(1, "sent"), (2, "unknown: Activity 'transfer': nobody knows")])
def test_a_body_that_is_certainly_not_done_runs_once_more_and_not_for_ever(
    transfer: App, durable: Durable, world: World, times: int, output: str
) -> None:
    errors = [ConnectionError("cut")] * times

    def eventually(cents: int) -> str:
        if errors:
            raise errors.pop()
        return "sent"

    fake = durable.fake("transfer", eventually)
    world.answer = NotDone()
    assert durable.output(durable.start("pay", 5)).startswith(output)
    assert (len(world.asked), len(fake.calls)) == (times, 2)


def test_a_lost_result_of_a_once_activity_does_not_repeat_it(transfer: App, durable: Durable, world: World) -> None:
    fake = durable.fake("transfer", lambda cents: object())
    instance = durable.start("pay", 5)
    assert "it ended, but its result is lost: A object cannot be sent as JSON" in durable.output(instance)
    durable.fake("transfer", ConnectionError("cut"))
    world.answer = Done(object())
    assert "its result is lost" in durable.output(durable.start("pay", 5))
    assert len(fake.calls) == 1


def test_a_reconcile_that_answers_something_else_is_unknown_not_a_hang(
    transfer: App, durable: Durable, world: World
) -> None:
    durable.fake("transfer", ConnectionError("cut"))
    world.answer = "yes"  # type: ignore[assignment]
    assert "unknown" in durable.output(durable.start("pay", 5))


def test_a_crash_before_the_mark_is_durable_means_that_the_body_has_not_run(transfer: App, world: World) -> None:
    async def main() -> None:
        cut_off = activity_runner(transfer.registry)
        door = Door(cut_off, claims=[])  # the mark is never confirmed
        call = ScheduledActivity("i", 0, 1, "transfer", Raw(b"5"), 1, 1, 0)
        cut_off.run(call)
        await asyncio.sleep(0.001)
        assert (door.claimed, world.done) == (1, [])
        await cut_off.drain(0)
        await rest(cut_off)
        next_one = activity_runner(transfer.registry)
        door = Door(next_one)
        next_one.run(call, recovered=True)
        await rest(next_one)
        assert (door.claimed, world.done, world.asked) == (1, ["i//0/1"], [])

    asyncio.run(main())


def test_the_mark_is_tried_again_if_its_commit_is_not_confirmed(transfer: App, world: World) -> None:
    async def main() -> None:
        runner = activity_runner(transfer.registry)
        door = Door(runner, claims=[CommitUnknownError(), CommitUnknownError(), None])
        runner.run(ScheduledActivity("i", 0, 1, "transfer", Raw(b"5"), 1, 1, 0))
        await rest(runner)
        assert (door.claimed, world.done, len(door.results)) == (3, ["i//0/1"], 1)

    asyncio.run(main())


def test_an_activity_that_is_another_workers_now_does_not_run(transfer: App, world: World) -> None:
    async def main() -> None:
        runner = activity_runner(transfer.registry)
        door = Door(runner, claims=[LeaseLostError("gone")])
        runner.run(ScheduledActivity("i", 0, 1, "transfer", Raw(b"5"), 1, 1, 0))
        await rest(runner)
        assert (world.done, door.results) == ([], [])

    asyncio.run(main())


def test_reconcile_belongs_to_once(app: App, world: World) -> None:
    with pytest.raises(ValueError, match="belong to once"):
        app.activity(reconcile=world.reconcile)
    with pytest.raises(ValueError, match="belong to once"):
        app.activity(unknown_on=(OSError,))


def test_retry_timers_are_open_while_they_wait(stubborn: Callable[..., str], durable: Durable) -> None:
    instance = durable.start(stubborn(RetryPolicy(2)), "value")
    facts = [fact for step in durable.history(instance) for fact in step.facts]
    assert sum(isinstance(fact, TimerCreated) for fact in facts) == 1
    durable.terminate(instance)
    durable.advance("1h")
    assert attempts(durable, instance) == [1]
