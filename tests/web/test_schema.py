"""What a form makes of a type, and of what was typed."""

from __future__ import annotations

from typing import Any

import pytest

from bide.http.respond.forms import in_words
from tests.web.conftest import BASE, Office, Refused, call


@pytest.fixture
def decision(office: Office) -> Any:
    """The schema of a rich type, as the API tells it."""
    waits = office.api.status(office.waiting("Approval", b'"Ann"'))["waits"]
    return waits[0]["schema"]


FULL = {
    "approved": "true",
    "amount": " 007 ",
    "level": "high",
    "comment": 'say "no"',
    "notes": ["a", ""],
    "address": {"street": "Road", "postcode": "01234"},
    "pin": "0000",
}


def test_what_was_typed_becomes_json_of_the_type(decision: Any) -> None:
    assert call("schema", "written", FULL, decision, decision) == (
        '{"approved":true,"amount":7,"level":"high","comment":"say \\"no\\"","notes":["a",""],'
        '"address":{"street":"Road","postcode":"01234"},"pin":"0000"}'
    )


def test_what_was_left_empty_is_left_out_where_it_may_be(decision: Any) -> None:
    typed = {"approved": "false", "amount": "1", "level": "low"}
    assert call("schema", "written", typed, decision, decision) == ('{"approved":false,"amount":1,"level":"low"}')


@pytest.mark.parametrize(
    ("typed", "path"), [({"amount": "1.5"}, "$.amount"), ({"amount": ""}, "$.amount"), ({}, "$.approved")]
)
def test_what_cannot_be_meant_is_refused_at_its_field(decision: Any, typed: dict[str, str], path: str) -> None:
    draft = ({**FULL, **typed}) if typed else {}
    with pytest.raises(Refused) as refused:
        call("schema", "written", draft, decision, decision)
    assert refused.value.args[0] == path


@pytest.mark.parametrize(
    ("typed", "means"),
    [
        ("12,5", "12.5"),
        ("0,125", "0.125"),
        ("-1.234,50", "-1234.50"),
        ("1,234.5", "1234.5"),
        ("1,234,567", "1234567"),
    ],
)
def test_numbers_are_read_as_people_write_them(typed: str, means: str) -> None:
    assert call("schema", "written", typed, {"type": "number"}, {}) == means
    decimal = {"type": "string", "format": "decimal"}
    assert call("schema", "written", typed, decimal, {}) == f'"{means}"'


def test_what_may_mean_two_numbers_is_refused() -> None:
    with pytest.raises(Refused, match="may mean two numbers"):
        call("schema", "written", "1,500", {"type": "number"}, {})


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"exclusiveMinimum": 0}, "more than 0"),
        ({"exclusiveMaximum": 9}, "less than 9"),
        ({"exclusiveMinimum": 0, "exclusiveMaximum": 9}, "more than 0, less than 9"),
        ({"minimum": 0, "exclusiveMaximum": 9}, "at least 0, less than 9"),
        ({"minimum": 0, "maximum": 9}, "0 to 9"),
        ({"minimum": 1, "multipleOf": 2}, "at least 1, a multiple of 2"),
        ({"minLength": 4, "maxLength": 4}, "4 characters"),
        ({"maxLength": 9}, "up to 9 characters"),
    ],
)
def test_limits_are_said_as_they_are(schema: dict[str, Any], words: str) -> None:
    assert call("schema", "limits", schema) == words


def test_titles_are_those_that_were_declared_and_not_the_names_of_types(office: Office) -> None:
    schema = office.api.status(office.waiting("AskTheBoardForItsVerdict", b"60"))["waits"][0]["schema"]
    parts = schema["$defs"]["Verdict"]["properties"]
    assert call("schema", "titleOf", parts["approved"]) == "Approve this expense?"
    assert call("schema", "titleOf", schema) is None
    assert call("schema", "questionOf", schema) == "Ada spent it on a train."
    assert call("schema", "questionOf", {**schema, "title": "Is it worth it?"}) == "Is it worth it?"


