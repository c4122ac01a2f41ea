"""Continuation tokens: where a page ended, as a text that callers pass back. They grant nothing.

A token is a cursor's numbers and texts with commas between them, so every text of that form is a good token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar, get_type_hints
from urllib.parse import quote, unquote

from msgspec import convert
from starlette.exceptions import HTTPException

from bide.http.base.headers import Header
from bide.http.base.shapes import CONTINUATION
from bide.model.query import NEVER

T = TypeVar("T")
C = TypeVar("C", bound=tuple[Any, ...])

_PATTERNS = {int: "[0-9]{1,19}", str: "[A-Za-z0-9._~%-]{1,1200}"}


class AuditCursor(NamedTuple):
    """An entry's place in the audit: newest first."""

    id: int


@cache
def continuation(wanted: type[tuple[Any, ...]]) -> Header:
    """The header with a token for this kind of cursor; an empty one is none."""
    pattern = f"^({','.join(_PATTERNS[kind] for kind in get_type_hints(wanted).values())})?$"
    return Header(CONTINUATION, "Where the page before ended.", 2_000, pattern)


def read_cursor(token: str, wanted: type[C]) -> C | None:
    """The cursor in a token; None for an empty one. Raises `HTTPException` 400 for what is no token."""
    if not token:
        return None
    if re.fullmatch(continuation(wanted).pattern, token) is None:
        raise HTTPException(400, f"The header {CONTINUATION} should be as the page before gave it.")
    kinds = get_type_hints(wanted).values()
    values = [_read(part, kind) for part, kind in zip(token.split(","), kinds, strict=True)]
    cursor: C = convert(values, wanted)
    return cursor


def page(rows: Sequence[T], top: int, cursor: Callable[[T], tuple[Any, ...]]) -> tuple[Sequence[T], dict[str, str]]:
    """The first `top` of the rows, and the header for the next page if there are more of them."""
    shown = rows[:top]
    if len(rows) <= top:
        return shown, {}
    return shown, {CONTINUATION: ",".join(quote(str(part), safe="") for part in cursor(shown[-1]))}


def _read(part: str, kind: type) -> int | str:
    return min(int(part), NEVER) if kind is int else unquote(part)
