"""Twilio's Messages API, with no retries of its own: who sends again must know what became of the first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qsl, quote, urlsplit

import httpx2
import msgspec

from bide.phone.carrier import (
    CLOCK_SKEW,
    CarrierError,
    NotSentError,
    Receipt,
    RefusedError,
    SendUnknownError,
    Sms,
    check_number,
)
from bide.phone.senders import sender_field
from bide.phone.signature import is_signed

API = "https://api.twilio.com"
STATUS_PATH = "/twilio/status"
"""Where a server takes status callbacks."""

_PAGES_MAX = 5
_PAGE_SIZE = 200

# Twilio's error codes (https://www.twilio.com/docs/api/errors) in our words, by what is to be done.

_NOT_PROCESSED: Mapping[int, str] = {
    20429: "too many requests at a time",
    21611: "the sender's queue is full",
}
"""Nothing was taken. Safe to repeat later."""

_PASSING: Mapping[int, str] = {
    30001: "the sender's queue is full",
    30003: "the handset cannot be reached",
    30005: "the handset is unknown",
    30008: "the network gave no reason",
}
"""The message is refused now, but need not be the next time."""

_PERMANENT: Mapping[int, str] = {
    20003: "the account's id or token is wrong",
    20404: "there is no such account",
    21211: "the recipient's number does not exist",
    21212: "the sender is not valid",
    21267: "a trial account cannot send under a name",
    21408: "the account may not send to that country",
    21606: "the sender cannot send SMS",
    21608: "a trial account sends to verified numbers only",
    21610: "the recipient has opted out (STOP)",
    21612: "the number cannot be reached from this sender",
    21614: "the recipient's number is not a mobile phone",
    21617: "the message is too long",
    21659: "the sender's number does not belong to the account",
    21703: "the messaging service has no number to send from",
    21705: "there is no such messaging service",
    30004: "the recipient or the network blocks the message",
    30006: "the number is a landline, or its network cannot be reached",
    30007: "the network filtered the message",
    30034: "the sender's number is not registered for this traffic",
}
"""The same message will be refused again until somebody changes something."""

_TRIAL_PREFIX = "Sent from your Twilio trial account - "
"""What a trial account puts before every body, in the SMS and in the list."""

_NOTHING_LEFT = (
    httpx2.ConnectError,  # refused, no such host, no TLS
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.UnsupportedProtocol,
)
"""Errors that come before the first byte of a request leaves this machine."""


class _Answer(msgspec.Struct):
    """What is read of an answer to a send: `sid` of a taken message, `code` of a refused one."""

    sid: str | None = None
    code: int | None = None


class _Listed(msgspec.Struct):
    sid: str
    to: str | None = None
    body: str | None = None
    date_created: str | None = None


class _Page(msgspec.Struct):
    messages: list[_Listed]
    next_page_uri: str | None = None


class TwilioCarrier:
    """Implements `Carrier`. `base_url` is for a stand-in, `transport` for tests.

    `sender` is a phone number, the id of a messaging service, a short code, or a name. `status_callback` is the
    address under which Twilio reaches `twilio_status_routes`; without it, Twilio is not asked to tell anything.
    """

    def __init__(
        self,
        account_sid: str,
        auth_token: str,
        sender: str,
        *,
        base_url: str = API,
        status_callback: str | None = None,
        timeout_s: float = 15.0,
        connect_timeout_s: float = 5.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """`timeout_s` is for a whole request. Raises `ValueError` if `sender` can be none for Twilio, `base_url` is
        no HTTP address, or `status_callback` none that ends in /twilio/status."""
        self._sender = {sender_field(sender): sender}
        self.status_callback = None if status_callback is None else check_status_address(status_callback)
        self._auth_token = auth_token
        self._timeout_s = timeout_s
        self._path = f"/2010-04-01/Accounts/{quote(account_sid, safe='')}/Messages.json"
        self._client = httpx2.AsyncClient(
            base_url=_http_address(base_url),
            auth=(account_sid, auth_token),
            timeout=httpx2.Timeout(timeout_s, connect=connect_timeout_s, pool=connect_timeout_s),
            follow_redirects=False,  # a redirected POST might be sent twice, and the token to another host
            trust_env=False,  # neither a proxy nor a .netrc that somebody else set up
            transport=transport or httpx2.AsyncHTTPTransport(retries=0, trust_env=False),
        )

    def __repr__(self) -> str:
        (sender,) = self._sender.values()
        return f"TwilioCarrier(sender={sender!r})"

    async def send(self, message: Sms) -> Receipt:
        check_number(message.to)
        form = {"To": message.to, **self._sender, "Body": message.body}
        if self.status_callback is not None:
            form["StatusCallback"] = self.status_callback
        return _receipt(await self._ask("POST", form=form), message)

    async def find(self, message: Sms, since: datetime) -> Receipt | None:
        check_number(message.to)
        earliest = since - CLOCK_SKEW
        async for page in self._pages_to(message.to):
            recent = [listed for listed in page if _created(listed) >= earliest]
            for listed in recent:
                if _is_same(listed, message):
                    return Receipt(listed.sid, message.to)
            if page and not recent:  # newest first: whatever follows is older still
                return None
        return None

    def signed(self, form: Iterable[tuple[str, str]], shown: str) -> bool:
        """Whether Twilio has signed this form for `status_callback`, with the signature that is shown."""
        return self.status_callback is not None and is_signed(self._auth_token, self.status_callback, form, shown)

    async def close(self) -> None:
        await self._client.aclose()

    async def _pages_to(self, number: str) -> AsyncIterator[list[_Listed]]:
        """The messages sent to a number, newest first. Raises `SendUnknownError` if there are too many to read.

        Twilio can filter by date too, but by the date a message was sent, which one just accepted does not have.
        """
        query = {"To": number, "PageSize": str(_PAGE_SIZE)}
        for _ in range(_PAGES_MAX):
            page = await self._page(query)
            yield page.messages
            if not page.next_page_uri:
                return
            query = {**_query_of(page.next_page_uri), "To": number}
        raise SendUnknownError(f"Twilio lists more than {_PAGES_MAX} pages of messages to that number.")

    async def _page(self, query: dict[str, str]) -> _Page:
        try:
            answer = await self._ask("GET", query=query)
        except NotSentError as error:  # the list could not be asked, which says nothing about the message
            raise SendUnknownError(f"Twilio's list of messages cannot be read. {error}") from None
        if answer.status_code != 200:
            raise SendUnknownError(f"Twilio's list of messages cannot be read: {_reason(answer)}.")
        try:
            return msgspec.json.decode(answer.content, type=_Page)
        except ValueError:
            raise SendUnknownError("Twilio's list of messages cannot be read: it has another form.") from None

    async def _ask(
        self, method: str, *, form: dict[str, str] | None = None, query: dict[str, str] | None = None
    ) -> httpx2.Response:
        """One request, never repeated. Raises `NotSentError` or `SendUnknownError` if no answer comes."""
        problem: CarrierError
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._client.request(method, self._path, data=form, params=query)
        except _NOTHING_LEFT as error:
            problem = NotSentError(f"Twilio cannot be reached ({type(error).__name__}).")
        except (TimeoutError, httpx2.HTTPError) as error:
            problem = SendUnknownError(f"Twilio did not answer ({type(error).__name__}).")
        # Outside the handler, or the error would hold the request as its context, and so the code and the token.
        raise problem


def _http_address(url: str) -> str:
    try:
        address = httpx2.URL(url)
    except httpx2.InvalidURL:
        address = httpx2.URL()
    if address.scheme not in ("http", "https") or not address.host:
        raise ValueError(f"Twilio's base URL should look like {API}.")
    return url


def check_status_address(url: str) -> str:
    """The address itself, if Twilio can be given it for `twilio_status_routes`. Raises `ValueError`."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if not whole or not url.endswith(STATUS_PATH) or "?" in url or "#" in url or "@" in url:
        raise ValueError(
            f"The address of status callbacks should look like https://workflows.example.com{STATUS_PATH}."
        )
    return url


