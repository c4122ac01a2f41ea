"""A worker's signs of life. For people: nothing in the engine depends on them, so none of them can hold it up."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress

from msgspec.structs import replace

from bide.core.registry import Registry
from bide.errors import StoreReplacedError
from bide.model.clock import SECOND, Clock
from bide.model.presence import BEAT, Presence
from bide.store.protocol import Store

log = logging.getLogger("bide.worker")

Load = Callable[[Presence], Presence]
"""Fills in how much a worker has to do."""


class Heartbeat:
    """Tells the store who works, from the beginning to the end."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        presence: Presence,
        load: Load,
        replaced: Callable[[], None] = lambda: None,
    ) -> None:
        """`replaced` is called when it is found that the database is another one."""
        self._replaced = replaced
        self._store = store
        self._clock = clock
        self._presence = presence
        self._load = load
        self._failing = False
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Say every other second that the worker is alive, and sooner if there is news."""
        while True:
            self._news.clear()
            await self._say(self._load(replace(self._presence, seen_at=self._clock.now())))
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT / SECOND):
                    await self._news.wait()

    def hurry(self) -> None:
        """There is something to say at once."""
        self._news.set()

    async def end(self) -> None:
        """Say that the worker ends in order."""
        now = self._clock.now()
        await self._say(replace(self._presence, seen_at=now, ended_at=now))

    async def _say(self, presence: Presence) -> None:
        try:
            await self._store.announce(presence)
            self._failing = False
        except StoreReplacedError:
            self._replaced()
        except Exception as error:  # whatever a database raises: the engine meets the same, and acts on it
            if not self._failing:
                log.warning("The worker could not say that it is alive: %s", error)
            self._failing = True


def presence_of(name: str, registry: Registry, version: str, clock: Clock) -> Presence:
    """What a worker of this process says of itself as it starts."""
    now = clock.now()
    return Presence(
        name=name,
        host=socket.gethostname(),
        process=os.getpid(),
        version=version,
        orchestrators=tuple(sorted(registry.orchestrators)),
        activities=tuple(sorted(registry.activities)),
        started_at=now,
        seen_at=now,
    )
