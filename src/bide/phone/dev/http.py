"""The dev phone over HTTP: what has arrived, whom an answer goes to, and what goes wrong next."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from bide import (
    DevelopmentRoute,
    ServerSentEvent,
    dashboard_page,
    event_stream,
    to_span,
    unless_stopping,
)
from bide.phone.body import body_of
from bide.phone.carrier import InvalidNumberError, check_number
from bide.phone.dev.devphone import DevPhone, Fault
from bide.phone.dev.local_twilio import twilio_routes
from bide.phone.dev.outbox import DevMessage

_NO_STORE = {"Cache-Control": "no-store"}  # codes are in there
_MOST = 200
_INSTEAD = (
    "The dev phone delivers nothing to anybody, and shows codes to its callers. "
    "To send through Twilio, set TwilioAccountSid, TwilioAuthToken and TwilioPhoneNumber. "
    "To try it out, run bide dev, on this machine alone."
)
_LONGEST = timedelta(seconds=60)
_BODY_MAX_BYTES = 1_000


class _Shown(msgspec.Struct, frozen=True, rename="camel"):
    """A message as the telephone's owner sees it."""

    id: str
    to: str
    body: str
    code: str | None
    at: datetime
    deliver_at: datetime
    status: str
    error_code: int | None


class _Next(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    next: Fault | None


class _State(msgspec.Struct, frozen=True):
    next: Fault | None
    orchestrator: str | None
    event: str | None


def dev_phone_routes(
    phone: DevPhone, *, orchestrator: str | None = None, event: str | None = None
) -> list[BaseRoute]:
    """The dev phone over HTTP, and Twilio's Messages API, whose messages arrive on it.

    * `GET /dev/phone`: the telephone, the person and the engine on one page
    * `GET /dev/phone/messages?to=+12025550123&after=ID&wait=5s`: what has arrived, oldest first
    * `GET /dev/phone/events`: what arrives from now on, as server-sent events
    * `GET /dev/phone/state`, `POST /dev/phone/faults`: what happens to the next message

    `orchestrator` and `event` say whom an answer on the telephone is for. The routes belong into
    `App.mounts`, and keep the app from running in production, or where others can reach the server.
    """
    handlers = _Handlers(phone, orchestrator, event)
    return [
        _route("/dev/phone", dashboard_page, "GET"),
        _route("/dev/phone/messages", handlers.messages, "GET"),
        _route("/dev/phone/events", handlers.events, "GET"),
        _route("/dev/phone/state", handlers.state, "GET"),
        _route("/dev/phone/faults", handlers.arm, "POST"),
        *twilio_routes(phone),
    ]


def _route(path: str, endpoint: Callable[..., Any], method: str) -> DevelopmentRoute:
    return DevelopmentRoute(path, endpoint, instead=_INSTEAD, methods=[method])


class _Handlers:
    def __init__(self, phone: DevPhone, orchestrator: str | None, event: str | None) -> None:
        self._phone = phone
        self._state = partial(_State, orchestrator=orchestrator, event=event)

    async def messages(self, request: Request) -> Response:
        try:
            to, wait = _number(request.query_params), _wait(request.query_params)
        except (InvalidNumberError, ValueError) as error:
            return _refusal(str(error))
        after = request.query_params.get("after")
        found = self._phone.arrived(to, after)
        if wait and not found:
            found = await unless_stopping(request, self._phone.arrivals(to, after, wait.total_seconds())) or []
        return _answer([_shown(message) for message in (found if to else found[-_MOST:])])

    async def events(self, request: Request) -> StreamingResponse:
        seen = request.headers.get("last-event-id")
        if not seen:
            arrived = self._phone.arrived()
            seen = arrived[-1].id if arrived else None
        return event_stream(request, self._arrivals(seen))

    async def _arrivals(self, seen: str | None) -> AsyncGenerator[ServerSentEvent, None]:
        while True:
            for message in await self._phone.arrivals(after=seen):
                seen = message.id
                yield ServerSentEvent("message", msgspec.json.encode(_shown(message)), seen)

    async def state(self, request: Request) -> Response:
        return _answer(self._state(next=self._phone.next_fault))

    async def arm(self, request: Request) -> Response:
        try:
            self._phone.next_fault = msgspec.json.decode(await body_of(request, _BODY_MAX_BYTES), type=_Next).next
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _refusal(
                f'Send for example {{"next": "late"}}, or "lost", 21211, 30003, or null for none: {error}.'
            )
        return await self.state(request)


def _shown(message: DevMessage) -> _Shown:
    arrived = message.status == "delivered"
    return _Shown(
        message.id,
        message.to,
        message.body if arrived else "",
        message.code if arrived else None,
        message.at,
        message.due,
        message.status,
        message.error_code,
    )


def _number(query: Mapping[str, str]) -> str | None:
    """The number that was meant: a plus that nobody encoded arrives as a space. Raises `InvalidNumberError`."""
    if "to" not in query:
        return None
    to = query["to"]
    number = to.strip()
    return check_number(f"+{number}" if number and to.startswith(" ") and not number.startswith("+") else number)


def _wait(query: Mapping[str, str]) -> timedelta:
    """How long to wait for a message. Raises `ValueError`."""
    wait = to_span(query.get("wait", "0s"))
    if wait > _LONGEST:
        raise ValueError("wait is 60s at most")
    return wait


def _answer(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, _NO_STORE, "application/json")


def _refusal(message: str) -> Response:
    return _answer({"Message": message}, 400)
