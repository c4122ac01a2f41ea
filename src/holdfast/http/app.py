"""The management API of an app, as an ASGI application that runs the app while it is served."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import URLPath
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from holdfast import web
from holdfast.app import App
from holdfast.clock import Clock
from holdfast.config import Settings
from holdfast.errors import HoldfastError
from holdfast.http import document, health, responding
from holdfast.http.answers import refusal, refuse_error, refuse_request
from holdfast.http.api import MANAGEMENT, STARTERS
from holdfast.http.auth import Gate
from holdfast.http.development import check_development, development_routes
from holdfast.http.endpoint import Services, routes
from holdfast.http.guard import Guard
from holdfast.http.streams import Streams
from holdfast.http.urls import NEW_PREFIX, OLD_PREFIX
from holdfast.keys import KeyRing, hub_secret, keys_path

log = logging.getLogger("holdfast.http")

_NOT_ENTERED = """\
Holdfast is mounted, but not running: the lifespan of a mounted app must be entered by the app around it.
Give it to that app, or enter it in that app's own lifespan:

    app = FastAPI(lifespan=durable.lifespan)

    async with durable.lifespan(app):
        yield
"""


class DurableApi(Starlette):
    """The management API, and the app's own routes beside it.

    The app runs as long as `lifespan` is entered. A server does that; where the API is mounted in another ASGI app,
    that one must. Raises `DevelopmentOnlyError` if a route is for development, and the settings are not.
    """

    def __init__(self, app: App, settings: Settings, clock: Clock | None = None) -> None:
        check_development(app.mounts, settings)
        self.settings = settings
        self._durable = app
        self._clock = clock or app.clock
        super().__init__(
            routes=_routes(app),
            middleware=[Middleware(Guard, settings=settings), Middleware(_Running, api=self)],
            exception_handlers={HoldfastError: refuse_error, HTTPException: refuse_request},
            lifespan=self.lifespan,
        )

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncGenerator[None, None]:
        """Run the durable app. Takes and ignores the app around it, as ASGI frameworks pass it."""
        secret = hub_secret(self.settings.db)
        gate = Gate(KeyRing(keys_path(self.settings.db)), secret, self.settings, self._clock)
        async with self._durable.running(self.settings, clock=self._clock) as client:
            streams = Streams(client, self.settings.max_streams)
            registry = self._durable.registry
            development = tuple(route.path for route in development_routes(self._durable.mounts))
            self.state.services = Services(
                client, self.settings, gate, streams, registry, secret, self._clock, development
            )
            self.state.streams = streams
            self.state.client = client
            try:
                yield
            finally:
                streams.close()
                del self.state.services


class _Running:
    """Refuses requests while the app does not run, loudly: nothing would ever go on."""

    def __init__(self, app: ASGIApp, api: DurableApi) -> None:
        self._app = app
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not hasattr(self._api.state, "services"):
            log.error(_NOT_ENTERED)
            await refusal(500, _NOT_ENTERED)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class _Kept(BaseRoute):
    """A route of the user's app, for callers who may act. Others can be served by an app around this one."""

    def __init__(self, route: BaseRoute) -> None:
        self._route = route

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return self._route.matches(scope)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        return self._route.url_path_for(name, **path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        services: Services = scope["app"].state.services
        services.gate.require(services.gate.identify(Request(scope)), "raiseEvent", None)
        await self._route.handle(scope, receive, send)


def create_app(app: App, settings: Settings) -> DurableApi:
    """The management API of an app. Raises `DevelopmentOnlyError`."""
    return DurableApi(app, settings)


def _routes(app: App) -> list[BaseRoute]:
    found: list[BaseRoute] = [*health.routes(), *document.routes(), *responding.routes(), *web.routes()]
    for prefix in ("", "/api"):
        found += routes(prefix, STARTERS)
    for prefix in (NEW_PREFIX, OLD_PREFIX):
        found += routes(prefix, (*STARTERS, *MANAGEMENT))
    return [*found, *map(_Kept, app.mounts)]
