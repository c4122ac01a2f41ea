"""Arguments are looked at where they come in: one of another kind than is meant is met by a sentence, and goes no
further. Texts have checks of their own (`check_text`), and so have spans of time (`check_span`).

None of these asks a value what it is: only its type is looked at, and shown.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar, cast

T = TypeVar("T")

MOST = 2**31 - 1
"""The highest count that means anything."""
_LEAST_STORED, _MOST_STORED = -(2**63), 2**63 - 1


def kind_of(value: object) -> str:
    """What kind of value it is, in words for people."""
    return type(value).__qualname__


def check_flag(name: str, value: object) -> bool:
    """The value itself, if it is True or False. Raises `TypeError`."""
    if value is True or value is False:
        return value
    raise TypeError(f"{name} is True or False, not a {kind_of(value)}.")


def check_count(name: str, value: object, least: int = 1, most: int = MOST) -> int:
    """The number itself, if it is a whole one from `least` to `most`. Raises `TypeError` and `ValueError`."""
    if type(value) is not int:
        raise TypeError(f"{name} is a whole number (int), not a {kind_of(value)}.")
    if not least <= value <= most:
        raise ValueError(f"{name} is a number from {least:,} to {most:,}.")
    return value


def check_stored(name: str, value: object) -> int:
    """The number itself, if databases can keep it: 64 bits. Raises `TypeError` and `ValueError`."""
    return check_count(name, value, _LEAST_STORED, _MOST_STORED)


def check_kind(name: str, value: object, wanted: type[T]) -> T:
    """The value itself, if it is of that class. Raises `TypeError`."""
    if not isinstance(value, wanted):
        raise TypeError(f"{name} is of the class {wanted.__qualname__}, and not a {kind_of(value)}.")
    return value


def check_collection(name: str, value: object) -> Collection[object]:
    """The value itself, if it is a collection, and not a text. Raises `TypeError`."""
    if isinstance(value, str | bytes) or not isinstance(value, Collection):
        raise TypeError(f"{name} is a collection, and not a {kind_of(value)}.")
    return cast("Collection[object]", value)


def check_function(name: str, value: T) -> T:
    """The value itself, if it can be called. Raises `TypeError`."""
    if not callable(cast("Callable[..., object]", value)):
        raise TypeError(f"{name} is a function, not a {kind_of(value)}.")
    return value
