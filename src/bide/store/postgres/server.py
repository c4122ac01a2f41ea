"""What can be said of a PostgreSQL task hub without working in it: for whoever runs it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from msgspec import Struct

from bide.model.clock import SystemClock, Timestamp
from bide.store.holding import HeldInstances, count_query, first_query, held_instances, newest_query
from bide.store.listing import POSTGRES, numbered
from bide.store.postgres import schema as postgres_schema
from bide.store.postgres.address import safe_url
from bide.store.postgres.connecting import ERRORS, check_server, connect, has_session, server_version, unusable
from bide.store.postgres.schema import SCHEMA
from bide.store.rows import presences

_NAME = "bide"
_NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_DURABILITY = """
    SELECT current_setting('synchronous_commit'), current_setting('fsync'), current_setting('full_page_writes')
"""
_ROWS = "SELECT relname, n_live_tup FROM pg_stat_user_tables WHERE schemaname = $1 ORDER BY relname"
_OWNERS = f"""
    SELECT owner, count(*) FROM {SCHEMA}.partitions WHERE owner IS NOT NULL AND lease_until >= $1 GROUP BY owner
"""  # noqa: S608 - no value from outside
_RIGHTS = """
    SELECT format('%s on %s', wanted, relname) FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE'])
        AS wanted
    WHERE relnamespace = to_regnamespace($1) AND relkind = 'r' AND NOT has_table_privilege(pg_class.oid, wanted)
        AND format('%s on %s', wanted, relname) <> ALL ($2)
    UNION ALL SELECT format('EXECUTE on %s', proname) FROM pg_proc
    WHERE pronamespace = to_regnamespace($1) AND NOT has_function_privilege(oid, 'EXECUTE')
    ORDER BY 1
"""
_NOT_NEEDED = [
    *(f"{right} on migrations" for right in ("INSERT", "UPDATE", "DELETE")),
    *(f"{right} on partitions" for right in ("INSERT", "DELETE")),
    "DELETE on secrets",
    "DELETE on documents",
]
"""All that a worker can do without; it needs every other right on every table."""


class ServerStatus(Struct, frozen=True):
    """A database as it is. `rows` are the server's own estimates; `workers` are those alive, with the number of
    partitions that each owns."""

    database: str
    server: str
    schema: int
    newest_schema: int
    bytes: int
    rows: dict[str, int]
    workers: dict[str, int]
    partitions_owned: int
    partitions_free: int


class ServerFacts(Struct, frozen=True):
    """What a server promises, and what its role may. `clock_ahead` is the server's clock against ours."""

    synchronous_commit: str
    fsync: str
    full_page_writes: str
    clock_ahead: Timestamp
    has_session: bool
    missing_rights: tuple[str, ...]


async def status(url: str) -> ServerStatus:
    """Raises `StoreError` if the database cannot be used."""
    async with _connected(url) as connection:
        size: int = await connection.fetchval("SELECT pg_database_size(current_database())")
        schema, server = await postgres_schema.version(connection), server_version(connection)
        rows, workers, owned, free = dict[str, int](), dict[str, int](), 0, 0
        if schema:
            rows = {row[0]: row[1] for row in await connection.fetch(_ROWS, SCHEMA)}
            now: Timestamp = await connection.fetchval(_NOW)
            owners: dict[str, int] = {row[0]: row[1] for row in await connection.fetch(_OWNERS, now)}
            workers = {name: owners.get(name, 0) for name in await _alive(connection, now)}
            owned = sum(owners.values())
            free = await connection.fetchval(f"SELECT count(*) FROM {SCHEMA}.partitions") - owned  # noqa: S608
    newest = postgres_schema.newest()
    return ServerStatus(safe_url(url), server, schema, newest, size, rows, workers, owned, free)


async def examine(url: str) -> ServerFacts:
    """Raises `StoreError` if the database cannot be used."""
    async with _connected(url) as connection:
        before = SystemClock().now()
        there: Timestamp = await connection.fetchval(_NOW)
        ahead = there - (before + SystemClock().now()) // 2
        commits, fsync, pages = await connection.fetchrow(_DURABILITY) or ("", "", "")
        missing = tuple(row[0] for row in await connection.fetch(_RIGHTS, SCHEMA, _NOT_NEEDED))
        return ServerFacts(commits, fsync, pages, ahead, await has_session(connection, url, _NAME), missing)


async def held(url: str) -> HeldInstances:
    """Which instances are held. The database must be up to date. Raises `StoreError` if it cannot be used."""
    async with _connected(url) as connection:
        await connection.execute(f"SET search_path TO {SCHEMA}")

        async def answer(query: str, values: list[Any]) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in await connection.fetch(numbered(query), *values)]

        return held_instances(
            await answer(*count_query(POSTGRES)),
            await answer(*first_query(POSTGRES)),
            await answer(*newest_query(POSTGRES)),
        )


async def migrate(url: str) -> tuple[int, int]:
    """Bring the schema up to date; returns its numbers before and after. Raises `StoreError`."""
    try:
        return await postgres_schema.make_ready(url, _NAME)
    except ERRORS as error:
        raise unusable(error, url) from error


async def _alive(connection: asyncpg.Connection[Any], now: Timestamp) -> list[str]:
    rows = await connection.fetch(f"SELECT presence FROM {SCHEMA}.workers ORDER BY name")  # noqa: S608
    return [worker.name for worker in presences(row[0] for row in rows) if worker.alive(now)]


@asynccontextmanager
async def _connected(url: str) -> AsyncGenerator[asyncpg.Connection[Any], None]:
    try:
        connection = await connect(url, _NAME)
        try:
            await check_server(connection, url)
            yield connection
        finally:
            connection.terminate()
    except ERRORS as error:
        raise unusable(error, url) from error
