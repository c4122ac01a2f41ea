"""Who carries an SMS: the port, its values, and its errors.

    CarrierError
    ├── InvalidNumberError   not a phone number in E.164 form; nothing was sent
    ├── RefusedError         the provider refuses this message; nothing was sent
    ├── NotSentError         it certainly was not sent, for a passing reason: safe to try again
    └── SendUnknownError     it may or may not have been sent: never send again blindly

No error, and no `repr`, shows a message's body or a whole number: codes are in the one, people behind the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

# fullmatch, because $ also matches before a newline; [0-9], because \d also matches the digits of other scripts.
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")

CLOCK_SKEW = timedelta(minutes=1)
"""How far the clock that stamped a message may be behind the clock of whoever looks for it."""


class CarrierError(Exception):
    """Base class of every error of a carrier."""


class InvalidNumberError(CarrierError):
    """Not a phone number in E.164 form."""


class RefusedError(CarrierError):
    """The provider refuses the message.

    `code` is the provider's own number for the reason, or the HTTP status if it gave none. `permanent`: the same
    message will be refused again until somebody changes something.
    """

    def __init__(self, code: int, message: str, *, permanent: bool) -> None:
        super().__init__(f"The carrier refused the message: {message} (error {code}).")
        self.code = code
        self.message = message
        self.permanent = permanent


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
        return f"Sms(to={mask(self.to)})"


@dataclass(frozen=True, slots=True, repr=False)
class Receipt:
    """The carrier's word that it accepted a message to a number, under its own id."""

    id: str
    to: str

    def __repr__(self) -> str:
        return f"Receipt(id={self.id!r}, to={mask(self.to)})"


class Carrier(Protocol):
    """Sends SMS, and knows which it was given."""

    async def send(self, message: Sms) -> Receipt:
        """Hand the message over, once: nothing here repeats a request. Raises one of the errors above."""
        ...

    async def find(self, message: Sms, since: datetime) -> Receipt | None:
        """The receipt of exactly this message (number and body), if it was accepted since then.

        A message counts from its acceptance, whatever became of its delivery. Answers None only if the carrier's
        list was read as far back as `since`; raises `SendUnknownError` if it could not be. A list may lag behind
        what was accepted, so a None just after a send is no proof yet.
        """
        ...

    async def close(self) -> None:
        """Let go of connections. A closed carrier sends nothing any more."""
        ...


def check_number(number: str) -> str:
    """The number itself, if it is `+` and 7 to 15 ASCII digits, the first not 0 (E.164).

    Letters are refused: some parsers read them as a keypad's digits, and would text a stranger. Raises
    `InvalidNumberError`.
    """
    if _E164.fullmatch(number) is None:
        raise InvalidNumberError(
            "A phone number is + and 7 to 15 digits, the first not 0, without spaces or letters, as in "
            f"+12025550123. This one ({mask(number)}) is none."
        )
    return number


def mask(number: str) -> str:
    """A number as logs and errors may show it: its last two digits, and not even those if it is short."""
    last = number[-2:]
    return f"...{last}" if len(number) > 4 and last.isascii() and last.isdecimal() else "..."
