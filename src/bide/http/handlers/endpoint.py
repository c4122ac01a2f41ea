"""One operation of the API as a value: what the router, the key check and the OpenAPI document know of it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec import Struct, UnsetType
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from bide.config import Settings
from bide.core.registry import Registry
from bide.engine.client import Client
from bide.errors import InstanceNotFoundError
from bide.http.base.answers import json_answer
from bide.http.base.body import read_input, read_payload
from bide.http.base.headers import Header
from bide.http.base.paging import continuation, read_cursor
from bide.http.base.queries import Query, parse
from bide.http.gate.auth import Caller, Gate, grant_expired
from bide.http.gate.streams import Streams
from bide.model.clock import Clock
from bide.model.instance import MAX_NAME, Instance
from bide.model.payload import ReadJson

C = TypeVar("C", bound=tuple[Any, ...])
Q = TypeVar("Q", bound=Query)

Answers: TypeAlias = Mapping[int, Any]
"""Status -> the type of the body (None: it has none; `OneOf`: it is of one of several)."""
Body: TypeAlias = Literal["input", "data"] | None
"""An orchestrator's input, an event's data, or none."""


class OneOf(NamedTuple):
    """A body that is of one of these types."""

    kinds: tuple[Any, ...]


_NO_PARAMETERS = QueryParams()
_LINK_MARK = b"/respond/"
_LINK = re.compile(rb"(/respond/)[A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Services:
    """What the handlers work with, while the app runs."""

    client: Client
    settings: Settings
    gate: Gate
    streams: Streams
    registry: Registry
    secret: bytes
    clock: Clock
    development: tuple[str, ...]
    """The paths of the app's routes that are for development only."""


class Call(Struct, Generic[Q], frozen=True):
    """One request, as far as it is read: who asks, for what."""

    request: Request
    services: Services
    caller: Caller
    query: Q
    client: Client
    """Acts, and is recorded, on behalf of the caller."""

    @property
    def settings(self) -> Settings:
        return self.services.settings

    @property
    def instance_id(self) -> str:
        return str(self.request.path_params["instanceId"])

    @property
    def now(self) -> int:
        return self.services.clock.now()

    def name(self, parameter: str) -> str:
        """A function's or event's name out of the path. Raises `HTTPException` 400 for one that is too long."""
        name = str(self.request.path_params[parameter])
        if len(name) > MAX_NAME:
            raise HTTPException(400, f"A name has 1 to {MAX_NAME} characters.")
        return name

    def header(self, header: Header) -> str:
        """A header's value, or an empty text. Raises `HTTPException` 400 for one that is too long."""
        value = self.request.headers.get(header.name, "")
        if len(value) > header.most:
            raise HTTPException(400, f"The header {header.name} should have up to {header.most} characters.")
        return value

    def cursor(self, wanted: type[C]) -> C | None:
        """Where the page begins; None for the first one. Raises `HTTPException` 400 for what is no token."""
        return read_cursor(self.header(continuation(wanted)), wanted)

    async def ended_within(self, limit: timedelta, instance_id: str) -> Instance | None:
        """The instance, if it ends in that time, in what a request may wait, and before the server stops.

        Raises `HTTPException` 401 if the caller's key counts no more.
        """
        limit = min(limit, timedelta(seconds=self.settings.max_wait_s))
        with suppress(TimeoutError):
            waiting = self.client.wait(instance_id, limit)
            return await self.services.streams.unless_closing(self.caller, waiting)
        return None

    def may(self, verb: str, instance_id: str | None = None) -> bool:
        """Whether the caller may do that to the instance."""
        return self.caller.may(verb, instance_id)

    def encode(self, content: object) -> bytes:
        """JSON as this caller may see it: who may not answer sees no response links."""
        body = msgspec.json.encode(content)
        if _LINK_MARK in body and not self.may("raiseEvent", self.request.path_params.get("instanceId")):
            body = _LINK.sub(rb"\1...", body)
        return body

    def answer(self, status: int, content: object, headers: Mapping[str, str] | None = None) -> Response:
        """A JSON answer. `Raw` values in `content` are written as they are."""
        return json_answer(status, self.encode(content), headers)

    async def payload(self) -> ReadJson:
        """The body as JSON text. Raises `HTTPException` for what is not acceptable."""
        return await read_payload(self.request, self.settings)

    async def input(self) -> ReadJson | UnsetType:
        """The same, and `UNSET` for an empty body."""
        return await read_input(self.request, self.settings)


Handler: TypeAlias = Callable[[Call[Q]], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[Q]):
    """One operation. The handler's docstring says what it does."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    """Below each prefix. Its fixed parts compare case-insensitively."""
    verb: str
    """One of `auth.VERBS`; it decides who may."""
    handler: Handler[Q]
    answers: Answers
    query: type[Q]
    body: Body = None
    headers: tuple[Header, ...] = ()
    cursor: type[tuple[Any, ...]] | None = None
    """For a list that comes in pages: where a page ends."""
    events: Mapping[str, Any] | None = None
    """For a stream of events: the type of the data of each kind."""

    async def handle(self, request: Request) -> Response:
        """Who asks comes first: nothing else is looked at for those who may not."""
        services: Services = request.app.state.services
        caller = services.gate.identify(request)
        instance_id: str | None = request.path_params.get("instanceId")
        services.gate.require(caller, self.verb, instance_id)
        await _refuse_outdated(services, caller)
        query = parse(self.query, request.query_params if request.scope["query_string"] else _NO_PARAMETERS)
        birth = "" if caller.grant is None else caller.grant.birth
        client = services.client.on_behalf(caller.name, caller.address, birth)
        return await self.handler(Call(request, services, caller, query, client))


async def _refuse_outdated(services: Services, caller: Caller) -> None:
    """Raises `HTTPException` 401 for a token whose instance has ended long ago, and `InstanceNotFoundError` for one
    whose instance is gone, whether or not another one has its id now."""
    if caller.grant is None:
        return
    instance = await services.client.get(caller.grant.instance_id)
    if instance.birth != caller.grant.birth:
        raise InstanceNotFoundError(instance.id)
    if grant_expired(caller.grant, instance, services.clock.now()):
        raise HTTPException(401, "This token has expired.", {"WWW-Authenticate": "Bearer"})
