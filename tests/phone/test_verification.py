"""Codes: made, read, compared."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256

import pytest

from bide.phone import challenge_text, code_from, normalise_code, same_code

FULL_WIDTH = "\uff10\uff10\uff14\uff12"  # 0042
ARABIC = "\u0662\u0661\u0666\u0668"  # 2168


def test_a_code_is_a_function_of_its_secret() -> None:
    secret = sha256(b"a call").digest()
    assert code_from(secret) == code_from(secret)
    assert code_from(secret) == f"{int.from_bytes(secret[:16], 'big') % 10_000:04d}"


def test_leading_zeros_are_kept() -> None:
    assert code_from(bytes(15) + b"\x2a") == "0042"
    assert code_from(bytes(16)) == "0000"
    assert code_from(bytes(15) + b"\x2a", digits=6) == "000042"


def test_codes_are_spread_evenly() -> None:
    codes = Counter(code_from(sha256(str(n).encode()).digest(), digits=2) for n in range(20_000))
    assert len(codes) == 100
    assert 120 < min(codes.values()) < max(codes.values()) < 290


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        code_from(b"guessable")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (2168, "2168"),
        (42, "0042"),
        (0, "0000"),
        ("2168", "2168"),
        ("0042", "0042"),
        (" 0042 ", "0042"),
        ("0042\r\n", "0042"),
        (FULL_WIDTH, "0042"),
        ("\u3000\uff12\uff11\uff16\uff18\u3000", "2168"),
    ],
)
def test_answers_that_are_codes(answer: object, code: str) -> None:
    assert normalise_code(answer) == code


@pytest.mark.parametrize(
    "answer",
    [
        None,
        True,
        False,
        2168.0,
        -42,
        -2168,
        10_000,
        pytest.param(10**5000, id="longer than Python writes out"),
        "",
        "42",
        "21680",
        "-042",
        "+042",
        "21 68",
        "21_8",
        "2l68",
        ARABIC,
        "\ud800\ud800\ud800\ud800",
        b"2168",
        ["2168"],
        {"code": "2168"},
    ],
)
def test_answers_that_cannot_be_codes(answer: object) -> None:
    assert normalise_code(answer) is None


def test_other_lengths() -> None:
    assert normalise_code(42, digits=6) == "000042"
    assert normalise_code("123456", digits=6) == "123456"
    assert normalise_code("1234", digits=6) is None


def test_same_code() -> None:
    assert same_code("0042", "0042")
    assert not same_code("0043", "0042")
    assert not same_code("42", "0042")
    assert not same_code("", "0042")
    assert not same_code(None, "0042")


def test_no_answer_is_never_right() -> None:
    assert not same_code(None, "")


@pytest.mark.parametrize("answer", ["\ud800", FULL_WIDTH, "\x00"])
def test_strange_answers_are_wrong_rather_than_errors(answer: str) -> None:
    assert not same_code(answer, "0042")


def test_the_text_of_the_sms() -> None:
    assert challenge_text("0042") == "Your verification code is 0042"
