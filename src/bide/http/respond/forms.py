"""A form for an answer, made from the JSON Schema of its type.

Read here is what msgspec and Pydantic write: `$ref`, `anyOf`, `enum`, types, formats and limits. Every part of the
answer is a `Field`; what no input suits is a field for JSON text. Whether an answer fits is judged where every
event is judged; `Field.at` finds the field that the judge's path means.

Left empty, a field is null if it may be, else it is left out if it has a default, else it must be filled in. A
field that shows its default is not left out when somebody empties it: what was seen is what is sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, cast

from msgspec import Raw, Struct
from msgspec.structs import replace

from bide.model.history import NULL

Schema: TypeAlias = dict[str, Any]

Kind: TypeAlias = Literal["text", "integer", "number", "choice", "lines", "group", "pairs", "json"]
Widget: TypeAlias = Literal["input", "textarea", "buttons", "radio", "select", "group"]

_VALUES = "additionalProperties"
_MANY = 6
"""More choices than these are a list to unfold."""
_DEPTH = 4
_LONG = 200
_NAME = re.compile(r"[\w-]+")
"""Properties whose names make a path that is not ambiguous."""
_DIGITS = re.compile(r"\^(?:\\d|\[0-9\])\{(\d+)(?:,(\d+))?\}\$")
_INPUT_TYPES = {
    "date": "date",
    "date-time": "datetime-local",
    "time": "time",
    "email": "email",
    "uri": "url",
    "password": "password",
}
_HINTS = {
    "date-time": "In UTC.",
    "time": "In UTC.",
    "duration": "As an ISO 8601 duration, such as PT90M or P3D.",
    "uuid": "A UUID.",
}
_JSON_HINT = 'JSON: text goes in double quotes, such as "yes"; lists in [ ], objects in { }.'
_NOT_SHOWN = ("title", "description", "default", "$id")


class Choice(Struct, frozen=True):
    """One of the values to choose from, as JSON text."""

    value: str
    label: str


class Field(Struct, frozen=True, kw_only=True):
    """A part of the answer, and how it is asked for. `path` is its place there, and the name of its input."""

    path: str
    kind: Kind
    widget: Widget
    label: str
    help: str = ""
    hint: str = ""
    """The limits, in words."""
    empty: Raw | None = None
    """What it is if nothing is filled in; None: left out."""
    must: bool = False
    """Whether it must be filled in. In a part that may be left out as a whole, only if any of it is."""
    required: bool = False
    """Whether a browser may insist on that."""
    initial: str = ""
    html: dict[str, str] = {}
    """Attributes of the input."""
    format: str = ""
    choices: tuple[Choice, ...] = ()
    parts: tuple[Field, ...] = ()
    """Of a group: its fields. Of lines and pairs: what each value is."""
    example: str = ""
    """Of JSON: the schema."""

    def at(self, path: str) -> Field:
        """The innermost field that the path of a fault lies in."""
        if self.kind == "group":
            for part in self.parts:
                if path == part.path or path.startswith((f"{part.path}.", f"{part.path}[")):
                    return part.at(path)
        return self


class _Shape(Struct, frozen=True):
    """A schema without its wrappings: references followed, null set apart."""

    schema: Schema
    definitions: Schema
    inside: tuple[str, ...]
    """The references on the way here: one that comes again has no end."""
    nullable: bool = False
    name: str = ""
    """The type's own name."""


# --- from a schema to a form


def form(schema: object) -> Field:
    """The form for an answer of this schema, which may be anything: what is not understood is asked for as JSON.

    Its label is the schema's title, or its type's name in words, or empty.
    """
    shape = _shape(schema, {}, ())
    label = _text(shape.schema.get("title")) or in_words(shape.name)
    return _field(shape, "$", label, optional=False, soft=False)


def _shape(schema: object, definitions: Schema, inside: tuple[str, ...]) -> _Shape:
    found: Schema = cast("Schema", schema) if isinstance(schema, dict) else {}
    definitions = {**definitions, **found.get("$defs", {})}
    if "$ref" in found:
        return _referred(found, definitions, inside)
    if isinstance(found.get("anyOf"), list):
        return _united(found, definitions, inside)
    values = found.get("enum")
    if isinstance(values, list) and None in values and len(cast("list[object]", values)) > 1:
        rest = [value for value in cast("list[object]", values) if value is not None]
        return _Shape({**found, "enum": rest}, definitions, inside, nullable=True)
    return _Shape(found, definitions, inside)


