"""Payloads that nobody reads but the code: sealed where they are kept, in the database and on their way.

A sealed text is the JSON text `[1e999,"<kind>.<key id>.<nonce>.<ciphertext>"]`. No value can be written so and no
door takes it, because no double is 1e999. For the same reason it fits no type: reading it as a plain payload fails,
so payloads that are not sealed are never searched for the mark.

The cipher is AES-SIV (RFC 5297): authenticated, and deterministic, because the core has no randomness and replay
compares texts. A text is sealed for its *place* (the instance, its birth, which of its payloads it is), so it opens
nowhere else, and equal values at two places do not look equal. It is padded to a multiple of 64 bytes: a code of
four digits looks as one of eight.

What is *declared* secret is shown to nobody. The rest was sealed because nobody had said yet what it is: an event
before somebody waits for it, and whatever lies in an inbox.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple, Protocol

from msgspec import Raw

from bide.errors import SealedStep
from bide.model.history import EventRaised

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

KEY_BYTES = 32
"""How long a key is."""

HIDDEN = Raw(b'{"$hidden":"secret"}')
"""What is shown in place of a sealed payload."""

_MARK = b'[1e999,"'
_END = b'"]'
_PAD = 64
SHORTEST = 128
"""No sealed text has fewer bytes."""
_PURPOSE = b"bide sealing 1 "
_DECLARED, _UNDECLARED = "secret", "kept"


class Sealer(Protocol):
    """Who seals and opens. The core gets one as an argument."""

    def seal(
        self, text: Raw, place: str, nonce: str = "", *, declared: bool = True, like: Raw | None = None
    ) -> Raw:
        """The text, sealed for that place, or as it is if it is sealed already.

        `nonce` tells apart what is sealed for one place more than once. `declared`: its type says it is secret.
        `like` is another sealed text: the same key is taken, if it is there, so that equal texts are equal.
        """
        ...

    def open(self, text: Raw, place: str) -> Raw:
        """What was sealed for that place. Raises `SealedStep` if it cannot be opened."""
        ...

    def digest(self, *parts: bytes | Raw) -> bytes:
        """16 bytes that tell requests apart, and from which nobody without the key finds out what they say."""
        ...


# --- places


def input_place(instance_id: str, birth: str) -> str:
    """An instance's input, in all its generations."""
    return _place("input", instance_id, birth)


def output_place(instance_id: str, birth: str) -> str:
    """What an instance returned."""
    return _place("output", instance_id, birth)


def status_place(instance_id: str, birth: str) -> str:
    """An instance's custom status."""
    return _place("custom status", instance_id, birth)


def arguments_place(instance_id: str, birth: str, generation: int, call_id: int) -> str:
    """The input of an activity: the same for all its attempts."""
    return _place("activity's input", instance_id, birth, str(generation), str(call_id))


def result_place(instance_id: str, birth: str, generation: int, task_id: int) -> str:
    """The result of an activity."""
    return _place("activity's result", instance_id, birth, str(generation), str(task_id))


def event_place(instance_id: str, name: str) -> str:
    """The data of an event. Who sends it does not know the instance's birth."""
    return _place("event", instance_id, name.lower())


def _place(*parts: str) -> str:
    return "\0".join(parts)  # no id and no name has a NUL in it


# --- sealed texts


class _Sealed(NamedTuple):
    kind: str
    key_id: str
    nonce: str
    ciphertext: str


def is_sealed(text: Raw) -> bool:
    """Whether this is the text of a payload that was sealed."""
    return len(text) >= SHORTEST and bytes(text).startswith(_MARK)


def is_declared(text: Raw) -> bool:
    """Whether a sealed text is never to be shown, whatever its reader says that it is."""
    return _split(text).kind != _UNDECLARED


def key_id_of(text: Raw) -> str:
    """The id of the key under which a text is sealed."""
    return _split(text).key_id


def shown(text: Raw) -> Raw:
    """The payload as everybody may see it."""
    return HIDDEN if is_sealed(text) else text


def sealed_event(
    sealer: Sealer, instance_id: str, event: EventRaised, nonce: str, *, declared: bool = False
) -> EventRaised:
    """The event as it lies in the inbox of the instance that it is for, and wherever nobody has said what it is."""
    text = sealer.seal(event.input, event_place(instance_id, event.name), nonce, declared=declared)
    return EventRaised(event.name, text, event.id)


def _split(text: Raw) -> _Sealed:
    parts = bytes(text)[len(_MARK) : -len(_END)].decode("ascii", "replace").split(".")
    return _Sealed(*parts) if len(parts) == len(_Sealed._fields) else _Sealed(_DECLARED, "", "", "")


