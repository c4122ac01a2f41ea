"""The dev phone over HTTP."""

from __future__ import annotations

from msgspec import to_builtins
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from holdfast.phone.devphone import DevPhone


def dev_phone_routes(phone: DevPhone) -> list[BaseRoute]:
    """`GET /dev/phone/messages?to=+12025550123`: the messages to a number, oldest first."""

    async def messages(request: Request) -> JSONResponse:
        to = request.query_params.get("to", "")
        if to.startswith(" "):  # a plus that was not encoded arrives as a space
            to = "+" + to[1:]
        if not to:
            return JSONResponse({"Message": "Say whose messages: ?to=+12025550123"}, 400)
        return JSONResponse([to_builtins(message) for message in phone.messages(to)])

    return [Route("/dev/phone/messages", messages, methods=["GET"])]
