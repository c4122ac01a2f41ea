"""Time as the rest of the code sees it: an argument.

Every instant in Bide is an `int`: microseconds since the Unix epoch, UTC. Integers compare exactly, survive
JSON and both databases unchanged, and cannot carry a forgotten time zone. `SystemClock` is the one place that
reads the machine's time; a test checks that. Workers that share a database go by its clock (`SyncedClock`).
"""

from __future__ import annotations

import re
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeAlias

Timestamp: TypeAlias = int
"""Microseconds since the Unix epoch, UTC."""

SECOND: Timestamp = 1_000_000

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(ms|min|[smhdw])\s*")
_SPAN = re.compile(rf"\s*(?:{_PART.pattern})+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """Where the engine learns what time it is."""

    def now(self) -> Timestamp:
        """The present instant. May step backwards; the worker never lets an instance see that."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> Timestamp:
        return time.time_ns() // 1000

    def utc_now(self) -> datetime:
        """The present instant as an aware `datetime`."""
        return to_datetime(self.now())


class SyncedClock:
    """Another machine's clock, such as a database's, kept going here by the monotonic one.

    All who heard of it agree on the time, whatever their own clocks say. It is never ahead of what was heard: an
    instant is a little older when it arrives, so of the last few the one that came fastest counts.
    """

    def __init__(self) -> None:
        self._ahead = time.time_ns() // 1000 - _monotonic()  # until it is heard of
        self._heard: deque[int] = deque(maxlen=10)

    def heard(self, at: Timestamp) -> None:
        """The other clock showed `at`, a moment ago."""
        self._heard.append(at - _monotonic())
        self._ahead = max(self._heard)

    def now(self) -> Timestamp:
        return _monotonic() + self._ahead


def _monotonic() -> int:
    """Microseconds since some instant; where that can be had, it counts while the machine sleeps, too."""
    nanoseconds = time.monotonic_ns()
    with_sleep: int | None = getattr(time, "CLOCK_BOOTTIME", None)  # Linux
    if with_sleep is not None and hasattr(time, "clock_gettime_ns"):
        nanoseconds = time.clock_gettime_ns(with_sleep)
    return nanoseconds // 1000


def to_datetime(at: Timestamp) -> datetime:
    """The same instant as an aware `datetime` in UTC."""
    return _EPOCH + timedelta(microseconds=at)


def to_timestamp(at: datetime) -> Timestamp:
    """The same instant in microseconds. Raises `ValueError` for a `datetime` without a time zone."""
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()} has no time zone; write for example datetime(..., tzinfo=UTC)")
    return (at - _EPOCH) // _MICROSECOND


def to_span(text: str) -> timedelta:
    """A span of time that people write: `90s`, `1h30m`, `2d`. Raises `ValueError` for text that means none."""
    if not _SPAN.fullmatch(text):
        raise ValueError(f"'{text}' is no span of time; write for example 90s, 5m, 1h30m or 2d")
    return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text)))


def check_span(name: str, span: object, also: str = "") -> timedelta:
    """The span itself. Raises `TypeError` for what is none, with what to write instead of a number.

    `name` is what it is the value of; `also` what else that may be.
    """
    if isinstance(span, timedelta):
        return span
    is_number = isinstance(span, int | float) and not isinstance(span, bool)
    kind = type(span).__qualname__
    wrong, seconds = (f"{span} ({kind})", span) if is_number else (kind, 90)
    raise TypeError(
        f"{name} is a span of time{also}, not {wrong}. For {seconds} seconds, write timedelta(seconds={seconds})."
    )


def to_micros(span: timedelta) -> int:
    """A span in whole microseconds."""
    return span // _MICROSECOND
