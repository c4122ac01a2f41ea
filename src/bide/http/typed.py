"""What was typed into a form, as the JSON text of an answer.

This only converts. Whether the data fits its type is judged where every event is judged.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import msgspec
from msgspec import Raw

from bide.history import NULL
from bide.http.body import check_json
from bide.http.forms import Field

Typed: TypeAlias = Mapping[str, str]
"""What stands in the inputs, by their names."""

_INTEGER = re.compile(r"[+-]?\d{1,300}")
_NUMBER = re.compile(r"[+-]?(?:\d{1,300}\.?\d{0,300}|\.\d{1,300})(?:[eE][+-]?\d{1,3})?")
_SHORT_TIME = re.compile(r"(?:\d{4}-\d\d-\d\dT)?\d\d:\d\d(?P<seconds>:\d\d(?:\.\d+)?)?")
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
        case "json":
            return _json(text, max_depth)
        case _:
            return Raw(msgspec.json.encode(_typed_text(field, text)))


def _integer(text: str) -> int:
    text = unicodedata.normalize("NFKC", text).strip()
    if _INTEGER.fullmatch(text) is None:
        raise ValueError("Please write a whole number, such as 42.")
    return int(text)


def _number(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).strip()
    if _INTEGER.fullmatch(text) is not None:
        return str(int(text))
    if _NUMBER.fullmatch(text) is None or not math.isfinite(value := float(text)):
        raise ValueError("Please write a number with a point, such as 1.5.")
    return repr(value)


def _chosen(field: Field, text: str) -> str:
    if not any(choice.value == text for choice in field.choices):
        raise ValueError("Please choose one of these.")
    return text


def _lines(item: Field, text: str, max_depth: int) -> Iterator[Raw]:
    for number, line in enumerate((line.strip() for line in text.splitlines()), 1):
        if not line:
            continue
        by_label = {choice.label.casefold(): choice.value for choice in item.choices}
        try:
            yield _convert(item, by_label.get(line.casefold(), line), max_depth)
        except ValueError as error:
            raise ValueError(f"Line {number}: {error}") from None


def _json(text: str, max_depth: int) -> Raw:
    data = text.strip().encode()
    try:
        check_json(data, max_depth)
    except ValueError as error:
        raise ValueError(f"{error} Text goes in double quotes.") from None
    return Raw(data)


def _typed_text(field: Field, text: str) -> str:
    if field.widget == "textarea" or field.format == "password":
        return text.replace("\r\n", "\n")
    text = text.strip()
    if field.format in ("date-time", "time"):
        found = _SHORT_TIME.fullmatch(text)  # what browsers send: no zone, and often no seconds
        return text if found is None else f"{text}{'' if found['seconds'] else ':00'}Z"
    return text
