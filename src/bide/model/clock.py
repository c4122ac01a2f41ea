"""Time as the rest of the code sees it: an argument.

Every instant in Bide is an `int`: microseconds since the Unix epoch, UTC. Integers compare exactly, survive
JSON and both databases unchanged, and cannot carry a forgotten time zone. `SystemClock` is the one place that
reads the machine's time; a test checks that. Workers that share a database go by its clock (`SyncedClock`).

Both are counted by a clock that nobody can set (`FollowingClock`), so that one wrong reading harms nobody: neither
timers and deadlines, nor leases, tokens and what is deleted by age.
"""

from __future__ import annotations

import re
import sys
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol, TypeAlias

Timestamp: TypeAlias = int
"""Microseconds since the Unix epoch, UTC."""

SECOND: Timestamp = 1_000_000

CONFIRMED: Timestamp = 5 * SECOND
"""How long a clock must have been off by the same until it counts as set, and not as read wrong."""
_COUNTED: Timestamp = 5 * SECOND // 2
"""Of the time between two readings at most so much counts: nobody knows what was in between."""
_COMPARE: Timestamp = SECOND // 4
"""How often the machine's clock is looked at: between two looks, time costs one reading."""
_DRIFT: Timestamp = SECOND // 10
"""By so much clocks differ that nobody has set; and a slower way there and back explains a second."""
_AT_ONCE: Timestamp = SECOND // 1000
"""Two readings are of the same moment if no more lies between them."""

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


class ClockStep(NamedTuple):
    """A clock was set, and has stayed so."""

    by: int
    """Microseconds; negative: back."""
    at: Timestamp
    """When time followed it, by the new time."""


class FollowingClock:
    """Implements `Clock`: another clock's time, counted by a steady one, which nobody can set.

    It runs on by itself. It follows the other one where that was set, ahead or back, and has stayed so.
    """

    def __init__(self, steady: Callable[[], int], ahead: int) -> None:
        """`steady` counts microseconds since some instant; it is now behind the other clock by `ahead`."""
        self.last_step: ClockStep | None = None
        """The last time that the other clock was set."""
        self._steady = steady
        self._ahead = ahead

    def now(self) -> Timestamp:
        return self._steady() + self._ahead

    def _follow(self, ahead: int, steady: int) -> None:
        self.last_step = ClockStep(ahead - self._ahead, steady + ahead)
        self._ahead = ahead


class SteadyClock(FollowingClock):
    """A wall clock's time. One wrong reading of that clock changes nothing, by whatever it is wrong.

    What is set is followed after `CONFIRMED`; a drift at once, without a step. Threads may share it.
    """

    def __init__(self, wall: Callable[[], Timestamp], steady: Callable[[], int]) -> None:
        began = steady()
        super().__init__(steady, wall() - began)
        self._wall = wall
        self._confirmation = _Confirmation(_DRIFT)
        self._compared_at = began

    def now(self) -> Timestamp:
        steady = self._steady()
        if steady - self._compared_at >= _COMPARE:
            self._compare(steady)
        return steady + self._ahead

    def _compare(self, steady: int) -> None:
        seen = self._wall() - steady
        if self._steady() - steady > _AT_ONCE:
            return  # this thread stood still between the two: the next reading tells
        # What is found is assigned, and not added: should two threads find the same, nothing happens twice.
        off, passed, self._compared_at = seen - self._ahead, steady - self._compared_at, steady
        if abs(off) <= _DRIFT:
            self._confirmation.begin_anew()
            most = passed >> 8  # so slowly that a span is as good as right
            self._ahead = seen - off + max(-most, min(off, most))
        elif self._confirmation.of(seen, steady):
            self._follow(seen, steady)


class SystemClock(SteadyClock):
    """The machine's own clock: counted by one that also runs while the machine sleeps, where there is one."""

    def __init__(self) -> None:
        super().__init__(_wall, _steady)

    def utc_now(self) -> datetime:
        """The present instant as an aware `datetime`."""
        return to_datetime(self.now())


