"""Connections that cannot hold the server: who sends a request's head slowly, or without end, is cut off, and so is
who does not take an answer (with all others in view: `http/connections.py`).

uvicorn reads the requests, and waits for a head as long as it takes. So its two protocols, one for each parser, are
watched here (`http/watched.py`): what comes in is judged first (`http/framing.py`), then handed on to the parser,
when its turn has come. The bodies of requests have their own limits (`http/body.py`), and whose request it is, and
for what, is judged where all requests are (`http/guard.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from importlib.util import find_spec
from typing import Any, Protocol

import uvicorn
from starlette.types import ASGIApp

from bide.config import Settings
from bide.http.base.answers import refusal
from bide.http.handlers.health import PATHS
from bide.http.server.connections import Connections
from bide.http.server.framing import Framing, RefusedError

_CLOSE = {"Connection": "close"}
_FULL = "The server has as many connections as it takes (max_connections)."
_LEAST_TAKEN = 16_384
"""Bytes of an answer that a caller has to take in `Settings.answer_timeout_s`, or all that are left."""
_HEALTH = tuple(b"GET %b " % path for path in sorted(PATHS))
_MOST_HELD = 65_536
"""Bytes behind the present request. Whoever sends more is not listened to until it is answered."""


class ServerConfig(uvicorn.Config):
    """uvicorn's configuration, with protocols that keep to our limits. Further options are uvicorn's own."""

    def __init__(self, app: ASGIApp, settings: Settings, **options: Any) -> None:
        parser = "httptools" if find_spec("httptools") else "h11"
        options.setdefault("http", f"bide.http.server.protocol_{parser}:WatchedProtocol")
        super().__init__(app, h11_max_incomplete_event_size=settings.max_header_bytes, **options)
        self.settings = settings
        self.connections = Connections(settings)


class _Cycle(Protocol):
    """A request that is being answered, or was."""

    response_started: bool
    response_complete: bool
    transport: asyncio.Transport
    keep_alive: bool


class _Flow(Protocol):
    """Whether the other side may send, and whether it takes what is sent."""

    write_paused: bool

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Connection(Protocol):
    """What uvicorn's protocols have in common."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop

    @property
    def cycle(self) -> _Cycle | None: ...

    @property
    def flow(self) -> _Flow: ...

    def parse(self, data: bytes) -> None:
        """Give these bytes to the parser."""
        ...

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
        self.written = 0
        """Bytes, ever."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._held:
            self._let_out(self._held + data)
        elif data:
            self._held = bytes(data)
            self._connection.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Let out what waits."""
        if self._held:
            self._let_out(self._held)

    def _let_out(self, data: bytes) -> None:
        self._held = b""
        if not self.is_closing():  # uvloop raises an error for each write after the end
            self.written += len(data)
            self._connection.transport.write(data)

    def close(self) -> None:
        self.flush()
        self._connection.transport.close()

    def is_closing(self) -> bool:
        return self._connection.transport.is_closing()


