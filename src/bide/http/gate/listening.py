"""Who listens to a stream, or waits for an answer: how many they are, and how long they may stay.

A request is judged when it comes. These last, so whether their callers still count is asked again: twice a second,
and before anything is told. A key that is revoked ends what was opened with it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from starlette.exceptions import HTTPException

from bide.config import Settings
from bide.http.gate.auth import Caller, Gate

T = TypeVar("T")

LOOK_S = 0.5


class Listener:
    """One open stream, or one request that waits."""

    def __init__(self, check: Callable[[], None]) -> None:
        """`check` raises `HTTPException` if the caller would be refused now."""
        self.wake = asyncio.Event()
        """Set when there may be something to tell, and when it is over."""
        self.refused: HTTPException | None = None
        """Why it was ended, if that is because of its caller."""
        self._check = check
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def ended(self) -> bool:
        return self._over.done()

    def end(self) -> None:
        """Nothing more is told."""
        if not self._over.done():
            self._over.set_result(None)
        self.wake.set()

    def may_stay(self) -> bool:
        """Whether it goes on. It is ended if its caller would be refused now."""
        if not self.ended:
            try:
                self._check()
            except HTTPException as error:
                self.refused = error
                self.end()
        return not self.ended

    async def pause(self, seconds: float) -> None:
        """Let that time pass, but for the end."""
        await asyncio.wait({self._over}, timeout=seconds)

    async def result(self, waiting: Coroutine[Any, Any, T]) -> T | None:
        """What is waited for, or None if the server stops before. Raises what the caller is refused with, if it is
        refused meanwhile."""
        task = asyncio.ensure_future(waiting)
        either: set[asyncio.Future[Any]] = {task, self._over}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            self.may_stay()
            if self.refused is not None:
                raise self.refused
            return task.result() if task.done() else None
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class Listeners:
    """All of this process."""

    def __init__(self, gate: Gate, settings: Settings) -> None:
        self._gate = gate
        self._most = settings.max_streams
        self._most_each = settings.max_streams_per_caller
        self._streams: Counter[str] = Counter()
        """How many streams each caller has open."""
        self._all: set[Listener] = set()
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """End all: they come back, to whoever serves then."""
        self._closed = True
        for listener in tuple(self._all):
            listener.end()

    @contextmanager
    def waiting(self, caller: Caller) -> Generator[Listener, None, None]:
        """One more who waits."""
        listener = Listener(partial(self._gate.check, caller))
        if self._closed:
            listener.end()
        self._all.add(listener)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)
        try:
            yield listener
        finally:
            self._all.discard(listener)

    @contextmanager
    def streaming(self, caller: Caller) -> Generator[Listener, None, None]:
        """One more who listens to a stream. Its place is taken before anything is waited for.

        Raises `HTTPException` 503 if there are too many, of all callers or of this one.
        """
        share = _share_of(caller)
        if self._streams.total() >= self._most:
            raise _no_room(f"{self._most} event streams are open, and no more are allowed (max_streams).")
        if self._streams[share] >= self._most_each:
            raise _no_room(f"You have {self._most_each} event streams open, and no more (max_streams_per_caller).")
        self._streams[share] += 1
        try:
            with self.waiting(caller) as listener:
                yield listener
        finally:
            self._streams[share] -= 1
            if not self._streams[share]:
                del self._streams[share]

    def _look(self) -> None:
        self._timer = None
        for listener in tuple(self._all):
            listener.may_stay()
        if self._all:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)


def _share_of(caller: Caller) -> str:
    """Whose streams are counted together: a key's, those of one instance's URIs, or an address's without either."""
    if caller.grant is not None:
        return f"instance:{caller.grant.birth}"
    return f"key:{caller.name}" if caller.name else f"address:{caller.address}"


def _no_room(message: str) -> HTTPException:
    return HTTPException(503, message, {"Retry-After": "10"})
