"""Setting a failed instance back: what failed runs again, and nothing else twice."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeGuard

import pytest

from bide import (
    ActivityFailedError,
    App,
    InstanceFinishedError,
    InstanceNotFoundError,
    NotAllowedError,
    OrchestrationContext,
    RetryPolicy,
    RuntimeStatus,
    SubOrchestrationFailedError,
    when_all,
)
from bide.model.history import ExecutionRewound, SubOrchestrationInstanceFailed
from bide.testing.harness import Durable


@pytest.fixture
def shop(app: App) -> App:
    @app.activity
    def reserve(item: str) -> str:
        return f"{item} reserved"

    @app.activity
    def charge(item: str) -> str:
        return f"{item} charged"

    @app.orchestrator
    async def order(ctx: OrchestrationContext, item: str) -> list[str]:
        return [await ctx.call_activity(reserve, item), await ctx.call_activity(charge, item)]

    @app.orchestrator
    async def both(ctx: OrchestrationContext, item: str) -> list[str]:
        return list(await when_all(ctx.call_activity(reserve, item), ctx.call_activity(charge, item)))

    @app.orchestrator
    async def parent(ctx: OrchestrationContext, item: str) -> list[str]:
        return await ctx.with_options(instance_id="child").call_sub_orchestrator(order, item)

    return app


def test_what_failed_runs_again_and_what_was_done_does_not(shop: App, durable: Durable) -> None:
    reserve = durable.fake("reserve", "reserved")
    durable.fake("charge", ValueError("no money"))
    instance_id = durable.start("order", "book")
    assert durable.status(instance_id).status is RuntimeStatus.FAILED
    charge = durable.fake("charge", "charged")
    durable.rewind(instance_id, "the customer has paid in")
    assert durable.output(instance_id) == ["reserved", "charged"]
    assert (len(reserve.calls), len(charge.calls)) == (1, 1)
    reasons = [step.facts[0].reason for step in durable.history(instance_id) if _is_rewind(step.facts[0])]
    assert reasons == ["the customer has paid in"]


def _is_rewind(fact: object) -> TypeGuard[ExecutionRewound]:
    return isinstance(fact, ExecutionRewound)


def _is_failed_child(fact: object) -> TypeGuard[SubOrchestrationInstanceFailed]:
    return isinstance(fact, SubOrchestrationInstanceFailed)


def test_it_survives_a_crash_and_replays(shop: App, durable: Durable) -> None:
    durable.fake("charge", ValueError("no money"))
    instance_id = durable.start("order", "book")
    hold = durable.hold("charge")
    durable.rewind(instance_id)
    assert hold.open == 1
    durable.crash()
    assert hold.open == 1
    hold.finish("charged")
    assert durable.output(instance_id) == ["book reserved", "charged"]
    durable.replay_all()


def test_it_can_fail_and_be_rewound_again(shop: App, durable: Durable) -> None:
    fake = durable.fake("charge", ValueError("no money"))
    instance_id = durable.start("order", "book")
    for _ in range(3):
        durable.rewind(instance_id)
        assert durable.status(instance_id).status is RuntimeStatus.FAILED
    assert len(fake.calls) == 4
    durable.replay_all()


def test_calls_that_were_dropped_with_it_run_again(shop: App, durable: Durable) -> None:
    reserve = durable.fake("reserve", ValueError("sold out"))
    charge = durable.fake("charge", ValueError("no money"))
    instance_id = durable.start("both", "book")
    assert durable.status(instance_id).status is RuntimeStatus.FAILED
    assert (len(reserve.calls), len(charge.calls)) == (1, 1)
    reserve, charge = durable.fake("reserve", "reserved"), durable.fake("charge", "charged")
    durable.rewind(instance_id)
    assert durable.output(instance_id) == ["reserved", "charged"]
    assert (len(reserve.calls), len(charge.calls)) == (1, 1)
    durable.replay_all()


def test_calls_that_were_open_beside_the_failure_run_again(shop: App, app: App, durable: Durable) -> None:
    @app.orchestrator
    async def hasty(ctx: OrchestrationContext) -> list[str]:
        slow = ctx.call_activity("reserve", "book")
        quick = await ctx.call_activity("charge", "book")
        return [await slow, quick]

    reserve = durable.hold("reserve")
    durable.fake("charge", ValueError("no money"))
    instance_id = durable.start(hasty)
    assert durable.status(instance_id).status is RuntimeStatus.FAILED
    durable.fake("charge", "charged")
    durable.rewind(instance_id)
    reserve.finish("reserved")
    assert durable.output(instance_id) == ["reserved", "charged"]
    durable.replay_all()


def test_answers_that_came_after_the_failure_are_not_lost(shop: App, app: App, durable: Durable) -> None:
    @app.orchestrator
    async def careful(ctx: OrchestrationContext) -> str:
        try:
            return await ctx.call_activity("charge", "book")
        except ActivityFailedError:
            await ctx.wait_for_external_event("Seen", str)
            raise

    durable.fake("charge", ValueError("no money"))
    instance_id = durable.start(careful)
    durable.raise_event(instance_id, "Seen", "by me")
    assert durable.status(instance_id).status is RuntimeStatus.FAILED
    durable.rewind(instance_id)
    assert durable.status(instance_id).status is RuntimeStatus.FAILED, "the event was told again"
    durable.fake("charge", "charged")
    durable.rewind(instance_id)
    assert durable.output(instance_id) == "charged"
    durable.replay_all()


def test_code_that_was_wrong_is_told_the_same_again(app: App, durable: Durable) -> None:
    @app.orchestrator(name="add")
    async def wrong(ctx: OrchestrationContext) -> int:
        number = await ctx.wait_for_external_event("Number", int)
        raise ValueError(f"cannot add {number}")

    instance_id = durable.start("add")
    durable.raise_event(instance_id, "Number", 41)
    assert durable.status(instance_id).status is RuntimeStatus.FAILED
    fixed = App()

    @fixed.orchestrator(name="add")
    async def right(ctx: OrchestrationContext) -> int:
        return 1 + await ctx.wait_for_external_event("Number", int)

    durable.deploy(fixed)
    durable.rewind(instance_id)
    assert durable.output(instance_id) == 42


def test_code_that_failed_at_once_starts_again(app: App, durable: Durable) -> None:
    @app.orchestrator(name="greet")
    async def wrong(ctx: OrchestrationContext, name: str) -> str:
        raise ValueError("no words")

    instance_id = durable.start("greet", "you")
    fixed = App()

    @fixed.orchestrator(name="greet")
    async def right(ctx: OrchestrationContext, name: str) -> str:
        return f"hello {name}"

    durable.deploy(fixed)
    durable.rewind(instance_id)
    assert durable.output(instance_id) == "hello you"
    assert len(durable.history(instance_id)) == 1


def test_timers_and_waits_are_open_again(app: App, durable: Durable) -> None:
    @app.activity
    def check() -> bool:
        raise ValueError("not yet")

    @app.orchestrator
    async def patient(ctx: OrchestrationContext) -> str:
        answer = ctx.wait_for_external_event("Answer", str, timeout=timedelta(days=1))
        timer = ctx.create_timer(timedelta(hours=1))
        await ctx.call_activity(check)
        await timer
        return await answer

    instance_id = durable.start(patient)
    assert durable.waiting(instance_id) == []
    durable.fake(check, True)
    durable.advance("30m")
    durable.rewind(instance_id)
    (wait,) = durable.waiting(instance_id)
    assert (wait.name, wait.orchestrator) == ("Answer", "patient")
    durable.raise_event(instance_id, "Answer", "yes")
    assert durable.status(instance_id).status is RuntimeStatus.RUNNING
    durable.advance("30m")
    assert durable.output(instance_id) == "yes"
    durable.replay_all()


def test_retries_are_counted_as_before(shop: App, app: App, durable: Durable) -> None:
    @app.orchestrator
    async def stubborn(ctx: OrchestrationContext) -> str:
        policy = RetryPolicy(max_attempts=3, first_interval=timedelta(seconds=1))
        return await ctx.with_options(retry=policy).call_activity("charge", "book")

    fake = durable.fake("charge", ValueError("no money"))
    instance_id = durable.start(stubborn)
    durable.advance("1h")
    assert len(fake.calls) == 3
    durable.rewind(instance_id)
    durable.advance("1h")
    assert len(fake.calls) == 4, "the last attempt runs again, not all of them"
    durable.fake("charge", "charged")
    durable.rewind(instance_id)
    assert durable.output(instance_id) == "charged"


def test_a_failed_child_is_rewound_with_its_parent(shop: App, durable: Durable) -> None:
    reserve = durable.fake("reserve", "reserved")
    durable.fake("charge", ValueError("no money"))
    instance_id = durable.start("parent", "book")
    assert durable.status(instance_id).status is RuntimeStatus.FAILED
    assert durable.status("child").status is RuntimeStatus.FAILED
    durable.fake("charge", "charged")
    durable.rewind(instance_id)
    assert durable.output("child") == ["reserved", "charged"]
    assert durable.output(instance_id) == ["reserved", "charged"]
    assert len(reserve.calls) == 1
    durable.replay_all()


def test_a_child_that_has_ended_well_answers_again(app: App, durable: Durable) -> None:
    runs: list[int] = []

    @app.orchestrator
    async def child(ctx: OrchestrationContext) -> int:
        runs.append(1)
        await ctx.create_timer(timedelta(seconds=10))
        return 7

    @app.activity
    def work() -> int:
        return 1

    @app.orchestrator
    async def parent(ctx: OrchestrationContext) -> int:
        answer = ctx.call_sub_orchestrator(child)
        return sum(await when_all(answer, ctx.call_activity(work)))

    durable.fake(work, ValueError("broken"))
    instance_id = durable.start(parent)
    durable.advance("1m")  # the child ends, and nobody is there to hear of it
    durable.fake(work, 1)
    durable.rewind(instance_id)
    assert durable.output(instance_id) == 8
    assert len(runs) == 1


def test_a_child_that_has_continued_as_new_answers_again(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def child(ctx: OrchestrationContext, rounds: int) -> int:
        await ctx.create_timer(timedelta(seconds=1))
        if rounds:
            ctx.continue_as_new(rounds - 1)
        return 7

    @app.activity
    def work(number: int) -> int:
        return number

    @app.orchestrator
    async def parent(ctx: OrchestrationContext) -> int:
        ended = ctx.call_sub_orchestrator(child, 2)
        return await ctx.call_activity(work, 1) + await ended

    durable.fake(work, ValueError("broken"))
    instance_id = durable.start(parent)
    durable.advance("2m")
    durable.fake(work, 1)
    durable.rewind(instance_id)
    assert durable.output(instance_id) == 8


def test_a_child_that_cannot_be_rewound_fails_its_parent_again(shop: App, app: App, durable: Durable) -> None:
    @app.orchestrator
    async def forgiving(ctx: OrchestrationContext) -> str:
        try:
            await ctx.with_options(instance_id="child").call_sub_orchestrator("order", "book")
        except SubOrchestrationFailedError as error:
            raise ValueError("the child has failed") from error
        return "done"

    durable.fake("charge", ValueError("no money"))
    instance_id = durable.start(forgiving)
    other = App()
    other.orchestrator(name="forgiving")(forgiving)

    @other.orchestrator(name="order")
    async def changed(ctx: OrchestrationContext, item: str) -> str:
        await ctx.create_timer(timedelta(seconds=1))
        return item

    durable.deploy(other)
    durable.rewind(instance_id)
    assert durable.status(instance_id).status is RuntimeStatus.FAILED
    (told,) = [fact for step in durable.history(instance_id) for fact in step.facts if _is_failed_child(fact)]
    assert "no longer fits" in told.failure.message


def test_only_what_has_failed_can_be_rewound(shop: App, durable: Durable) -> None:
    durable.fake("charge", "charged")
    completed = durable.start("order", "book")
    with pytest.raises(InstanceFinishedError, match="Completed"):
        durable.rewind(completed)
    durable.hold("charge")
    running = durable.start("order", "book")
    with pytest.raises(NotAllowedError, match="Running"):
        durable.rewind(running)
    durable.terminate(running)
    with pytest.raises(InstanceFinishedError, match="Terminated"):
        durable.rewind(running)
    with pytest.raises(InstanceNotFoundError):
        durable.rewind("nobody")


def test_code_that_no_longer_fits_cannot_be_rewound(shop: App, durable: Durable) -> None:
    durable.fake("charge", ValueError("no money"))
    instance_id = durable.start("order", "book")
    changed = App()

    @changed.orchestrator(name="order")
    async def order(ctx: OrchestrationContext, item: str) -> str:
        await ctx.create_timer(timedelta(seconds=1))
        return item

    durable.deploy(changed)
    with pytest.raises(NotAllowedError, match="no longer fits"):
        durable.rewind(instance_id)
    assert durable.status(instance_id).status is RuntimeStatus.FAILED
    durable.deploy(shop)
    durable.fake("charge", "charged")
    durable.rewind(instance_id)
    assert durable.output(instance_id) == ["book reserved", "charged"]


def test_one_that_failed_when_it_was_resumed_catches_up_again(app: App, durable: Durable) -> None:
    @app.orchestrator(name="add")
    async def wrong(ctx: OrchestrationContext) -> int:
        number = await ctx.wait_for_external_event("Number", int)
        raise ValueError(f"cannot add {number}")

    instance_id = durable.start("add")
    durable.suspend(instance_id)
    durable.raise_event(instance_id, "Number", 41)
    durable.resume(instance_id)
    assert durable.status(instance_id).status is RuntimeStatus.FAILED
    fixed = App()

    @fixed.orchestrator(name="add")
    async def right(ctx: OrchestrationContext) -> int:
        return 1 + await ctx.wait_for_external_event("Number", int)

    durable.deploy(fixed)
    durable.rewind(instance_id)
    assert durable.output(instance_id) == 42
    durable.replay_all()
