"""Python values to JSON and back, and the JSON Schema of a type.

Payloads are what msgspec can write: builtins, dataclasses, TypedDict, enums, datetimes, msgspec Structs; and
Pydantic models when the user has them, recognised by their methods, without an import. Never pickle.

Writing is deterministic (sets and dict keys are sorted), because replay compares what an orchestrator asks for
with what history has, byte by byte, in another process.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Protocol, TypeAlias, TypeGuard, TypeVar, cast

import msgspec
from msgspec import Meta, Raw

from bide.errors import MisfitError, PayloadError
from bide.history import NULL

Decode = Callable[[Raw], Any]
T = TypeVar("T")

Secret = Annotated[T, Meta(extra_json_schema={"writeOnly": True, "format": "password"})]
"""A value that screens do not show: `Secret[str]`.

The dashboard and the pages for people show dots in its place. It is no encryption: the value travels and is stored
as any other, and whoever may read the API can read it.
"""

OneTimeCode: TypeAlias = Annotated[
    int | str, Meta(extra_json_schema={"writeOnly": True, "format": "one-time-code"})
]
"""A code that was sent to a person, as the person types it.

Screens do not show it, as with `Secret`. The page that asks for it has one input for digits, which telephones fill
in by themselves. Codes that begin with 0 come as text.
"""


class _PydanticModel(Protocol):
    @classmethod
    def model_validate(cls, obj: object) -> object: ...
    @classmethod
    def model_json_schema(cls) -> dict[str, Any]: ...
    def model_dump(self, *, mode: str) -> object: ...


def _is_model(of: object) -> TypeGuard[_PydanticModel]:
    return hasattr(of, "model_dump") and hasattr(of, "model_validate")


def _write_other(value: object) -> object:
    if _is_model(value):
        return value.model_dump(mode="json")
    raise NotImplementedError(f"a {type(value).__qualname__} cannot be written as JSON")


def _read_other(wanted: type, value: object) -> object:
    if _is_model(wanted):
        try:
            return wanted.model_validate(value)
        except ValueError as error:
            raise ValueError(_without_input(error)) from None
    raise NotImplementedError(f"a {wanted.__qualname__} cannot be read from JSON")


def _without_input(error: ValueError) -> str:
    """What Pydantic found, and where, but not what was there: errors end up in logs and histories."""
    errors: Callable[..., list[dict[str, Any]]] | None = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    found = errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found)


def _schema_of_other(wanted: type) -> dict[str, Any]:
    if not _is_model(wanted):
        return {}
    # References inside it start at its own `$defs`, wherever it is put: that is what `$id` says.
    schema = wanted.model_json_schema()
    return {"$id": f"urn:model:{schema.get('title', '')}", **schema}


_encode = msgspec.json.Encoder(enc_hook=_write_other, order="deterministic").encode

_VALUE = re.compile(r"^(Invalid (?:enum )?value) (?:.*(?= - at `)|.*$)", re.S)
"""The one kind of msgspec's messages that repeats a value."""

_PATH = re.compile(r" - at `(?:key in `)?([^`]*)`+$")

_CANNOT_WRITE = (TypeError, ValueError, OverflowError, NotImplementedError, RecursionError)
_CANNOT_READ = (msgspec.DecodeError, TypeError, ValueError, NotImplementedError, RecursionError)


def encode(value: object) -> Raw:
    """The value as JSON text. `Raw` is taken as it is. Raises `PayloadError`."""
    if value is None:
        return NULL
    if type(value) is Raw:
        return value
    try:
        return Raw(_encode(value))
    except _CANNOT_WRITE as error:
        raise PayloadError(f"A {type(value).__qualname__} cannot be sent as JSON: {error}") from error


@lru_cache(maxsize=4096)
def decoder(wanted: Any) -> Decode:
    """A function that reads JSON text as a value of the type.

    It raises `MisfitError`, with the path, for what does not fit, and `PayloadError` for what is no JSON.
    """
    read = cast("Decode", msgspec.json.Decoder(wanted, dec_hook=_read_other).decode)

    def decode_as(text: Raw) -> Any:
        try:
            return read(text)
        except msgspec.ValidationError as error:
            message = _VALUE.sub(r"\1", str(error))
            path = _PATH.search(message)
            raise MisfitError(message, path[1] if path else "$") from None  # the cause would repeat the value
        except _CANNOT_READ as error:
            raise PayloadError(str(error)) from None

    return decode_as


@lru_cache(maxsize=4096)
def schema(wanted: Any) -> Raw:
    """The JSON Schema of the type, with members in their declared order; `{}` (anything) where it has none."""
    try:
        return Raw(msgspec.json.encode(msgspec.json.schema(wanted, schema_hook=_schema_of_other)))
    except (TypeError, NotImplementedError):
        return Raw(b"{}")
