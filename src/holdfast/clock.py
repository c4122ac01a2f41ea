"""Time as the rest of the code sees it: an argument.

Every instant in Holdfast is an `int`: microseconds since the Unix epoch, UTC. Integers compare exactly, survive
JSON and both databases unchanged, and cannot carry a forgotten time zone. `SystemClock` is the one place that
reads the machine's time; a test checks that.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeAlias

Timestamp: TypeAlias = int
"""Microseconds since the Unix epoch, UTC."""

SECOND: Timestamp = 1_000_000

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


def to_datetime(at: Timestamp) -> datetime:
    """The same instant as an aware `datetime` in UTC."""
    return _EPOCH + timedelta(microseconds=at)


def to_timestamp(at: datetime) -> Timestamp:
    """The same instant in microseconds. Raises `ValueError` for a `datetime` without a time zone."""
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()} has no time zone; write for example datetime(..., tzinfo=UTC)")
    return (at - _EPOCH) // _MICROSECOND


def to_micros(span: timedelta) -> int:
    """A span in whole microseconds."""
    return span // _MICROSECOND
