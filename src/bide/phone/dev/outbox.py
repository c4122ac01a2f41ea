"""The dev phone's messages: lines of a file, so that they survive a crash as they would at a carrier."""

from __future__ import annotations

import os
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec

from bide.phone.carrier import NotSentError, SendUnknownError, mask
from bide.phone.verification import code_in

Instant: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]


class DevMessage(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """A message that the dev phone has accepted, and what becomes of it.

    `deliver_at` is when it arrives (None: at once, at `at`). A `lost` one never does; an `undelivered` one is known
    not to, with the carrier's `error_code`.
    """

    id: str
    to: str
    body: str
    at: Instant
    deliver_at: Instant | None = None
    status: Literal["delivered", "lost", "undelivered"] = "delivered"
    error_code: int | None = None
    from_: str | None = None
    messaging_service_sid: str | None = None

    def __repr__(self) -> str:
        return f"DevMessage(id={self.id!r}, to={mask(self.to)})"

    @property
    def due(self) -> datetime:
        """When it arrives, or is known not to."""
        return self.deliver_at or self.at

    @property
    def code(self) -> str | None:
        """The code that the body says, if it says one."""
        return code_in(self.body)


_decode = msgspec.json.Decoder(DevMessage).decode
_encode = msgspec.json.Encoder().encode


class Outbox:
    """Messages in the order of their acceptance. Without a path they are kept in memory.

    The file is made with the first message, for its owner's eyes only. Other processes may write to it too.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._read: list[DevMessage] = []
        self._read_bytes = 0

    def add(self, message: DevMessage) -> None:
        """Raises `NotSentError` if the file does not take all of it."""
        if self._path is None:
            self._read.append(message)
        else:
            _append(self._path, _encode(message))

    def messages(self) -> list[DevMessage]:
        """All of them. Raises `SendUnknownError` if the file is there but cannot be read."""
        if self._path is None:
            return list(self._read)
        *whole, last = self._news(self._path).split(b"\n")
        self._read_bytes += sum(len(line) + 1 for line in whole)
        self._read += _messages(whole)
        # The last line has no end yet. It may be all there, and whoever wrote it may have been told so.
        return [*self._read, *_messages([last])]

    def _news(self, path: Path) -> bytes:
        """What was written after the lines that are known."""
        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._read_bytes:  # somebody has put another file there
                    self._read, self._read_bytes = [], 0
                file.seek(self._read_bytes)
                return file.read()
        except FileNotFoundError:
            self._read, self._read_bytes = [], 0
            return b""
        except OSError as error:
            raise SendUnknownError(f"The outbox {path.name} cannot be read: {error.strerror}.") from None


def _append(path: Path, line: bytes) -> None:
    """Add a line, so that a killed process keeps it. Raises `NotSentError` if the file does not take all of it."""
    # The newline in front ends a line that a crash may have torn.
    data = b"\n" + line + b"\n"
    try:
        with open(path, "ab", buffering=0, opener=partial(os.open, mode=0o600)) as file:
            written = file.write(data)  # in one call, or two processes could mix their lines
    except OSError as error:
        raise NotSentError(f"The outbox {path.name} cannot be written: {error.strerror}.") from None
    if written < len(data):
        raise NotSentError(f"The outbox {path.name} cannot be written: no room.")


def _messages(lines: list[bytes]) -> list[DevMessage]:
    found: list[DevMessage] = []
    for line in filter(None, lines):
        try:
            found.append(_decode(line))
        except msgspec.DecodeError:
            continue  # torn by a crash, so nobody was told that it was sent
    return found
