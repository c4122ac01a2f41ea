"""Numbers, values and errors: what is let through, and what is never shown."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bide.phone import (
    CarrierError,
    DevMessage,
    InvalidNumberError,
    NotSentError,
    Receipt,
    RefusedError,
    SendUnknownError,
    Sms,
    check_number,
)

NUMBER = "+14255550123"


@pytest.mark.parametrize("number", ["+1234567", "+123456789012345", NUMBER, "+4915112345678"])
def test_e164_numbers_are_taken_as_they_are(number: str) -> None:
    assert check_number(number) == number


@pytest.mark.parametrize(
    "number",
    [
        "",
        "+",
        "+123456",
        "+1234567890123456",
        "+04255550123",
        "14255550123",
        "0014255550123",
        "+1425XXXXXXX",
        "+1425555012A",
        "+1 425 555 0123",
        "+1-425-555-0123",
        "+14255550123\n",
        "\n+14255550123",
        " +14255550123",
        "+14255550123 ",
        "+14255550123\x00",
        "++14255550123",
        "+\u0661\u0664\u0662\u0665\u0665\u0665\u0665\u0660\u0661\u0662\u0663",  # Arabic-Indic digits
        "+1425555012\uff13",  # a full-width digit
        "\uff0b14255550123",  # a full-width plus
        "+1425555012\u00b2",  # a superscript
        "+14255550123,+14255550124",
        "tel:+14255550123",
    ],
)
def test_anything_else_is_refused(number: str) -> None:
    with pytest.raises(InvalidNumberError, match=r"7 to 15 digits, the first not 0"):
        check_number(number)


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("14255550187", "(...87) is"),
        ("+1425XXXXXXX", "(...) is"),
        ("0912", "(...) is"),
        ("+142555501\uff12\uff13", "(...) is"),
    ],
)
def test_a_refusal_shows_two_digits_at_most(number: str, shown: str) -> None:
    with pytest.raises(InvalidNumberError) as refused:
        check_number(number)
    assert shown in str(refused.value)
    assert number[:-2] not in str(refused.value)


def test_an_sms_shows_neither_body_nor_number() -> None:
    sms = Sms(NUMBER, "Your verification code is 0042")
    for text in (repr(sms), str(sms), f"{sms}", f"{[sms]}"):
        assert "0042" not in text
        assert NUMBER not in text
    assert repr(sms) == "Sms(to=...23)"


def test_receipts_and_outbox_messages_show_no_number() -> None:
    assert repr(Receipt("SM1", NUMBER)) == "Receipt(id='SM1', to=...23)"
    message = DevMessage("1", NUMBER, "Your verification code is 0042", datetime.now(UTC))
    assert repr(message) == "DevMessage(id='1', to=...23)"


def test_values_compare_and_cannot_be_changed() -> None:
    assert Sms(NUMBER, "a") == Sms(NUMBER, "a") != Sms(NUMBER, "b")
    with pytest.raises(AttributeError):
        Sms(NUMBER, "a").body = "b"  # type: ignore[misc]


def test_a_refusal_tells_code_reason_and_whether_it_lasts() -> None:
    error = RefusedError(21610, "the recipient has opted out (STOP)", permanent=True)
    assert (error.code, error.message, error.permanent) == (21610, "the recipient has opted out (STOP)", True)
    assert str(error) == "The carrier refused the message: the recipient has opted out (STOP) (error 21610)."


def test_every_error_is_a_carrier_error_and_no_other() -> None:
    leaves = {InvalidNumberError, RefusedError, NotSentError, SendUnknownError}
    assert set(CarrierError.__subclasses__()) == leaves
    assert all(not leaf.__subclasses__() for leaf in leaves)
