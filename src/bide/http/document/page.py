"""The OpenAPI document. The dashboard shows it to people, at `/docs`."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bide.http.base.answers import json_answer
from bide.http.document import openapi
from bide.http.document.openapi import Json
from bide.http.gate.auth import is_open
from bide.http.handlers.endpoint import Services


async def openapi_json(request: Request) -> Response:
    """The document of this app."""
    return json_answer(200, msgspec.json.encode(_document(request)))


def routes() -> list[Route]:
    """`/openapi.json`."""
    return [Route("/openapi.json", openapi_json)]


def _document(request: Request) -> Json:
    services: Services = request.app.state.services
    services.gate.require(services.gate.identify(request), "orchestrators", None)
    document = openapi.document(services.registry, services.settings, takes_key=not is_open(services.settings))
    root_path: str = request.scope.get("root_path", "")
    return {**document, "servers": [{"url": root_path}]} if root_path else document
