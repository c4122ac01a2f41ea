"""What was typed into a form, as the JSON text of an answer.

This only converts. Whether the data fits its type is judged where every event is judged.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import TypeAlias, cast

import msgspec
from msgspec import Raw

from bide.http.base.body import check_json
from bide.http.respond.forms import Field
from bide.model.history import NULL

Typed: TypeAlias = Mapping[str, str]
"""What stands in the inputs, by their names."""

_INTEGER = re.compile(r"[+-]?\d{1,300}")
_NUMBER = re.compile(r"[+-]?(?:\d{1,300}\.?\d{0,300}|\.\d{1,300})(?:[eE][+-]?\d{1,3})?")
_TWO_NUMBERS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:(?:,\d{3}){2,}|(?:,\d{3})+\.\d+)")
_GROUPED_BY_POINTS = re.compile(r"[+-]?\d{1,3}(?:\.\d{3})+,\d+")
_SHORT_TIME = re.compile(r"(?:\d{4}-\d\d-\d\dT)?\d\d:\d\d(?P<seconds>:\d\d(?:\.\d+)?)?")
_NOTHING = "-"
_FILL_IN = "Please fill this in."


class FormError(ValueError):
    """What was typed cannot be made into JSON. `problems` are messages by the paths of their fields."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{path}: {message}" for path, message in problems.items()))
        self.problems = dict(problems)


def answer(field: Field, typed: Typed, max_json_depth: int) -> Raw:
    """What was typed into the form, as JSON text. Raises `FormError` if it cannot be."""
    problems: dict[str, str] = {}
    text = _read(field, typed, max_json_depth, problems)
    if problems:
        raise FormError(problems)
    return NULL if text is None else text


def shown(field: Field, typed: Typed | None) -> str:
    """What stands in the input of a field: what was typed before, or else its default."""
    return field.initial if typed is None else typed.get(field.path, "")


def _read(field: Field, typed: Typed, max_depth: int, problems: dict[str, str]) -> Raw | None:
    """The field's JSON text, or None to leave it out. What is wrong with it goes into `problems`."""
    if _is_blank(field, typed) and not (field.kind == "group" and field.must):
        if field.must:
            problems[field.path] = _FILL_IN
        return field.empty
    if field.kind == "group":
        read = {_key(part): _read(part, typed, max_depth, problems) for part in field.parts}
        return Raw(msgspec.json.encode({key: value for key, value in read.items() if value is not None}))
    try:
        return _convert(field, typed[field.path], max_depth)
    except ValueError as error:
        problems[field.path] = str(error)
        return None


def _is_blank(field: Field, typed: Typed) -> bool:
    if field.kind == "group":
        return all(_is_blank(part, typed) for part in field.parts)
    return not typed.get(field.path, "").strip()


def _key(part: Field) -> str:
    return part.path.rpartition(".")[2]


def _convert(field: Field, text: str, max_depth: int) -> Raw:
    """Raises `ValueError` that says what to type instead."""
    match field.kind:
        case "integer":
            return Raw(str(_integer(text)).encode())
        case "number":
            return Raw(_number(text).encode())
        case "choice":
            return Raw(_chosen(field, text).encode())
        case "lines":
            return Raw(msgspec.json.encode(list(_lines(field.parts[0], text, max_depth))))
        case "pairs":
            if text.lstrip().startswith("{"):
                return _json(text, max_depth)
            return Raw(msgspec.json.encode(_pairs(field.parts[0], text, max_depth)))
        case "json":
            return _json(text, max_depth)
        case _:
            return Raw(msgspec.json.encode(_typed_text(field, text)))


def told(field: Field, data: Raw) -> list[tuple[str, str]]:
    """What an answer says: the labels of its form, and the values as people read them. Secrets are left out."""
    return list(_told(field, msgspec.json.decode(data), ""))


def _told(field: Field, value: object, above: str) -> Iterator[tuple[str, str]]:
    if field.html.get("type") == "password" or field.html.get("autocomplete") == "one-time-code":
        return
    label = f"{above}{field.label}" if field.path != "$" else "Your answer"
    if field.kind != "group":
        yield label, _read_out(field, value)
    elif isinstance(value, dict):
        members = cast("dict[str, object]", value)
        for part in field.parts:
            if _key(part) in members:
                yield from _told(part, members[_key(part)], "" if field.path == "$" else f"{label}: ")


