"""Python values to JSON and back, and the JSON Schema of a type.

Payloads are what msgspec can write: builtins, dataclasses, TypedDict, enums, datetimes, msgspec Structs; and
Pydantic models when the user has them, recognised by their methods, without an import. Never pickle.

Writing is deterministic (sets and dict keys are sorted), because replay compares what an orchestrator asks for
with what history has, byte by byte, in another process.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from inspect import signature
from itertools import accumulate
from typing import Annotated, Any, Protocol, TypeAlias, TypeGuard, TypeVar, cast, get_args

import msgspec
import msgspec.inspect
from msgspec import Meta, Raw, Struct

from bide.errors import MisfitError, PayloadError
from bide.model.arguments import kind_of
from bide.model.history import ANYTHING, NULL
from bide.model.interrupts import from_outside, own_suppressed
from bide.model.sealing import is_sealed

Decode = Callable[[Raw], Any]
T = TypeVar("T")

Secret = Annotated[T, Meta(extra_json_schema={"writeOnly": True, "format": "password"})]
"""A value for the code only: `Secret[str]`.

A payload whose type has a secret anywhere in it is sealed where it is stored, and shown to nobody: neither by the
API, nor by the dashboard, the command line, or the log. The code gets it as any other value.
"""

OneTimeCode: TypeAlias = Annotated[
    int | str, Meta(extra_json_schema={"writeOnly": True, "format": "one-time-code"})
]
"""A code that was sent to a person, as the person types it.

It is sealed and hidden as a `Secret` is. The page that asks for it has one input for digits, which telephones fill
in by themselves. Codes that begin with 0 come as text.
"""


class _PydanticModel(Protocol):
    @classmethod
    def model_validate_json(cls, json_data: bytes, **how: Any) -> object: ...
    @classmethod
    def model_json_schema(cls) -> dict[str, Any]: ...
    def model_dump(self, **how: Any) -> object: ...
    def model_dump_json(self, **how: Any) -> str: ...


def _is_model(of: object) -> TypeGuard[_PydanticModel]:
    return hasattr(of, "model_dump_json") and hasattr(of, "model_validate_json")


def _write_other(value: object) -> object:
    """What is in a `Raw`, where that is not written as it is; a Pydantic model, by its own JSON.

    A model is read back by its own JSON, too: both sides speak its names.
    """
    if isinstance(value, Raw):
        return _read(value)
    if hasattr(value, "__await__"):
        raise NotImplementedError(
            f"a {type(value).__qualname__} has its value once it is awaited. Write await before it"
        )
    if not _is_model(value):
        raise NotImplementedError(f"a {type(value).__qualname__} cannot be written as JSON")
    how = {"by_alias": _reads_what_it_writes(type(value)), "round_trip": True, "warnings": False}
    text = value.model_dump_json(**how).encode()
    written = msgspec.json.decode(text)
    if _SUSPICIOUS.search(text) or _WITH_OFFSET.search(text):
        _refuse_changes(value.model_dump(**how), written, type(value).__qualname__)
    return written


@lru_cache(maxsize=4096)
def _reads_what_it_writes(model: type) -> bool:
    """Whether all aliases that the model writes, it also reads; otherwise it is written by its fields' names."""
    seen: set[object] = set()
    found: list[Any] = [model]
    while found:
        each = found.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        found += get_args(each)
        for field in getattr(each, "model_fields", {}).values() if _is_model(each) else ():
            found.append(field.annotation)
            if field.serialization_alias not in (None, field.validation_alias):
                return False
    return True


@lru_cache(maxsize=4096)
def _names_of(model: Any) -> dict[str, bool]:
    """Fields are read by alias and by name, where Pydantic can (2.11)."""
    both = {"by_alias": True, "by_name": True}
    return both if both.keys() <= signature(model.model_validate_json).parameters.keys() else {}


