"""Time that stands still until a test moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bide.model.clock import Timestamp, to_datetime, to_micros, to_timestamp


class ManualClock:
    """Implements `bide.model.clock.Clock`."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = to_timestamp(start)

    def now(self) -> Timestamp:
        return self._now

    @property
    def utc(self) -> datetime:
        """The present instant as a `datetime`."""
        return to_datetime(self._now)

    def advance(self, span: timedelta) -> None:
        """Move on. Raises `ValueError` for a negative span: use `set` for a clock that steps back."""
        if span < timedelta(0):
            raise ValueError("a clock that is advanced goes forward")
        self._now += to_micros(span)

    def set(self, now: Timestamp) -> None:
        """Jump to an instant, forward or back."""
        self._now = now
