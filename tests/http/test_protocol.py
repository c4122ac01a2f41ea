"""Slow, half-sent and endless heads over real connections, with both parsers.

Where time must pass, a second connection that sends nothing is the clock: it is cut when the limit is over.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from bide.config import Settings
from bide.http.server.protocol import ServerConfig

SHORT = Settings(header_timeout_s=0.05, max_header_bytes=1000)
LONG = Settings(header_timeout_s=3600, max_header_bytes=1000)
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
PARSERS = ("httptools", "h11")


class Caller:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, bytes]:
        """The next answer's status and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        (length,) = (int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
        return int(head.split()[1]), await self.reader.readexactly(length)

    def drip(self, byte: bytes) -> None:
        """Send a byte, past the transport: if the server has closed, that would drop the server's answer."""
        with socket.socket(fileno=os.dup(self.writer.get_extra_info("socket").fileno())) as same, suppress(OSError):
            same.send(byte)

    async def rest(self) -> bytes:
        """What comes until the server closes the connection."""
        received = bytearray()
        with suppress(ConnectionResetError):  # it was closed while we were sending
            while data := await self.reader.read(65_536):
                received += data
        return bytes(received)


Answer = Callable[[Request], Awaitable[Response]]
Script = Callable[["Harness"], Coroutine[Any, Any, None]]


class Harness:
    """Connections to a server that answers with `answer`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.callers: list[Caller] = []

    async def connect(self) -> Caller:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self.callers.append(Caller(reader, writer))
        return self.callers[-1]

    async def time_passes(self) -> None:
        """The limit, once."""
        assert (await (await self.connect()).rest()).startswith(b"HTTP/1.1 408 ")


def protocols(
    parser: str, settings: Settings, answer: Answer, **options: Any
) -> tuple[Callable[[], asyncio.Protocol], ServerState]:
    """What makes the server's side of each connection, and what all of them share."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        await (await answer(request))(scope, receive, send)

    config = ServerConfig(
        app, settings, http=f"bide.http.server.protocol_{parser}:WatchedProtocol", log_config=None, **options
    )
    config.load()
    state = ServerState()
    protocol: Any = config.http_protocol_class
    return lambda: protocol(config=config, server_state=state, app_state={}), state


@asynccontextmanager
async def served(parser: str, settings: Settings, answer: Answer, **options: Any) -> AsyncIterator[Harness]:
    protocol, state = protocols(parser, settings, answer, **options)
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    harness = Harness(server.sockets[0].getsockname()[1])
    try:
        yield harness
    finally:
        server.close()
        for connection in [*state.connections]:
            connection.transport.abort()
        for caller in harness.callers:
            await caller.rest()
            caller.writer.close()
        await asyncio.gather(*state.tasks)


def play(parser: str, settings: Settings, script: Script, answer: Answer | None = None, **options: Any) -> None:
    async def run() -> None:
        async with asyncio.timeout(20), served(parser, settings, answer or ok, **options) as harness:
            await script(harness)

    asyncio.run(run())


async def ok(request: Request) -> Response:
    """Does not read the body."""
    return PlainTextResponse("ok")


async def length(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


def is_refused(answer: bytes, status: int, reason: str) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} {reason}".encode()), answer
    assert b"connection: close" in head.lower()
    assert f'"status":{status}'.encode() in body
    return True


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("sent", [b"", b"G", GET[:-2]])
def test_a_head_that_does_not_come(parser: str, sent: bytes) -> None:
    async def script(harness: Harness) -> None:
        caller = await harness.connect()
        caller.send(sent)
        assert is_refused(await caller.rest(), 408, "Request Timeout")

    play(parser, SHORT, script)


@pytest.mark.parametrize("parser", PARSERS)
def test_a_head_that_comes_byte_by_byte(parser: str) -> None:
    """The time counts from the beginning: bytes do not buy more of it."""

    async def script(harness: Harness) -> None:
        caller = await harness.connect()
        cut = asyncio.create_task(caller.rest())
        caller.send(b"GET / HTTP/1.1\r\nX: ")
        while not cut.done():
            caller.drip(b"x")
            await asyncio.wait({cut}, timeout=0.005)
        assert is_refused(await cut, 408, "Request Timeout")

    play(parser, Settings(header_timeout_s=0.05), script)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("sent", [b"G", GET[:-2]])
def test_the_head_of_a_later_request(parser: str, sent: bytes) -> None:
    async def script(harness: Harness) -> None:
        caller = await harness.connect()
        for _ in range(2):
            caller.send(GET)
            assert await caller.answer() == (200, b"ok")
        caller.send(sent)
        assert is_refused(await caller.rest(), 408, "Request Timeout")

    play(parser, SHORT, script)


@pytest.mark.parametrize("parser", PARSERS)
def test_empty_lines_between_requests_do_not_hold_a_connection(parser: str) -> None:
    async def script(harness: Harness) -> None:
        caller = await harness.connect()
        caller.send(GET)
        assert await caller.answer() == (200, b"ok")
        caller.send(b"\r\n")
        await caller.rest()

    play(parser, SHORT, script)


