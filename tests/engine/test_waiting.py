"""Timers (G3) and external events (G4, G8, G9)."""

import json
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from bide import (
    App,
    EventTimeoutError,
    InstanceFinishedError,
    OrchestrationContext,
    PayloadError,
    RuntimeStatus,
    Task,
    when_all,
    when_any,
)
from bide.core.openwork import OpenWork
from bide.model.history import (
    EventAwaited,
    EventDiscarded,
    EventRaised,
    EventWaitCancelled,
    ExecutionCompleted,
    Failure,
    Step,
    TimerCancelled,
    TimerFired,
)
from bide.model.instance import PARTITIONS
from bide.testing.harness import Durable

FOREVER = 2**62


def open_timers(durable: Durable) -> int:
    return len(durable.run(durable._store.timers(range(PARTITIONS), FOREVER)))


def facts(durable: Durable, instance_id: str, kind: type) -> int:
    return sum(isinstance(fact, kind) for step in durable.history(instance_id) for fact in step.facts)


# --- timers


@pytest.mark.parametrize("span", [timedelta(0), timedelta(microseconds=1), timedelta(days=3650)])
def test_a_timer_fires_when_it_is_due_and_not_before(app: App, durable: Durable, span: timedelta) -> None:
    @app.orchestrator
    async def sleeper(ctx: OrchestrationContext) -> float:
        began = ctx.current_utc_datetime
        await ctx.create_timer(span)
        return (ctx.current_utc_datetime - began).total_seconds()

    instance = durable.start(sleeper)
    if span:
        durable.advance(span - timedelta(microseconds=1))
        assert durable.status(instance).status is RuntimeStatus.RUNNING
        durable.advance(timedelta(microseconds=1))
    assert durable.output(instance) == span.total_seconds()


def test_a_timer_can_be_due_at_a_moment(app: App, durable: Durable) -> None:
    moment = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)

    @app.orchestrator
    async def sleeper(ctx: OrchestrationContext) -> str:
        timer = ctx.create_timer(moment)
        assert timer.fire_at == moment
        await timer
        return ctx.current_utc_datetime.isoformat()

    instance = durable.start(sleeper)
    durable.advance("1h")
    assert durable.output(instance) == moment.isoformat()


