"""What became of a message, as Twilio tells it (https://www.twilio.com/docs/messaging/guides/track-outbound-message-status)."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from bide import KeylessRoute
from bide.phone.body import body_of
from bide.phone.carrier import mask
from bide.phone.signature import HEADER
from bide.phone.twilio import STATUS_PATH, TwilioCarrier, why

log = logging.getLogger("bide.phone")

_BODY_MAX_BYTES = 65_536
_MESSAGE = re.compile(r"[A-Z]{2}[0-9a-fA-F]{32}")
_CODE = re.compile(r"[0-9]{1,9}")
_WORD = re.compile(r"[a-z_]{1,30}")
_NOT_ARRIVED = frozenset({"undelivered", "failed"})


@dataclass(frozen=True, slots=True, repr=False)
class MessageStatus:
    """What Twilio tells about a message: its id (that of the `Receipt`), its recipient, and what became of it.

    `status` is Twilio's word: `sent`, `delivered`, `undelivered`, `failed` and others. `error_code` is Twilio's
    number for the reason, if there is one.
    """

    id: str
    to: str
    status: str
    error_code: int | None

    def __repr__(self) -> str:
        return (
            f"MessageStatus(id={self.id!r}, to={mask(self.to)}, status={self.status!r}, "
            f"error_code={self.error_code})"
        )


Told: TypeAlias = Callable[[MessageStatus], Awaitable[None]]


async def log_status(status: MessageStatus) -> None:
    """A line of the log: a warning if the message did not arrive."""
    reason = "" if status.error_code is None else _reason(status.error_code)
    word = status.status if _WORD.fullmatch(status.status) else repr(status.status)  # it cannot forge a line
    level = logging.WARNING if status.status in _NOT_ARRIVED else logging.INFO
    log.log(level, "SMS %s to %s: %s%s", status.id, mask(status.to), word, reason)


def _reason(code: int) -> str:
    words = why(code)
    return f", {words} (error {code})" if words else f" (error {code})"


def twilio_status_routes(carrier: TwilioCarrier, told: Told = log_status) -> list[BaseRoute]:
    """`POST /twilio/status`, where Twilio tells what became of the carrier's messages. For `App.mounts`.

    There is no route if the carrier has no `status_callback`. It takes no key, but Twilio's signature; without it,
    the answer is 403. `told` is called with each status, which may come twice, late, or in another order. By
    default it is logged.
    """

    async def take(request: Request) -> Response:
        body = await body_of(request, _BODY_MAX_BYTES)
        form = parse_qsl(body.decode("latin-1"), keep_blank_values=True)
        if not carrier.signed(form, request.headers.get(HEADER, "")):
            raise HTTPException(
                403,
                "This is not signed by Twilio for this server. If Twilio sent it: is TwilioAuthToken the account's "
                "own, and TwilioStatusCallback the address that Twilio was given?",
            )
        await told(_status(dict(form)))
        return Response(status_code=204)

    return [] if carrier.status_callback is None else [KeylessRoute(STATUS_PATH, take, methods=["POST"])]


def _status(form: Mapping[str, str]) -> MessageStatus:
    """Raises `HTTPException` 400 for a form that tells of no message."""
    sid, status, code = (form.get(name, "") for name in ("MessageSid", "MessageStatus", "ErrorCode"))
    if not _MESSAGE.fullmatch(sid) or not status:
        raise HTTPException(400, "A status callback has the fields MessageSid and MessageStatus.")
    return MessageStatus(sid, form.get("To", ""), status, int(code) if _CODE.fullmatch(code) else None)
