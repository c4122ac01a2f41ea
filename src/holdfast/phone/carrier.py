"""Who carries an SMS: the port, its values, and its errors.

    CarrierError
    ├── InvalidNumberError   not a phone number in E.164 form; nothing was sent
    ├── RefusedError         the provider refuses this message; the same message will be refused again
    ├── NotSentError         it certainly was not sent, for a passing reason: safe to try again
    └── SendUnknownError     it may or may not have been sent: never send again blindly

No error, and no `repr`, shows a message's body: codes are in there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

_E164 = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)


class CarrierError(Exception):
    """Base class of every error of a carrier."""


class InvalidNumberError(CarrierError):
    """Not a phone number in E.164 form."""


class RefusedError(CarrierError):
    """The provider refuses the message. `code` is the provider's own number for the reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"The carrier refused the message: {reason} (error {code})")
        self.code = code


class NotSentError(CarrierError):
    """The message certainly was not sent, for a passing reason."""


class SendUnknownError(CarrierError):
    """The message may or may not have been sent."""


@dataclass(frozen=True, slots=True, repr=False)
class Sms:
    """A message to one number."""

    to: str
    body: str

    def __repr__(self) -> str:
        return f"Sms(to='{mask(self.to)}')"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The carrier's word that it accepted a message, under its own id."""

    id: str


class Carrier(Protocol):
    """Sends SMS, and knows which it was given."""

    async def send(self, sms: Sms) -> Receipt:
        """Hand the message over. Raises one of the errors above."""
        ...

    async def find(self, sms: Sms, since: datetime) -> Receipt | None:
        """The receipt of exactly this message (number and body), if it was accepted since then.

        Raises `SendUnknownError` if the carrier cannot be asked.
        """
        ...


def check_number(number: str) -> str:
    """The number itself, if it is `+` and 7 to 15 ASCII digits, the first not 0 (E.164).

    Letters are refused: some parsers read them as a keypad's digits, and would text a stranger. Raises
    `InvalidNumberError`.
    """
    if _E164.fullmatch(number) is None:
        raise InvalidNumberError(
            "A phone number is + and 7 to 15 digits, the first not 0, as in +12025550123; "
            f"this one ({mask(number)}) is not."
        )
    return number


def mask(number: str) -> str:
    """A number as logs and errors may show it: its last two characters."""
    return f"...{number[-2:]!a}" if len(number) > 4 else "..."
