"""Forms: what is asked for, from a type's schema; and what is typed, as the JSON that the type takes."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Optional, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct

from bide.http.respond.forms import Field, form
from bide.http.respond.typed import FormError, answer, shown
from bide.model.payload import decoder, schema


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Address:
    street: str
    zip_code: Annotated[str, Meta(pattern=r"^\d{5}$")]


@dataclass
class Approval:
    """Approve the trip?

    It is far.
    """

    approved: bool
    reason: str = ""
    amount: Annotated[float, Meta(ge=0, le=10, title="Amount granted", description="In EUR")] = 1.5
    mood: Mood = Mood.GOOD
    due_date: date | None = None
    tags: list[str] = field(default_factory=list)
    address: Address | None = None


@dataclass
class Node:
    name: str
    children: list[Node] = field(default_factory=list)
    parent: Optional[Node] = None  # noqa: UP045 - `|` cannot name a class that is being made


class Partial(TypedDict, total=False):
    a: int
    b: str


class Cat(Struct, tag=True):
    lives: int


class Dog(Struct, tag=True):
    name: str


class Order(pydantic.BaseModel):
    size: Literal["S", "M"]
    count: int = 1
    note: str | None = pydantic.Field(None, title="A note", max_length=500)


class Basket(pydantic.BaseModel):
    first: Order


@dataclass
class Wrapped:
    basket: Basket


def form_of(wanted: Any) -> Field:
    return form(msgspec.json.decode(schema(wanted)))


def part(wanted: Any, path: str) -> Field:
    """One of the fields of an object's form."""
    (found,) = (each for each in _all(form_of(wanted)) if each.path == path)
    return found


def _all(of: Field) -> list[Field]:
    return [of, *(inner for each in of.parts for inner in _all(each))]


def typed(wanted: Any, *whole: str, **parts: str) -> Any:
    """What the type makes of a form that was filled in so: the root's input, or the inputs of its parts."""
    filled = {f"$.{name.replace('__', '.')}": text for name, text in parts.items()}
    return decoder(wanted)(answer(form_of(wanted), {"$": whole[0]} if whole else filled, 64))


def problems(wanted: Any, *whole: str, **parts: str) -> dict[str, str]:
    with pytest.raises(FormError) as caught:
        typed(wanted, *whole, **parts)
    return caught.value.problems


# --- what is asked for


@pytest.mark.parametrize(
    ("wanted", "kind", "widget"),
    [
        (bool, "choice", "buttons"),
        (None, "choice", "buttons"),
        (Mood, "choice", "buttons"),
        (Literal["a"], "choice", "buttons"),
        (Literal[1, 2, 3, 4, 5, 6, 7], "choice", "select"),
        (bool | None, "choice", "buttons"),
        (str, "text", "input"),
        (Annotated[str, Meta(max_length=2000)], "text", "textarea"),
        (Annotated[str, Meta(max_length=2000, pattern="^x")], "text", "input"),
        (int | str, "text", "input"),
        (str | float | None, "text", "input"),
        (date, "text", "input"),
        (int, "integer", "input"),
        (int | float, "number", "input"),
        (float, "number", "input"),
        (list[str], "lines", "textarea"),
        (set[int], "lines", "textarea"),
        (list[Mood], "lines", "textarea"),
        (Approval, "group", "group"),
        (Partial, "group", "group"),
        (Order, "group", "group"),
        (Any, "json", "textarea"),
        (dict[str, int], "pairs", "textarea"),
        (dict[str, Any], "json", "textarea"),
        (list[Approval], "json", "textarea"),
        (list[str | None], "json", "textarea"),
        (tuple[int, str], "json", "textarea"),
        (list[Any], "json", "textarea"),
        (int | list[int], "json", "textarea"),
        (int | bool, "json", "textarea"),
        (int | Literal["max"], "json", "textarea"),
        (date | int, "json", "textarea"),
        (Cat | Dog, "json", "textarea"),
    ],
)
def test_each_type_has_its_input(wanted: Any, kind: str, widget: str) -> None:
    found = form_of(wanted)
    assert (found.path, found.kind, found.widget) == ("$", kind, widget)


