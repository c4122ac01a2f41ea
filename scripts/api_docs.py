"""Writes docs/api.md: every public name with its signature and docstring.

    python scripts/api_docs.py

A test compares the page with what this makes, so the reference cannot go stale.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bide

PAGE = Path(__file__).parent.parent / "docs" / "api.md"

_INTRODUCTION = """# Python API

Everything in `bide.__all__`, in alphabetical order. This page is made from the docstrings by
`scripts/api_docs.py`.
"""


def page() -> str:
    entries = [_entry(name, getattr(bide, name)) for name in sorted(bide.__all__)]
    return "\n".join([_INTRODUCTION, *entries])


def _entry(name: str, value: Any) -> str:
    lines = [f"### `{name}`", ""]
    if inspect.isclass(value) or inspect.isfunction(value):
        lines += [_doc(value), ""]
        for member, function in _members(value):
            lines += [f"* `{member}`" + (f": {_first_paragraph(function)}" if function.__doc__ else "")]
        if lines[-1]:
            lines.append("")
    else:
        lines += [f"`{_plain(value)}`", ""]
    return "\n".join(lines)


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    """Public methods and properties, in the order they are written."""
    if not inspect.isclass(value) or issubclass(value, BaseException):
        return
    for owner in reversed(value.__mro__):
        if not owner.__module__.startswith("bide"):
            continue
        for name, member in vars(owner).items():
            function = member.fget if isinstance(member, property) else member
            if name.startswith("_") or name.endswith("_") or not inspect.isfunction(function):
                continue
            yield (name if isinstance(member, property) else f"{name}()"), function


def _doc(value: Any) -> str:
    return inspect.cleandoc(value.__doc__ or "")


def _first_paragraph(value: Any) -> str:
    return " ".join(_doc(value).split("\n\n")[0].split())


def _plain(value: Any) -> str:
    return str(value).replace("bide.core.calls.", "")


if __name__ == "__main__":
    PAGE.write_text(page())
