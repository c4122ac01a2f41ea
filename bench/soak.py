"""A steady load for minutes or hours: does memory, disk or latency grow?

    python bench/soak.py [--minutes 20] [--rate 6000] [--retention 60s] [--dir DIR] [--plot FILE.svg]

Phone verifications (bench/verify.py) in process, on SQLite with a sync for each commit, so many each second by the
clock and not by what the engine manages; those that are due while 2,000 are in flight come late, and it is said how
many. What has ended is deleted after the retention, so after the first of it memory and disk should stay where they
are. The load generator is in the same process: the memory is that of both. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import places
import svg
import verify

from bide import Client, Settings
from bide.engine.retention import SWEEP
from bide.model.clock import SECOND

BURST_S = 0.01
SAMPLE_S = 10.0
MOST_IN_FLIGHT = 2_000
FLAT = 0.03
"""What grows by a smaller share than this over the second half of the time is called flat."""


class Latencies:
    """Times by size, in buckets of two percent: hours of them in constant memory."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        self._counts[math.ceil(math.log(max(seconds, 1e-6)) * 50)] += 1

    def merge(self, other: Latencies) -> None:
        self._counts.update(other._counts)

    def quantile_ms(self, share: float) -> float:
        wanted, seen = share * self._counts.total(), 0
        for bucket, count in sorted(self._counts.items()):
            seen += count
            if seen >= wanted:
                return math.exp(bucket / 50) * 1e3
        return math.nan


@dataclass(frozen=True)
class Sample:
    """What was seen at the end of one interval."""

    at_s: float
    rate: float
    errors: int
    p50_ms: float
    p99_ms: float
    rss_mb: float
    database_mb: float
    wal_mb: float
    stored: int
    behind: int
    """Verifications that were due and not started yet."""

    @property
    def disk_mb(self) -> float:
        return self.database_mb + self.wal_mb

    def __str__(self) -> str:
        late = f"   {self.behind:,} starts behind the clock" if self.behind else ""
        return (
            f"{self.at_s / 60:6.1f} min {self.rate:8,.0f}/s {self.errors:4} failed   p50 {self.p50_ms:6.2f} "
            f"p99 {self.p99_ms:7.2f} ms   memory {self.rss_mb:6.1f} MB   database {self.database_mb:7.1f} MB   "
            f"wal {self.wal_mb:6.1f} MB   {self.stored:9,} stored{late}"
        )


