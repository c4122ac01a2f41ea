"""Who sends, by Twilio's rules: a phone number, a messaging service, a short code, or a name."""

from __future__ import annotations

import re

from bide.phone.carrier import InvalidNumberError, check_number

_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")
_SHORT_CODE = re.compile(r"[0-9]{5,6}")
_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 _&-][A-Za-z0-9 _&+-]{0,10}")
"""Twilio would take a + in front too. To us it is a phone number with a slip in it, as +1425XXXXXX."""


def sender_field(sender: str) -> str:
    """The parameter of Twilio's API that takes this sender: `MessagingServiceSid` or `From`.

    Raises `ValueError` for what cannot send.
    """
    if is_service(sender):
        return "MessagingServiceSid"
    if _SHORT_CODE.fullmatch(sender) or _NAME.fullmatch(sender) or _is_number(sender):
        return "From"
    raise ValueError(
        "A sender is a phone number, as +12025550123; a messaging service, MG and 32 hex digits; a short code of "
        "5 or 6 digits; or a name of 11 characters at most: letters from A to Z, of which it has one, digits, "
        "spaces and - + _ &, with no + in front."
    )


def is_service(text: str) -> bool:
    """Whether this is the id of a messaging service."""
    return _SERVICE.fullmatch(text) is not None


def _is_number(text: str) -> bool:
    try:
        check_number(text)
    except InvalidNumberError:
        return False
    return True
