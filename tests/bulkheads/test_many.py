"""Some of the cases that `python -m tests.bulkheads.many` plays by the hundred thousand; the same each time."""

from __future__ import annotations

from pathlib import Path

from tests.bulkheads.doors import Batch, World
from tests.bulkheads.many import play

_BATCHES = 45


def play_some(db: str) -> None:
    """Play some cases. Whatever is wrong is raised, with the smallest example that shows it."""

    def see(batch: Batch, wrong: list[BaseException]) -> None:
        for error in wrong:
            raise error

    with World(db) as world:
        play(world, _BATCHES, see)


def test_whatever_is_handed_in_harms_nobody_else(tmp_path: Path) -> None:
    play_some(str(tmp_path / "hub.db"))
