"""The management API of an app, as an ASGI application that runs the app while it is served."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import URLPath
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Message, Receive, Scope, Send

from bide import web
from bide.access.rings import served_keys
from bide.config import Settings
from bide.engine.client import Client
from bide.errors import BideError, StoreReplacedError
from bide.http.base.answers import refusal, refuse_error, refuse_request
from bide.http.base.urls import NEW_PREFIX, OLD_PREFIX
from bide.http.document import page as document
from bide.http.gate.auth import Gate
from bide.http.gate.development import check_development, development_routes
from bide.http.gate.keyless import KeylessRoute
from bide.http.gate.listening import Listeners
from bide.http.gate.streams import CALLER, Streams
from bide.http.handlers import health
from bide.http.handlers.api import MANAGEMENT, STARTERS
from bide.http.handlers.endpoint import Services
from bide.http.handlers.operations import Operations
from bide.http.respond import responding
from bide.http.server.guard import Guard
from bide.model.clock import Clock
from bide.running import Runnable, run

log = logging.getLogger("bide.http")

_NOT_ENTERED = """\
Bide is mounted, but not running: the lifespan of a mounted app must be entered by the app around it.
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

    def __init__(
        self, app: Runnable, settings: Settings, clock: Clock | None = None, *, served_by_us: bool = True
    ) -> None:
        """`served_by_us`: at the address that the settings say."""
        check_development(app.mounts, settings)
        self.settings = settings
        self.leaving = False
        """Whether the server is about to stop, so that nobody should send requests here any more."""
        self.lost: asyncio.Future[StoreReplacedError] | None = None
        """Of the running app (see `Running.lost`)."""
        self._durable = app
        self._clock = clock or app.clock
        self._served_by_us = served_by_us
        self._operations = _operations()
        super().__init__(
            routes=[self._operations, *_routes(app)],
            exception_handlers={BideError: refuse_error, HTTPException: _refuse_request},
            lifespan=self.lifespan,
        )
        self._guard = Guard(self._serve, settings)

    @property
    def client(self) -> Client:
        """The client of the running app: to start and answer from your own endpoints.

        Raises `RuntimeError` while the lifespan is not entered, saying how to.
        """
        if not hasattr(self.state, "services"):
            raise RuntimeError(_NOT_ENTERED)
        return self._durable.client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        await self._guard(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Operations are called straight; everything else goes Starlette's way."""
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
        elif not hasattr(self.state, "services"):  # nothing would ever go on
            log.error(_NOT_ENTERED)
            await refusal(500, _NOT_ENTERED)(scope, receive, send)
        else:
            match, found = self._operations.matches(scope)
            if match is Match.FULL:
                scope.update(found)
                await self._operations.handle(scope, receive, send)
            else:
                await super().__call__(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncGenerator[None, None]:
        """Run the durable app. Takes and ignores the app around it, as ASGI frameworks pass it."""
        async with (
            run(self._durable, self.settings, self._clock, address_known=self._served_by_us) as hub,
            served_keys(self.settings, hub.store) as ring,
        ):
            self.lost = hub.lost
            client, secret, clock = hub.client, hub.secret, hub.clock
            gate = Gate(ring, secret, self.settings, clock)
            streams = Streams(client, Listeners(gate, self.settings))
            registry = self._durable.registry
            development = tuple(route.path for route in development_routes(self._durable.mounts))
            self.state.services = Services(
                client, self.settings, gate, streams, registry, secret, clock, development
            )
            self.state.streams = streams
            try:
                yield
            finally:
                streams.close()
                del self.state.services


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
        caller = scope[CALLER] = services.gate.identify(HTTPConnection(scope))
        services.gate.require(caller, "raiseEvent", None)
        if scope["type"] == "http":
            await self._route.handle(scope, receive, send)
        else:
            await self._converse(services.streams.listeners, scope, receive, send)

    async def _converse(self, listeners: Listeners, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket, until its caller's key counts no more, or the server stops."""
        closed = False

        async def watch(message: Message) -> None:
            nonlocal closed
            closed = closed or message["type"] not in ("websocket.accept", "websocket.send")
            await send(message)

        with listeners.waiting(scope[CALLER]) as listener:
            try:
                await listener.result(self._route.handle(scope, receive, watch))
            except HTTPException as error:
                if error is not listener.refused:
                    raise
            if listener.ended and not closed:
                code = 1012 if listener.refused is None else 1008  # the service restarts, or a policy is violated
                await send({"type": "websocket.close", "code": code})


def create_app(app: Runnable, settings: Settings) -> DurableApi:
    """The management API of an app. Raises `DevelopmentOnlyError`."""
    return DurableApi(app, settings)


async def _refuse_request(request: Request, error: Exception) -> Response:
    """As JSON; but whoever looks in a browser for what is not there finds a page, with a way home."""
    looks = request.scope.get("method") == "GET" and "text/html" in request.headers.get("accept", "")
    if looks and isinstance(error, HTTPException) and error.detail == HTTPStatus.NOT_FOUND.phrase:
        return web.page(request, 404)
    return await refuse_request(request, error)


def _routes(app: Runnable) -> list[BaseRoute]:
    own = [*health.routes(), *document.routes(), *responding.routes(), *web.routes()]
    return [*own, *(each if isinstance(each, KeylessRoute) else _Kept(each) for each in app.mounts)]


def _operations() -> Operations:
    found = Operations()
    for prefix in ("", "/api"):
        found.add(prefix, STARTERS)
    for prefix in (NEW_PREFIX, OLD_PREFIX):
        found.add(prefix, (*STARTERS, *MANAGEMENT))
    return found
