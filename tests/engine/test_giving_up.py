"""Sub-orchestrations that are given up, and timers that end nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bide import App, OrchestrationContext, RetryPolicy, RuntimeStatus, TaskCancelledError, when_all, when_any
from bide.model.history import SubOrchestrationInstanceCancelled, TimerCancelled
from bide.testing.harness import Durable


def facts(durable: Durable, instance_id: str, kind: type) -> list[Any]:
    return [fact for step in durable.history(instance_id) for fact in step.facts if isinstance(fact, kind)]


@pytest.fixture
def asking(app: App) -> App:
    @app.orchestrator
    async def ask(ctx: OrchestrationContext, who: str) -> str:
        return await ctx.wait_for_external_event(who, str)

    @app.orchestrator
    async def ask_all(ctx: OrchestrationContext, who: list[str]) -> list[str]:
        return list(await when_all(*[ctx.call_sub_orchestrator(ask, each) for each in who]))

    @app.orchestrator
    async def race(ctx: OrchestrationContext) -> str:
        child = ctx.call_sub_orchestrator(ask_all, ["ann", "ben"])
        timer = ctx.create_timer(timedelta(days=1))
        if await when_any(child, timer) is child:
            timer.cancel()
            return "answered"
        child.cancel("the day is over")
        child.cancel("again")
        assert child.is_cancelled
        try:
            await child
        except TaskCancelledError:
            return "nobody answered"
        return "never"

    return app


@pytest.mark.usefixtures("asking")
def test_a_child_that_is_given_up_ends_and_nobody_is_asked_any_more(durable: Durable) -> None:
    parent = durable.start("race")
    (child,) = durable.children(parent)
    grandchildren = durable.children(child.id)
    durable.advance("1d")
    assert durable.output(parent) == "nobody answered"
    for each in (child, *grandchildren):
        ended = durable.status(each.id)
        assert (ended.status, ended.output) == (RuntimeStatus.TERMINATED, "the day is over")
        durable.assert_not_waiting(each.id)
    (given_up,) = facts(durable, parent, SubOrchestrationInstanceCancelled)
    assert (given_up.instance_id, given_up.reason) == (child.id, "the day is over")
    durable.replay_all()
    durable.crash()
    durable.replay_all()


@pytest.mark.usefixtures("asking")
def test_a_child_that_is_done_is_not_given_up(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def late(ctx: OrchestrationContext) -> str:
        child = ctx.call_sub_orchestrator("ask", "ann")
        answer: str = await child
        child.cancel()
        return f"{answer} {child.is_cancelled}"

    parent = durable.start(late)
    (child,) = durable.children(parent)
    durable.raise_event(child.id, "ann", "yes")
    assert durable.output(parent) == "yes False"


def test_a_call_is_given_up_between_two_attempts(app: App, durable: Durable) -> None:
    tries = 0

    @app.orchestrator
    async def fails(ctx: OrchestrationContext) -> None:
        nonlocal tries
        tries += 1
        raise ValueError("no")

    @app.orchestrator
    async def parent(ctx: OrchestrationContext) -> str:
        retried = ctx.with_options(retry=RetryPolicy(max_attempts=9, first_interval=timedelta(hours=1)))
        child = retried.call_sub_orchestrator(fails)
        await ctx.wait_for_external_event("Stop")
        child.cancel()
        await ctx.wait_for_external_event("End")
        return str(child.is_cancelled)

    instance = durable.start(parent)
    durable.raise_event(instance, "Stop")
    durable.crash()
    durable.advance("9h")
    durable.raise_event(instance, "End")
    assert durable.output(instance) == "True"
    assert tries == 1
    assert len(facts(durable, instance, TimerCancelled)) == 1
    durable.replay_all()


def test_a_child_that_was_never_there_is_given_up_in_the_step_that_asks_for_it(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def asks(ctx: OrchestrationContext) -> str:
        return await ctx.wait_for_external_event("Go", str)

    @app.orchestrator
    async def parent(ctx: OrchestrationContext) -> str:
        child = ctx.call_sub_orchestrator(asks)
        child.cancel("on second thoughts")
        return "done"

    instance = durable.start(parent)
    assert durable.output(instance) == "done"
    (child,) = durable.children(instance)
    assert child.status is RuntimeStatus.TERMINATED


def test_another_word_in_the_reason_holds_nobody(app: App, durable: Durable) -> None:
    def version(reason: str) -> App:
        made = App()

        @made.orchestrator
        async def asks(ctx: OrchestrationContext) -> str:
            return await ctx.wait_for_external_event("Go", str)

        @made.orchestrator
        async def parent(ctx: OrchestrationContext) -> str:
            ctx.call_sub_orchestrator(asks).cancel(reason)
            await ctx.wait_for_external_event("End")
            return "done"

        return made

    durable.deploy(version("a tpyo"))
    instance = durable.start("parent")
    durable.deploy(version("a typo"))
    durable.raise_event(instance, "End")
    assert durable.output(instance) == "done"


@pytest.mark.parametrize("reason", [None, 5, "a\0b", "\ud800"])
def test_a_reason_is_a_text(app: App, durable: Durable, reason: Any) -> None:
    @app.orchestrator
    async def asks(ctx: OrchestrationContext) -> str:
        return await ctx.wait_for_external_event("Go", str)

    @app.orchestrator
    async def parent(ctx: OrchestrationContext) -> None:
        ctx.call_sub_orchestrator(asks).cancel(reason)

    failed = durable.status(durable.start(parent))
    assert failed.status is RuntimeStatus.FAILED
    assert str(failed.output).startswith("A ")


def test_children_have_the_tags_of_their_parents(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def grandchild(ctx: OrchestrationContext) -> str:
        return await ctx.wait_for_external_event("Go", str)

    @app.orchestrator
    async def child(ctx: OrchestrationContext) -> str:
        return await ctx.call_sub_orchestrator(grandchild)

    @app.orchestrator
    async def parent(ctx: OrchestrationContext) -> str:
        return await ctx.call_sub_orchestrator(child)

    instance = durable.start(parent, tags={"team": "blue"})
    (below,) = durable.children(instance)
    (last,) = durable.children(below.id)
    assert below.tags == last.tags == {"team": "blue"}


# --- reminders


def test_a_reminder_is_no_deadline(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def asks(ctx: OrchestrationContext) -> str:
        answer = ctx.wait_for_external_event("Go", str)
        while True:
            reminder = ctx.create_timer(timedelta(days=1), reminder=True)
            if await when_any(answer, reminder) is answer:
                reminder.cancel()
                return await answer

    @app.orchestrator
    async def asks_until(ctx: OrchestrationContext) -> str:
        answer, end = ctx.wait_for_external_event("Go", str), ctx.create_timer(timedelta(hours=1))
        reminder = ctx.create_timer(timedelta(days=1), reminder=True)
        await when_any(answer, reminder, end)
        return "over"

    for_ever = durable.start(asks)
    durable.assert_waiting_for(for_ever, "Go", until=None)
    durable.advance("1d")
    durable.assert_waiting_for(for_ever, "Go", until=None)
    until = durable.start(asks_until)
    durable.assert_waiting_for(until, "Go", until="1h")
    durable.crash()
    durable.assert_waiting_for(until, "Go", until="1h")
