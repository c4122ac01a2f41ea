"""Waiting instances: memory, and how soon the first answer is accepted after `kill -9`.

    python bench/waiting.py [--n 100000] [--dir DIR]

A server process is started with an empty database; N verifications are started in it and left waiting for their
answer. Then it is killed, started again, and the first answer is sent over HTTP as soon as anything accepts it. The
last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

_APP = """
from datetime import timedelta
from holdfast import App, OrchestrationContext, when_any

app = App()


@app.activity
async def send_code(number: str) -> str:
    return "0042"


@app.orchestrator(name="verify")
async def verify(ctx: OrchestrationContext, number: str) -> bool:
    code = await ctx.call_activity(send_code, number)
    deadline = ctx.create_timer(timedelta(days=1))
    answer = ctx.wait_for_external_event("Answer", str)
    await when_any(answer, deadline)
    return answer.is_completed and answer.result == code
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_server(directory: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "holdfast.cli", "dev", str(directory / "app.py"), "--no-reload"]
    command += ["--port", str(port), "--db", str(directory / "waiting.db")]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def post(url: str, body: bytes) -> int:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        status: int = answer.status
        return status


def post_until_accepted(url: str, body: bytes, limit_s: float = 60) -> None:
    begun = time.perf_counter()
    while time.perf_counter() - begun < limit_s:
        try:
            post(url, body)
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.005)
    raise SystemExit(f"{url} accepted nothing within {limit_s:g} s")


def rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("the server is gone")


async def start_instances(port: int, n: int, connections: int = 64) -> None:
    """Plain HTTP/1.1 over kept connections: the load generator must not be what is measured."""
    numbers = iter(range(n))

    async def user() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            body = json.dumps(f"+1425{number:07d}").encode()
            path = f"/orchestrators/verify/wait-{number}"
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            writer.write(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 202"), answer
            lengths = [line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            await reader.readexactly(int(lengths[0].split(b":")[1]))
            if number % 10_000 == 9_999:
                print(f"{number + 1:,} started", file=sys.stderr)
        writer.close()

    await asyncio.gather(*(user() for _ in range(connections)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--dir", type=Path, default=None, help="where the database goes (a real disk)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        directory = Path(name)
        (directory / "app.py").write_text(_APP)
        port = free_port()
        base = f"http://127.0.0.1:{port}/runtime/webhooks/durabletask/instances"
        server = start_server(directory, port)
        try:
            post_until_accepted(f"http://127.0.0.1:{port}/orchestrators/verify/first", b'"+14255550100"')
            begun = time.perf_counter()
            asyncio.run(start_instances(port, options.n))
            starts_per_s = options.n / (time.perf_counter() - begun)
            rss = rss_mb(server.pid)
            os.kill(server.pid, signal.SIGKILL)
            server.wait()
            disk = sum(file.stat().st_size for file in directory.glob("waiting.db*"))
            begun = time.perf_counter()
            server = start_server(directory, port)
            post_until_accepted(f"{base}/wait-0/raiseEvent/Answer", b'"0042"')
            first_answer_s = time.perf_counter() - begun
            with urllib.request.urlopen(f"{base}/wait-0", timeout=30) as answer:
                status = json.load(answer)
            assert status["output"] is True, status
            rss_after = rss_mb(server.pid)
        finally:
            server.kill()
            server.wait()
    print(
        json.dumps(
            {
                "waiting": options.n,
                "rss_mb": round(rss, 1),
                "rss_after_restart_mb": round(rss_after, 1),
                "first_answer_after_kill_s": round(first_answer_s, 3),
                "disk_bytes_each": round(disk / options.n),
                "http_starts_per_s": round(starts_per_s),
            }
        )
    )


if __name__ == "__main__":
    main()
