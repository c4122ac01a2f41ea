"""A worker keeps what it owns as long as it works: each partition's lease is renewed before its end."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from bide import App
from bide.engine.activities import ActivityRunner
from bide.engine.worker import Worker
from bide.instance import PARTITIONS
from bide.links import SignedLinks
from bide.metrics import Metrics
from bide.store.memory import MemoryStore
from bide.store.protocol import LONGEST_LEASE
from bide.testing.clock import ManualClock


def test_what_was_owned_first_is_renewed_while_more_comes(app: App) -> None:
    """What is taken later has a later end; the earlier end is the one that counts."""

    async def story() -> None:
        clock, store = ManualClock(), MemoryStore()
        metrics = Metrics(clock.now())
        runner = ActivityRunner(app.registry, bytes(32), clock, metrics)
        worker = Worker(store, app.registry, clock, runner, "w", SignedLinks(bytes(32), "http://x"), metrics)
        leaving = await store.acquire("leaving", clock.now(), clock.now() + LONGEST_LEASE, PARTITIONS // 2)
        await worker.turn()
        assert len(worker.partition.epochs) == PARTITIONS // 2
        while leaving:
            await store.release("leaving", dict(leaving.popitem() for _ in range(2)))
            clock.advance(timedelta(seconds=1))
            await worker.turn()
            assert await store.acquire("rival", clock.now(), clock.now() + LONGEST_LEASE, PARTITIONS) == {}
        assert len(worker.partition.epochs) == PARTITIONS

    asyncio.run(story())
