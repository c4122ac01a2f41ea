"""The keys of callers: who may do what.

Of each key the hub has the name, role and SHA-256 digest. A key has 256 random bits, so that its digest tells
nothing of it; its text is shown once, when it is made.

Where they are kept is a `KeyPlace`. Beside a SQLite database it is the file `<db>.keys`, which only its owner can
read: a server and command lines work on the same one, each change is made under a lock and replaces the file as a
whole, and whoever looks for a key reads the file again when it has changed. On a database server it is a row there
(`keys_on_server`), the same for all workers.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Protocol, TypeAlias

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from bide.errors import KeyNotFoundError, NotAllowedError, PayloadError, StoreError
from bide.model.clock import Timestamp, to_micros
from bide.store.sqlite import file_access

_IN_MEMORY = ":memory:"
_PREFIX = "bide_"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,50}")
_Digest: TypeAlias = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_NOT_NAMES = frozenset({"local", "token"})
"""What the audit calls callers without a key. Links are called `link:<id>` there, which is no name either."""


class Role(StrEnum):
    """What a key is good for. They compare by what they may: viewer < operator < admin."""

    VIEWER = "viewer"
    """Reads."""
    OPERATOR = "operator"
    """Also starts, answers, and steers instances."""
    ADMIN = "admin"
    """Also purges, and reads the audit."""

    __hash__ = str.__hash__

    @property
    def rank(self) -> int:
        return _RANKS[self]

    # As text they would compare by the alphabet: admin before viewer.

    def __lt__(self, other: str) -> bool:
        return self.rank < Role(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank <= Role(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank > Role(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank >= Role(other).rank


_RANKS = {role: rank for rank, role in enumerate(Role)}


class Key(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One key. `digest` is the SHA-256 of its text in hex; without `expires_at` it is good until it is revoked."""

    name: str
    role: Role
    digest: _Digest
    created_at: Timestamp
    expires_at: Timestamp | None = None

    def valid(self, now: Timestamp) -> bool:
        return self.expires_at is None or now < self.expires_at


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    keys: tuple[Key, ...]


_VERSION = 1
Change: TypeAlias = Callable[[tuple[Key, ...]], tuple[Key, ...]]
_Seen: TypeAlias = tuple[int, int, int, int]
"""Modification time, size and inode: another file, or other content, has another."""

_decode = msgspec.json.Decoder(_File).decode


def keys_path(db: str) -> Path | None:
    """Where the keys of a database file are kept; None for one in memory."""
    return None if db == _IN_MEMORY else Path(f"{db}.keys")


class KeyPlace(Protocol):
    """Where the keys of a task hub are kept. Every method raises `StoreError` if what is there is broken."""

    def current(self) -> tuple[Key, ...]:
        """The keys as they are, or were some seconds ago. Every request asks, so nothing is waited for."""
        ...

    def change(self, change: Change) -> None:
        """Put what `change` makes of the keys in their place, while nobody else changes them."""
        ...


class KeyRing:
    """The keys of a task hub, in the file at a path, in memory (None), or in another place.

    Every method raises `StoreError` if the file is broken, or others than its owner can read it.
    """

    def __init__(self, place: KeyPlace | Path | None) -> None:
        if place is None:
            self._place: KeyPlace = _Memory()
        else:
            self._place = _KeyFile(place) if isinstance(place, Path) else place

    def find(self, text: str, now: Timestamp) -> Key | None:
        """The key with this text, if it is valid now. The time it takes does not tell how near a guess came."""
        digest = _digest(text)
        found: Key | None = None
        for key in self._place.current():
            if hmac.compare_digest(key.digest, digest) and key.valid(now):
                found = key
        return found

    def holds(self, key: Key, now: Timestamp) -> bool:
        """Whether a key that was found is still there, and valid now. One that was rotated may end earlier."""
        return any(each.digest == key.digest and each.valid(now) for each in self._place.current())

    def list(self) -> list[Key]:
        """All keys, the oldest first; a rotated one stands beside its successor until it has expired."""
        return [*self._place.current()]

    def create(self, name: str, role: Role, now: Timestamp, expires_at: Timestamp | None = None) -> str:
        """Make a key, and return its text, which is kept nowhere.

        A name has 1 to 50 letters, digits and . _ or -, and is not `local` or `token`. Raises `NotAllowedError` if
        it is taken, `PayloadError` if it cannot be one.
        """
        if _NAME.fullmatch(name) is None or name in _NOT_NAMES:
            raise PayloadError("A key's name is 1 to 50 letters, digits and . _ or -, and not 'local' or 'token'.")
        text = _new_text()

        def add(keys: tuple[Key, ...]) -> tuple[Key, ...]:
            if any(key.name == name for key in keys):
                raise NotAllowedError(f"There is a key named '{name}' already. Rotate it, or revoke it first.")
            return (*keys, Key(name, role, _digest(text), now, expires_at))

        self._place.change(add)
        return text

    def rotate(self, name: str, now: Timestamp, overlap: timedelta) -> str:
        """Make a successor with the same name, role and span of life, and return its text.

        What was valid under that name stays so for `overlap`, so that callers can change over. Raises
        `KeyNotFoundError`.
        """
        text, end = _new_text(), now + to_micros(overlap)

        def succeed(keys: tuple[Key, ...]) -> tuple[Key, ...]:
            named = [key for key in keys if key.name == name]
            if not named:
                raise KeyNotFoundError(name)
            last = named[-1]
            lasts = None if last.expires_at is None else now + last.expires_at - last.created_at
            return (*_retired(keys, name, now, end), Key(name, last.role, _digest(text), now, lasts))

        self._place.change(succeed)
        return text

    def revoke(self, name: str) -> None:
        """Let no key of that name be valid any more. Raises `KeyNotFoundError`."""

        def remove(keys: tuple[Key, ...]) -> tuple[Key, ...]:
            left = tuple(key for key in keys if key.name != name)
            if len(left) == len(keys):
                raise KeyNotFoundError(name)
            return left

        self._place.change(remove)

    def ensure_first(self, now: Timestamp, keep: Callable[[str], None] = lambda _: None) -> str | None:
        """Make the key `admin` if there is no key at all, and return its text; otherwise None.

        `keep` is given the text before the key counts, so that no key is made that nobody has.
        """
        made: list[str] = []

        def begin(keys: tuple[Key, ...]) -> tuple[Key, ...]:
            if keys:
                return keys
            made.append(_new_text())
            keep(made[0])
            return (Key("admin", Role.ADMIN, _digest(made[0]), now),)

        self._place.change(begin)
        return made[0] if made else None