# --- keys


class SealingKeys:
    """Implements `Sealer`. The first key seals, all of them open."""

    def __init__(
        self, keys: Sequence[bytes], where: str = "the hub's secret", digests: bytes | None = None
    ) -> None:
        """Each key is 32 bytes of chance. `where` they are kept, for the text of errors. `digests` is the key by
        which requests are told apart, if that is not the first one."""
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"A sealing key has {KEY_BYTES} bytes, and there is at least one.")
        self._where = where
        self._keys = tuple(map(_Key, keys))
        self._digest_key = blake2b(digests or keys[0], digest_size=32, person=b"bide digest").digest()

    def __repr__(self) -> str:
        return f"<SealingKeys {', '.join(key.id for key in self._keys)}>"

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the keys: they tell nothing of the keys themselves."""
        return tuple(key.id for key in self._keys)

    def seal(
        self, text: Raw, place: str, nonce: str = "", *, declared: bool = True, like: Raw | None = None
    ) -> Raw:
        if is_sealed(text):
            return text
        key = self._keys[0] if like is None else self._find(key_id_of(like)) or self._keys[0]
        kind = _DECLARED if declared else _UNDECLARED
        plain = bytes(text)
        plain += b" " * (-len(plain) % _PAD)  # JSON may end in blanks
        sealed = key.cipher.encrypt(plain, _bound(kind, place, nonce))
        body = ".".join((kind, key.id, nonce, urlsafe_b64encode(sealed).decode()))
        return Raw(b"".join((_MARK, body.encode(), _END)))

    def open(self, text: Raw, place: str) -> Raw:
        if not is_sealed(text):
            return text
        sealed = _split(text)
        key = self._find(sealed.key_id)
        what = f"Its {place.partition(chr(0))[0]} is sealed"
        if key is None:
            raise SealedStep(
                f"{what} under the key {sealed.key_id}, which is not here. The keys here are "
                f"{', '.join(self.ids)} (of {self._where}). Restore the one that was there, and start again; or "
                "terminate the instance."
            )
        try:
            ciphertext = urlsafe_b64decode(sealed.ciphertext)
            plain = key.cipher.decrypt(ciphertext, _bound(sealed.kind, place, sealed.nonce))
        except (_invalid_tag(), ValueError):  # bad base64 is a ValueError, too
            raise SealedStep(
                f"{what} and does not open under its key {sealed.key_id}: it was damaged, or copied from another "
                "place. Restore the database, or terminate the instance."
            ) from None
        return Raw(plain.rstrip(b" "))

    def digest(self, *parts: bytes | Raw) -> bytes:
        whole = b"\0".join(bytes(part) for part in parts)
        return blake2b(whole, digest_size=16, key=self._digest_key).digest()

    def _find(self, key_id: str) -> _Key | None:
        return next((key for key in self._keys if key.id == key_id), None)


def key_id(key: bytes) -> str:
    """What a key is called: 8 hex digits that tell nothing of the key itself."""
    return _Key(key).id


class _Key:
    """One key, from which come its id and its cipher."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @cached_property
    def id(self) -> str:
        return self._derived(b"id", 4).hex()

    @cached_property
    def cipher(self) -> AESSIV:
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV  # it takes 40 ms: only who seals needs it

        return AESSIV(self._derived(b"cipher", 64))

    def _derived(self, purpose: bytes, length: int) -> bytes:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(SHA256(), length, salt=None, info=_PURPOSE + purpose).derive(self._key)


def _bound(kind: str, place: str, nonce: str) -> list[bytes]:
    """What a text is sealed together with."""
    return [kind.encode(), place.encode(), nonce.encode()]


def _invalid_tag() -> type[Exception]:
    from cryptography.exceptions import InvalidTag

    return InvalidTag


class WithoutKeys:
    """For code that is only looked at: what is sealed stays so.

    Implements `Sealer`. All that is sealed looks alike: `SEALED` is what it seals everything as.
    """

    SEALED = Raw(b"".join((_MARK, f"{_DECLARED}...{'A' * SHORTEST}".encode(), _END)))

    def seal(
        self, text: Raw, place: str, nonce: str = "", *, declared: bool = True, like: Raw | None = None
    ) -> Raw:
        return self.SEALED

    def open(self, text: Raw, place: str) -> Raw:
        raise SealedStep(f"What follows depends on its {place.partition(chr(0))[0]}, which is a secret.")

    def digest(self, *parts: bytes | Raw) -> bytes:
        return b""