def _referred(schema: Schema, definitions: Schema, inside: tuple[str, ...]) -> _Shape:
    """The schema that is referred to, under what stands beside the reference."""
    name = str(schema["$ref"]).removeprefix("#/$defs/")
    if name in inside or name not in definitions:
        return _Shape({}, definitions, inside)
    shape = _shape(definitions[name], definitions, (*inside, name))
    beside = {key: value for key, value in schema.items() if key not in ("$ref", "$defs")}
    inherited = {key: value for key, value in shape.schema.items() if key != "title"}
    return replace(shape, schema={**inherited, **beside}, name=_text(shape.schema.get("title")))


def _united(schema: Schema, definitions: Schema, inside: tuple[str, ...]) -> _Shape:
    """One of several types. What one input can take is one type; null stands apart; the rest is JSON."""
    beside = {key: value for key, value in schema.items() if key not in ("anyOf", "$defs")}
    some = [each for each in schema["anyOf"] if each != {"type": "null"}]
    nullable = len(some) < len(schema["anyOf"])
    shapes = [_shape(each, definitions, inside) for each in some]
    if len(shapes) == 1:
        (shape,) = shapes
        return replace(shape, schema={**shape.schema, **beside}, nullable=nullable or shape.nullable)
    return _Shape({**_common([shape.schema for shape in shapes]), **beside}, definitions, inside, nullable)


def _common(schemas: list[Schema]) -> Schema:
    """Numbers and plain text are typed into one input, and are text: whoever takes both can tell them apart."""
    plain = [each for each in schemas if "enum" not in each and "const" not in each]
    types = [str(each.get("type")) for each in plain]
    if not plain or len(plain) < len(schemas) or not set(types) <= {"string", "integer", "number"}:
        return {}
    if "string" not in types:
        return {"type": "number"}
    text = plain[types.index("string")]
    if "format" in text or "contentEncoding" in text or types.count("string") > 1:
        return {}
    return {**text, "digits": "number" not in types}


def _field(shape: _Shape, path: str, label: str, *, optional: bool, soft: bool) -> Field:
    """`optional`: it has a default. `soft`: it is in a part that may be left out as a whole."""
    kind = _kind(shape, path)
    schema = shape.schema
    initial = "" if soft else _initial(kind, schema)
    must = not shape.nullable and (not optional or initial != "") and kind not in ("lines", "pairs", "group")
    field = Field(
        path=path,
        kind=kind,
        widget="input",
        label=label,
        help=_text(schema.get("description")),
        empty=NULL if shape.nullable else None,
        must=must,
        required=must and not soft,
        initial=initial,
    )
    return _COMPLETE[kind](field, shape, optional, soft)


def _kind(shape: _Shape, path: str) -> Kind:
    schema = shape.schema
    if isinstance(schema.get("enum"), list) or "const" in schema or schema.get("type") in ("boolean", "null"):
        return "choice"
    match schema.get("type"):
        case "string":
            return "text"
        case "integer":
            return "integer"
        case "number":
            return "number"
        case "object" if _is_group(schema) and path.count(".") < _DEPTH:
            return "group"
        case "object" if _is_pairs(shape):
            return "pairs"
        case "array" if _is_lines(shape):
            return "lines"
        case _:
            return "json"


def _is_group(schema: Schema) -> bool:
    properties: Schema = schema.get("properties", {})
    return bool(properties) and all(map(_NAME.fullmatch, properties))


def _is_lines(shape: _Shape) -> bool:
    if "prefixItems" in shape.schema or not isinstance(shape.schema.get("items"), dict):
        return False
    return _fits_on_a_line(_item(shape, "items"))


def _is_pairs(shape: _Shape) -> bool:
    """Names and values, of which no name is known beforehand."""
    schema = shape.schema
    if schema.get("properties") or "propertyNames" in schema:
        return False
    return isinstance(schema.get(_VALUES), dict) and _fits_on_a_line(_item(shape, _VALUES))


