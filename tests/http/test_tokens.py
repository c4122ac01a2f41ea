"""Signed tokens: what comes out is what went in, and nothing else does."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bide.errors import InvalidTokenError
from bide.model.tokens import Grant, InstanceGrant, ResponseGrant, read, sign

SECRET = bytes(range(32))
URLS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
INSTANCE = InstanceGrant("0192f1c2d3e4f5a6b7c8d9e0f1a2b3c4", "q83vEjRWeJA", ("status", "raiseEvent"), 7.0)
RESPONSE = ResponseGrant(
    "order:7", "q83vEjRWeJA", 3, "Zusage für Björn", 7, 1_763_800_000_000_000, "a1", 1_763_880_000_000_000
)

texts = st.text(max_size=40)
instants = st.integers(0, 2**62)
grants: st.SearchStrategy[Grant] = st.one_of(
    st.builds(InstanceGrant, texts, texts, st.lists(texts, max_size=5).map(tuple), st.floats(0, 1e6)),
    st.builds(
        ResponseGrant, texts, texts, instants, texts, instants, instants, texts, st.none() | st.integers(0, 2**62)
    ),
)


def refused(text: str, secret: bytes = SECRET) -> bool:
    try:
        read(secret, text)
    except InvalidTokenError:
        return True
    return False


@given(grants)
@settings(deadline=None)
def test_a_token_says_what_was_granted_and_can_stand_in_a_url(grant: Grant) -> None:
    token = sign(SECRET, grant)
    assert read(SECRET, token) == grant
    assert URLS.issuperset(token)


@pytest.mark.parametrize("grant", [INSTANCE, RESPONSE], ids=["instance", "response"])
def test_a_change_of_any_byte_is_refused(grant: Grant) -> None:
    token = sign(SECRET, grant)
    assert not refused(token)
    for place, old in enumerate(token):
        others = [chr(code) for code in range(256) if chr(code) != old]
        assert all(refused(token[:place] + other + token[place + 1 :]) for other in others), place


@pytest.mark.parametrize("grant", [INSTANCE, RESPONSE], ids=["instance", "response"])
def test_what_is_left_out_or_put_in_anywhere_is_refused(grant: Grant) -> None:
    token = sign(SECRET, grant)
    for place in range(len(token) + 1):
        assert refused(token[:place]) if place < len(token) else not refused(token)
        assert place == 0 or refused(token[: place - 1] + token[place:])
        assert all(refused(token[:place] + more + token[place:]) for more in "A=. \n.-é")


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "...",
        "bide",
        "bide.",
        "bide..",
        "bide.e30.",
        "BIDE.e30.e30",
        "\ud800",
        "bide.\ud800.é",
        "a.b.c.d",
    ],
)
def test_what_is_no_token_is_refused(text: str) -> None:
    assert refused(text)


def test_the_other_spellings_of_the_same_seal_are_refused() -> None:
    """A SHA-256 digest leaves two bits of the last base64 character unused: four spellings of the same bytes."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    token = sign(SECRET, INSTANCE)
    last = alphabet.index(token[-1])
    assert last % 4 == 0
    assert all(refused(token[:-1] + alphabet[last + spare]) for spare in (1, 2, 3))
    assert refused(f"{token}=")


def test_a_token_of_another_hub_is_refused() -> None:
    assert refused(sign(SECRET, INSTANCE), secret=bytes(32))


def test_payload_and_seal_of_two_tokens_do_not_mix() -> None:
    one, other = sign(SECRET, INSTANCE).split("."), sign(SECRET, RESPONSE).split(".")
    assert refused(".".join((one[0], one[1], other[2])))


def test_something_else_that_the_secret_signed_is_no_token() -> None:
    payload = sign(SECRET, INSTANCE).split(".")[1]
    plain = hmac.digest(SECRET, payload.encode(), "sha256")
    assert refused(f"bide.{payload}.{urlsafe_b64encode(plain).decode().rstrip('=')}")


@pytest.mark.parametrize("payload", [b"", b"\xc1", msgspec.msgpack.encode(["x", 1]), msgspec.msgpack.encode(["i"])])
def test_a_sealed_payload_of_another_version_is_refused(payload: bytes) -> None:
    text = urlsafe_b64encode(payload).rstrip(b"=")
    seal = urlsafe_b64encode(hmac.digest(SECRET, b"bide token " + text, "sha256")).rstrip(b"=")
    assert refused(f"bide.{text.decode()}.{seal.decode()}")


def test_tokens_are_short() -> None:
    """With a host's name before it, a link still goes into two text messages."""
    usual = ResponseGrant(
        INSTANCE.instance_id, INSTANCE.birth, 0, "SmsChallengeResponse", 3, 2**50, "0.2", expires_at=2**50
    )
    assert len(sign(SECRET, usual)) < 180


def test_the_error_holds_nothing_of_the_token() -> None:
    token = sign(SECRET, INSTANCE)
    with pytest.raises(InvalidTokenError) as caught:
        read(SECRET, token[:-1] + "!")
    assert token[:10] not in str(caught.value)
