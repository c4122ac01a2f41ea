"""What a verification costs beside ever more waiting instances, and a step behind an ever longer history.

    python bench/growth.py [--large] [--plots docs/pictures]

Waiting: a database is filled with 10^3 to 10^5 instances that wait (10^6 with --large), then verifications run
beside them. History: one instance calls one activity after another; the last thousand steps before 10^2 to 10^5
facts are timed. Flat lines are what is wanted. The last line is one JSON object; with --plots, two SVG pictures are
drawn.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from pathlib import Path

import verify
from msgspec import Raw

from holdfast import App, Client, OrchestrationContext, Settings
from holdfast.batch import Batch, HistoryRow, Timer
from holdfast.clock import SECOND, SystemClock
from holdfast.instance import PARTITIONS, Instance, RuntimeStatus, Wait
from holdfast.store.sqlite import SqliteStore

app = App()
STEPS = (50, 500, 5_000, 50_000)
"""Two facts each."""

marks: dict[int, float] = {}


@app.activity
async def note(number: int) -> None:
    marks[number] = time.perf_counter()


@app.orchestrator
async def long(ctx: OrchestrationContext, count: int) -> None:
    for number in range(count):
        await ctx.call_activity(note, number)


async def fill(path: Path, n: int) -> None:
    """Instances that wait for a day."""
    store, now = SqliteStore(path), SystemClock().now()
    await store.open()
    epochs = await store.acquire("bench", 0, 2**60, PARTITIONS)
    due = now + 86_400 * SECOND
    for start in range(0, n, 5_000):
        batch = Batch(now, epochs=epochs)
        for number in range(start, min(n, start + 5_000)):
            name = f"{number:032x}"
            batch.instances[name] = Instance(name, "other", RuntimeStatus.RUNNING, now, now, Raw(b'"+1425"'))
            batch.history.append(HistoryRow(name, 0, 0, now, b'[{"type":"ExecutionStarted","name":"other"}]'))
            batch.waits[name, 1] = Wait(name, 1, "Answer", now, due, Raw(b'{"type":"string"}'))
            timer = Timer(name, 0, 2, due)
            batch.timers[timer.key] = timer
        await store.commit(batch)
    await store.release("bench", epochs)
    await store.close()


async def beside(n: int, verifications: int) -> tuple[float, float]:
    """µs for a verification at 100 in flight, and ms from an answer to its end at one."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "bench.db"
        await fill(path, n)
        async with verify.app.running(Settings(db=str(path))) as client:
            await verify.load(client, 1_000, 100)  # warm up
            rate, _ = await verify.load(client, verifications, 100)
            _, latencies = await verify.load(client, 300, 1)
            return 1e6 / rate, statistics.median(latencies) * 1e3


async def along() -> dict[int, float]:
    """Facts in the history -> µs for one more step, measured over the steps just before."""
    with tempfile.TemporaryDirectory() as directory:
        async with app.running(Settings(db=str(Path(directory) / "bench.db"))) as client:
            await run_long(client)
    return {2 * steps: _pace(steps) for steps in STEPS}


async def run_long(client: Client) -> None:
    await client.wait(await client.start(long, max(STEPS)))


def _pace(steps: int) -> float:
    first = max(0, steps - 1_000)
    return (marks[steps - 1] - marks[first]) / (steps - 1 - first) * 1e6


def plot(title: str, unit: str, points: dict[int, float]) -> str:
    """A line over a logarithmic axis, in the colours that the reader's browser prefers."""
    width, height, left, low = 560, 240, 56, 190
    most = max(points.values()) * 1.25
    first, last = math.log10(min(points)), math.log10(max(points))
    at = {
        n: (left + (math.log10(n) - first) / (last - first) * (width - left - 30), low - value / most * 140)
        for n, value in points.items()
    }
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/><text x="{x:.1f}" y="{y - 10:.1f}">{points[n]:.3g}</text>'
        f'<text class="axis" x="{x:.1f}" y="{low + 20}">10{_raised(round(math.log10(n)))}</text>'
        for n, (x, y) in at.items()
    )
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in at.values())
    spoken = "; ".join(f"{n:,}: {value:.3g} {unit}" for n, value in points.items())
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"
  height="{height}" role="img" aria-label="{title}: {spoken}">
<style>
text {{ font: 12px system-ui, sans-serif; text-anchor: middle; fill: #1b2430 }}
.title {{ font-weight: 600; text-anchor: start }} .axis {{ fill: #5b6675 }}
polyline {{ fill: none; stroke: #3b4cca; stroke-width: 2 }} circle {{ fill: #3b4cca }} .base {{ stroke: #c7ced8 }}
@media (prefers-color-scheme: dark) {{
  text {{ fill: #e8ecf2 }} .axis {{ fill: #9aa5b4 }} polyline {{ stroke: #9db0ff }} circle {{ fill: #9db0ff }}
  .base {{ stroke: #3a4450 }}
}}
</style>
<text class="title" x="16" y="22">{title} ({unit})</text>
<line class="base" x1="{left - 20}" x2="{width - 10}" y1="{low}" y2="{low}"/>
<polyline points="{line}"/>{dots}
</svg>
"""


def _raised(power: int) -> str:
    return "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(power))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="up to a million waiting instances")
    parser.add_argument("--n", type=int, default=10_000, help="verifications beside them")
    parser.add_argument("--plots", type=Path, default=None, help="where the pictures go")
    options = parser.parse_args()
    costs: dict[int, float] = {}
    latencies: dict[int, float] = {}
    for waiting in (1_000, 10_000, 100_000, *([1_000_000] if options.large else [])):
        (costs[waiting], latencies[waiting]), loop_name = verify.run(beside(waiting, options.n))
        print(f"{waiting:>9,} waiting   {costs[waiting]:7.1f} µs each   {latencies[waiting]:.2f} ms to the end")
    paces, loop_name = verify.run(along())
    for facts, pace in paces.items():
        print(f"{facts:>9,} facts     {pace:7.1f} µs a step")
    if options.plots:
        pictures = {
            "growth-waiting": plot("A verification, by instances that wait beside it", "µs", costs),
            "growth-history": plot("A step, by facts in its history", "µs", paces),
        }
        for name, picture in pictures.items():
            (options.plots / f"{name}.svg").write_text(picture)
    figures = {"verify_us": costs, "answer_to_done_ms": latencies, "step_us": paces}
    rounded = {name: {n: round(value, 2) for n, value in points.items()} for name, points in figures.items()}
    print(json.dumps({**rounded, "loop": loop_name, "cpus": os.cpu_count()}))


if __name__ == "__main__":
    main()