def test_a_moment_that_has_passed_fires_at_once(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def sleeper(ctx: OrchestrationContext) -> str:
        await ctx.create_timer(datetime(2020, 1, 1, tzinfo=UTC))
        await ctx.create_timer(timedelta(seconds=-5))
        return "at once"

    assert durable.output(durable.start(sleeper)) == "at once"


@pytest.mark.parametrize("due", [datetime(2026, 1, 1), timedelta.max, datetime.max.replace(tzinfo=UTC)])
def test_an_impossible_timer_fails_the_instance_only(app: App, durable: Durable, due: Any) -> None:
    @app.orchestrator
    async def sleeper(ctx: OrchestrationContext) -> None:
        await ctx.create_timer(due)

    @app.orchestrator
    async def other(ctx: OrchestrationContext) -> str:
        return "fine"

    instance = durable.start(sleeper)
    if due == datetime.max.replace(tzinfo=UTC):
        assert durable.status(instance).status is RuntimeStatus.RUNNING  # it is a date; it waits for it
    else:
        assert durable.status(instance).status is RuntimeStatus.FAILED
    assert durable.output(durable.start(other)) == "fine"


def test_a_cancelled_timer_never_fires(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def careful(ctx: OrchestrationContext) -> str:
        timer = ctx.create_timer(timedelta(seconds=10))
        await ctx.wait_for_external_event("Go")
        timer.cancel()
        timer.cancel()
        assert timer.is_cancelled
        await ctx.wait_for_external_event("Go")
        return "went"

    instance = durable.start(careful)
    durable.raise_event(instance, "Go")
    assert open_timers(durable) == 0
    durable.advance("1h")
    durable.crash()
    durable.raise_event(instance, "Go")
    assert durable.output(instance) == "went"
    assert facts(durable, instance, TimerFired) == 0
    assert facts(durable, instance, TimerCancelled) == 1


def test_a_timer_that_fired_can_be_cancelled_without_effect(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def late(ctx: OrchestrationContext) -> bool:
        timer = ctx.create_timer(timedelta(seconds=1))
        await timer
        timer.cancel()
        return timer.is_completed

    assert durable.wait(durable.start(late)).output is True


def test_a_timer_is_right_after_a_crash_and_late_after_a_long_one(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def sleeper(ctx: OrchestrationContext) -> str:
        await ctx.create_timer(timedelta(minutes=10))
        return ctx.current_utc_datetime.isoformat()

    instance = durable.start(sleeper)
    durable.advance("9m")
    durable.crash()
    durable.advance("59s")
    assert durable.status(instance).status is RuntimeStatus.RUNNING
    durable.clock.advance(timedelta(hours=1))  # nobody was there to fire it
    durable.crash()
    assert durable.output(instance) == "2026-01-01T01:09:59+00:00"


def test_many_timers_fire_in_the_order_they_are_due(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def many(ctx: OrchestrationContext) -> list[int]:
        timers = {ctx.create_timer(timedelta(seconds=n)): n for n in (5, 1, 30, 3, 3, 400)}
        order = []
        while timers:
            order.append(timers.pop(await when_any(*timers)))
        return order

    assert durable.wait(durable.start(many)).output == [1, 3, 3, 5, 30, 400]


# --- events


@pytest.fixture
def collector(app: App) -> App:
    @app.orchestrator
    async def collect(ctx: OrchestrationContext, count: int) -> list[str]:
        return [await ctx.wait_for_external_event("Item", str) for _ in range(count)]

    return app


def test_events_are_taken_in_the_order_they_came(collector: App, durable: Durable) -> None:
    instance = durable.start("collect", 4)
    for item in "abcd":
        durable.raise_event(instance, "Item", item)
    assert durable.output(instance) == list("abcd")


def test_events_that_come_before_anybody_waits_are_kept(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def late(ctx: OrchestrationContext) -> list[str]:
        await ctx.create_timer(timedelta(days=1))
        return [await ctx.wait_for_external_event("Item", str) for _ in range(3)]

    instance = durable.start(late)
    for item in "abc":
        durable.raise_event(instance, "Item", item)
        durable.crash()
    durable.advance("1d")
    assert durable.output(instance) == list("abc")
    durable.replay_all()


def test_names_of_events_compare_case_insensitively(collector: App, durable: Durable) -> None:
    instance = durable.start("collect", 3)
    for name in ("item", "ITEM", "iTeM"):
        durable.raise_event(instance, name, name)
    assert durable.output(instance) == ["item", "ITEM", "iTeM"]


def test_events_of_other_names_do_not_get_in_the_way(collector: App, durable: Durable) -> None:
    instance = durable.start("collect", 1)
    durable.raise_event(instance, "Other", "x")
    durable.raise_event(instance, "Item", "a")
    assert durable.output(instance) == ["a"]


def test_the_oldest_of_several_waits_takes_the_event(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def two(ctx: OrchestrationContext) -> list[int]:
        first, second = (ctx.wait_for_external_event("Item", int) for _ in range(2))
        both = await when_all(second, first)
        return [first.result, second.result, *both]

    instance = durable.start(two)
    assert [wait.id for wait in durable.waiting(instance)] == [1, 2]
    durable.raise_event(instance, "Item", 1)
    durable.raise_event(instance, "Item", 2)
    assert durable.output(instance) == [1, 2, 2, 1]


def test_a_wait_that_timed_out_takes_no_event(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def patient(ctx: OrchestrationContext) -> list[str]:
        first = "-"
        try:
            first = await ctx.wait_for_external_event("Item", str, timeout=timedelta(seconds=5))
        except EventTimeoutError as error:
            first = f"{error.failure.kind}: {error}"
        return [first, await ctx.wait_for_external_event("Item", str)]

    instance = durable.start(patient)
    durable.assert_waiting_for(instance, "Item", until="5s")
    durable.advance("5s")
    durable.assert_waiting_for(instance, "Item", until=None)
    durable.crash()
    durable.raise_event(instance, "Item", "x")
    assert durable.output(instance) == ["timeout: Nobody raised 'Item' before 2026-01-01 00:00:05+00:00.", "x"]
    durable.replay_all()


def test_a_wait_that_was_answered_drops_its_timer(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def patient(ctx: OrchestrationContext) -> str:
        answer = await ctx.wait_for_external_event("Item", str, timeout=timedelta(seconds=5))
        await ctx.wait_for_external_event("End")
        return answer

    instance = durable.start(patient)
    durable.raise_event(instance, "Item", "x")
    assert open_timers(durable) == 0
    durable.advance("1h")
    durable.raise_event(instance, "End")
    assert durable.output(instance) == "x"
    assert facts(durable, instance, TimerFired) == 0


def test_a_kept_event_answers_a_wait_with_a_timeout_at_once(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def patient(ctx: OrchestrationContext) -> str:
        await ctx.wait_for_external_event("Begin")
        return await ctx.wait_for_external_event("Item", str, timeout=timedelta(seconds=5))

    instance = durable.start(patient)
    durable.raise_event(instance, "Item", "early")
    durable.raise_event(instance, "Begin")
    assert durable.output(instance) == "early"
    assert open_timers(durable) == 0
    durable.replay_all()


def test_a_cancelled_wait_takes_no_event(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def fickle(ctx: OrchestrationContext) -> str:
        dropped = ctx.wait_for_external_event("Item", str, timeout=timedelta(seconds=50))
        await ctx.wait_for_external_event("Begin")
        dropped.cancel()
        dropped.cancel()
        return await ctx.wait_for_external_event("Item", str)

    instance = durable.start(fickle)
    durable.raise_event(instance, "Begin")
    assert len(durable.waiting(instance)) == 1
    assert open_timers(durable) == 0
    durable.raise_event(instance, "Item", "x")
    assert durable.output(instance) == "x"
    assert facts(durable, instance, EventWaitCancelled) == 1
    durable.replay_all()


def test_a_loser_of_a_race_still_takes_its_event(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def race(ctx: OrchestrationContext) -> list[str]:
        left, right = ctx.wait_for_external_event("Left", str), ctx.wait_for_external_event("Right", str)
        winner = await when_any(left, right)
        loser = right if winner is left else left
        return [winner.result, await loser]

    instance = durable.start(race)
    durable.raise_event(instance, "Right", "r")
    durable.raise_event(instance, "Left", "l")
    assert durable.output(instance) == ["r", "l"]


def test_data_that_does_not_fit_is_refused_and_the_wait_stays_open(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def typed(ctx: OrchestrationContext) -> int:
        return await ctx.wait_for_external_event("Number", int)

    instance = durable.start(typed)
    before = durable.history(instance)
    with pytest.raises(PayloadError, match="'Number' waits for: Expected `int`, got `str`"):
        durable.raise_event(instance, "number", "secret words")
    assert durable.history(instance) == before
    durable.assert_waiting_for(instance, "Number")
    durable.raise_event(instance, "Number", 5)
    assert durable.output(instance) == 5


@pytest.fixture
def early(app: App) -> App:
    """Waits for a number, long after it began."""

    @app.orchestrator
    async def typed(ctx: OrchestrationContext) -> int:
        await ctx.wait_for_external_event("Begin")
        first = await ctx.wait_for_external_event("Number", int)
        return first + await ctx.wait_for_external_event("Number", int)

    return app


@pytest.mark.usefixtures("early")
def test_an_event_that_came_early_and_does_not_fit_is_never_heard_of(durable: Durable) -> None:
    instance = durable.start("typed")
    for value in ("x", "y", 1, None, 2):
        durable.raise_event(instance, "number", value)
    durable.raise_event(instance, "Begin")
    assert durable.output(instance) == 3
    assert facts(durable, instance, EventDiscarded) == 3
    durable.replay_all()


@pytest.mark.usefixtures("early")
def test_a_wait_that_discarded_what_came_early_waits_on(durable: Durable) -> None:
    instance = durable.start("typed")
    durable.raise_event(instance, "Number", "x")
    durable.raise_event(instance, "Begin")
    for _ in range(2):
        durable.assert_waiting_for(instance, "Number")
        durable.crash()
    durable.raise_event(instance, "Number", 1)
    durable.raise_event(instance, "Number", 2)
    assert durable.output(instance) == 3


@pytest.mark.usefixtures("early")
def test_the_audit_says_what_became_of_a_discarded_event(durable: Durable) -> None:
    instance = durable.start("typed")
    durable.raise_event(instance, "Number", "x")
    durable.raise_event(instance, "Begin")
    (entry,) = durable.run(durable._client.audit(instance))
    assert (entry.verb, entry.result) == ("raiseEvent", "discarded")
    assert "'Number' waits for: Expected `int`, got `str`" in entry.reason


def test_what_was_discarded_stays_so_with_another_type(app: App, durable: Durable) -> None:
    @app.orchestrator(name="typed")
    async def numbers(ctx: OrchestrationContext) -> list[int]:
        await ctx.wait_for_external_event("Begin")
        first = await ctx.wait_for_external_event("Item", int)
        await ctx.wait_for_external_event("End")
        return [first]

    changed = App()

    @changed.orchestrator(name="typed")
    async def texts(ctx: OrchestrationContext) -> list[object]:
        await ctx.wait_for_external_event("Begin")
        first = await ctx.wait_for_external_event("Item", object)
        await ctx.wait_for_external_event("End")
        return [first]

    instance = durable.start("typed")
    durable.raise_event(instance, "Item", "x")
    durable.raise_event(instance, "Item", 1)
    durable.raise_event(instance, "Begin")
    durable.deploy(changed)
    durable.raise_event(instance, "End")
    assert durable.output(instance) == [1]


def test_an_event_of_another_instance_that_does_not_fit_is_discarded_and_the_wait_stays_open(
    app: App, durable: Durable
) -> None:
    @app.orchestrator
    async def typed(ctx: OrchestrationContext) -> int:
        return await ctx.wait_for_external_event("Number", int)

    @app.orchestrator
    async def sender(ctx: OrchestrationContext, to: str, value: object) -> None:
        ctx.send_event(to, "Number", value)

    instance = durable.start(typed)
    durable.start(sender, instance, "x")
    durable.assert_waiting_for(instance, "Number")
    durable.crash()
    durable.assert_waiting_for(instance, "Number")
    durable.start(sender, instance, 7)
    assert durable.output(instance) == 7
    assert facts(durable, instance, EventDiscarded) == 1


def test_what_came_while_suspended_is_judged_when_it_goes_on(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def typed(ctx: OrchestrationContext) -> list[int]:
        await ctx.wait_for_external_event("Begin")
        return [await ctx.wait_for_external_event("Number", int) for _ in range(2)]

    instance = durable.start(typed)
    durable.suspend(instance)
    durable.raise_event(instance, "Begin")
    for value in ("x", 1, "y"):
        durable.raise_event(instance, "Number", value)
    durable.resume(instance)
    durable.crash()
    assert len(durable.waiting(instance)) == 1
    durable.raise_event(instance, "Number", 2)
    assert durable.output(instance) == [1, 2]
    assert facts(durable, instance, EventDiscarded) == 2
    durable.replay_all()


@pytest.mark.usefixtures("early")
def test_what_was_discarded_can_be_seen_without_the_code(durable: Durable) -> None:
    """The fold that knows no code agrees with the execution that does."""
    instance = durable.start("typed")
    for value in ("x", 1):
        durable.raise_event(instance, "Number", value)
    durable.raise_event(instance, "Begin")
    work = OpenWork.of(durable.history(instance))
    assert [type(request) for request in work.requests.values()] == [EventAwaited]
    assert work.kept_events() == []
    durable.terminate(instance)
    durable.assert_not_waiting(instance)


def test_an_instance_that_has_ended_takes_no_event(collector: App, durable: Durable) -> None:
    instance = durable.start("collect", 0)
    with pytest.raises(InstanceFinishedError, match="has ended: Completed"):
        durable.raise_event(instance, "Item", "x")


@pytest.mark.parametrize("name", ["", "x" * 201, "tab\t"])
def test_an_impossible_event_name_is_refused(collector: App, durable: Durable, name: str) -> None:
    instance = durable.start("collect", 1)
    with pytest.raises(PayloadError, match="1 to 200 printable characters"):
        durable.raise_event(instance, name)


def test_what_an_instance_waits_for_has_its_schema_and_times(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def asks(ctx: OrchestrationContext) -> None:
        answer = ctx.wait_for_external_event("Answer", list[int])
        await when_any(answer, ctx.create_timer(timedelta(hours=1)), ctx.create_timer(timedelta(hours=2)))

    instance = durable.start(asks)
    (wait,) = durable.waiting(instance)
    assert (wait.name, wait.opened) == ("Answer", durable.clock.now())
    assert json.loads(bytes(wait.schema_json)) == {"type": "array", "items": {"type": "integer"}}
    durable.assert_waiting_for(instance, "Answer", until="2h")
    durable.advance("1h")
    assert durable.waiting(instance) == []
    assert open_timers(durable) == 0


def test_generators_wait_as_coroutines_do(app: App, durable: Durable) -> None:
    @app.activity
    def double(number: int) -> int:
        return 2 * number

    @app.orchestrator
    def old_style(ctx: OrchestrationContext, number: int) -> Generator[Task[Any], Any, list[int]]:
        doubled = yield ctx.call_activity(double, number)
        deadline = ctx.create_timer(timedelta(seconds=5))
        answer = ctx.wait_for_external_event("Answer", int)
        winner = yield when_any(answer, deadline)
        try:
            yield ctx.wait_for_external_event("Never", timeout=timedelta(seconds=1))
        except EventTimeoutError:
            return [doubled, answer.result if winner is answer else -1]
        return []

    instance = durable.start(old_style, 4)
    durable.raise_event(instance, "Answer", 7)
    durable.crash()
    assert durable.wait(instance).output == [8, 7]
    durable.replay_all()


def test_json_text_that_is_broken_is_refused_at_the_door(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def listener(ctx: OrchestrationContext) -> object:
        return await ctx.wait_for_external_event("Anything")

    with pytest.raises(PayloadError):
        durable.start(listener, Raw(b"{"))
    instance_id = durable.start(listener, Raw(b"{}"))
    for broken in (b"[1", b'"\\ud800"', b"NaN"):
        with pytest.raises(PayloadError):
            durable.raise_event(instance_id, "Anything", Raw(broken))
    durable.raise_event(instance_id, "Anything", Raw(b"[1]"))
    assert durable.output(instance_id) == [1]


@pytest.mark.parametrize(("raced", "due"), [(1, "7d"), (9, "7d")])
def test_the_timeout_of_a_wait_is_its_end_whatever_it_is_raced_against(
    app: App, durable: Durable, raced: int, due: str
) -> None:
    @app.orchestrator
    async def asks(ctx: OrchestrationContext) -> None:
        answer = ctx.wait_for_external_event("Answer", str, timeout=timedelta(days=7))
        await when_any(answer, ctx.create_timer(timedelta(days=raced)))

    instance = durable.start(asks)
    durable.assert_waiting_for(instance, "Answer", until=due)
    durable.crash()
    durable.assert_waiting_for(instance, "Answer", until=due)


def test_a_reminder_that_has_fired_is_no_deadline_any_more(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def reminded(ctx: OrchestrationContext) -> str:
        end = ctx.create_timer(timedelta(days=3))
        answer = ctx.wait_for_external_event("Answer", str)
        await when_any(answer, end, ctx.create_timer(timedelta(days=1)))
        await when_any(answer, end)
        return await answer

    instance = durable.start(reminded)
    durable.assert_waiting_for(instance, "Answer", until="3d")
    durable.crash()
    durable.assert_waiting_for(instance, "Answer", until="3d")
    durable.advance("1d")
    durable.assert_waiting_for(instance, "Answer", until="2d")
    durable.advance("2d")
    (wait,) = durable.waiting(instance)
    assert wait.deadline is None, "it waits without an end now"


def test_an_event_that_was_taken_before_it_was_judged_can_be_undone() -> None:
    """As a version wrote it that did not look at types: the event is in history, and has failed the instance."""
    app = App()

    @app.orchestrator
    async def count(ctx: OrchestrationContext) -> int:
        return await ctx.wait_for_external_event("Number", int)

    with Durable(app) as durable:
        counting = durable.start(count)
        store = durable._store
        failure = Failure("bide.errors.MisfitError", "It does not fit.")
        unfit = EventRaised("Number", Raw(b'"five"')), ExecutionCompleted(failure=failure)
        failed = replace(
            durable.status(counting), status=RuntimeStatus.FAILED, output_json=Raw(b'"It does not fit."')
        )
        store._history[counting].append(Step(1, durable.clock.now(), unfit))
        store._instances[counting] = failed
        store._waits.clear()
        durable.crash()
        assert durable.status(counting).status is RuntimeStatus.FAILED
        durable.rewind(counting)
        assert durable.status(counting).status is RuntimeStatus.RUNNING, (
            "it is not told once more what it failed of"
        )
        (wait,) = durable.waiting(counting)
        assert wait.name == "Number"
        durable.raise_event(counting, "Number", 5)
        assert durable.output(counting) == 5