@pytest.mark.parametrize(
    "unknown",
    [
        None,
        True,
        [],
        {},
        {"type": "alien"},
        {"type": ["string", "null"]},
        {"anyOf": []},
        {"anyOf": [{"type": ["string"]}, {"type": "integer"}]},
        {"$ref": "#/$defs/Nowhere"},
        {"$ref": "elsewhere.json"},
        {"$ref": "#/$defs/Loop", "$defs": {"Loop": {"$ref": "#/$defs/Loop"}}},
        {"type": "object"},
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {"a.b": {"type": "string"}}},
        {"type": "object", "properties": {"a[0]": {"type": "string"}}},
        {"type": "object", "properties": {'"><script>': {"type": "string"}}},
        {"type": "array"},
        {"type": "array", "items": True},
    ],
)
def test_what_is_not_understood_is_asked_for_as_json(unknown: object) -> None:
    assert form(unknown).kind == "json"
    assert msgspec.json.decode(answer(form(unknown), {"$": '{"a": [1]}'}, 64)) == {"a": [1]}


def test_titles_and_descriptions_say_what_is_asked() -> None:
    asked = form_of(Annotated[bool, Meta(title="Ship it?", description="Version 2 is ready.")])
    assert (asked.label, asked.help) == ("Ship it?", "Version 2 is ready.")
    asked = form_of(Approval)
    assert (asked.label, asked.help) == ("Approval", "Approve the trip?\n\nIt is far.")
    assert form_of(Annotated[Address | None, Meta(title="Where?")]).label == "Where?"
    assert form_of(Mood).label == "Mood"
    assert form_of(str).label == ""


def test_parts_are_named_by_their_title_or_in_words() -> None:
    names = {each.path: each.label for each in _all(form_of(Approval)) if each.path.startswith("$.")}
    assert names == {
        "$.approved": "Approved",
        "$.reason": "Reason",
        "$.amount": "Amount granted",
        "$.mood": "Mood",
        "$.due_date": "Due date",
        "$.tags": "Tags",
        "$.tags[]": "",
        "$.address": "Address",
        "$.address.street": "Street",
        "$.address.zip_code": "Zip code",
    }
    assert part(Order, "$.note").label == "A note"


def test_parts_come_in_the_order_of_the_schema() -> None:
    asked = form({"type": "object", "properties": {name: {"type": "string"} for name in "zam"}})
    assert [each.label for each in asked.parts] == ["Z", "A", "M"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("dueDate", "Due date"), ("DUE", "DUE"), ("DueDateOfURL", "Due date of URL"), ("a_b-c", "A b c"), ("é", "É")],
)
def test_names_in_words(name: str, words: str) -> None:
    asked = form({"type": "object", "properties": {name: {"type": "string"}}})
    assert asked.parts[0].label == words


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        (Annotated[str, Meta(pattern=r"^\d{6}$")], "6 digits."),
        (Annotated[str, Meta(pattern=r"^[0-9]{4,8}$")], "4 to 8 digits."),
        (Annotated[str, Meta(pattern=r"\d{6}")], ""),
        (Annotated[str, Meta(min_length=6, max_length=6)], "6 characters."),
        (Annotated[str, Meta(min_length=2)], "At least 2 characters."),
        (Annotated[str, Meta(max_length=9)], "Up to 9 characters."),
        (Annotated[str, Meta(min_length=2, max_length=9)], "2 to 9 characters."),
        (Annotated[int, Meta(ge=1, le=5)], "At least 1, at most 5."),
        (Annotated[float, Meta(gt=0, lt=1, multiple_of=0.25)], "More than 0, less than 1, a multiple of 0.25."),
        (Annotated[datetime, Meta(tz=True)], "In UTC."),
        (timedelta, "As an ISO 8601 duration, such as PT90M or P3D."),
        (bytes, "As base64."),
        (list[str], "One per line."),
        (list[Mood], "One per line. Each is one of: bad, good."),
        (str, ""),
        (int, ""),
    ],
)
def test_limits_in_words(wanted: Any, hint: str) -> None:
    assert form_of(wanted).hint == hint


