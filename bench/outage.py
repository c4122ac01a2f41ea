"""After an outage: very many timers are overdue when the worker starts, and people come at the same time.

    python bench/outage.py [--n 300000] [--callers 16] [--dir DIR]

N instances are left with a timer each, which is due an hour ago when the worker starts again. From that moment on
callers start instances and answer them, one after the other. Shown are how long it took until all timers had fired,
and of the callers' requests how many there were meanwhile, how many were refused (busy), and how long they took.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import places

from bide import App, Client, OrchestrationContext, RuntimeStatus, Settings
from bide.errors import TryAgainError
from bide.testing.clock import ManualClock

AT_ONCE = 500

app = App()


@app.orchestrator
async def remind(ctx: OrchestrationContext) -> None:
    await ctx.create_timer(timedelta(minutes=1))


@app.orchestrator
async def ask(ctx: OrchestrationContext) -> int:
    return await ctx.wait_for_external_event("Answer", int)


async def leave_waiting(settings: Settings, n: int) -> None:
    async with app.running(settings, clock=ManualClock()) as client:
        numbers = iter(range(n))

        async def user() -> None:
            for _ in numbers:
                await client.start(remind)

        await asyncio.gather(*(user() for _ in range(AT_ONCE)))


class Callers:
    """People who start and answer, one request after the other, and note how it went."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.took_ms: list[float] = []
        self.refused = 0
        self.over = False

    async def go(self) -> None:
        while not self.over:
            begun = time.perf_counter()
            try:
                instance_id = await self._client.start(ask)
                self.took_ms.append((time.perf_counter() - begun) * 1e3)
                begun = time.perf_counter()
                await self._client.raise_event(instance_id, "Answer", 1)
                self.took_ms.append((time.perf_counter() - begun) * 1e3)
            except TryAgainError:
                self.refused += 1
                await asyncio.sleep(0.01)


async def come_back(settings: Settings, n: int, callers: int) -> dict[str, float]:
    clock = ManualClock()
    clock.advance(timedelta(hours=1))
    begun = time.perf_counter()
    async with app.running(settings, clock=clock) as client:
        people = Callers(client)
        tasks = [asyncio.create_task(people.go()) for _ in range(callers)]
        while await client.open_timers(overdue=True, limit=1):  # noqa: ASYNC110 - asks the database
            await asyncio.sleep(0.1)
        took = time.perf_counter() - begun
        people.over = True
        await asyncio.gather(*tasks)
        counts = await client.counts()
    assert counts[RuntimeStatus.COMPLETED] >= n
    times = sorted(people.took_ms)
    return {
        "n": n,
        "all_fired_s": round(took, 2),
        "requests": len(times),
        "refused": people.refused,
        "p50_ms": round(times[len(times) // 2], 1),
        "p99_ms": round(times[len(times) * 99 // 100], 1),
        "longest_ms": round(times[-1], 1),
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=300_000, help="timers that are overdue")
    parser.add_argument("--callers", type=int, default=16, help="people who come at the same time")
    parser.add_argument("--dir", type=places.made, default=None, help="where the database goes (a real disk)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as directory:
        settings = Settings(db=str(Path(directory) / "outage.db"))
        asyncio.run(leave_waiting(settings, options.n))
        figures = asyncio.run(come_back(settings, options.n, options.callers))
    for name, value in figures.items():
        print(f"{name:>12}  {value:,}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
