"""Phone verification in process: start, SMS activity, timer, answer, completed. SQLite, synchronous=FULL.

    python bench/verify.py [--n 20000] [--in-flight 100] [--runs 3] [--dir DIR] [--profile] [--writer-thread]

Every figure is the median over the runs. `verify_per_s` is the rate at `--in-flight`; `answer_to_done_p50_ms` the
time from raising the answer, with one verification in flight and its wait open, until the client knows that the
completion is durable. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import platform
import pstats
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import places

from bide import App, Client, OrchestrationContext, SystemClock, current_call, when_any
from bide.core.replay import Executions
from bide.engine.activities import ActivityRunner
from bide.engine.memory import search_less_often
from bide.engine.worker import Worker
from bide.model.links import SignedLinks
from bide.model.metrics import Metrics
from bide.model.sealing import SealingKeys
from bide.store.sqlite.store import SqliteStore

SEALER = SealingKeys([bytes(32)])

app = App()
phones: dict[str, asyncio.Future[str]] = {}


@app.activity
async def send_sms_challenge(phone_number: str) -> str:
    call = current_call()
    code = f"{int.from_bytes(call.derive('code')[:8]) % 10_000:04d}"
    phones.pop(phone_number).set_result(code)
    return code


@app.orchestrator
async def verify(ctx: OrchestrationContext, phone_number: str) -> bool:
    code = await ctx.call_activity(send_sms_challenge, phone_number)
    deadline = ctx.create_timer(timedelta(seconds=90))
    for _ in range(4):
        answer = ctx.wait_for_external_event("SmsChallengeResponse", str)
        if await when_any(answer, deadline) is deadline:
            return False
        if answer.result == code:
            deadline.cancel()
            return True
    return False


async def one(client: Client, phone_number: str, wait_until_asked: bool) -> float:
    """One verification; returns the seconds from the answer to its completion."""
    received = phones[phone_number] = asyncio.get_running_loop().create_future()
    instance_id = await client.start(verify, phone_number)
    code = await received
    while wait_until_asked and not await client.waits(instance_id):  # noqa: ASYNC110 - asks the database
        await asyncio.sleep(0)
    answered = time.perf_counter()
    await client.raise_event(instance_id, "SmsChallengeResponse", code)
    instance = await client.wait(instance_id)
    done = time.perf_counter()
    assert instance.output is True, instance
    return done - answered


async def load(client: Client, n: int, in_flight: int) -> tuple[float, list[float]]:
    """Run `n` verifications; returns their rate per second, and the latencies."""
    numbers = iter(range(n))
    latencies: list[float] = []

    async def user() -> None:
        for number in numbers:
            latencies.append(await one(client, f"+1425{number:07d}", wait_until_asked=in_flight == 1))

    begun = time.perf_counter()
    await asyncio.gather(*(user() for _ in range(in_flight)))
    return n / (time.perf_counter() - begun), latencies


async def measure(options: argparse.Namespace, directory: Path) -> tuple[float, float, float]:
    """One run over a new database: rate, p50 at one in flight (ms), CPU per verification (µs)."""
    search_less_often()  # as App.running does
    store = SqliteStore(directory / "bench.db", writer_thread=options.writer_thread)
    await store.open()
    clock = SystemClock()
    metrics = Metrics(clock.now())
    runner = ActivityRunner(app.registry, b"bench" * 8, SEALER, clock, metrics)
    executions = Executions(app.registry, SignedLinks(bytes(32), ""), SEALER)
    worker = Worker(store, executions, clock, runner, "bench", SEALER, metrics)
    client = Client(worker, store, app.registry, clock)
    turning = asyncio.create_task(worker.run())
    await load(client, max(200, options.n // 20), options.in_flight)  # warm up
    cpu = time.process_time()
    rate, _ = await load(client, options.n, options.in_flight)
    cpu = (time.process_time() - cpu) / options.n
    _, latencies = await load(client, max(200, options.n // 20), 1)
    worker.stop()
    await turning
    await store.close()
    return rate, statistics.median(latencies) * 1e3, cpu * 1e6


def run(main: Coroutine[Any, Any, Any]) -> tuple[Any, str]:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main), "asyncio"
    return uvloop.run(main), "uvloop"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=20_000, help="verifications in a run")
    parser.add_argument("--in-flight", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dir", type=places.made, default=None, help="where the database goes (a real disk)")
    parser.add_argument("--profile", action="store_true", help="show the profile's top ten, of one run")
    parser.add_argument("--writer-thread", action="store_true", help="commit in a thread of its own")
    options = parser.parse_args()

    profile = cProfile.Profile() if options.profile else None
    results: list[tuple[float, float, float]] = []
    loop_name = ""
    for number in range(1 if profile else options.runs):
        with tempfile.TemporaryDirectory(dir=options.dir) as directory:
            if profile:
                profile.enable()
            result, loop_name = run(measure(options, Path(directory)))
            if profile:
                profile.disable()
        results.append(result)
        print(
            f"run {number + 1}: {result[0]:,.0f} verifications/s, answer to done {result[1]:.2f} ms",
            file=sys.stderr,
        )
    if profile:
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(10)
    rates, p50s, cpus = zip(*results, strict=True)
    print(
        json.dumps(
            {
                "verify_per_s": round(statistics.median(rates)),
                "answer_to_done_p50_ms": round(statistics.median(p50s), 3),
                "cpu_us_per_verify": round(statistics.median(cpus), 1),
                "in_flight": options.in_flight,
                "n": options.n,
                "runs": len(results),
                "store": "sqlite",
                "journal_mode": "wal",
                "synchronous": "full",
                "commit": "writer thread" if options.writer_thread else "inline",
                "sqlite": sqlite3.sqlite_version,
                "python": platform.python_version(),
                "loop": loop_name,
            }
        )
    )


if __name__ == "__main__":
    main()
