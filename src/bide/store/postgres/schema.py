"""The schema of a PostgreSQL task hub: which it has, and how it comes to the newest."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import asyncpg

from bide.errors import SchemaTooNewError, StoreError
from bide.store.postgres.address import owner_url
from bide.store.postgres.connecting import POOLED, check_server, connect, has_session

SCHEMA = "bide"


async def make_ready(url: str, name: str) -> tuple[int, int]:
    """Bring the schema up to date, if it is not; returns its numbers before and after.

    One worker does it, the others wait; old ones may go on meanwhile. It may take its time, so it has a connection
    of its own, whose end is also that of the lock. Raises `StoreError` if the server cannot be worked with, or the
    role may not change what must be changed; and what `connect` raises.
    """
    connection = await connect(url, name, command_timeout=None)
    try:
        await check_server(connection, url)
        if not await has_session(connection, url, name):
            raise StoreError(POOLED)
        return await _migrate(connection, url)
    finally:
        connection.terminate()


async def version(connection: asyncpg.Connection[Any]) -> int:
    """The number of the schema; 0: there is none."""
    if await connection.fetchval("SELECT to_regclass($1)", "bide.migrations") is None:
        return 0
    found: int = await connection.fetchval("SELECT coalesce(max(number), 0) FROM bide.migrations")
    return found


def newest() -> int:
    """The number of the schema that this code works with."""
    return len(_scripts())


async def _migrate(connection: asyncpg.Connection[Any], url: str) -> tuple[int, int]:
    before, known = await version(connection), newest()
    if before > known:
        raise SchemaTooNewError(
            f"The database has schema {before}; this Bide knows {known}. Install the newer version."
        )
    if before < known:
        try:
            # Before the transaction begins: one that waits within it does not see what another one made meanwhile.
            await connection.execute("SELECT pg_advisory_lock(hashtext('bide.migrations'))")
            async with connection.transaction():
                await _run_scripts(connection)
        except asyncpg.InsufficientPrivilegeError as error:
            has = f"schema {before}" if before else "no schema yet"
            raise StoreError(
                f"The database has {has}, this Bide needs schema {known}, and this role may not change it. "
                f"Run once, with the owner's role: bide db migrate --db '{owner_url(url)}'"
            ) from error
    return before, known


async def _run_scripts(connection: asyncpg.Connection[Any]) -> None:
    await connection.execute(f"SET LOCAL search_path TO {SCHEMA}")
    done = await version(connection)
    if done == 0:
        # Whoever may not make schemas may have been given this one: IF NOT EXISTS would ask for the right first.
        if await connection.fetchval("SELECT to_regnamespace($1)", SCHEMA) is None:
            await connection.execute(f"CREATE SCHEMA {SCHEMA}")
        await connection.execute("CREATE TABLE migrations (number integer PRIMARY KEY, at timestamptz)")
    for number, script in enumerate(_scripts()[done:], start=done + 1):
        await connection.execute(script.read_text("utf-8"))
        await connection.execute("INSERT INTO migrations VALUES ($1, now())", number)


def _scripts() -> list[Traversable]:
    scripts = resources.files("bide.store").joinpath("schema", "postgres").iterdir()
    return sorted(scripts, key=lambda script: script.name)