class Load:
    """Verifications that begin by the clock, whether or not the earlier ones have ended."""

    def __init__(self, client: Client, rate: float) -> None:
        self.done = 0
        self.errors = 0
        self.behind = 0
        self.latencies = Latencies()
        """Since they were last taken."""
        self._client = client
        self._rate = rate
        self._started = 0
        self._stopping = False
        self._in_flight: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until `stop`, and then until all that were started have ended."""
        begun = time.perf_counter()
        while not self._stopping:
            due = int((time.perf_counter() - begun) * self._rate)
            while self._started < due and len(self._in_flight) < MOST_IN_FLIGHT:
                self._start()
            self.behind = due - self._started
            await asyncio.sleep(BURST_S - (time.perf_counter() - begun) % BURST_S)
        while self._in_flight:
            await asyncio.wait(self._in_flight)

    def stop(self) -> None:
        self._stopping = True

    def take_latencies(self) -> Latencies:
        taken, self.latencies = self.latencies, Latencies()
        return taken

    def _start(self) -> None:
        task = asyncio.create_task(self._one(f"+1425{self._started:07d}"))
        self._started += 1
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    async def _one(self, phone_number: str) -> None:
        try:
            self.latencies.add(await verify.one(self._client, phone_number, wait_until_asked=False))
        except Exception as error:
            self.errors += 1
            if self.errors <= 10:  # the first few tell what is wrong
                print(f"failed: {error!r}", file=sys.stderr)
        else:
            self.done += 1


class Observer:
    """Takes a sample every few seconds."""

    def __init__(self, load: Load, client: Client, path: Path) -> None:
        self.samples: list[Sample] = []
        self.latencies = Latencies()
        """Of all the time."""
        self._load = load
        self._client = client
        self._path = path
        self._begun = self._last = time.perf_counter()
        self._seen = (0, 0)

    async def run(self, samples: int) -> None:
        while len(self.samples) < samples:
            await asyncio.sleep(SAMPLE_S - (time.perf_counter() - self._begun) % SAMPLE_S)
            await self._sample()

    async def _sample(self) -> None:
        stored = sum((await self._client.counts()).values())
        load, now, latencies = self._load, time.perf_counter(), self._load.take_latencies()
        done, errors = self._seen
        self._seen = (load.done, load.errors)
        sample = Sample(
            now - self._begun,
            (load.done - done) / (now - self._last),
            load.errors - errors,
            latencies.quantile_ms(0.5),
            latencies.quantile_ms(0.99),
            rss_mb(),
            megabytes(self._path),
            megabytes(self._path.with_name(f"{self._path.name}-wal")),
            stored,
            load.behind,
        )
        self._last = now
        self.latencies.merge(latencies)
        self.samples.append(sample)
        print(sample, file=sys.stderr)


def rss_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("/proc/self/status does not say how much memory is used")


def megabytes(path: Path) -> float:
    try:
        return path.stat().st_size / 1e6
    except FileNotFoundError:
        return 0.0


async def soak(options: argparse.Namespace, path: Path) -> tuple[Load, Observer]:
    settings = Settings(db=str(path), retention_days=options.retention / timedelta(days=1))
    async with verify.app.running(settings) as client:
        load = Load(client, options.rate)
        observer = Observer(load, client, path)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.run())
            await observer.run(round(options.minutes * 60 / SAMPLE_S))
            load.stop()
        return load, observer


def growth(samples: Sequence[Sample], of: Callable[[Sample], float]) -> tuple[float, float]:
    """How fast something grows over the second half: per hour, and by which share of itself in all that time."""
    half = samples[len(samples) // 2 :]
    hours = [sample.at_s / 3600 for sample in half]
    values = [of(sample) for sample in half]
    slope = statistics.linear_regression(hours, values).slope
    return slope, slope * (hours[-1] - hours[0]) / statistics.mean(values)


def say(samples: Sequence[Sample], options: argparse.Namespace) -> dict[str, Any]:
    """A table of four moments, and what became of memory and disk. Returns these figures."""
    moments = [samples[len(samples) * quarter // 4 - 1] for quarter in (1, 2, 3, 4)]
    rows: dict[str, Callable[[Sample], float]] = {
        "verifications per second": lambda sample: sample.rate,
        "answer to done, p50, ms": lambda sample: sample.p50_ms,
        "answer to done, p99, ms": lambda sample: sample.p99_ms,
        "memory, MB": lambda sample: sample.rss_mb,
        "database and its log, MB": lambda sample: sample.disk_mb,
        "instances stored": lambda sample: sample.stored,
    }
    print(f"{'':<26}" + "".join(f"{f'{sample.at_s / 60:.1f} min':>12}" for sample in moments))
    for name, of in rows.items():
        print(f"{name:<26}" + "".join(f"{of(sample):>12,.1f}" for sample in moments))
    figures: dict[str, Any] = {}
    settled_s = options.retention.total_seconds() + SWEEP / SECOND
    long_enough = settled_s <= samples[len(samples) // 2].at_s
    for name, of in {"rss_mb": rows["memory, MB"], "disk_mb": rows["database and its log, MB"]}.items():
        slope, share = growth(samples, of)
        flat = share < FLAT if long_enough else None
        what = "memory" if name == "rss_mb" else "disk"
        word = {True: "flat", False: "GROWING", None: "too short to tell"}[flat]
        print(f"{what}: {word}, {share:+.1%} over the second half, which is {slope:+,.1f} MB per hour")
        figures |= {f"{name}_at_{part}": round(of(moments[part // 25 - 1]), 1) for part in (25, 50, 100)}
        figures |= {f"{name}_per_hour": round(slope, 1), f"{what}_flat": flat}
    if not long_enough:
        print(f"The first that ended may stay for {settled_s:.0f} s: try twice as many minutes, or more.")
    return figures


def span(text: str) -> timedelta:
    units = {"s": "seconds", "m": "minutes", "h": "hours"}
    try:
        return timedelta(**{units[text[-1:]]: float(text[:-1])})
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r} is no span: try 60s, 5m or 1h") from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--rate", type=float, default=6_000, help="verifications that begin each second")
    parser.add_argument("--retention", type=span, default=span("60s"), help="how long what has ended is kept")
    parser.add_argument("--dir", type=places.made, default=None, help="where the database goes (a real disk)")
    parser.add_argument("--plot", type=Path, default=None, help="where the picture goes")
    options = parser.parse_args()
    if options.minutes < 1:
        parser.error("--minutes must be at least 1")
    if options.rate <= 0 or not options.retention:
        parser.error("--rate and --retention must be more than nothing")
    with tempfile.TemporaryDirectory(dir=options.dir) as directory:
        (load, observer), loop_name = verify.run(soak(options, Path(directory) / "soak.db"))
    samples = observer.samples
    figures = say(samples, options)
    rate = load.done / samples[-1].at_s
    most_behind = max(sample.behind for sample in samples)
    if most_behind:
        print(f"The rate was not always kept: up to {most_behind:,} starts were behind the clock.")
    if options.plot:
        curves: dict[tuple[str, str], Callable[[Sample], float]] = {
            ("Verifications", "per second"): lambda sample: sample.rate,
            ("Memory", "MB"): lambda sample: sample.rss_mb,
            ("Database and its log", "MB"): lambda sample: sample.disk_mb,
        }
        drawn = [svg.Panel(*of, [(s.at_s / 60, value(s)) for s in samples]) for of, value in curves.items()]
        options.plot.write_text(svg.panels(f"{options.minutes:g} minutes of a steady load", drawn))
    facts = {"minutes": options.minutes, "retention_s": options.retention.total_seconds()}
    facts |= {"rate_wanted": options.rate, "rate": round(rate, 1), "done": load.done, "errors": load.errors}
    facts |= {"starts_behind_max": most_behind, **figures}
    facts |= {f"p{p}_ms": round(observer.latencies.quantile_ms(p / 100), 2) for p in (50, 99)}
    print(json.dumps({**facts, "loop": loop_name, "cpus": os.cpu_count()}))


if __name__ == "__main__":
    main()