def _read_other(wanted: type, value: object) -> object:
    if wanted is object:
        return value
    if not _is_model(wanted):
        raise NotImplementedError(f"a {wanted.__qualname__} cannot be read from JSON")
    try:
        return wanted.model_validate_json(msgspec.json.encode(value), **_names_of(cast("type", wanted)))
    except ValueError as error:
        raise ValueError(_without_input(error)) from None


def _without_input(error: ValueError) -> str:
    """What Pydantic found, and where, but not what was there: errors end up in logs and histories."""
    errors: Callable[..., list[dict[str, Any]]] | None = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    found = errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(": ".join(filter(None, [".".join(map(str, each["loc"])), each["msg"]])) for each in found)


# --- values that JSON would change

_WITH_OFFSET = re.compile(rb':\d\d(?:\.\d+)?[+-]\d\d:\d\d"')
"""A time that has an offset from UTC. JSON's offsets have no seconds."""

_SUSPICIOUS = re.compile(rb"null|\*{4}|Infinity|NaN")
"""What Pydantic may have written in place of something else, or would not read back."""

_pack = msgspec.msgpack.Encoder(enc_hook=_write_other).encode
_NO_NUMBER = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")

_UNCHANGED = (str, int, bool)
"""Types of values that are written as they are, or not at all."""


def _refuse_changed(value: object, text: bytes) -> None:
    """Raise `PayloadError` if the text says something else than the value.

    Numbers that are no numbers (nan, inf) are written as null, and offsets lose their seconds. Both show in the
    text, so values are searched only if they can have one.
    """
    if (b"null" in text and _has_no_number(value)) or _WITH_OFFSET.search(text):
        plain = msgspec.to_builtins(
            value, str_keys=True, enc_hook=_write_other, order="deterministic", builtin_types=(datetime, time)
        )
        _refuse_changes(plain, msgspec.json.decode(text), "$")


def _has_no_number(value: object) -> bool:
    """Whether there may be a nan or inf in the value. MessagePack writes all floats as they are."""
    try:
        return _NO_NUMBER.search(_pack(value)) is not None
    except OverflowError:  # an integer for which MessagePack has no place
        return True


def _refuse_changes(value: object, written: object, path: str) -> None:
    """The same, part by part; `written` has the same form."""
    if isinstance(value, Mapping) and isinstance(written, dict):
        parts, others = cast("Mapping[object, object]", value), cast("dict[str, object]", written)
        for (key, part), other in zip(parts.items(), others.values(), strict=True):
            _refuse_changes(part, other, f"{path}.{key}")
    elif isinstance(value, list | tuple | set | frozenset) and isinstance(written, list):
        items, texts = cast("Collection[object]", value), cast("list[object]", written)
        for number, (part, other) in enumerate(zip(items, texts, strict=True)):
            _refuse_changes(part, other, f"{path}[{number}]")
    elif written is None and isinstance(value, float):
        raise PayloadError(f"{path} is {value}, and JSON has no such number. Send None, or a text.")
    elif isinstance(value, Decimal) and isinstance(written, str) and not value.is_finite():
        raise PayloadError(f"{path} is {value}, and Pydantic reads no such number back. Send None, or a text.")
    elif isinstance(value, datetime | time) and _loses_seconds(value, written):
        raise PayloadError(f"{path} has an offset from UTC with seconds, which JSON cannot keep. Send it in UTC.")
    elif isinstance(written, str) and set(written) == {"*"}:
        _refuse_mask(value, path)


def _refuse_mask(value: Any, path: str) -> None:
    if hasattr(value, "get_secret_value"):
        raise PayloadError(
            f"{path} is a {type(value).__qualname__}, which is written as asterisks. Declare it as Secret[str] of "
            "bide, or give the model a serializer that keeps it."
        )


def _loses_seconds(value: datetime | time, written: object) -> bool:
    offset = value.utcoffset()
    if offset is None or not offset % timedelta(minutes=1):
        return False
    return not isinstance(written, str) or _WITH_OFFSET.search(f'{written}"'.encode()) is not None


