"""Signs of life: they never hold up the engine, and never fill the log."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bide import App, OrchestrationContext, Settings, SystemClock
from bide.core.registry import Registry
from bide.engine.code_version import code_version
from bide.engine.heartbeat import Heartbeat, presence_of
from bide.model.instance import PARTITIONS
from bide.model.presence import SILENCE, Presence
from bide.running import run
from bide.store.memory import MemoryStore
from bide.store.sqlite.store import SqliteStore
from bide.testing.faults import FaultyStore, Moment


class Broken:
    """Implements `Faults`: nothing can be announced."""

    def pause(self, verb: str, moment: Moment) -> bool:
        return False

    def error(self, verb: str, moment: Moment) -> Exception | None:
        return OSError("the disk is full") if (verb, moment) == ("announce", "before") else None


def same(presence: Presence) -> Presence:
    return presence


def test_a_store_that_fails_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        clock = SystemClock()
        heart = Heartbeat(
            FaultyStore(MemoryStore(), Broken()), clock, presence_of("w", Registry(), "v1", clock), same
        )
        await heart.end()
        await heart.end()

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert [record.getMessage() for record in caplog.records] == [
        "The worker could not say that it is alive: the disk is full"
    ]


def test_a_worker_is_alive_until_it_ends_or_falls_silent() -> None:
    clock = SystemClock()
    presence = presence_of("w", Registry(), "v1", clock)
    assert presence.alive(presence.seen_at + SILENCE - 1)
    assert not presence.alive(presence.seen_at + SILENCE)

    async def main() -> Presence:
        store = MemoryStore()
        await Heartbeat(store, clock, presence, same).end()
        (kept,) = await store.workers()
        return kept

    assert not asyncio.run(main()).alive(presence.seen_at)


def test_a_worker_that_was_killed_keeps_no_part_of_a_file_from_the_next(tmp_path: Path) -> None:
    settings = Settings(db=str(tmp_path / "hub.db"))
    app = App()

    @app.orchestrator
    async def nothing(ctx: OrchestrationContext) -> None:
        pass

    async def main() -> int:
        store = SqliteStore(Path(settings.db))
        await store.open()
        await store.announce(presence_of("killed a moment ago", Registry(), "v1", SystemClock()))
        await store.close()
        async with run(app, settings, SystemClock()) as hub:
            await hub.client.start("nothing")
            return len(hub.worker.dispatcher.epochs)

    assert asyncio.run(main()) == PARTITIONS


def test_other_code_is_another_version(tmp_path: Path) -> None:
    versions = set[str]()
    for text in ("def work(): return 1", "def work(): return 2", "def work(): return 1"):
        (tmp_path / "code.py").write_text(text)
        made: dict[str, Any] = {}
        exec(compile(text, str(tmp_path / "code.py"), "exec"), made)
        versions.add(version_of(made["work"]))
    assert len(versions) == 2
    exec("def typed_in(): return 1", made)
    exec("def typed_in_too(): return 1", made)
    assert len(versions | {version_of(made["typed_in"]), version_of(made["typed_in_too"])}) == 4


def test_other_code_in_a_module_beside_is_another_version(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def work(): return 1")
    made: dict[str, Any] = {}
    exec(compile("def work(): return 1", str(tmp_path / "app.py"), "exec"), made)
    (tmp_path / "parts").mkdir()
    beside = tmp_path / "parts" / "beside_the_app.py"
    sys.modules["beside_the_app"] = module = ModuleType("beside_the_app")
    module.__file__ = str(beside)
    versions = set[str]()
    try:
        for text in ("one", "two", "one"):
            beside.write_text(text)
            versions.add(version_of(made["work"]))
    finally:
        del sys.modules["beside_the_app"]
    assert len(versions) == 2


def version_of(function: Callable[..., Any]) -> str:
    app = App()
    app.activity(function)
    return code_version(app.registry)
