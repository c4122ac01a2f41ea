"""A telephone for development: an outbox on this machine. Nothing is delivered to anybody."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from holdfast.phone.carrier import Receipt, Sms


class DevMessage(msgspec.Struct, frozen=True):
    """A message in the outbox. `at` is in UTC."""

    id: str
    to: str
    body: str
    at: datetime

    def __repr__(self) -> str:
        return f"DevMessage(id='{self.id}')"


_read = msgspec.json.Decoder(DevMessage).decode
_write = msgspec.json.Encoder().encode


class DevPhone:
    """Implements `Carrier`. Messages are lines of a file: they survive a crash, as they would at a carrier."""

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        self._path = path
        self._now = now

    async def send(self, sms: Sms) -> Receipt:
        message = DevMessage(secrets.token_hex(8), sms.to, sms.body, self._now())
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            # One write of whole lines; the leading newline ends a line that a crash may have torn.
            os.write(handle, b"\n" + _write(message) + b"\n")
        finally:
            os.close(handle)
        return Receipt(message.id)

    async def find(self, sms: Sms, since: datetime) -> Receipt | None:
        sent = [message for message in self.messages(sms.to) if message.body == sms.body and message.at >= since]
        return Receipt(sent[-1].id) if sent else None

    def messages(self, to: str) -> list[DevMessage]:
        """The messages to a number, oldest first."""
        return [message for message in self._all() if message.to == to]

    def _all(self) -> list[DevMessage]:
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        found: list[DevMessage] = []
        for line in filter(None, lines):
            try:
                found.append(_read(line))
            except msgspec.DecodeError:
                continue  # torn by a crash: it was never acknowledged
        return found