class Watch:
    """What a connection may send, in which order it is worked on, and how long the server waits for it.

    One request is worked on at a time. What comes behind it waits here until its answer is taken, and so does the
    caller, if it is more than a little. Made when the connection is.
    """

    def __init__(self, connection: Connection, config: uvicorn.Config) -> None:
        assert isinstance(config, ServerConfig)
        self._connection = connection
        self._settings = config.settings
        self._framing = Framing(config.settings.max_header_bytes, websockets=config.ws_protocol_class is not None)
        self._answers = JoinedWrites(connection)
        self._connections = config.connections
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self._is_spare = False
        """Whether it is there to ask how the server is, and for nothing else."""
        self.quiet = 0
        """For how many looks it has been the caller's turn."""
        self._stuck = 0
        """For how many looks too little of an answer has been taken."""
        self._counted = 0
        """What was taken when something moved last."""
        self._seen: object = None
        """The request at the last look."""
        self._wait()

    def opened(self) -> None:
        """The connection is there."""
        self._is_spare = not self._connections.opened(self, self._connection.loop)

    def receive(self, data: bytes) -> None:
        """These bytes have come."""
        self._framing.feed(data)
        self.go_on()
        if not self._is_answering:
            self._wait()  # for the rest of a head, or of a body that nobody reads

    def go_on(self) -> None:
        """Hand on what has come, as far as it is its turn."""
        while self._framing.held and self._may_go_on:
            begins = not self._framing.in_message
            if begins and not self._is_its_turn:
                break
            try:
                piece = self._framing.read()
            except RefusedError as error:
                self._refuse(error.status, str(error))
                return
            if not piece:
                break
            if begins:
                self._rest()
                self._connections.begun(self._connection.loop)
                if self._is_spare and self._framing.path not in PATHS:
                    self._refuse(503, _FULL, {"Retry-After": "5"})
                    return
            before = self._connection.cycle
            self._connection.parse(piece)
            cycle = self._connection.cycle
            if cycle is not None and cycle is not before:
                cycle.transport = self._answers
                cycle.keep_alive = cycle.keep_alive and not self._is_spare
        if self._is_answering:
            self._rest()
        if len(self._framing.held) > _MOST_HELD and not self._may_go_on:
            self._connection.flow.pause_reading()

    def paused(self) -> None:
        """More of an answer waits than the system takes at once."""
        self._connections.is_slow(self, self._connection.loop)

    def resumed(self) -> None:
        """It is taken."""
        self._connections.is_fast(self)
        self._connection.flow.resume_reading()
        self.go_on()

    @property
    def unsent(self) -> int:
        """Bytes of answers that the caller has not taken."""
        return self._connection.transport.get_write_buffer_size()

    @property
    def taken(self) -> int:
        """Bytes of answers that the caller has taken, ever."""
        return self._answers.written - self.unsent

    def look(self) -> int:
        """Look at what the caller has taken. For how many looks that has been too little."""
        unsent, cycle = self.unsent, self._connection.cycle
        taken = self._answers.written - unsent
        if not unsent or taken - self._counted >= _LEAST_TAKEN:
            self._counted, self._stuck = taken, 0
        else:
            self._stuck += 1
        is_ours = self._is_answering and not unsent
        self.quiet = 0 if is_ours or cycle is not self._seen else self.quiet + 1
        self._seen = cycle
        return self._stuck

    def cut(self) -> None:
        """End the connection at once."""
        self.stop()
        self._connection.transport.abort()

    def flush(self) -> None:
        """Let out what waits of an answer."""
        self._answers.flush()

    def answered(self) -> None:
        """An answer is complete."""
        self.go_on()
        if not self._is_answering and (self._framing.in_message or self._framing.held):
            self._wait()

    def refuse_garbage(self) -> None:
        """The parser cannot read what was handed on."""
        self._refuse(400, "This is not an HTTP request that can be read.")

    def stop(self) -> None:
        """The connection is closed, or somebody else's."""
        self._stopped = True
        self._rest()
        self._connections.closed(self)

    @property
    def _may_go_on(self) -> bool:
        """What has begun goes on; another request begins when the last one's answer is on its way."""
        if self._stopped or self._connection.transport.is_closing():
            return False
        return self._framing.in_message or not (self._is_answering or self._connection.flow.write_paused)

    @property
    def _is_its_turn(self) -> bool:
        """Many requests at once begin one after the other; who asks how the server is does not wait for them."""
        return self._framing.held.startswith(_HEALTH) or self._connections.may_begin(self)

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
        if self._connections.is_queued(self):
            self._wait()  # it is not the caller for whom we wait
        elif self._framing.in_message or self._is_answering:
            self._connection.shutdown()
        else:
            seconds = f"{self._settings.header_timeout_s:g} s"
            self._refuse(408, f"The request's headers did not arrive within {seconds}.")

    def _refuse(self, status: int, message: str, headers: Mapping[str, str] = {}) -> None:
        """Close the connection, and say why, unless that would land in the midst of an answer."""
        self._stopped = True
        self._rest()
        transport = self._connection.transport
        if transport.is_closing():
            return
        cycle = self._connection.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            answer = refusal(status, message, {**_CLOSE, **headers})
            lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
            lines += [name + b": " + value for name, value in answer.raw_headers]
            transport.write(b"\r\n".join([*lines, b"", bytes(answer.body)]))
        transport.close()
