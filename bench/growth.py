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
import os
import statistics
import tempfile
import time
from pathlib import Path

import svg
import verify
from msgspec import Raw

from bide import App, Client, OrchestrationContext, Settings
from bide.model.batch import Batch, HistoryRow, Timer
from bide.model.clock import SECOND, SystemClock
from bide.model.instance import PARTITIONS, Instance, RuntimeStatus, Wait
from bide.store.sqlite.store import SqliteStore

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
            batch.waits.open((name, 1), Wait(name, 1, "Answer", now, due, Raw(b'{"type":"string"}')))
            timer = Timer(name, 0, 2, due)
            batch.timers.open(timer.key, timer)
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
            "growth-waiting": svg.curve("A verification, by instances that wait beside it", "µs", costs),
            "growth-history": svg.curve("A step, by facts in its history", "µs", paces),
        }
        for name, picture in pictures.items():
            (options.plots / f"{name}.svg").write_text(picture)
    figures = {"verify_us": costs, "answer_to_done_ms": latencies, "step_us": paces}
    rounded = {name: {n: round(value, 2) for n, value in points.items()} for name, points in figures.items()}
    print(json.dumps({**rounded, "loop": loop_name, "cpus": os.cpu_count()}))


if __name__ == "__main__":
    main()
