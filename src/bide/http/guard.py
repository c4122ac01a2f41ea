"""The first to see a request and the last to see what went wrong with it.

Where callers need no key, whoever can send a request from this machine can do everything. So requests that a web
page makes a browser send are refused there: those under a foreign host name (whose owner has pointed it at this
machine). Those that change something and come from another site are refused everywhere.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bide.config import Settings, is_loopback
from bide.http.answers import refusal
from bide.http.auth import is_open

log = logging.getLogger("bide.http")

_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]{1,253}))(?::[0-9]{1,5})?")
_CLOSE = {"Connection": "close"}
_ORIGIN = frozenset({b"host", b"origin", b"sec-fetch-site"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """Refuses requests from foreign pages, and turns unexpected errors into answers without internals."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._open = is_open(settings)
        self._hosts = frozenset(name.lower() for name in (settings.host, *settings.allowed_hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if self._is_too_much(scope, headers):
            await refusal(431, "The request has more headers than are allowed.", _CLOSE)(scope, receive, send)
        elif not self._knows_host(headers):
            message = "This host name is not served here. Behind a reverse proxy, add it to allowed_hosts."
            await refusal(400, message)(scope, receive, send)
        elif scope["method"] not in _SAFE_METHODS and _is_foreign(headers):
            await refusal(403, "Requests from the pages of other sites are refused.")(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    def _is_too_much(self, scope: Scope, headers: list[tuple[bytes, bytes]]) -> bool:
        size = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        for name, value in headers:
            size += len(name) + len(value)
        return len(headers) > self._settings.max_headers or size > self._settings.max_header_bytes

    def _knows_host(self, headers: list[tuple[bytes, bytes]]) -> bool:
        """Without a key, only this machine's own names count. A proxy's, if they are set, count anywhere."""
        if not self._open and not self._settings.allowed_hosts:
            return True
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) > 1:
            return False
        # HTTP/1.0 needs none; browsers always send one.
        return not hosts or _is_known(hosts[0], self._hosts)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:
            # The query may hold a key; the path is quoted so that it cannot forge a line of the log.
            log.exception("%s %s failed", scope["method"], _without_token(quote(scope["path"])))
            if started:
                raise
            await refusal(500, "Something went wrong. The server's log has the details.")(scope, receive, send)


def _without_token(path: str) -> str:
    """A response link's path holds the permission to answer."""
    before, link, _ = path.partition("/respond/")
    return f"{before}{link}..." if link else path


@lru_cache(maxsize=1024)
def _is_known(host: bytes, names: frozenset[str]) -> bool:
    found = _HOST.fullmatch(host.decode("latin-1"))
    if found is None:
        return False
    name = (found["v6"] or found["name"]).lower()
    return name in names or is_loopback(name)


def _is_foreign(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a browser says that the page behind a request is not one of ours."""
    said: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _ORIGIN:
            said.setdefault(name, value)
    site = said.get(b"sec-fetch-site")
    if site is not None:
        return site not in (b"same-origin", b"none")
    origin = said.get(b"origin")
    return origin is not None and origin.partition(b"://")[2] != said.get(b"host")
