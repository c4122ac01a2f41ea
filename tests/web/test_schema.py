"""What a form makes of a type, and of what was typed."""

from __future__ import annotations

from typing import Any

import pytest

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
