"""An orchestrator's code is on its own: what it does to 'the task', 'the loop' or its context harms nobody else."""

import asyncio
import contextvars
import decimal
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any

import anyio
import pytest

from bide import App, OrchestrationContext, RuntimeStatus, Settings
from bide.engine.options import WorkerOptions
from bide.running import run
from bide.testing.harness import Durable

Code = Callable[[OrchestrationContext], Awaitable[Any]]


async def _timeout(ctx: OrchestrationContext) -> None:
    async with asyncio.timeout(1):
        await ctx.wait_for_external_event("Never", str)


async def _timeout_of_nothing(ctx: OrchestrationContext) -> None:
    async with asyncio.timeout(0):
        await ctx.create_timer(timedelta(seconds=1))


async def _cancel_me(ctx: OrchestrationContext) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await ctx.wait_for_external_event("Never")


async def _group(ctx: OrchestrationContext) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(0))
        await ctx.wait_for_external_event("Never")


async def _fail_after(ctx: OrchestrationContext) -> None:
    with anyio.fail_after(1):
        await ctx.wait_for_external_event("Never")


async def _move_on(ctx: OrchestrationContext) -> None:
    with anyio.move_on_after(1):
        await ctx.wait_for_external_event("Never")


async def _sleep_anyio(ctx: OrchestrationContext) -> None:
    await anyio.sleep(1)


async def _running_loop(ctx: OrchestrationContext) -> None:
    asyncio.get_running_loop().stop()


LOOP: list[Code] = [
    _timeout,
    _timeout_of_nothing,
    _cancel_me,
    _group,
    _fail_after,
    _move_on,
    _sleep_anyio,
    _running_loop,
]


def test_there_is_no_loop_to_be_stopped(app: App, durable: Durable) -> None:
    async def stop(ctx: OrchestrationContext) -> None:
        asyncio.get_event_loop().stop()

    neighbour, wrong = _with_neighbour(app, durable, stop)
    assert "cannot be replayed" in str(durable.status(wrong).output)
    durable.raise_event(neighbour, "Go", "on")
    assert durable.output(neighbour) == "on"


class _Own(BaseException):
    pass


def _raising(error: BaseException) -> Code:
    async def raises(ctx: OrchestrationContext) -> None:
        raise error

    raises.__name__ = f"raises_{type(error).__name__}"
    return raises


def _with_neighbour(app: App, durable: Durable, bad: Code) -> tuple[str, str]:
    """A neighbour that waits, and then the bad one, which goes wrong after a timer and once more after a crash."""

    @app.orchestrator(name="good")
    async def good(ctx: OrchestrationContext) -> str:
        return await ctx.wait_for_external_event("Go", str)

    @app.orchestrator(name="bad")
    async def start_bad(ctx: OrchestrationContext) -> Any:
        await ctx.create_timer(timedelta(seconds=10))
        return await bad(ctx)

    neighbour, wrong = durable.start(good), durable.start(start_bad)
    durable.crash()
    durable.advance("10s")
    durable.advance("10s")
    return neighbour, wrong


@pytest.mark.filterwarnings("ignore:coroutine 'sleep' was never awaited")
@pytest.mark.parametrize("bad", LOOP, ids=lambda code: code.__name__)
def test_a_tool_of_the_event_loop_fails_its_own_instance(app: App, durable: Durable, bad: Code) -> None:
    neighbour, wrong = _with_neighbour(app, durable, bad)
    ended = durable.status(wrong)
    assert ended.status is RuntimeStatus.FAILED
    assert "test_isolation.py:" in str(ended.output)
    assert "Put I/O and sleeping into an activity" in str(ended.output)
    durable.raise_event(neighbour, "Go", "on")
    assert durable.output(neighbour) == "on"
    durable.replay_all()


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), asyncio.CancelledError(), _Own("own")],
    ids=lambda error: type(error).__name__,
)
def test_whatever_an_orchestrator_raises_is_its_own(app: App, durable: Durable, error: BaseException) -> None:
    neighbour, wrong = _with_neighbour(app, durable, _raising(error))
    assert durable.status(wrong).status is RuntimeStatus.FAILED
    durable.raise_event(neighbour, "Go", "on")
    assert durable.output(neighbour) == "on"
    durable.replay_all()


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), asyncio.CancelledError(), _Own("own")], ids=repr
)
@pytest.mark.parametrize("in_thread", [False, True])
def test_whatever_an_activity_raises_is_its_own(
    app: App, durable: Durable, error: BaseException, in_thread: bool
) -> None:
    if in_thread:

        @app.activity(name="body")
        def body() -> None:
            raise error
    else:

        @app.activity(name="body")
        async def body_of_loop() -> None:
            raise error

    @app.orchestrator
    async def calls(ctx: OrchestrationContext) -> str:
        try:
            await ctx.call_activity("body")
        except Exception as failed:
            return str(failed)
        return "?"

    assert type(error).__name__ in durable.output(durable.start(calls))


