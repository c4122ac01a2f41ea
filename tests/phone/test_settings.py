"""Which carrier the settings choose."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bide.phone import Carrier, DevPhone, Sms, TwilioCarrier, carrier_from_settings

TWILIO = {
    "TwilioAccountSid": "AC" + "0" * 32,
    "TwilioAuthToken": "secret-token",
    "TwilioPhoneNumber": "+15005550006",
}


def choose(settings: dict[str, str], outbox: Path | None = None) -> Carrier:
    return carrier_from_settings(settings.get, outbox, lambda: datetime.now(UTC))


def test_without_settings_there_is_a_dev_phone(tmp_path: Path) -> None:
    carrier = choose({}, tmp_path / "outbox.jsonl")
    assert isinstance(carrier, DevPhone)
    asyncio.run(carrier.send(Sms("+14255550123", "hello")))
    assert (tmp_path / "outbox.jsonl").exists()
    assert isinstance(choose({}), DevPhone)
    assert isinstance(choose(dict.fromkeys(TWILIO, " ")), DevPhone)


def test_with_all_three_there_is_twilio() -> None:
    for settings in (TWILIO, {**TWILIO, "TwilioBaseUrl": "http://127.0.0.1:8099"}):
        carrier = choose(settings)
        assert isinstance(carrier, TwilioCarrier)
        assert repr(carrier) == "TwilioCarrier(sender='+15005550006')"
        asyncio.run(carrier.close())


@pytest.mark.parametrize("given", [("TwilioAuthToken",), ("TwilioAccountSid", "TwilioPhoneNumber")])
def test_with_some_the_error_names_those_that_are_missing(given: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="To send through Twilio, set ") as refused:
        choose({name: TWILIO[name] for name in given})
    for name, value in TWILIO.items():
        assert (name in str(refused.value)) == (name not in given)
        assert value not in str(refused.value)


@pytest.mark.parametrize("sender", ["+1425XXXXXXX", "ACME Verifies", "1234", "MG12345678901234567890123456789012x"])
def test_a_sender_that_can_be_none(sender: str) -> None:
    with pytest.raises(ValueError, match=r"TwilioPhoneNumber cannot be used\. A sender is a phone number"):
        choose({**TWILIO, "TwilioPhoneNumber": sender})


@pytest.mark.parametrize("sender", ["MG" + "0" * 32, "12345", "ACME", " ACME "])
def test_senders_without_a_number(sender: str) -> None:
    carrier = choose({**TWILIO, "TwilioPhoneNumber": sender})
    assert repr(carrier) == f"TwilioCarrier(sender={sender.strip()!r})"
    asyncio.run(carrier.close())


@pytest.mark.parametrize("url", ["localhost:8099", "ftp://127.0.0.1", "http://", "http://a:b", "//a"])
def test_a_base_url_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match=r"should look like https://api\.twilio\.com"):
        choose({**TWILIO, "TwilioBaseUrl": url})
