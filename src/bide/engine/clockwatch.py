"""Looks at the clock every second: a clock that was set is told in the log, and the worker hears of it.

Timers of the event loop count neither what a clock is set by, nor the time in which the machine sleeps.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import timedelta

from bide.model.clock import SECOND, Clock, last_step
from bide.model.presence import Presence

log = logging.getLogger("bide.worker")

_EVERY_S = 1.0
_JUMP: int = SECOND // 2
_BEHIND: int = 60 * SECOND

_AHEAD = (
    "The clock was set ahead by %s, and has stayed so: time goes by it from here on. Timers keep the instants that "
    "they were set for: what is due by now fires now."
)
_BACK = (
    "The clock was set back by %s, and has stayed so: time goes by it from here on. Timers keep the instants that "
    "they were set for, so those that are open now take longer by as much. No instance sees time go back."
)
_BEHIND_OTHERS = (
    "The clock is %s behind what worker %s had when it was last alive. If it is right now, timers that were set "
    "then take longer by as much; if not, set it: it is followed."
)


class ClockWatch:
    """`changed` is called when a clock shows another time than the event loop has waited for."""

    def __init__(self, clock: Clock, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._step = last_step(clock)
        self._ahead: int | None = None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self.look(loop.time())
            await asyncio.sleep(_EVERY_S)

    def look(self, loop_time_s: float) -> None:
        """Compare the clock with the time of the event loop, in seconds."""
        ahead = self._clock.now() - round(loop_time_s * SECOND)
        step = last_step(self._clock)
        if step is not None and step is not self._step:
            log.warning(_AHEAD if step.by > 0 else _BACK, _in_words(step.by))
        if self._ahead is not None and abs(ahead - self._ahead) > _JUMP:
            self._changed()
        self._step, self._ahead = step, ahead


def say_if_behind(clock: Clock, workers: Iterable[Presence]) -> None:
    """A clock that was wrong before, or is wrong now, cannot be told from what the store has; but said."""
    last = max(workers, key=lambda each: each.seen_at, default=None)
    if last is not None and last.seen_at - clock.now() > _BEHIND:
        log.warning(_BEHIND_OTHERS, _in_words(last.seen_at - clock.now()), last.name)


def _in_words(span: int) -> str:
    return str(timedelta(seconds=round(abs(span) / SECOND))) if abs(span) >= SECOND else f"{abs(span) / SECOND:g} s"