def test_ctrl_c_goes_through(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def interrupted(ctx: OrchestrationContext) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        sum(range(1000))

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            durable.start(interrupted)
    finally:
        signal.signal(signal.SIGINT, before)


# --- context


tenant = contextvars.ContextVar("tenant", default="nobody")


def test_context_variables_are_an_instance_s_own(app: App, durable: Durable) -> None:
    @app.activity
    async def who() -> list[str]:
        return [tenant.get(), str(Decimal(1) / 3)]

    @app.activity
    def who_in_thread() -> list[str]:
        return [tenant.get(), str(Decimal(1) / 3)]

    @app.orchestrator
    async def one(ctx: OrchestrationContext) -> str:
        tenant.set("one")
        decimal.getcontext().prec = 4
        await ctx.wait_for_external_event("Go")
        return tenant.get()

    @app.orchestrator
    async def other(ctx: OrchestrationContext) -> list[Any]:
        seen = [tenant.get(), str(Decimal(1) / 3)]
        return [seen, await ctx.call_activity(who), await ctx.call_activity(who_in_thread)]

    first = durable.start(one)
    clean = ["nobody", str(Decimal(1) / 3)]
    assert durable.output(durable.start(other)) == [clean, clean, clean]
    durable.raise_event(first, "Go")
    assert durable.output(first) == "one"
    assert tenant.get() == "nobody"
    durable.replay_all()


# --- generators


async def _rows(ctx: OrchestrationContext, said: list[str]) -> AsyncIterator[int]:
    number = 0
    try:
        while True:
            number += 1
            yield number
    finally:
        said.append("cleaned up")
        ctx.set_custom_status("closed")


def test_a_generator_that_is_left_early_is_cleaned_up_where_it_is_left(app: App, durable: Durable) -> None:
    said: list[str] = []

    @app.orchestrator
    async def leaves(ctx: OrchestrationContext) -> int:
        async for row in _rows(ctx, said):
            if row == 2:
                break
        said.append("left")
        await ctx.wait_for_external_event("Go")
        return 2

    instance = durable.start(leaves)
    assert durable.status(instance).custom_status == "closed"
    durable.crash()
    durable.raise_event(instance, "Go")
    assert durable.output(instance) == 2
    assert said == ["cleaned up", "left"] * 2
    durable.replay_all()


def test_a_clean_up_that_awaits_too_late_fails_and_says_what_to_write(app: App, durable: Durable) -> None:
    @app.activity
    async def page(number: int) -> int:
        return number

    async def pages(ctx: OrchestrationContext) -> AsyncIterator[int]:
        try:
            while True:
                yield await ctx.call_activity(page, 0)
        finally:
            await ctx.call_activity(page, 7)

    @app.orchestrator
    async def leaves(ctx: OrchestrationContext, closing: bool) -> int:
        if closing:
            async with aclosing(pages(ctx)) as each:
                async for _ in each:
                    break
        else:
            async for _ in pages(ctx):
                break
        await ctx.wait_for_external_event("Go")
        return await ctx.call_activity(page, 99)

    late, good = durable.start(leaves, False), durable.start(leaves, True)
    assert "contextlib.aclosing" in str(durable.status(late).output)
    assert "test_isolation.py:" in str(durable.status(late).output)
    durable.crash()
    durable.raise_event(good, "Go")
    assert durable.output(good) == 99
    durable.replay_all()


def test_a_generator_that_the_search_for_cycles_finds_asks_for_nothing(app: App, durable: Durable) -> None:
    said: list[str] = []

    @app.orchestrator
    async def cyclic(ctx: OrchestrationContext) -> int:
        rows = _rows(ctx, said)
        await anext(rows)
        knot: list[Any] = [rows]
        knot.append(knot)
        del rows, knot
        await ctx.wait_for_external_event("Go")
        return 1

    instance = durable.start(cyclic)
    gc.collect()
    assert (said, durable.status(instance).custom_status) == ([], None)
    durable.raise_event(instance, "Go")
    assert durable.output(instance) == 1


# --- code that is not being run


def test_a_context_that_leaked_asks_for_nothing(app: App, durable: Durable) -> None:
    leaked: list[OrchestrationContext] = []

    @app.activity
    async def noop() -> None: ...

    @app.orchestrator
    async def leaks(ctx: OrchestrationContext) -> int:
        leaked.append(ctx)
        await ctx.wait_for_external_event("Go")
        return 1

    instance = durable.start(leaks)
    for ask in (
        lambda ctx: ctx.call_activity(noop),
        lambda ctx: ctx.create_timer(timedelta(1)),
        lambda ctx: ctx.wait_for_external_event("Other"),
        lambda ctx: ctx.set_custom_status("mine"),
        lambda ctx: ctx.send_event(instance, "Go"),
    ):
        with pytest.raises(Exception, match="was not running"):
            ask(leaked[0])
    durable.crash()
    durable.raise_event(instance, "Go")
    assert durable.output(instance) == 1


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_what_leaves_memory_says_nothing(app: App, caplog: pytest.LogCaptureFixture) -> None:
    @app.orchestrator
    async def chatty(ctx: OrchestrationContext) -> int:
        try:
            await ctx.wait_for_external_event("Go")
        finally:
            ctx.logger.warning("the end")
        return 1

    @app.orchestrator
    async def stubborn(ctx: OrchestrationContext) -> int:
        with suppress(BaseException):
            await ctx.wait_for_external_event("Never")
        await ctx.wait_for_external_event("Go")
        return 2

    caplog.set_level(logging.WARNING, "bide.orchestrator")
    with Durable(app, options=WorkerOptions(max_live=1)) as durable:
        instances = [durable.start(chatty), durable.start(stubborn), durable.start(chatty)]
        for instance in (*instances, *instances):
            if durable.status(instance).status is RuntimeStatus.RUNNING:
                durable.raise_event(instance, "Go")
        assert [durable.output(instance) for instance in (instances[0], instances[2])] == [1, 1]
    assert [record.message for record in caplog.records] == ["the end"] * 2


@pytest.mark.parametrize("in_thread", [False, True])
def test_an_activity_that_is_called_directly_refuses(app: App, durable: Durable, in_thread: bool) -> None:
    sent: list[str] = []

    @app.activity
    async def mail(to: str) -> str:
        sent.append(to)
        return to

    @app.activity
    def letter(to: str) -> str:
        sent.append(to)
        return to

    @app.orchestrator
    async def forgets(ctx: OrchestrationContext) -> str:
        return letter("grace") if in_thread else await mail("grace")

    assert "ctx.call_activity(" in str(durable.status(durable.start(forgets)).output)
    assert sent == []
    assert letter("ada") == asyncio.run(mail("ada")) == "ada"


# --- the worker's loop


def test_a_worker_whose_task_was_cancelled_says_so_and_begins_anew(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    @app.orchestrator
    async def good(ctx: OrchestrationContext) -> str:
        return await ctx.wait_for_external_event("Go", str)

    async def story() -> object:
        async with asyncio.timeout(10), run(app, Settings(db=":memory:"), app.clock) as hub:
            instance = await hub.client.start(good)
            (task,) = [
                each
                for each in asyncio.all_tasks()
                if getattr(each.get_coro(), "__name__", "") == "run" and "Worker.run" in repr(each.get_coro())
            ]
            task.cancel()
            await asyncio.wait([task])
            await asyncio.sleep(0)
            assert not hub.client.ready
            for _ in range(20):
                await asyncio.sleep(0)
            assert [each.failing for each in await hub.client.workers()] == [True]
            await hub.client.raise_event(instance, "Go", "on")
            return (await hub.client.wait(instance, timedelta(seconds=5))).output

    assert asyncio.run(story()) == "on"
    assert [each.message for each in caplog.records if "loop ended" in each.message] == [
        "The worker's loop ended: its task was cancelled. It begins anew in 1 s"
    ]


async def _goes_on_whatever_it_is_told(ctx: OrchestrationContext) -> str:
    while True:
        with suppress(BaseException):
            return await ctx.wait_for_external_event("Go", str)


async def _goes_on_in_its_clean_up(ctx: OrchestrationContext) -> str:
    try:
        return await ctx.wait_for_external_event("Go", str)
    finally:
        for _ in range(100_000):
            with suppress(BaseException):
                await ctx.call_activity("nothing")
                break


@pytest.mark.parametrize("code", [_goes_on_whatever_it_is_told, _goes_on_in_its_clean_up])
def test_code_that_catches_everything_can_be_dropped(code: Code, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.unraisablehook", lambda unraisable: None)  # Python says that it would not end
    app = App()
    app.orchestrator(name="stubborn")(code)

    @app.activity
    async def nothing() -> None: ...

    with Durable(app, options=WorkerOptions(max_live=1)) as durable:
        ids = [durable.start("stubborn") for _ in range(3)]
        durable.crash()
        durable.deploy(App())
        for each in ids:
            durable.raise_event(each, "Go", "on")  # it is held: its code is gone
        durable.deploy(app)
        assert [durable.output(each) for each in ids] == ["on"] * 3


@pytest.mark.parametrize("code", [_goes_on_whatever_it_is_told, _goes_on_in_its_clean_up])
def test_code_that_catches_everything_can_be_left_to_the_search_for_cycles(
    code: Code, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.unraisablehook", lambda unraisable: None)  # Python says that it would not end
    app = App()
    app.orchestrator(name="stubborn")(code)
    app.activity(name="nothing")(lambda: None)
    durable = Durable(app)
    durable.start("stubborn")
    durable._loop.close()
    del durable, app
    gc.collect()