@pytest.mark.parametrize("parser", PARSERS)
def test_a_head_without_end(parser: str) -> None:
    async def script(harness: Harness) -> None:
        for line in (b"GET / HTTP/1.1\r\nX: ", b"GET /"):
            caller = await harness.connect()
            caller.send(line + b"x" * 1000)
            assert is_refused(await caller.rest(), 431, "Request Header Fields Too Large")

    play(parser, LONG, script)


@pytest.mark.parametrize("parser", PARSERS)
def test_a_later_head_without_end(parser: str) -> None:
    async def script(harness: Harness) -> None:
        caller = await harness.connect()
        caller.send(GET)
        assert await caller.answer() == (200, b"ok")
        for piece in (b"GET / HTTP/1.1\r\n", b"X: " + b"x" * 600, b"x" * 600):
            caller.send(piece)
        assert is_refused(await caller.rest(), 431, "Request Header Fields Too Large")

    play(parser, LONG, script)


@pytest.mark.parametrize("parser", PARSERS)
def test_an_answer_may_take_longer_than_a_head(parser: str) -> None:
    asked, release = asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> Response:
        asked.set()
        await release.wait()
        return PlainTextResponse("at last")

    async def script(harness: Harness) -> None:
        caller = await harness.connect()
        caller.send(GET)
        await asked.wait()
        await harness.time_passes()
        release.set()
        assert await caller.answer() == (200, b"at last")
        caller.send(GET)
        assert await caller.answer() == (200, b"at last")

    play(parser, SHORT, script, slow)


@pytest.mark.parametrize("parser", PARSERS)
def test_half_a_head_behind_a_request_does_not_spoil_its_answer(parser: str) -> None:
    asked, release = asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> Response:
        asked.set()
        await release.wait()
        return PlainTextResponse("at last")

    async def script(harness: Harness) -> None:
        caller = await harness.connect()
        caller.send(GET + GET[:9])
        await asked.wait()
        await harness.time_passes()
        release.set()
        assert await caller.answer() == (200, b"at last")
        rest = await caller.rest()
        assert not rest or is_refused(rest, 408, "Request Timeout")

    play(parser, SHORT, script, slow, timeout_keep_alive=3600)


@pytest.mark.parametrize("parser", PARSERS)
def test_whoever_sends_much_behind_a_request_is_not_listened_to_until_it_is_answered(parser: str) -> None:
    release = asyncio.Event()

    async def slow(request: Request) -> Response:
        await release.wait()
        return PlainTextResponse("at last")

    async def go() -> None:
        made, state = protocols(parser, LONG, slow)
        protocol, wire = made(), Wire()
        protocol.connection_made(wire)
        protocol.data_received(GET)
        taken = 0
        while wire.reads and taken < 1_000_000:
            protocol.data_received(GET * 100)
            taken += len(GET * 100)
        assert 60_000 < taken < 80_000
        assert wire.written == []
        release.set()
        while state.tasks:
            await asyncio.wait([*state.tasks])
        assert wire.reads
        assert b"".join(wire.written).count(b"at last") == 1 + taken // len(GET)
        protocol.connection_lost(None)

    asyncio.run(go())


@pytest.mark.parametrize("parser", PARSERS)
def test_a_head_may_be_as_large_as_the_settings_say(parser: str) -> None:
    async def script(harness: Harness) -> None:
        caller = await harness.connect()
        caller.send(GET[:-2] + b"X: ")
        for _ in range(50):
            caller.send(b"x" * 2000)
            await asyncio.sleep(0)
        caller.send(b"\r\n\r\n")
        assert await caller.answer() == (200, b"ok")

    play(parser, Settings(max_header_bytes=150_000), script)


@pytest.mark.parametrize("parser", PARSERS)
def test_requests_behind_each_other(parser: str) -> None:
    async def script(harness: Harness) -> None:
        caller = await harness.connect()
        post = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000\r\n\r\n" + b"x" * 3000
        caller.send(post + post + GET)
        assert [await caller.answer() for _ in range(3)] == [(200, b"3000"), (200, b"3000"), (200, b"0")]

    play(parser, LONG, script, length)


@pytest.mark.parametrize("parser", PARSERS)
def test_a_body_that_nobody_reads_does_not_hold_the_connection(parser: str) -> None:
    async def script(harness: Harness) -> None:
        caller = await harness.connect()
        caller.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
        assert await caller.answer() == (200, b"ok")
        caller.send(b"x")
        assert await caller.rest() == b""

    play(parser, SHORT, script, timeout_keep_alive=3600)