@pytest.mark.parametrize(
    ("wanted", "mode", "complete", "kind"),
    [
        (Annotated[str, Meta(pattern=r"^\d{6}$")], "numeric", "one-time-code", "text"),
        (int | str, "numeric", "one-time-code", "text"),
        (int, "numeric", "one-time-code", "text"),
        (Annotated[int, Meta(ge=0, le=5)], "numeric", "off", "text"),
        (Annotated[int, Meta(ge=-5, le=5)], None, "off", "text"),
        (Annotated[float, Meta(gt=-5)], None, "off", "text"),
        (float, "decimal", "off", "text"),
        (Decimal, "decimal", "off", "text"),
        (str, None, "off", "text"),
        (date, None, "off", "date"),
        (Annotated[datetime, Meta(tz=True)], None, "off", "datetime-local"),
        (datetime, None, "off", "text"),
        (Annotated[time, Meta(tz=True)], None, "off", "time"),
    ],
)
def test_the_keyboard_fits(wanted: Any, mode: str | None, complete: str, kind: str) -> None:
    html = form_of(wanted).html
    assert (html.get("inputmode"), html["autocomplete"], html["type"]) == (mode, complete, kind)


def test_only_a_code_is_filled_in_from_a_message() -> None:
    @dataclass
    class Entry:
        zip: Annotated[str, Meta(pattern=r"^\d{5}$")]
        sms_code: Annotated[str, Meta(pattern=r"^\d{5}$")]

    code, plain = part(Entry, "$.sms_code").html, part(Entry, "$.zip").html
    assert (code["autocomplete"], plain["autocomplete"]) == ("one-time-code", "off")
    assert (code["inputmode"], plain["inputmode"]) == ("numeric", "numeric")


def test_a_browser_checks_what_the_type_checks() -> None:
    html = form_of(Annotated[str, Meta(pattern="b|^c", min_length=2, max_length=9)]).html
    assert html["pattern"] == ".*(?:b|^c).*"
    assert (html["minlength"], html["maxlength"]) == ("2", "9")


def test_choices_are_json_under_their_names() -> None:
    def choices(wanted: Any) -> list[tuple[str, str]]:
        return [(each.value, each.label) for each in form_of(wanted).choices]

    assert choices(bool) == [("true", "Yes"), ("false", "No")]
    assert choices(bool | None) == [("true", "Yes"), ("false", "No"), ("null", "No answer")]
    assert choices(Level) == [("1", "1"), ("2", "2")]
    assert choices(Literal["", "ä"]) == [('""', "(empty)"), ('"ä"', "ä")]
    assert choices(None) == [("null", "Confirm")]
    assert choices(Literal["a", None]) == [('"a"', "a"), ("null", "No answer")]
    assert [(each.value) for each in part(Order, "$.size").choices] == ['"S"', '"M"']


def test_choices_in_a_part_can_be_taken_back_if_they_need_not_be_made() -> None:
    @dataclass
    class Choices:
        must: bool
        may: bool | None = None
        many: Literal[1, 2, 3, 4, 5, 6, 7] = 1

    found = {each.label: (each.widget, each.must) for each in form_of(Choices).parts}
    assert found == {"Must": ("radio", True), "May": ("select", False), "Many": ("select", True)}


def test_defaults_are_shown() -> None:
    initial = {each.path: each.initial for each in _all(form_of(Approval))}
    assert (initial["$.amount"], initial["$.mood"], initial["$.reason"]) == ("1.5", '"good"', "")
    assert part(Order, "$.count").initial == "1"
    when = form({"type": "string", "format": "date-time", "default": "2026-01-02T03:04:05Z"})
    assert when.initial == "2026-01-02T03:04:05"
    assert form({"type": "array", "items": {"type": "string"}, "default": ["a", "b"]}).initial == "a\nb"
    assert form({"type": "integer", "default": 5}).initial == "5"


def test_what_was_typed_stands_there_again() -> None:
    asked = part(Order, "$.count")
    assert shown(asked, None) == "1"
    assert shown(asked, {"$.count": " x"}) == " x"
    assert shown(asked, {}) == ""


def test_a_part_that_may_be_left_out_insists_on_nothing() -> None:
    inner = part(Approval, "$.address")
    assert inner.hint == "All of this may be left empty."
    assert [(each.must, each.required, each.initial) for each in inner.parts] == [(True, False, "")] * 2
    assert part(Approval, "$.approved").required


