"""Who may use a file, by the means of the system: `flock`, modes and owners on POSIX; `msvcrt` on Windows.

Windows has no modes and owners of this kind. Who may read a file there is decided by its directory.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, cast

HAS_MODES = hasattr(os, "geteuid")
"""Whether the mode of a file says who may read it."""
_DIRECTORIES = find_spec("fcntl") is not None
"""Whether a directory can be opened, and so be locked and synced."""
_LOCKED_BYTE = 2**30
"""Windows keeps others from reading what is locked, so the locked byte lies far behind what the file says."""
_DATABASE_BYTE = 2**30 + 1024
"""In the page of a SQLite database that has no content, and behind the bytes that SQLite itself locks there."""


class _Fcntl(Protocol):
    LOCK_EX: int
    LOCK_NB: int

    F_WRLCK: int

    def flock(self, handle: int, operation: int, /) -> None: ...

    def fcntl(self, handle: int, command: int, argument: bytes, /) -> bytes: ...


class _Msvcrt(Protocol):
    LK_LOCK: int
    LK_NBLCK: int

    def locking(self, handle: int, mode: int, size: int, /) -> None: ...


class _Resource(Protocol):
    RLIMIT_NOFILE: int
    RLIM_INFINITY: int

    def getrlimit(self, resource: int, /) -> tuple[int, int]: ...

    def setrlimit(self, resource: int, limits: tuple[int, int], /) -> None: ...


def allow_descriptors(wanted: int) -> int | None:
    """How many files and connections this process may have open, once it has asked for as many as are wanted.

    None: the system has no such limit, or does not tell.
    """
    if find_spec("resource") is None:
        return None
    resource = cast("_Resource", import_module("resource"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    more = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if more > soft:
        with suppress(OSError, ValueError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
            return more
    return soft


def lock(handle: int) -> bool:
    """Lock an open file for whoever has this handle, or return False if another handle has it.

    The system lets go of it when the handle is closed, or the process ends, however it ends.
    """
    try:
        _lock(handle, wait=False)
    except (BlockingIOError, PermissionError):
        return False
    return True


def lock_database(handle: int) -> bool:
    """As `lock`, for an open SQLite database: whatever its name, and whatever SQLite itself locks in it.

    Systems with POSIX's locks only (macOS) have no such lock: there it is True, and the database's name is all that
    can be locked. Raises `OSError`.
    """
    try:
        _lock_database(handle)
    except (BlockingIOError, PermissionError):
        return False
    return True


@contextmanager
def alone(path: Path) -> Generator[None, None, None]:
    """Alone with a file that may be replaced, among all who ask so. Raises `OSError`.

    Waits its turn; on Windows for ten seconds at most.
    """
    with _lasting(path) as handle:
        _lock(handle, wait=True)
        yield


def others_may_read(status: os.stat_result) -> bool:
    """Whether the mode of a file lets others than its owner read it."""
    return HAS_MODES and bool(status.st_mode & 0o077)


def close_to_others(path: Path) -> bool:
    """Take away what the mode of a file lets others than its owner do, if there is anything; returns whether there
    was. Raises `OSError` if it is not ours to do."""
    status = path.stat()
    if not others_may_read(status):
        return False
    path.chmod(status.st_mode & 0o700)
    return True


def replace_whole(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, or replace it: as a whole or, if the power fails, not at all.

    When this returns, it survives power loss. Nobody else may write it meanwhile. Raises `OSError`.
    """
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)  # left by a crash
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        # When root changes a file of another user's server, that server must be able to read it afterwards.
        keep_owner(handle, path)
        file.write(content)
        file.flush()
        os.fsync(handle)
    fresh.replace(path)
    sync_name(path)


def keep_owner(handle: int, path: Path) -> None:
    """Give an open file to the owner of the one at `path`, if there is one and it is not ours."""
    with suppress(FileNotFoundError):
        status = path.stat()
        if hasattr(os, "fchown") and status.st_uid != os.fstat(handle).st_uid:
            os.fchown(handle, status.st_uid, status.st_gid)


def sync_name(path: Path) -> None:
    """Let the name of a file survive power loss. On Windows it is the file system's journal that sees to it."""
    if _DIRECTORIES:
        with _opened(path.parent, os.O_RDONLY) as directory:
            os.fsync(directory)


@contextmanager
def _opened(path: Path, flags: int) -> Generator[int, None, None]:
    handle = os.open(path, flags, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)


if _DIRECTORIES:
    _fcntl = cast("_Fcntl", import_module("fcntl"))
    _OFD_SETLK: int | None = getattr(_fcntl, "F_OFD_SETLK", None)
    """The lock of an open file, as Linux has it: not, as POSIX's, of a process, which loses it with any handle."""

    def _lock(handle: int, wait: bool) -> None:
        _fcntl.flock(handle, _fcntl.LOCK_EX if wait else _fcntl.LOCK_EX | _fcntl.LOCK_NB)

    def _lock_database(handle: int) -> None:
        if _OFD_SETLK is not None:
            wanted = struct.pack("hhqqi0q", _fcntl.F_WRLCK, os.SEEK_SET, _DATABASE_BYTE, 1, 0)
            _fcntl.fcntl(handle, _OFD_SETLK, wanted)

    def _lasting(path: Path) -> AbstractContextManager[int]:
        """What is locked is the directory: it stays when the file is replaced, and no one else has to make it."""
        return _opened(path.parent, os.O_RDONLY)

else:
    _msvcrt = cast("_Msvcrt", import_module("msvcrt"))

    def _lock(handle: int, wait: bool) -> None:
        _lock_byte(handle, _LOCKED_BYTE, wait)

    def _lock_database(handle: int) -> None:
        _lock_byte(handle, _DATABASE_BYTE, wait=False)

    def _lock_byte(handle: int, byte: int, wait: bool) -> None:
        os.lseek(handle, byte, os.SEEK_SET)
        try:
            _msvcrt.locking(handle, _msvcrt.LK_LOCK if wait else _msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(handle, 0, os.SEEK_SET)

    def _lasting(path: Path) -> AbstractContextManager[int]:
        return _opened(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT)
