"""A telephone for development: an outbox on this machine. Nothing is delivered to anybody."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec

from holdfast.phone.carrier import CLOCK_SKEW, NotSentError, Receipt, SendUnknownError, Sms, check_number, mask


class DevMessage(msgspec.Struct, frozen=True):
    """A message in the outbox."""

    id: str
    to: str
    body: str
    at: Annotated[datetime, msgspec.Meta(tz=True)]

    def __repr__(self) -> str:
        return f"DevMessage(id={self.id!r}, to={mask(self.to)})"


_read = msgspec.json.Decoder(DevMessage).decode
_write = msgspec.json.Encoder().encode


def _random_id() -> str:
    return secrets.token_hex(8)


class DevPhone:
    """Implements `Carrier`. Messages are lines of a file, so that they survive a crash as they would at a carrier.

    The file is made with the first message, for its owner's eyes only. Without a path, messages are kept in memory.
    """

    def __init__(
        self,
        path: Path | None,
        clock: Callable[[], datetime],
        new_id: Callable[[], str] = _random_id,
    ) -> None:
        self._path = path
        self._clock = clock
        self._new_id = new_id
        self._memory: list[DevMessage] = []

    async def send(self, message: Sms) -> Receipt:
        sent = DevMessage(self._new_id(), check_number(message.to), message.body, self._clock().astimezone(UTC))
        if self._path is None:
            self._memory.append(sent)
        else:
            _append(self._path, _write(sent))
        return Receipt(sent.id, sent.to)

    async def find(self, message: Sms, since: datetime) -> Receipt | None:
        # Even on one machine the skew is needed: its clock may have been set back since.
        earliest = since - CLOCK_SKEW
        found = [sent for sent in self.messages(message.to) if sent.body == message.body and sent.at >= earliest]
        return Receipt(found[-1].id, message.to) if found else None

    async def close(self) -> None:
        """Nothing to let go of."""

    def messages(self, to: str) -> list[DevMessage]:
        """The messages to a number, oldest first."""
        sent = self._memory if self._path is None else _lines(self._path)
        return [message for message in sent if message.to == to]


def _append(path: Path, line: bytes) -> None:
    """Add a line, so that a killed process keeps it. Raises `NotSentError` if the file does not take all of it."""
    # The newline in front ends a line that a crash may have torn.
    data = b"\n" + line + b"\n"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            written = os.write(handle, data)  # in one call, or two processes could mix their lines
        finally:
            os.close(handle)
    except OSError as error:
        raise NotSentError(f"The outbox {path.name} cannot be written: {error.strerror}.") from None
    if written < len(data):
        raise NotSentError(f"The outbox {path.name} cannot be written: no room.")


def _lines(path: Path) -> Iterator[DevMessage]:
    """The messages in the file. Raises `SendUnknownError` if it is there but cannot be read."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise SendUnknownError(f"The outbox {path.name} cannot be read: {error.strerror}.") from None
    for line in filter(None, lines):
        try:
            yield _read(line)
        except msgspec.DecodeError:
            continue  # torn by a crash, so nobody was told that it was sent