def test_a_type_in_itself_ends_in_json() -> None:
    kinds = {each.path: each.kind for each in form_of(Node).parts}
    assert kinds == {"$.name": "text", "$.children": "json", "$.parent": "json"}
    example = part(Node, "$.children").example
    assert '"$ref": "#/$defs/Node"' in example
    assert '"$defs"' in example
    children = typed(Node, name="a", children='[{"name": "b"}]').children
    assert children == [Node("b")]


def test_deep_objects_end_in_json() -> None:
    deep: dict[str, Any] = {"type": "object", "properties": {"x": {"type": "integer"}}}
    for _ in range(10):
        deep = {"type": "object", "properties": {"a": deep}}
    kinds = [each.kind for each in _all(form(deep))]
    assert kinds == ["group"] * 4 + ["json"]


def test_references_inside_of_references_are_found() -> None:
    """A Pydantic model brings its own `$defs` along into a schema that has others."""
    assert part(Wrapped, "$.basket.first.count").kind == "integer"
    order = typed(Wrapped, basket__first__size='"M"', basket__first__count="2").basket.first
    assert order == Order(size="M", count=2)


# --- what is typed


@pytest.mark.parametrize(
    ("wanted", "text", "value"),
    [
        (str, "0042", "0042"),
        (str, "  0042 ", "0042"),
        (str, "2168", "2168"),
        (str, "true", "true"),
        (str, '"quoted"', '"quoted"'),
        (str, "ä\u0000€", "ä\u0000€"),
        (int | str, "0042", "0042"),
        (int | str, "2168", "2168"),
        (Annotated[str, Meta(pattern=r"^\d{4}$")], "0042", "0042"),
        (Annotated[str, Meta(max_length=999)], " a\r\nb ", " a\nb "),
        (int, "0042", 42),
        (int, " -7 ", -7),
        (int, "+7", 7),
        (int, "\uff14\uff12", 42),
        (int, "9" * 30, int("9" * 30)),
        (float, "1.5", 1.5),
        (float, "-.5", -0.5),
        (float, "5.", 5.0),
        (float, "1e3", 1000.0),
        (float, "007", 7.0),
        (bool, "true", True),
        (bool, "false", False),
        (None, "null", None),
        (Mood, '"bad"', Mood.BAD),
        (Level, "2", Level.HIGH),
        (date, "2026-11-23", date(2026, 11, 23)),
        (Annotated[datetime, Meta(tz=True)], "2026-11-23T06:00", datetime(2026, 11, 23, 6, tzinfo=UTC)),
        (
            Annotated[datetime, Meta(tz=True)],
            "2026-11-23T06:00:30.5",
            datetime(2026, 11, 23, 6, 0, 30, 500_000, UTC),
        ),
        (Annotated[datetime, Meta(tz=True)], "2026-11-23T07:00:00+01:00", datetime(2026, 11, 23, 6, tzinfo=UTC)),
        (Annotated[time, Meta(tz=True)], "06:30", time(6, 30, tzinfo=UTC)),
        (timedelta, "PT90M", timedelta(minutes=90)),
        (Decimal, "1.10", Decimal("1.10")),
        (UUID, "12345678-1234-5678-1234-567812345678", UUID("12345678-1234-5678-1234-567812345678")),
        (bytes, "aGk=", b"hi"),
        (list[str], "a\r\n\r\n b \r\n", ["a", "b"]),
        (list[int], "1\n02", [1, 2]),
        (list[Mood], "Good\nbad", [Mood.GOOD, Mood.BAD]),
        (list[bool], "yes\nNO\ntrue", [True, False, True]),
        (Any, '{"a": [1, 2.50]}', {"a": [1, 2.5]}),
        (Any, ' "text" ', "text"),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (dict[str, int], "a: 1\r\n b c : -2\r\n", {"a": 1, "b c": -2}),
        (dict[str, str], "a: x: y", {"a": "x: y"}),
        (dict[str, Mood], "monday: bad", {"monday": Mood.BAD}),
        (float, "12,5", 12.5),
        (float, "0,125", 0.125),
        (float, "-1.234,50", -1234.5),
        (float, "1,234.50", 1234.5),
        (float, "1,234,567", 1234567.0),
        (Decimal, "12,50", Decimal("12.50")),
        (Cat | Dog, '{"type": "Dog", "name": "Rex"}', Dog("Rex")),
    ],
)
def test_what_is_typed_becomes_what_was_meant(wanted: Any, text: str, value: Any) -> None:
    found = typed(wanted, text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("wanted", "text", "message"),
    [
        (int, "1.5", "a whole number"),
        (int, "one", "a whole number"),
        (int, "1_000", "a whole number"),
        (int, "--1", "a whole number"),
        (int, "9" * 5000, "a whole number"),
        (float, "1,500", "Please write 1500, or 1.500"),
        (Decimal, "1,500", "Please write 1500, or 1.500"),
        (float, "1,2,3", "a number"),
        (dict[str, int], "a", "Line 1: Please write a name, a colon"),
        (dict[str, int], "a: 1\n\nb: x", "Line 3: Please write a whole number"),
        (dict[str, int], "a: 1\na: 2", "Line 2: a is there already"),
        (dict[str, Any], "yes", "This cannot be read yet: invalid character"),
        (float, "nan", "a number"),
        (float, "inf", "a number"),
        (float, "1e999", "a number"),
        (float, "0x10", "a number"),
        (bool, "maybe", "choose one"),
        (bool, "True", "choose one"),
        (Mood, "good", "choose one"),
        (list[int], "1\n\nx", "Line 3: Please write a whole number"),
        (list[Mood], "good\nawful", "Line 2: Please choose one"),
        (Any, "yes", "double quotes"),
        (Any, '{"a": 1, "a": 2}', "twice"),
        (Any, "NaN", "double quotes"),
        (Any, "[" * 100 + "]" * 100, "64 levels"),
    ],
)
def test_what_cannot_be_converted_is_refused_in_words(wanted: Any, text: str, message: str) -> None:
    assert list(problems(wanted, text)) == ["$"]
    assert message in problems(wanted, text)["$"]


