"""Server-sent events, read as they come."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from msgspec.json import decode
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message

from bide import Client, ServerSentEvent, Settings, event_stream, unless_stopping
from bide.access.keys import KeyRing, Role, keys_path
from bide.http.app import DurableApi, create_app
from bide.http.base.queries import ShowQuery
from bide.http.base.shapes import StatusObject
from bide.http.gate import listening
from bide.http.gate.auth import Caller, Gate
from bide.http.handlers import hub
from bide.http.handlers.api import MANAGEMENT
from bide.http.handlers.endpoint import Call
from bide.http.handlers.showing import status_object
from bide.model.clock import to_micros
from bide.model.instance import Instance
from bide.testing.clock import ManualClock
from tests.http.conftest import INSTANCES, example

EVENTS = INSTANCES.replace("/instances", "/events")
DESCRIBED = {kind: wanted for endpoint in MANAGEMENT for kind, wanted in (endpoint.events or {}).items()}
"""What the document says of the data of each kind of event."""


class Event(NamedTuple):
    id: str
    kind: str
    data: Any


class Stream:
    """One open request. Leaving it is what a reader does who goes away."""

    def __init__(self, api: DurableApi, url: str, last_id: str = "", method: str = "GET") -> None:
        self._sent: asyncio.Queue[Message] = asyncio.Queue()
        self._gone = asyncio.Event()
        self._asked = False
        self._events: deque[str] = deque()
        headers = [(b"host", b"127.0.0.1:7071"), *([(b"last-event-id", last_id.encode())] if last_id else [])]
        self.url = url
        parts = urlsplit(url)
        scope = {
            "type": "http",
            "method": method,
            "path": parts.path,
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 7071),
            "scheme": "http",
            "http_version": "1.1",
            "root_path": "",
        }
        self.task = asyncio.create_task(api(scope, self._receive, self._sent.put))

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def status(self) -> int:
        head = await self._sent.get()
        return int(head["status"])

    async def event(self) -> Event:
        if not self._events:
            message = await asyncio.wait_for(self._sent.get(), 5)
            self._events.extend(message["body"].decode().strip().split("\n\n"))
        lines = dict(line.split(": ", 1) for line in self._events.popleft().split("\n"))
        if lines["event"] in DESCRIBED:
            decode(lines["data"], type=DESCRIBED[lines["event"]])
        return Event(lines.get("id", ""), lines["event"], json.loads(lines["data"]))

    async def last(self) -> Event:
        """The event before the end."""
        while (event := await self.event()).kind != "unauthorized":
            pass
        await self.ends()
        assert self.unread() == b""
        return event

    def unread(self) -> bytes:
        """What is left of the answer."""
        return b"".join(self._sent.get_nowait().get("body", b"") for _ in range(self._sent.qsize()))

    async def ends(self) -> None:
        await asyncio.wait_for(self.task, 5)

    async def leave(self) -> None:
        self._gone.set()
        await self.ends()


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[tuple[DurableApi, Client]]:
    api = create_app(example(), Settings(db=":memory:", **settings))
    async with api.lifespan():
        yield api, api.client


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(bounded())


def test_an_instances_steps_come_as_they_happen() -> None:
    async def test() -> None:
        async with running() as (api, client):
            await client.start("Approve", "in", instance_id="a")
            stream = Stream(api, f"{INSTANCES}/a/events")
            assert await stream.status() == 200
            first = await stream.event()
            started = first.data["facts"][0]
            assert (first.id, first.kind, first.data["seq"]) == (f"0.0.{started['birth']}", "step", 0)
            assert (started["type"], started["name"], started["input"]) == ("ExecutionStarted", "Approve", "in")
            await client.raise_event("a", "Answer", "yes")
            second = await stream.event()
            assert (second.data["seq"], second.data["facts"][0]["type"]) == (1, "EventRaised")
            end = await stream.event()
            assert (end.kind, end.data["output"]) == ("end", "yes")
            await stream.ends()

    run(test)


def test_a_reader_that_comes_back_misses_nothing() -> None:
    async def test() -> None:
        async with running() as (api, client):
            await client.start("Approve", instance_id="a")
            stream = Stream(api, f"{INSTANCES}/a/events")
            await stream.status()
            last = await stream.event()
            await stream.leave()
            await client.raise_event("a", "Answer", "yes")
            stream = Stream(api, f"{INSTANCES}/a/events", last.id)
            await stream.status()
            assert (await stream.event()).id == last.id.replace("0.0.", "0.1.")
            assert (await stream.event()).kind == "end"

    run(test)


def test_a_reader_that_comes_back_sees_all_of_another_instance_of_that_id() -> None:
    async def test() -> None:
        async with running() as (api, client):
            await client.start("Approve", 1, instance_id="a")
            stream = Stream(api, f"{INSTANCES}/a/events")
            await stream.status()
            last = await stream.event()
            await client.start("Approve", 2, instance_id="a", reuse="replace")
            await stream.ends()
            stream = Stream(api, f"{INSTANCES}/a/events", last.id)
            await stream.status()
            assert (await stream.event()).data["facts"][0]["input"] == 2

    run(test)


def test_an_unknown_instance_and_a_bad_id_are_refused() -> None:
    async def test() -> None:
        async with running() as (api, client):
            await client.start("Approve", instance_id="a")
            assert await Stream(api, f"{INSTANCES}/nobody/events").status() == 404
            assert await Stream(api, f"{INSTANCES}/a/events", "x").status() == 400

    run(test)


def test_the_hubs_stream_tells_of_every_instance() -> None:
    async def test() -> None:
        async with running() as (api, client):
            stream = Stream(api, EVENTS)
            await stream.status()
            await asyncio.sleep(0)
            await client.start("Echo", 1, instance_id="a")
            event = await stream.event()
            assert (event.kind, event.data["instanceId"], event.data["runtimeStatus"]) == (
                "instance",
                "a",
                "Completed",
            )
            await stream.leave()
            await client.start("Echo", 2, instance_id="b")
            await client.start("Echo", 3, instance_id="c")
            stream = Stream(api, EVENTS, event.id)
            await stream.status()
            assert [(await stream.event()).data["instanceId"] for _ in range(2)] == ["b", "c"]
            await stream.leave()

    run(test)


def test_what_the_hub_no_longer_has_is_a_reset() -> None:
    async def test() -> None:
        async with running() as (api, client):
            for last_id in ("0badcafe.7", "nonsense"):
                stream = Stream(api, EVENTS, last_id)
                await stream.status()
                assert (await stream.event()).kind == "reset"
                await stream.leave()
            stream = Stream(api, EVENTS)
            await stream.status()
            await client.start("Echo", 0, instance_id="first")
            first = await stream.event()
            await stream.leave()
            for number in range(1_001):
                await client.start("Echo", number)
            stream = Stream(api, EVENTS, first.id)
            await stream.status()
            reset = await stream.event()
            assert reset.kind == "reset"
            await stream.leave()
            stream = Stream(api, EVENTS, reset.id)
            await stream.status()
            await client.start("Echo", 0, instance_id="last")
            assert (await stream.event()).data["instanceId"] == "last"
            await stream.leave()

    run(test)


def test_streams_are_counted_and_let_go() -> None:
    async def test() -> None:
        async with running(max_streams=1) as (api, client):
            await client.start("Approve", instance_id="a")
            stream = Stream(api, f"{INSTANCES}/a/events")
            await stream.status()
            await stream.event()
            assert await Stream(api, EVENTS).status() == 503
            await stream.leave()
            again = Stream(api, EVENTS)
            assert await again.status() == 200
            await again.leave()

    run(test)


def test_streams_are_counted_when_they_are_asked_for() -> None:
    async def test() -> None:
        async with running(max_streams=3) as (api, client):
            await client.start("Approve", instance_id="a")
            urls = [f"{INSTANCES}/a/events", EVENTS, f"{EVENTS}?every=1s", f"{INSTANCES}/a/events"] * 5
            streams = [Stream(api, url) for url in urls]
            statuses = [await stream.status() for stream in streams]
            assert sorted(statuses) == [200] * 3 + [503] * 17
            for stream, status in zip(streams, statuses, strict=True):
                if status == 200:
                    await stream.leave()
            again = Stream(api, EVENTS)
            assert await again.status() == 200
            await again.leave()

    run(test)


def test_a_stream_that_does_not_come_about_takes_no_place() -> None:
    async def test() -> None:
        async with running(max_streams=1) as (api, client):
            await client.start("Approve", instance_id="a")
            assert await Stream(api, f"{INSTANCES}/nobody/events").status() == 404
            assert await Stream(api, f"{INSTANCES}/a/events", "x").status() == 400
            stream = Stream(api, EVENTS)
            assert await stream.status() == 200
            await stream.leave()

    run(test)


def test_no_caller_takes_all_streams() -> None:
    async def test() -> None:
        async with running(max_streams=5, max_streams_per_caller=2) as (api, _):
            api.state.services = replace(api.state.services, gate=Named())
            streams = [Stream(api, f"{EVENTS}?code={who}") for who in ("viewer", "admin") for _ in range(3)]
            assert [await stream.status() for stream in streams] == [200, 200, 503] * 2
            for stream in streams:
                await stream.leave()

    run(test)


class Named(Gate):
    """Takes callers for who they say they are: a name that is a role."""

    def __init__(self) -> None:
        """Knows nothing."""

    def identify(self, request: Request) -> Caller:
        name = request.query_params["code"]
        return Caller(name, Role[name.upper()], "127.0.0.1")


def test_a_change_is_encoded_once_for_all_who_see_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    def counted(call: Call[Any], instance: Instance, wanted: ShowQuery) -> StatusObject:
        shown.append(call.caller.name)
        return status_object(call, instance, wanted)

    monkeypatch.setattr(hub, "status_object", counted)

    async def test() -> None:
        async with running() as (api, client):
            api.state.services = replace(api.state.services, gate=Named())
            streams = [Stream(api, f"{EVENTS}?code={who}") for who in ("viewer", "admin") for _ in range(3)]
            for stream in streams:
                assert await stream.status() == 200
            await asyncio.sleep(0)
            for number in range(2):
                await client.start("Approve", instance_id=f"a{number}")
            heard = [[(await stream.event()).data for _ in range(2)] for stream in streams]
            assert [[each["instanceId"] for each in events] for events in heard] == [["a0", "a1"]] * 6
            assert [events[0]["allowedActions"] != [] for events in heard] == [False] * 3 + [True] * 3
            assert sorted(shown) == ["admin", "admin", "viewer", "viewer"]
            for stream in streams:
                await stream.leave()

    run(test)


def test_streams_end_when_the_server_stops() -> None:
    async def test() -> None:
        async with running() as (api, client):
            await client.start("Approve", instance_id="a")
            streams = [Stream(api, EVENTS), Stream(api, f"{INSTANCES}/a/events")]
            for stream in streams:
                await stream.status()
            await streams[1].event()
            api.state.streams.close()
            for stream in streams:
                await stream.ends()

    run(test)


def test_a_calm_stream_tells_how_much_changed_and_not_what() -> None:
    async def test() -> None:
        async with running() as (api, client):
            stream = Stream(api, f"{EVENTS}?every=100ms")
            assert await stream.status() == 200
            first = await stream.event()
            assert (first.kind, first.data["changes"]) == ("changed", 0)
            for number in range(5):
                await client.start("Echo", instance_id=f"e{number}")
            changes = 0
            while changes < 5:
                event = await stream.event()
                assert event.data.keys() == {"now", "changes"}
                changes += event.data["changes"]
            assert changes == 5
            await stream.leave()

    run(test)


def test_a_calm_stream_ends_with_the_server_however_long_its_pauses_are() -> None:
    async def test() -> None:
        async with running() as (api, _):
            stream = Stream(api, f"{EVENTS}?every=1m")
            await stream.status()
            await stream.event()
            api.state.streams.close()
            await stream.ends()

    run(test)


def test_a_calm_stream_is_neither_too_fast_nor_too_slow() -> None:
    async def test() -> None:
        async with running() as (api, _):
            for every in ("99ms", "61s"):
                stream = Stream(api, f"{EVENTS}?every={every}")
                assert await stream.status() == 400
                await stream.leave()

    run(test)


# --- callers who are refused meanwhile

LONG = "wait=5m"
WAITS = [f"{INSTANCES}/a?{LONG}", f"/count?{LONG}"]
STREAMS = [EVENTS, f"{EVENTS}?every=1m", f"{INSTANCES}/a/events", "/count"]


def revoked(ring: KeyRing, clock: ManualClock) -> None:
    ring.revoke("guest")


def rotated_out(ring: KeyRing, clock: ManualClock) -> None:
    ring.rotate("guest", clock.now(), timedelta(0))


def expired(ring: KeyRing, clock: ManualClock) -> None:
    clock.advance(timedelta(hours=1))


def opened_to_others(ring: KeyRing, clock: ManualClock) -> None:
    assert isinstance(ring, KeyFile)
    ring.path.chmod(0o644)


class KeyFile(KeyRing):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path


async def looks() -> None:
    """Time in which whoever listens is looked at several times."""
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def with_key(directory: Path) -> AsyncIterator[tuple[DurableApi, KeyFile, ManualClock, str]]:
    """A server that demands keys, and the one that a caller has for an hour. It has an instance `a`."""

    async def count(request: Request) -> Response:
        if "wait" in request.query_params:
            await unless_stopping(request, asyncio.Event().wait())
            return Response()
        return event_stream(request, counting(1, asyncio.Event()))

    app, clock = example(), ManualClock()
    app.mounts.append(Route("/count", count))
    settings = Settings(db=str(directory / "hub.db"), require_key=True)
    path = keys_path(settings.db)
    assert path is not None
    ring = KeyFile(path)
    api = DurableApi(app, settings, clock)
    async with api.lifespan():
        await api.client.start("Approve", instance_id="a")
        key = ring.create("guest", Role.OPERATOR, clock.now(), clock.now() + to_micros(timedelta(hours=1)))
        ring.create("other", Role.OPERATOR, clock.now())
        yield api, ring, clock, key


@pytest.mark.parametrize("refuse", [revoked, rotated_out, expired])
def test_what_was_opened_with_a_key_ends_with_it(
    refuse: Callable[[KeyRing, ManualClock], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "LOOK_S", 0)

    async def test() -> None:
        async with with_key(tmp_path) as (api, ring, clock, key):
            streams = [Stream(api, f"{url}{'&' if '?' in url else '?'}code={key}") for url in STREAMS]
            waits = [Stream(api, f"{url}&code={key}") for url in WAITS]
            starts = Stream(api, f"/orchestrators/Approve?{LONG}&code={key}", method="POST")
            assert [await stream.status() for stream in streams] == [200] * 4
            for stream in streams[1:]:
                await stream.event()
            await looks()
            assert not any(each.task.done() for each in (*streams, *waits, starts))
            refuse(ring, clock)
            for stream in streams:
                last = await stream.last()
                assert (last.kind, last.data["status"]) == ("unauthorized", 401)
            assert [await wait.status() for wait in (*waits, starts)] == [401] * 3
            for stream in streams:
                assert await Stream(api, stream.url).status() == 401

    run(test)


def test_nothing_more_is_told_once_a_key_is_revoked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even what happens before anybody looks."""
    monkeypatch.setattr(listening, "LOOK_S", 3_600)

    async def test() -> None:
        async with with_key(tmp_path) as (api, ring, _, key):
            streams = [Stream(api, f"{url}?code={key}") for url in (EVENTS, f"{INSTANCES}/a/events")]
            wait = Stream(api, f"{INSTANCES}/a?{LONG}&code={key}")
            for stream in streams:
                await stream.status()
            await streams[1].event()
            ring.revoke("guest")
            await api.client.raise_event("a", "Answer", "a secret")
            for stream in streams:
                assert (await stream.event()).kind == "unauthorized"
                await stream.ends()
            assert await wait.status() == 401

    run(test)


