"""What else an engine does all day, in process, on SQLite with a sync for each commit.

    python bench/workloads.py [hello] [fan] [history] [events] [timers] [--in-flight 1 100 1000] [--runs 3]

* hello: three activities in sequence, so many instances at once
* fan: 1,000 activities at once in one instance
* history: one instance that calls one activity after another, by how many
* events: one instance that receives events, by how many
* timers: 100,000 timers due within one second; how late what they caused was durable

Medians of the runs. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import places
from verify import run

from bide import App, Client, OrchestrationContext, RuntimeStatus, Settings, when_all
from bide.model.clock import SECOND

app = App()


@app.activity
async def say_hello(name: str) -> str:
    return f"Hello {name}!"


@app.orchestrator
async def hello(ctx: OrchestrationContext) -> list[str]:
    return [await ctx.call_activity(say_hello, name) for name in ("Tokyo", "Seattle", "London")]


@app.orchestrator
async def fan(ctx: OrchestrationContext, count: int) -> int:
    return len(await when_all(*[ctx.call_activity(say_hello, str(number)) for number in range(count)]))


@app.orchestrator
async def history(ctx: OrchestrationContext, count: int) -> None:
    for _ in range(count):
        await ctx.call_activity(say_hello, "you")


@app.orchestrator
async def events(ctx: OrchestrationContext, count: int) -> None:
    for _ in range(count):
        await ctx.wait_for_external_event("Number", int)


@app.orchestrator
async def timer(ctx: OrchestrationContext, due: datetime) -> None:
    await ctx.create_timer(due)


Figures = dict[str, float]


async def measure_hello(client: Client, options: argparse.Namespace) -> Figures:
    figures: Figures = {}
    for in_flight in options.in_flight:
        n = options.n if in_flight > 1 else options.n // 10
        numbers, latencies = iter(range(n)), list[float]()

        async def user(numbers: Any = numbers, latencies: list[float] = latencies) -> None:
            for _ in numbers:
                begun = time.perf_counter()
                await client.wait(await client.start(hello))
                latencies.append(time.perf_counter() - begun)

        begun, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(user() for _ in range(in_flight)))
        took, cpu = time.perf_counter() - begun, time.process_time() - cpu
        latencies.sort()
        figures |= {
            f"hello_{in_flight}_per_s": n / took,
            f"hello_{in_flight}_cpu_us": cpu / n * 1e6,
            **{f"hello_{in_flight}_p{p}_ms": latencies[n * p // 100] * 1e3 for p in (50, 95, 99)},
        }
    return figures


async def measure_fan(client: Client, options: argparse.Namespace) -> Figures:
    spans: list[float] = []
    for _ in range(5):
        begun = time.perf_counter()
        await client.wait(await client.start(fan, 1000))
        spans.append(time.perf_counter() - begun)
    return {"fan_1000_ms": statistics.median(spans) * 1e3}


async def measure_history(client: Client, options: argparse.Namespace) -> Figures:
    figures: Figures = {}
    for count in (100, 1_000, 10_000):
        begun = time.perf_counter()
        await client.wait(await client.start(history, count))
        figures[f"history_{count}_us_each"] = (time.perf_counter() - begun) / count * 1e6
    return figures


async def measure_events(client: Client, options: argparse.Namespace) -> Figures:
    figures: Figures = {}
    for count in (100, 1_000, 10_000):
        instance_id = await client.start(events, count)
        begun = time.perf_counter()
        for first in range(0, count, 100):
            await asyncio.gather(*(client.raise_event(instance_id, "Number", first + i) for i in range(100)))
        await client.wait(instance_id)
        figures[f"events_{count}_us_each"] = (time.perf_counter() - begun) / count * 1e6
    return figures


async def measure_timers(client: Client, options: argparse.Namespace) -> Figures:
    n = options.timers
    first = datetime.now(UTC) + timedelta(seconds=10 + n / 5_000)
    for start in range(0, n, 1_000):
        dues = [first + timedelta(seconds=number / n) for number in range(start, min(n, start + 1_000))]
        await asyncio.gather(*(client.start(timer, due) for due in dues))
    left = first - datetime.now(UTC)
    if left < timedelta(0):
        sys.exit("The first timers were due before all were set: this machine needs a smaller --timers.")
    await asyncio.sleep(left.total_seconds())
    while (await client.counts()).get(RuntimeStatus.RUNNING):  # noqa: ASYNC110 - asks the database
        await asyncio.sleep(0.2)
    lateness = client.metrics.timer_lateness.total
    assert lateness.count == n, f"{lateness.count} of {n} fired"
    return {f"timers_late_p{p}_s": (lateness.quantile(p / 100) or 0) / SECOND for p in (50, 99)}


WORKLOADS: dict[str, Callable[[Client, argparse.Namespace], Awaitable[Figures]]] = {
    "hello": measure_hello,
    "fan": measure_fan,
    "history": measure_history,
    "events": measure_events,
    "timers": measure_timers,
}


async def once(name: str, options: argparse.Namespace) -> Figures:
    with tempfile.TemporaryDirectory(dir=options.dir) as directory:
        async with app.running(Settings(db=str(Path(directory) / "bench.db"))) as client:
            return await WORKLOADS[name](client, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", help="all, if none is named")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 100, 1000], help="for hello")
    parser.add_argument("--n", type=int, default=10_000, help="instances for hello")
    parser.add_argument("--timers", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dir", type=places.made, default=None, help="where the database goes (a real disk)")
    options = parser.parse_args()
    unknown = set(options.workloads) - WORKLOADS.keys()
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(WORKLOADS)}")
    found: dict[str, list[float]] = {}
    loop_name = ""
    for name in options.workloads or WORKLOADS:
        for number in range(options.runs):
            print(f"{name}, run {number + 1} of {options.runs}", file=sys.stderr)
            figures, loop_name = run(once(name, options))
            for figure, value in figures.items():
                found.setdefault(figure, []).append(value)
    medians = {figure: round(statistics.median(values), 2) for figure, values in found.items()}
    for figure, value in medians.items():
        print(f"{figure:<24}{value:12,.2f}   {min(found[figure]):,.2f} to {max(found[figure]):,.2f}")
    facts = {"sqlite": sqlite3.sqlite_version, "python": platform.python_version(), "loop": loop_name}
    print(json.dumps({**medians, "runs": options.runs, "synchronous": "full", **facts, "cpus": os.cpu_count()}))


if __name__ == "__main__":
    main()