class SyncedClock(FollowingClock):
    """Another machine's clock, such as a database's.

    All who heard of it agree on the time, whatever their own clocks say. It is never ahead of what was heard: an
    instant is a little older when it arrives, so of the last few the one that came fastest counts. A slow way looks
    like a clock that was set back, so that is believed only when all of these few say so.
    """

    def __init__(self, steady: Callable[[], int] | None = None) -> None:
        steady = steady or _steady
        super().__init__(steady, _wall() - steady())  # until it is heard of
        self._heard: deque[int] = deque(maxlen=10)
        self._confirmation = _Confirmation(SECOND)

    def heard(self, at: Timestamp) -> None:
        """The other clock showed `at`, a moment ago."""
        steady = self._steady()
        seen = at - steady
        if self._heard and seen - self._ahead > SECOND:
            if self._confirmation.of(seen, steady):
                self._heard.clear()
                self._heard.append(seen)
                self._follow(seen, steady)
            return
        self._confirmation.begin_anew()
        known = bool(self._heard)
        self._heard.append(seen)
        fastest = max(self._heard)
        if known and self._ahead - fastest > SECOND:
            self._follow(fastest, steady)
        else:
            self._ahead = fastest


class FastestWord:
    """What another clock shows, asked for several times in a row: the word that came fastest counts.

    For a beginning, where nothing tells how long one word took.
    """

    def __init__(self, steady: Callable[[], int] | None = None) -> None:
        self._steady = steady or _steady
        self._ahead: int | None = None

    def heard(self, at: Timestamp) -> None:
        """The other clock showed `at`, a moment ago."""
        ahead = at - self._steady()
        self._ahead = ahead if self._ahead is None else max(ahead, self._ahead)

    def now(self) -> Timestamp:
        assert self._ahead is not None, "something was heard"
        return self._steady() + self._ahead


class _Confirmation:
    """Tells a clock that was set from one that was read wrong: it stays as it is."""

    __slots__ = ("_last", "_like", "_seen", "_stayed")

    def __init__(self, like: int) -> None:
        """Two readings mean the same if they differ by no more than `like`."""
        self._like = like
        self._last = 0
        self.begin_anew()

    def begin_anew(self) -> None:
        self._seen: int | None = None
        self._stayed = 0

    def of(self, seen: int, steady: int) -> bool:
        """Whether what was seen again now has been seen for long enough, and nothing else in between."""
        if self._seen is None or abs(seen - self._seen) > self._like:
            self._seen, self._stayed = seen, 0
        else:
            self._stayed += min(steady - self._last, _COUNTED)
        self._last = steady
        if self._stayed < CONFIRMED:
            return False
        self.begin_anew()
        return True


def last_step(clock: Clock) -> ClockStep | None:
    """The last time that a clock was set, if it knows."""
    return clock.last_step if isinstance(clock, FollowingClock) else None


def set_lately(clock: Clock, now: Timestamp, span: int) -> bool:
    """Whether the clock was set less than so many microseconds ago."""
    step = last_step(clock)
    return step is not None and now < step.at + span


def _wall() -> Timestamp:
    return time.time_ns() // 1000


def _chosen_steady() -> Callable[[], int]:
    """What counts microseconds, and also while the machine sleeps, where that can be had."""
    which: int | None = getattr(time, "CLOCK_MONOTONIC" if sys.platform == "darwin" else "CLOCK_BOOTTIME", None)
    read: Callable[[int], int] | None = getattr(time, "clock_gettime_ns", None)
    if which is not None and read is not None:
        try:
            read(which)
        except OSError:  # a system that does not count it
            pass
        else:
            return lambda: read(which) // 1000
    return lambda: time.monotonic_ns() // 1000


_steady = _chosen_steady()


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
