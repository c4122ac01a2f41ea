"""Writes docs/api.md: every public name with its signature and docstring.

    python scripts/api_docs.py

A test compares the page with what this makes, so the reference cannot go stale.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_overloads

import bide

PAGE = Path(__file__).parent.parent / "docs" / "api.md"

_INTRODUCTION = """# Python API

Everything in `bide.__all__`, in alphabetical order. Classes are shown as they are
made; those that you only get, as `Client` and `Task`, Bide makes.

This page is made from the code by `scripts/api_docs.py`.
"""


def page() -> str:
    entries = [_entry(name, getattr(bide, name)) for name in sorted(bide.__all__)]
    return "\n".join([_INTRODUCTION, *entries])


def _entry(name: str, value: Any) -> str:
    lines = [f"### `{name}`", ""]
    if inspect.isclass(value) or inspect.isfunction(value):
        lines += [*_declared(name, value), _doc(value), ""]
        for member, function in _members(value):
            lines += [f"* `{member}`" + (f": {_first_paragraph(function)}" if function.__doc__ else "")]
        if lines[-1]:
            lines.append("")
    else:
        lines += [f"`{_plain(value)}`", ""]
    return "\n".join(lines)


# --- signatures


def _declared(name: str, value: Any) -> list[str]:
    """The signature as a block of code. Errors that Bide raises are not made by users."""
    if inspect.isclass(value) and (issubclass(value, BaseException) or not _has_parameters(value)):
        return []
    return ["```py", *(_wrapped(each) for each in _signatures(name, value)), "```", ""]


def _has_parameters(value: type) -> bool:
    if getattr(value, "_is_protocol", False) or issubclass(value, str):
        return False
    try:
        return bool(inspect.signature(value).parameters)
    except ValueError:
        return False


def _signatures(name: str, function: Any) -> list[str]:
    """One, or one for each overload."""
    variants = get_overloads(function) if inspect.isfunction(function) else []
    return [_signature(name, each) for each in variants or [function]]


def _signature(name: str, function: Any) -> str:
    """As it is written: annotations as text, defaults as code."""
    found = inspect.signature(function)
    fields = _annotations(function) if inspect.isclass(function) else {}
    shown = [
        parameter.replace(
            annotation=_Text(fields.get(parameter.name, parameter.annotation)),
            default=_Text(parameter.default, is_value=True),
        )
        for parameter in found.parameters.values()
        if parameter.name != "self"
    ]
    returned = inspect.Signature.empty if inspect.isclass(function) else _Text(found.return_annotation)
    doing = "async " if inspect.iscoroutinefunction(function) else ""
    return f"{doing}{name}{found.replace(parameters=shown, return_annotation=returned)}"


def _annotations(value: type) -> dict[str, Any]:
    """Of the fields of a class, and of its `__init__`, as they are written."""
    found: dict[str, Any] = {}
    for owner in reversed(value.__mro__):
        if owner.__module__.startswith("bide"):
            found |= inspect.get_annotations(owner)
            found |= inspect.get_annotations(vars(owner).get("__init__", _nothing))
    return found


def _nothing() -> None:
    """Without annotations that count."""


class _Text:
    """What `inspect` shall print as it is. Nothing at all if there is nothing."""

    def __new__(cls, value: Any, *, is_value: bool = False) -> Any:
        return value if value is inspect.Parameter.empty else super().__new__(cls)

    def __init__(self, value: Any, *, is_value: bool = False) -> None:
        self._text = _as_code(value) if is_value else _plain(value)

    def __repr__(self) -> str:
        return self._text


def _as_code(value: Any) -> str:
    """A default, without addresses and without what is private."""
    if inspect.isfunction(value) or inspect.isclass(value):
        return str(value.__qualname__)
    text = repr(value)
    return "..." if text.startswith("<") else text.replace("datetime.", "")


def _wrapped(signature: str) -> str:
    """A parameter a line, if it is long."""
    if len(signature) <= 100:
        return signature
    name, inner, end = _parts(signature)
    return "\n".join([f"{name}(", *(f"    {each}," for each in _split(inner)), f"){end}"])


def _parts(signature: str) -> tuple[str, str, str]:
    opened = signature.index("(")
    depth = 0
    for at, letter in enumerate(signature[opened:], opened):
        depth += (letter in "([{") - (letter in ")]}")
        if depth == 0:
            return signature[:opened], signature[opened + 1 : at], signature[at + 1 :]
    raise ValueError(signature)


def _split(inner: str) -> list[str]:
    """The parameters between commas that are in no bracket."""
    depth, start, found = 0, 0, []
    for at, letter in enumerate(inner):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            found.append(inner[start:at].strip())
            start = at + 1
    return [*found, inner[start:].strip()]


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    """Public methods with their signatures, and properties, in the order they are written."""
    if not inspect.isclass(value) or issubclass(value, BaseException):
        return
    for owner in reversed(value.__mro__):
        if not owner.__module__.startswith("bide"):
            continue
        for name, member in vars(owner).items():
            function = member.fget if isinstance(member, property) else member
            if name.startswith("_") or name.endswith("_") or not inspect.isfunction(function):
                continue
            if getattr(value, name, member) is not member:
                continue  # a class below has its own
            if isinstance(member, property):
                yield f"{name} -> {_plain(inspect.signature(function).return_annotation)}", function
            else:
                yield "`, `".join(_signatures(name, function)), function


# --- texts


def _doc(value: Any) -> str:
    return inspect.cleandoc(value.__doc__ or "")


def _first_paragraph(value: Any) -> str:
    return " ".join(_doc(value).split("\n\n")[0].split())


def _plain(value: Any) -> str:
    value = getattr(value, "__forward_arg__", value)
    text = value if isinstance(value, str) else inspect.formatannotation(value)
    return re.sub(r"\b(bide|typing|collections|datetime)(\.[a-z_]+)*\.(?=[A-Z])|\bdatetime\.(?=[a-z])", "", text)


if __name__ == "__main__":
    PAGE.write_text(page())
