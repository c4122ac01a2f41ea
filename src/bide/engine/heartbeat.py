"""A worker's signs of life. For people: nothing in the engine depends on them, so none of them can hold it up."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from msgspec.structs import replace

from bide.clock import SECOND, Clock
from bide.core.registry import Function, Registry
from bide.presence import BEAT, Presence
from bide.store.protocol import Store

log = logging.getLogger("bide.worker")

Load = Callable[[Presence], Presence]
"""Fills in how much a worker has to do."""


class Heartbeat:
    """Tells the store who works, from the beginning to the end."""

    def __init__(self, store: Store, clock: Clock, presence: Presence, load: Load) -> None:
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
        except Exception as error:  # whatever a database raises: the engine meets the same, and acts on it
            if not self._failing:
                log.warning("The worker could not say that it is alive: %s", error)
            self._failing = True


def presence_of(name: str, registry: Registry, clock: Clock) -> Presence:
    """What a worker of this process says of itself as it starts."""
    now = clock.now()
    functions = [each.function for each in registry.orchestrators.values()]
    functions += [each.function for each in registry.activities.values()]
    return Presence(
        name=name,
        host=socket.gethostname(),
        process=os.getpid(),
        version=code_version(functions),
        orchestrators=tuple(sorted(registry.orchestrators)),
        activities=tuple(sorted(registry.activities)),
        started_at=now,
        seen_at=now,
    )


def code_version(functions: list[Function]) -> str:
    """A digest of the files that the functions are written in, or of their names where there is no file."""
    sources: dict[str, bytes] = {}
    for function in functions:
        file = inspect.getsourcefile(inspect.unwrap(function))
        try:
            sources[file or function.__qualname__] = Path(file).read_bytes() if file else b""
        except OSError:  # typed in at a prompt, or gone since
            sources[function.__qualname__] = b""
    digest = blake2b(digest_size=4)
    for _, source in sorted(sources.items()):
        digest.update(source)
    return digest.hexdigest()
