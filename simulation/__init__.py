"""The whole engine in a world without luck: virtual time, one seeded scheduler, and every kind of failure.

`simulate(seed)` runs the product's own worker, partition and store against clients that answer, repeat themselves
and meddle, while workers crash at any await, are paused for longer than their lease, and the store fails before or
after its effect. After a hostile phase everything is healed, and must come to rest. What is promised (G1 to G7 in
docs/architecture.md) is checked all along, and at the end.

The same seed gives the same run, to the last line of its trace, on every store:

    python -m simulation --seed 17 --store sqlite
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bide.model.clock import Timestamp
from bide.model.instance import PARTITIONS
from bide.model.presence import SILENCE
from bide.store.memory import MemoryStore
from bide.store.protocol import Store
from bide.store.sqlite.store import SqliteStore
from simulation.actors import Actor
from simulation.checks import check_rest
from simulation.clients import Operator, User, populate
from simulation.report import PROMISES, Report, StoreKind, Violation, summary
from simulation.workload import UNFIT
from simulation.world import HEALING_LIMIT, Plant, World

__all__ = ["PROMISES", "Plant", "Report", "StoreKind", "Violation", "simulate", "summary"]

_MEMORY_DISK = Path("/dev/shm")  # noqa: S108 - only to be faster, where it exists


def simulate(seed: int, store: StoreKind = "memory", plant: Plant | None = None) -> Report:
    """One run. `plant` puts a bug into the product, to see that it is found.

    The report has the violations; `Report.raise_violations` makes an error of them.
    """
    report = Report(seed, store)
    with _quiet(), _open(store) as opened:
        try:
            asyncio.run(_within_a_loop(World(report, opened, plant or Plant())))
        except asyncio.CancelledError:
            report.broken("isolation", "an orchestrator cancelled the task that sends it on")
    return report


async def _within_a_loop(world: World) -> None:
    """Nothing here needs an event loop; but code that looks for one must not find this one."""
    _live(world)


def _live(world: World) -> None:
    clients = populate(world)
    hazards = world.hazards
    if hazards.deploy:
        _hostile(world, hazards.steps, lambda: _fitting_starts(world, clients))
        if _fitting_starts(world, clients):
            world.deploy(2)
    _hostile(world, hazards.steps)
    world.heal()
    world.clients.append(Actor("operator", Operator(world).live()))
    rested = world.run(lambda: not world.clients, world.now + HEALING_LIMIT)
    world.report.check("rest", rested, f"still busy: {[client.name for client in world.clients]}")
    if rested:
        _settle(world)
    _now(check_rest(world, clients))
    world.report.counts["steps"] += world.steps
    world.report.counts["virtual seconds"] += (world.now - world.clock_start) // 1_000_000
    world.end()


def _hostile(world: World, steps: int, until: Callable[[], bool] = lambda: False) -> None:
    end = world.steps + steps
    world.run(lambda: world.steps >= end or until(), _NEVER)


def _fitting_starts(world: World, clients: list[User]) -> bool:
    """Whether every instance that the second version does not fit has begun under the first."""
    return all(client.instance_id in world.ledger.pasts for client in clients if client.name in UNFIT)


def _settle(world: World) -> None:
    """Let what is under way end; then begin once more, so that nothing is left that a new worker would find."""
    world.run(lambda: not world.running, world.now + HEALING_LIMIT)
    set_back = world.wall.highest - world.wall.off  # what was due before is due so much later
    for while_us in (2 * world.hazards.options.lease + set_back, 2 * world.hazards.options.lease):
        pause = world.now + while_us
        world.run(partial(_quiet_since, world, pause), world.now + HEALING_LIMIT)
        world.crash_all()
    known_dead = world.now + SILENCE + 2 * world.hazards.options.poll  # until then the new ones leave them a share
    world.run(lambda: world.now >= known_dead and _idle(world), _NEVER)


def _idle(world: World) -> bool:
    """Whether nobody has anything to do, nor will have. A lease from before the clock was set back may last longer
    than its owner has been silent; what is in a partition of nobody's, nobody has seen."""
    owned = {each for process in world.processes for each in process.worker.dispatcher.epochs}
    return len(owned) == PARTITIONS and not any(process.ready() for process in world.processes)


def _quiet_since(world: World, at: Timestamp) -> bool:
    return world.now >= at and not world.running


_NEVER = 2**62


@contextmanager
def _open(kind: StoreKind) -> Generator[Store, None, None]:
    if kind == "memory":
        yield MemoryStore()
        return
    parent = _MEMORY_DISK if _MEMORY_DISK.is_dir() else None
    with TemporaryDirectory(prefix="bide-", dir=parent) as folder:
        store = SqliteStore(Path(folder) / "hub.db")
        _now(store.open())
        try:
            yield store
        finally:
            _now(store.close())


def _now(code: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never has to wait."""
    try:
        code.send(None)
    except StopIteration:
        return
    raise AssertionError("a store without faults does not wait")


@contextmanager
def _quiet() -> Generator[None, None, None]:
    """Injected errors are no news: keep them out of the log. And collect garbage between runs, not within."""
    logger = logging.getLogger("bide")
    before, hook = logger.level, sys.unraisablehook
    logger.setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda unraisable: None  # rogues protest when a process that crashed is dropped
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        sys.unraisablehook = hook
        logger.setLevel(before)
