"""Callers who do not take their answers, and more callers than there is room for. A look is a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from bide.config import Settings
from bide.http.server import connections
from bide.http.server.protocol import ServerConfig
from tests.http.test_protocol import GET, PARSERS, Wire, protocols

HEALTH = GET.replace(b"/ ", b"/healthz ")
LARGE = 1_000_000


class SlowWire(Wire):
    """A caller's connection: what is written waits until the caller takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.unsent = 0
        self.aborted = False
        self.protocol: Any = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        self.unsent += len(data)
        if self.unsent > 65_536:
            self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def take(self, size: int) -> None:
        self.unsent -= min(size, self.unsent)
        if self.unsent < 16_384:
            self.protocol.resume_writing()

    def close(self) -> None:
        """Only when all is taken the connection is closed."""
        super().close()
        if not self.unsent:
            self._lost()

    def abort(self) -> None:
        self.aborted = True
        super().close()
        self._lost()

    def _lost(self) -> None:
        asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    @property
    def answers(self) -> list[int]:
        return [int(each[:3]) for each in b"".join(self.written).split(b"HTTP/1.1 ")[1:]]


class Server:
    def __init__(self, parser: str, settings: Settings) -> None:
        self._made, self._state = protocols(parser, settings, answer)
        self._callers: list[SlowWire] = []

    def connect(self) -> SlowWire:
        wire = SlowWire()
        wire.protocol = self._made()
        wire.protocol.connection_made(wire)
        self._callers.append(wire)
        return wire

    async def ask(self, wire: SlowWire, *requests: bytes) -> list[int]:
        """The statuses of all answers so far."""
        wire.protocol.data_received(b"".join(requests))
        await self.rest()
        return wire.answers

    async def rest(self) -> None:
        """Until nothing goes on that does not wait for a caller."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def seconds(self, count: int) -> None:
        config = self._callers[0].protocol.config
        assert isinstance(config, ServerConfig)
        for _ in range(count):
            config.connections.look()
            await self.rest()

    async def end(self) -> None:
        for wire in self._callers:
            wire.unsent = 0
            wire.protocol.connection_lost(None)
        await asyncio.gather(*self._state.tasks)


async def answer(request: Request) -> Response:
    return PlainTextResponse("x" * (LARGE if request.url.path == "/" else 2))


def play(parser: str, script: Callable[[Server], Coroutine[Any, Any, None]], **settings: Any) -> None:
    async def run() -> None:
        server = Server(parser, Settings(**settings))
        try:
            async with asyncio.timeout(20):
                await script(server)
        finally:
            await server.end()

    asyncio.run(run())


@pytest.mark.parametrize("parser", PARSERS)
def test_who_takes_nothing_is_cut_off(parser: str) -> None:
    async def script(server: Server) -> None:
        wire = server.connect()
        assert await server.ask(wire, GET) == [200]
        await server.seconds(15)
        assert not wire.aborted
        await server.seconds(1)
        assert wire.aborted

    play(parser, script)


@pytest.mark.parametrize("parser", PARSERS)
def test_who_takes_the_last_bytes_of_an_answer_too_slowly_is_cut_off_although_it_is_closed(parser: str) -> None:
    async def script(server: Server) -> None:
        wire = server.connect()
        await server.ask(wire, HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert wire.is_closing()
        for _ in range(16):
            wire.take(1)
            await server.seconds(1)
        assert wire.aborted

    play(parser, script)


@pytest.mark.parametrize("parser", PARSERS)
def test_who_takes_16_kib_in_15_seconds_is_served(parser: str) -> None:
    async def script(server: Server) -> None:
        wire = server.connect()
        await server.ask(wire, GET)
        for _ in range(3):
            await server.seconds(14)
            wire.take(16_384)
            await server.seconds(1)
        assert not wire.aborted
        wire.take(LARGE)
        await server.seconds(100)
        assert not wire.aborted

    play(parser, script)


@pytest.mark.parametrize("parser", PARSERS)
def test_an_answer_is_made_when_the_one_before_it_is_on_its_way(parser: str) -> None:
    async def script(server: Server) -> None:
        wire = server.connect()
        assert await server.ask(wire, GET, GET, GET) == [200]
        wire.take(LARGE // 2)
        await server.rest()
        assert wire.answers == [200]
        wire.take(LARGE)
        await server.rest()
        assert wire.answers == [200, 200]

    play(parser, script)


@pytest.mark.parametrize("parser", PARSERS)
def test_when_too_much_waits_who_takes_nothing_is_cut_off_at_once(parser: str) -> None:
    async def script(server: Server) -> None:
        reader, *others = (server.connect() for _ in range(4))
        for wire in (reader, *others):
            await server.ask(wire, GET)
            reader.take(1)
        while not others[0].aborted:
            reader.take(1)
            await asyncio.sleep(0.01)
        assert [wire.aborted for wire in (reader, *others)] == [False, True, True, False]

    play(parser, script, max_unsent_bytes=2 * LARGE + 1_000)


@pytest.mark.parametrize("parser", PARSERS)
def test_there_is_room_for_health_checks_when_there_is_no_other(parser: str) -> None:
    async def script(server: Server) -> None:
        for _ in range(2):
            assert await server.ask(server.connect(), HEALTH) == [200]
        silent = [server.connect() for _ in range(100)]
        late = server.connect()
        assert await server.ask(late, GET) == [503]
        assert late.is_closing()
        assert b"max_connections" in late.written[0]
        assert b"retry-after: 5" in late.written[0].lower()
        health = server.connect()
        assert await server.ask(health, HEALTH, GET) == [200]
        assert health.is_closing()
        assert [wire.aborted for wire in silent].index(False) == 100 - 30

    play(parser, script, max_connections=2)


@pytest.mark.parametrize("parser", PARSERS)
def test_those_from_whom_nothing_comes_make_room(parser: str) -> None:
    async def script(server: Server) -> None:
        idle, unread, busy, silent = (server.connect() for _ in range(4))
        await server.ask(idle, HEALTH)
        idle.take(LARGE)
        await server.ask(unread, HEALTH)
        for _ in range(3):
            await server.ask(busy, HEALTH)
            busy.take(LARGE)
            await server.seconds(1)
        assert await server.ask(server.connect(), HEALTH) == [200]
        assert [wire.aborted for wire in (idle, unread, busy, silent)] == [True, True, False, True]

    play(parser, script, max_connections=4)


# --- many at the same moment

SMALL = GET.replace(b"/ ", b"/small ")


def answered(wires: list[SlowWire]) -> list[int]:
    return [place for place, wire in enumerate(wires) if wire.answers]


@pytest.mark.parametrize("parser", PARSERS)
def test_many_requests_at_once_begin_one_after_the_other(parser: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_AT_ONCE", 3)

    async def script(server: Server) -> None:
        wires = [server.connect() for _ in range(10)]
        health = server.connect()
        for wire in wires:
            wire.protocol.data_received(SMALL)
        health.protocol.data_received(HEALTH)
        begun: list[int] = []
        while len(begun) < 10:
            await asyncio.sleep(0)
            found = answered(wires)
            assert found[: len(begun)] == begun, "in the order in which they came"
            assert len(found) - len(begun) <= 3
            begun = found
            assert health.answers == [200] or not begun, "it does not wait for the others"
        assert all(wire.answers == [200] for wire in wires)

    play(parser, script)


@pytest.mark.parametrize("parser", PARSERS)
def test_who_comes_later_begins_later(parser: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_AT_ONCE", 1)

    async def script(server: Server) -> None:
        wires = [server.connect() for _ in range(4)]
        for wire in wires[:2]:
            wire.protocol.data_received(SMALL * 2)
        wires[2].protocol.data_received(SMALL[:9])  # half a head takes nobody's turn
        await asyncio.sleep(0)
        wires[3].protocol.data_received(SMALL)
        await server.rest()
        assert [len(wire.answers) for wire in wires] == [2, 2, 0, 1]
        wires[2].protocol.data_received(SMALL[9:])
        await server.rest()
        assert wires[2].answers == [200]

    play(parser, script)


@pytest.mark.parametrize("parser", PARSERS)
def test_who_goes_before_it_is_their_turn_is_forgotten(parser: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_AT_ONCE", 1)

    async def script(server: Server) -> None:
        wires = [server.connect() for _ in range(4)]
        for wire in wires:
            wire.protocol.data_received(SMALL)
        wires[2].abort()
        await server.rest()
        assert [wire.answers for wire in wires] == [[200], [200], [], [200]]

    play(parser, script)


@pytest.mark.parametrize("parser", PARSERS)
def test_who_waits_for_a_turn_is_not_too_slow(parser: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_AT_ONCE", 1)

    async def script(server: Server) -> None:
        wires = [server.connect() for _ in range(9)]
        for wire in wires:
            wire.protocol.data_received(SMALL)
        await server.rest()
        assert [wire.answers for wire in wires] == [[200]] * 9

    play(parser, script, header_timeout_s=1e-9)