def _fits_on_a_line(item: _Shape) -> bool:
    return not item.nullable and _kind(item, "$") in ("text", "integer", "number", "choice")


def _item(shape: _Shape, key: str) -> _Shape:
    return _shape(shape.schema[key], shape.definitions, shape.inside)


def _initial(kind: Kind, schema: Schema) -> str:
    """What stands in an input at first: the default."""
    default = schema.get("default")
    if default is None:
        return ""
    if kind == "lines" and isinstance(default, list):
        return "\n".join(_as_typed(each) for each in cast("list[object]", default))
    if kind == "pairs" and isinstance(default, dict):
        return "\n".join(f"{name}: {_as_typed(each)}" for name, each in cast("Schema", default).items())
    if kind == "text" and schema.get("format") in ("date-time", "time"):
        return _as_typed(default).removesuffix("Z")
    return "" if kind == "group" else _as_typed(default) if kind == "text" else _json_text(default)


# --- completing a field of each kind


def _complete_text(field: Field, shape: _Shape, optional: bool, soft: bool) -> Field:
    schema = shape.schema
    kind = str(schema.get("format", ""))
    digits = _digits(schema)
    html = {"type": _INPUT_TYPES.get(kind, "text"), "autocomplete": "off"}
    if kind in ("date-time", "time"):
        html["step"] = "any"
    if kind == "one-time-code":
        html |= {"inputmode": "numeric", "autocomplete": "one-time-code", "class": "code"}
    if kind == "decimal":
        html["inputmode"] = "decimal"
    if digits or schema.get("digits"):
        html["inputmode"] = "numeric"
        if field.path == "$" or "code" in field.label.lower():
            html["autocomplete"] = "one-time-code"
    html |= {
        name: str(schema[key])
        for name, key in (("minlength", "minLength"), ("maxlength", "maxLength"))
        if key in schema
    }
    if isinstance(schema.get("pattern"), str):
        html["pattern"] = f".*(?:{schema['pattern']}).*"  # browsers match the whole, schemas any part
    long = schema.get("maxLength", 0) > _LONG and kind == "" and "pattern" not in schema
    empties = optional and not shape.nullable and kind == "" and field.initial != ""
    return replace(
        field,
        widget="textarea" if long else "input",
        format=kind,
        html=html,
        hint=digits or _length(schema) or _HINTS.get(kind, "") or _encoding(schema),
        empty=Raw(b'""') if empties else field.empty,
        must=field.must and not empties,
        required=field.required and not empties,
    )


def _complete_number(field: Field, shape: _Shape, optional: bool, soft: bool) -> Field:
    schema = shape.schema
    html = {"type": "text", "autocomplete": "off"}
    if schema.get("format") == "password":
        return replace(field, html=html | {"type": "password"}, hint=_bounds(schema))
    if not any(
        schema.get(key, 0) < 0 for key in ("minimum", "exclusiveMinimum")
    ):  # few such keyboards have a minus
        html["inputmode"] = "numeric" if field.kind == "integer" else "decimal"
    if field.kind == "integer" and field.path == "$" and not {"minimum", "maximum"} & schema.keys():
        html["autocomplete"] = "one-time-code"
    return replace(field, html=html, hint=_bounds(schema))


def _complete_choice(field: Field, shape: _Shape, optional: bool, soft: bool) -> Field:
    choices = _choices(shape.schema)
    few = len(choices) <= _MANY
    if field.path == "$" and few:
        if shape.nullable:
            choices = (*choices, Choice("null", "No answer"))
        return replace(field, widget="buttons", choices=choices)
    return replace(field, widget="radio" if few and field.required else "select", choices=choices)


def _choices(schema: Schema) -> tuple[Choice, ...]:
    if "const" in schema:
        values: list[object] = [schema["const"]]
    elif isinstance(schema.get("enum"), list):
        values = schema["enum"]
    else:
        values = [True, False] if schema["type"] == "boolean" else [None]
    return tuple(Choice(_json_text(value), _as_read(value)) for value in values)


def _complete_lines(field: Field, shape: _Shape, optional: bool, soft: bool) -> Field:
    return _several(
        field, _item(shape, "items"), "One per line.", None if optional and not field.initial else b"[]"
    )


