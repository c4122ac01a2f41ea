"""Runs simulations from the command line. The last line of many seeds is one JSON object."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable

from bide.model.clock import SECOND, SystemClock
from simulation import PROMISES, Report, StoreKind, simulate, summary
from simulation.pool import simulate_all
from simulation.report import Summary


def main() -> int:
    arguments = _arguments()
    if arguments.seed is not None:
        return _one(arguments.seed, arguments.store or "memory", arguments.trace)
    return _many(range(arguments.first, arguments.first + arguments.seeds), arguments.store, arguments.jobs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one seed, and show how it went")
    parser.add_argument("--trace", action="store_true", help="with --seed: the whole trace")
    parser.add_argument("--seeds", type=int, default=2000, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--store", choices=["memory", "sqlite"], help="by default, a mixture")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    return parser.parse_args()


def _one(seed: int, store: StoreKind, whole: bool) -> int:
    report = simulate(seed, store)
    _say("\n".join(report.trace) if whole else report.describe())
    _say(json.dumps({**summary([report]), "fingerprint": report.fingerprint}))
    return 1 if report.violations else 0


def _many(seeds: range, store: StoreKind | None, jobs: int) -> int:
    clock = SystemClock()
    began = clock.now()
    reports: list[Report] = []
    for report in simulate_all(seeds, store, jobs):
        reports.append(report)
        if report.violations:
            _say(report.describe())
        if len(reports) % 200 == 0:
            _say(f"{len(reports)} of {len(seeds)} seeds, {(clock.now() - began) / SECOND:.1f} s")
    figures = summary(reports)
    _say(_table(figures))
    _say(json.dumps({**figures, "seconds": round((clock.now() - began) / SECOND, 1)}))
    return 1 if figures["failed"] else 0


def _table(figures: Summary) -> str:
    checks, violations = figures["checks"], figures["violations"]
    lines = [f"{'':8}{'checks':>12}{'violations':>12}"]
    lines += [f"{name:8}{checks[name]:12,}{violations[name]:12,}  {text}" for name, text in PROMISES.items()]
    lines.append(", ".join(f"{count:,} {what}" for what, count in _shown(figures["counts"].items())))
    return "\n".join(lines)


def _shown(counts: Iterable[tuple[str, int]]) -> Iterable[tuple[str, int]]:
    return sorted(counts, key=lambda item: -item[1])


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
