"""A machine whose wall clock can be wrong, or be set, while a test moves it through time."""

from __future__ import annotations

from datetime import timedelta

from bide.model.clock import SECOND, SteadyClock, Timestamp, to_micros
from bide.testing.clock import ManualClock


class ManualMachine(SteadyClock, ManualClock):
    """What the product makes of this machine's clocks.

    `advance` and `set` let time pass; the wall clock is wrong by `off`.
    """

    def __init__(self) -> None:
        ManualClock.__init__(self)
        self.off: int = 0
        """By how much the wall clock is wrong, in microseconds."""
        self.counted: int = 7_000 * SECOND
        """What the clock shows that nobody can set."""
        self.readings = 0
        """How often the wall clock was read."""
        SteadyClock.__init__(self, self.wall, lambda: self.counted)

    def wall(self) -> Timestamp:
        self.readings += 1
        return self._now + self.off

    @property
    def right(self) -> Timestamp:
        """What the wall clock would show if nobody had set it."""
        return self._now

    def advance(self, span: timedelta) -> None:
        super().advance(span)
        self.counted += to_micros(span)

    def set(self, now: Timestamp) -> None:
        """Let so much time pass that it is this time."""
        self.advance(timedelta(microseconds=now - self.now()))

    def be_set(self, by: int, seconds: int = 8) -> None:
        """The wall clock is set, and that stays; it is looked at every second."""
        self.off += by
        for _ in range(seconds):
            self.now()
            self.advance(timedelta(seconds=1))
