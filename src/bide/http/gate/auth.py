"""Who calls, and what that caller may do.

A caller shows a key of the hub, or a token that is signed for one instance. On this machine alone no key is needed,
unless the settings demand one.

No refusal tells whether an instance exists: who calls is known before anything is looked up, and a token is refused
on another instance whether there is one or not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar
from urllib.parse import urlsplit

from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from bide.access.keys import Key, KeyRing, Role
from bide.config import Settings, is_loopback
from bide.errors import InvalidTokenError, StoreError
from bide.http.gate.addresses import ip_of
from bide.http.gate.guesses import Guesses
from bide.model.clock import SECOND, Clock, Timestamp
from bide.model.instance import Instance
from bide.model.metrics import doubled
from bide.model.tokens import InstanceGrant, ResponseGrant, read

A = TypeVar("A")
R = TypeVar("R")
log = logging.getLogger("bide.http")

VERBS: dict[str, Role] = {
    "list": Role.VIEWER,
    "status": Role.VIEWER,
    "history": Role.VIEWER,
    "waits": Role.VIEWER,
    "events": Role.VIEWER,
    "counts": Role.VIEWER,
    "orchestrators": Role.VIEWER,
    "activities": Role.VIEWER,
    "hub": Role.VIEWER,
    "metrics": Role.VIEWER,
    "timers": Role.VIEWER,
    "failures": Role.VIEWER,
    "workers": Role.VIEWER,
    "start": Role.OPERATOR,
    "raiseEvent": Role.OPERATOR,
    "terminate": Role.OPERATOR,
    "suspend": Role.OPERATOR,
    "resume": Role.OPERATOR,
    "rewind": Role.OPERATOR,
    "restart": Role.OPERATOR,
    "responseLink": Role.OPERATOR,
    "purge": Role.ADMIN,
    "audit": Role.ADMIN,
    "makeprimary": Role.ADMIN,
}
"""What can be asked for, and the least role that may. `events` are the streams; raising one is `raiseEvent`."""

_DAY = 86_400 * SECOND
_CHALLENGE = {"WWW-Authenticate": "Bearer"}
_NO_KEY = "This takes a valid key: as x-functions-key, as Authorization: Bearer, or as ?code=."
_TOO_OFTEN = (
    "This key is not valid, and too many others that were not have come from this address. Wait {} s before you "
    "try another one; a valid key counts at any time."
)
_NO_KEYS = "The server cannot read its keys, and so lets nobody in who shows one. Its log says what to do."


class Caller(Struct, frozen=True):
    """Who sent a request. `name` is for the audit: a key's name, `local`, or `token`.

    A caller with a `grant` has no role beyond it: ask `may`, not `role`.
    """

    name: str
    role: Role
    address: str
    grant: InstanceGrant | None = None
    key: Key | None = None
    """The key that was shown, if it was one of the hub's."""

    def may(self, verb: str, instance_id: str | None) -> bool:
        """Whether the caller may do this to the instance, or (None) to the hub. `verb` is one of `VERBS`."""
        if self.grant is None:
            return self.role >= VERBS[verb]
        return instance_id == self.grant.instance_id and verb in self.grant.verbs


def is_open(settings: Settings) -> bool:
    """Whether callers on this machine need no key: nobody else can reach the server, and none is demanded.

    A public address means that a proxy passes requests on, behind which strangers look like callers from here.
    """
    elsewhere = settings.allowed_hosts or not _is_local(settings.public_url)
    return is_loopback(settings.host) and not settings.require_key and not elsewhere


def _is_local(url: str) -> bool:
    return not url or is_loopback(urlsplit(url).hostname or "")


