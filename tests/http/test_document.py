"""The OpenAPI document of an app."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from math import inf, nan
from typing import Any
from urllib.parse import quote

import pytest
from msgspec import Struct
from pydantic import BaseModel
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException

from bide import App, OrchestrationContext, Settings
from bide.http.base.queries import PurgeQuery, parse, span_of
from bide.http.base.urls import NEW_PREFIX
from bide.http.handlers.api import MANAGEMENT, STARTERS
from bide.http.handlers.endpoint import Endpoint
from tests.http.conftest import Api, example, serve


class Address(BaseModel):
    street: str


class Person(BaseModel):
    name: str
    homes: list[Address]


class Item(Struct):
    name: str


class Order(Struct):
    items: list[Item]
    to: Person


@pytest.fixture
def document(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = api.get("/openapi.json").json()
    return found


def references(part: Any) -> Iterator[str]:
    """All references in a document."""
    if isinstance(part, list):
        for each in part:
            yield from references(each)
    elif isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for each in part.values():
            yield from references(each)


def test_every_operation_is_there(document: dict[str, Any]) -> None:
    for endpoint in MANAGEMENT:
        assert endpoint.method.lower() in document["paths"][f"{NEW_PREFIX}{endpoint.path}"]
    assert document["openapi"] == "3.1.0"


def test_ids_of_operations_differ(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


def test_orchestrators_have_their_own_types(document: dict[str, Any]) -> None:
    start = document["paths"][f"{NEW_PREFIX}/orchestrators/Strict"]["post"]
    assert start["requestBody"] == {
        "required": True,
        "content": {"application/json": {"schema": {"type": "integer"}}},
    }
    choices = start["responses"]["200"]["content"]["application/json"]["schema"]["anyOf"]
    assert choices[0] == {"type": "integer"}
    assert document["paths"][f"{NEW_PREFIX}/orchestrators/Echo"]["post"]["requestBody"]["required"] is False


def test_every_reference_leads_somewhere() -> None:
    app = App()

    @app.orchestrator(name="a/odd {name}")
    async def odd(ctx: OrchestrationContext, order: Order) -> Person: ...

    @app.orchestrator
    async def two(ctx: OrchestrationContext, order: Order, urgent: bool = False) -> list[Item]: ...

    with serve(Settings(db=":memory:"), app) as api:
        document = api.get("/openapi.json").json()
        assert f"{NEW_PREFIX}/orchestrators/a%2Fodd %7Bname%7D" in document["paths"]
        names = document["components"]["schemas"]
        found = set(references(document))
        assert any("Order" in reference for reference in found)
        assert any("Person.Address" in reference for reference in found)
        assert "$id" not in json.dumps(document)
        for reference in found:
            assert reference.removeprefix("#/components/schemas/") in names, reference
        assert "Address" in json.dumps(names)


# --- what is described is what is done

SPANS = ["", "x", "0", "5", "5s", "5s\n", "1.5h", "1.1234567h", "9999999999", "999999999d", "-1s", "1 s", "1w"]
EVERY = ["99ms", "99.9ms", "100ms", "60000ms", "60001ms", "0.05", "0.1", "0.1s", "60", "60.1", "61s", "1m", "2m"]
NUMBERS = ["-1", "-0.1", "0", "0.5", "1", "1000", "1001", "1000000000", "1000000001", "1e10", "nan", "inf"]
TAGS = [
    "a",
    "a:",
    ":b",
    "a:b",
    "a b:c",
    "a:b\n",
    "a:b\0",
    f"{'a' * 50}:b",
    f"{'a' * 51}:b",
    f"a:{'b' * 200}",
    f"a:{'b' * 201}",
]
CANDIDATES = [*SPANS, *EVERY, *NUMBERS, *TAGS, "true", "2026-11-23", "Running", "never", "n" * 1000, "n" * 1001]


def parameters(document: dict[str, Any], place: str) -> Iterator[tuple[Endpoint[Any], dict[str, Any]]]:
    """Each parameter of each operation, in that part of a request."""
    operations = {
        (endpoint.method.lower(), f"{NEW_PREFIX}{endpoint.path}".replace("{functionName}", "Echo")): endpoint
        for endpoint in (*MANAGEMENT, *STARTERS)
    }
    for (method, path), endpoint in operations.items():
        for each in document["paths"][path][method]["parameters"]:
            if each["in"] == place:
                yield endpoint, each


def fits(schema: dict[str, Any], text: str) -> bool:
    """Whether a schema allows what a text in a request says, as far as this API's schemas say anything."""
    if schema["type"] in ("number", "integer"):
        number = float(text) if re.fullmatch(r"-?[0-9.]+(e[0-9]+)?", text) else nan
        whole = schema["type"] == "number" or number.is_integer()
        return whole and schema.get("minimum", -inf) <= number <= schema.get("maximum", inf)
    if schema["type"] == "boolean":
        return text in ("true", "false")
    long_enough = schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", inf)
    return long_enough and re.search(schema.get("pattern", ""), text) is not None


def refusal(endpoint: Endpoint[Any], given: list[tuple[str, str]]) -> str:
    """What a caller with that query is told; an empty text if nothing is wrong with it."""
    required = [("createdTimeFrom", "2026-01-01T00:00:00Z")] if endpoint.query is PurgeQuery else []
    try:
        parse(endpoint.query, QueryParams([*required, *given]))
    except HTTPException as error:
        return error.detail
    return ""


