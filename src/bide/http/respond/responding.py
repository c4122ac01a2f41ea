"""The page behind a response link: it shows what is asked, and takes the answer of whoever holds the link.

Opening it changes nothing, so a mail scanner that follows links does no harm; only sending the form answers. The
page has no script, loads nothing, and can be framed by nobody.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, NamedTuple
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta, Raw, Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bide.config import Settings
from bide.engine.client import Client
from bide.errors import (
    InstanceFinishedError,
    InstanceNotFoundError,
    InvalidTokenError,
    MisfitError,
    PayloadError,
    RequestError,
    TryAgainError,
    WaitClosedError,
)
from bide.http.base.answers import nothing
from bide.http.base.body import media_type, read_body, read_payload
from bide.http.handlers.endpoint import Services
from bide.http.respond.forms import Field, form, in_words
from bide.http.respond.rendering import html
from bide.http.respond.typed import FormError, Typed, answer, shown, told
from bide.model.clock import SECOND, Timestamp, to_datetime
from bide.model.instance import Instance, RuntimeStatus, Wait
from bide.model.links import wait_meant
from bide.model.tokens import ResponseGrant

log = logging.getLogger("bide.http")

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = tuple(
    "January February March April May June July August September October November December".split()  # noqa: SIM905
)
_FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 500


class _Notice(NamedTuple):
    """A page that only says something."""

    status: int
    title: str
    text: str


_CLOSED = _Notice(410, "This question is closed", "No answer is needed any more.")
_CLOSED_AFTER = _CLOSED._replace(text="You have answered it, and your answer was kept. Nothing more is needed.")
_CLOSED_BEFORE = _CLOSED._replace(
    text="It ended before an answer came through this link: somebody else has answered it, its time was over, or "
    "no answer is needed any more. Nothing is needed from you."
)
_NOT_YET = _Notice(409, "This question is not open yet", "It may be asked later. You can open this link again.")
_BROKEN = _Notice(500, "Something went wrong", "Your answer may not have arrived. Please try again later.")
_NOTICES: dict[type[Exception], _Notice] = {
    InvalidTokenError: _Notice(
        401,
        "This link does not work",
        "It is incomplete, or it has expired. Please ask whoever sent it to you for a new one.",
    ),
    InstanceNotFoundError: _CLOSED,
}


class _Verdict(NamedTuple):
    """What the question's page says about an answer that was sent."""

    status: int
    text: str


_ASKED = _Verdict(200, "")
_NOT_TAKEN = _Verdict(422, "Your answer was not taken.")
_UNCERTAIN = _Verdict(503, "It is not certain that your answer has arrived. Please send it again.")
_LOOKED_AT = 1000
"""Entries of an instance's audit, newest first, in which a link's answer is looked for."""


class _NoQuestion(Exception):
    """There is nothing to answer now; the notice says why."""

    def __init__(self, notice: _Notice) -> None:
        super().__init__(notice.text)
        self.notice = notice


class _Tries(Struct, frozen=True, rename="camel"):
    tries_left: Annotated[int, Meta(ge=0)] | None = None


class _Moment(Struct, frozen=True):
    """An instant in words."""

    iso: str
    text: str
    ago: str
    past: bool


def routes() -> list[Route]:
    """`/respond/{token}`."""
    return [Route("/respond/{token}", respond, methods=["GET", "POST"])]


async def respond(request: Request) -> Response:
    """`GET` shows the question, `POST` answers it: with the form's fields, or with JSON as data."""
    services: Services = request.app.state.services
    try:
        grant = services.gate.response_grant(request.path_params["token"])
        services = _of_holder(request, services, grant)
        if request.method != "POST":
            return await _show(services, grant)
        if media_type(request) == "application/json":
            return await _take_json(request, services, grant)
        if media_type(request) == _FORM:
            return await _take_form(request, services, grant)
    except Exception as error:
        return _refuse(request, error)
    raise HTTPException(415, f"An answer is sent as {_FORM}, or as application/json.")


