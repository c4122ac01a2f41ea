"""Starting, suspending, resuming, terminating and restarting instances."""

from collections.abc import Generator
from datetime import timedelta
from typing import Any

import pytest

from bide import (
    App,
    FunctionNotFoundError,
    InstanceExistsError,
    InstanceFinishedError,
    InstanceNotFoundError,
    NotAllowedError,
    OrchestrationContext,
    PayloadError,
    RuntimeStatus,
    when_any,
)
from bide.engine.options import WorkerOptions
from bide.model.batch import Message
from bide.model.history import NULL, ExecutionStarted, ExecutionTerminated
from bide.model.instance import PARTITIONS
from bide.store.protocol import BEFORE_ALL
from bide.testing.harness import Durable
from tests.workers import new_dispatcher


@pytest.fixture
def adder(app: App) -> App:
    @app.orchestrator
    async def add(ctx: OrchestrationContext, first: int = 0) -> int:
        return first + await ctx.wait_for_external_event("Number", int)

    return app


# --- starting


def test_the_same_start_may_be_repeated(adder: App, durable: Durable) -> None:
    for _ in range(3):
        assert durable.start("add", 5, instance_id="a") == "a"
        durable.crash()
    durable.raise_event("a", "Number", 1)
    assert durable.output("a") == 6
    assert durable.start("add", 5, instance_id="a") == "a"
    assert durable.output("a") == 6


@pytest.mark.parametrize("other", [("add", 6), ("add", 0), ("other", 5)])
def test_an_id_that_is_taken_is_refused(adder: App, durable: Durable, other: tuple[str, int]) -> None:
    @adder.orchestrator(name="other")
    async def another(ctx: OrchestrationContext, first: int) -> int:
        return first

    durable.start("add", 5, instance_id="a")
    with pytest.raises(InstanceExistsError):
        durable.start(other[0], other[1], instance_id="a")
    durable.raise_event("a", "Number", 1)
    assert durable.output("a") == 6


def test_an_input_that_does_not_fit_starts_nothing(adder: App, durable: Durable) -> None:
    with pytest.raises(PayloadError, match=r"The input does not fit add: Expected `int`, got `str`"):
        durable.start("add", "five", instance_id="a")
    with pytest.raises(InstanceNotFoundError):
        durable.status("a")


def test_an_unknown_function_is_refused_naming_the_known(adder: App, durable: Durable) -> None:
    with pytest.raises(FunctionNotFoundError, match=r"no orchestrator 'sub'\. Registered: add"):
        durable.start("sub")


@pytest.mark.parametrize("instance_id", ["", "a/b", "a?b", "a#b", "a\\b", "x" * 101, "new\nline"])
def test_an_impossible_id_is_refused(adder: App, durable: Durable, instance_id: str) -> None:
    with pytest.raises(PayloadError, match="id"):
        durable.start("add", instance_id=instance_id)


