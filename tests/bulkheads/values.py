"""What Hypothesis can think of: values that a caller may hand in by mistake, on purpose, or because a type is odd.

None is shown by its own `repr`, which may raise: `shown` says what it is.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import fractions
import uuid
from collections.abc import Callable
from typing import Any, Literal, TypedDict, TypeVar

import msgspec
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy


class Own(BaseException):
    """Derives from no `Exception`."""


class Odd:
    """Raises however it is looked at."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.__dict__["kind"] = kind

    def _raise(self, *_: object) -> Any:
        raise self.__dict__["kind"]("its own")

    __str__ = __repr__ = __bool__ = __len__ = __iter__ = __int__ = __float__ = __index__ = __getattr__ = _raise
    __eq__ = __lt__ = __add__ = __hash__ = __format__ = __call__ = _raise  # type: ignore[assignment]


class OddText(str):
    """A text that is one by its type only."""

    __slots__ = ()

    def _raise(self, *_: object) -> Any:
        raise KeyError("its own")

    __eq__ = __hash__ = __str__ = __repr__ = __len__ = __format__ = _raise  # type: ignore[assignment]
    isprintable = encode = lower = casefold = _raise


class Shade(enum.StrEnum):
    DARK = "dark"


class Level(enum.IntEnum):
    HIGH = 9


class Form(msgspec.Struct):
    x: int


class Record(TypedDict):
    x: int


class Untellable(ValueError):
    """An error that cannot say what it is."""

    def __str__(self) -> str:
        raise KeyError("its own")


class UndescribedMeta(type):
    def __repr__(cls) -> str:
        raise KeyError("its own")


class Undescribed(metaclass=UndescribedMeta):
    """A class that cannot say what it is."""


def shown(value: object) -> str:
    """What it is, whatever its own code says."""
    if type(value) in (dict, list, tuple, set):
        return f"{type(value).__name__}({', '.join(shown(each) for each in _members(value))})"
    try:
        return repr(value)[:200]
    except BaseException:
        return f"<{type(value).__name__}>"


def _members(value: Any) -> list[object]:
    return [each for pair in value.items() for each in pair] if type(value) is dict else [*value]


STRANGE_TEXTS = (
    "",
    " ",
    ".",
    "..",
    "/",
    "%2F",
    "%00",
    "a/b",
    "a\\b",
    "a#b",
    "a?b",
    "\0",
    "a\0b",
    "\x7f",
    "\n",
    "\r\n",
    "\t",
    "\ud800",
    "\udfff",
    "\ud83d",
    "x\udc80",
    "\u202e",
    "\u200b",
    "\ufeff",
    "\ufffd",
    "\uffff",
    "\U0010ffff",
    "\u0130",
    "\u212a",
    "e\u0301",
    "x" * 101,
    "x" * 201,
    "x" * 1001,
    "x" * 10_000,
    "\u00e9" * 10_000,
    "null",
    "NaN",
    "-1",
    "1e400",
    "true",
    "ß",
    "{eventName}",
    "bide.",
    "'; DROP TABLE instances; --",
    "$1",
    "?",
    "a:b",
    "x" * 100_000,
)
texts = st.one_of(st.sampled_from(STRANGE_TEXTS), st.text(max_size=20), st.text(st.characters(), max_size=3))
"""Also what no encoding has."""
numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**4000, -0.0, 1e308]),
)
_UTC = dt.UTC
moments = st.one_of(
    st.datetimes(),
    st.datetimes(timezones=st.just(_UTC)),
    st.sampled_from(
        [
            dt.datetime.max,
            dt.datetime.min,
            dt.datetime.max.replace(tzinfo=_UTC),
            dt.datetime.min.replace(tzinfo=_UTC),
            dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=23, minutes=59, seconds=1))),
            dt.datetime.max.replace(tzinfo=dt.timezone(-dt.timedelta(hours=23))),
            dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=23))),
        ]
    ),
)
spans = st.one_of(st.timedeltas(), st.sampled_from([dt.timedelta.max, dt.timedelta.min, dt.timedelta(0)]))
classes = st.sampled_from(
    [
        int,
        str,
        object,
        Exception,
        dict,
        Odd,
        Own,
        Untellable,
        Undescribed,
        Form,
        Record,
        Shade,
        Any,
        int | str,
        Form | None,
        list[int],
        dict[int, str],
        Literal["a"],
        tuple[int, ...],
        Callable[[], None],
        type,
        int | None,
        "Form",
        list[TypeVar("T")],  # type: ignore[valid-type]
        Form | Record,
        type(None),
        ...,
        bytes,
        decimal.Decimal,  # type: ignore[name-defined]
    ]
)
functions = st.sampled_from([print, len, lambda: None, lambda *a, **k: None, Odd._raise])


def _generator() -> Any:
    yield 1


objects = st.one_of(
    st.builds(Odd, st.sampled_from([KeyError, ValueError, RecursionError, Own, StopIteration])),
    st.builds(OddText, st.sampled_from(["Go", "x", ""])),
    st.builds(object),
    st.builds(_generator),
    st.builds(Untellable, st.just("x")),
    st.builds(Undescribed),
    st.sampled_from(
        [
            Shade.DARK,
            Level.HIGH,
            Form(1),
            Form("no int"),
            Ellipsis,
            NotImplemented,
            msgspec.UNSET,  # type: ignore[arg-type]
            uuid.UUID(int=7),
            decimal.Decimal("NaN"),
            decimal.Decimal("1e999"),
            fractions.Fraction(1, 3),
            1j,
            range(3),
            dt.date(2026, 1, 1),
            dt.time(1, 2),
            memoryview(b"x"),
            bytearray(b"x"),
            slice(1),
        ]
    ),
    st.builds(
        msgspec.Raw, st.sampled_from([b"", b"{", b"nul", b"\xff", b'"\\ud800"', b"NaN", b"1 2", b"[" * 5000])
    ),
)
plain = st.one_of(
    st.none(), st.booleans(), numbers, texts, st.binary(max_size=10), moments, spans, objects, classes, functions
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)
"""What anybody may send."""


def _deep(depth: int) -> Any:
    found: Any = []
    for _ in range(depth):
        found = [found]
    return found


def _round() -> Any:
    found: list[Any] = []
    found.append(found)
    return found


_hashable = st.one_of(st.none(), st.booleans(), numbers, texts, st.binary(max_size=3), st.tuples(st.integers()))
values: SearchStrategy[Any] = st.one_of(
    plain,
    plain,
    st.lists(plain, max_size=3),
    st.dictionaries(_hashable, plain, max_size=3),
    st.lists(st.dictionaries(texts, plain, max_size=2), max_size=2),
    st.lists(plain, max_size=2).map(tuple),
    st.sets(_hashable, max_size=3),
    st.builds(_deep, st.sampled_from([50, 500, 5000])),
    st.builds(_round),
)
"""Anything."""
