"""The clocks of the world's processes: the product's own, over one that is wrong now and then, or set for good."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from bide.model.clock import CONFIRMED, SECOND, SteadyClock, Timestamp

_HOUR = 3_600 * SECOND
_MOMENTS = (1, SECOND // 3, 4 * SECOND)
"""For how long it may be wrong: too short to be believed."""
_WRONG_BY = (2 * SECOND, _HOUR, 10 * 365 * 24 * _HOUR)
_SET_TO = tuple(seconds * SECOND for seconds in (0, 2, -2, 30, -30, 300, -300))
_FOLLOWED = CONFIRMED + 2 * SECOND
"""After so long, a process that looks at the clock every second has followed it."""


class WallClock:
    """What the world's machines have in common."""

    def __init__(self, now: Callable[[], Timestamp]) -> None:
        self.now = now
        """The world's time, which nobody can set."""
        self.off: int = 0
        self.highest: int = 0
        """By how much it was ahead at most."""

    def be_set(self, rng: Random) -> None:
        self.off = rng.choice([each for each in _SET_TO if each != self.off])
        self.highest = max(self.highest, self.off)


class ProcessClock:
    """The time of one process, and what it may be at most."""

    def __init__(self, wall: WallClock) -> None:
        self._wall = wall
        self._wrong_by: int = 0
        self._wrong_until: Timestamp = 0
        self._offs = [wall.off]
        """What the wall clock was set to since the process surely followed it."""
        self._sure_at: Timestamp = 0
        self.clock = SteadyClock(self._read, wall.now)

    def _read(self) -> Timestamp:
        now = self._wall.now()
        return now + self._wall.off + (self._wrong_by if now < self._wrong_until else 0)

    def be_wrong(self, rng: Random) -> bool:
        """Show something else for a moment. Not so soon after another time that both would be one."""
        now = self._wall.now()
        if now < self._wrong_until + 2 * SECOND:
            return False
        self._wrong_by, self._wrong_until = rng.choice((1, -1)) * rng.choice(_WRONG_BY), now + rng.choice(_MOMENTS)
        if not self.sure:
            self._sure_at = self._wrong_until + _FOLLOWED
        return True

    def be_right(self) -> None:
        self._wrong_until = 0

    def was_set(self, looks_again_at: Timestamp) -> None:
        """The wall clock was set; the process looks at it from then on."""
        self._offs.append(self._wall.off)
        self._sure_at = max(self._wall.now(), looks_again_at, self._wrong_until) + _FOLLOWED

    def is_paused(self, until: Timestamp) -> None:
        """It does not look at the clock before that."""
        if not self.sure:
            self._sure_at = until + _FOLLOWED

    @property
    def sure(self) -> bool:
        """Whether it has followed the wall clock."""
        return self._wall.now() >= self._sure_at

    @property
    def at_rest(self) -> bool:
        """Whether it need not be looked at for a while."""
        return self.sure and self._wall.now() >= self._wrong_until + SECOND

    @property
    def latest(self) -> Timestamp:
        """The latest that it may be."""
        if self.sure:
            self._offs = self._offs[-1:]
        return self._wall.now() + max(self._offs)
