"""Server-sent events: what happens, told to whoever listens.

An instance's stream tells its history, so it can be resumed anywhere: the id of an event is `generation.seq.birth`.
The hub's stream tells changes as they happen in this process, and keeps the last of them; who comes back later than
that, or to another process, is told to `reset`, that is, to load again. So is everybody when other workers have
changed something. An app's own routes may stream events too.

A stream whose caller is refused meanwhile ends with `unauthorized`, so that its reader does not come back.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any, NamedTuple, TypeAlias, TypeVar

from msgspec.json import encode
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from bide.access.keys import Role
from bide.engine.client import Client
from bide.errors import InstanceNotFoundError
from bide.http.base.answers import HEADERS, request_refusal
from bide.http.base.headers import STEP_ID
from bide.http.base.shapes import ChangesObject
from bide.http.gate.auth import Caller
from bide.http.gate.listening import Listener, Listeners
from bide.model.clock import Timestamp, to_datetime
from bide.model.history import Step
from bide.model.instance import Instance

T = TypeVar("T")
Show: TypeAlias = Callable[[Step | Instance], bytes]
"""What the one who listens gets to see, as JSON."""
Source: TypeAlias = Callable[[Listener], AsyncGenerator[bytes, None]]
"""What is told to that one."""

_HEARTBEAT_S = 15.0
"""Proxies cut connections on which nothing is sent."""
_HEARTBEAT = b": still here\n\n"
_KEPT = 1_000
_PIECE = 65_536
"""So many bytes of events are written at once."""
_MOST_TOLD = 4_194_304
"""So many bytes of events are kept for others who listen."""
CALLER = "bide.caller"
"""Where the scope of a request to an app's own route says who asks."""
_CHANGE_ID = re.compile(r"([0-9a-f]{8})\.([0-9]{1,15})")


class ServerSentEvent(NamedTuple):
    """One event of a stream: its kind, its data as JSON text, and the id under which a reader may come back."""

    kind: str
    data: bytes
    id: str = ""


def event_stream(request: Request, events: AsyncGenerator[ServerSentEvent, None]) -> StreamingResponse:
    """An answer that tells these events as they come: for the handlers of `App.mounts`.

    While there are none it sends a sign of life every 15 seconds. It ends with the events, when the reader goes or
    its key counts no more, and when the server stops; then `events` is closed. Raises `HTTPException` 503 if too
    many streams are open, of all callers (`Settings.max_streams`) or of this one
    (`Settings.max_streams_per_caller`).
    """
    streams: Streams = request.app.state.streams
    return streams.relay(_whose(request), events)


async def unless_stopping(request: Request, waiting: Coroutine[Any, Any, T]) -> T | None:
    """What somebody waits for, or None if the server stops before it is there: for the handlers of `App.mounts`.

    Otherwise a request that waits for long keeps the server from stopping (`Settings.drain_s`). Raises
    `HTTPException` 401 if the caller's key counts no more.
    """
    streams: Streams = request.app.state.streams
    return await streams.unless_closing(_whose(request), waiting)


def _whose(request: Request) -> Caller:
    """Who asked an app's own route. Where no key is taken, that is an address."""
    known: Caller | None = request.scope.get(CALLER)
    return known or Caller("", Role.VIEWER, request.client.host if request.client else "")