def test_keys_that_cannot_be_read_end_what_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes back hears that the server cannot tell, not that the key is wrong."""
    monkeypatch.setattr(listening, "LOOK_S", 0)

    async def test() -> None:
        async with with_key(tmp_path) as (api, ring, clock, key):
            stream, wait = Stream(api, f"{EVENTS}?code={key}"), Stream(api, f"{INSTANCES}/a?{LONG}&code={key}")
            await stream.status()
            opened_to_others(ring, clock)
            await stream.ends()
            assert stream.unread() == b""
            assert await wait.status() == 503
            assert await Stream(api, f"{EVENTS}?code={key}").status() == 503

    run(test)


def test_others_keep_what_they_have_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "LOOK_S", 0)

    async def test() -> None:
        async with with_key(tmp_path) as (api, ring, clock, key):
            stream = Stream(api, f"{INSTANCES}/a/events?code={key}")
            await stream.status()
            await stream.event()
            ring.revoke("other")
            ring.rotate("guest", clock.now(), timedelta(minutes=1))
            await looks()
            await api.client.raise_event("a", "Answer", 1)
            assert (await stream.event()).kind == "step"
            assert (await stream.event()).kind == "end"

    run(test)


# --- an app's own events


async def counting(last: int, closed: asyncio.Event) -> AsyncGenerator[ServerSentEvent, None]:
    """Events that end, or wait for ever after the first."""
    try:
        for number in range(1, last + 1):
            yield ServerSentEvent("count", f"{number}".encode(), f"n{number}")
        if last == 1:
            await asyncio.Event().wait()
    finally:
        closed.set()


@asynccontextmanager
async def telling(last: int, closed: asyncio.Event) -> AsyncIterator[DurableApi]:
    async def count(request: Request) -> Response:
        return event_stream(request, counting(last, closed))

    app = example()
    app.mounts.append(Route("/count", count))
    api = create_app(app, Settings(db=":memory:"))
    async with api.lifespan():
        yield api


def test_an_apps_own_events_end_with_their_source() -> None:
    async def go() -> None:
        closed = asyncio.Event()
        async with telling(3, closed) as api:
            stream = Stream(api, "/count")
            assert await stream.status() == 200
            assert [await stream.event() for _ in range(3)] == [Event(f"n{n}", "count", n) for n in (1, 2, 3)]
            await stream.ends()
            assert closed.is_set()

    asyncio.run(go())


@pytest.mark.parametrize("how", ["the reader goes", "the server stops"])
def test_the_source_is_closed_when(how: str) -> None:
    async def go() -> None:
        closed = asyncio.Event()
        async with telling(1, closed) as api:
            stream = Stream(api, "/count")
            assert await stream.status() == 200
            assert (await stream.event()).data == 1
            if how == "the reader goes":
                await stream.leave()
            else:
                api.state.streams.close()
                await stream.ends()
            assert closed.is_set()

    asyncio.run(go())
