"""The files of a SQLite task hub: its lock, its connections, its schema, its secret, and copies of it."""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from threading import Event, Thread
from typing import TypeAlias

from msgspec import Struct

from bide.errors import (
    SchemaTooNewError,
    StoreError,
    StoreInUseError,
    StoreReplacedError,
    StoreUnavailableError,
)
from bide.store.holding import HeldInstances, count_query, first_query, held_instances, newest_query
from bide.store.listing import SQLITE
from bide.store.memory import secret_in_memory
from bide.store.sqlite import file_access

log = logging.getLogger("bide.store")


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


def damage(path: Path) -> str | None:
    """What is wrong with the pages of a database, or None. It reads the whole file, also while it is in use."""
    db = _look_at(path)
    try:
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        found = str(error)
    finally:
        db.close()
    return None if found == "ok" else str(found).strip().rpartition("\n")[2]


def log_size(path: Path) -> int:
    """Bytes of what was written last, and is in a file beside the database."""
    try:
        return _log_path(path).stat().st_size
    except FileNotFoundError:
        return 0


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
        held.close()


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
        file_access.sync_name(to)
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
    """The process that has the database, 0 if it has not said which it is, or None."""
    if _identity(path.stat()) in _had:  # to open and close it here would end SQLite's own locks on it
        return os.getpid()
    with suppress(FileNotFoundError), _opened(_lock_path(path)) as handle:
        if not file_access.lock(handle):
            said = os.read(handle, 32).strip()
            return int(said) if said.isdigit() else 0
    with _opened(path) as handle:
        return None if file_access.lock_database(handle) else 0


@contextmanager
def _opened(path: Path) -> Generator[int, None, None]:
    handle = os.open(path, os.O_RDWR)
    try:
        yield handle
    finally:
        os.close(handle)


def _migrations() -> list[Traversable]:
    scripts = resources.files("bide.store").joinpath("schema", "sqlite").iterdir()
    return sorted(scripts, key=lambda script: script.name)


_Identity: TypeAlias = tuple[int, int]

_had = set[_Identity]()
"""Which databases this process has. None of them is opened a second time: POSIX ends all locks of a process on a
file when it closes any handle of that file, and so SQLite's, too."""


class DatabaseLock:
    """A database file that this process has for itself, under whatever name it is asked for.

    The system lets go of it when the process ends, however it ends. Close SQLite's connections before it.
    """

    def __init__(self, file: int, name: int) -> None:
        """`file` is the database, `name` the file beside it that says who has it; both are open and locked."""
        self._handles = (file, name)
        self.identity = _identity(os.fstat(file))
        _had.add(self.identity)

    def close(self) -> None:
        """Let others have it."""
        _had.discard(self.identity)
        for handle in self._handles:
            os.close(handle)


def lock(path: Path) -> DatabaseLock:
    """Have a database file, which is made if there is none, for this process alone.

    The lock is on the file itself, so neither a link nor a lost file beside it lets a second process in. Where the
    system has no such lock, the one beside the file counts, and the fence in each transaction. Raises
    `StoreInUseError`, and `StoreError` if the file cannot be had.
    """
    try:
        with suppress(FileNotFoundError):
            _check_names(path)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)  # payloads are nobody else's business
    except OSError as error:
        raise StoreError(f"{path} cannot be opened: {error.strerror}") from error
    handles = [file]
    try:
        if not os.fstat(file).st_size:
            file_access.sync_name(path.resolve())  # else power loss may leave the secret without its database
        name = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT, 0o600)
        handles.append(name)
        if not (file_access.lock(name) and file_access.lock_database(file)):
            raise _in_use(path, os.read(name, 32).decode(errors="replace").strip())
        real = path.resolve()
        for each in (real, real.with_name(f"{real.name}-wal"), real.with_name(f"{real.name}-shm")):
            _keep_private(each)
        os.ftruncate(name, 0)
        os.write(name, f"{os.getpid()}\n".encode())
        return DatabaseLock(file, name)
    except BaseException as error:
        for handle in handles:
            os.close(handle)
        if isinstance(error, OSError):
            raise StoreError(f"{path} cannot be locked: {error.strerror}") from error
        raise


class OpenFiles:
    """The files of an open database: what is written to them counts only as long as their names lead to them.

    Whoever deletes or replaces one of them (a clean-up job, a backup moved into its place) leaves SQLite with a
    file that nobody will find again; SQLite itself does not notice.
    """

    def __init__(self, path: Path, lock: DatabaseLock) -> None:
        """Raises `StoreReplacedError` if they are not those that are open already."""
        real = path.resolve()
        beside = [str(real.with_name(f"{real.name}{end}")) for end in ("-wal", "-shm")]
        self._path = str(path)
        self._expected = [(self._path, lock.identity), *((each, _found(each)) for each in beside)]
        self.check()

    def check(self) -> None:
        """Raises `StoreReplacedError`, and `StoreUnavailableError` if the names cannot be looked up now."""
        for name, identity in self._expected:
            found = _found(name)
            if found is None or found != identity:
                what = "deleted" if found is None else "replaced by another file"
                todo = _DATABASE_GONE if name == self._path else _LOG_GONE
                raise StoreReplacedError(f"{name} was {what} {_REPLACED} {todo.format(db=self._path)}")


