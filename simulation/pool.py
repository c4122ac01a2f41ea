"""Many simulated runs, in several processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from multiprocessing import get_context

from simulation import Report, StoreKind, simulate

_SQLITE_EVERY = 7  # one seed in seven runs on SQLite: real SQL takes twice the time


def simulate_all(seeds: Sequence[int], store: StoreKind | None = None, jobs: int = 2) -> Iterator[Report]:
    """The reports of these seeds, in order; without `store`, on a mixture of stores."""
    runs: list[tuple[int, StoreKind]] = [(seed, store or _store_of(seed)) for seed in seeds]
    if jobs < 2:
        yield from map(_task, runs)
        return
    with get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(_task, runs, chunksize=10)


def _task(run: tuple[int, StoreKind]) -> Report:
    report = simulate(*run)
    if not report.violations:
        report.trace.clear()  # only a failure's trace is worth sending
    return report


def _store_of(seed: int) -> StoreKind:
    return "sqlite" if seed % _SQLITE_EVERY == 0 else "memory"
