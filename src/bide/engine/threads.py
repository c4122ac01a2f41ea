"""Threads for bodies that may block.

A body in a thread cannot be stopped. One that nobody waits for any more, because its time is over or its instance
has ended, goes on until it returns: it has *outlived* its call. It must not take the place of others, so its place
is given on, and a further thread is made; but only so many that bodies which never return cannot fill the memory.

The threads are daemons: no process waits for a body to end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeAlias

Function: TypeAlias = Callable[[], Any]
_Job: TypeAlias = tuple[Function, asyncio.Future[Any]]


class Threads:
    """A pool of places, given in the order in which they were asked for. To be used from one event loop."""

    def __init__(self, places: int, name: str) -> None:
        """So many bodies run at once, and as many again may have outlived their calls."""
        self.outlived = 0
        """Bodies that run on though nobody waits for them."""
        self._most_outlived = places
        self._kept = 0
        """Places that were not given on, because there are too many bodies that outlived their calls."""
        self._name = name
        self._places = asyncio.Semaphore(places)
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._idle = 0
        self._made = 0

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[None, None]:
        """Wait for a place; within it, `call` finds a thread at once."""
        await self._places.acquire()
        try:
            yield
        finally:
            if self.outlived > self._most_outlived + self._kept:
                self._kept += 1
            else:
                self._places.release()

    async def call(self, function: Function) -> Any:
        """What the function gives. If the call is cancelled, the function runs on."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._jobs.put((function, future))
        if self._idle:
            self._idle -= 1
        else:
            self._made += 1
            Thread(
                target=_work, args=(self._jobs, self._ended), name=f"{self._name}-{self._made}", daemon=True
            ).start()
        try:
            return await future
        except asyncio.CancelledError:
            if future.cancelled():  # else the body itself raised it
                self.outlived += 1
            raise

    def close(self) -> None:
        """Let the threads end, each as soon as its body has."""
        for _ in range(self._made):
            self._jobs.put(None)

    def _ended(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        """A thread has no more to do. Runs in the event loop."""
        self._idle += 1
        if future.cancelled():
            self.outlived -= 1
            if self._kept:
                self._kept -= 1
                self._places.release()
        elif error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


_Ended: TypeAlias = Callable[[asyncio.Future[Any], Any, BaseException | None], None]


def _work(jobs: SimpleQueue[_Job | None], ended: _Ended) -> None:
    """What a thread does."""
    while (job := jobs.get()) is not None:
        function, future = job
        result, error = None, None
        try:
            result = function()
        except BaseException as raised:
            error = raised
        try:
            future.get_loop().call_soon_threadsafe(ended, future, result, error)
        except RuntimeError:  # the loop is closed: nobody waits for it
            return
        del job, function, future, result, error  # else they live until the next body comes
