"""How a worker's loop sleeps: until it is time, or somebody wakes it up."""

from __future__ import annotations

import asyncio

from bide.model.clock import SECOND, Clock, Timestamp


class Sleep:
    """Of one loop."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._wake: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop in which it sleeps. Asking asyncio for it is a call to the system each time."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    async def until(self, at: Timestamp) -> None:
        """Sleep until then, or until `wake_up`."""
        self._wake = self.loop.create_future()
        alarm = self.loop.call_later(max(0, at - self.clock.now()) / SECOND, self.wake_up)
        await self._wake
        alarm.cancel()
        self._wake = None

    def wake_up(self) -> None:
        """There is something to do."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