@pytest.mark.parametrize("wanted", [str, int, float, bool, Mood, date, Any, dict[str, Any]])
@pytest.mark.parametrize("text", ["", "  ", "\r\n"])
def test_an_empty_answer_is_no_answer(wanted: Any, text: str) -> None:
    assert problems(wanted, text) == {"$": "Please fill this in."}


@pytest.mark.parametrize(
    "wanted", [str | None, int | None, Mood | None, date | None, list[str] | None, Approval | None]
)
def test_an_empty_answer_is_null_where_null_is_allowed(wanted: Any) -> None:
    assert typed(wanted, "") is None
    assert typed(wanted) is None


def test_an_empty_list_is_an_answer() -> None:
    assert typed(list[str], " \n ") == []


def test_an_object_is_put_together_from_its_parts() -> None:
    value = typed(
        Approval,
        approved="true",
        reason=" because ",
        amount="2",
        mood='"bad"',
        due_date="2026-11-23",
        tags="a\nb",
        address__street="High St",
        address__zip_code="01234",
    )
    assert value == Approval(
        True, "because", 2.0, Mood.BAD, date(2026, 11, 23), ["a", "b"], Address("High St", "01234")
    )


def test_what_is_left_empty_is_left_out() -> None:
    filled = {"$.approved": "false", "$.amount": "1.5", "$.mood": '"good"', "$.reason": "", "$.address.street": " "}
    text = answer(form_of(Approval), filled, 64)
    assert json.loads(bytes(text)) == {
        "approved": False,
        "amount": 1.5,
        "mood": "good",
        "due_date": None,
        "address": None,
    }
    assert decoder(Approval)(text) == Approval(False)


def test_what_must_be_filled_in_is_named_all_at_once() -> None:
    found = problems(Approval, reason="x", amount="", address__street="High St")
    assert found == {
        path: "Please fill this in." for path in ("$.approved", "$.amount", "$.mood", "$.address.zip_code")
    }


