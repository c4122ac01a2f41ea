"""How long lists take in a hub of many instances, over HTTP.

    python bench/lists.py --n 100000

Fills a database with instances of all statuses, tags and waits, serves it in a process of its own, and asks for the
first page, one in the middle, and each filter alone. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
from msgspec import Raw

from bide.model.batch import Batch, HistoryRow, Timer
from bide.model.clock import SECOND, to_datetime
from bide.model.instance import PARTITIONS, Instance, RuntimeStatus, Wait
from bide.model.query import InstanceCursor
from bide.store.sqlite.store import SqliteStore

APP = "from bide import App\napp = App()\n"
BASE = "/runtime/webhooks/durabletask"
DAY = 86_400 * SECOND
NOW = int(time.time()) * SECOND
WEIGHTS = {
    RuntimeStatus.COMPLETED: 70,
    RuntimeStatus.RUNNING: 25,
    RuntimeStatus.FAILED: 3,
    RuntimeStatus.TERMINATED: 1,
    RuntimeStatus.SUSPENDED: 1,
}


async def fill(path: Path, n: int) -> None:
    """Instances one second apart, up to now; every running one waits, most of them for two days or less."""
    source = random.Random(7)
    store = SqliteStore(path)
    await store.open()
    epochs = await store.acquire("bench", 0, 2**60, PARTITIONS)
    statuses = source.choices(list(WEIGHTS), list(WEIGHTS.values()), k=n)
    for start in range(0, n, 5_000):
        batch = Batch(NOW, epochs=epochs)
        for number in range(start, min(n, start + 5_000)):
            add(batch, number, NOW - (n - number) * SECOND, statuses[number])
        await store.commit(batch)
    await store.release("bench", epochs)
    await store.close()


def add(batch: Batch, number: int, at: int, status: RuntimeStatus) -> None:
    instance_id = f"{'order' if number % 10 else 'rare'}-{number:08}"
    batch.instances[instance_id] = Instance(
        instance_id,
        "approve" if number % 3 else "verify",
        status,
        at,
        at,
        input_json=Raw(b'"+12025550123"'),
        tags={"team": "blue" if number % 2 else "red", **({"vip": "yes"} if number % 500 == 0 else {})},
    )
    facts = b'[{"type":"ExecutionStarted","name":"approve","input":"+12025550123"}]'
    batch.history.append(HistoryRow(instance_id, 0, 0, at, facts))
    if status is RuntimeStatus.RUNNING:
        deadline = at + (2 * DAY if number % 8 > 1 else 60 * SECOND) if number % 4 else None
        if deadline and deadline > NOW + DAY // 2:
            timer = Timer(instance_id, 0, 2, deadline)
            batch.timers.open(timer.key, timer)
        batch.waits.open((instance_id, 1), Wait(instance_id, 1, "Answer", at, deadline, Raw(b'{"type":"boolean"}')))


@contextmanager
def serving(directory: Path) -> Iterator[tuple[str, int]]:
    (directory / "app.py").write_text(APP)
    command = [
        sys.executable,
        "-m",
        "bide.cli",
        "dev",
        "app.py",
        "--no-reload",
        "--port",
        "0",
        "--db",
        "hub.db",
    ]
    with subprocess.Popen(command, cwd=directory, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        url = next(found[0] for line in server.stderr if (found := re.findall(r"http://\S+", line)))
        try:
            yield url, server.pid
        finally:
            server.terminate()


def questions(n: int) -> dict[str, tuple[str, str]]:
    """What is asked: a name, the path, and a continuation token."""
    middle = InstanceCursor(NOW - n // 2 * SECOND, "x")
    first, last = (to_datetime(NOW - hours * 3_600 * SECOND).strftime("%Y-%m-%dT%H:%M:%SZ") for hours in (2, 1))
    instances = f"{BASE}/instances?top=100"
    return {
        "first page": (instances, ""),
        "a page in the middle": (instances, f"{middle.created},{middle.id}"),
        "created in one hour": (f"{instances}&createdTimeFrom={first}&createdTimeTo={last}", ""),
        **{f"status {status}": (f"{instances}&runtimeStatus={status}", "") for status in WEIGHTS},
        "status nobody has": (f"{instances}&runtimeStatus=Pending", ""),
        "id prefix": (f"{instances}&instanceIdPrefix=rare-", ""),
        "one id": (f"{instances}&instanceIdPrefix=order-00000001", ""),
        "name": (f"{instances}&name=verify", ""),
        "tag of half": (f"{instances}&tag=team:blue", ""),
        "tag of few": (f"{instances}&tag=vip:yes", ""),
        "counts": (f"{BASE}/counts", ""),
        "waits": (f"{BASE}/waits?top=100", ""),
        "timers": (f"{BASE}/timers?top=100", ""),
        "failures": (f"{BASE}/failures?top=100&since=24h", ""),
        "workers": (f"{BASE}/workers", ""),
        "waits overdue": (f"{BASE}/waits?top=100&overdue=true", ""),
    }


def measure(http: httpx2.Client, path: str, token: str, times: int) -> tuple[float, float]:
    """p50 and p95 in milliseconds, as a client sees them."""
    headers = {"x-ms-continuation-token": token} if token else {}
    spans: list[float] = []
    for _ in range(times):
        begun = time.perf_counter()
        answer = http.get(path, headers=headers)
        spans.append((time.perf_counter() - begun) * 1000)
        assert answer.status_code == 200, answer.text
    spans.sort()
    return statistics.median(spans), spans[int(len(spans) * 0.95)]


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


def run(n: int, times: int, quiet: bool = False) -> tuple[float, float]:
    """The slowest p95, and the server's memory after all questions."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        asyncio.run(fill(directory / "hub.db", n))
        with serving(directory) as (url, pid), httpx2.Client(base_url=url) as http:
            while http.get("/readyz").status_code != 200:
                time.sleep(0.05)
            slowest = 0.0
            for question, (path, token) in questions(n).items():
                p50, p95 = measure(http, path, token, times)
                slowest = max(slowest, p95)
                if not quiet:
                    print(f"{question:<24}{p50:8.1f} ms  p95 {p95:6.1f} ms")
            return slowest, resident_mb(pid)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000, help="instances")
    parser.add_argument("--times", type=int, default=60, help="how often each question is asked")
    options = parser.parse_args()
    _, small = run(options.n // 10, options.times, quiet=True)
    slowest, large = run(options.n, options.times)
    print(f"memory: {small:.0f} MB with {options.n // 10:,} instances, {large:.0f} MB with {options.n:,}")
    figures = {
        "n": options.n,
        "slowest_p95_ms": round(slowest, 1),
        "rss_mb": round(large),
        "rss_mb_tenth": round(small),
    }
    print(json.dumps({**figures, "cpus": os.cpu_count()}))


if __name__ == "__main__":
    main()
