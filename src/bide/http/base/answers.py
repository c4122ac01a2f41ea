"""Answers: JSON, or nothing. Clients of Durable Functions decode every body as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from bide.errors import (
    BideError,
    DataRefusedError,
    FunctionNotFoundError,
    InstanceExistsError,
    InstanceFinishedError,
    InstanceNotFoundError,
    MisfitError,
    NotAllowedError,
    PayloadError,
    RequestReusedError,
    StepFailedError,
    TryAgainError,
)
from bide.http.base.shapes import UNTYPED, Problem

STATUS: dict[type[BideError], int] = {
    PayloadError: 400,
    MisfitError: 422,
    RequestReusedError: 422,
    DataRefusedError: 422,
    FunctionNotFoundError: 400,
    InstanceNotFoundError: 404,
    InstanceExistsError: 409,
    NotAllowedError: 409,
    InstanceFinishedError: 410,
    StepFailedError: 500,
    TryAgainError: 503,
}
"""What each error is over HTTP."""

HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
"""Answers are about one moment and one caller; and URLs, which may hold keys, are not passed on to other sites."""

_SHAPED = {400, 500}
"""For these Durable Functions has a shape of its own, as `application/json`. Ours has its texts."""


_RAW = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
_JSON = (b"content-type", b"application/json")


class _Answer(Response):
    """As any response, but for its headers, most of which are the same each time."""

    def __init__(
        self, body: bytes, status: int, headers: Mapping[str, str] | None, *kind: tuple[bytes, bytes]
    ) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        own = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()]
        self.raw_headers = [*_RAW, *own, (b"content-length", b"%d" % len(body)), *kind]


def json_answer(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Response:
    """An answer whose body is JSON text."""
    return _Answer(body, status, headers, _JSON)


def nothing(status: int) -> Response:
    """An answer without a body."""
    return _Answer(b"", status, None)


def refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that says what is wrong."""
    return _problem(UNTYPED, status, message, headers)


def error_answer(error: BideError, status: int | None = None) -> Response:
    """What Bide raised, as an answer. Raises the error itself if it is not the caller's to act upon."""
    kind = next((kind for kind in type(error).__mro__ if kind in STATUS), None)
    if kind is None:
        raise error
    status = status or STATUS[kind]
    headers = {"Retry-After": str(math.ceil(error.retry_after_s))} if isinstance(error, TryAgainError) else {}
    path = error.path if isinstance(error, MisfitError) else None
    return _problem(f"urn:bide:{type(error).__name__}", status, str(error), headers, path)


def _problem(
    type: str, status: int, message: str, headers: Mapping[str, str] | None, path: str | None = None
) -> Response:
    shaped = status in _SHAPED
    problem = Problem(
        type=type,
        title=HTTPStatus(status).phrase,
        status=status,
        detail=message,
        message=message,
        exception_message=message if shaped else None,
        path=path,
    )
    kind = "application/json" if shaped else "application/problem+json"
    return Response(msgspec.json.encode(problem), status, {**HEADERS, **(headers or {})}, media_type=kind)


async def refuse_error(request: Request, error: Exception) -> Response:
    """What Bide raised in a handler."""
    assert isinstance(error, BideError)
    return error_answer(error)


async def refuse_request(request: Request, error: Exception) -> Response:
    """A request that fits no route, or that a handler refused, as an answer."""
    assert isinstance(error, HTTPException)
    return request_refusal(error)


def request_refusal(error: HTTPException) -> Response:
    """A refused request as an answer."""
    return refusal(error.status_code, _MESSAGES.get(error.detail, error.detail), error.headers)


_MESSAGES = {
    "Not Found": "There is nothing under this path.",
    "Method Not Allowed": "This path does not know that method.",
}