def _schema_of_other(wanted: type) -> dict[str, Any]:
    if not _is_model(wanted):
        return {}
    # References inside it start at its own `$defs`, wherever it is put: that is what `$id` says.
    schema = wanted.model_json_schema()
    return {"$id": f"urn:model:{schema.get('title', '')}", **schema}


_encode = msgspec.json.Encoder(enc_hook=_write_other, order="deterministic").encode

# A `Raw` is written as it is, whatever stands in it; nobody could read a history with broken JSON in it.
_read = msgspec.json.Decoder().decode
_skip = msgspec.json.Decoder(Raw).decode
"""Reads the syntax only."""

_VALUE = re.compile(r"^(Invalid (?:enum )?value) (?:.*(?= - at `)|.*$)", re.S)
"""The one kind of msgspec's messages that repeats a value."""

_PATH = re.compile(r" - at `(?:key in `)?([^`]*)`+$")

_CANNOT_WRITE = (TypeError, ValueError, OverflowError, NotImplementedError, RecursionError)


class ReadJson(Struct, frozen=True):
    """JSON text that was read at the edge, where it came in: it is not read again before its type is known."""

    text: Raw


def encode(value: object) -> Raw:
    """The value as JSON text. `Raw` is taken as it is, if it is JSON.

    Raises `PayloadError` for what JSON cannot keep, and for whatever the code of the value's type raises.
    """
    if value is None:
        return NULL
    kind = type(value)
    if kind is ReadJson:
        return cast("ReadJson", value).text
    try:
        text = _encode(value)
        if kind is Raw:
            _read(text)
            _check_depth(text)
        elif kind not in _UNCHANGED:
            _skip(text.decode())  # there may be a `Raw` in it
            _refuse_changed(value, text)
            _check_depth(text)
        return Raw(text)
    except BaseException as error:  # user code: it may raise anything
        if from_outside(error):
            raise
        raise PayloadError(f"A {kind.__qualname__} cannot be sent as JSON: {_said(error)}") from error


MAX_DEPTH = 200
"""How many lists and objects within each other a value has at most: so it can be read wherever it is needed."""
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
"""What each bracket adds to the depth, as signed bytes."""
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))


def skeleton_of(text: bytes) -> bytes:
    """JSON without its strings."""
    return b"".join(text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])


def is_deeper(skeleton: bytes, most: int) -> bool:
    """Whether there are more than so many lists and objects within each other."""
    if skeleton.count(b"[") + skeleton.count(b"{") <= most:
        return False
    steps = array("b", skeleton.translate(_STEPS, _NO_BRACKETS))
    return max(accumulate(steps)) > most


def _check_depth(text: bytes) -> None:
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH and is_deeper(skeleton_of(text), MAX_DEPTH):
        raise PayloadError(
            f"A value has up to {MAX_DEPTH} lists and objects within each other; this one has more. Flatten it."
        )


MAX_PAYLOAD = 8 * 1_048_576
"""How many bytes one value has at most, as JSON, unless the settings say otherwise."""


def too_large(text: Raw, most: int, what: str) -> PayloadError:
    """The error for JSON text of more bytes than there may be. It is made for those only: most texts are small."""
    return PayloadError(
        f"{what} has {len(text):,} bytes of JSON; up to {most:,} are possible (the setting max_payload_bytes). "
        "Keep large data in a store of its own, and pass on where it is."
    )


def check_text(text: object, what: str) -> str:
    """The text itself, if it is one that every database can keep. Raises `PayloadError`."""
    if type(text) is str and text.isprintable():
        return text
    text = plain_text(text, what)
    if "\0" in text:
        raise PayloadError(f"{what} cannot have a NUL character in it.")
    if not text.isascii():
        encode(text)
    return text


def plain_text(text: object, what: str) -> str:
    """The text as a `str` and nothing more: what derives from it (as a `StrEnum`) has code of its own.

    Raises `PayloadError` for what is no text.
    """
    if not isinstance(text, str):
        raise PayloadError(f"{what} is a text; this one is a {type(text).__qualname__}.")
    return text if type(text) is str else str.__str__(text)


