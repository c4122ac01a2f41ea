"""The OpenAPI document of an app."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import Struct
from pydantic import BaseModel

from bide import App, OrchestrationContext, Settings
from bide.http.api import MANAGEMENT
from bide.http.urls import NEW_PREFIX
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


def test_security_is_declared_where_a_key_is_needed(document: dict[str, Any]) -> None:
    assert document["security"] == []
    with serve(Settings(db=":memory:", require_key=True), example()) as api:
        assert api.get("/openapi.json").status_code == 401
