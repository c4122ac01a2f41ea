"""All connections of a server together: how many there are, and how much waits in them.

A caller can be slow in three ways. Who sends slowly is met where requests are read (`http/protocol.py`). Who does
not take an answer is looked at here, once a second, and cut off when nothing moves. Who is only there takes room:
when there is none left, those go first from whom nothing has come for longest.

Many callers at the same moment are no fault of any of them. So many requests begin in one turn of the event loop,
and the others in the turns that follow, in their order: whoever asks between two turns how the server is gets an
answer.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Protocol

from bide.config import Settings
from bide.store.sqlite.file_access import allow_descriptors

log = logging.getLogger("bide.http")

_LOOK_S = 1.0
_RELIEF_S = 0.1
"""In that time, whoever reads takes something."""
_OTHERS = 160
"""Files that are no callers' connections: listeners, the database, a carrier; and room for health checks."""
_SPARE = 32
"""Connections beyond the most, to ask for `/healthz` and `/readyz` on. A newer one takes the oldest one's place."""
_AT_ONCE = 100
"""So many requests begin in one turn of the loop."""
_MADE_ROOM = 64
"""So many connections go at once when there is no room, so that not each new one looks for another."""


class Caller(Protocol):
    """The other side of a connection."""

    quiet: int
    """For how many looks it has been the caller's turn."""

    @property
    def unsent(self) -> int:
        """Bytes of answers that it has not taken."""
        ...

    @property
    def taken(self) -> int:
        """Bytes of answers that it has taken, ever."""
        ...

    def go_on(self) -> None:
        """Begin the next request, if it may."""
        ...

    def look(self) -> int:
        """Look at what it has taken. For how many looks nothing has moved that should."""
        ...

    def cut(self) -> None:
        """End the connection at once."""
        ...


class Connections:
    """The connections of one server."""

    def __init__(self, settings: Settings) -> None:
        allowed = allow_descriptors(settings.max_connections + _OTHERS)
        self._most = settings.max_connections
        if allowed is not None and allowed < self._most + _OTHERS:
            self._most = max(1, allowed - _OTHERS)
            log.info("%d connections at once: this process may have %d files open", self._most, allowed)
        self._most_unsent = settings.max_unsent_bytes
        self._interval_s = min(_LOOK_S, settings.answer_timeout_s)
        self._patience = math.ceil(settings.answer_timeout_s / self._interval_s) + 1
        self._open: dict[Caller, None] = {}
        self._spare: dict[Caller, None] = {}
        self._slow: dict[Caller, None] = {}
        """Those for whom more waits than one buffer of the system takes."""
        self._timer: asyncio.TimerHandle | None = None
        self._relief: asyncio.TimerHandle | None = None
        self._has_room = True
        """False: at the last look there was none to be made."""
        self._begun = 0
        """How many requests have begun in this turn."""
        self._queue: dict[Caller, None] = {}
        """Those whose next request begins in a later one."""

    def opened(self, caller: Caller, loop: asyncio.AbstractEventLoop) -> bool:
        """A caller has come. False: there is room to ask how the server is, and for nothing else."""
        if self._timer is None:
            self._timer = loop.call_later(self._interval_s, self._look_again, loop)
        if len(self._open) >= self._most and self._has_room:
            self._make_room()
        if len(self._open) < self._most:
            self._open[caller] = None
            return True
        self._spare[caller] = None
        if len(self._spare) > _SPARE:
            self._cut(next(iter(self._spare)))
        return False

    def closed(self, caller: Caller) -> None:
        for group in (self._open, self._spare, self._slow, self._queue):
            group.pop(caller, None)

    def may_begin(self, caller: Caller) -> bool:
        """Whether one more request begins in this turn. False: the caller is told to go on when it is its turn."""
        if self._begun < _AT_ONCE and not self._queue:
            return True
        self._queue[caller] = None
        return False

    def begun(self, loop: asyncio.AbstractEventLoop) -> None:
        """A request has begun."""
        if not self._begun:
            loop.call_soon(self._next_turn)
        self._begun += 1

    def is_queued(self, caller: Caller) -> bool:
        """Whether it waits for its turn."""
        return caller in self._queue

    def _next_turn(self) -> None:
        self._begun = 0
        waiting, self._queue = self._queue, {}
        for caller in waiting:
            if self._begun < _AT_ONCE:
                caller.go_on()
            else:
                self._queue[caller] = None

    def is_slow(self, caller: Caller, loop: asyncio.AbstractEventLoop) -> None:
        """Much waits for this caller. If too much waits for all, whoever does not take it soon goes."""
        self._slow[caller] = None
        self._bound_unsent(loop)

    def is_fast(self, caller: Caller) -> None:
        """What waited for this caller is taken."""
        self._slow.pop(caller, None)

    def look(self) -> None:
        """Look at all callers, and cut off those who have not taken anything for too long."""
        self._has_room = True
        for caller in [*self._open, *self._spare]:
            if caller.look() >= self._patience:
                self._cut(caller)

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        self.look()
        if self._open or self._spare:
            self._timer = loop.call_later(self._interval_s, self._look_again, loop)

    def _make_room(self) -> None:
        quiet = sorted((each for each in self._open if each.quiet > 1), key=lambda each: -each.quiet)
        self._has_room = bool(quiet)
        self._cut(*quiet[:_MADE_ROOM])

    def _bound_unsent(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._relief is None and self._unsent() > self._most_unsent:
            taken = {each: each.taken for each in self._slow}
            self._relief = loop.call_later(_RELIEF_S, self._relieve, taken, loop)

    def _relieve(self, taken: dict[Caller, int], loop: asyncio.AbstractEventLoop) -> None:
        """Cut off who has taken nothing meanwhile, the oldest first, until no more waits than may."""
        self._relief = None
        left = self._unsent()
        for caller, before in taken.items():
            if left > self._most_unsent and caller in self._slow and caller.taken == before:
                left -= caller.unsent
                self._cut(caller)
        self._bound_unsent(loop)

    def _unsent(self) -> int:
        return sum(caller.unsent for caller in self._slow)

    def _cut(self, *callers: Caller) -> None:
        for caller in callers:
            self.closed(caller)
            caller.cut()