def _complete_pairs(field: Field, shape: _Shape, optional: bool, soft: bool) -> Field:
    hint = "One per line: a name, a colon, and the value."
    return _several(field, _item(shape, _VALUES), hint, None if optional and not field.initial else b"{}")


def _several(field: Field, shape: _Shape, hint: str, empty: bytes | None) -> Field:
    """Values of which each has a line of its own. `empty`: what no line at all means; None: left out."""
    item = _field(shape, f"{field.path}[]", "", optional=False, soft=True)
    choices = f"Each is one of: {', '.join(choice.label for choice in item.choices)}." if item.choices else ""
    hint = " ".join(filter(None, (hint, choices, item.hint)))
    nothing = field.empty or (None if empty is None else Raw(empty))
    return replace(field, widget="textarea", parts=(item,), hint=hint, empty=nothing)


def _complete_group(field: Field, shape: _Shape, optional: bool, soft: bool) -> Field:
    needed = shape.schema.get("required", [])
    soft = soft or optional or shape.nullable
    parts: list[Field] = []
    for name, schema in shape.schema["properties"].items():
        part = _shape(schema, shape.definitions, shape.inside)
        label = _text(part.schema.get("title")) or in_words(name)
        parts.append(_field(part, f"{field.path}.{name}", label, optional=name not in needed, soft=soft))
    must = not optional and not shape.nullable
    hint = "" if must else "All of this may be left empty."
    return replace(field, widget="group", parts=tuple(parts), hint=hint, must=must)


def _complete_json(field: Field, shape: _Shape, optional: bool, soft: bool) -> Field:
    example = _json_text({key: value for key, value in shape.schema.items() if key not in _NOT_SHOWN}, indent=2)
    if '"$ref"' in example:
        example += "\n" + _json_text({"$defs": shape.definitions}, indent=2)
    return replace(field, widget="textarea", hint=_JSON_HINT, example="" if example == "{}" else example)


_COMPLETE: dict[Kind, Callable[[Field, _Shape, bool, bool], Field]] = {
    "text": _complete_text,
    "integer": _complete_number,
    "number": _complete_number,
    "choice": _complete_choice,
    "lines": _complete_lines,
    "pairs": _complete_pairs,
    "group": _complete_group,
    "json": _complete_json,
}


# --- in words


def _text(value: object) -> str:
    """A description without the indentation of a docstring."""
    return "\n".join(line.strip() for line in value.strip().splitlines()) if isinstance(value, str) else ""


def _as_read(value: object) -> str:
    """A value as people read it."""
    if isinstance(value, str):
        return value or "(empty)"
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return "Confirm" if value is None else _json_text(value)


def _as_typed(value: object) -> str:
    """A value as people type it."""
    return value if isinstance(value, str) else _json_text(value)


def _json_text(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def in_words(name: str) -> str:
    """`dueDate`, `due_date` and `DueDate` as 'Due date'."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ").replace("-", " ").split()
    lower = [word if word.isupper() and len(word) > 1 else word.lower() for word in words]
    text = " ".join(lower)
    return text[:1].upper() + text[1:]


def _digits(schema: Schema) -> str:
    """'6 digits' for a pattern that says so."""
    found = _DIGITS.fullmatch(str(schema.get("pattern", "")))
    if found is None:
        return ""
    least, most = found[1], found[2] or found[1]
    return f"{least} digits." if least == most else f"{least} to {most} digits."


def _length(schema: Schema) -> str:
    if "pattern" in schema:
        return ""
    least: int = schema.get("minLength", 0)
    if "maxLength" not in schema:
        return f"At least {least} characters." if least else ""
    most: int = schema["maxLength"]
    if least == most:
        return f"{least} characters."
    return f"{least} to {most} characters." if least else f"Up to {most} characters."


def _encoding(schema: Schema) -> str:
    return "As base64." if schema.get("contentEncoding") == "base64" else ""


def _bounds(schema: Schema) -> str:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "more than",
        "maximum": "at most",
        "exclusiveMaximum": "less than",
        "multipleOf": "a multiple of",
    }
    text = ", ".join(f"{word} {schema[key]}" for key, word in words.items() if key in schema)
    return f"{text[:1].upper()}{text[1:]}." if text else ""