def _of_holder(request: Request, services: Services, grant: ResponseGrant) -> Services:
    """For whoever holds the link, there is only the instance that it was made for."""
    address = "" if request.client is None else request.client.host
    client = services.client.on_behalf(_name_of(grant), address, grant.birth)
    return replace(services, client=client)


def _name_of(grant: ResponseGrant) -> str:
    return f"link:{grant.link_id}"


async def _show(services: Services, grant: ResponseGrant) -> Response:
    try:
        wait = await _open_wait(services.client, grant)
    except _NoQuestion as found:
        if found.notice != _NOT_YET:
            raise
        return _page(found.notice._replace(status=200))
    return await _question(services, wait, form(msgspec.json.decode(wait.schema_json)), _ASKED)


async def _take_json(request: Request, services: Services, grant: ResponseGrant) -> Response:
    data = (await read_payload(request, services.settings)).text
    await _respond(services.client, grant, await _open_wait(services.client, grant), data)
    return nothing(202)


async def _take_form(request: Request, services: Services, grant: ResponseGrant) -> Response:
    typed = await _typed(request, services.settings)
    wait = await _open_wait(services.client, grant)
    field = form(msgspec.json.decode(wait.schema_json))
    try:
        data = answer(field, typed, services.settings.max_json_depth)
        await _respond(services.client, grant, wait, data)
    except FormError as error:
        return await _question(services, wait, field, _NOT_TAKEN, typed, error.problems)
    except PayloadError as error:
        return await _question(services, wait, field, _NOT_TAKEN, typed, _problem(field, error))
    except TryAgainError as error:
        page = await _question(services, wait, field, _UNCERTAIN, typed)
        page.headers["Retry-After"] = str(math.ceil(error.retry_after_s))
        return page
    return html(200, "answered.html", {"title": "Thank you", "told": told(field, data)})


async def _open_wait(client: Client, grant: ResponseGrant) -> Wait:
    """The wait that the link is for, if it is open.

    Raises `_NoQuestion` if it is not, and `InstanceNotFoundError`: the link is genuine, so the instance has been
    purged, or replaced by another one.
    """
    instance = await client.get(grant.instance_id)
    is_over = instance.status.finished or instance.generation != grant.generation
    wait = None if is_over else await _wait(client, grant)
    if wait is None:
        raise await _closed(client, grant)
    stands_still = instance.status is not RuntimeStatus.RUNNING or instance.held is not None
    if stands_still and await _has_answered(client, grant):  # until it goes on, answers are kept, and waits open
        raise _NoQuestion(_CLOSED_AFTER)
    return wait


async def _wait(client: Client, grant: ResponseGrant) -> Wait | None:
    """The wait that the link is for, or None if that is over. Raises `_NoQuestion` if it is not open yet."""
    for wait in await client.waits(grant.instance_id):
        if (wait.id, wait.opened) == (grant.task_id, grant.asked_at):
            return wait
    try:
        wait_id = wait_meant(grant, await client.history(grant.instance_id))
    except WaitClosedError:
        return None
    if wait_id is None:
        raise _NoQuestion(_NOT_YET)
    return next((wait for wait in await client.waits(grant.instance_id) if wait.id == wait_id), None)


async def _closed(client: Client, grant: ResponseGrant) -> _NoQuestion:
    return _NoQuestion(_CLOSED_AFTER if await _has_answered(client, grant) else _CLOSED_BEFORE)


async def _has_answered(client: Client, grant: ResponseGrant) -> bool:
    """Whether an answer was taken through this link: the audit says so."""
    entries = await client.audit(grant.instance_id, limit=_LOOKED_AT)
    return any(entry.caller == _name_of(grant) and entry.result == "accepted" for entry in entries)


