"""What it costs to delete instances that ended long ago, and whether anybody waits for it.

    python bench/retention.py --n 100000

Fills a database with verifications that have ended, then lets a worker delete them all while a heartbeat on the
same loop measures the pauses. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from pathlib import Path

from msgspec import Raw

from bide import App
from bide.core.replay import Executions
from bide.engine.activities import ActivityRunner
from bide.engine.memory import search_less_often
from bide.engine.options import WorkerOptions
from bide.engine.worker import Worker
from bide.model.batch import AuditEntry, Batch, HistoryRow
from bide.model.clock import SECOND, SystemClock
from bide.model.instance import PARTITIONS, Instance, RuntimeStatus
from bide.model.links import SignedLinks
from bide.model.metrics import Metrics
from bide.model.sealing import SealingKeys
from bide.store.sqlite.store import SqliteStore

SEALER = SealingKeys([bytes(32)])

FACTS = b'[{"type":"TaskCompleted","id":1,"result":"0042"},{"type":"TimerCreated","id":2,"fire_at":1}]'


async def fill(store: SqliteStore, n: int, ended_at: int) -> None:
    """Instances with three steps and two entries in the audit each, as a verification over HTTP leaves them."""
    epochs = await store.acquire("bench", 0, 2**60, PARTITIONS)
    for start in range(0, n, 2_000):
        batch = Batch(ended_at, epochs=epochs)
        for number in range(start, min(n, start + 2_000)):
            name = f"verification-{number:012}"
            batch.instances[name] = Instance(
                name, "verify", RuntimeStatus.COMPLETED, ended_at, ended_at + number, Raw(b'"+1425"'), Raw(b"true")
            )
            batch.history += [HistoryRow(name, 0, seq, ended_at, FACTS) for seq in range(3)]
            batch.audit += [
                AuditEntry(ended_at, verb, "local", "127.0.0.1", instance_id=name)
                for verb in ("start", "raiseEvent")
            ]
        await store.commit(batch)
    await store.release("bench", epochs)


async def heartbeat(pauses: list[float]) -> None:
    last = time.perf_counter()
    while True:
        await asyncio.sleep(0)
        now = time.perf_counter()
        pauses.append(now - last)
        last = now


async def measure(n: int, directory: Path) -> dict[str, float]:
    clock, app = SystemClock(), App()
    search_less_often()
    store = SqliteStore(directory / "bench.db")
    await store.open()
    await fill(store, n, clock.now() - 2 * 86_400 * SECOND)
    metrics = Metrics(clock.now())
    runner = ActivityRunner(app.registry, bytes(32), SEALER, clock, metrics)
    options = WorkerOptions(retention=86_400 * SECOND)
    executions = Executions(app.registry, SignedLinks(bytes(32), ""), SEALER)
    worker = Worker(store, executions, clock, runner, "bench", SEALER, metrics, options)
    pauses: list[float] = []
    beating = asyncio.create_task(heartbeat(pauses))
    cpu, begun = time.process_time(), time.perf_counter()
    while await worker.turn():  # noqa: ASYNC110 - there is no event: this is what a worker does
        await asyncio.sleep(0)
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    beating.cancel()
    left = await store.ended(range(PARTITIONS), clock.now(), None, 1)
    assert left == ([], None), left
    await store.close()
    pauses.sort()
    return {
        "n": n,
        "deleted_per_s": round(n / wall),
        "cpu_us_each": round(cpu / n * 1e6, 1),
        "pause_ms_p50": round(pauses[len(pauses) // 2] * 1e3, 2),
        "pause_ms_p99": round(pauses[int(len(pauses) * 0.99)] * 1e3, 2),
        "pause_ms_max": round(pauses[-1] * 1e3, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000, help="ended instances")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        figures = asyncio.run(measure(options.n, Path(directory)))
    for name, value in figures.items():
        print(f"{name:<16}{value:12,}")
    print(json.dumps({**figures, "cpus": os.cpu_count()}))


if __name__ == "__main__":
    main()
