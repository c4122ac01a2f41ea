"""The timers that are due soon. The others stay in the database, so waiting costs no memory (G10)."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable

from bide.core.dispatcher import Dispatcher
from bide.model.batch import Timer, TimerKey
from bide.model.clock import SECOND, Timestamp
from bide.model.instance import partition_of
from bide.store.protocol import BEFORE_ALL, Store

WINDOW: int = 20 * SECOND
"""How far ahead timers are read, in microseconds."""


class TimerWindow:
    """Open timers up to a horizon, in the order they are due."""

    def __init__(self) -> None:
        self.horizon: Timestamp = BEFORE_ALL
        self._open: dict[TimerKey, Timer] = {}
        self._heap: list[tuple[Timestamp, TimerKey]] = []
        self._fired: set[TimerKey] = set()
        """Taken out, and not closed yet: the store has them until their step is durable."""

    def clear(self) -> None:
        """Forget all of them: the store is read anew."""
        self.horizon = BEFORE_ALL
        self._open.clear()
        self._heap.clear()
        self._fired.clear()

    def extend(self, timers: Iterable[Timer], horizon: Timestamp) -> None:
        """Move the horizon on. `timers` are those that are due between the old one and the new one."""
        self.horizon = horizon
        self.add(timers)

    @property
    def extend_at(self) -> Timestamp:
        """When to read on, so that the window never runs out."""
        return self.horizon - WINDOW // 2

    @property
    def next_at(self) -> Timestamp:
        """When there is something to do: a timer is due, or the window must be extended."""
        return min(self._heap[0][0], self.extend_at) if self._heap else self.extend_at

    def set_back(self, now: Timestamp) -> None:
        """The clock was set back to this: what is due long after it leaves memory again."""
        if self.horizon > now + 2 * WINDOW:
            self.horizon = now + WINDOW
            self._open = {key: timer for key, timer in self._open.items() if timer.fire_at <= self.horizon}

    def add(self, timers: Iterable[Timer]) -> None:
        """Take those that are due before the horizon; the others are read when it has come so far."""
        for timer in timers:
            if timer.fire_at <= self.horizon and timer.key not in self._fired:
                self._open[timer.key] = timer
                heapq.heappush(self._heap, (timer.fire_at, timer.key))

    def discard(self, keys: Iterable[TimerKey]) -> None:
        for key in keys:
            self._open.pop(key, None)
            self._fired.discard(key)

    def forget(self, partitions: Collection[int]) -> None:
        """Drop those of these partitions: they are another worker's."""
        self._open = {key: timer for key, timer in self._open.items() if partition_of(key[0]) not in partitions}
        self._fired = {key for key in self._fired if partition_of(key[0]) not in partitions}

    def due(self, now: Timestamp, most: int) -> list[Timer]:
        """Take out up to `most` of the timers that are due at `now`, the earliest first: never one before its time
        (G3)."""
        found: list[Timer] = []
        while self._heap and self._heap[0][0] <= now and len(found) < most:
            timer = self._open.pop(heapq.heappop(self._heap)[1], None)
            if timer is not None:
                found.append(timer)
                self._fired.add(timer.key)
        return found


class ReadingAhead:
    """Implements `Chore`: reads the window on, before it runs out."""

    def __init__(self, store: Store, dispatcher: Dispatcher, window: TimerWindow) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._window = window

    @property
    def next_at(self) -> Timestamp:
        """When to read on."""
        return self._window.extend_at

    async def run(self, now: Timestamp) -> bool:
        """Read on."""
        horizon, epochs = now + WINDOW, self._dispatcher.epochs
        found = await self._store.timers(epochs.keys(), horizon, after=self._window.horizon)
        self._window.extend(found, horizon)
        return False

    def set_back(self, now: Timestamp) -> None:
        """The clock was set back to this."""
        self._window.set_back(now)