async def _respond(client: Client, grant: ResponseGrant, wait: Wait, data: Raw) -> None:
    """Answer this very wait: the step that takes the answer sees whether it is still open."""
    try:
        await client.respond(wait, data, generation=grant.generation)
    except (WaitClosedError, InstanceFinishedError):
        raise await _closed(client, grant) from None


async def _typed(request: Request, settings: Settings) -> Typed:
    """What was typed, by the inputs' names. Raises `HTTPException` 400 for what no browser sends."""
    body = await read_body(request, settings)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise HTTPException(400, f"The form cannot be read: {error}") from error
    return dict(pairs)


def _problem(field: Field, error: PayloadError) -> dict[str, str]:
    """What the engine found, in the words of the form."""
    at = field.at(error.path) if isinstance(error, MisfitError) else field
    found = str(error).partition(" - at `")[0]
    return {at.path: f"This does not fit. {at.hint}" if at.hint else f"This does not fit: {found}."}


# --- pages


def _refuse(request: Request, error: Exception) -> Response:
    """A page, or for a program JSON. Raises the error itself if it is about the request, not about the link."""
    notice = _notice_of(error)
    if notice is None and isinstance(error, HTTPException | RequestError | TryAgainError):
        raise error
    if notice is None:
        # Caught here, because whoever else logs it would log the path, and with it the token.
        log.error("%s /respond/... failed", request.method, exc_info=error)
        notice = _BROKEN
    headers = {"WWW-Authenticate": "Bearer"} if notice.status == 401 else {}
    if media_type(request) == "application/json":
        raise HTTPException(notice.status, f"{notice.title}. {notice.text}", headers)
    return _page(notice, headers)


def _notice_of(error: Exception) -> _Notice | None:
    if isinstance(error, _NoQuestion):
        return error.notice
    return next((_NOTICES[kind] for kind in type(error).__mro__ if kind in _NOTICES), None)


def _page(notice: _Notice, headers: dict[str, str] | None = None) -> Response:
    return html(notice.status, "notice.html", {"title": notice.title, "text": notice.text}, headers)


async def _question(
    services: Services,
    wait: Wait,
    field: Field,
    verdict: _Verdict,
    typed: Typed | None = None,
    problems: Mapping[str, str] | None = None,
) -> Response:
    now = services.clock.now()
    content = {
        "title": field.label or in_words(wait.name),
        "wait": wait,
        "field": field,
        "verdict": verdict.text,
        "typed": typed,
        "problems": problems or {},
        "shown": shown,
        "since": _moment(wait.opened, now),
        "deadline": None if wait.due is None else _moment(wait.due, now),
        "tries_left": _tries_left(await services.client.get(wait.instance_id)),
    }
    return html(verdict.status, "question.html", content)


def _tries_left(instance: Instance) -> int | None:
    """What the orchestrator says of it: a custom status like `{"triesLeft": 3}`. Nothing else of it is shown."""
    try:
        return msgspec.json.decode(instance.custom_status_json, type=_Tries).tries_left
    except msgspec.DecodeError:
        return None


def _moment(at: Timestamp, now: Timestamp) -> _Moment:
    when = to_datetime(at)
    ago = f"in {_span(at - now)}" if at > now else f"{_span(now - at)} ago" if now - at >= SECOND else "just now"
    day = f"{_DAYS[when.weekday()]}, {when.day} {_MONTHS[when.month - 1]} {when.year}"
    return _Moment(when.strftime("%Y-%m-%dT%H:%M:%SZ"), f"{day}, {when:%H:%M} UTC", ago, at <= now)


def _span(micros: int) -> str:
    """'40 seconds', '3 hours': as exact as people care to know."""
    seconds = micros // SECOND
    units = (("days", 86_400), ("hours", 3_600), ("minutes", 60))
    unit, length = next((each for each in units if seconds >= 2 * each[1]), ("seconds", 1))
    return "1 second" if seconds == 1 else f"{seconds // length} {unit}"
