"""All operations of the API as one route.

A path is found by a walk over its parts, however many operations there are, and the handler is called without
layers between. Fixed parts compare case-insensitively. A slash that is written as `%2F` belongs to a name and parts
nothing, and one at the end means nothing: a redirect, as Starlette's, would lose the body with some callers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.datastructures import URLPath
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from bide.errors import BideError
from bide.http.base.answers import error_answer, request_refusal
from bide.http.handlers.endpoint import Endpoint


class _Place:
    """What comes after one part of a path, and the operations that end there, by their methods."""

    __slots__ = ("fixed", "methods", "name", "parameter")

    def __init__(self) -> None:
        self.fixed: dict[str, _Place] = {}
        self.parameter: _Place | None = None
        self.name = ""
        """Of the parameter that stands here."""
        self.methods: dict[str, Endpoint[Any]] = {}


class Operations(BaseRoute):
    """The operations, below their prefixes."""

    def __init__(self) -> None:
        self._root = _Place()

    def add(self, prefix: str, endpoints: Iterable[Endpoint[Any]]) -> None:
        for endpoint in endpoints:
            place = self._root
            for part in f"{prefix}{endpoint.path}".split("/")[1:]:
                place = _below(place, part)
            place.methods[endpoint.method] = endpoint

    def find(self, parts: Iterable[str]) -> tuple[_Place, dict[str, str]] | None:
        """The place of a path, and the parameters in it."""
        place, parameters = self._root, dict[str, str]()
        for part in parts:
            found = place.fixed.get(part.lower())
            if found is None:
                found = place.parameter
                if found is None or not part:
                    return None
                parameters[found.name] = part
            place = found
        return (place, parameters) if place.methods else None

    # --- as one of Starlette's routes

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        found = self.find(_parts(scope))
        if found is None:
            return Match.NONE, {}
        place, parameters = found
        return Match.FULL, {"endpoint": place, "path_params": parameters}

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        place: _Place = scope["endpoint"]
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        endpoint = place.methods.get(method)
        try:
            if "\ufffd" in scope["path"]:
                _check_encoding(scope)
            if endpoint is None:
                raise HTTPException(405, headers={"Allow": ", ".join(_allowed(place))})
            answer = await endpoint.handle(Request(scope, receive, send))
        except HTTPException as error:
            answer = request_refusal(error)
        except BideError as error:
            answer = error_answer(error)
        await answer(scope, receive, send)


def _parts(scope: Scope) -> list[str]:
    """The decoded parts of a request's path, below what the app is mounted under, without a slash at the end."""
    parts = _split(scope)
    return parts[:-1] if len(parts) > 1 and not parts[-1] else parts


def _split(scope: Scope) -> list[str]:
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    raw: bytes = scope.get("raw_path") or b""
    if b"%2f" in raw.lower():
        whole = [unquote_to_bytes(part).decode(errors="replace") for part in raw.split(b"/")]
        if "/".join(whole) == path:  # otherwise, who rewrote the path on the way left the raw one as it was
            return whole[root.count("/") + 1 :]
    return path.removeprefix(root).split("/")[1:]


def _check_encoding(scope: Scope) -> None:
    """Raises `HTTPException` 400 for a path whose bytes are no text: replaced by servers, two ids would be one."""
    try:
        unquote_to_bytes(scope.get("raw_path") or b"").decode()
    except UnicodeDecodeError as error:
        raise HTTPException(400, "The path is not UTF-8. Percent-encode names and ids as UTF-8.") from error


def _below(place: _Place, part: str) -> _Place:
    if not part.startswith("{"):
        return place.fixed.setdefault(part.lower(), _Place())
    if place.parameter is None:
        place.parameter = _Place()
        place.parameter.name = part.strip("{}")
    return place.parameter


def _allowed(place: _Place) -> list[str]:
    return sorted(place.methods | {"HEAD": None}) if "GET" in place.methods else sorted(place.methods)
