"""Types that Hypothesis makes up: their values arrive equal, or are refused where they are written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, TypeAlias, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from bide import PayloadError
from bide.model.payload import decoder, encode

Kind: TypeAlias = "tuple[Any, st.SearchStrategy[Any]]"
"""A type, and its values."""


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


# Half characters, NUL and numbers of any size are among these.
texts = st.text(st.characters(exclude_categories=()), max_size=8)
integers = st.integers() | st.integers(-(2**70), 2**70) | st.just(10**400)
moments = st.datetimes(timezones=st.none() | st.just(UTC))

LEAVES: list[Kind] = [
    (int, integers),
    (float, st.floats()),
    (str, texts),
    (bool, st.booleans()),
    (bytes, st.binary(max_size=8)),
    (datetime, moments),
    (date, st.dates()),
    (timedelta, st.timedeltas()),
    (Decimal, st.decimals(allow_nan=False)),
    (UUID, st.uuids()),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
]


def _dataclass(fields: dict[str, Any]) -> Any:
    return dataclasses.make_dataclass("Made", list(fields.items()))


def _struct(fields: dict[str, Any]) -> Any:
    return msgspec.defstruct("Made", list(fields.items()))


def _typed_dict(fields: dict[str, Any]) -> Any:
    return TypedDict("Made", fields)  # type: ignore[operator]


def _model(fields: dict[str, Any]) -> Any:
    config = pydantic.ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    made: dict[str, Any] = {name: (wanted, ...) for name, wanted in fields.items()}
    try:
        return pydantic.create_model("Made", __config__=config, **made)
    except pydantic.errors.PydanticUserError:  # it knows no Structs, and TypedDict not in every Python
        reject()


MAKERS: list[Callable[[dict[str, Any]], Any]] = [_dataclass, _struct, _typed_dict, _model]


def _extend(inner: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    def made(maker: Callable[[dict[str, Any]], Any], parts: list[Kind]) -> Kind:
        names = [f"field{number}" for number in range(len(parts))]
        wanted = maker(dict(zip(names, (kind for kind, _ in parts), strict=True)))
        values = st.fixed_dictionaries(dict(zip(names, (values for _, values in parts), strict=True)))
        return wanted, values.map(lambda fields: _build(wanted, fields))

    return (
        st.builds(made, st.sampled_from(MAKERS), st.lists(inner, min_size=1, max_size=3))
        | inner.map(lambda kind: (list[kind[0]], st.lists(kind[1], max_size=2)))
        | inner.map(lambda kind: (dict[str, kind[0]], st.dictionaries(texts, kind[1], max_size=2)))
        | inner.map(lambda kind: (tuple[kind[0], int], st.tuples(kind[1], integers)))
        | inner.map(lambda kind: (kind[0] | None, st.none() | kind[1]))
    )


def _build(wanted: Any, fields: dict[str, Any]) -> Any:
    """The value. What a model refuses is none of its values, so there is nothing to be written."""
    try:
        return wanted(**fields)
    except pydantic.ValidationError:
        reject()


kinds = st.recursive(st.sampled_from(LEAVES), _extend, max_leaves=6)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_values_of_any_type_arrive_or_are_refused(data: st.DataObject) -> None:
    wanted, values = data.draw(kinds)
    try:
        read = decoder(wanted)
    except TypeError:
        return  # refused where it is declared
    value = data.draw(values)
    try:
        text = encode(value)
    except PayloadError:
        return  # refused where it is written
    assert read(text) == value


def test_an_infinite_decimal_within_a_model_is_refused_where_it_is_written() -> None:
    """The model does not judge what a dataclass within it holds; it would refuse it when it is read."""

    @dataclasses.dataclass
    class Price:
        euros: Decimal

    class Offer(pydantic.BaseModel):
        price: Price

    assert decoder(Offer)(encode(Offer(price=Price(Decimal("1.5"))))) == Offer(price=Price(Decimal("1.5")))
    for text in ("Infinity", "-Infinity", "NaN"):
        with pytest.raises(PayloadError, match=f"euros is {text}"):
            encode(Offer(price=Price(Decimal(text))))
    assert decoder(Price)(encode(Price(Decimal("Infinity")))) == Price(Decimal("Infinity"))
