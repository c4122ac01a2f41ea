"""Pages: HTML without scripts, that loads nothing and can be framed by nobody."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from hashlib import sha256

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from bide.http.base.answers import HEADERS


def html(
    status: int,
    template: str,
    content: Mapping[str, object],
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A page out of `pages/`."""
    body = _pages().get_template(template).render(content)
    return HTMLResponse(body, status, {**HEADERS, **_headers(), **(headers or {})})


@cache
def _pages() -> Environment:
    return Environment(
        loader=PackageLoader("bide.http", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _headers() -> dict[str, str]:
    """What the browser may do with a page: show it, style it as we do, and send its form back."""
    style = b64encode(sha256(_pages().get_template("page.css").render().encode()).digest()).decode()
    policy = (
        "default-src 'none'",
        f"style-src 'sha256-{style}'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
    return {
        "Content-Security-Policy": "; ".join(policy),
        # Not no-referrer, or browsers say that the form comes from nowhere. The pages link to nothing else.
        "Referrer-Policy": "same-origin",
        "X-Frame-Options": "DENY",
        "X-Robots-Tag": "noindex",
    }
