"""Where the keys come from that seal secrets: the hub's secret, or a file of the operator's.

The file has a key on each line, the oldest first, in base64url: 32 bytes of chance. A line that begins with `next`
is a key that opens, and does not seal yet: so all workers of a hub can know a key before the first of them uses it.
The last of the others seals; if there is none, the one that comes from the hub's secret does, which always opens.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeAlias

from bide.config import Settings
from bide.errors import NotAllowedError, StoreError
from bide.model.sealing import KEY_BYTES, SealingKeys, key_id
from bide.store.sqlite import file_access

_PURPOSE = b"bide sealing key"
_NEXT = "next "
_COMMENT = "#"
_HEAD = (
    "# Keys that seal secrets, the oldest first. The last one that is not 'next' seals; all of them open.\n"
    "# Whoever has this file can open what is sealed. bide sealing --help\n"
)


class KeptKey(NamedTuple):
    """A key of the file. One that is `next` opens, and does not seal yet."""

    key: bytes
    next: bool = False

    @property
    def id(self) -> str:
        return key_id(self.key)


Keys: TypeAlias = tuple[KeptKey, ...]


def hub_key(secret: bytes) -> bytes:
    """The key that comes from the hub's secret, and does not tell it."""
    return hmac.digest(secret, _PURPOSE, "sha256")


def sealing_keys(settings: Settings, secret: bytes) -> SealingKeys:
    """The keys of a hub, whose secret this is. Raises `StoreError` if the file of keys cannot be used."""
    own = hub_key(secret)
    if not settings.sealing_keys:
        return SealingKeys([own], "the hub's secret")
    kept = read(Path(settings.sealing_keys))
    seals = sealing(kept)
    first = own if seals is None else seals.key
    others = (key for key in (*(each.key for each in kept), own) if key != first)
    digests = kept[0].key if kept else own  # it stays the same while others are put behind it
    return SealingKeys([first, *others], f"{settings.sealing_keys} and the hub's secret", digests)


def sealing(keys: Keys) -> KeptKey | None:
    """The key that seals. None: the one of the hub's secret."""
    return next((each for each in reversed(keys) if not each.next), None)


def read(path: Path) -> Keys:
    """The keys in the file. Raises `StoreError` if there is none, or everybody can read it, or it is broken."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            lines = file.read().decode().splitlines()
    except FileNotFoundError:
        raise StoreError(
            f"There is no file {path} (sealing_keys). Restore it; or make one: bide sealing add"
        ) from None
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} (sealing_keys) cannot be read: {error}.") from error
    if file_access.HAS_MODES and status.st_mode & stat.S_IROTH:  # a group may be how a container gets it
        raise StoreError(f"{path} has the keys that open secrets, and everybody can read it. Run: chmod o= {path}")
    return tuple(_parse(lines, path))


def _parse(lines: Iterable[str], path: Path) -> Iterable[KeptKey]:
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith(_COMMENT):
            continue
        try:
            key = urlsafe_b64decode(f"{text.removeprefix(_NEXT).strip()}=")
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise StoreError(f"Line {number} of {path} is no key: 43 characters of base64url. Restore the file.")
        yield KeptKey(key, text.startswith(_NEXT))


def add(path: Path) -> KeptKey:
    """Put a new key at the end, as `next`. The file is made if there is none. Raises `StoreError`."""
    new = KeptKey(secrets.token_bytes(KEY_BYTES), next=True)
    _change(path, lambda keys: (*keys, new))
    return new


def use(path: Path, wanted: str = "") -> KeptKey:
    """Let a key seal that is `next`: the one of that id, or (empty) the only one. Raises `StoreError`, and
    `NotAllowedError` if there is no such key."""
    used: list[KeptKey] = []

    def begin(keys: Keys) -> Keys:
        found = [each for each in keys if each.next and wanted in ("", each.id)]
        if len(found) != 1:
            waiting = ", ".join(each.id for each in keys if each.next) or "none"
            raise NotAllowedError(
                f"Say which key is to seal; those that wait for it: {waiting}. (bide sealing add)"
            )
        used.append(KeptKey(found[0].key))
        return (*(each for each in keys if each != found[0]), *used)

    _change(path, begin)
    return used[0]


def keep(path: Path, secret: bytes) -> KeptKey:
    """Put the key of the hub's secret into the file as the oldest one, so that the secret may go. Raises
    `StoreError`."""
    own = KeptKey(hub_key(secret))
    _change(path, lambda keys: keys if own.key in {each.key for each in keys} else (own, *keys))
    return own


def _change(path: Path, change: Callable[[Keys], Keys]) -> None:
    try:
        with file_access.alone(path):
            after = change(read(path) if path.exists() else ())
            lines = (f"{_NEXT if each.next else ''}{_text(each.key)}\n" for each in after)
            file_access.replace_whole(path, f"{_HEAD}{''.join(lines)}".encode())
    except OSError as error:
        raise StoreError(f"{path} cannot be changed: {error.strerror}.") from error


def _text(key: bytes) -> str:
    return urlsafe_b64encode(key).rstrip(b"=").decode()
