"""The first to see a request and the last to see what went wrong with it.

Where callers need no key, whoever can send a request from this machine can do everything. So requests that a web
page makes a browser send are refused there: those under a foreign host name (whose owner has pointed it at this
machine). Those that change something and come from another site are refused everywhere, and so are WebSockets. What
a proxy has passed on may come from anybody, so it is refused where no key is needed.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bide.config import Settings, is_loopback
from bide.http.base.answers import refusal
from bide.http.gate.auth import is_open

log = logging.getLogger("bide.http")

_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]{1,253}))(?::[0-9]{1,5})?")
_CLOSE = {"Connection": "close"}
_DENIAL = "websocket.http.response"
"""What servers can that send an answer instead of opening a WebSocket."""
_ORIGIN = frozenset({b"host", b"origin", b"sec-fetch-site"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
PROXY_HEADERS = (
    *("Forwarded", "Via", "X-Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port"),
    *("X-Forwarded-Prefix", "X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Forwarded-Server", "X-Forwarded-Ssl"),
    *("X-Original-Forwarded-For", "X-Original-Host", "X-Real-IP", "X-Client-IP", "X-Cluster-Client-IP"),
    *("True-Client-IP", "CF-Connecting-IP", "CF-Ray", "CDN-Loop", "Fastly-Client-IP", "Fly-Client-IP"),
    *("X-Azure-ClientIP", "X-AppEngine-User-IP", "X-Envoy-External-Address"),
)
"""What proxies, load balancers and tunnels write into requests, and programs on the same machine do not."""
_PROXY_HEADERS = {name.lower().encode(): name for name in PROXY_HEADERS}
_SIGNS = frozenset(_PROXY_HEADERS)
_PASSED_ON = (
    "A proxy has passed this request on ({}), and this server asks its callers for no key: it takes all of them "
    "for programs on its own machine. Set allowed_hosts to the names that the proxy serves, or require_key, and "
    "start it again; then every caller needs a key."
)


class Guard:
    """Refuses requests from foreign pages, and turns unexpected errors into answers without internals."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._open = is_open(settings)
        self._hosts = frozenset(name.lower() for name in (settings.host, *settings.allowed_hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket" and _DENIAL not in (scope.get("extensions") or {}):
            send = _closing(send)
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        acts = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if self._is_too_much(scope, headers):
            await refusal(431, "The request has more headers than are allowed.", _CLOSE)(scope, receive, send)
        elif not scope["query_string"].isascii():
            message = "A query has ASCII characters only. Percent-encode all others, as UTF-8."
            await refusal(400, message)(scope, receive, send)
        elif self._open and not _SIGNS.isdisjoint(dict(headers)):
            await refusal(400, _PASSED_ON.format(_sign(headers)))(scope, receive, send)
        elif not self._knows_host(headers):
            message = "This host name is not served here. Behind a reverse proxy, add it to allowed_hosts."
            await refusal(400, message)(scope, receive, send)
        elif acts and _is_foreign(headers):
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
            what = scope.get("method", "WebSocket")
            log.exception("%s %s failed", what, _without_token(quote(scope["path"])))
            if started:
                raise
            await refusal(500, "Something went wrong. The server's log has the details.")(scope, receive, send)


def _closing(send: Send) -> Send:
    """For servers that cannot answer instead of opening a WebSocket: they close it."""

    async def closing(message: Message) -> None:
        if message["type"] == f"{_DENIAL}.start":
            await send({"type": "websocket.close", "code": 1008})  # a policy was violated
        elif message["type"] != f"{_DENIAL}.body":
            await send(message)

    return closing


def _sign(headers: list[tuple[bytes, bytes]]) -> str:
    """The header by which it shows that a proxy passes a request on."""
    return next(_PROXY_HEADERS[name] for name, _ in headers if name in _SIGNS)


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
