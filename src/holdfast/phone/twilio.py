"""Twilio's Messages API, with no retries of its own: who sends again must know what became of the first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import msgspec

from holdfast.phone.carrier import NotSentError, Receipt, RefusedError, SendUnknownError, Sms

API = "https://api.twilio.com"

_PAGES_MAX = 5
_PAGE_SIZE = 200
_CLOCK_SKEW = timedelta(minutes=1)

_REASONS: Mapping[int, str] = {
    20003: "the account's id or token is wrong",
    21211: "the number does not exist",
    21212: "the sender's number is not valid",
    21408: "the account may not send to that country",
    21606: "the sender's number cannot send SMS",
    21608: "a trial account sends to verified numbers only",
    21610: "the recipient has opted out (STOP)",
    21612: "the number cannot be reached from this sender",
    21614: "the number is not a mobile phone",
    21659: "the sender's number does not belong to the account",
    30003: "the handset cannot be reached",
    30005: "the handset is unknown",
    30034: "the sender's number is not registered for this traffic",
}
"""Twilio's error codes (https://www.twilio.com/docs/api/errors) in our words."""

_RATE_LIMITS = frozenset({20429, 21611})
"""Not processed, and safe to repeat later."""


class TwilioCarrier:
    """Implements `Carrier`. `base_url` is for a stand-in."""

    def __init__(
        self,
        account_sid: str,
        auth_token: str,
        from_number: str,
        *,
        base_url: str = API,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._from = from_number
        self._path = f"/2010-04-01/Accounts/{account_sid}/Messages.json"
        self._client = httpx2.AsyncClient(
            base_url=base_url,
            auth=(account_sid, auth_token),
            timeout=httpx2.Timeout(15.0, connect=5.0),
            transport=transport or httpx2.AsyncHTTPTransport(retries=0),
            trust_env=False,
        )

    def __repr__(self) -> str:
        return f"TwilioCarrier(from={self._from})"

    async def send(self, sms: Sms) -> Receipt:
        form = {"To": sms.to, "From": self._from, "Body": sms.body}
        try:
            answer = await self._client.post(self._path, data=form)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise NotSentError(f"Twilio cannot be reached: {type(error).__name__}.") from None
        except httpx2.HTTPError as error:
            raise SendUnknownError(f"Twilio did not answer: {type(error).__name__}.") from None
        return _receipt(answer)

    async def find(self, sms: Sms, since: datetime) -> Receipt | None:
        earliest = since - _CLOCK_SKEW
        async for message in self._messages_to(sms.to):
            if _created(message) < earliest:
                return None
            if message.get("body") == sms.body:
                return Receipt(str(message.get("sid")))
        return None

    async def _messages_to(self, number: str) -> AsyncIterator[dict[str, Any]]:
        """The messages sent to a number, newest first."""
        url, parameters = self._path, {"To": number, "PageSize": str(_PAGE_SIZE)}
        for _ in range(_PAGES_MAX):
            page = await self._page(url, parameters)
            for message in page.get("messages", ()):
                yield message
            if not page.get("next_page_uri"):
                return
            url, parameters = page["next_page_uri"], {}

    async def _page(self, url: str, parameters: dict[str, str]) -> dict[str, Any]:
        try:
            answer = await self._client.get(url, params=parameters or None)
            answer.raise_for_status()
            page: dict[str, Any] = answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            raise SendUnknownError(f"Twilio's list of messages cannot be read: {type(error).__name__}.") from None
        return page


def _receipt(answer: httpx2.Response) -> Receipt:
    body = _json(answer)
    if answer.is_success and "sid" in body:
        return Receipt(str(body["sid"]))
    if not answer.is_client_error:  # a redirect, a failing server, or an answer without an id: who knows
        raise SendUnknownError(f"Twilio answered {answer.status_code}.")
    code = body.get("code")
    code = code if isinstance(code, int) else 0
    if answer.status_code == 429 or code in _RATE_LIMITS:
        raise NotSentError(f"Twilio takes no more messages just now (error {code or answer.status_code}).")
    if answer.status_code == 408:
        raise SendUnknownError("Twilio gave up on the request (408).")
    raise RefusedError(code, _REASONS.get(code, f"HTTP {answer.status_code}"))


def _json(answer: httpx2.Response) -> dict[str, Any]:
    try:
        return msgspec.json.decode(answer.content, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}


def _created(message: Mapping[str, Any]) -> datetime:
    """When Twilio took the message. One without a readable date counts as new: better found than sent twice."""
    try:
        return parsedate_to_datetime(str(message.get("date_created"))).astimezone(UTC)
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)
