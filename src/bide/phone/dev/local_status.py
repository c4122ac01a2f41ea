"""Twilio's status callbacks, made by the dev phone: signed as Twilio signs them, for this machine only."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2

from bide.phone.dev.devphone import DevPhone
from bide.phone.dev.outbox import DevMessage
from bide.phone.signature import HEADER, signature

log = logging.getLogger("bide.phone")

_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True, repr=False)
class Callback:
    """Who is to be told, and the account in whose name."""

    url: str
    account_sid: str
    auth_token: str

    @property
    def host(self) -> str:
        return _host(self.url)

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def is_address(url: str) -> bool:
    """Whether Twilio would take this as the address of a callback."""
    try:
        return urlsplit(url).scheme in ("http", "https") and bool(_host(url)) and urlsplit(url).port != 0
    except ValueError:
        return False


class StatusCallbacks:
    """Tells what becomes of messages, beside everything else. What is not told when the process ends never is."""

    def __init__(self, phone: DevPhone) -> None:
        self._phone = phone
        self._telling: set[asyncio.Task[None]] = set()

    def begin(self, message: DevMessage, callback: Callback) -> None:
        """Tell what becomes of this message. Who is not on this machine is not told, and the log says so."""
        if not callback.is_here:
            log.warning("The dev phone tells only this machine what became of a message, not %s.", callback.host)
            return
        telling = asyncio.create_task(self._tell(message, callback))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def _tell(self, message: DevMessage, callback: Callback) -> None:
        async with httpx2.AsyncClient(trust_env=False, timeout=_TIMEOUT_S) as client:
            await _post(client, callback, _form(message, callback, "sent"))
            if message.status == "lost":
                return
            await self._phone.reached(message.due)
            await _post(client, callback, _form(message, callback, message.status))


async def _post(client: httpx2.AsyncClient, callback: Callback, form: dict[str, str]) -> None:
    signed = {HEADER: signature(callback.auth_token, callback.url, form.items())}
    try:
        answer = await client.post(callback.url, data=form, headers=signed)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        log.warning("A status callback was not taken (%s).", type(error).__name__)
        return
    if not answer.is_success:
        log.warning("A status callback was not taken (HTTP status %s).", answer.status_code)


def _form(message: DevMessage, callback: Callback, status: str) -> dict[str, str]:
    error = str(message.error_code) if status == message.status and message.error_code else None
    fields = {
        "AccountSid": callback.account_sid,
        "ApiVersion": "2010-04-01",
        "ErrorCode": error,
        "From": message.from_,
        "MessageSid": message.id,
        "MessageStatus": status,
        "MessagingServiceSid": message.messaging_service_sid,
        "SmsSid": message.id,
        "SmsStatus": status,
        "To": message.to,
    }
    return {name: value for name, value in fields.items() if value}


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""
