"""Judging by a schema says what the type itself would say, as far as it can be told (G8)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Annotated, Any, Literal, TypedDict
from uuid import UUID

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Raw, json

from bide.core.schemas import misfit
from bide.errors import MisfitError
from bide.model.history import EventAwaited
from bide.model.payload import decoder, schema


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: float = 0.0


class Order(TypedDict):
    items: list[Point]
    note: str


@dataclass
class Tree:
    name: str
    branches: list[Tree]


TYPES: list[Any] = [
    bool,
    int,
    float,
    str,
    None,
    int | None,
    str | int,
    list[int],
    tuple[int, str],
    dict[str, int],
    Colour,
    Literal["yes", "no", 3],
    Point,
    Order,
    Tree,
    Point | None,
    datetime,
    date,
    timedelta,
    UUID,
    Annotated[int, Meta(ge=1, le=9)],
    Annotated[str, Meta(min_length=2, max_length=3, pattern="^[a-z]+$")],
    Annotated[list[int], Meta(min_length=1, max_length=2)],
]
VALUES: list[Any] = [
    None,
    True,
    0,
    5,
    10,
    1.5,
    "",
    "ab",
    "ABC",
    "abcd",
    "red",
    "yes",
    "2026-11-27",
    "2026-11-27T10:00:00Z",
    "PT90S",
    "019b76da-a800-7003-8ea4-aa88771e8256",
    [],
    [1],
    [1, "a"],
    [1, 2, 3],
    ["a"],
    {},
    {"a": 1},
    {"x": 1},
    {"x": 1, "y": 2.5},
    {"x": "1"},
    {"items": [{"x": 1}], "note": "n"},
    {"items": [{"x": None}], "note": "n"},
    {"name": "a", "branches": [{"name": "b", "branches": []}]},
    {"name": "a", "branches": [{"name": 1, "branches": []}]},
]


def judged(wanted: Any, value: Any) -> MisfitError | None:
    return misfit(EventAwaited(1, "Answer", schema=schema(wanted)), Raw(json.encode(value)))


@pytest.mark.parametrize("wanted", TYPES, ids=str)
def test_the_schema_says_what_the_type_says(wanted: Any) -> None:
    for value in VALUES:
        try:
            decoder(wanted)(Raw(json.encode(value)))
        except MisfitError:
            fits = False
        else:
            fits = True
        refused = judged(wanted, value) is not None
        assert not (fits and refused), value
        assert fits or refused or wanted is datetime, value  # it has no format there: an offset may be missing


@pytest.mark.parametrize("wanted", TYPES, ids=str)
def test_another_judge_agrees(wanted: Any) -> None:
    judge = jsonschema_rs.validator_for(json.decode(schema(wanted)), validate_formats=True)
    for value in VALUES:
        assert judge.is_valid(value) == (judged(wanted, value) is None), value


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda some: st.lists(some) | st.dictionaries(st.text(), some),
)


@given(VALUE)
def test_whatever_is_not_known_says_nothing(value: Any) -> None:
    odd = {"type": "string", "pattern": "(", "format": "never-heard-of", "$ref": "#/nowhere/at/all", "odd": value}
    wait = EventAwaited(1, "Answer", schema=Raw(json.encode(odd)))
    assert misfit(wait, Raw(b'"text"')) is None


WORDS = [
    *("$ref", "allOf", "anyOf", "oneOf", "type", "const", "enum", "minimum", "exclusiveMaximum", "minLength"),
    *("maxItems", "minProperties", "pattern", "format", "required", "properties", "additionalProperties"),
    *("prefixItems", "items"),
]


@given(
    st.recursive(
        VALUE | st.sampled_from(["integer", "object", "#", "#/$ref", "date"]),
        lambda some: st.lists(some) | st.dictionaries(st.sampled_from(WORDS), some),
    ),
    VALUE,
)
def test_whatever_a_type_gives_out_for_its_schema_breaks_nothing(odd: Any, value: Any) -> None:
    misfit(EventAwaited(1, "Answer", schema=Raw(json.encode(odd))), Raw(json.encode(value)))


def test_a_schema_that_refers_to_itself_says_nothing() -> None:
    wait = EventAwaited(1, "Answer", schema=Raw(b'{"$ref":"#"}'))
    assert misfit(wait, Raw(b"1")) is None


def test_the_refusal_says_where_and_never_what() -> None:
    refusal = judged(Order, {"items": [{"x": 1}, {"x": "s3cret"}], "note": "n"})
    assert refusal is not None
    assert str(refusal) == "The data does not fit what 'Answer' waits for: Expected integer, got string"
    assert refusal.path == "$.items[1].x"