class Streams:
    """The open event streams of this process."""

    def __init__(self, client: Client, listeners: Listeners) -> None:
        self.listeners = listeners
        self._hub = _Broadcast(client)

    def close(self) -> None:
        """End all streams: their readers come back, to whoever serves then."""
        self.listeners.close()
        self._hub.close()

    async def instance(
        self, caller: Caller, client: Client, instance_id: str, last_id: str, show: Show
    ) -> StreamingResponse:
        """The steps of an instance after `last_id`, as they come, and its status when it has ended. `client` is the
        reader's.

        Raises `InstanceNotFoundError`, and `HTTPException`: 400 for an id that is none, 503 if there are too many
        streams.
        """
        with ExitStack() as place:
            listener = place.enter_context(self.listeners.streaming(caller))
            steps = await self._begun(listener, client, instance_id, last_id, show)
            return _EventStream(steps, listener, place.pop_all())

    async def _begun(
        self, listener: Listener, client: Client, instance_id: str, last_id: str, show: Show
    ) -> AsyncGenerator[bytes, None]:
        found = re.fullmatch(STEP_ID, last_id)
        if last_id and not found:
            raise HTTPException(400, "Last-Event-ID should be the id of an event of this stream.")
        birth = (await client.get(instance_id)).birth
        same = found is not None and found[3] == birth  # else the reader saw another instance under this id
        seen = (int(found[1]), int(found[2])) if found and same else (0, -1)
        return self._steps(listener, client, instance_id, birth, seen, show)

    def hub(self, caller: Caller, last_id: str, view: str, show: Show) -> StreamingResponse:
        """The instances of this process as they change. All who have the same `view` are shown the same.

        Raises `HTTPException` 503 as `instance` does.
        """
        return self._opened(caller, lambda listener: self._changes(listener, last_id, view, show))

    def beats(self, caller: Caller, every: timedelta, now: Callable[[], Timestamp]) -> StreamingResponse:
        """How many changes there were, once in that time at most. Raises `HTTPException` 503 as `instance` does."""
        return self._opened(caller, lambda listener: self._beats(listener, every, now))

    def relay(self, caller: Caller, events: AsyncGenerator[ServerSentEvent, None]) -> StreamingResponse:
        """Events of somebody else's. Raises `HTTPException` 503 as `instance` does."""
        return self._opened(caller, lambda listener: _relayed(listener, events))

    async def unless_closing(self, caller: Caller, waiting: Coroutine[Any, Any, T]) -> T | None:
        """The result, or None if the streams are closed before. Raises `HTTPException` if the caller is refused
        meanwhile."""
        with self.listeners.waiting(caller) as listener:
            return await listener.result(waiting)

    def _opened(self, caller: Caller, source: Source) -> StreamingResponse:
        with ExitStack() as place:
            listener = place.enter_context(self.listeners.streaming(caller))
            return _EventStream(source(listener), listener, place.pop_all())

    async def _steps(
        self,
        listener: Listener,
        client: Client,
        instance_id: str,
        birth: str,
        seen: tuple[int, int],
        show: Show,
    ) -> AsyncGenerator[bytes, None]:
        wake = listener.wake
        with client.watching(instance_id, lambda _: wake.set()):
            while not listener.ended:
                wake.clear()
                try:
                    instance = await client.get(instance_id)
                    steps = await client.history(instance_id)
                except InstanceNotFoundError:  # purged meanwhile
                    return
                if instance.birth != birth:
                    return  # another one has its id now
                for step in steps:
                    place = (instance.generation, step.seq)
                    if place > seen:
                        seen = place
                        yield _event("step", show(step), f"{instance.generation}.{step.seq}.{birth}")
                if instance.status.finished:
                    yield _event("end", show(instance))
                    return
                while not await _woken(wake):
                    yield _HEARTBEAT

    async def _changes(
        self, listener: Listener, last_id: str, view: str, show: Show
    ) -> AsyncGenerator[bytes, None]:
        wake = listener.wake
        with self._hub.listening(wake) as hub:
            seen = hub.number_of(last_id)
            while not listener.ended:
                wake.clear()
                if seen is None or seen < hub.forgotten:
                    seen = hub.last
                    yield _event("reset", b"null", hub.id_of(seen))
                piece = bytearray()
                for instance in hub.since(seen):
                    seen += 1
                    piece += hub.told(seen, instance, view, show)
                    if len(piece) > _PIECE:
                        yield bytes(piece)
                        piece.clear()
                if piece:
                    yield bytes(piece)
                while not await _woken(wake):
                    yield _HEARTBEAT

    async def _beats(
        self, listener: Listener, every: timedelta, now: Callable[[], Timestamp]
    ) -> AsyncGenerator[bytes, None]:
        wake = listener.wake
        with self._hub.listening(wake) as hub:
            seen = hub.last
            while not listener.ended:
                wake.clear()
                changes, seen = hub.last - seen, hub.last
                yield _event("changed", encode(ChangesObject(now=to_datetime(now()), changes=changes)))
                await listener.pause(every.total_seconds())
                while hub.last == seen and not listener.ended and not await _woken(wake):
                    yield _HEARTBEAT


async def _relayed(
    listener: Listener, events: AsyncGenerator[ServerSentEvent, None]
) -> AsyncGenerator[bytes, None]:
    wake = listener.wake
    following = _started(anext(events, None), wake)
    try:
        while not listener.ended:
            if not await _woken(wake):
                yield _HEARTBEAT
            elif following.done():
                event = following.result()
                if event is None:
                    return
                yield _event(event.kind, event.data, event.id)
                wake.clear()
                following = _started(anext(events, None), wake)
    finally:
        following.cancel()
        await asyncio.wait({following})
        await events.aclose()


