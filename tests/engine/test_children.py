"""Sub-orchestrations, continue-as-new, events between instances, custom status."""

from datetime import timedelta
from typing import Any

import pytest

from bide import (
    App,
    Failure,
    InstanceNotFoundError,
    OrchestrationContext,
    RetryPolicy,
    RuntimeStatus,
    SubOrchestrationFailedError,
    when_all,
)
from bide.testing.harness import Durable

# --- sub-orchestrations


@pytest.fixture
def family(app: App) -> App:
    @app.orchestrator
    async def child(ctx: OrchestrationContext, number: int) -> int:
        assert ctx.parent is not None
        return number + await ctx.wait_for_external_event("Number", int)

    @app.orchestrator
    async def by_function(ctx: OrchestrationContext, number: int) -> int:
        return await ctx.with_options(instance_id="kid").call_sub_orchestrator(child, number)

    @app.orchestrator
    async def by_name(ctx: OrchestrationContext, number: int) -> Any:
        return await ctx.with_options(instance_id="kid").call_sub_orchestrator("child", number)

    return app


@pytest.mark.parametrize("how", ["by_function", "by_name"])
def test_a_child_is_an_instance_of_its_own(family: App, durable: Durable, how: str) -> None:
    instance = durable.start(how, 5)
    child = durable.status("kid")
    assert (child.name, child.input) == ("child", 5)
    assert child.parent is not None
    assert child.parent.instance_id == instance
    durable.crash()
    durable.raise_event("kid", "Number", 2)
    assert durable.output(instance) == 7
    durable.replay_all()


