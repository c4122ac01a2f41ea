"""Phone verifications over HTTP: each is a start, an answer, and one read of the status.

    python bench/http_load.py [--n 10000] [--in-flight 1 100 1000] [--runs 3] [--new-connections]

A server is started in a process of its own; this one is the load generator, over plain HTTP on the same machine, by
kept connections, or with a new one for each request. 202 means that it is durable. Medians of the runs; the last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import places
from http_calls import INSTANCES, Connection, free_port, post_until_accepted
from verify import run

APP = """
from datetime import timedelta
from bide import App, OrchestrationContext, when_any

app = App()


@app.activity
async def send_code(number: str) -> str:
    return "0042"


@app.orchestrator(name="verify")
async def verify(ctx: OrchestrationContext, number: str) -> bool:
    code = await ctx.call_activity(send_code, number)
    deadline = ctx.create_timer(timedelta(seconds=90))
    for _ in range(4):
        answer = ctx.wait_for_external_event("Answer", str)
        if await when_any(answer, deadline) is deadline:
            return False
        if answer.result == code:
            deadline.cancel()
            return True
    return False
"""
CALLS = ("start", "answer", "status")


async def load(port: int, n: int, in_flight: int, *, keep: bool = True) -> dict[str, float]:
    numbers = iter(range(n))
    spans: dict[str, list[float]] = {call: [] for call in CALLS}

    async def timed(call: str, connection: Connection, method: str, path: str, body: bytes = b"") -> bytes:
        begun = time.perf_counter()
        if not keep:
            connection.close()
            await connection.open(port)
        answer = await connection.ask(method, path, body)
        spans[call].append(time.perf_counter() - begun)
        return answer

    async def user() -> None:
        connection = await Connection.to(port)
        for _ in numbers:
            started = await timed("start", connection, "POST", "/orchestrators/verify", b'"+14255550100"')
            assert started.startswith(b"HTTP/1.1 202"), started
            instance_id = started.partition(b'"id":"')[2].partition(b'"')[0].decode()
            path = f"{INSTANCES}/{instance_id}"
            answered = await timed("answer", connection, "POST", f"{path}/raiseEvent/Answer", b'"0042"')
            assert answered.startswith(b"HTTP/1.1 202"), answered
            status = await timed("status", connection, "GET", path)
            assert b'"Completed"' in status or b'"Running"' in status, status
        connection.close()

    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(user() for _ in range(in_flight)))
    took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    figures = {f"http_{in_flight}_per_s": n / took, f"http_{in_flight}_generator_cpu_us": cpu / n * 1e6}
    for call, each in spans.items():
        each.sort()
        figures |= {f"http_{in_flight}_{call}_p{p}_ms": each[n * p // 100] * 1e3 for p in (50, 95, 99)}
    return figures


@contextmanager
def server(directory: Path) -> Iterator[int]:
    (directory / "app.py").write_text(APP)
    port = free_port()
    command = [sys.executable, "-m", "bide.cli", "serve", "app.py", "--port", str(port), "--db", "bench.db"]
    with subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as serving:
        try:
            post_until_accepted(f"http://127.0.0.1:{port}/orchestrators/verify/first", b'"+14255550100"')
            yield port
        finally:
            serving.send_signal(signal.SIGTERM)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=10_000, help="verifications in a run; a tenth of it one by one")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--new-connections", action="store_true", help="one for each request")
    parser.add_argument("--dir", type=places.made, default=None, help="where the database goes (a real disk)")
    options = parser.parse_args()
    found: dict[str, list[float]] = {}
    for number in range(options.runs):
        print(f"run {number + 1} of {options.runs}", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=options.dir) as name, server(Path(name)) as port:
            run(load(port, 1_000, 100))  # warm up
            for in_flight in options.in_flight:
                n = options.n if in_flight > 1 else options.n // 10
                figures, _ = run(load(port, n, in_flight, keep=not options.new_connections))
                for figure, value in figures.items():
                    found.setdefault(figure, []).append(value)
    medians = {figure: round(statistics.median(values), 2) for figure, values in found.items()}
    for figure, value in medians.items():
        print(f"{figure:<28}{value:12,.2f}   {min(found[figure]):,.2f} to {max(found[figure]):,.2f}")
    print(
        json.dumps({**medians, "runs": options.runs, "python": platform.python_version(), "cpus": os.cpu_count()})
    )


if __name__ == "__main__":
    main()