class _Broadcast:
    """The last changes of this process, numbered from 1. It begins to look when somebody listens first."""

    def __init__(self, client: Client) -> None:
        self.last = 0
        self._client = client
        self._process = secrets.token_hex(4)
        self._kept: deque[Instance] = deque(maxlen=_KEPT)
        self._told: dict[tuple[int, str], bytes] = {}
        """Events, by the change's number and who sees it: whoever listens asks for the same ones."""
        self._told_bytes = 0
        self._listeners: set[asyncio.Event] = set()
        self._watching = ExitStack()
        self._looks = False

    @property
    def forgotten(self) -> int:
        """The number of the last change that is not kept any more."""
        return self.last - len(self._kept)

    @contextmanager
    def listening(self, wake: asyncio.Event) -> Generator[_Broadcast, None, None]:
        if not self._looks:
            self._looks = True
            self._watching.enter_context(self._client.watching(None, self._note))
            self._watching.enter_context(self._client.watching_others(self._note_others))
        self._listeners.add(wake)
        try:
            yield self
        finally:
            self._listeners.discard(wake)

    def close(self) -> None:
        self._watching.close()

    def since(self, seen: int) -> list[Instance]:
        """The changes after that number."""
        return list(self._kept)[seen - self.forgotten :]

    def told(self, number: int, instance: Instance, view: str, show: Show) -> bytes:
        """The event of a change, made once for all who have that view."""
        found = self._told.get((number, view))
        if found is None:
            if self._told_bytes > _MOST_TOLD:
                self._told.clear()
                self._told_bytes = 0
            found = self._told[number, view] = _event("instance", show(instance), self.id_of(number))
            self._told_bytes += len(found)
        return found

    def id_of(self, number: int) -> str:
        return f"{self._process}.{number}"

    def number_of(self, last_id: str) -> int | None:
        """The number behind an event's id: the present one if there is none, None if it is not of this process."""
        if not last_id:
            return self.last
        found = _CHANGE_ID.fullmatch(last_id)
        if found is None or found[1] != self._process or int(found[2]) > self.last:
            return None
        return int(found[2])

    def _note_others(self) -> None:
        """Something changed elsewhere: one change, of which nothing is kept."""
        self._kept.clear()
        self.last += 1
        self._wake()

    def _note(self, instance: Instance) -> None:
        self._kept.append(instance)
        self.last += 1
        self._wake()

    def _wake(self) -> None:
        for wake in self._listeners:
            wake.set()


class _EventStream(StreamingResponse):
    """Lets go of its source and its place as soon as the reader has gone."""

    def __init__(self, source: AsyncGenerator[bytes, None], listener: Listener, place: ExitStack) -> None:
        headers = {**HEADERS, "X-Accel-Buffering": "no"}
        super().__init__(_while_allowed(source, listener), headers=headers, media_type="text/event-stream")
        self._source = source
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._place:
            try:
                await super().__call__(scope, receive, send)
            finally:
                await self._source.aclose()


async def _while_allowed(source: AsyncGenerator[bytes, None], listener: Listener) -> AsyncGenerator[bytes, None]:
    """What the source tells, as long as its reader may hear it.

    Whose key counts no more is told so, in the words of the answer to a request; others may come back.
    """
    async for piece in source:
        if not listener.may_stay():
            break
        yield piece
    if listener.refused is not None and listener.refused.status_code == 401:
        yield _event("unauthorized", bytes(request_refusal(listener.refused).body))


async def _woken(wake: asyncio.Event) -> bool:
    """Wait for a change. False: none came for so long that a sign of life is due."""
    try:
        async with asyncio.timeout(_HEARTBEAT_S):
            await wake.wait()
    except TimeoutError:
        return False
    return True


def _started(waiting: Awaitable[T], wake: asyncio.Event) -> asyncio.Future[T]:
    """A task for this. When it is done, `wake` is set."""
    task = asyncio.ensure_future(waiting)
    task.add_done_callback(lambda _: wake.set())
    return task


def _event(kind: str, data: bytes, event_id: str = "") -> bytes:
    lines = [f"id: {event_id}\n".encode()] if event_id else []
    return b"".join([*lines, f"event: {kind}\ndata: ".encode(), data, b"\n\n"])