def test_derived_ids_differ_and_are_the_same_on_replay(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def child(ctx: OrchestrationContext) -> str:
        return ctx.instance_id

    @app.orchestrator
    async def parent(ctx: OrchestrationContext) -> list[str]:
        ids = list(await when_all(*[ctx.call_sub_orchestrator(child) for _ in range(3)]))
        await ctx.wait_for_external_event("Go")
        return ids

    instance = durable.start(parent)
    durable.crash()
    durable.raise_event(instance, "Go")
    ids = durable.output(instance)
    assert len({instance, *ids}) == 4
    assert all(durable.output(child_id) == child_id for child_id in ids)
    durable.replay_all()


def test_a_child_id_that_is_taken_fails_the_call(family: App, durable: Durable) -> None:
    first = durable.start("by_function", 1)
    second = durable.start("by_name", 1)
    assert durable.status(second).status is RuntimeStatus.FAILED
    assert "Instance 'kid' already exists" in str(durable.status(second).output)
    durable.raise_event("kid", "Number", 2)
    assert durable.output(first) == 3


def test_a_child_that_fails_raises_in_its_parent(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def child(ctx: OrchestrationContext) -> None:
        raise KeyError("lost") from ValueError("why")

    @app.orchestrator
    async def parent(ctx: OrchestrationContext) -> str:
        try:
            await ctx.call_sub_orchestrator(child)
        except SubOrchestrationFailedError as error:
            failures.append(error.failure)
            return str(error)
        return ""

    failures: list[Failure] = []
    text = durable.output(durable.start(parent))
    (failure,) = failures
    assert failure.cause is not None
    assert "raise KeyError" in failure.stack
    assert [text, failure.type, failure.message, failure.cause.type, failure.cause.message] == [
        "Sub-orchestration 'child' failed: KeyError: 'lost'",
        "KeyError",
        "'lost'",
        "ValueError",
        "why",
    ]


def test_a_child_that_is_terminated_raises_in_its_parent(family: App, durable: Durable) -> None:
    instance = durable.start("by_function", 1)
    durable.terminate("kid", "no more")
    status = durable.status(instance)
    assert status.status is RuntimeStatus.FAILED
    assert "was terminated: no more" in str(status.output)


@pytest.mark.parametrize("chosen", ["kid", None])
def test_a_failing_child_is_retried_as_a_new_instance(app: App, durable: Durable, chosen: str | None) -> None:
    @app.activity
    def flaky(instance_id: str) -> str:
        return instance_id

    @app.orchestrator
    async def child(ctx: OrchestrationContext) -> str:
        return await ctx.call_activity(flaky, ctx.instance_id)

    @app.orchestrator
    async def parent(ctx: OrchestrationContext) -> str:
        patient = ctx.with_options(retry=RetryPolicy(max_attempts=3), instance_id=chosen)
        return await patient.call_sub_orchestrator(child)

    seen: list[str] = []

    def third_time_lucky(instance_id: str) -> str:
        seen.append(instance_id)
        if len(seen) < 3:
            raise ConnectionError
        return instance_id

    durable.fake(flaky, third_time_lucky)
    instance = durable.start(parent)
    for _ in range(2):
        durable.crash()
        durable.advance("2s")
    assert durable.output(instance) == seen[-1]
    assert len(seen) == 3
    assert len(set(seen)) == (1 if chosen else 3)  # under a chosen id, the attempt before makes way
    durable.replay_all()


def test_a_child_of_an_unknown_function_waits_until_it_is_deployed(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def parent(ctx: OrchestrationContext) -> Any:
        return await ctx.with_options(instance_id="kid").call_sub_orchestrator("newer", 4)

    instance = durable.start(parent)
    child = durable.status("kid")
    assert child.status is RuntimeStatus.PENDING
    assert "no orchestrator 'newer'" in str(child.held)

    @app.orchestrator
    async def newer(ctx: OrchestrationContext, number: int) -> int:
        return number + 1

    durable.crash()
    assert durable.output(instance) == 5


def test_a_parent_that_has_ended_does_not_mind_its_child_ending(family: App, durable: Durable) -> None:
    instance = durable.start("by_function", 1)
    durable.terminate(instance)
    durable.raise_event("kid", "Number", 2)
    assert durable.output("kid") == 3


def test_a_hundred_children_are_joined(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def child(ctx: OrchestrationContext, number: int) -> int:
        return number * number

    @app.orchestrator
    async def parent(ctx: OrchestrationContext) -> int:
        return sum(await when_all(*[ctx.call_sub_orchestrator(child, n) for n in range(100)]))

    assert durable.output(durable.start(parent)) == sum(n * n for n in range(100))


# --- continue as new


@pytest.mark.parametrize("keep", [True, False])
def test_continue_as_new_keeps_or_drops_events_nobody_took(app: App, durable: Durable, keep: bool) -> None:
    @app.orchestrator
    async def rounds(ctx: OrchestrationContext, left: int) -> list[str]:
        if left:
            await ctx.wait_for_external_event("Next")
            ctx.continue_as_new(left - 1, keep_events=keep)
        return [await ctx.wait_for_external_event("Item", str) for _ in range(2)]

    instance = durable.start(rounds, 2)
    durable.raise_event(instance, "Item", "a")
    durable.raise_event(instance, "Next")
    durable.crash()
    durable.raise_event(instance, "item", "b")
    durable.raise_event(instance, "Next")
    assert durable.status(instance).generation == 2
    for item in ("c", "d"):
        if durable.waiting(instance):
            durable.raise_event(instance, "ITEM", item)
    assert durable.output(instance) == (["a", "b"] if keep else ["c", "d"])
    durable.replay_all()


def test_a_long_loop_keeps_a_short_history(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def loop(ctx: OrchestrationContext, count: int) -> int:
        if count == 50:
            return count
        await ctx.create_timer(timedelta(minutes=1))
        ctx.continue_as_new(count + 1)

    instance = durable.start(loop, 0)
    assert durable.wait(instance).output == 50
    assert durable.status(instance).generation == 50
    assert len(durable.history(instance)) == 1


def test_a_new_generation_starts_clean(app: App, durable: Durable) -> None:
    @app.activity
    def work() -> None: ...

    @app.orchestrator
    async def again(ctx: OrchestrationContext, first: bool) -> str:
        if first:
            ctx.set_custom_status("first")
            ctx.create_timer(timedelta(seconds=1))
            ctx.wait_for_external_event("Old")
            ctx.call_activity(work)
            await ctx.wait_for_external_event("Go")
            ctx.continue_as_new(False)
        await ctx.create_timer(timedelta(seconds=30))
        return "end"

    hold = durable.hold(work)
    instance = durable.start(again, True)
    assert durable.status(instance).custom_status == "first"
    durable.raise_event(instance, "Go")
    assert hold.open == 0
    assert durable.waiting(instance) == []
    assert durable.status(instance).custom_status is None
    durable.advance("29s")
    assert durable.status(instance).status is RuntimeStatus.RUNNING
    durable.advance("1s")
    assert durable.output(instance) == "end"


def test_events_while_suspended_survive_continue_as_new(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def again(ctx: OrchestrationContext, first: bool) -> str:
        if first:
            await ctx.wait_for_external_event("Go")
            ctx.continue_as_new(False)
        return await ctx.wait_for_external_event("Item", str)

    instance = durable.start(again, True)
    durable.suspend(instance)
    durable.raise_event(instance, "Go")
    durable.raise_event(instance, "Item", "kept")
    durable.crash()
    durable.resume(instance)
    assert durable.output(instance) == "kept"


def test_a_child_answers_its_parent_after_continue_as_new(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def child(ctx: OrchestrationContext, left: int) -> str:
        if left:
            ctx.continue_as_new(left - 1)
        return "born thrice"

    @app.orchestrator
    async def parent(ctx: OrchestrationContext) -> str:
        return await ctx.call_sub_orchestrator(child, 2)

    assert durable.output(durable.start(parent)) == "born thrice"


def test_the_same_start_is_repeated_safely_in_a_later_generation(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def again(ctx: OrchestrationContext, count: int) -> int:
        if not count:
            ctx.continue_as_new(1)
        return await ctx.wait_for_external_event("Number", int)

    durable.start(again, 0, instance_id="a")
    assert durable.start(again, 0, instance_id="a") == "a"
    durable.raise_event("a", "Number", 3)
    assert durable.output("a") == 3


# --- telling others


def test_an_event_is_sent_to_another_instance_once(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def receiver(ctx: OrchestrationContext) -> list[str]:
        return [await ctx.wait_for_external_event("Item", str) for _ in range(2)]

    @app.orchestrator
    async def sender(ctx: OrchestrationContext, item: str) -> None:
        ctx.send_event("receiver", "item", item)
        await ctx.wait_for_external_event("End")

    durable.start(receiver, instance_id="receiver")
    first = durable.start(sender, "a")
    durable.crash()
    durable.raise_event(first, "End")
    durable.start(sender, "b")
    assert durable.output("receiver") == ["a", "b"]
    durable.replay_all()


def test_an_event_to_nobody_or_to_an_ended_instance_is_ignored(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def sender(ctx: OrchestrationContext, to: str) -> str:
        ctx.send_event(to, "Item", 1)
        return "sent"

    first = durable.start(sender, "nobody")
    assert durable.output(first) == "sent"
    assert durable.output(durable.start(sender, first)) == "sent"
    with pytest.raises(InstanceNotFoundError):
        durable.status("nobody")


def test_an_instance_can_send_an_event_to_itself(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def echo(ctx: OrchestrationContext) -> str:
        ctx.send_event(ctx.instance_id, "Echo", "hello")
        return await ctx.wait_for_external_event("Echo", str)

    assert durable.output(durable.start(echo)) == "hello"


def test_custom_status_is_shown_and_survives_a_crash(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def progress(ctx: OrchestrationContext) -> None:
        for done in range(3):
            ctx.set_custom_status({"done": done})
            await ctx.wait_for_external_event("Next")

    instance = durable.start(progress)
    assert durable.status(instance).custom_status == {"done": 0}
    durable.raise_event(instance, "Next")
    durable.crash()
    assert durable.status(instance).custom_status == {"done": 1}
    durable.raise_event(instance, "Next")
    assert durable.status(instance).custom_status == {"done": 2}
    durable.raise_event(instance, "Next")
    assert durable.status(instance).custom_status == {"done": 2}
