"""A hub, and many cases of what can be handed in to it.

    python -m tests.bulkheads.many --cases 100000
    python -m tests.bulkheads.many --cases 100000 --db postgresql://...

By hand; `test_many.py` plays some with every run of the tests. It goes on after a failure, and tells each kind
once.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.bulkheads.doors import Batch, World, batches
from tests.bulkheads.hub import BLAMES_THE_STORE

QUIET = settings(
    deadline=None,
    database=None,
    print_blob=False,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)
_AT_ONCE = 200
"""So many batches have one database, and one start of chance."""


class Listener(logging.Handler):
    """What the log says of the store."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.blamed: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if any(words in said for words in BLAMES_THE_STORE):
            self.blamed.append(said)


def play(
    world: World, examples: int, see: Callable[[Batch, list[BaseException]], None], with_seed: int | None = None
) -> None:
    """Play so many batches. `see` is told what was wrong with each."""
    log = Listener()

    def one(batch: Batch) -> None:
        wrong = batch.play(world)
        if log.blamed:
            wrong.append(AssertionError(f"The log blames the store: {log.blamed}"))
            log.blamed = []
        see(batch, wrong)

    logger = logging.getLogger("bide")
    logger.addHandler(log)
    try:
        many = settings(QUIET, max_examples=examples, derandomize=with_seed is None)(given(batches())(one))
        (many if with_seed is None else seed(with_seed)(many))()
    finally:
        logger.removeHandler(log)


class Tally:
    """What was wrong so far, by its kind."""

    def __init__(self, *, traces: bool) -> None:
        self.played = 0
        self.found: dict[str, int] = {}
        self._traces = traces

    def see(self, batch: Batch, wrong: list[BaseException]) -> None:
        self.played += len(batch.cases)
        for error in wrong:
            self.note(error, batch)

    def note(self, error: BaseException, batch: object = None) -> None:
        kind = _kind_of(error)
        self.found[kind] = self.found.get(kind, 0) + 1
        if self.found[kind] > 1:
            return
        said = f"{error}" if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}\n{batch}"
        print(f"--- {said[:2000]}", flush=True)
        if self._traces:
            traceback.print_exception(error)


def _kind_of(error: BaseException) -> str:
    """The door and the error, without what was handed in."""
    return re.sub(r": .*: not documented: (\w*).*", r" \1", f"{type(error).__name__} {error}", flags=re.S)[:60]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--db", default="", help="a database on a server; else a file that is deleted afterwards")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--traces", action="store_true")
    arguments = parser.parse_args()
    logging.getLogger("bide").setLevel(logging.INFO)
    logging.getLogger("bide").propagate = False
    tally, with_seed, begun = Tally(traces=arguments.traces), arguments.seed, time.monotonic()
    while tally.played < arguments.cases:
        with tempfile.TemporaryDirectory() as directory:
            try:
                with World(arguments.db or str(Path(directory, "hub.db"))) as world:
                    play(world, _AT_ONCE, tally.see, with_seed)
            except Exception as error:
                tally.note(error)
        with_seed += 1
        if with_seed % 10 == 0:
            print(f"{tally.played} cases, {time.monotonic() - begun:.0f} s, {tally.found}", flush=True)
    print(f"{tally.played} cases, {time.monotonic() - begun:.0f} s, {tally.found}")
    return 1 if tally.found else 0


if __name__ == "__main__":
    sys.exit(main())
