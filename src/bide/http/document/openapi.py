"""The OpenAPI 3.1 document, made from the operations and the types that they use.

Orchestrators are operations of their own, with the types of their input and result: the document describes this
app, not any app.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, cast

import msgspec
from msgspec import Raw
from msgspec.structs import fields

from bide.config import Settings
from bide.core.registry import OrchestratorDefinition, Registry
from bide.http.base.headers import Header
from bide.http.base.paging import continuation
from bide.http.base.queries import Query
from bide.http.base.shapes import CONTINUATION, Problem
from bide.http.base.urls import NEW_PREFIX
from bide.http.handlers.api import MANAGEMENT, STARTERS
from bide.http.handlers.endpoint import Endpoint, OneOf
from bide.model.history import NULL
from bide.model.instance import MAX_ID, MAX_NAME
from bide.version import __version__

Json: TypeAlias = dict[str, Any]

_REFERENCE = "#/components/schemas/{name}"
_COMMON = (400, 401, 403, 429, 431, 500, 503)
_WITH_BODY = (408, 413, 415)
_DESCRIPTIONS = {
    200: "Done.",
    201: "Made.",
    202: "Accepted, or not ended yet.",
    400: "The request is not acceptable.",
    401: "There is no valid key.",
    403: "The key is not good for this, or a page of another site sends the request.",
    404: "There is no such instance.",
    408: "The body did not arrive in time.",
    409: "The instance's state does not allow it, or its id is taken.",
    410: "The instance has ended.",
    413: "The body is too large.",
    415: "The body is compressed.",
    422: "The data does not fit the declared type, or the idempotency key was used for another request.",
    429: "There is no valid key, and there was none in many requests from this address.",
    431: "The headers are too many or too large.",
    500: "The instance has failed (where that was asked for), or the server has.",
    503: "There is too much to do now. Try again.",
}
_NAMING = r"^(?!\.{{1,2}}$)[^\x00-\x1f\x7f-\x9f{}]+$"
"""What `check_instance_id` and `check_event_name` take, as near as all dialects of patterns can say it."""
_PATH_PARAMETERS: dict[str, Json] = {
    "instanceId": {"type": "string", "minLength": 1},
    "newInstanceId": {"type": "string", "pattern": _NAMING.format(r"/\\#?"), "minLength": 1, "maxLength": MAX_ID},
    "eventName": {
        "type": "string",
        "pattern": _NAMING.format(""),
        "minLength": 1,
        "maxLength": MAX_NAME,
    },
}


def document(registry: Registry, settings: Settings, *, takes_key: bool) -> Json:
    """The document for an app."""
    schemas = _Schemas()
    paths: dict[str, Json] = {}
    for endpoint in (*_starts(registry, schemas), *_managed(schemas)):
        paths.setdefault(endpoint.path, {})[endpoint.method] = endpoint.operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Bide: {settings.task_hub}",
            "version": __version__,
            "description": _ABOUT,
        },
        "paths": paths,
        "components": {"schemas": schemas.found, "securitySchemes": _SECURITY},
        "security": [{name: []} for name in _SECURITY] if takes_key else [],
    }


_ABOUT = (
    "Durable functions, managed over HTTP. Every path below `/runtime/webhooks/durabletask` is also served below "
    "`/admin/extensions/DurableTaskExtension`; the starts also without a prefix and below `/api`. Names of "
    "parameters and the fixed parts of paths compare case-insensitively. `taskHub` and `connection` are accepted "
    "and not looked at."
)
_SECURITY: dict[str, Json] = {
    "code": {"type": "apiKey", "in": "query", "name": "code"},
    "x-functions-key": {"type": "apiKey", "in": "header", "name": "x-functions-key"},
    "bearer": {"type": "http", "scheme": "bearer"},
}


class _Schemas:
    """JSON Schemas of types, with what they refer to under `components`."""

    def __init__(self) -> None:
        self.found: dict[str, Json] = {}

    def of(self, wanted: Any) -> Json:
        if isinstance(wanted, OneOf):  # msgspec takes a union of two structs for one that it cannot read
            return {"anyOf": [self.of(kind) for kind in wanted.kinds]}
        (schema,), components = msgspec.json.schema_components((wanted,), ref_template=_REFERENCE)
        self.found.update(components)
        return schema

    def embed(self, text: Raw, name: str) -> Json:
        """A schema that stands for itself. Its `$defs` are put under `components`, with `name` before their own."""
        return self._hoist(msgspec.json.decode(text), name)

    def _hoist(self, schema: Json, name: str) -> Json:
        definitions: dict[str, Json] = schema.get("$defs", {})
        for key, definition in definitions.items():
            self.found[f"{name}.{key}"] = cast("Json", self._renamed(definition, name))
        plain = {key: value for key, value in schema.items() if key not in ("$defs", "$id")}
        return cast("Json", self._renamed(plain, name))

    def _renamed(self, schema: object, name: str) -> object:
        """The same schema with its references led to `components`. A part with an `$id` has its own `$defs`."""
        if isinstance(schema, list):
            return [self._renamed(each, name) for each in cast("list[object]", schema)]
        if not isinstance(schema, dict):
            return schema
        members = cast("Json", schema)
        if "$id" in members:
            return self._hoist(members, f"{name}.{members.get('title', 'part')}")
        renamed = {key: self._renamed(value, name) for key, value in members.items()}
        reference = members.get("$ref")
        if isinstance(reference, str):
            renamed["$ref"] = reference.replace("#/$defs/", f"#/components/schemas/{name}.")
        return renamed


class _Described:
    """An operation as the document has it."""

    def __init__(self, path: str, endpoint: Endpoint[Any], operation: Json) -> None:
        self.path = path
        self.method = endpoint.method.lower()
        self.operation = operation


def _managed(schemas: _Schemas) -> Iterable[_Described]:
    for endpoint in MANAGEMENT:
        yield _Described(f"{NEW_PREFIX}{endpoint.path}", endpoint, _operation(endpoint, schemas))


def _starts(registry: Registry, schemas: _Schemas) -> Iterable[_Described]:
    """Each orchestrator as operations of its own."""
    for name, definition in sorted(registry.orchestrators.items()):
        for endpoint in STARTERS:
            path = f"{NEW_PREFIX}{endpoint.path}".replace("{functionName}", _in_path(name))
            operation = _operation(endpoint, schemas, f"start {name}")
            if "{newInstanceId}" in path:
                operation["operationId"] += " as"
            _put_types(operation, definition, schemas)
            yield _Described(path, endpoint, operation)


def _in_path(name: str) -> str:
    return re.sub(r"[{}?#%/]", lambda found: f"%{ord(found[0]):02X}", name)


def _put_types(operation: Json, definition: OrchestratorDefinition, schemas: _Schemas) -> None:
    """An orchestrator's own input and result."""
    signature = definition.signature
    schema = schemas.embed(signature.input_schema, f"{definition.name}.input")
    operation["requestBody"] = {
        "required": not signature.accepts(NULL),
        "content": {"application/json": {"schema": schema}},
    }
    result = schemas.embed(signature.result_schema, f"{definition.name}.result")
    failed = {"$ref": _REFERENCE.format(name="StatusObject")}
    content = {"application/json": {"schema": {"anyOf": [result, failed]}}}
    operation["responses"]["200"] = {
        "description": "The result; or the status, if there is none to come.",
        "content": content,
    }


