"""Which keys a hub has, by its settings: those in a file beside its database, or those on the database server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from bide.access.keys import KeyRing, keys_path
from bide.config import Settings
from bide.store.postgres.address import require_driver
from bide.store.protocol import Store


def key_ring(settings: Settings) -> KeyRing:
    """The keys of the hub in the settings' database."""
    if settings.on_server:
        require_driver()
        from bide.access.keys_on_server import KeysOnServer  # its driver is an extra

        return KeyRing(KeysOnServer(settings.db))
    return KeyRing(keys_path(settings.db))


@asynccontextmanager
async def served_keys(settings: Settings, store: Store) -> AsyncGenerator[KeyRing, None]:
    """The keys for a server, whose every request asks for them: on a database server, kept in memory."""
    if not settings.on_server:
        yield key_ring(settings)
        return
    from bide.access.keys_on_server import Documents, KeysOnServer

    assert isinstance(store, Documents)
    place = KeysOnServer(settings.db)
    await place.look(store)
    following = asyncio.create_task(place.follow(store))
    try:
        yield KeyRing(place)
    finally:
        following.cancel()
