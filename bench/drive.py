"""One measurement of one engine, in this process: what `make bench` runs for each engine, in turns.

    python bench/drive.py ENGINE[:SETTING] verify|hello [--in-flight 100] [--seconds 5]
    python bench/drive.py ENGINE[:SETTING] fan [--width 1000]
    python bench/drive.py ENGINE[:SETTING] history|events|timers
    python bench/drive.py ENGINE[:SETTING] waiting|resume [--n 10000] --dir DIR

verify: start, an activity that sends a code, a timer of 90 s, the answer, completed. hello: three activities in
sequence. Both at a steady number in flight; what completes within the window counts, and the window is prolonged
until 30 have (or a minute is over). fan: activities at once in one instance. history: one instance calls 100 and
1,000 activities, one after the other. events: one instance takes 100 and 1,000 events, a hundred sent at once.
timers: 1,000 instances whose timers are due within one second; how late an activity behind each runs. waiting: N
instances wait for an event; then the engine is killed. resume: it is started again on the same files, and all are
answered.

Latency is from the answer (verify) or the start (hello) until the client knows of the end. CPU is that of all of
the engine's processes, the driver's share included. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import places
from engines import CITIES, PHONE, Engine, Outbox, cpu_seconds, memory_bytes

WORKLOADS = ("verify", "hello", "fan", "history", "events", "timers", "waiting", "resume")
Figures = dict[str, float]
Job = Callable[[str], Awaitable[float]]
ENOUGH, PATIENCE_S = 30, 60
LENGTHS = (100, 1_000)
TIMERS, TIME_TO_START_S = 1_000, 15


def verify(engine: Engine, outbox: Outbox) -> Job:
    async def job(key: str) -> float:
        sent = outbox.expect(key)
        handle = await engine.start_verify(key, PHONE)
        code = await sent
        answered = time.perf_counter()
        await engine.answer(key, code)
        assert await engine.result(handle)
        return time.perf_counter() - answered

    return job


def hello(engine: Engine, outbox: Outbox) -> Job:
    async def job(key: str) -> float:
        begun = time.perf_counter()
        assert len(await engine.hello(key)) == len(CITIES)
        return time.perf_counter() - begun

    return job


async def steadily(engine: Engine, job: Job, options: argparse.Namespace) -> Figures:
    """A closed loop: each of so many users begins anew when done; the window's ends cut nothing short."""
    latencies: list[float] = []
    numbers = iter(range(10**9))

    async def user() -> None:
        for number in numbers:
            latencies.append(await job(f"item-{number:09}"))

    users = [asyncio.create_task(user()) for _ in range(options.in_flight)]
    await window(users, latencies, options.seconds / 3)  # warm up
    latencies.clear()
    cpu, disk = cpu_seconds(engine.processes()), engine.disk_bytes()
    took = await window(users, latencies, options.seconds)
    done = sorted(latencies)
    cpu, disk = cpu_seconds(engine.processes()) - cpu, engine.disk_bytes() - disk
    for task in users:
        task.cancel()
    if not done:
        raise SystemExit(f"Nothing completed within {took:.0f} s.")
    return {
        "per_s": len(done) / took,
        "cpu_us": cpu / len(done) * 1e6,
        "disk_bytes": disk / len(done),
        "completed": len(done),
        **{f"p{p}_ms": done[len(done) * p // 100] * 1e3 for p in (50, 95, 99)},
    }


async def window(users: list[asyncio.Task[None]], latencies: list[float], seconds: float) -> float:
    begun = time.perf_counter()
    while (took := time.perf_counter() - begun) < seconds or (len(latencies) < ENOUGH and took < PATIENCE_S):
        done, _ = await asyncio.wait(users, timeout=min(0.05, seconds - took) if took < seconds else 0.05)
        for task in done:
            task.result()
    return took


async def fan(engine: Engine, options: argparse.Namespace) -> Figures:
    await engine.fan("warm-up", 10)
    begun = time.perf_counter()
    assert await engine.fan("fan", options.width) == sum(range(options.width))
    return {"ms": (time.perf_counter() - begun) * 1e3}


async def history(engine: Engine, options: argparse.Namespace) -> Figures:
    await engine.history("warm-up", 10)
    figures: Figures = {}
    for steps in LENGTHS:
        begun = time.perf_counter()
        assert await engine.history(f"history-{steps}", steps) == steps
        figures[f"us_{steps}"] = (time.perf_counter() - begun) / steps * 1e6
    return figures


async def events(engine: Engine, options: argparse.Namespace) -> Figures:
    figures: Figures = {}
    for count in LENGTHS:
        key = f"events-{count}"
        handle = await engine.start_events(key, count)
        begun = time.perf_counter()
        for first in range(0, count, 100):
            await asyncio.gather(*(engine.send_event(key, first + number) for number in range(100)))
        assert await engine.total(handle) == sum(range(count))
        figures[f"us_{count}"] = (time.perf_counter() - begun) / count * 1e6
    return figures


async def timers(engine: Engine, outbox: Outbox, options: argparse.Namespace) -> Figures:
    first = time.time() + TIME_TO_START_S
    dues = {f"timer-{number}": first + number / TIMERS for number in range(TIMERS)}
    told = {key: outbox.expect(key) for key in dues}
    todo = list(dues.items())
    await each(TIMERS, options.in_flight, lambda number: engine.start_timer(*todo[number]))
    if time.time() > first:
        raise SystemExit(f"It did not start {TIMERS:,} instances within {TIME_TO_START_S} s.")
    late = sorted([await told[key] - due for key, due in dues.items()])
    return {"least_s": late[0], **{f"p{p}_s": late[TIMERS * p // 100] for p in (50, 99)}}


async def each(n: int, in_flight: int, job: Callable[[int], Awaitable[None]]) -> float:
    """Do the job for each number; returns how many seconds it took."""
    numbers = iter(range(n))

    async def user() -> None:
        for number in numbers:
            await job(number)

    begun = time.perf_counter()
    await asyncio.gather(*(user() for _ in range(in_flight)))
    return time.perf_counter() - begun


async def waiting(engine: Engine, options: argparse.Namespace) -> Figures:
    memory, disk = memory_bytes(engine.processes()), engine.disk_bytes()
    took = await each(options.n, options.in_flight, lambda number: engine.start_waiting(f"waiting-{number}"))
    await engine.all_waiting(options.n)
    await asyncio.sleep(2)  # it may have more to settle
    return {
        "starts_per_s": options.n / took,
        "memory_bytes": (memory_bytes(engine.processes()) - memory) / options.n,
        "disk_bytes": (engine.disk_bytes() - disk) / options.n,
    }


async def resume(engine: Engine, options: argparse.Namespace, begun: float) -> Figures:
    await engine.answer_waiting("waiting-0")
    await completed(engine, 1)
    first = time.perf_counter() - begun
    await engine.all_waiting(options.n - 1)
    begun = time.perf_counter()
    await each(options.n - 1, options.in_flight, lambda number: engine.answer_waiting(f"waiting-{number + 1}"))
    await completed(engine, options.n)
    return {"first_answer_s": first, "completed_per_s": (options.n - 1) / (time.perf_counter() - begun)}


async def completed(engine: Engine, n: int) -> None:
    while await engine.completed_waiting() < n:  # noqa: ASYNC110 - asks the engine
        await asyncio.sleep(0.05)


async def measure(options: argparse.Namespace, directory: Path, begun: float) -> None:
    name, _, setting = options.engine.partition(":")
    outbox = Outbox()
    engine: Engine = importlib.import_module(f"engines.{name}").Engine(setting or "default", outbox)
    await engine.open(directory, fresh=options.workload != "resume")
    work: dict[str, Callable[[], Awaitable[Figures]]] = {
        "verify": lambda: steadily(engine, verify(engine, outbox), options),
        "hello": lambda: steadily(engine, hello(engine, outbox), options),
        "fan": lambda: fan(engine, options),
        "history": lambda: history(engine, options),
        "events": lambda: events(engine, options),
        "timers": lambda: timers(engine, outbox, options),
        "waiting": lambda: waiting(engine, options),
        "resume": lambda: resume(engine, options, begun),
    }
    figures: dict[str, Any] = {
        name: float(f"{value:.5g}") for name, value in (await work[options.workload]()).items()
    }
    facts = {"engine": options.engine, "versions": engine.versions, "durability": engine.durability}
    print(json.dumps(figures | facts | {"python": sys.version.split()[0]}), flush=True)
    engine.kill()
    os.kill(os.getpid(), signal.SIGKILL)  # nobody is asked to end well


def main() -> None:
    begun = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", help="bide, toy, dbos:tuned, restate:tuned, ...")
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--in-flight", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5, help="how long the window is")
    parser.add_argument("--width", type=int, default=1_000, help="activities of the fan")
    parser.add_argument("--n", type=int, default=10_000, help="instances that wait")
    parser.add_argument("--dir", type=places.made, default=None, help="where the data goes (a real disk)")
    options = parser.parse_args()
    directory = options.dir or Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        import uvloop
    except ImportError:
        asyncio.run(measure(options, directory, begun))
    else:
        uvloop.run(measure(options, directory, begun))


if __name__ == "__main__":
    main()
