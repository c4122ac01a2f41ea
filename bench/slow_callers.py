"""Callers that take nothing, and many streams: what they cost, and how others fare meanwhile.

    python bench/slow_callers.py [--unread 1100] [--streams 2000] [--slow 500] [--files 1024]

A server is started in a process of its own. One after the other: callers without a key who ask for files of the
dashboard and take nothing; callers with a key who ask for large statuses and take nothing; readers of the hub's
stream, together with callers who send their request byte by byte. Each time: the server's memory, how long
`/healthz` and a start take, and when all is over. Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from http_calls import INSTANCES, free_port, post_until_accepted

APP = """
from bide import App, OrchestrationContext

app = App()


@app.orchestrator(name="Keep")
async def keep(ctx: OrchestrationContext, value: str) -> int:
    return await ctx.wait_for_external_event("Answer", int)
"""
LARGE = json.dumps("x" * 900_000).encode()


@contextmanager
def server(directory: Path, files: int, **settings: object) -> Generator[tuple[int, int], None, None]:
    """A server that may have so many files open: its port and its process."""
    (directory / "app.py").write_text(APP)
    port = free_port()
    command = [sys.executable, "-m", "bide.cli", "serve", "app.py", "--port", str(port), "--db", "bench.db"]
    environ = {**os.environ, **{f"BIDE_{name.upper()}": str(value) for name, value in settings.items()}}
    with (
        (directory / "log").open("w") as log,
        subprocess.Popen(
            command,
            cwd=directory,
            env=environ,
            stdout=log,
            stderr=log,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
        ) as serving,
    ):
        try:
            post_until_accepted(f"http://127.0.0.1:{port}/orchestrators/Keep/large", LARGE)
            yield port, serving.pid
        finally:
            serving.send_signal(signal.SIGTERM)


class Watched:
    """What is measured while something goes on."""

    def __init__(self, port: int, pid: int) -> None:
        self._port, self._pid = port, pid
        self._spans: dict[str, list[float]] = {"health": [], "start": []}
        self.refused = 0
        self.memory = 0.0

    async def watch(self) -> None:
        while True:
            health = await self._timed("health", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert health.startswith(b"HTTP/1.1 200"), health
            start = b'POST /orchestrators/Keep HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n"x"'
            self.refused += not (await self._timed("start", start)).startswith(b"HTTP/1.1 202")
            self.memory = max(self.memory, memory_mb(self._pid))
            await asyncio.sleep(0.1)

    async def _timed(self, what: str, request: bytes) -> bytes:
        begun = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(request)
        answer = await reader.read(65_536)
        writer.close()
        self._spans[what].append(time.perf_counter() - begun)
        return answer

    def figures(self, name: str) -> dict[str, float]:
        found = {f"{name}_memory_mb": self.memory, f"{name}_starts_refused": self.refused}
        for what, spans in self._spans.items():
            found |= {f"{name}_{what}_p50_ms": median(spans) * 1e3, f"{name}_{what}_max_ms": max(spans) * 1e3}
        return found


def median(spans: list[float]) -> float:
    return sorted(spans)[len(spans) // 2]


def memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    (kilobytes,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
    return int(kilobytes) / 1024


@asynccontextmanager
async def watched(port: int, pid: int) -> AsyncGenerator[Watched, None]:
    found = Watched(port, pid)
    watching = asyncio.create_task(found.watch())
    try:
        yield found
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


def taking_nothing(port: int, request: bytes) -> socket.socket:
    """A caller that has asked, and reads nothing."""
    caller = socket.socket()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
    caller.setblocking(False)
    with suppress(BlockingIOError):
        caller.connect(("127.0.0.1", port))
    caller.settimeout(5)
    with suppress(OSError):  # it was refused
        caller.sendall(request)
    return caller


def wait_until_gone(pid: int) -> None:
    """Until the server has few connections left, or a minute has passed."""
    for _ in range(120):
        if len(os.listdir(f"/proc/{pid}/fd")) <= 100:
            return
        time.sleep(0.5)


async def unread(port: int, pid: int, name: str, callers: int, request: bytes) -> dict[str, float]:
    async with watched(port, pid) as found:
        sockets = [await asyncio.to_thread(taking_nothing, port, request) for _ in range(callers)]
        begun = time.perf_counter()
        await asyncio.sleep(5)  # all are there, and have asked
        await asyncio.to_thread(wait_until_gone, pid)
        cut_after = time.perf_counter() - begun
        for each in sockets:
            each.close()
    return {**found.figures(name), f"{name}_gone_after_s": cut_after}


async def streams(port: int, pid: int, readers: int, slow: int) -> dict[str, float]:
    heard = 0

    async def read() -> None:
        nonlocal heard
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"GET {INSTANCES.replace('/instances', '/events')} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        with suppress(OSError):
            while data := await reader.read(65_536):
                heard += data.count(b"event: instance")
        writer.close()

    async def drip() -> None:
        with suppress(OSError):
            while True:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                answered = asyncio.ensure_future(reader.read())
                for byte in b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 1_000:
                    if answered.done():
                        break
                    writer.write(bytes([byte]))
                    await asyncio.sleep(1)
                writer.close()

    async with watched(port, pid) as found:
        tasks = [asyncio.create_task(drip()) for _ in range(slow)]
        tasks += [asyncio.create_task(read()) for _ in range(readers)]
        await asyncio.sleep(20)
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {**found.figures("streams"), "streams_changes_heard": heard}


async def measured(options: argparse.Namespace) -> dict[str, float]:
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name, server(Path(name), options.files) as (port, pid):
        figures["idle_memory_mb"] = memory_mb(pid)
        page = await asyncio.to_thread(fetched, port, "/")
        (asset,) = re.findall(r"assets/[0-9a-z]+/", page)[:1]
        request = f"GET /{asset}vendor/uplot.js HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 40
        figures |= await unread(port, pid, "unread_files", options.unread, request)
        request = f"GET {INSTANCES}/large HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 5
        figures |= await unread(port, pid, "unread_statuses", 200, request)
    most = {"max_streams": options.streams, "max_streams_per_caller": options.streams}
    with tempfile.TemporaryDirectory() as name, server(Path(name), 10_000, **most) as (port, pid):
        figures |= await streams(port, pid, options.streams, options.slow)
    return figures


def fetched(port: int, path: str) -> str:
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: caller.recv(65_536), b"")).decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unread", type=int, default=1_100, help="callers without a key who take nothing")
    parser.add_argument("--streams", type=int, default=2_000)
    parser.add_argument("--slow", type=int, default=500, help="callers who send byte by byte beside the streams")
    parser.add_argument("--files", type=int, default=1_024, help="how many files the server may have open")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for figure, value in asyncio.run(measured(options)).items():
        print(f"{figure:<32}{value:12,.1f}")


if __name__ == "__main__":
    main()
