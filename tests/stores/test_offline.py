"""Changing an instance while no worker runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bide import (
    App,
    InstanceFinishedError,
    InstanceNotFoundError,
    NotAllowedError,
    OrchestrationContext,
    RuntimeStatus,
)
from bide.config import Settings
from bide.engine import offline
from bide.errors import StoreInUseError
from bide.model.clock import Clock, SystemClock
from bide.model.instance import PARTITIONS, partition_of
from bide.running import open_store, run
from bide.store.protocol import LONGEST_LEASE, Store

Change = Callable[[Store, Clock], Awaitable[None]]

app = App()


@app.orchestrator
async def waits(ctx: OrchestrationContext) -> str:
    return await ctx.wait_for_external_event("Go", str)


@app.orchestrator
async def parent(ctx: OrchestrationContext) -> str:
    return await ctx.with_options(instance_id="child").call_sub_orchestrator(waits)


@app.orchestrator
async def collects(ctx: OrchestrationContext) -> list[int]:
    return [await ctx.wait_for_external_event("Item", int) for _ in range(5)]


STARTS = {"parent": parent, "c": collects}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(db=str(tmp_path / "hub.db"))


def change(settings: Settings, how: Change) -> None:
    async def main() -> None:
        async with open_store(settings, SystemClock(), "test") as (store, clock):
            await how(store, clock)

    asyncio.run(main())


def start(settings: Settings, *ids: str) -> None:
    async def main() -> None:
        async with run(app, settings, SystemClock()) as hub:
            for each in ids:
                await hub.client.start(STARTS.get(each, waits), instance_id=each)

    asyncio.run(main())


def test_a_terminated_instance_has_ended_and_its_children_end_with_the_next_worker(settings: Settings) -> None:
    start(settings, "parent", "other")
    change(settings, lambda store, clock: offline.terminate(store, clock, "parent", "too much", recurse=True))

    async def look() -> None:
        async with run(app, settings, SystemClock()) as hub:
            assert (await hub.client.get("parent")).status is RuntimeStatus.TERMINATED
            assert (await hub.client.wait("child")).output == "too much"
            assert (await hub.client.get("other")).status is RuntimeStatus.RUNNING
            (entry,) = [each for each in await hub.client.audit("parent") if each.verb == "terminate"]
            assert (entry.caller, entry.reason, entry.result) == ("bide db", "too much", "accepted")

    asyncio.run(look())


def test_what_an_ended_instance_has_left_ends_with_the_next_worker(settings: Settings) -> None:
    start(settings, "parent")
    change(settings, lambda store, clock: offline.terminate(store, clock, "parent", "", recurse=False))
    change(settings, lambda store, clock: offline.terminate(store, clock, "parent", "too much", recurse=True))

    async def look() -> None:
        async with run(app, settings, SystemClock()) as hub:
            assert (await hub.client.wait("child")).output == "too much"

    asyncio.run(look())


def test_a_held_instance_waits_until_it_is_resumed(settings: Settings) -> None:
    start(settings, "a")
    change(settings, lambda store, clock: offline.hold(store, clock, "a", "it is looked at"))

    async def look() -> None:
        for life in range(2):
            async with run(app, settings, SystemClock()) as hub:
                if not life:
                    await hub.client.raise_event("a", "Go", "on")
                assert (await hub.client.get("a")).held == "it is looked at"
        async with run(app, settings, SystemClock()) as hub:
            await hub.client.resume("a")
            assert (await hub.client.wait("a")).output == "on"

    asyncio.run(look())


def test_what_comes_as_it_is_let_go_comes_after_what_it_was_kept_from(settings: Settings) -> None:
    start(settings, "c")
    change(settings, lambda store, clock: offline.hold(store, clock, "c", "it is looked at"))

    async def look() -> None:
        async with run(app, settings, SystemClock()) as hub:
            for number in (1, 2):
                await hub.client.raise_event("c", "Item", number)
            await asyncio.gather(
                hub.client.resume("c"), *(hub.client.raise_event("c", "Item", number) for number in (3, 4, 5))
            )
            assert (await hub.client.wait("c")).output == [1, 2, 3, 4, 5]

    asyncio.run(look())


def test_what_cannot_be_is_refused_and_changes_nothing(settings: Settings) -> None:
    start(settings, "a")
    with pytest.raises(InstanceNotFoundError):
        change(settings, lambda store, clock: offline.terminate(store, clock, "b", "", recurse=False))
    with pytest.raises(NotAllowedError, match="only one that has ended"):
        change(settings, lambda store, clock: offline.purge(store, clock, "a"))
    change(settings, lambda store, clock: offline.terminate(store, clock, "a", "", recurse=False))
    for again in (
        lambda store, clock: offline.terminate(store, clock, "a", "", recurse=False),
        lambda store, clock: offline.hold(store, clock, "a", ""),
    ):
        with pytest.raises(InstanceFinishedError):
            change(settings, again)
    change(settings, lambda store, clock: offline.purge(store, clock, "a"))
    with pytest.raises(InstanceNotFoundError):
        change(settings, lambda store, clock: offline.purge(store, clock, "a"))


def test_it_leaves_behind_what_it_found(settings: Settings) -> None:
    """Whether the last worker was killed is for the next one to know."""
    start(settings, "a")

    async def be_killed(store: Store, clock: Clock) -> None:
        await store.acquire("killed", clock.now(), clock.now(), 3)

    async def look(store: Store, clock: Clock) -> None:
        found.append(await store.cut_off(await store.acquire("next", clock.now(), clock.now(), PARTITIONS)))

    found: list[set[int]] = []
    change(settings, be_killed)
    change(settings, lambda store, clock: offline.hold(store, clock, "a", ""))
    change(settings, look)
    assert found == [{0, 1, 2}]


def test_a_worker_that_has_the_instance_keeps_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline, "_TRIES", 1)
    start(settings, "a")

    async def owned(store: Store, clock: Clock) -> None:
        taken = await store.acquire("worker", clock.now(), clock.now() + LONGEST_LEASE, PARTITIONS)
        assert partition_of("a") in taken
        with pytest.raises(StoreInUseError, match="A worker has the instance"):
            await offline.hold(store, clock, "a", "")

    change(settings, owned)

    async def served() -> None:
        async with run(app, settings, SystemClock()), open_store(settings, SystemClock(), "test"):
            pass

    with pytest.raises(StoreInUseError):
        asyncio.run(served())
