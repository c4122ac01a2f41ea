"""A load generator's side of HTTP: as cheap as it can be, so that it is not what is measured."""

from __future__ import annotations

import asyncio
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from typing import Any

INSTANCES = "/runtime/webhooks/durabletask/instances"


class Connection(asyncio.Protocol):
    """A kept connection; one request at a time."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[bytes] | None = None
        self._buffer = b""
        self._transport: Any = None  # uvloop's are no asyncio.Transport

    @classmethod
    async def to(cls, port: int) -> Connection:
        connection = cls()
        await connection.open(port)
        return connection

    async def open(self, port: int) -> None:
        """Connect anew, after `close`."""
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found or self._answer is None:
            return
        _, _, length = head.lower().partition(b"content-length: ")
        if len(rest) >= int(length.split(b"\r\n", 1)[0] or 0):
            self._buffer = b""
            self._answer.set_result(head + found + rest)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("The server closed the connection."))

    async def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        self._answer = asyncio.get_running_loop().create_future()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self._transport.write(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return await self._answer

    def close(self) -> None:
        self._transport.close()


async def post_all(port: int, requests: Iterable[tuple[str, bytes]], connections: int = 64) -> float:
    """Send all, each path with its body, over so many connections; returns the seconds until all were accepted."""
    left = iter(requests)

    async def user() -> None:
        connection = await Connection.to(port)
        for path, body in left:
            answer = await connection.ask("POST", path, body)
            assert answer.startswith(b"HTTP/1.1 202"), answer
        connection.close()

    begun = time.perf_counter()
    await asyncio.gather(*(user() for _ in range(connections)))
    return time.perf_counter() - begun


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


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
