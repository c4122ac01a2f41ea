"""People may be waited for while somebody corrects a word: what was done is taken from the record."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from bide import App, OrchestrationContext, RetryPolicy, RuntimeStatus
from bide.engine.options import WorkerOptions
from bide.errors import NonDeterminismError
from bide.testing.harness import Durable

DAY = timedelta(days=1)
Version = Callable[[OrchestrationContext], Any]


def _app(version: Version) -> App:
    app = App()

    @app.activity
    async def tell(text: str) -> str:
        if text == "fail":
            raise ValueError(text)
        return text

    @app.orchestrator
    async def child(ctx: OrchestrationContext, text: str) -> str:
        return await ctx.wait_for_external_event("Child", str)

    @app.orchestrator
    async def ask(ctx: OrchestrationContext) -> Any:
        return await version(ctx)

    return app


def _old_and_new(old: Version, new: Version, *, strict: bool = False) -> tuple[Durable, str]:
    """An instance that the old code began, and that waits when the new code is deployed."""
    durable = Durable(_app(old), options=WorkerOptions(strict_replay=strict))
    instance = durable.start("ask")
    durable.deploy(_app(new))
    return durable, instance


async def _finished_call(ctx: OrchestrationContext, text: str = "May I?") -> str:
    said: str = await ctx.call_activity("tell", text)
    return said + await ctx.wait_for_external_event("Go", str)


async def _timeout(ctx: OrchestrationContext, span: timedelta = 7 * DAY) -> str:
    try:
        return await ctx.wait_for_external_event("Go", str, timeout=span)
    except TimeoutError:
        return "late"


async def _timer(ctx: OrchestrationContext, span: timedelta = 7 * DAY) -> str:
    timer = ctx.create_timer(span)
    await timer
    return timer.fire_at.isoformat()


async def _child(ctx: OrchestrationContext, text: str = "a", child_id: str = "first") -> str:
    result: str = await ctx.with_options(instance_id=child_id).call_sub_orchestrator("child", text)
    return result


async def _sent(ctx: OrchestrationContext, text: str = "a") -> str:
    ctx.send_event("nobody", "News", text)
    return await ctx.wait_for_external_event("Go", str)


async def _retried(ctx: OrchestrationContext, first: timedelta = DAY) -> str:
    try:
        await ctx.with_options(retry=RetryPolicy(max_attempts=2, first_interval=first)).call_activity(
            "tell", "fail"
        )
    except Exception as failed:
        return "attempt 2" if "attempt 2" in str(failed) else str(failed)
    return "?"


CHANGES: dict[str, tuple[Version, Version]] = {
    "a word of a message that was sent": (_finished_call, lambda ctx: _finished_call(ctx, "May I, please?")),
    "a longer timeout": (_timeout, lambda ctx: _timeout(ctx, 10 * DAY)),
    "a longer timer": (_timer, lambda ctx: _timer(ctx, 10 * DAY)),
    "a child's input and id": (_child, lambda ctx: _child(ctx, "b", "second")),
    "an event that was sent": (_sent, lambda ctx: _sent(ctx, "b")),
    "a retry's interval": (_retried, lambda ctx: _retried(ctx, 3 * DAY)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_words_holds_nobody(change: str) -> None:
    durable, instance = _old_and_new(*CHANGES[change])
    with durable:
        _answer(durable, instance, change)
        durable.advance("8d")
        ended = durable.status(instance)
        assert (ended.status, ended.held) == (RuntimeStatus.COMPLETED, None)
        with pytest.raises(NonDeterminismError):
            durable.replay_all()


def _answer(durable: Durable, instance: str, change: str) -> None:
    if change == "a child's input and id":
        durable.raise_event("first", "Child", "!")
    elif "timer" not in change and "interval" not in change:
        durable.raise_event(instance, "Go", "!")


@pytest.mark.parametrize("change", ["a word of a message that was sent", "a longer timeout", "a longer timer"])
def test_a_strict_worker_holds_it(change: str) -> None:
    durable, instance = _old_and_new(*CHANGES[change], strict=True)
    with durable:
        _answer(durable, instance, change)
        durable.advance("8d")
        assert durable.status(instance).held is not None


def test_the_instant_is_the_recorded_one() -> None:
    durable, instance = _old_and_new(*CHANGES["a longer timer"])
    with durable:
        durable.advance("7d")
        assert durable.output(instance) == durable.status(instance).updated_at.isoformat()


async def _another_kind(ctx: OrchestrationContext) -> None:
    await ctx.create_timer(DAY)


async def _another_name(ctx: OrchestrationContext) -> str:
    result: str = await ctx.call_activity("other", "May I?")
    return result + await ctx.wait_for_external_event("Go", str)


async def _another_event(ctx: OrchestrationContext) -> str:
    result: str = await ctx.call_activity("tell", "May I?")
    return result + await ctx.wait_for_external_event("Went", str)


async def _another_order(ctx: OrchestrationContext) -> str:
    wait = ctx.wait_for_external_event("Go", str)
    result: str = await ctx.call_activity("tell", "May I?")
    return result + await wait


@pytest.mark.parametrize("new", [_another_kind, _another_name, _another_event, _another_order])
def test_another_kind_name_or_order_holds_it(new: Version) -> None:
    durable, instance = _old_and_new(_finished_call, new)
    with durable:
        durable.raise_event(instance, "Go", "!")
        assert "no longer fits" in (durable.status(instance).held or "")
