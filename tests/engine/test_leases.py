"""A worker keeps what it owns as long as it works: each partition's lease is renewed before its end.

What it had asked for when it lost them is not done any more; nor is what is over.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from bide import App, OrchestrationContext
from bide.engine.client import Client
from bide.engine.worker import Worker
from bide.model.batch import Message
from bide.model.history import ExecutionStarted
from bide.model.instance import PARTITIONS, partition_of
from bide.model.sealing import SealingKeys
from bide.store.memory import MemoryStore
from bide.store.protocol import LONGEST_LEASE
from bide.testing.clock import ManualClock
from bide.testing.faults import FaultyStore
from tests.engine.test_store_away import Outage
from tests.workers import new_worker

SEALER = SealingKeys([bytes(32)])


async def go_on(worker: Worker) -> None:
    """Let it and its activities do what there is to do."""
    for _ in range(10):
        await worker.turn()
        await asyncio.sleep(0)


def test_what_was_owned_first_is_renewed_while_more_comes(app: App) -> None:
    """What is taken later has a later end; the earlier end is the one that counts."""

    async def story() -> None:
        clock, store = ManualClock(), MemoryStore()
        worker = new_worker(app, store, clock)
        leaving = await store.acquire("leaving", clock.now(), clock.now() + LONGEST_LEASE, PARTITIONS // 2)
        await worker.turn()
        assert len(worker.dispatcher.epochs) == PARTITIONS // 2
        while leaving:
            await store.release("leaving", dict(leaving.popitem() for _ in range(2)))
            clock.advance(timedelta(seconds=1))
            await worker.turn()
            assert await store.acquire("rival", clock.now(), clock.now() + LONGEST_LEASE, PARTITIONS) == {}
        assert len(worker.dispatcher.epochs) == PARTITIONS

    asyncio.run(story())


def test_a_mark_that_was_to_be_made_before_another_worker_came_is_not_made_after_it(app: App) -> None:
    """The other one has begun and ended the once-activity. Whoever waits for the mark must not begin it again."""
    runs: list[int] = []

    @app.activity(once=True)
    async def pay() -> str:
        runs.append(1)
        return "receipt"

    @app.orchestrator
    async def order(ctx: OrchestrationContext) -> str:
        return await ctx.call_activity(pay)

    async def story() -> None:
        clock, store, outage = ManualClock(), MemoryStore(), Outage()
        mine, other = new_worker(app, FaultyStore(store, outage), clock), new_worker(app, store, clock, "other")
        starting = asyncio.create_task(Client(mine, store, app.registry, clock).start(order))
        await asyncio.sleep(0)
        await mine.turn()
        instance_id = await starting
        await asyncio.sleep(0)  # the activity asks for its mark
        outage.lasts = True
        clock.advance(timedelta(minutes=1))
        await mine.turn()
        assert runs == []
        clock.advance(timedelta(minutes=1))
        await go_on(other)
        assert (await Client(other, store, app.registry, clock).get(instance_id)).output == "receipt"
        await other.release()
        outage.lasts = False
        clock.advance(timedelta(minutes=1))
        await go_on(mine)
        assert mine.ready

    asyncio.run(story())
    assert runs == [1]


@pytest.mark.parametrize("answered", [True, False])
def test_a_timer_that_was_cancelled_gives_nothing_to_do_when_it_would_have_been_due(
    app: App, answered: bool
) -> None:
    @app.orchestrator
    async def ask(ctx: OrchestrationContext) -> str:
        answer = await ctx.wait_for_external_event("Answer", str, timeout=timedelta(seconds=5))
        await ctx.wait_for_external_event("More")
        return answer

    async def story() -> None:
        clock, store = ManualClock(), MemoryStore()
        worker = new_worker(app, store, clock)
        client = Client(worker, store, app.registry, clock)
        starting = asyncio.create_task(client.start(ask))
        await asyncio.sleep(0)
        await go_on(worker)
        if answered:
            raising = asyncio.create_task(client.raise_event(await starting, "Answer", "yes"))
            await asyncio.sleep(0)
            await go_on(worker)
            await raising
        assert not await worker.turn()
        clock.advance(timedelta(seconds=5))
        assert await worker.turn() is not answered

    asyncio.run(story())


def test_what_is_owned_again_was_another_s_meanwhile(app: App) -> None:
    """A worker that stood still between renewing and taking has not seen that it lost a partition."""

    @app.orchestrator
    async def wait(ctx: OrchestrationContext) -> None:
        await ctx.wait_for_external_event("Answer")

    async def story() -> None:
        clock, store = ManualClock(), MemoryStore()
        worker = new_worker(app, store, clock)
        name = next(str(number) for number in range(1_000) if partition_of(str(number)) == 1)
        await store.acquire("leaving", clock.now(), clock.now() + LONGEST_LEASE, 1)
        worker.submit(Message(name, ExecutionStarted("wait")), lambda error: None)
        await worker.turn()
        assert worker.dispatcher.runs(name)
        later = clock.now() + LONGEST_LEASE // 2
        rival = await store.acquire("rival", later, later + 1, PARTITIONS)
        assert 1 in rival
        await store.release("rival", rival)
        clock.advance(timedelta(seconds=2))
        await worker.turn()
        assert not worker.dispatcher.runs(name), "what was here of it may be old"
        clock.advance(timedelta(seconds=2))
        await worker.turn()
        assert len(worker.dispatcher.epochs) == PARTITIONS - 1

    asyncio.run(story())
