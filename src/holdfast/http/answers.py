"""Answers: JSON, or nothing. Clients of Durable Functions decode every body as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from holdfast.errors import (
    FunctionNotFoundError,
    HoldfastError,
    InstanceExistsError,
    InstanceFinishedError,
    InstanceNotFoundError,
    NotAllowedError,
    PayloadError,
    TryAgainError,
)

_STATUS: dict[type[HoldfastError], int] = {
    PayloadError: 400,
    FunctionNotFoundError: 400,
    InstanceNotFoundError: 404,
    InstanceExistsError: 409,
    NotAllowedError: 409,
    InstanceFinishedError: 410,
    TryAgainError: 503,
}

# Answers are about one moment and one caller; and URLs, which may hold keys, are not passed on to other sites.
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}


def answer(status: int, content: object, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer. `Raw` values in `content` are written as they are."""
    body = msgspec.json.encode(content)
    return Response(body, status, {**_HEADERS, **(headers or {})}, media_type="application/json")


def nothing(status: int) -> Response:
    """An answer without a body."""
    return Response(status_code=status, headers=_HEADERS)


def refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that says what is wrong."""
    return answer(status, {"Message": message}, headers)


async def refuse_error(request: Request, error: Exception) -> Response:
    """What Holdfast raised, as an answer. An error that is not the caller's to act upon goes on as it is."""
    kind = next((kind for kind in type(error).__mro__ if kind in _STATUS), None)
    if kind is None:
        raise error
    headers: dict[str, str] = {}
    if isinstance(error, TryAgainError):
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    return refusal(_STATUS[kind], str(error), headers)


async def refuse_request(request: Request, error: Exception) -> Response:
    """A request that fits no route, or that a handler refused, as an answer."""
    assert isinstance(error, HTTPException)
    return refusal(error.status_code, _MESSAGES.get(error.detail, error.detail), error.headers)


_MESSAGES = {
    "Not Found": "There is nothing under this path.",
    "Method Not Allowed": "This path does not know that method.",
}
