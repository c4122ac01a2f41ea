"""Keys in a database that many workers share: a row of it, the same for all of them.

A server holds them in memory, and looks every other second whether they have changed; so a key that is revoked
counts nowhere any more some seconds later. Command lines read and change the row itself, under its lock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar, runtime_checkable

from bide.access.keys import Change, Key, decode_keys, encode_keys
from bide.errors import StoreUnavailableError
from bide.store.postgres.store import PostgresStore

T = TypeVar("T")
log = logging.getLogger("bide.keys")

LOOK_S = 2.0
_NAME = "keys"
_WHERE = "The row 'keys' in bide.documents"


@runtime_checkable
class Documents(Protocol):
    """What a store must have for this."""

    async def document(self, name: str) -> bytes | None: ...
    async def change_document(self, name: str, change: Callable[[bytes | None], bytes]) -> None: ...


class KeysOnServer:
    """Implements `KeyPlace`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: tuple[Key, ...] | None = None

    def current(self) -> tuple[Key, ...]:
        if self._keys is None:
            _wait_for(self._with_store(self.look))
        return self._keys or ()

    def change(self, change: Change) -> None:
        def changed(content: bytes | None) -> bytes:
            self._keys = change(_keys_of(content))
            return encode_keys(self._keys)

        _wait_for(self._with_store(lambda store: store.change_document(_NAME, changed)))

    async def look(self, store: Documents) -> None:
        """Read the row."""
        self._keys = _keys_of(await store.document(_NAME))

    async def follow(self, store: Documents) -> None:
        """Read the row again and again. While the database is away, the keys known so far count."""
        away = False
        while True:
            try:
                await self.look(store)
                away = False
            except StoreUnavailableError as error:
                if not away:
                    log.warning("Keys that are made or revoked now are not heard of: %s", error)
                away = True
            await asyncio.sleep(LOOK_S)

    async def _with_store(self, work: Callable[[Documents], Coroutine[Any, Any, None]]) -> None:
        store = PostgresStore(self._url)
        await store.open()
        try:
            await work(store)
        finally:
            await store.close()


def _keys_of(content: bytes | None) -> tuple[Key, ...]:
    return () if content is None else decode_keys(content, _WHERE)


def _wait_for(work: Coroutine[Any, Any, T]) -> T:
    """The result, also where a loop runs in this thread already."""
    with ThreadPoolExecutor(1, "bide-keys") as thread:
        return thread.submit(asyncio.run, work).result()
