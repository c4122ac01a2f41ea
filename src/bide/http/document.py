"""The OpenAPI document, and a page to read it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bide.http import openapi
from bide.http.answers import json_answer
from bide.http.auth import is_open
from bide.http.endpoint import Services
from bide.http.openapi import Json
from bide.http.rendering import html
from bide.http.urls import NEW_PREFIX


async def openapi_json(request: Request) -> Response:
    """The document of this app."""
    return json_answer(200, msgspec.json.encode(_document(request)))


async def docs(request: Request) -> Response:
    """The document as a page."""
    document = _document(request)
    operations = [_shown(path, method, operation) for path, method, operation in _operations(document)]
    groups = [(group, list(found)) for group, found in groupby(operations, lambda operation: operation["group"])]
    code = request.query_params.get("code")
    content = {
        "title": document["info"]["title"],
        "document": document,
        "groups": groups,
        "schemas": [(name, _pretty(schema)) for name, schema in sorted(document["components"]["schemas"].items())],
        "query": f"?{urlencode({'code': code})}" if code else "",
    }
    return html(200, "document.html", content, styles=("page.css", "document.css"))


def routes() -> list[Route]:
    """`/openapi.json` and `/docs`."""
    return [Route("/openapi.json", openapi_json), Route("/docs", docs)]


def _document(request: Request) -> Json:
    services: Services = request.app.state.services
    services.gate.require(services.gate.identify(request), "orchestrators", None)
    document = openapi.document(services.registry, services.settings, takes_key=not is_open(services.settings))
    root_path: str = request.scope.get("root_path", "")
    return {**document, "servers": [{"url": root_path}]} if root_path else document


def _operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _shown(path: str, method: str, operation: Json) -> Json:
    body: Json = operation.get("requestBody", {}).get("content", {})
    return {
        "group": _group(path),
        "method": method.upper(),
        "path": path,
        "summary": operation["summary"],
        "description": operation.get("description", ""),
        "parameters": [{**each, "about": _about(each)} for each in operation["parameters"]],
        "bodies": [(kind, _pretty(media["schema"])) for kind, media in body.items()],
        "responses": [(status, each["description"]) for status, each in operation["responses"].items()],
    }


def _group(path: str) -> str:
    below = path.removeprefix(NEW_PREFIX)
    if below.startswith("/orchestrators/"):
        return "Starting"
    return "One instance" if "{instanceId}" in below else "All instances, and the hub"


def _about(parameter: Json) -> str:
    """A parameter in words: what it means, and what it may be."""
    schema: Json = parameter["schema"]
    kind: Json = schema.get("items", schema)
    limits = [f"{name} {kind[name]}" for name in ("minimum", "maximum", "maxLength", "pattern") if name in kind]
    choices = [" or ".join(map(str, kind["enum"]))] if "enum" in kind else []
    default: list[Any] = [f"default {_pretty(schema['default'])}"] if "default" in schema else []
    words = parameter.get("description") or schema.get("description") or kind.get("description") or ""
    facts = "; ".join([kind.get("type", "any"), *choices, *limits, *default])
    return f"{words} ({facts})".strip()


def _pretty(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
