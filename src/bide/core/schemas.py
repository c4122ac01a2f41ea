"""Judging data by a JSON Schema, where the type itself is not at hand: without the orchestrator's code (G8).

It reads what msgspec and Pydantic write for types. A keyword that is not known here says nothing: what is refused
does not fit, but not everything that is let through does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sized
from datetime import date, datetime, time, timedelta
from typing import Any, NoReturn, TypeAlias, TypeGuard
from uuid import UUID

import msgspec
from msgspec import Raw
from msgspec.json import decode

from bide.errors import MisfitError
from bide.model.history import ANYTHING, EventAwaited

Schema: TypeAlias = Mapping[str, Any]

_FORMATS = {"date-time": datetime, "date": date, "time": time, "duration": timedelta, "uuid": UUID}
_LIMITS: Mapping[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "minimum": (">=", lambda value, limit: value >= limit),
    "maximum": ("<=", lambda value, limit: value <= limit),
    "exclusiveMinimum": (">", lambda value, limit: value > limit),
    "exclusiveMaximum": ("<", lambda value, limit: value < limit),
}
_SIZES: Mapping[str, tuple[type[Sized], str, Callable[[int, int], bool]]] = {
    "minLength": (str, "at least {} characters", lambda size, limit: size >= limit),
    "maxLength": (str, "at most {} characters", lambda size, limit: size <= limit),
    "minItems": (list, "at least {} items", lambda size, limit: size >= limit),
    "maxItems": (list, "at most {} items", lambda size, limit: size <= limit),
    "minProperties": (dict, "at least {} members", lambda size, limit: size >= limit),
    "maxProperties": (dict, "at most {} members", lambda size, limit: size <= limit),
}


_NO_SCHEMA = (TypeError, ValueError, AttributeError, KeyError, IndexError, RecursionError)


def misfit(wait: EventAwaited, data: Raw) -> MisfitError | None:
    """Why the data is no answer to this wait, by the schema that it was opened with. No value is told."""
    if wait.schema == ANYTHING:
        return None
    schema = decode(wait.schema)
    try:
        _Judge(schema).judge(schema, decode(data), "$")
    except MisfitError as error:
        return MisfitError(f"The data does not fit what '{wait.name}' waits for: {error}", error.path)
    except _NO_SCHEMA:  # a type may give anything out for its schema: what is none says nothing
        return None
    return None


class _Judge:
    """Judges by one schema and what that refers to in itself."""

    def __init__(self, root: Schema) -> None:
        self._root = root

    def judge(self, schema: Any, value: Any, path: str) -> None:
        """Raises `MisfitError`."""
        if schema is False:
            _refuse("Nothing is expected here", path)
        if _is_object(schema):
            self._judge(schema, value, path)

    def _judge(self, schema: Schema, value: Any, path: str) -> None:
        if "$ref" in schema:
            self.judge(self._target(schema["$ref"]), value, path)
        for each in schema.get("allOf", ()):
            self.judge(each, value, path)
        for choice in ("anyOf", "oneOf"):
            if choice in schema:
                self._judge_choice(schema[choice], value, path)
        if "type" in schema:
            _judge_type(schema["type"], value, path)
        _judge_value(schema, value, path)
        if _is_object(value):
            self._judge_object(schema, value, path)
        elif _is_array(value):
            self._judge_array(schema, value, path)

    def _target(self, ref: str) -> Any:
        found: Any = self._root
        for name in ref.split("/")[1:]:
            if not _is_object(found):
                return True
            found = found.get(name.replace("~1", "/").replace("~0", "~"), True)
        return found

    def _judge_choice(self, choices: list[Any], value: Any, path: str) -> None:
        refusals: list[MisfitError] = []
        for each in choices:
            try:
                return self.judge(each, value, path)
            except MisfitError as error:
                refusals.append(error)
        deepest = max(refusals, key=lambda error: len(error.path))
        if deepest.path != path:
            raise deepest
        _refuse("; or ".join(dict.fromkeys(str(error) for error in refusals)), path)

    def _judge_object(self, schema: Schema, value: Schema, path: str) -> None:
        for name in schema.get("required", ()):
            if name not in value:
                _refuse(f"'{name}' is missing", path)
        known = schema.get("properties", {})
        others = schema.get("additionalProperties", True)
        for name, member in value.items():
            self.judge(known.get(name, others), member, f"{path}.{name}" if name in known else f"{path}[...]")

    def _judge_array(self, schema: Schema, value: list[Any], path: str) -> None:
        first = schema.get("prefixItems", ())
        for number, item in enumerate(value):
            expected = first[number] if number < len(first) else schema.get("items", True)
            self.judge(expected, item, f"{path}[{number}]")


def _judge_type(wanted: str | list[str], value: Any, path: str) -> None:
    kinds = [wanted] if isinstance(wanted, str) else wanted
    found = _kind(value)
    if found not in kinds and not (found == "integer" and "number" in kinds):
        _refuse(f"Expected {' or '.join(kinds)}, got {found}", path)


def _judge_value(schema: Schema, value: Any, path: str) -> None:
    if "const" in schema and not _same(value, schema["const"]):
        _refuse("Another value is expected", path)
    if "enum" in schema and not any(_same(value, each) for each in schema["enum"]):
        _refuse("It is none of the values that are expected", path)
    if isinstance(value, int | float) and not isinstance(value, bool):
        for word, (sign, fits) in _LIMITS.items():
            if word in schema and not fits(value, schema[word]):
                _refuse(f"Expected a number {sign} {schema[word]}", path)
    for word, (kind, what, fits_size) in _SIZES.items():
        if word in schema and isinstance(value, kind) and not fits_size(len(value), schema[word]):
            _refuse(f"Expected {what.format(schema[word])}", path)
    if isinstance(value, str):
        _judge_text(schema, value, path)


def _judge_text(schema: Schema, value: str, path: str) -> None:
    if "pattern" in schema and not _matches(schema["pattern"], value):
        _refuse("The text has another form than is expected", path)
    form = schema.get("format")
    if form in _FORMATS:
        try:
            msgspec.convert(value, _FORMATS[form])
        except msgspec.ValidationError:
            _refuse(f"Expected a {form}", path)


def _matches(pattern: str, value: str) -> bool:
    """A pattern that Python does not take says nothing."""
    try:
        return re.search(pattern, value) is not None
    except re.error:
        return True


def _same(value: Any, expected: Any) -> bool:
    return value == expected and _kind(value) == _kind(expected)


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _refuse(why: str, path: str) -> NoReturn:
    raise MisfitError(why, path)


def _is_object(value: object) -> TypeGuard[Schema]:
    return isinstance(value, dict)


def _is_array(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
