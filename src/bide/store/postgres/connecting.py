"""Connections to PostgreSQL, and what goes wrong with them, in words for whoever runs it.

A connection must be a session of the server: its settings, its listening and its prepared statements last as long
as it does. A pooler that gives each transaction another session (PgBouncer's `pool_mode=transaction`) is refused.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute
from asyncpg.exceptions import InternalClientError

from bide.errors import StoreError
from bide.store.postgres.address import safe_url

PATIENCE_S = 10.0
OLDEST = 14
ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, InternalClientError, OSError, asyncio.TimeoutError)

POOLED = (
    "Between here and the server is a pooler that gives each transaction another session. Bide needs sessions "
    "of its own: set pool_mode=session (PgBouncer), or name the server itself."
)
_NO_URL = (
    "The database's URL cannot be read. It is postgresql://user:password@host:port/name; in a password, characters "
    "such as @ / : ? # and % are written as %40 %2F %3A %3F %23 and %25."
)
_ADVICE: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (asyncpg.InvalidPasswordError, "Correct it in the URL, in PGPASSWORD, or in the file of passwords."),
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        "The role must exist, and the server's pg_hba.conf must let it in from here.",
    ),
    (asyncpg.InvalidCatalogNameError, "Make it with createdb, or correct the URL."),
    (asyncpg.TooManyConnectionsError, "Raise max_connections: a worker uses 6."),
    (asyncpg.CannotConnectNowError, "Try again when it has started."),
    (asyncpg.InsufficientPrivilegeError, "Give the role its rights: docs/deploy.md has them."),
    (asyncpg.UndefinedObjectError, "Leave it out of the URL: neither the driver nor the server knows it."),
    ((asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError), POOLED),
    (InternalClientError, "It only reads. Name the primary, or all servers: host1,host2."),
    (asyncpg.InterfaceError, "Correct the URL."),
    (FileNotFoundError, "A socket or a file that the URL names (sslrootcert, sslcert, sslkey) is not there."),
    (ssl.SSLError, "Look at sslmode and sslrootcert in the URL."),
    ((OSError, asyncio.TimeoutError), "Does the server run there, and can this machine reach it?"),
)


async def connect(url: str, name: str, command_timeout: float | None = PATIENCE_S) -> asyncpg.Connection[Any]:
    """A connection whose application name is `name`, if the URL has none. Raises `StoreError` for a URL that is
    none, and one of `ERRORS`."""
    asked = options(url, name)
    try:
        made: asyncpg.Connection[Any] = await asyncpg.connect(
            url, timeout=PATIENCE_S, command_timeout=command_timeout, **asked
        )
    except ERRORS:  # some of them are ValueErrors, too
        raise
    except ValueError:
        raise StoreError(_NO_URL) from None
    return made


def options(url: str, name: str) -> dict[str, Any]:
    """What a connection is asked for, if the URL does not say it. Raises `StoreError` for a URL that is none."""
    try:
        said = parse_qs(urlsplit(url).query, strict_parsing="?" in url)
        target = SessionAttribute(said.get("target_session_attrs", ["read-write"])[-1])
        _check_hosts(url)
    except ValueError:
        raise StoreError(_NO_URL) from None  # what was wrong may be a part of the password
    named = {} if "application_name" in said else {"application_name": name}
    return {"target_session_attrs": target, "server_settings": named}


def _check_hosts(url: str) -> None:
    """What stands where hosts and ports should be may be a piece of a password. Raises `ValueError`."""
    user, mark, hosts = urlsplit(url).netloc.partition("@")
    if "@" in hosts:
        raise ValueError(url)
    for host in (hosts if mark else user).split(","):
        port = host.rpartition("]")[2].partition(":")[2]
        if port and not 0 < int(port) < 65_536:
            raise ValueError(port)


async def check_server(connection: asyncpg.Connection[Any], url: str) -> None:
    """Raises `StoreError` if the server cannot be worked with, whoever connects."""
    if connection.get_server_version().major < OLDEST:
        raise StoreError(
            f"{safe_url(url)} is PostgreSQL {server_version(connection)}. Bide needs {OLDEST} or later."
        )


def server_version(connection: asyncpg.Connection[Any]) -> str:
    said: str = connection.get_settings().server_version
    return said.split()[0]


async def has_session(connection: asyncpg.Connection[Any], url: str, name: str) -> bool:
    """Whether this connection is one session of the server. A pooler that takes sessions back after each
    transaction would now give it to another one, or give this one another."""
    mine = await _process(connection)
    other = await connect(url, name)
    try:
        async with other.transaction():
            return await _process(other) != mine == await _process(connection)
    finally:
        other.terminate()


async def _process(connection: asyncpg.Connection[Any]) -> int:
    found: int = await connection.fetchval("SELECT pg_backend_pid()")
    return found


def unusable(error: BaseException, url: str) -> StoreError:
    """One of `ERRORS`, and what to do about it, in one line."""
    advice = next((advice for kind, advice in _ADVICE if isinstance(error, kind)), "")
    return StoreError(f"{safe_url(url)} cannot be used: {words(error).rstrip('.')}. {advice}".rstrip())


def words(error: BaseException) -> str:
    """What an error says, without details, which may quote rows."""
    if isinstance(error, asyncio.TimeoutError):
        return "no answer in time"
    said = str(error.args[0]) if isinstance(error, asyncpg.PostgresError) and error.args else str(error)
    return said.partition("\n")[0] or type(error).__name__