def test_several_parameters_are_given_by_name(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def area(ctx: OrchestrationContext, width: int, height: int = 2) -> int:
        assert ctx.input == (width, height)
        return width * height

    assert durable.output(durable.start(area, {"width": 3})) == 6
    assert durable.output(durable.start(area, {"width": 3, "height": 3})) == 9
    with pytest.raises(PayloadError, match="width"):
        durable.start(area, {"height": 3})
    with pytest.raises(PayloadError, match="depth"):
        durable.start(area, {"width": 3, "depth": 3})


def test_ids_made_by_the_engine_are_in_order_of_time(adder: App, durable: Durable) -> None:
    ids = []
    for _ in range(5):
        ids.append(durable.start("add"))
        durable.advance("1s")
    assert ids == sorted(ids)
    assert len(set(ids)) == 5


def test_the_row_shows_times_input_and_output(adder: App, durable: Durable) -> None:
    instance_id = durable.start("add", 5)
    began = durable.clock.now()
    durable.advance("1m")
    durable.raise_event(instance_id, "Number", 1)
    instance = durable.status(instance_id)
    assert (instance.name, instance.input, instance.output) == ("add", 5, 6)
    assert (instance.created, instance.updated) == (began, durable.clock.now())


def test_an_orchestrator_may_be_a_plain_function(app: App, durable: Durable) -> None:
    @app.orchestrator
    def plain(ctx: OrchestrationContext, number: int) -> int:
        return number + 1

    assert durable.output(durable.start(plain, 1)) == 2


@pytest.mark.parametrize("error", [StopIteration("dry"), SystemExit("bye"), GeneratorExit()])
@pytest.mark.parametrize("style", ["coroutine", "generator", "function"])
def test_whatever_an_orchestrator_raises_fails_it(
    app: App, durable: Durable, error: BaseException, style: str
) -> None:
    async def coroutine(ctx: OrchestrationContext) -> None:
        raise error

    def generator(ctx: OrchestrationContext) -> Generator[Any, Any, None]:
        raise error
        yield

    def function(ctx: OrchestrationContext) -> None:
        raise error

    app.orchestrator(name="odd")({"coroutine": coroutine, "generator": generator, "function": function}[style])
    assert durable.status(durable.start("odd")).status is RuntimeStatus.FAILED


def test_output_that_is_no_json_fails_the_instance(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def odd(ctx: OrchestrationContext) -> object:
        return object()

    instance = durable.status(durable.start(odd))
    assert instance.status is RuntimeStatus.FAILED
    assert "cannot be sent as JSON" in str(instance.output)


# --- suspending


def test_a_suspended_instance_keeps_what_comes_and_goes_on_when_resumed(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def collect(ctx: OrchestrationContext) -> list[str]:
        return [await ctx.wait_for_external_event("Item", str) for _ in range(3)]

    instance = durable.start(collect)
    durable.raise_event(instance, "Item", "a")
    durable.suspend(instance, "lunch")
    durable.raise_event(instance, "Item", "b")
    durable.crash()
    durable.raise_event(instance, "Item", "c")
    assert durable.status(instance).status is RuntimeStatus.SUSPENDED
    durable.crash()
    durable.resume(instance)
    assert durable.output(instance) == ["a", "b", "c"]
    durable.replay_all()


def test_a_timer_that_was_due_while_suspended_is_seen_on_resume(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def sleeper(ctx: OrchestrationContext) -> str:
        await ctx.create_timer(timedelta(seconds=10))
        return ctx.current_utc_datetime.isoformat()

    instance = durable.start(sleeper)
    durable.suspend(instance)
    durable.advance("1m")
    assert durable.status(instance).status is RuntimeStatus.SUSPENDED
    durable.resume(instance)
    assert durable.output(instance) == "2026-01-01T00:01:00+00:00"
    durable.replay_all()


def test_an_answer_and_its_deadline_while_suspended_the_first_wins(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def verify(ctx: OrchestrationContext) -> str:
        answer, deadline = ctx.wait_for_external_event("Answer", str), ctx.create_timer(timedelta(seconds=10))
        if await when_any(answer, deadline) is deadline:
            return "late"
        deadline.cancel()
        return answer.result

    instance = durable.start(verify)
    durable.suspend(instance)
    durable.raise_event(instance, "Answer", "in time")
    durable.advance("1m")
    durable.crash()
    durable.resume(instance)
    assert durable.output(instance) == "in time"
    durable.replay_all()


def test_what_the_code_gave_up_on_its_way_is_not_told_any_more(app: App, durable: Durable) -> None:
    """The answer and the deadline came while it was suspended; on hearing the answer it gives up the deadline."""

    @app.orchestrator
    async def verify(ctx: OrchestrationContext) -> list[str]:
        answer, deadline = ctx.wait_for_external_event("Answer", str), ctx.create_timer(timedelta(seconds=10))
        await when_any(answer, deadline)
        deadline.cancel()
        return [answer.result, await ctx.wait_for_external_event("Note", str)]

    instance = durable.start(verify)
    durable.suspend(instance)
    durable.raise_event(instance, "Answer", "in time")
    durable.advance("1m")
    durable.resume(instance)
    assert durable.status(instance).held is None
    durable.raise_event(instance, "Note", "thanks")
    assert durable.output(instance) == ["in time", "thanks"]
    durable.replay_all()


def test_a_wait_with_a_timeout_ends_while_suspended(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def patient(ctx: OrchestrationContext) -> str:
        try:
            return await ctx.wait_for_external_event("Item", str, timeout=timedelta(seconds=10))
        except TimeoutError:
            return await ctx.wait_for_external_event("Item", str)

    instance = durable.start(patient)
    durable.suspend(instance)
    durable.advance("1m")
    durable.raise_event(instance, "Item", "after the deadline")
    durable.resume(instance)
    assert durable.output(instance) == "after the deadline"
    durable.replay_all()


def test_an_activity_that_ends_while_suspended_is_seen_on_resume(app: App, durable: Durable) -> None:
    @app.activity
    def work() -> str:
        return ""

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> str:
        return await ctx.call_activity(work)

    hold = durable.hold(work)
    instance = durable.start(caller)
    durable.suspend(instance)
    hold.finish("done")
    assert durable.status(instance).status is RuntimeStatus.SUSPENDED
    durable.crash()
    assert hold.open == 0
    durable.resume(instance)
    assert durable.output(instance) == "done"


def test_suspending_and_resuming_twice_is_once(adder: App, durable: Durable) -> None:
    instance = durable.start("add")
    durable.resume(instance)
    durable.suspend(instance)
    durable.suspend(instance)
    durable.resume(instance)
    durable.resume(instance)
    durable.raise_event(instance, "Number", 1)
    assert durable.output(instance) == 1


def test_misfit_data_is_refused_while_suspended_too(adder: App, durable: Durable) -> None:
    instance = durable.start("add")
    durable.suspend(instance)
    with pytest.raises(PayloadError):
        durable.raise_event(instance, "Number", "x")
    durable.raise_event(instance, "Number", 2)
    durable.resume(instance)
    assert durable.output(instance) == 2


def test_an_instance_may_end_while_it_is_resumed(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def one(ctx: OrchestrationContext) -> str:
        ctx.create_timer(timedelta(seconds=1))
        return await ctx.wait_for_external_event("Item", str)

    instance = durable.start(one)
    durable.suspend(instance)
    for item in "ab":
        durable.raise_event(instance, "Item", item)
    durable.advance("1m")
    durable.resume(instance)
    assert durable.output(instance) == "a"
    durable.replay_all()


@pytest.mark.parametrize("verb", ["suspend", "resume", "terminate"])
def test_an_instance_that_has_ended_or_never_was_cannot_be_changed(adder: App, durable: Durable, verb: str) -> None:
    instance = durable.start("add")
    durable.raise_event(instance, "Number", 1)
    with pytest.raises(InstanceFinishedError):
        getattr(durable, verb)(instance)
    with pytest.raises(InstanceNotFoundError):
        getattr(durable, verb)("nobody")


# --- terminating


def test_a_terminated_instance_leaves_nothing_behind(app: App, durable: Durable) -> None:
    @app.activity
    def work() -> None: ...

    @app.orchestrator
    async def busy(ctx: OrchestrationContext) -> None:
        ctx.create_timer(timedelta(days=1))
        ctx.wait_for_external_event("Item", timeout=timedelta(days=2))
        await ctx.call_activity(work)

    hold = durable.hold(work)
    instance = durable.start(busy)
    assert hold.open == 1
    durable.terminate(instance, "enough")
    assert hold.open == 0
    status = durable.status(instance)
    assert (status.status, status.output) == (RuntimeStatus.TERMINATED, "enough")
    store, everywhere = durable._store, range(PARTITIONS)
    assert durable.waiting(instance) == []
    assert durable.run(store.timers(everywhere, 2**62)) == []
    assert durable.run(store.activities(everywhere)) == []
    assert durable.run(store.inbox(everywhere, BEFORE_ALL, 10)) == []
    durable.replay_all()


def test_a_suspended_instance_can_be_terminated(adder: App, durable: Durable) -> None:
    instance = durable.start("add")
    durable.suspend(instance)
    durable.crash()
    durable.terminate(instance)
    assert durable.status(instance).status is RuntimeStatus.TERMINATED


@pytest.mark.parametrize("recurse", [True, False])
@pytest.mark.parametrize("crash", [True, False])
def test_children_are_terminated_on_request_only(app: App, durable: Durable, recurse: bool, crash: bool) -> None:
    @app.orchestrator
    async def leaf(ctx: OrchestrationContext) -> None:
        await ctx.wait_for_external_event("Never")

    @app.orchestrator
    async def middle(ctx: OrchestrationContext) -> None:
        await ctx.with_options(instance_id="leaf").call_sub_orchestrator(leaf)

    @app.orchestrator
    async def root(ctx: OrchestrationContext) -> None:
        await ctx.with_options(instance_id="middle").call_sub_orchestrator(middle)

    durable.start(root, instance_id="root")
    if crash:
        durable.crash()
    durable.terminate("root", "enough", recurse=recurse)
    assert durable.status("root").status is RuntimeStatus.TERMINATED
    for child in ("middle", "leaf"):
        wanted = RuntimeStatus.TERMINATED if recurse else RuntimeStatus.RUNNING
        assert durable.status(child).status is wanted


@pytest.fixture
def orphans(app: App) -> App:
    """`top` fails because `middle` does, which leaves `leaf` and `late`; `fire` leaves `leaf` and completes."""

    @app.orchestrator
    async def leaf(ctx: OrchestrationContext) -> None:
        await ctx.wait_for_external_event("Never")

    @app.orchestrator
    async def middle(ctx: OrchestrationContext) -> None:
        ctx.with_options(instance_id="leaf").call_sub_orchestrator(leaf)
        ctx.with_options(instance_id="late").call_sub_orchestrator(leaf)
        raise ValueError("it cannot be")

    @app.orchestrator
    async def top(ctx: OrchestrationContext) -> None:
        await ctx.with_options(instance_id="middle").call_sub_orchestrator(middle)

    @app.orchestrator
    async def fire(ctx: OrchestrationContext) -> None:
        ctx.with_options(instance_id="leaf").call_sub_orchestrator(leaf)

    return app


@pytest.mark.parametrize("crash", [True, False])
@pytest.mark.parametrize(
    ("name", "status", "left"),
    [("top", RuntimeStatus.FAILED, ["leaf", "late"]), ("fire", RuntimeStatus.COMPLETED, ["leaf"])],
)
def test_what_an_ended_instance_has_left_can_be_ended(
    orphans: App, durable: Durable, name: str, status: RuntimeStatus, left: list[str], crash: bool
) -> None:
    durable.start(name, instance_id="a")
    durable.settle()
    before = durable.history("a")
    with pytest.raises(InstanceFinishedError):
        durable.terminate("a", "enough")
    if crash:
        durable.crash()
    assert [durable.status(each).status for each in left] == [RuntimeStatus.RUNNING] * len(left)
    durable.terminate("a", "enough", recurse=True)
    durable.settle()
    assert [durable.status(each).status for each in left] == [RuntimeStatus.TERMINATED] * len(left)
    assert (durable.status("a").status, durable.history("a")) == (status, before)
    durable.terminate("a", "once more", recurse=True)
    assert [durable.status(each).output for each in left] == ["enough"] * len(left)
    durable.replay_all()


def test_an_ended_instance_without_children_has_left_nothing(orphans: App, durable: Durable) -> None:
    durable.start("fire", instance_id="a")
    durable.terminate("leaf", "", recurse=True)
    with pytest.raises(InstanceFinishedError):
        durable.terminate("leaf", "", recurse=True)


def test_another_instance_with_the_id_of_a_child_goes_on(orphans: App, durable: Durable) -> None:
    durable.start("fire", instance_id="a")
    durable.start("leaf", instance_id="leaf", reuse="replace")
    durable.terminate("a", "enough", recurse=True)
    durable.settle()
    assert durable.status("leaf").status is RuntimeStatus.RUNNING


def test_what_an_instance_leaves_in_this_very_step_is_ended(orphans: App) -> None:
    """It fails, and is to be ended with all below it, in one batch."""
    dispatcher = new_dispatcher(orphans)
    dispatcher.epochs.update(dict.fromkeys(range(256), 1))
    start = Message("a", ExecutionStarted("fire", NULL, birth="b"), fresh=True)
    end = Message("a", ExecutionTerminated("enough", recurse=True))
    batch = dispatcher.step([start, end], 0)
    assert batch.verdicts == [None, None]
    assert (batch.inbox[-1].instance_id, batch.inbox[-1].fact, batch.inbox[-1].birth) == ("a", end.fact, "b")


# --- restarting


def test_restart_begins_again_under_another_id(adder: App, durable: Durable) -> None:
    first = durable.start("add", 5)
    second = durable.restart(first)
    assert second != first
    durable.raise_event(second, "Number", 1)
    assert durable.output(second) == 6
    assert durable.status(first).status is RuntimeStatus.RUNNING


def test_restart_under_the_same_id_replaces_the_history(adder: App, durable: Durable) -> None:
    durable.start("add", 5, instance_id="a")
    durable.raise_event("a", "Number", 1)
    assert durable.restart("a", new_instance_id=False) == "a"
    assert durable.status("a").status is RuntimeStatus.RUNNING
    assert durable.status("a").output is None
    assert len(durable.history("a")) == 1
    durable.crash()
    durable.raise_event("a", "Number", 2)
    assert durable.output("a") == 7
    durable.replay_all()


def test_a_running_instance_is_not_restarted_under_its_id(adder: App, durable: Durable) -> None:
    instance = durable.start("add", 5)
    with pytest.raises(NotAllowedError, match="is Running; only one that has ended"):
        durable.restart(instance, new_instance_id=False)
    durable.raise_event(instance, "Number", 1)
    assert durable.output(instance) == 6


def test_a_terminated_instance_can_be_restarted(adder: App, durable: Durable) -> None:
    instance = durable.start("add", 5)
    durable.terminate(instance)
    durable.restart(instance, new_instance_id=False)
    durable.raise_event(instance, "Number", 1)
    assert durable.output(instance) == 6


def test_a_finished_instance_leaves_no_rows(app: App, durable: Durable) -> None:
    @app.activity
    def work() -> None: ...

    @app.orchestrator
    async def hasty(ctx: OrchestrationContext, how: str) -> None:
        ctx.create_timer(timedelta(days=1))
        ctx.wait_for_external_event("Item")
        ctx.call_activity(work)
        await ctx.create_timer(timedelta(seconds=1))
        if how == "fails":
            raise ValueError

    hold = durable.hold(work)
    for how in ("returns", "fails"):
        instance = durable.start(hasty, how)
        assert hold.open == 1
        assert durable.wait(instance).status.finished
        assert hold.open == 0
        assert durable.waiting(instance) == []
    store, everywhere = durable._store, range(PARTITIONS)
    assert durable.run(store.timers(everywhere, 2**62)) == []
    assert durable.run(store.activities(everywhere)) == []
    durable.replay_all()


def test_a_history_that_grows_without_end_is_warned_of_each_time_it_has_doubled(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    @app.orchestrator
    async def endless(ctx: OrchestrationContext) -> None:
        for _ in range(20):
            await ctx.wait_for_external_event("More")

    with Durable(app, options=WorkerOptions(long_history=4)) as durable:
        durable.start("endless", instance_id="e")
        for _ in range(6):
            durable.raise_event("e", "More")
        durable.crash()
        for _ in range(4):
            durable.raise_event("e", "More")
    told = [each.getMessage() for each in caplog.records if "continue_as_new" in each.getMessage()]
    assert [text.partition(", all")[0] for text in told] == [
        "Instance e (endless) has 4 steps in its history",
        "Instance e (endless) has 8 steps in its history",
    ]
