"""What is sealed opens for who has the key, at its place, unchanged; and nothing else does."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta, Raw

from bide import OneTimeCode, Secret
from bide.errors import MisfitError, SealedStep
from bide.model.payload import decoder, encode, has_secret, holds_secret
from bide.model.sealing import SHORTEST, SealingKeys, WithoutKeys, is_declared, is_sealed, key_id_of

OLD, NEW = bytes(32), bytes(range(32))
KEYS = SealingKeys([OLD])
CODE = Raw(b'"0702"')

places = st.text(max_size=20)


def opens(keys: SealingKeys, text: Raw, place: str) -> bool:
    try:
        keys.open(text, place)
    except SealedStep:
        return False
    return True


@given(st.recursive(st.none() | st.booleans() | st.text(), st.lists, max_leaves=5), places, st.booleans())
@settings(deadline=None)
def test_what_was_sealed_comes_out_at_its_place_only(value: object, place: str, declared: bool) -> None:
    text = encode(value)
    sealed = KEYS.seal(text, place, declared=declared)
    assert is_sealed(sealed)
    assert is_declared(sealed) is declared
    assert len(sealed) >= SHORTEST
    assert msgspec.json.decode(KEYS.open(sealed, place)) == value
    assert not opens(KEYS, sealed, f"{place}x")
    assert KEYS.seal(sealed, place) == sealed


def test_any_change_is_found() -> None:
    sealed = bytes(KEYS.seal(CODE, "place", "nonce", declared=False))
    for place in range(len(b'[1e999,"'), len(sealed) - 2):
        changed = bytearray(sealed)
        changed[place] ^= 1
        try:
            assert KEYS.open(Raw(bytes(changed)), "place") == CODE, "base64 has several spellings of one text"
        except SealedStep:
            continue
        assert chr(sealed[place]).isalnum()
    assert not opens(KEYS, Raw(sealed.replace(b"kept.", b"secret.")), "place")
    assert not opens(KEYS, Raw(sealed.replace(b"nonce", b"other")), "place")


def test_equal_secrets_look_different_and_short_ones_look_alike() -> None:
    one = KEYS.seal(CODE, "a")
    assert one == KEYS.seal(CODE, "a"), "replay compares texts"
    assert one != KEYS.seal(CODE, "b")
    assert one != KEYS.seal(CODE, "a", "again")
    lengths = {len(KEYS.seal(Raw(b'"%s"' % (b"1" * digits)), "a")) for digits in range(1, 60)}
    assert len(lengths) == 1


def test_the_first_key_seals_and_all_of_them_open() -> None:
    rotated = SealingKeys([NEW, OLD])
    old = KEYS.seal(CODE, "a")
    new = rotated.seal(CODE, "a")
    assert (key_id_of(old), key_id_of(new)) == (KEYS.ids[0], rotated.ids[0])
    assert rotated.open(old, "a") == rotated.open(new, "a") == CODE
    assert rotated.seal(CODE, "a", like=old) == old
    with pytest.raises(SealedStep, match=f"under the key {rotated.ids[0]}, which is not here"):
        KEYS.open(new, "a")
    assert KEYS.digest(CODE) == SealingKeys([NEW, OLD], digests=OLD).digest(CODE) != rotated.digest(CODE)


def test_keys_and_secrets_are_in_no_text() -> None:
    for shown in (repr(KEYS), KEYS.ids, str(vars(SealingKeys([NEW]))["_keys"][0])):
        assert NEW.hex() not in str(shown)
    with pytest.raises(ValueError, match="32 bytes"):
        SealingKeys([b"short"])


class Pair(msgspec.Struct, array_like=True):
    first: Any
    second: str


@pytest.mark.parametrize(
    "wanted",
    [
        Any,
        object,
        str,
        bytes,
        int,
        float,
        bool,
        None,
        dict,
        list,
        set[Any],
        list[Decimal],
        dict[str, Any],
        Pair,
        Raw,
    ],
)
def test_what_is_sealed_fits_no_type(wanted: Any) -> None:
    """So it is never taken for a value, and the mark is looked for only where a value does not fit."""
    with pytest.raises(MisfitError):
        decoder(wanted)(KEYS.seal(CODE, "a"))


def test_without_keys_all_that_is_sealed_looks_alike() -> None:
    nobody = WithoutKeys()
    assert nobody.seal(CODE, "a") == nobody.seal(Raw(b"1"), "b")
    assert is_sealed(nobody.SEALED)
    with pytest.raises(SealedStep, match="a secret"):
        nobody.open(KEYS.seal(CODE, "a"), "a")


# --- which types are secret


class Plain(msgspec.Struct):
    name: str
    child: Plain | None = None


class Account(msgspec.Struct):
    owner: Plain
    pins: list[Secret[str]] = []


@dataclass
class Note:
    text: Secret[str]


class Typed(TypedDict):
    text: Secret[str]


class Tuple(NamedTuple):
    text: Secret[str]


class Model(pydantic.BaseModel):
    text: Secret[str]


class Deep(pydantic.BaseModel):
    parts: dict[str, list[Secret[int]]] = {}
    within: list[Deep] = []


class One(pydantic.BaseModel):
    other: Other | None = None


class Other(pydantic.BaseModel):
    one: One | None = None
    notes: tuple[Note, ...] = ()


class Ring(pydantic.BaseModel):
    ring: list[Ring] = []


@pytest.mark.parametrize(
    "wanted",
    [
        *(
            Secret[str],
            OneTimeCode,
            Secret[str] | None,
            list[Secret[int]],
            dict[str, Account],
            tuple[int, Secret[str]],
        ),
        *(Account, Note, Typed, Tuple, Model, list[Model], Deep, One, Other),
        Annotated[str, Meta(extra_json_schema={"writeOnly": True})],
    ],
)
def test_a_type_with_a_secret_anywhere_is_secret(wanted: Any) -> None:
    assert has_secret(wanted)


def test_a_model_of_which_not_all_is_known_is_taken_for_secret() -> None:
    class Early(pydantic.BaseModel):
        later: Later | None = None  # type: ignore[name-defined]  # noqa: F821

    assert has_secret(Early)


@pytest.mark.parametrize("wanted", [Any, object, str, int | str, Plain, list[Plain], Ring, dict, Raw, lambda: 1])
def test_other_types_are_not(wanted: Any) -> None:
    assert not has_secret(wanted)


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        *(("0702", False), (None, False), ({"a": [1, Plain("x")]}, False), ([], False)),
        *((Note("x"), True), ({"a": [Note("x")]}, True), (Tuple("x"), True), (Model(text="x"), True)),
    ],
)
def test_values_of_no_declared_type_go_by_their_classes(value: object, secret: bool) -> None:
    assert holds_secret(value) is secret