@pytest.mark.parametrize("every", EVERY)
def test_a_calm_stream_is_asked_for_from_a_tenth_of_a_second_to_a_minute(every: str) -> None:
    endpoint = next(each for each in MANAGEMENT if each.path == "/events")
    right = timedelta(milliseconds=100) <= span_of(every) <= timedelta(minutes=1)
    assert (not refusal(endpoint, [("every", every)])) is right


def test_what_the_document_says_of_a_query_is_what_is_checked(document: dict[str, Any]) -> None:
    names = set[str]()
    for endpoint, parameter in parameters(document, "query"):
        name, schema = parameter["name"], parameter["schema"]
        names.add(name)
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        if schema.get("format") or "enum" in schema or "enum" in schema.get("items", {}):
            continue  # times and names of states may be written in more ways than one
        for text in CANDIDATES:
            told = refusal(endpoint, [(name, text)])
            assert (not told) is fits(schema.get("items", schema), text), (endpoint.path, name, text, told)
            assert not told or name in told
        if schema["type"] == "array":
            most = [(name, f"a{number}:b") for number in range(schema["maxItems"])]
            assert not refusal(endpoint, most)
            assert name in refusal(endpoint, [*most, (name, "a:b")])
    assert names > {"wait", "every", "timeout", "pollingInterval", "top", "reason", "tag", "validFor", "since"}


def address(endpoint: Endpoint[Any], **parts: str) -> str:
    """A path of the operation, with these parts; an instance that there is none of, where it is not among them."""
    given = {"functionName": "Echo", "instanceId": "none", "newInstanceId": "new", "eventName": "Answer", **parts}
    return f"{NEW_PREFIX}{endpoint.path}".format_map({name: quote(part, safe="") for name, part in given.items()})


def test_what_the_document_says_of_headers_is_what_is_checked(api: Api, document: dict[str, Any]) -> None:
    for endpoint, parameter in parameters(document, "header"):
        if endpoint.path == "/events":
            continue  # takes whatever is not too long, and does not end
        schema = parameter["schema"]
        longest = "n" * schema["maxLength"]
        for text in ("x", "1,a", "1,a,2", "1,a,2,3", "1", "0.0.AAAAAAAA", "0.0.AAAAAAAA/x", longest, f"{longest}n"):
            headers = {parameter["name"]: text}
            answer = api.http.request(endpoint.method, address(endpoint), headers=headers)
            assert (answer.status_code == 400) is not fits(schema, text), (endpoint.path, text, answer.text)


@pytest.mark.parametrize(("name", "longest"), [("newInstanceId", 100), ("eventName", 200)])
def test_what_the_document_says_of_paths_is_what_is_checked(
    api: Api, document: dict[str, Any], name: str, longest: int
) -> None:
    found = [(endpoint, each["schema"]) for endpoint, each in parameters(document, "path") if each["name"] == name]
    assert {schema["maxLength"] for _, schema in found} == {longest}
    for endpoint, schema in found:
        for text in (
            "+12025550123",
            "a b",
            "M\u00fcller",
            ".a",
            "a\x7f",
            "a?",
            "a#",
            "n" * longest,
            "n" * (longest + 1),
        ):
            answer = api.http.request(endpoint.method, address(endpoint, **{name: text}))
            assert (answer.status_code == 400) is not fits(schema, text), (endpoint.path, text, answer.text)


def test_a_failed_instance_and_a_failed_server_are_described(document: dict[str, Any]) -> None:
    described = 0
    for path, methods in document["paths"].items():
        for operation in methods.values():
            asked = [each for each in operation["parameters"] if each["name"].startswith("returnInternalServer")]
            content = operation["responses"]["500"]["content"]["application/json"]["schema"]
            kinds = [each["$ref"].rpartition("/")[2] for each in content.get("anyOf", [content])]
            assert kinds == (["StatusObject", "Problem"] if asked else ["Problem"]), path
            described += bool(asked)
    assert described >= 3


def test_events_of_streams_are_described(document: dict[str, Any]) -> None:
    found = {}
    for path in ("/events", "/instances/{instanceId}/events"):
        stream = document["paths"][f"{NEW_PREFIX}{path}"]["get"]["responses"]["200"]["content"]["text/event-stream"]
        assert stream["schema"] == {"type": "string"}
        for event in stream["x-itemSchema"]["oneOf"]:
            found[event["properties"]["event"]["const"]] = event["properties"]["data"]["contentSchema"]
    reference = "#/components/schemas/{}".format
    assert found == {
        "instance": {"$ref": reference("StatusObject")},
        "reset": {"type": "null"},
        "changed": {"$ref": reference("ChangesObject")},
        "step": {"$ref": reference("StepObject")},
        "end": {"$ref": reference("StatusObject")},
        "unauthorized": {"$ref": reference("Problem")},
    }


def test_security_is_declared_where_a_key_is_needed(document: dict[str, Any]) -> None:
    assert document["security"] == []
    with serve(Settings(db=":memory:", require_key=True), example()) as api:
        assert api.get("/openapi.json").status_code == 401
