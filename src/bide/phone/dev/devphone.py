"""A telephone for development: an outbox on this machine. Nothing is delivered to anybody.

What can go wrong with an SMS can be made to go wrong here: `DevPhone.next_fault`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, TypeAlias

from bide.phone.carrier import CLOCK_SKEW, Receipt, RefusedError, Sms, check_number
from bide.phone.dev.outbox import DevMessage, Outbox

Fault: TypeAlias = Literal["late", "lost", 21211, 30003]
"""What becomes of a message:

* `late`: it arrives ten seconds later
* `lost`: it is accepted, and never arrives
* 21211: it is refused, and nothing is sent
* 30003: it is accepted, and then known not to arrive
"""

_LATE = timedelta(seconds=10)
_LOOK_AGAIN_S = 1.0
"""How often those who wait look for what nobody tells: another process has written, the clock was set ahead."""


def _random_id() -> str:
    return f"SM{secrets.token_hex(16)}"  # in the form of Twilio's, for whose clients it is one


class DevPhone:
    """Implements `Carrier`. Messages are kept in a file; without a path, in memory.

    `next_fault` happens to the next message, and to no other.
    """

    def __init__(
        self,
        path: Path | None,
        clock: Callable[[], datetime],
        new_id: Callable[[], str] = _random_id,
    ) -> None:
        self.next_fault: Fault | None = None
        self._outbox = Outbox(path)
        self._clock = clock
        self._new_id = new_id
        self._waiting: set[asyncio.Event] = set()

    # --- sending

    async def send(self, message: Sms) -> Receipt:
        accepted = self.accept(message)
        return Receipt(accepted.id, accepted.to)

    def accept(
        self, message: Sms, from_: str | None = None, messaging_service_sid: str | None = None
    ) -> DevMessage:
        """Take a message, from a sender or a messaging service if it has one. Raises what `Carrier.send` raises."""
        to = check_number(message.to)
        fault, self.next_fault = self.next_fault, None
        if fault == 21211:
            raise RefusedError(21211, "the recipient's number does not exist", permanent=True)
        at = self._clock().astimezone(UTC)
        accepted = DevMessage(
            self._new_id(),
            to,
            message.body,
            at,
            deliver_at=at + _LATE if fault == "late" else at,
            status="lost" if fault == "lost" else "undelivered" if fault == 30003 else "delivered",
            error_code=30003 if fault == 30003 else None,
            from_=from_,
            messaging_service_sid=messaging_service_sid,
        )
        self._outbox.add(accepted)
        for wake in self._waiting:
            wake.set()
        return accepted

    async def find(self, message: Sms, since: datetime) -> Receipt | None:
        # Even on one machine the skew is needed: its clock may have been set back since.
        earliest = since - CLOCK_SKEW
        found = [sent for sent in self.messages(message.to) if sent.body == message.body and sent.at >= earliest]
        return Receipt(found[-1].id, message.to) if found else None

    async def close(self) -> None:
        """Nothing to let go of."""

    # --- reading

    def now(self) -> datetime:
        """The present instant, as the phone sees it."""
        return self._clock().astimezone(UTC)

    def messages(self, to: str | None = None) -> list[DevMessage]:
        """What was accepted for a number, or (None) for all, in that order, whatever became of it."""
        return [message for message in self._outbox.messages() if to in (None, message.to)]

    def arrived(self, to: str | None = None, after: str | None = None) -> list[DevMessage]:
        """What has arrived for a number, or (None) for all, in the order of arrival: without late ones that are not
        due, and lost ones; with undelivered ones.

        With the id of a message in `after`, only what arrived after that. An id that is not known counts as that of
        an older outbox.
        """
        now = self.now()
        # Sorting is stable: what arrives at the same moment stays in the order of acceptance.
        known = sorted(self._outbox.messages(), key=lambda message: message.due)
        begin = next((place for place, message in enumerate(known, 1) if message.id == after), 0)
        return [
            message
            for message in known[begin:]
            if to in (None, message.to) and message.status != "lost" and message.due <= now
        ]

    async def arrivals(
        self, to: str | None = None, after: str | None = None, wait_s: float | None = None
    ) -> list[DevMessage]:
        """As `arrived`, but waits until there is a message: for `wait_s` seconds at most (None: without an end)."""
        found: list[DevMessage] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not (found := self.arrived(to, after)):
                    await self._change()
        return found

    async def reached(self, at: datetime) -> None:
        """Wait until the phone's clock says so."""
        while self.now() < at:
            await self._change()

    async def _change(self) -> None:
        """Wait until a message may have arrived."""
        now = self.now()
        pending = [(message.due - now).total_seconds() for message in self._outbox.messages() if message.due > now]
        wake = asyncio.Event()
        self._waiting.add(wake)
        try:
            async with asyncio.timeout(min([*pending, _LOOK_AGAIN_S])):
                await wake.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting.discard(wake)
