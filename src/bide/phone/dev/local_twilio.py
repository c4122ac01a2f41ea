"""Twilio's Messages API, answered by the dev phone: what Twilio's own clients send arrives on this machine.

Who calls with any account of the right form and any token is known. The numbers of Twilio's test credentials are
refused as Twilio refuses them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bide.phone.body import body_of
from bide.phone.carrier import InvalidNumberError, NotSentError, RefusedError, Sms, check_number
from bide.phone.dev.devphone import DevPhone
from bide.phone.dev.local_status import Callback, StatusCallbacks, is_address
from bide.phone.dev.outbox import DevMessage
from bide.phone.senders import is_service, sender_field

Refusal: TypeAlias = tuple[int, str]
"""One of Twilio's error codes, and its words."""

_Handler: TypeAlias = Callable[[Request], Awaitable[JSONResponse]]

_MESSAGES = "/2010-04-01/Accounts/{account}/Messages.json"
_MESSAGE = "/2010-04-01/Accounts/{account}/Messages/{sid}.json"

_ACCOUNT = re.compile(r"AC[0-9a-fA-F]{32}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

_BODY_MAX = 1_600
_REQUEST_MAX_BYTES = 65_536
_PAGE_SIZE, _PAGE_SIZE_MAX = 50, 1_000

_INVALID_TO = (21211, "Invalid 'To' Phone Number")
_INVALID_FROM = (21212, "Invalid 'From' Phone Number")
_MAGIC_TO: Mapping[str, Refusal] = {
    "+15005550001": _INVALID_TO,
    "+15005550002": (21612, "The 'To' phone number is not currently reachable via SMS"),
    "+15005550003": (21408, "Permission to send an SMS has not been enabled for the region of the 'To' number"),
    "+15005550004": (21610, "Attempt to send to unsubscribed recipient"),
    "+15005550009": (21614, "'To' number is not a valid mobile number"),
}
_MAGIC_FROM: Mapping[str, Refusal] = {
    "+15005550001": _INVALID_FROM,
    "+15005550007": (21606, "The 'From' phone number is not a valid, SMS-capable number of your account"),
    "+15005550008": (21611, "This 'From' number has exceeded the maximum number of queued messages"),
}
_ERRORS = {30003: "Unreachable destination handset"}

_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_PAIRS = frozenset("\f^{}\\[~]|€")
"""Characters that take two places."""


def twilio_routes(phone: DevPhone) -> list[Route]:
    """Sending, listing and fetching messages, as under https://api.twilio.com, with status callbacks."""
    callbacks = StatusCallbacks(phone)

    async def create(request: Request) -> JSONResponse:
        form = dict(parse_qsl((await body_of(request, _REQUEST_MAX_BYTES)).decode("utf-8", "replace")))
        if refusal := _refused(form):
            return _error(400, *refusal)
        try:
            sent = phone.accept(Sms(form["To"], form["Body"]), form.get("From"), form.get("MessagingServiceSid"))
        except RefusedError as error:
            return _error(400, error.code, _INVALID_TO[1])
        except NotSentError as error:
            return _error(503, 20503, str(error))
        if callback := form.get("StatusCallback"):
            callbacks.begin(sent, Callback(callback, *_basic(request.headers["authorization"])))
        return JSONResponse(_queued(_shown(request, sent, phone.now())), 201)

    async def index(request: Request) -> JSONResponse:
        try:
            wanted = _filter(request.query_params)
            size, number = _whole(request, "PageSize", _PAGE_SIZE, 1), _whole(request, "Page", 0, 0)
        except ValueError as error:
            return _error(400, 20001, str(error))
        found = [message for message in reversed(phone.messages()) if wanted(message)]
        size = min(size, _PAGE_SIZE_MAX)
        begin = _place(request.query_params.get("PageToken"), found, number * size)
        now = phone.now()
        page = [_shown(request, message, now) for message in found[begin : begin + size]]
        more = begin + size < len(found)
        return JSONResponse({**_paging(request, page, number, size, begin, more), "messages": page})

    async def fetch(request: Request) -> JSONResponse:
        sid = request.path_params["sid"]
        for message in phone.messages():
            if message.id == sid:
                return JSONResponse(_shown(request, message, phone.now()))
        return _error(404, 20404, f"The requested resource {quote(request.url.path)} was not found")

    return [
        Route(_MESSAGES, _known(create), methods=["POST"]),
        Route(_MESSAGES, _known(index), methods=["GET"]),
        Route(_MESSAGE, _known(fetch), methods=["GET"]),
    ]


def _known(handler: _Handler) -> _Handler:
    """The handler, for callers who show an account and a token."""

    async def check(request: Request) -> JSONResponse:
        account, token = _basic(request.headers.get("authorization", ""))
        if account != request.path_params["account"] or not _ACCOUNT.fullmatch(account) or not token:
            return _error(401, 20003, "Authenticate")
        return await handler(request)

    return check


def _basic(authorization: str) -> tuple[str, str]:
    """User and password; both empty if there are none."""
    scheme, _, shown = authorization.partition(" ")
    try:
        account, _, token = base64.b64decode(shown.strip(), validate=True).decode("latin-1").partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return (account, token) if scheme.lower() == "basic" else ("", "")


def _error(status: int, code: int, message: str) -> JSONResponse:
    more = f"https://www.twilio.com/docs/errors/{code}"
    headers = {"WWW-Authenticate": 'Basic realm="Twilio API"'} if status == 401 else None
    return JSONResponse({"code": code, "message": message, "more_info": more, "status": status}, status, headers)


# --- sending


def _refused(form: Mapping[str, str]) -> Refusal | None:
    """Why Twilio would not take this, if it would not."""
    to, sender, service, body = (form.get(name, "") for name in ("To", "From", "MessagingServiceSid", "Body"))
    if not to:
        return 21604, "A 'To' phone number is required."
    if service and not is_service(service):
        return 21705, "The Messaging Service Sid is invalid."
    if not sender and not service:
        return 21603, "A 'From' phone number is required."
    if not body:
        return 21602, "Message body is required."
    if not _is_number(to):
        return _INVALID_TO
    if sender and not _can_send(sender):
        return _INVALID_FROM
    if (callback := form.get("StatusCallback")) and not is_address(callback):
        return 21609, "The 'StatusCallback' URL is not a valid URL."
    if len(body) > _BODY_MAX:
        return 21617, f"The concatenated message body exceeds the {_BODY_MAX} character limit."
    return _MAGIC_TO.get(to) or _MAGIC_FROM.get(sender)


def _is_number(text: str) -> bool:
    try:
        check_number(text)
    except InvalidNumberError:
        return False
    return True


def _can_send(sender: str) -> bool:
    try:
        sender_field(sender)
    except ValueError:
        return False
    return True


# --- showing


def _shown(request: Request, message: DevMessage, now: datetime) -> dict[str, Any]:
    """A message as Twilio shows it."""
    account = request.path_params["account"]
    uri = f"{_home(request)}/Messages/{message.id}"
    error = message.error_code
    return {
        "account_sid": account,
        "api_version": "2010-04-01",
        "body": message.body,
        "date_created": format_datetime(message.at),
        "date_sent": format_datetime(message.at),
        "date_updated": format_datetime(min(message.due, now)),
        "direction": "outbound-api",
        "error_code": error,
        "error_message": None if error is None else _ERRORS.get(error),
        "from": message.from_,
        "messaging_service_sid": message.messaging_service_sid,
        "num_media": "0",
        "num_segments": str(segments(message.body)),
        "price": None,
        "price_unit": "USD",
        "sid": message.id,
        "status": "sent" if message.status == "lost" or message.due > now else message.status,
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "to": message.to,
        "uri": f"{uri}.json",
    }


def _queued(shown: dict[str, Any]) -> dict[str, Any]:
    """The same just after its acceptance, when nobody knows yet what becomes of it."""
    status = "accepted" if shown["messaging_service_sid"] else "queued"  # a service has yet to choose the sender
    return {**shown, "status": status, "date_sent": None, "error_code": None, "error_message": None}


def _home(request: Request) -> str:
    return f"/2010-04-01/Accounts/{request.path_params['account']}"


def segments(body: str) -> int:
    """How many SMS a body takes: 160 characters of the GSM alphabet are one, or 70 of any other."""
    if all(character in _GSM or character in _GSM_PAIRS for character in body):
        length, alone, each = len(body) + sum(character in _GSM_PAIRS for character in body), 160, 153
    else:
        length, alone, each = len(body.encode("utf-16-le", "surrogatepass")) // 2, 70, 67
    return 1 if length <= alone else -(-length // each)


# --- listing


def _filter(query: Mapping[str, str]) -> Callable[[DevMessage], bool]:
    """Which messages are asked for. Raises `ValueError` for a date that is none."""
    to, sender = query.get("To"), query.get("From")
    on = _span({"DateSent": query.get("DateSent", "")[:10]}, "DateSent")  # by the day, whatever the time
    before, after = (_span(query, name) for name in ("DateSent<", "DateSent>"))

    def wanted(message: DevMessage) -> bool:
        return (
            to in (None, "", message.to)
            and sender in (None, "", message.from_)
            and (on is None or on[0] <= message.at < on[1])
            and (before is None or message.at < before[1])
            and (after is None or message.at >= after[0])
        )

    return wanted


def _span(query: Mapping[str, str], name: str) -> tuple[datetime, datetime] | None:
    """The day that a parameter means, or the second, as its begin and its end."""
    text = query.get(name)
    if not text:
        return None
    try:
        begin = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name} should look like 2026-01-31.") from None
    begin = begin.replace(microsecond=0, tzinfo=begin.tzinfo or UTC)
    return begin, begin + (timedelta(days=1) if _DAY.fullmatch(text) else timedelta(seconds=1))


def _whole(request: Request, name: str, default: int, least: int) -> int:
    """Raises `ValueError`."""
    text = request.query_params.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
        raise ValueError(f"{name} should be a number from {least}.")
    return int(text)


def _place(token: str | None, found: list[DevMessage], otherwise: int) -> int:
    """Where a page begins: after the message that its token names, so that new ones move nothing."""
    ids = [message.id for message in found]
    last = (token or "").removeprefix("PA")
    return ids.index(last) + 1 if last in ids else otherwise


def _paging(
    request: Request, page: list[dict[str, Any]], number: int, size: int, begin: int, more: bool
) -> dict[str, Any]:
    base = {name: value for name, value in request.query_params.items() if name not in ("Page", "PageToken")}

    def uri(number: int, **token: str) -> str:
        query = urlencode({**base, "PageSize": size, "Page": number, **token})
        return f"{_home(request)}/Messages.json?{query}"

    return {
        "page": number,
        "page_size": size,
        "start": begin,
        "end": begin + max(len(page) - 1, 0),
        "uri": uri(number),
        "first_page_uri": uri(0),
        "previous_page_uri": uri(number - 1) if number else None,
        "next_page_uri": uri(number + 1, PageToken=f"PA{page[-1]['sid']}") if more else None,
    }
