"""The dev phone over HTTP."""

from __future__ import annotations

from msgspec import to_builtins
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from holdfast.phone.carrier import InvalidNumberError, check_number
from holdfast.phone.devphone import DevPhone

_NO_STORE = {"Cache-Control": "no-store"}  # codes are in there


def dev_phone_routes(phone: DevPhone) -> list[Route]:
    """`GET /dev/phone/messages?to=+12025550123`: the messages to a number, oldest first."""

    async def messages(request: Request) -> JSONResponse:
        to = _number(request.query_params.get("to", ""))
        if not to:
            return _refusal("Say whose messages: /dev/phone/messages?to=+12025550123")
        try:
            check_number(to)
        except InvalidNumberError as error:
            return _refusal(str(error))
        return JSONResponse([to_builtins(message) for message in phone.messages(to)], headers=_NO_STORE)

    return [Route("/dev/phone/messages", messages, methods=["GET"])]


def _number(to: str) -> str:
    """The number that was meant: a plus that nobody encoded arrives as a space."""
    number = to.strip()
    return f"+{number}" if number and to.startswith(" ") and not number.startswith("+") else number


def _refusal(message: str) -> JSONResponse:
    return JSONResponse({"Message": message}, 400, headers=_NO_STORE)
