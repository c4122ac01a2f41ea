"""Deletes instances that ended long enough ago, some at a time."""

from __future__ import annotations

import logging

from bide.core.dispatcher import Dispatcher
from bide.model.clock import SECOND, Clock, Timestamp, set_lately
from bide.model.query import NEVER, InstanceCursor
from bide.store.protocol import Store

log = logging.getLogger("bide.worker")

SWEEP: int = 30 * SECOND
"""How often to look, once all that there were are deleted."""
DOUBTFUL: int = 3600 * SECOND
"""So long after the clock was set nothing is deleted by its age: who set it wrong may set it right."""


class Retention:
    """Implements `Chore`."""

    def __init__(
        self, store: Store, dispatcher: Dispatcher, clock: Clock, retention: int | None, most: int
    ) -> None:
        """`retention` is in microseconds; None: nothing is deleted. `most` is how many are deleted at a time."""
        self._store = store
        self._dispatcher = dispatcher
        self._clock = clock
        self._retention = retention
        self._most = most
        self._to: InstanceCursor | None = None
        self._deleted = 0
        self.next_at: Timestamp = NEVER if retention is None else 0

    def begin(self, now: Timestamp) -> None:
        """The worker begins: a clock that is wrong at the start may be set right yet."""
        self.next_at = max(self.next_at, now + SWEEP)

    async def run(self, now: Timestamp) -> bool:
        """Delete some. Returns whether there may be more of them."""
        assert self._retention is not None, "it is never due"
        if set_lately(self._clock, now, DOUBTFUL):
            self.next_at = now + SWEEP
            return False
        epochs, before = self._dispatcher.epochs.keys(), now - self._retention
        ended, self._to = await self._store.ended(epochs, before, self._to, self._most)
        if ended:
            await self._store.commit(self._dispatcher.purge(ended, now))
            self._deleted += len(ended)
        if self._to is None:  # that was all: the next ones are due later
            self.next_at = now + SWEEP
            if self._deleted:
                log.info("Deleted %d instances that had ended long enough ago", self._deleted)
                self._deleted = 0
        return self._to is not None

    def set_back(self, now: Timestamp) -> None:
        """The clock was set back to this."""
        if self._retention is not None:
            self.next_at = min(self.next_at, now + SWEEP)
