"""Signed permissions that need no table: who holds the text may do what it says.

A token is `bide.<payload>.<seal>`. The payload is one of the grants below, in MessagePack; the seal is an
HMAC-SHA256 under the hub's secret; both in base64url, so a token can stand in a URL. The seal is made over the
payload's text and compared as text: base64 has several spellings of the same bytes, and only one of them is let in.

A token says nothing of time by itself: whoever reads it decides whether it is still in force.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TypeAlias

import msgspec
from msgspec import Struct

from bide.errors import InvalidTokenError
from bide.model.clock import Timestamp


class InstanceGrant(Struct, frozen=True, array_like=True, tag="i"):
    """May use these verbs on this instance, until so many days after it has ended.

    `birth` tells the instance from others of the same id, earlier or later ones.
    """

    instance_id: str
    birth: str
    verbs: tuple[str, ...]
    days: float


class ResponseGrant(Struct, frozen=True, array_like=True, tag="r"):
    """May answer one wait for this event, in this generation of this instance, and not after `expires_at`.

    Which wait that is, says the task that it was made for: the wait itself, or the link, where that was made before
    its wait. Then it is the first wait for the event that comes after the link. `asked_at` is when that task was
    asked for: after a rewind, another one may have its id.

    `link_id` tells the links of one instance apart; `birth` is as in `InstanceGrant`.
    """

    instance_id: str
    birth: str
    generation: int
    event: str
    task_id: int
    asked_at: Timestamp
    link_id: str
    expires_at: Timestamp | None = None


Grant: TypeAlias = InstanceGrant | ResponseGrant

_PREFIX = b"bide"
_PURPOSE = b"bide token "
"""Sealed with the payload, so that nothing else that is signed with the hub's secret passes for a token.
`ActivityCall.derive` signs texts with a NUL in them; there is none here."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Grant).decode


def sign(secret: bytes, grant: Grant) -> str:
    """The grant as a token."""
    payload = urlsafe_b64encode(_encode(grant)).rstrip(b"=")
    return b".".join((_PREFIX, payload, _seal(secret, payload))).decode()


def read(secret: bytes, text: str) -> Grant:
    """The grant that `sign` made into this token. Raises `InvalidTokenError`."""
    prefix, _, sealed = text.encode("utf-8", "surrogatepass").partition(b".")
    payload, _, seal = sealed.partition(b".")
    if not hmac.compare_digest(seal, _seal(secret, payload)) or prefix != _PREFIX:
        raise InvalidTokenError
    try:
        grant: Grant = _decode(urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
    except (ValueError, msgspec.DecodeError):  # written by another version, with the same secret
        raise InvalidTokenError from None
    return grant


def _seal(secret: bytes, payload: bytes) -> bytes:
    return urlsafe_b64encode(hmac.digest(secret, _PURPOSE + payload, "sha256")).rstrip(b"=")