class _Memory:
    """Implements `KeyPlace`."""

    def __init__(self) -> None:
        self._keys: tuple[Key, ...] = ()

    def current(self) -> tuple[Key, ...]:
        return self._keys

    def change(self, change: Change) -> None:
        self._keys = change(self._keys)


class _KeyFile:
    """Implements `KeyPlace`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: tuple[Key, ...] = ()
        self._seen: _Seen | None = None

    def current(self) -> tuple[Key, ...]:
        """The file is read only if it is not the one seen last."""
        if self._seen is None or _look(self._path) != self._seen:
            self._keys, self._seen = _load(self._path)
        return self._keys

    def change(self, change: Change) -> None:
        with _locked(self._path):
            before = self.current()
            after = change(before)
            if after != before:
                _save(self._path, encode_keys(after))
                self._keys, self._seen = after, None


def decode_keys(content: bytes, where: str) -> tuple[Key, ...]:
    """The keys in the JSON text. Raises `StoreError`."""
    try:
        found = _decode(content)
    except (msgspec.DecodeError, ValueError) as error:
        raise StoreError(f"{where} is broken: {error}. Restore it, or delete it and make new keys.") from error
    if found.version != _VERSION:
        raise StoreError(f"{where} was written by another version of Bide than this one.")
    return found.keys


def encode_keys(keys: tuple[Key, ...]) -> bytes:
    """The keys as JSON text."""
    return msgspec.json.format(msgspec.json.encode(_File(_VERSION, keys))) + b"\n"


def _new_text() -> str:
    return _PREFIX + secrets.token_urlsafe(32)


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _retired(keys: Iterable[Key], name: str, now: Timestamp, end: Timestamp) -> Generator[Key, None, None]:
    """The keys, those of that name ending at `end` at the latest, and left out if they have ended by now."""
    for key in keys:
        if key.name != name:
            yield key
        elif key.valid(now) and now < end:
            yield replace(key, expires_at=end if key.expires_at is None else min(key.expires_at, end))


def _look(path: Path) -> _Seen | None:
    try:
        return _seen(path.stat())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path} cannot be looked at: {error.strerror}.") from error


def _seen(status: os.stat_result) -> _Seen:
    return (status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode)


def _load(path: Path) -> tuple[tuple[Key, ...], _Seen | None]:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read()
    except FileNotFoundError:
        return (), None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}.") from error
    if file_access.others_may_read(status):
        raise StoreError(f"{path} holds keys, and others than its owner can read it. Run: chmod 600 {path}")
    return decode_keys(content, str(path)), _seen(status)


def _save(path: Path, content: bytes) -> None:
    """Replace the file as a whole; when this returns, it survives power loss."""
    try:
        file_access.replace_whole(path, content)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}.") from error


@contextmanager
def _locked(path: Path) -> Generator[None, None, None]:
    """Alone with the file, for as long as it takes to change it."""
    try:
        with file_access.alone(path):
            yield
    except OSError as error:
        raise StoreError(f"{path} cannot be changed: {error.strerror}.") from error