class Gate:
    """Knows callers by what they show."""

    def __init__(self, ring: KeyRing, secret: bytes, settings: Settings, clock: Clock) -> None:
        self._ring = ring
        self._secret = secret
        self._clock = clock
        self._open = is_open(settings)
        self._unreadable = 0
        """How often in a row the keys could not be read."""
        self.guesses = Guesses(clock.now())

    def identify(self, request: HTTPConnection) -> Caller:
        """Who sent the request.

        Raises `HTTPException`: 401 for who shows nothing, or nothing valid; 429 if that happens often; and 503 if
        the keys cannot be read.
        """
        client = request.client
        address = "" if client is None else client.host
        local = self._open and (client is None or _is_this_machine(address))
        shown = _credentials(request)
        if len(shown) > 1:
            raise _unknown("The request has several keys, and they differ.")
        if not shown:
            if local:
                return Caller("local", Role.ADMIN, address)
            raise _unknown(_NO_KEY)
        try:
            caller = self._known(shown.pop(), address)
        except InvalidTokenError as error:
            raise self._wrong(str(error), address) from None
        if caller is not None:
            return caller
        if local:  # clients of Azure always send a code, here a meaningless one
            return Caller("local", Role.ADMIN, address)
        raise self._wrong(_NO_KEY, address)

    def check(self, caller: Caller) -> None:
        """Ask again whether who was known still is. Raises `HTTPException` 401 if the key was revoked, or is over.

        A token is not asked about: it ends with its instance, or after it.
        """
        if caller.key is not None and not self._of_ring(KeyRing.holds, caller.key):
            raise _unknown("The key that this was opened with counts no more. Come back with a valid one.")

    def require(self, caller: Caller, verb: str, instance_id: str | None) -> None:
        """Raises `HTTPException` 403 if the caller may not do this. `verb` is one of `VERBS`."""
        if caller.may(verb, instance_id):
            return
        if caller.grant is not None:
            good_for = ", ".join(caller.grant.verbs)
            raise HTTPException(
                403, f"This token is for one instance, and good for {good_for}. Anything else takes a key."
            )
        raise HTTPException(
            403, f"The verb {verb} takes a key of the role {VERBS[verb]}; this one is {caller.role}."
        )

    def response_grant(self, token: str) -> ResponseGrant:
        """What a response link allows. Raises `InvalidTokenError` for one that is broken, or has expired."""
        grant = read(self._secret, token)
        if not isinstance(grant, ResponseGrant):
            raise InvalidTokenError
        if grant.expires_at is not None and self._clock.now() >= grant.expires_at:
            raise InvalidTokenError("This link has expired.")
        return grant

    def _known(self, shown: str, address: str) -> Caller | None:
        """The caller with this key or token, or None. Raises `InvalidTokenError` for a token that is not valid.

        Keys have no dot in them, and tokens have: a broken token is not taken for a meaningless code.
        """
        if "." in shown:
            return Caller("token", Role.VIEWER, address, self._instance_grant(shown))
        key = self._of_ring(KeyRing.find, shown)
        return None if key is None else Caller(key.name, key.role, address, key=key)

    def _of_ring(self, ask: Callable[[KeyRing, A, Timestamp], R], about: A) -> R:
        """What the keys say. Raises `HTTPException` 503 if they cannot be read; the log says why, in few lines."""
        try:
            found = ask(self._ring, about, self._clock.now())
        except StoreError as error:
            self._unreadable += 1
            if doubled(self._unreadable):
                log.error("Every key is refused (%d requests so far): %s", self._unreadable, error)
            raise HTTPException(503, _NO_KEYS, {"Retry-After": "10"}) from None
        if self._unreadable:
            log.info("The keys can be read again")
            self._unreadable = 0
        return found

    def _instance_grant(self, token: str) -> InstanceGrant:
        grant = read(self._secret, token)
        if not isinstance(grant, InstanceGrant):
            raise InvalidTokenError("A response link is no key: it only answers, under /respond/.")
        return grant

    def _wrong(self, message: str, address: str) -> HTTPException:
        """What a key or token that is not valid is met with. It took as long as any other until here."""
        seconds = self.guesses.add(address, self._clock.now())
        if not seconds:
            return _unknown(message)
        return HTTPException(429, _TOO_OFTEN.format(seconds), {**_CHALLENGE, "Retry-After": str(seconds)})


def grant_expired(grant: InstanceGrant, instance: Instance, now: Timestamp) -> bool:
    """Whether a token no longer counts: some days after its instance has ended. While it runs, it does."""
    return instance.status.finished and now >= instance.updated + grant.days * _DAY


def _credentials(request: HTTPConnection) -> set[str]:
    """What the request shows, in the three places where clients put it."""
    shown: set[str] = set()
    if request.scope["query_string"]:
        shown.update(value for name, value in request.query_params.multi_items() if name.lower() == "code")
    for name, value in request.scope["headers"]:
        if name == b"x-functions-key":
            shown.add(value.decode("latin-1"))
        elif name == b"authorization":
            scheme, _, credential = value.decode("latin-1").strip().partition(" ")
            if scheme.lower() == "bearer":
                shown.add(credential.strip())
    shown.discard("")
    return shown


@lru_cache(maxsize=1024)
def _is_this_machine(address: str) -> bool:
    """Whether a peer's address is a loopback one."""
    ip = ip_of(address)
    return ip is not None and ip.is_loopback


def _unknown(message: str) -> HTTPException:
    return HTTPException(401, message, _CHALLENGE)
