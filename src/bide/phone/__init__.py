"""Phone verification, the first customer of the engine. It imports only public names."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from bide.phone.carrier import (
    Carrier,
    CarrierError,
    InvalidNumberError,
    NotSentError,
    Receipt,
    RefusedError,
    SendUnknownError,
    Sms,
    check_number,
)
from bide.phone.dev.devphone import DevPhone, Fault
from bide.phone.dev.http import dev_phone_routes
from bide.phone.dev.outbox import DevMessage
from bide.phone.senders import sender_field
from bide.phone.signature import is_signed, signature
from bide.phone.status import MessageStatus, log_status, twilio_status_routes
from bide.phone.twilio import API, TwilioCarrier, check_status_address
from bide.phone.verification import challenge_text, code_from, code_in, normalise_code, same_code

__all__ = [
    "Carrier",
    "CarrierError",
    "DevMessage",
    "DevPhone",
    "Fault",
    "InvalidNumberError",
    "MessageStatus",
    "NotSentError",
    "Receipt",
    "RefusedError",
    "SendUnknownError",
    "Sms",
    "TwilioCarrier",
    "carrier_from_settings",
    "challenge_text",
    "check_number",
    "code_from",
    "code_in",
    "dev_phone_routes",
    "is_signed",
    "log_status",
    "normalise_code",
    "same_code",
    "signature",
    "twilio_status_routes",
]

_TWILIO = ("TwilioAccountSid", "TwilioAuthToken", "TwilioPhoneNumber")


def carrier_from_settings(
    setting: Callable[[str], str | None], outbox: Path | None, clock: Callable[[], datetime]
) -> Carrier:
    """Twilio if its three settings are there, the dev phone with this outbox if none is.

    `TwilioStatusCallback` is where Twilio tells what became of a message; `TwilioBaseUrl` points to a stand-in.
    Raises `ValueError` that names the setting that is missing or wrong.
    """
    values = [(setting(name) or "").strip() for name in _TWILIO]
    if not any(values):
        return DevPhone(outbox, clock)
    missing = [name for name, value in zip(_TWILIO, values, strict=True) if not value]
    if missing:
        raise ValueError(f"To send through Twilio, set {' and '.join(missing)} too.")
    account_sid, auth_token, sender = values
    callback = (setting("TwilioStatusCallback") or "").strip() or None
    _check("TwilioPhoneNumber", sender_field, sender)
    if callback is not None:
        _check("TwilioStatusCallback", check_status_address, callback)
    base_url = setting("TwilioBaseUrl") or API
    return TwilioCarrier(account_sid, auth_token, sender, base_url=base_url, status_callback=callback)


def _check(name: str, check: Callable[[str], str], value: str) -> None:
    """Raises `ValueError` that names the setting."""
    try:
        check(value)
    except ValueError as error:
        raise ValueError(f"{name} cannot be used. {error}") from None
