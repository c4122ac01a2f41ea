"""Who calls, and what that caller may do.

A caller shows a key of the hub, or a token that is signed for one instance. On this machine alone no key is needed,
unless the settings demand one.

No refusal tells whether an instance exists: who calls is known before anything is looked up, and a token is refused
on another instance whether there is one or not.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from urllib.parse import urlsplit

from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request

from bide.clock import SECOND, Clock, Timestamp
from bide.config import Settings, is_loopback
from bide.errors import InvalidTokenError
from bide.instance import Instance
from bide.keys import KeyRing, Role
from bide.tokens import InstanceGrant, ResponseGrant, read

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


class Caller(Struct, frozen=True):
    """Who sent a request. `name` is for the audit: a key's name, `local`, or `token`.

    A caller with a `grant` has no role beyond it: ask `may`, not `role`.
    """

    name: str
    role: Role
    address: str
    grant: InstanceGrant | None = None

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

    def identify(self, request: Request) -> Caller:
        """Who sent the request. Raises `HTTPException` 401 for who shows nothing, or nothing valid."""
        client = request.client
        address = "" if client is None else client.host
        local = self._open and (client is None or _is_this_machine(address))
        shown = _credentials(request)
        if len(shown) > 1:
            raise _unknown("The request has several keys, and they differ.")
        caller = self._known(shown.pop(), address) if shown else None
        if caller is None and local:
            # Clients of Azure always send a code, here a meaningless one.
            return Caller("local", Role.ADMIN, address)
        if caller is None:
            raise _unknown("This takes a valid key: as x-functions-key, as Authorization: Bearer, or as ?code=.")
        return caller

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
        """The caller with this key or token, or None. Raises `HTTPException` 401 for a token that is not valid.

        Keys have no dot in them, and tokens have: a broken token is not taken for a meaningless code.
        """
        if "." in shown:
            return Caller("token", Role.VIEWER, address, self._instance_grant(shown))
        key = self._ring.find(shown, self._clock.now())
        return None if key is None else Caller(key.name, key.role, address)

    def _instance_grant(self, token: str) -> InstanceGrant:
        try:
            grant = read(self._secret, token)
        except InvalidTokenError as error:
            raise _unknown(str(error)) from None
        if not isinstance(grant, InstanceGrant):
            raise _unknown("A response link is no key: it only answers, under /respond/.")
        return grant


def grant_expired(grant: InstanceGrant, instance: Instance, now: Timestamp) -> bool:
    """Whether a token no longer counts: some days after its instance has ended. While it runs, it does."""
    return instance.status.finished and now >= instance.updated + grant.days * _DAY


def _credentials(request: Request) -> set[str]:
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
    """Whether a peer's address is a loopback one; IPv4 in IPv6 clothes counts as what it is."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def _unknown(message: str) -> HTTPException:
    return HTTPException(401, message, _CHALLENGE)