@pytest.mark.parametrize(
    ("name", "words"),
    [("dueDate", "Due date"), ("due_date", "Due date"), ("DueDate", "Due date"), ("IBAN", "IBAN")],
)
def test_names_are_words_as_on_the_persons_page(name: str, words: str) -> None:
    assert call("schema", "inWords", name) == words == in_words(name)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({}, "null"),
        ({"title": "Anything"}, "null"),
        ({"type": "integer"}, "1"),
        ({"type": "integer", "minimum": 5}, "5"),
        ({"type": "integer", "maximum": -3}, "-3"),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, "0.5"),
        ({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, None),
        ({"type": "integer", "exclusiveMinimum": 3, "multipleOf": 4}, "4"),
        ({"type": "string", "minLength": 9}, '"textttttt"'),
        ({"type": "string", "maxLength": 2}, '"te"'),
        ({"type": "string", "pattern": "^[0-9]{5}$"}, None),
        ({"type": "string", "pattern": "^[0-9]{5}$", "examples": ["01234"]}, '"01234"'),
        ({"type": "string", "format": "date"}, '"2026-11-27"'),
        ({"type": "string", "format": "uuid"}, None),
        ({"type": "array", "items": {"type": "integer"}}, "[]"),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 1}, None),
        ({"anyOf": [{"type": "string", "pattern": "x"}, {"type": "null"}]}, "null"),
        ({"anyOf": [{"type": "integer", "minimum": 4}, {"type": "null"}], "default": None}, "4"),
        ({"enum": ["a", "b"]}, '"a"'),
        ({"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a"]}, '{"a": 1}'),
        ({"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}, "required": ["a"]}, None),
    ],
)
def test_an_example_fits_or_there_is_none(schema: dict[str, Any], text: str | None) -> None:
    assert call("schema", "writtenExample", schema, schema) == text


def test_an_example_is_taken_by_each_function_that_has_one(office: Office) -> None:
    for each in office.api.get(f"{BASE}/orchestrators").json():
        text = call("schema", "writtenExample", each["inputSchema"], each["inputSchema"])
        started = office.api.post(f"/orchestrators/{each['name']}", text.encode())
        assert started.status_code == 202, (each["name"], text, started.text)


def test_a_large_number_keeps_its_digits() -> None:
    assert call("schema", "written", "12345678901234567890", {"type": "integer"}, {}) == "12345678901234567890"


def test_a_value_becomes_what_may_have_been_typed(decision: Any) -> None:
    value = {"approved": True, "amount": 7, "level": "high", "address": {"street": "R", "postcode": "01234"}}
    draft = call("schema", "draftOf", value, decision, decision)
    assert (draft["approved"], draft["amount"], draft["address"]["postcode"]) == ("true", "7", "01234")


def test_only_what_is_marked_is_secret(decision: Any, office: Office) -> None:
    parts = decision["$defs"]["Decision"]["properties"] if "$defs" in decision else decision["properties"]
    assert [name for name in parts if call("schema", "isSecret", parts[name], decision)] == ["pin"]
    types = {each["name"]: each for each in office.api.get(f"{BASE}/orchestrators").json()}
    account = types["Open"]["inputSchema"]
    part = call("schema", "partOf", account, account, "password")
    assert call("schema", "isSecret", part, account)
    assert not call("schema", "isSecret", call("schema", "partOf", account, account, "owner"), account)


def test_secrets_are_dots_in_what_is_copied(decision: Any) -> None:
    value = {"approved": True, "pin": "1234", "notes": ["a"]}
    assert call("schema", "withoutSecrets", value, decision) == {"approved": True, "pin": "••••••", "notes": ["a"]}
    hidden = {"$hidden": "secret"}
    assert call("schema", "withoutSecrets", hidden, decision) == hidden, "bide replay reads it"
    assert call("schema", "isHidden", hidden)
    assert not any(call("schema", "isHidden", each) for each in (None, "a", {"hidden": 1}, [hidden]))
