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
        # in groups, with any space or dash between digits
        ("00 42", "0042"),
        ("0 0 4 2", "0042"),
        ("00-42", "0042"),
        ("00 - 42", "0042"),
        ("00\u00a042", "0042"),
        ("00\u202f42", "0042"),
        ("00\t42\n", "0042"),
        ("00\u201042", "0042"),
        ("00\u201142", "0042"),
        ("00\u201342", "0042"),
        ("00\u201442", "0042"),
        ("00\u221242", "0042"),
        ("00\uff0d42", "0042"),
        ("\uff10\uff10\u30fc\uff14\uff12", "0042"),
        # digits of any script
        (ARABIC, "2168"),
        ("\u06f2\u06f1\u06f6\u06f8", "2168"),
        ("\u0966\u0966\u096a\u0968", "0042"),
        ("\u0e50\u0e50\u0e54\u0e52", "0042"),
        ("\U0001d7d8\U0001d7d8\U0001d7dc\U0001d7da", "0042"),
        ("\u0662\u0661 68", "2168"),
        # marks that nobody sees
        ("\u200e0042", "0042"),
        ("\u202a0042\u202c", "0042"),
        ("\u20660042\u2069", "0042"),
        ("\ufeff0042", "0042"),
        ("00\u200b42", "0042"),
        ("0\u200d0\u206042", "0042"),
        ("00\u00ad42", "0042"),
        ("\u061c\u0662\u0661\u0666\u0668", "2168"),
        ("\u200f00\u200e-\u200e42\u200f ", "0042"),
        ("0\ufe0f042", "0042"),
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
        "21 680",
        "21 6",
        "-2168",
        "2168-",
        "- 2168",
        "21_68",
        "21.68",
        "2\u2044168",
        "\u00bd168",
        "2168\x00",
        "2168, 2169",
        "zwei",
        "\u200e",
        "\u4e8c\u4e00\u516d\u516b",
        "2l68",
        "O042",
        pytest.param("\ufdfa" * 100_000, id="text that grows when it is normalised"),
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