def _said(error: BaseException) -> str:
    """What the error says, if it is of those whose texts are made for this."""
    if isinstance(error, (*_CANNOT_WRITE, PayloadError)):
        with own_suppressed():
            return str(error)
    return f"the code of its type raised {type(error).__qualname__}"


@lru_cache(maxsize=4096)
def decoder(wanted: Any) -> Decode:
    """A function that reads JSON text as a value of the type.

    It raises `MisfitError`, with the path, for what does not fit, and `PayloadError` for what is no JSON. Raises
    `TypeError` for a type whose values cannot be written and read back.
    """
    _check_type(wanted)
    read = cast("Decode", msgspec.json.Decoder(wanted, dec_hook=_read_other).decode)
    if _is_raw(wanted):
        read = _read_raw

    def decode_as(text: Raw) -> Any:
        try:
            return read(text)
        except msgspec.ValidationError as error:
            message = _VALUE.sub(r"\1", str(error))
            path = _PATH.search(message)
            raise MisfitError(message, path[1] if path else "$") from None  # the cause would repeat the value
        except msgspec.DecodeError as error:
            raise PayloadError(str(error)) from None
        except RecursionError:
            raise PayloadError("It is nested too deep, or the code of its type calls itself without end.") from None
        except BaseException as error:  # user code: it may raise anything
            if from_outside(error):
                raise
            raise MisfitError(f"The code of its type raised {type(error).__qualname__}.", "$") from None

    return decode_as


def read_or_open(read: Callable[[Raw], T], text: Raw, opened: Callable[[Raw], Raw]) -> T:
    """What is read of a text; if it is sealed, of what it is when it is opened.

    No type takes a sealed text, so only one that cannot be read is searched for the mark. Raises `PayloadError`,
    and what `opened` raises.
    """
    try:
        return read(text)
    except PayloadError:
        if not is_sealed(text):
            raise
    return read(opened(text))


def _is_raw(wanted: Any) -> bool:
    """Whether the code takes the JSON text itself."""
    inspected = msgspec.inspect.type_info(wanted)
    while isinstance(inspected, msgspec.inspect.Metadata):
        inspected = inspected.type
    return isinstance(inspected, msgspec.inspect.RawType)


def _read_raw(text: Raw) -> Raw:
    if is_sealed(text):  # every other type fails by itself
        raise MisfitError("It is sealed.", "$")
    return text


# --- types that cannot travel


def _check_type(wanted: Any) -> None:
    """Raise `TypeError`, with a way out, for a type that cannot be both written and read."""
    try:
        found: list[object] = [msgspec.inspect.type_info(wanted)]
    except BaseException as error:  # user code: it may raise anything
        if from_outside(error):
            raise
        raise TypeError(f"{_shown(wanted)} cannot travel as JSON: {_said(error)}. {_WAY_OUT}") from error
    seen: set[int] = set()
    while found:
        each = found.pop()
        if id(each) not in seen:
            seen.add(id(each))
            _check_part(wanted, each)
            found += _parts(each)


_WAY_OUT = (
    "Wrap it in a dataclass (with a field for each alternative of a union), or use msgspec Structs with tag=True."
)


def _check_part(wanted: Any, part: object) -> None:
    match part:
        case msgspec.inspect.CustomType(cls=cls) if cls is not object and not _is_model(cls):
            raise TypeError(
                f"{_shown(wanted)} cannot travel as JSON: nothing is known of how to read a {_shown(cls)}. "
                "Use builtin types (as list[int]), dataclasses, TypedDict, msgspec Structs or Pydantic models."
            )
        case msgspec.inspect.DictType(key_type=key) if not _is_text(key):
            raise TypeError(
                f"{_shown(wanted)} cannot travel as JSON: keys are texts there. Use dict[str, ...] or pairs."
            )
        case _:
            pass


def _is_text(key: msgspec.inspect.Type) -> bool:
    match key:
        case msgspec.inspect.Metadata(type=inner):
            return _is_text(inner)
        case msgspec.inspect.LiteralType(values=values):
            return all(isinstance(value, str) for value in values)
        case msgspec.inspect.EnumType(cls=cls):
            return issubclass(cls, str)
        case _:
            return isinstance(key, msgspec.inspect.StrType | msgspec.inspect.AnyType)