def _found(name: str) -> _Identity | None:
    """Which file a name leads to. Raises `StoreUnavailableError`."""
    try:
        return _identity(os.stat(name))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreUnavailableError(f"{name} cannot be looked at: {error.strerror}.") from error


_REPLACED = "while the database was open. Nothing is acknowledged any more."
_DATABASE_GONE = (
    "What was acknowledged before is in the file that is gone: put it back, or restore a copy, and start again."
)
_LOG_GONE = "What was acknowledged before has been moved into {db} if SQLite could: look, and start again."


def empty_log(connection: sqlite3.Connection) -> None:
    """Move what is in the log that is open into the database that is open, whatever their names lead to by now.

    If the log was deleted, that saves what is in it. If the database was replaced, its log must not stay beside the
    new one as if it belonged to it.
    """
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.Error as error:
        log.error("What SQLite had in its log could not be moved into the database: %s", error)


def leave_open(connections: Sequence[sqlite3.Connection]) -> None:
    """Never close these, nor let Python do so at its end: with the last one SQLite would delete the log by its
    name, which may be that of another database by now. Python never frees what an endless thread has."""
    Thread(target=_never_end, args=(connections,), name="bide-replaced-database", daemon=True).start()


def _never_end(connections: Sequence[sqlite3.Connection]) -> None:
    Event().wait()
    raise AssertionError(connections)


def _check_names(path: Path) -> None:
    """Raises `StoreInUseError` if this process has the file, and `StoreError` if it has several names."""
    found = path.stat()
    if _identity(found) in _had:
        raise _in_use(path, str(os.getpid()))
    if found.st_nlink > 1:
        raise StoreError(
            f"{path} has {found.st_nlink} names (hard links). SQLite keeps a log beside each name, and what is in "
            "one would be missing under the other. Remove the others; copies are made with: bide db backup"
        )


def _in_use(path: Path, owner: str) -> StoreInUseError:
    return StoreInUseError(
        f"{path} is in use by process {owner or 'unknown'}. One process owns a SQLite database: stop that one, "
        "or use another file."
    )


def _identity(found: os.stat_result) -> _Identity:
    return found.st_dev, found.st_ino


def _log_path(path: Path) -> Path:
    real = path.resolve()
    return real.with_name(f"{real.name}-wal")


def _lock_path(path: Path) -> Path:
    """Beside the file itself, as SQLite's own files are, and not beside a link to it."""
    real = path.resolve()
    return real.with_name(f"{real.name}.lock")


_LONGEST_LOG = 16_000_000
"""Bytes of the log that SQLite keeps for what comes next, once what is in it is in the database. It grows beyond
this only for as long as another process goes on reading what was before."""


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA journal_size_limit = {_LONGEST_LOG}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # else macOS does not wait for the disk; others do anyway
        connection.execute("PRAGMA mmap_size = 0")  # a disk error must come back as an error, not as a signal
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def wait_for_others(connection: sqlite3.Connection, patience_s: float) -> None:
    """How long SQLite itself waits, on the very thread that asks it, for a process that has locked the database."""
    connection.execute(f"PRAGMA busy_timeout = {round(1_000 * patience_s)}")


def is_locked(error: sqlite3.OperationalError) -> bool:
    """Whether another process has locked the database."""
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def is_damaged(error: sqlite3.Error) -> bool:
    """Whether what is in the file is not what SQLite has written. Errors of the driver itself have no code."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


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
        return secret_in_memory()
    path = Path(f"{db}.secret")
    try:
        if not path.exists():  # nobody else makes it meanwhile: the database is ours
            file_access.replace_whole(path, secrets.token_bytes(32))
        _keep_private(path)
        secret = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} cannot be used: {error.strerror}.") from error
    if len(secret) != 32:
        raise StoreError(f"{path} should hold 32 bytes, and has {len(secret)}. Restore it, or delete it.")
    return secret


def _keep_private(path: Path) -> None:
    """Let nobody but its owner read a file, and say so if others could. Raises `StoreError`."""
    try:
        if file_access.close_to_others(path):
            log.warning(
                "Others could read %s; now only its owner can. What they may have seen they may keep.", path
            )
    except FileNotFoundError:
        return
    except PermissionError as error:
        raise StoreError(f"Others than its owner can read {path}. Let its owner run: chmod 600 {path}") from error