def _operation(endpoint: Endpoint[Any], schemas: _Schemas, operation_id: str = "") -> Json:
    about = " ".join((endpoint.handler.__doc__ or "").split())
    summary, _, more = about.partition(". ")
    scope = "" if "instances/{" in endpoint.path or operation_id else " all"
    operation: Json = {
        "operationId": operation_id or f"{endpoint.verb}{scope}",
        "summary": summary.rstrip("."),
        "parameters": [*_path_parameters(endpoint.path), *_query_parameters(endpoint.query), *_headers(endpoint)],
        "responses": _responses(endpoint, schemas),
    }
    if more:
        operation["description"] = more
    if endpoint.body == "data":
        operation["requestBody"] = {
            "content": {"application/json": {"schema": {}}, "text/plain": {"schema": {"type": "string"}}}
        }
    return operation


def _path_parameters(path: str) -> list[Json]:
    names = re.findall(r"\{(\w+)\}", path)
    return [
        {"name": name, "in": "path", "required": True, "schema": _PATH_PARAMETERS[name]}
        for name in names
        if name in _PATH_PARAMETERS
    ]


def _query_parameters(wanted: type[Query]) -> list[Json]:
    (_, components) = msgspec.json.schema_components((wanted,))
    properties: Mapping[str, Json] = components[wanted.__name__]["properties"]
    return [
        {
            "name": field.encode_name,
            "in": "query",
            "required": field.required,
            "schema": _given(properties[field.encode_name]),
        }
        for field in fields(wanted)
    ]


def _given(schema: Json) -> Json:
    """The schema of a parameter that is given: leaving it out is how it is null."""
    schema = dict(schema)
    if not schema.get("default") and schema.get("default") is not False:
        schema.pop("default", None)
    choices = [choice for choice in schema.pop("anyOf", ()) if choice != {"type": "null"}]
    return {**schema, **choices[0]} if choices else schema


def _headers(endpoint: Endpoint[Any]) -> list[Json]:
    headers = endpoint.headers if endpoint.cursor is None else (*endpoint.headers, continuation(endpoint.cursor))
    return [{"name": header.name, "in": "header", **_header(header)} for header in headers]


def _header(header: Header) -> Json:
    schema: Json = {"type": "string", "maxLength": header.most}
    if header.pattern:
        schema["pattern"] = header.pattern
    return {"description": header.description, "schema": schema}


def _responses(endpoint: Endpoint[Any], schemas: _Schemas) -> Json:
    answers = {status: Problem for status in (*_COMMON, *(_WITH_BODY if endpoint.body else ()))}
    return {
        str(status): _response(endpoint, status, wanted, schemas)
        for status, wanted in sorted({**answers, **endpoint.answers}.items())
    }


def _response(endpoint: Endpoint[Any], status: int, wanted: Any, schemas: _Schemas) -> Json:
    response: Json = {"description": _DESCRIPTIONS[status]}
    if status == 200 and endpoint.events is not None:
        response["content"] = {"text/event-stream": _stream(endpoint.events, schemas)}
    elif wanted is Problem and status not in (400, 500):
        response["content"] = {"application/problem+json": {"schema": schemas.of(Problem)}}
    elif wanted is not None:
        response["content"] = {"application/json": {"schema": schemas.of(wanted)}}
    if endpoint.cursor is not None and status == 200:
        response["headers"] = {CONTINUATION: _header(continuation(endpoint.cursor))}
    return response


def _stream(events: Mapping[str, Any], schemas: _Schemas) -> Json:
    """A stream is a text that does not end. Its parts are described in the words of OpenAPI 3.2, which this is not
    yet: what there is `itemSchema`."""
    return {
        "schema": {"type": "string"},
        "x-itemSchema": {"oneOf": [_event(kind, wanted, schemas) for kind, wanted in events.items()]},
    }


def _event(kind: str, wanted: Any, schemas: _Schemas) -> Json:
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": schemas.of(wanted)}
    return {
        "type": "object",
        "properties": {"event": {"const": kind}, "data": data, "id": {"type": "string"}},
        "required": ["event", "data"],
    }
