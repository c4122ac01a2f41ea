"""Connections that cannot hold the server: who sends a request's head slowly, or without end, is cut off.

uvicorn reads the requests, and waits for a head as long as it takes. So its two protocols, one for each parser, are
watched here (`protocol_httptools.py`, `protocol_h11.py`). The bodies of requests have their own limits
(`http/body.py`), and a head that is complete is judged where all requests are (`http/guard.py`).
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from importlib.util import find_spec
from typing import Any, Protocol

import uvicorn
from starlette.types import ASGIApp

from bide.config import Settings
from bide.http.answers import refusal

_CLOSE = {"Connection": "close"}


class ServerConfig(uvicorn.Config):
    """uvicorn's configuration, with protocols that keep to our limits. Further options are uvicorn's own."""

    def __init__(self, app: ASGIApp, settings: Settings, **options: Any) -> None:
        parser = "httptools" if find_spec("httptools") else "h11"
        options.setdefault("http", f"bide.http.protocol_{parser}:WatchedProtocol")
        super().__init__(app, h11_max_incomplete_event_size=settings.max_header_bytes, **options)
        self.settings = settings


class _Cycle(Protocol):
    """A request that is being answered, or was."""

    response_complete: bool


class Connection(Protocol):
    """What uvicorn's protocols have in common."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop

    @property
    def cycle(self) -> _Cycle | None: ...

    def shutdown(self) -> None:
        """Close, at once or after the present answer."""
        ...


class JoinedWrites(asyncio.Transport):
    """What the answers on a connection are written to.

    Each write is a system call, and a packet; so the head of an answer waits for its body, but no longer than until
    the loop's next turn.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self._held = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._held:
            self._connection.transport.write(self._held + data)
            self._held = b""
        elif data:
            self._held = bytes(data)
            self._connection.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Let out what waits."""
        if self._held:
            self._connection.transport.write(self._held)
            self._held = b""

    def close(self) -> None:
        self.flush()
        self._connection.transport.close()

    def is_closing(self) -> bool:
        return self._connection.transport.is_closing()


class Watch:
    """How long the server waits for the other side of a connection, and how much of a head it takes.

    Made when the connection is.
    """

    def __init__(self, connection: Connection, config: uvicorn.Config) -> None:
        assert isinstance(config, ServerConfig)
        self._connection = connection
        self._settings = config.settings
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self.in_head = True
        """Whether a head is expected, or arriving."""
        self._wait()

    def head_begins(self) -> None:
        """The first byte of another head has come. Most come whole; where one does not, `look` begins to wait."""
        self.in_head = True
        self._rest()

    def head_ends(self) -> None:
        """The head is complete, and somebody works on the request."""
        self.in_head = False
        self._rest()

    def look(self, size: int) -> None:
        """Bytes have come. `size` says how many of the present head are there, or of what else is not body."""
        if size > self._settings.max_header_bytes:
            self._refuse(431, f"The request has more than {self._settings.max_header_bytes} bytes of headers.")
        elif self.in_head or not self._is_answering:
            self._wait()  # the rest of a body that nobody reads, and then another request, must not take for ever

    def refuse_garbage(self) -> None:
        """What has come is not HTTP."""
        self._refuse(400, "This is not an HTTP request that can be read.")

    def stop(self) -> None:
        """The connection is closed, or somebody else's."""
        self._stopped = True
        self._rest()

    @property
    def _is_answering(self) -> bool:
        cycle = self._connection.cycle
        return cycle is not None and not cycle.response_complete

    def _wait(self) -> None:
        """The time counts from when the waiting began."""
        if self._timer is None and not self._stopped:
            self._timer = self._connection.loop.call_later(self._settings.header_timeout_s, self._give_up)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self.in_head and not self._is_answering:
            seconds = f"{self._settings.header_timeout_s:g} s"
            self._refuse(408, f"The request's headers did not arrive within {seconds}.")
        else:
            self._connection.shutdown()

    def _refuse(self, status: int, message: str) -> None:
        """Close the connection, and say why, unless that would land in the midst of an answer."""
        self._rest()
        transport = self._connection.transport
        if transport.is_closing():
            return
        if not self._is_answering:
            answer = refusal(status, message, _CLOSE)
            lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
            lines += [name + b": " + value for name, value in answer.raw_headers]
            transport.write(b"\r\n".join([*lines, b"", bytes(answer.body)]))
        transport.close()
