"""What belongs on a developer's machine only, and the rule that keeps it there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from starlette.routing import BaseRoute, Mount, Route

from bide.config import Settings
from bide.errors import DevelopmentOnlyError
from bide.http.gate.auth import is_open


class DevelopmentRoute(Route):
    """A route among `App.mounts` that must not be served in production, nor where others can reach the server.

    There the whole app is refused with `DevelopmentOnlyError`, before it runs. `instead` tells whoever starts it
    why, and what to do, in whole sentences.
    """

    def __init__(
        self, path: str, endpoint: Callable[..., Any], *, instead: str, methods: Sequence[str] | None = None
    ) -> None:
        super().__init__(path, endpoint, methods=methods)
        self.instead = instead


def check_development(routes: Iterable[BaseRoute], settings: Settings) -> None:
    """Raises `DevelopmentOnlyError` if one of the routes is for development, and these settings are not."""
    reason = _unfit(settings)
    if reason is not None:
        for route in development_routes(routes):
            raise DevelopmentOnlyError(f"{route.path} is for development only, and {reason}. {route.instead}")


def _unfit(settings: Settings) -> str | None:
    """Why settings are not those of a developer's machine, if they are not."""
    if settings.environment == "production":
        return "this server's environment is production"
    if not is_open(settings):
        return "others can reach this server (host, allowed_hosts, public_url), or callers need a key (require_key)"
    return None


def development_routes(routes: Iterable[BaseRoute]) -> Iterator[DevelopmentRoute]:
    """Those of the routes that are for development only, also inside of mounted apps."""
    for route in routes:
        if isinstance(route, DevelopmentRoute):
            yield route
        elif isinstance(route, Mount):
            yield from development_routes(route.routes)
