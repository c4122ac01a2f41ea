"""The dashboard: one page, its scripts and its styles.

The server only hands out files. All data comes from the public HTTP API, with the viewer's own key, so whoever has
no key sees an empty shell. Nothing is loaded from elsewhere.
"""

from __future__ import annotations

import gzip
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

_HERE = Path(__file__).parent
_KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".txt": "text/plain"}
_VIEWS = (
    "/",
    "/instances",
    "/instances/{id}",
    "/instances/{id}/{tab}",
    "/start",
    "/timers",
    "/workers",
    "/metrics",
    "/audit",
    "/docs",
)
_HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'self'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}


class _Asset(NamedTuple):
    content: bytes
    packed: bytes
    """The same, compressed by gzip."""
    kind: str


def routes() -> list[Route]:
    """The dashboard's views, all of which are the same page, and `/assets/`."""
    return [*(Route(path, dashboard_page) for path in _VIEWS), Route("/assets/{digest}/{name:path}", _asset)]


async def dashboard_page(request: Request) -> Response:
    """The page that every view of the dashboard begins with; its script reads the address and shows the view.

    A route of one's own below the same app may answer with it too: the dev phone does. Links in it are relative to
    the app's root, however deep the request's path is, so it works under any prefix and behind any proxy.
    """
    return page(request, 200)


def page(request: Request, status: int) -> Response:
    """The dashboard's page, with a status; its script says so where there is no view."""
    below = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    root = "../" * (below.count("/") - 1) or "./"
    return HTMLResponse(_page().render(root=root, digest=_digest(), modules=_modules()), status, _HEADERS)


async def _asset(request: Request) -> Response:
    asset = _assets().get(request.path_params["name"])
    if asset is None:
        raise HTTPException(404, "There is no such file.")
    # A file's address changes with its content, so it can be kept for ever. An older page may ask for its own.
    fresh = request.path_params["digest"] == _digest()
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable" if fresh else "no-cache",
        "X-Content-Type-Options": "nosniff",
        "Vary": "Accept-Encoding",
    }
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=asset.kind)
    return Response(asset.content, headers=headers, media_type=asset.kind)


@cache
def _assets() -> dict[str, _Asset]:
    """All files, by their paths."""
    top = _HERE / "assets"
    found: dict[str, _Asset] = {}
    for path in sorted(path for path in top.rglob("*") if path.suffix in _KINDS):
        content = path.read_bytes()
        found[path.relative_to(top).as_posix()] = _Asset(
            content, gzip.compress(content, mtime=0), _KINDS[path.suffix]
        )
    return found


@cache
def _digest() -> str:
    digest = sha256()
    for name, asset in _assets().items():
        digest.update(name.encode() + b"\0" + asset.content)
    return digest.hexdigest()[:12]


@cache
def _modules() -> list[str]:
    """The scripts, so that the browser fetches them at once rather than one after another has named it."""
    return [name for name in _assets() if name.endswith(".js") and name not in ("app.js", "theme.js")]


@cache
def _page() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("shell.html")
