"""What an orchestrator asks for and never awaits is given up when it returns. The log and the history tell it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from bide import ActivityFailedError, App, OrchestrationContext, RetryPolicy, Settings, when_all, when_any
from bide.client import Client
from bide.http.app import create_app
from bide.model.history import ContinuedAsNew, ExecutionCompleted
from bide.testing.harness import Durable
from tests.http.conftest import BASE

Ask = Callable[[OrchestrationContext], Any]
SECOND = timedelta(seconds=1)


@pytest.fixture
def app() -> App:
    app = App()

    @app.activity
    async def audit(text: str = "") -> str:
        return text

    @app.activity
    async def fails() -> None:
        raise ValueError("the book is full")

    @app.orchestrator
    async def child(ctx: OrchestrationContext, bad: bool = False) -> None:
        if bad:
            raise ValueError("the book is full")

    return app


def told(app: App, durable: Durable, caplog: pytest.LogCaptureFixture, ask: Ask) -> tuple[str, ...]:
    """What is told of an orchestrator that does this and returns: the same in the history and in the log."""

    @app.orchestrator
    async def asks(ctx: OrchestrationContext) -> str:
        await ask(ctx)
        return "done"

    with caplog.at_level(logging.WARNING, "bide"):
        instance_id = durable.start(asks)
        durable.advance("10s")
    assert durable.output(instance_id) == "done"
    ending = durable.history(instance_id)[-1].facts[-1]
    assert isinstance(ending, ExecutionCompleted)
    logged = [line for line in caplog.messages if "without awaiting" in line]
    assert logged == [
        f"Instance {instance_id} (asks) returned without awaiting all that it asked for. "
        + " ".join(ending.unawaited)
    ] * bool(ending.unawaited)
    durable.crash()
    durable.replay_all()
    return ending.unawaited


async def _in_the_same_step(ctx: OrchestrationContext) -> None:
    ctx.call_activity("audit", "gone")


async def _under_way(ctx: OrchestrationContext) -> None:
    ctx.with_options(retry=RetryPolicy(3, timedelta(hours=1))).call_activity("fails")
    await ctx.create_timer(SECOND)


async def _timer(ctx: OrchestrationContext) -> None:
    ctx.create_timer(timedelta(minutes=5))


async def _wait(ctx: OrchestrationContext) -> None:
    ctx.wait_for_external_event("Answer", str, timeout=timedelta(hours=1))


async def _failed(ctx: OrchestrationContext) -> None:
    ctx.call_activity("fails")
    await ctx.create_timer(SECOND)


async def _child_failed(ctx: OrchestrationContext) -> None:
    ctx.call_sub_orchestrator("child", True)
    await ctx.create_timer(SECOND)


async def _child_between_attempts(ctx: OrchestrationContext) -> None:
    ctx.with_options(retry=RetryPolicy(3, timedelta(hours=1))).call_sub_orchestrator("child", True)
    await ctx.create_timer(SECOND)


async def _timed_out(ctx: OrchestrationContext) -> None:
    ctx.wait_for_external_event("Answer", str, timeout=SECOND)
    await ctx.create_timer(timedelta(seconds=2))


async def _all_of_them(ctx: OrchestrationContext) -> None:
    when_all(ctx.call_activity("audit"), ctx.create_timer(timedelta(hours=1)))


async def _all_that_failed(ctx: OrchestrationContext) -> None:
    when_all(ctx.call_activity("fails"))
    await ctx.create_timer(SECOND)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (_in_the_same_step, ["The activity 'audit' (id 1) was never awaited: it is given up."]),
        (_under_way, ["The activity 'fails' (id 1) was never awaited: it is given up."]),
        (_timer, ["The timer (id 1) was never awaited: it is given up."]),
        (_wait, ["The wait for 'Answer' (id 1) was never awaited: it is given up."]),
        (_failed, ["The activity 'fails' (id 1) failed, and nobody looked at it: ", "the book is full"]),
        (
            _child_failed,
            ["The sub-orchestration 'child' (id 1) failed, and nobody looked at it: ", "the book is full"],
        ),
        (_child_between_attempts, ["The sub-orchestration 'child' (id 1) was never awaited: it is given up."]),
        (_timed_out, ["The wait for 'Answer' (id 1) failed, and nobody looked at it: ", "Nobody raised 'Answer'"]),
        (_all_of_them, ["The activity 'audit' (id 1) was never awaited", "The timer (id 2) was never awaited"]),
        (_all_that_failed, ["The activity 'fails' (id 1) failed, and nobody looked at it: "]),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_nobody_awaits_is_told(
    app: App, durable: Durable, caplog: pytest.LogCaptureFixture, ask: Ask, said: list[str]
) -> None:
    text = " ".join(told(app, durable, caplog, ask))
    for each in said:
        assert each in text


async def _awaited(ctx: OrchestrationContext) -> None:
    await ctx.call_activity("audit")
    await when_all(ctx.call_activity("audit"), ctx.create_timer(SECOND))


async def _lost_the_race(ctx: OrchestrationContext) -> None:
    timer, answer = ctx.create_timer(timedelta(hours=1)), ctx.wait_for_external_event("Answer")
    audit = ctx.call_activity("audit")
    await when_any(audit, timer, answer)


async def _lost_to_what_was_done(ctx: OrchestrationContext) -> None:
    audit = ctx.call_activity("audit")
    await ctx.create_timer(SECOND)
    await when_any(audit, ctx.create_timer(timedelta(hours=1)), ctx.wait_for_external_event("Answer"))


async def _looked_at(ctx: OrchestrationContext) -> None:
    answer = ctx.wait_for_external_event("Answer")
    failed, race = ctx.call_activity("fails"), ctx.call_activity("fails")
    await ctx.create_timer(SECOND)
    assert not answer.is_completed
    assert failed.error is not None
    assert (await when_any(race)).is_failed


async def _awaited_later(ctx: OrchestrationContext) -> None:
    failed = ctx.call_activity("fails")
    both = when_all(when_all(ctx.call_activity("fails"), ctx.create_timer(SECOND)), ctx.create_timer(2 * SECOND))
    await ctx.create_timer(3 * SECOND)
    for task in (failed, both):
        with pytest.raises(ActivityFailedError):
            await task


async def _cancelled(ctx: OrchestrationContext) -> None:
    ctx.create_timer(timedelta(hours=1)).cancel()
    ctx.wait_for_external_event("Answer", timeout=timedelta(hours=1)).cancel()


async def _came_to_a_good_end(ctx: OrchestrationContext) -> None:
    ctx.call_activity("audit")
    ctx.create_timer(SECOND)
    ctx.wait_for_external_event("Other")
    ctx.send_event(ctx.instance_id, "Other")
    ctx.call_sub_orchestrator("child")
    await ctx.create_timer(2 * SECOND)


async def _runs_on(ctx: OrchestrationContext) -> None:
    ctx.call_sub_orchestrator("child")


@pytest.mark.parametrize(
    "ask",
    [
        _awaited,
        _lost_the_race,
        _lost_to_what_was_done,
        _looked_at,
        _awaited_later,
        _cancelled,
        _came_to_a_good_end,
        _runs_on,
    ],
    ids=lambda ask: ask.__name__,
)
def test_what_was_looked_at_or_came_to_a_good_end_is_no_matter(
    app: App, durable: Durable, caplog: pytest.LogCaptureFixture, ask: Ask
) -> None:
    assert told(app, durable, caplog, ask) == ()


def test_generators_look_at_what_they_yield(app: App, durable: Durable) -> None:
    @app.orchestrator
    def generator(ctx: OrchestrationContext) -> Any:
        ctx.call_activity("audit", "gone")
        lost = ctx.create_timer(timedelta(hours=1))
        yield when_any(ctx.create_timer(SECOND), lost)
        ctx.call_activity("audit", "gone")

    instance_id = durable.start(generator)
    durable.advance("1s")
    ending = durable.history(instance_id)[-1].facts[-1]
    assert isinstance(ending, ExecutionCompleted)
    assert ending.unawaited == ("The activity 'audit' (id 4) was never awaited: it is given up.",)


def test_the_end_of_a_generation_tells_it_too(app: App, durable: Durable, caplog: pytest.LogCaptureFixture) -> None:
    @app.orchestrator
    async def again(ctx: OrchestrationContext, last: bool = False) -> None:
        if not last:
            ctx.call_activity("audit", "gone")
            ctx.continue_as_new(True)

    with caplog.at_level(logging.WARNING, "bide"):
        instance_id = durable.start(again)
    assert f"Instance {instance_id} (again) returned without awaiting" in caplog.text
    ending = durable.history(instance_id)[-1].facts[-1]
    assert not isinstance(ending, ContinuedAsNew)


def test_who_fails_has_other_worries(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def raises(ctx: OrchestrationContext) -> None:
        ctx.call_activity("audit")
        await ctx.call_activity("fails")

    ending = durable.history(durable.start(raises))[-1].facts[-1]
    assert isinstance(ending, ExecutionCompleted)
    assert ending.failure is not None
    assert ending.unawaited == ()


def test_callers_see_it_in_the_history(app: App) -> None:
    @app.orchestrator
    async def asks(ctx: OrchestrationContext) -> None:
        ctx.call_activity("audit")

    api = create_app(app, Settings(db=":memory:"))
    with TestClient(api, base_url=BASE, client=("127.0.0.1", 50_000)) as http:
        client = Client(BASE, http=http)
        client.wait(client.start("asks", instance_id="a"))
        ending = client.history("a")[-1].facts[-1]
    assert isinstance(ending, ExecutionCompleted)
    assert ending.unawaited == ("The activity 'audit' (id 1) was never awaited: it is given up.",)