@pytest.mark.parametrize("parser", PARSERS)
def test_a_body_in_many_small_pieces(parser: str) -> None:
    read = asyncio.Semaphore(0)

    async def count(request: Request) -> Response:
        size = 0
        async for piece in request.stream():
            size += len(piece)
            read.release()
        return PlainTextResponse(str(size))

    async def script(harness: Harness) -> None:
        caller = await harness.connect()
        caller.send(CHUNKED)
        for _ in range(3):
            caller.send(b"1\r\nx\r\n" * 3000)
            await read.acquire()
        caller.send(b"0\r\nTrailer: x\r\n\r\n")
        assert await caller.answer() == (200, b"9000")
        caller.send(GET)
        assert await caller.answer() == (200, b"0")

    play(parser, LONG, script, count)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("endless", [b"0\r\nX: " + b"x" * 2000, b"1;" + b"x" * 2000])
def test_trailers_and_chunk_extensions_without_end(parser: str, endless: bytes) -> None:
    async def script(harness: Harness) -> None:
        caller = await harness.connect()
        caller.send(CHUNKED + b"1\r\nx\r\n")
        cut = asyncio.create_task(caller.rest())
        caller.send(endless)
        while not cut.done():
            caller.send(b"x" * 500)
            await asyncio.wait({cut}, timeout=0.005)
        assert b"200 OK" not in await cut

    play(parser, LONG, script, length)


@pytest.mark.parametrize("parser", PARSERS)
def test_what_is_no_request(parser: str) -> None:
    async def script(harness: Harness) -> None:
        caller = await harness.connect()
        caller.send(b"\x16\x03\x01 hello\r\n\r\n")
        assert is_refused(await caller.rest(), 400, "Bad Request")

    play(parser, LONG, script)


class Echo(asyncio.Protocol):
    """In place of a WebSocket: says what it hears."""

    def __init__(self, **_: object) -> None:
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)
        if data == b"bye":
            self.transport.close()


@pytest.mark.parametrize("parser", PARSERS)
def test_a_websocket_is_let_alone(parser: str) -> None:
    async def script(harness: Harness) -> None:
        caller = await harness.connect()
        caller.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert (await caller.reader.readuntil(b"\r\n\r\n")).startswith(b"GET / HTTP/1.1\r\n")
        await harness.time_passes()
        caller.send(b"bye")
        assert await caller.rest() == b"bye"

    play(parser, SHORT, script, ws=Echo)


class Wire(asyncio.Transport):
    """The server's side of a connection, which keeps each write."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.reads = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_closing(), "uvloop refuses that"
        self.written.append(bytes(data))

    def close(self) -> None:
        self.written.append(b"")

    def is_closing(self) -> bool:
        return b"" in self.written

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


def written(parser: str, request: bytes, answer: Answer) -> list[bytes]:
    """What the server writes in answer to a request, piece by piece. An empty piece: it closes the connection."""

    async def run() -> list[bytes]:
        made, state = protocols(parser, LONG, answer)
        protocol, wire = made(), Wire()
        protocol.connection_made(wire)
        protocol.data_received(request)
        async with asyncio.timeout(20):
            await asyncio.gather(*state.tasks)
        pieces = [*wire.written]
        protocol.connection_lost(None)
        return pieces

    return asyncio.run(run())


@pytest.mark.parametrize("parser", PARSERS)
def test_nothing_is_written_to_a_caller_who_has_gone(parser: str) -> None:
    async def go() -> None:
        made, state = protocols(parser, LONG, ok)
        protocol, wire = made(), Wire()
        protocol.connection_made(wire)
        protocol.data_received(GET * 3)
        wire.close()
        await asyncio.gather(*state.tasks)
        await asyncio.sleep(0)
        assert wire.written == [b""]
        protocol.connection_lost(None)

    asyncio.run(go())


@pytest.mark.parametrize("parser", PARSERS)
def test_an_answer_goes_out_in_one_piece(parser: str) -> None:
    (piece,) = written(parser, GET, ok)
    assert piece.startswith(b"HTTP/1.1 200 OK\r\n")
    assert piece.endswith(b"\r\n\r\nok")


@pytest.mark.parametrize("parser", PARSERS)
def test_an_answer_without_a_body_goes_out_before_the_connection_is_closed(parser: str) -> None:
    piece, *end = written(parser, b"HEAD / HTTP/1.0\r\nHost: localhost\r\n\r\n", ok)
    assert piece.endswith(b"\r\n\r\n")
    assert end == [b""]


@pytest.mark.parametrize("parser", PARSERS)
def test_a_head_does_not_wait_for_a_body_that_takes_long(parser: str) -> None:
    seen = asyncio.Event()

    async def late(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            await seen.wait()
            yield b"late"

        return StreamingResponse(body())

    async def script(harness: Harness) -> None:
        caller = await harness.connect()
        caller.send(GET)
        assert (await caller.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        seen.set()
        assert await caller.reader.readuntil(b"0\r\n\r\n") == b"4\r\nlate\r\n0\r\n\r\n"

    play(parser, LONG, script, late)
