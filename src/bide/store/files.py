"""The files of a SQLite task hub: its lock, its connections, its schema, its secret, and copies of it."""

from __future__ import annotations

import os
import secrets
import sqlite3
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from msgspec import Struct

from bide.errors import SchemaTooNewError, StoreError, StoreInUseError
from bide.store import file_access
from bide.store.holding import HeldInstances, count_query, first_query, held_instances, newest_query
from bide.store.listing import SQLITE


class SqliteStatus(Struct, frozen=True):
    """A database file as it is. `in_use_by` is the id of the process that owns it, or None."""

    schema: int
    newest_schema: int
    bytes: int
    in_use_by: int | None


def status(path: Path) -> SqliteStatus:
    """What can be said of a database without opening it for work. Raises `StoreError` if it is none."""
    if not path.is_file():
        raise StoreError(f"There is no database {path}.")
    db = _look_at(path)
    try:
        (schema,) = db.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be read as a database: {error}.") from error
    finally:
        db.close()
    files = (path, path.with_name(f"{path.name}-wal"))
    size = sum(file.stat().st_size for file in files if file.exists())
    return SqliteStatus(schema, len(_migrations()), size, _owner(path))


def held(path: Path) -> HeldInstances:
    """Which instances are held. The database must be up to date. Raises `StoreError` if it cannot be read."""
    db = _look_at(path)
    try:
        queries = (count_query(SQLITE), first_query(SQLITE), newest_query(SQLITE))
        return held_instances(*(db.execute(*query).fetchall() for query in queries))
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be read: {error}.") from error
    finally:
        db.close()


def migrate(path: Path) -> tuple[int, int]:
    """Bring a database that nobody uses up to date; returns the numbers of its schema before and after.

    Raises `StoreInUseError`, `SchemaTooNewError`, and `StoreError` if there is no such database.
    """
    if not path.is_file():
        raise StoreError(f"There is no database {path}.")
    held = lock(path)
    try:
        db = connect(path)
        try:
            return migrate_schema(db, path)
        finally:
            db.close()
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be migrated: {error}.") from error
    finally:
        os.close(held)


def backup(path: Path, to: Path) -> None:
    """Copy a database, also while it is in use. What was committed when this began is in the copy.

    Raises `StoreError` if `to` exists, or one of the two cannot be used.
    """
    if to.exists():
        raise StoreError(f"{to} exists already. Choose another name.")
    if not path.is_file():
        raise StoreError(f"There is no database {path}.")
    part = to.with_name(f"{to.name}.part")
    source = _look_at(path)
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        copy = sqlite3.connect(part)
        try:
            source.backup(copy)
        finally:
            copy.close()
        part.rename(to)
    except (sqlite3.Error, OSError) as error:
        part.unlink(missing_ok=True)
        raise StoreError(f"{path} cannot be copied to {to}: {error}.") from error
    finally:
        source.close()


def _look_at(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing."""
    try:
        return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be read as a database: {error}.") from error


def _owner(path: Path) -> int | None:
    """The process that has the lock, or None."""
    try:
        handle = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        if file_access.lock(handle):
            return None
        said = os.read(handle, 32).strip()
        return int(said) if said.isdigit() else 0
    finally:
        os.close(handle)


def _migrations() -> list[Traversable]:
    scripts = resources.files("bide.store").joinpath("schema", "sqlite").iterdir()
    return sorted(scripts, key=lambda script: script.name)


def lock(path: Path) -> int:
    """Lock the file for this process. The system lets go of it when the process ends, however it ends."""
    lock_path = path.with_name(path.name + ".lock")
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # payloads are nobody else's business
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreError(f"{path} cannot be opened: {error.strerror}") from error
    if not file_access.lock(lock):
        owner = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise StoreInUseError(
            f"{path} is in use by process {owner}. One process owns a SQLite database: stop that one, "
            "or use another file."
        )
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # else macOS does not wait for the disk; others do anyway
        connection.execute("PRAGMA mmap_size = 0")  # a disk error must come back as an error, not as a signal
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def migrate_schema(db: sqlite3.Connection, path: Path) -> tuple[int, int]:
    """Bring the schema up to date. Returns its number before and after; it is that of the last migration that ran.

    Raises `SchemaTooNewError`.
    """
    scripts = _migrations()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(scripts):
        raise SchemaTooNewError(
            f"{path} has schema {version}; this Bide knows {len(scripts)}. Install the newer version again."
        )
    for number, script in enumerate(scripts[version:], start=version + 1):
        text = script.read_text("utf-8")
        db.executescript(f"BEGIN IMMEDIATE; {text}; PRAGMA user_version = {number}; COMMIT;")
    return version, len(scripts)


# --- the secret


def hub_secret(db: str) -> bytes:
    """The hub's secret, kept beside the database, readable by its owner only; made when first needed.

    With a database in memory it stays the same as long as the process lives. Raises `StoreError` if the file is
    broken.
    """
    if db == ":memory:":
        return _secret_in_memory()
    path = Path(f"{db}.secret")
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = path.read_bytes()
        if len(secret) != 32:
            raise StoreError(
                f"{path} should hold 32 bytes, and has {len(secret)}. Restore it, or delete it."
            ) from None
        return secret
    with os.fdopen(handle, "wb") as file:
        file.write(secret := secrets.token_bytes(32))
        file.flush()
        os.fsync(handle)
    return secret


@cache
def _secret_in_memory() -> bytes:
    return secrets.token_bytes(32)
