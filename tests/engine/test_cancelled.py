"""A task that was given up is done: nothing waits for it, and nobody is surprised by it."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from bide import App, OrchestrationContext, RuntimeStatus, Task, TaskCancelledError, when_all, when_any
from bide.testing.harness import Durable

SECOND = timedelta(seconds=1)
Make = Callable[[OrchestrationContext], Any]

GIVEN_UP: dict[str, Make] = {
    "a wait": lambda ctx: ctx.wait_for_external_event("A"),
    "a wait with a timeout": lambda ctx: ctx.wait_for_external_event("A", timeout=SECOND),
    "a timer": lambda ctx: ctx.create_timer(SECOND),
}
AWAITED: dict[str, Callable[[OrchestrationContext, Task[Any]], Task[Any]]] = {
    "itself": lambda ctx, task: task,
    "any of it": lambda ctx, task: when_any(task),
    "any of it twice": lambda ctx, task: when_any(task, task),
    "any of any of it": lambda ctx, task: when_any(when_any(task)),
    "all of it": lambda ctx, task: when_all(task),
    "all of it twice": lambda ctx, task: when_all(task, task),
    "all of it and a timer": lambda ctx, task: when_all(task, ctx.create_timer(SECOND)),
    "all of any of it": lambda ctx, task: when_all(when_any(task)),
}


def _ends(app: App, durable: Durable, code: Callable[[OrchestrationContext], Awaitable[Any]]) -> Any:
    """What the code returns, after it was brought back into memory on its way; nothing is left of it then."""

    @app.orchestrator
    async def story(ctx: OrchestrationContext) -> Any:
        await ctx.create_timer(SECOND)
        result = await code(ctx)
        await ctx.wait_for_external_event("End")
        return result

    instance = durable.start(story)
    durable.advance("1s")
    durable.advance("5s")
    durable.crash()
    assert [wait.name for wait in durable.waiting(instance)] == ["End"]
    durable.raise_event(instance, "End")
    durable.replay_all()
    return durable.output(instance)


@pytest.mark.parametrize("first_cancelled", [True, False], ids=["cancelled before", "cancelled after"])
@pytest.mark.parametrize("awaited", AWAITED)
@pytest.mark.parametrize("given_up", GIVEN_UP)
def test_awaiting_what_was_given_up_raises(
    app: App, durable: Durable, given_up: str, awaited: str, first_cancelled: bool
) -> None:
    async def code(ctx: OrchestrationContext) -> list[Any]:
        task = GIVEN_UP[given_up](ctx)
        if first_cancelled:
            task.cancel()
        whole = AWAITED[awaited](ctx, task)
        task.cancel()
        task.cancel()
        try:
            await whole
        except TaskCancelledError as error:
            return [task.is_completed, task.is_cancelled, task.is_failed, "cancelled" in str(error)]
        return ["no error"]

    assert _ends(app, durable, code) == [True, True, True, True]


@pytest.mark.parametrize("given_up", GIVEN_UP)
def test_when_any_passes_over_what_was_given_up(app: App, durable: Durable, given_up: str) -> None:
    async def code(ctx: OrchestrationContext) -> list[bool]:
        task, timer = GIVEN_UP[given_up](ctx), ctx.create_timer(2 * SECOND)
        late = when_any(task, when_any(task, timer))
        task.cancel()
        early = when_any(task, timer)
        seen = [await early is timer, (await late).result is timer]
        return [*seen, await when_any(task, timer) is timer]

    assert _ends(app, durable, code) == [True, True, True]


def test_a_list_of_tasks_is_used_again_after_its_losers_were_cancelled(app: App, durable: Durable) -> None:
    async def code(ctx: OrchestrationContext) -> list[bool]:
        tasks: list[Any] = [
            ctx.wait_for_external_event("A"),
            ctx.wait_for_external_event("B"),
            ctx.create_timer(SECOND),
        ]
        winner = await when_any(*tasks)
        for task in tasks:
            if task is not winner:
                task.cancel()
        tasks.remove(winner)
        tasks.append(ctx.create_timer(SECOND))
        return [await when_any(*tasks) is tasks[-1], tasks[0].is_cancelled]

    assert _ends(app, durable, code) == [True, True]


def test_cancelling_what_is_done_changes_nothing(app: App, durable: Durable) -> None:
    async def code(ctx: OrchestrationContext) -> list[bool]:
        timer = ctx.create_timer(SECOND)
        await timer
        timer.cancel()
        await timer
        return [timer.is_completed, timer.is_cancelled]

    assert _ends(app, durable, code) == [True, False]


def test_an_event_goes_to_the_next_wait_after_one_was_given_up(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def waits(ctx: OrchestrationContext) -> str:
        given_up, kept = ctx.wait_for_external_event("A", str), ctx.wait_for_external_event("A", str)
        given_up.cancel()
        return await kept

    instance = durable.start(waits)
    durable.raise_event(instance, "A", "mine")
    assert durable.output(instance) == "mine"


def test_a_cancelled_task_that_nobody_catches_fails_the_instance_in_words(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def forgets(ctx: OrchestrationContext) -> None:
        wait = ctx.wait_for_external_event("A")
        wait.cancel()
        await wait

    ended = durable.status(durable.start(forgets))
    assert ended.status is RuntimeStatus.FAILED
    assert ended.output == "This wait for 'A' was cancelled: it will never have a result."