def _receipt(answer: httpx2.Response, message: Sms) -> Receipt:
    status, body = answer.status_code, _decode(answer)
    if answer.is_success and body.sid:
        return Receipt(body.sid, message.to)
    if status == 429 or (answer.is_client_error and body.code in _NOT_PROCESSED):
        raise NotSentError(f"Twilio takes no message just now: {_reason(answer)}.")
    if status == 408 or not answer.is_client_error:  # a redirect, a failing server, no id: who knows
        raise SendUnknownError(f"Twilio answered with status {status}, which tells nothing about the message.")
    raise RefusedError(body.code or status, _reason(answer), permanent=body.code in _PERMANENT)


def _reason(answer: httpx2.Response) -> str:
    """Why Twilio refused, in our words: its own may repeat what it was sent."""
    return why(_decode(answer).code or 0) or f"HTTP status {answer.status_code}"


def why(code: int) -> str:
    """What one of Twilio's error codes means, in our words; nothing for one that is not known."""
    return {**_NOT_PROCESSED, **_PASSING, **_PERMANENT}.get(code, "")


def _decode(answer: httpx2.Response) -> _Answer:
    try:
        return msgspec.json.decode(answer.content, type=_Answer)
    except ValueError:
        return _Answer()


def _query_of(uri: str) -> dict[str, str]:
    """The query of the next page's address. The rest is ours already, and must not lead the token elsewhere."""
    return dict(parse_qsl(uri.partition("?")[2]))


def _is_same(listed: _Listed, message: Sms) -> bool:
    return listed.to == message.to and listed.body in (message.body, _TRIAL_PREFIX + message.body)


def _created(listed: _Listed) -> datetime:
    """When Twilio took the message. One without a readable date counts as new: better found than sent twice."""
    try:
        created = parsedate_to_datetime(listed.date_created or "")
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)
    return created if created.tzinfo else created.replace(tzinfo=UTC)