def _read_out(field: Field, value: object) -> str:
    """A value as people read it."""
    chosen = next((choice.label for choice in field.choices if msgspec.json.decode(choice.value) == value), None)
    match value:
        case _ if chosen is not None:
            return chosen
        case None:
            return _NOTHING
        case str():
            return value
        case list() if field.kind == "lines":
            return "\n".join(_read_out(field.parts[0], each) for each in cast("list[object]", value))
        case dict() if field.kind == "pairs":
            pairs = cast("dict[str, object]", value)
            return "\n".join(f"{name}: {_read_out(field.parts[0], each)}" for name, each in pairs.items())
        case _:
            return msgspec.json.encode(value).decode()


def _integer(text: str) -> int:
    text = unicodedata.normalize("NFKC", text).strip()
    if _INTEGER.fullmatch(text) is None:
        raise ValueError("Please write a whole number, such as 42.")
    return int(text)


def _number(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).strip()
    text = _with_point(text)
    if _INTEGER.fullmatch(text) is not None:
        return str(int(text))
    if _NUMBER.fullmatch(text) is None or not math.isfinite(value := float(text)):
        raise ValueError("Please write a number, such as 1.5.")
    return repr(value)


def _with_point(text: str) -> str:
    """A number as people write it, with a point: '12,5' and '1.234,50' are numbers too.

    Raises `ValueError` for what may mean two numbers.
    """
    if _TWO_NUMBERS.fullmatch(text) is not None:
        whole, part = text.replace(",", ""), text.replace(",", ".")
        raise ValueError(f"{text} may mean two numbers. Please write {whole}, or {part}.")
    if _GROUPED.fullmatch(text) is not None:
        return text.replace(",", "")
    if _GROUPED_BY_POINTS.fullmatch(text) is not None:
        text = text.replace(".", "")
    return text.replace(",", ".") if text.count(",") == 1 else text


def _chosen(field: Field, text: str) -> str:
    if not any(choice.value == text for choice in field.choices):
        raise ValueError("Please choose one of these.")
    return text


def _lines(item: Field, text: str, max_depth: int) -> Iterator[Raw]:
    for number, line in _numbered(text):
        yield _in_line(number, item, line, max_depth)


def _pairs(item: Field, text: str, max_depth: int) -> dict[str, Raw]:
    pairs: dict[str, Raw] = {}
    for number, line in _numbered(text):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not name or not colon:
            raise ValueError(f"Line {number}: Please write a name, a colon, and the value.")
        if name in pairs:
            raise ValueError(f"Line {number}: {name} is there already.")
        pairs[name] = _in_line(number, item, value, max_depth)
    return pairs


def _numbered(text: str) -> list[tuple[int, str]]:
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    return [(number, line) for number, line in lines if line]


def _in_line(number: int, item: Field, text: str, max_depth: int) -> Raw:
    by_label = {choice.label.casefold(): choice.value for choice in item.choices}
    try:
        return _convert(item, by_label.get(text.casefold(), text), max_depth)
    except ValueError as error:
        raise ValueError(f"Line {number}: {error}") from None


def _json(text: str, max_depth: int) -> Raw:
    data = text.strip().encode()
    try:
        check_json(data, max_depth)
    except ValueError as error:
        raise ValueError(f"This cannot be read yet: {_json_fault(error)}. Text goes in double quotes.") from None
    return Raw(data)


def _json_fault(error: ValueError) -> str:
    """What is wrong with JSON, to somebody who has typed it into a form."""
    found = str(error).removeprefix("The body is not acceptable JSON: ").removeprefix("JSON is malformed: ")
    return found.replace("(byte ", "(after character ").rstrip(".")


def _typed_text(field: Field, text: str) -> str:
    if field.widget == "textarea" or field.format == "password":
        return text.replace("\r\n", "\n")
    text = text.strip()
    if field.format == "decimal":
        return _with_point(text)
    if field.format in ("date-time", "time"):
        found = _SHORT_TIME.fullmatch(text)  # what browsers send: no zone, and often no seconds
        return text if found is None else f"{text}{'' if found['seconds'] else ':00'}Z"
    return text