def test_all_that_is_wrong_is_named_at_once() -> None:
    found = problems(Approval, approved="x", amount="y", mood='"good"')
    assert set(found) == {"$.approved", "$.amount"}


def test_a_default_that_is_shown_and_emptied_does_not_come_back() -> None:
    @dataclass
    class Letter:
        greeting: str = "Dear all"
        copies: int = 3
        cc: list[str] | None = None

    assert typed(Letter, greeting="", copies="3") == Letter("")
    assert problems(Letter, greeting="Hi", copies="") == {"$.copies": "Please fill this in."}


def test_required_null_is_sent_as_null() -> None:
    @dataclass
    class Needs:
        a: int | None
        b: Address | None

    assert typed(Needs) == Needs(None, None)


def test_parts_that_need_not_be_there_are_not_there() -> None:
    assert typed(Partial) == {}
    assert typed(Partial, a="", b="x") == {"b": "x"}


def test_what_was_not_asked_for_is_not_taken() -> None:
    filled = {"$.size": '"S"', "$.count": "1", "$.admin": "true", "size": "L", "$": "{}", "__proto__": "x"}
    assert json.loads(bytes(answer(form_of(Order), filled, 64))) == {"size": "S", "count": 1, "note": None}


# --- where a fault is shown


@pytest.mark.parametrize(
    ("fault", "shown_at"),
    [
        ("$", "$"),
        ("$.approved", "$.approved"),
        ("$.tags[1]", "$.tags"),
        ("$.address", "$.address"),
        ("$.address.zip_code", "$.address.zip_code"),
        ("$.address.zip", "$.address"),
        ("$.nothing", "$"),
        ("$[...]", "$"),
    ],
)
def test_a_fault_is_shown_at_its_field(fault: str, shown_at: str) -> None:
    assert form_of(Approval).at(fault).path == shown_at


# --- all together

VALUES: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(min_size=1).map(str.strip).filter(bool),
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    Mood: st.sampled_from(Mood),
    date: st.dates(),
    Annotated[datetime, Meta(tz=True)]: st.datetimes(timezones=st.just(UTC)),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False, places=4),
    list[int]: st.lists(st.integers()),
    dict[str, int]: st.dictionaries(st.text(), st.integers(), max_size=5),
    Address: st.builds(Address, st.text(min_size=1).map(str.strip).filter(bool), st.from_regex(r"\A[0-9]{5}\Z")),
}
VALUES[Approval] = st.builds(
    Approval,
    st.booleans(),
    st.just("") | VALUES[str],
    st.floats(0, 10),
    VALUES[Mood],
    st.none() | st.dates(),
    st.lists(st.sampled_from(["a", "b c"])),
    st.none() | VALUES[Address],
)


def fill(asked: Field, value: Any) -> dict[str, str]:
    """What somebody types who means this JSON value."""
    if value is None:
        return {}
    if asked.kind == "group":
        parts = {each.path.rpartition(".")[2]: each for each in asked.parts}
        return {name: text for key, inner in value.items() for name, text in fill(parts[key], inner).items()}
    if asked.kind == "lines":
        return {asked.path: "\r\n".join(map(str, value))}
    return {asked.path: value if asked.kind == "text" else json.dumps(value)}


@pytest.mark.parametrize("wanted", VALUES, ids=str)
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_whatever_is_meant_can_be_typed(wanted: Any, data: st.DataObject) -> None:
    meant = data.draw(VALUES[wanted])
    asked = form_of(wanted)
    found = decoder(wanted)(answer(asked, fill(asked, msgspec.to_builtins(meant)), 64))
    assert found == meant


@pytest.mark.parametrize("wanted", [*VALUES, Any, Node, Order, Cat | Dog, int | str], ids=str)
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_whatever_is_typed_becomes_json_or_is_refused_at_a_field(wanted: Any, data: st.DataObject) -> None:
    asked = form_of(wanted)
    paths = [each.path for each in _all(asked)]
    filled = data.draw(st.dictionaries(st.sampled_from(paths), st.text(max_size=20), max_size=len(paths)))
    refused: dict[str, str] = {}
    try:
        json.loads(bytes(answer(asked, filled, 64)))
    except FormError as error:
        refused = error.problems
    assert refused.keys() <= set(paths)
