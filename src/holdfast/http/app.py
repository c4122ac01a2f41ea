"""The management API of an app, as an ASGI application that runs the app while it is served."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route

from holdfast.app import App
from holdfast.config import Settings
from holdfast.errors import HoldfastError
from holdfast.http import management
from holdfast.http.answers import refuse_error, refuse_request
from holdfast.http.guard import Guard
from holdfast.http.payloads import NEW_PREFIX, OLD_PREFIX


def create_app(app: App, settings: Settings) -> Starlette:
    """The management API, and the app's own routes beside it.

    The app runs from the server's start to its end: both belong to the ASGI lifespan.
    """

    @asynccontextmanager
    async def lifespan(api: Starlette) -> AsyncGenerator[None, None]:
        async with app.running(settings) as client:
            api.state.client = client
            yield

    api = Starlette(
        routes=[*_routes(), *app.mounts],
        middleware=[Middleware(Guard, settings=settings)],
        exception_handlers={HoldfastError: refuse_error, HTTPException: refuse_request},
        lifespan=lifespan,
    )
    api.state.settings = settings
    return api


def _routes() -> list[BaseRoute]:
    routes: list[BaseRoute] = [
        Route("/healthz", management.healthz),
        Route("/readyz", management.readyz),
    ]
    for prefix in ("", "/api"):
        routes.append(_route(f"{prefix}/orchestrators/{{name}}", management.start))
        routes.append(_route(f"{prefix}/orchestrators/{{name}}/{{instance_id}}", management.start))
    for prefix in (NEW_PREFIX, OLD_PREFIX):
        instance = f"{prefix}/instances/{{instance_id}}"
        routes += [
            _route(instance, management.status, "GET"),
            _route(f"{instance}/raiseEvent/{{name}}", management.raise_event),
            _route(f"{instance}/terminate", management.terminate),
            _route(f"{instance}/suspend", management.suspend),
            _route(f"{instance}/resume", management.resume),
            _route(f"{instance}/restart", management.restart),
        ]
    return routes


def _route(path: str, handler: management.Handler, *methods: str) -> Route:
    """A route whose fixed parts compare case-insensitively, as Durable Functions' do."""
    route = Route(path, handler, methods=methods or ("POST",))
    route.path_regex = re.compile(route.path_regex.pattern, re.IGNORECASE)
    return route
