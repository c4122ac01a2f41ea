"""Waiting instances: memory, how soon the first answer is accepted after `kill -9`, how fast all can be answered.

    python bench/waiting.py [--n 100000] [--answer-all] [--dir DIR]

A server process is started with an empty database; N verifications are started in it and left waiting for their
answer. Then it is killed, started again, and the first answer is sent over HTTP as soon as anything accepts it.

With --answer-all, the others are answered then, too, in no order, over the same 64 connections. Hardly any has its
code in memory, so each is read and replayed. In turns with them, on the same server, fresh ones are started, and
answered while theirs is; the ratios, medians of ten turns, compare with that, and with its answers alone. The same
is done in this process, without HTTP, over a copy of the database as the kill left it. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import places
from http_calls import INSTANCES, free_port, post_all, post_until_accepted
from verify import run
from waiting_app import app

from bide import Settings

IN_FLIGHT = 64
TURNS = 10
FRESH = 2_000
"""In each turn: far fewer than may keep their code in memory."""

Send = Callable[[Sequence[str]], Awaitable[float]]
"""Starts or answers the instances with these ids; returns the seconds until all of that was durable."""
Count = Callable[[], Awaitable[Mapping[str, int]]]
"""How many instances there are of each status."""


def start_server(directory: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bide.cli", "dev", str(Path(__file__).with_name("waiting_app.py"))]
    command += ["--no-reload", "--port", str(port), "--db", "waiting.db"]
    return subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("the server is gone")


def get(port: int, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def starts(ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for number, instance_id in enumerate(ids, 1):
        yield f"/orchestrators/verify/{instance_id}", b'"+14255550100"'
        if number % 100_000 == 0:
            print(f"{number:,} started", file=sys.stderr)


async def compare(waiting: list[str], start: Send, answer: Send, counts: Count) -> dict[str, float]:
    """Answers per second of those that wait, and of fresh ones; in turns, as machines have good and bad minutes."""
    random.Random(0).shuffle(waiting)  # people answer in no order
    turns: list[tuple[float, float, float]] = []
    for turn in range(TURNS):
        part = waiting[turn::TURNS]
        waited_s = await answer(part)  # accepted in the commit in which the instance ends
        fresh = [f"fresh-{turn}-{number}" for number in range(FRESH)]
        started_s = await start(fresh)
        random.Random(turn).shuffle(fresh)
        answered_s = await answer(fresh)
        turns.append((len(part) / waited_s, FRESH / answered_s, FRESH / (started_s + answered_s)))
    await all_ended(counts)
    waited, answered, both = ([turn[column] for turn in turns] for column in range(3))
    return {
        "answers_per_s": round(statistics.harmonic_mean(waited)),
        "fresh_answers_per_s": round(statistics.harmonic_mean(answered)),
        "fresh_starts_and_answers_per_s": round(statistics.harmonic_mean(both)),
        "ratio_to_fresh_answers": median_ratio(waited, answered),
        "ratio_to_starts_and_answers": median_ratio(waited, both),
    }


def median_ratio(rates: Sequence[float], others: Sequence[float]) -> float:
    return round(statistics.median(rate / other for rate, other in zip(rates, others, strict=True)), 2)


async def answer_over_http(port: int, waiting: list[str]) -> dict[str, float]:
    async def start(ids: Sequence[str]) -> float:
        return await post_all(port, starts(ids), IN_FLIGHT)

    async def answer(ids: Sequence[str]) -> float:
        requests = ((f"{INSTANCES}/{instance_id}/raiseEvent/Answer", b'"0042"') for instance_id in ids)
        return await post_all(port, requests, IN_FLIGHT)

    async def counts() -> dict[str, int]:
        return get(port, f"{INSTANCES.rpartition('/')[0]}/counts")

    return await compare(waiting, start, answer, counts)


async def answer_in_process(database: Path, waiting: list[str]) -> dict[str, float]:
    async with app.running(Settings(db=str(database))) as client:

        async def each(ids: Sequence[str], call: Callable[[str], Awaitable[object]]) -> float:
            left = iter(ids)

            async def user() -> None:
                for instance_id in left:
                    await call(instance_id)

            begun = time.perf_counter()
            await asyncio.gather(*(user() for _ in range(IN_FLIGHT)))
            return time.perf_counter() - begun

        return await compare(
            waiting,
            lambda ids: each(ids, lambda instance_id: client.start("verify", "+1425", instance_id=instance_id)),
            lambda ids: each(ids, lambda instance_id: client.raise_event(instance_id, "Answer", "0042")),
            client.counts,
        )


async def all_ended(counts: Count) -> None:
    """Wait until none runs but the very first, which nobody answers."""
    for _ in range(100):
        running = {status: count for status, count in (await counts()).items() if status != "Completed"}
        if running in ({}, {"Running": 1}):
            return
        await asyncio.sleep(0.1)
    raise SystemExit(f"not all ended: {running}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--answer-all", action="store_true", help="measure how fast all can be answered")
    parser.add_argument("--dir", type=places.made, default=None, help="where the database goes (a real disk)")
    options = parser.parse_args()
    ids = [f"wait-{number}" for number in range(options.n)]
    figures: dict[str, object] = {"waiting": options.n}
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        directory = Path(name)
        copy = directory / "copy"
        port = free_port()
        server = start_server(directory, port)
        try:
            post_until_accepted(f"http://127.0.0.1:{port}/orchestrators/verify/first", b'"+14255550100"')
            took, _ = run(post_all(port, starts(ids), IN_FLIGHT))
            rss = rss_mb(server.pid)
            os.kill(server.pid, signal.SIGKILL)
            server.wait()
            files = list(directory.glob("waiting.db*"))
            disk = sum(file.stat().st_size for file in files)
            if options.answer_all:
                copy.mkdir()
                for file in files:
                    shutil.copy(file, copy)
            begun = time.perf_counter()
            server = start_server(directory, port)
            post_until_accepted(f"http://127.0.0.1:{port}{INSTANCES}/wait-0/raiseEvent/Answer", b'"0042"')
            first_answer_s = time.perf_counter() - begun
            assert get(port, f"{INSTANCES}/wait-0")["output"] is True
            figures |= {
                "rss_mb": round(rss, 1),
                "rss_after_restart_mb": round(rss_mb(server.pid), 1),
                "first_answer_after_kill_s": round(first_answer_s, 3),
                "disk_bytes_each": round(disk / options.n),
                "http_starts_per_s": round(options.n / took),
            }
            if options.answer_all:
                print("answering all over HTTP", file=sys.stderr)
                over_http, _ = run(answer_over_http(port, ids[1:]))
                figures |= {f"http_{figure}": value for figure, value in over_http.items()}
                figures["rss_after_all_mb"] = round(rss_mb(server.pid), 1)
        finally:
            server.kill()
            server.wait()
        if options.answer_all:
            print("answering all in process", file=sys.stderr)
            in_process, loop_name = run(answer_in_process(copy / "waiting.db", ids))
            figures |= {f"process_{figure}": value for figure, value in in_process.items()} | {"loop": loop_name}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
