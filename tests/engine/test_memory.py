"""Rest is cheap (G10): what goes out of memory goes at once, without waiting for a search for cycles."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from datetime import timedelta

import pytest

from bide import App, OrchestrationContext, Settings, when_all, when_any
from bide.core.execution import Execution
from bide.engine.options import WorkerOptions

MOST = 10
app = App()


@app.activity
async def ask(name: str) -> str:
    return name


@app.orchestrator
async def waiting(ctx: OrchestrationContext, name: str) -> str:
    await ctx.call_activity(ask, name)
    deadline = ctx.create_timer(timedelta(days=1))
    answers = [ctx.wait_for_external_event("Answer", str) for _ in range(2)]
    await when_any(when_all(*answers), deadline, ctx.call_activity(ask, name))
    await when_any(answers[0], deadline)
    return "answered"


@pytest.fixture
def no_search() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def executions() -> int:
    return sum(isinstance(each, Execution) for each in gc.get_objects())


@pytest.mark.usefixtures("no_search")
def test_no_more_code_is_in_memory_than_is_allowed() -> None:
    async def run() -> None:
        before = executions()
        async with app.running(Settings(db=":memory:"), options=WorkerOptions(max_live=MOST)) as client:
            for number in range(5 * MOST):
                await client.start(waiting, "x", instance_id=f"w-{number}")
            while len(await client.open_waits(limit=1000)) < 10 * MOST:  # noqa: ASYNC110 - asks the database
                await asyncio.sleep(0)
            assert executions() - before == MOST
            for number in range(5 * MOST):
                await client.raise_event(f"w-{number}", "Answer", "yes")
                assert (await client.wait(f"w-{number}")).output == "answered"
            assert executions() == before

    asyncio.run(run())


def test_python_looks_for_cycles_less_often_unless_it_was_told_how_often() -> None:
    async def run() -> tuple[int, int, int]:
        async with app.running(Settings(db=":memory:")):
            return gc.get_threshold()

    before = gc.get_threshold()
    try:
        gc.set_threshold(700, 9, 8)
        assert asyncio.run(run()) == (20_000, 9, 8)
        gc.set_threshold(50_000, 9, 8)
        assert asyncio.run(run()) == (50_000, 9, 8)
        gc.set_threshold(0)
        assert asyncio.run(run())[0] == 0
    finally:
        gc.set_threshold(*before)