def _parts(node: object) -> list[object]:
    if isinstance(node, tuple):
        return list(cast("tuple[object, ...]", node))
    if isinstance(node, msgspec.inspect.Type | msgspec.inspect.Field):
        return [getattr(node, name) for name in node.__struct_fields__]
    return []


def _shown(wanted: Any) -> str:
    with own_suppressed():
        return wanted.__qualname__ if isinstance(wanted, type) and not get_args(wanted) else str(wanted)
    return f"A {kind_of(wanted)}"


# --- secrets


@lru_cache(maxsize=4096)
def has_secret(wanted: Any) -> bool:
    """Whether the type has a `Secret` in it, at any depth; also if that cannot be known, because a Pydantic model
    refers to a class that is not there yet."""
    found: list[object] = [_inspected(wanted)]
    seen: dict[int, object] = {}  # what is in it lives on, so no other has its id
    while found:
        each = found.pop()
        if id(each) in seen:
            continue
        seen[id(each)] = each
        if isinstance(each, msgspec.inspect.Metadata) and _is_marked(each):
            return True
        if isinstance(each, msgspec.inspect.CustomType) and _is_model(each.cls) and id(each.cls) not in seen:
            model: Any = each.cls
            seen[id(model)] = model
            with own_suppressed():
                model.model_rebuild()
            fields = getattr(model, "model_fields", {}).values()
            if not getattr(model, "__pydantic_complete__", True) or any(map(_is_marked_field, fields)):
                return True
            if b'"writeOnly":true' in bytes(schema(model)):
                return True
            found += [_inspected(field.annotation) for field in fields]
        found += _parts(each)
    return False


def _inspected(wanted: Any) -> object:
    with own_suppressed():
        return msgspec.inspect.type_info(wanted)
    return None  # no value of such a type can travel


def _is_marked(mark: object) -> bool:
    extra: dict[str, Any] | None = getattr(mark, "extra_json_schema", None)
    return extra is not None and extra.get("writeOnly") is True


def _is_marked_field(field: Any) -> bool:
    """Whether the whole field of a Pydantic model is a secret."""
    return any(isinstance(mark, Meta) and _is_marked(mark) for mark in field.metadata)


_SIMPLE = (str, int, float, bool, bytes, type(None))
_Parts: TypeAlias = Callable[[Any], Iterable[object]]


def _by(kind: Any, method: str) -> _Parts:
    found: _Parts = getattr(kind, method)
    return found


_CONTAINERS: dict[type[Any], _Parts] = {
    dict: _by(dict, "values"),
    **{kind: _by(kind, "__iter__") for kind in (list, tuple, set, frozenset)},
}
"""Containers, and what gives their parts, whatever the code of a class says that derives from one of them."""


def holds_secret(value: object) -> bool:
    """Whether a value has one whose class has a `Secret` in it: for values of which no type was declared."""
    if isinstance(value, _SIMPLE):
        return False
    found: list[object] = [value]
    seen: set[int] = set()  # a list may be in itself
    while found:
        each = found.pop()
        if isinstance(each, _SIMPLE) or id(each) in seen:
            continue
        seen.add(id(each))
        if type(each) not in _CONTAINERS and has_secret(cast("type", type(each))):
            return True
        found += _held_by(each)
    return False


def _held_by(value: object) -> Iterable[object]:
    for kind, parts in _CONTAINERS.items():
        if isinstance(value, kind):
            return parts(value)
    return ()


@lru_cache(maxsize=4096)
def schema(wanted: Any) -> Raw:
    """The JSON Schema of the type, with members in their declared order; `{}` (anything) where it has none."""
    with own_suppressed():  # user code: it may raise anything
        return Raw(msgspec.json.encode(msgspec.json.schema(wanted, schema_hook=_schema_of_other)))
    return ANYTHING
