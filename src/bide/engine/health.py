"""How the store is doing, as a worker sees it: when to try it again, and what is told to those who wait."""

from __future__ import annotations

import logging
from zlib import crc32

from bide.engine.options import WorkerOptions
from bide.errors import HeldStep, LeaseLostError, StoreReplacedError, StoreUnavailableError
from bide.model.clock import Timestamp
from bide.model.metrics import doubled

log = logging.getLogger("bide.worker")

AWAY = "The database does not answer now. Nothing was changed; the same request may succeed later."


class StoreHealth:
    """Counts failures in a row."""

    def __init__(self, owner: str, options: WorkerOptions, *, shared: bool) -> None:
        """`shared`: workers that failed together come back one by one."""
        self._owner = owner
        self._options = options
        self._shared = shared
        self._failures = 0
        self._said: type[BaseException] | None = None
        """The kind of failure that was last told in the log, if the store has not come back since."""
        self.retry_at: Timestamp = 0
        self.away = False
        """Whether the store is what failed, or whatever it is has failed twice in a row: nobody is kept waiting."""
        self.overdue = False
        """Whether a commit has taken so long that nobody waits for it any more."""

    @property
    def failing(self) -> bool:
        """Whether the store has not done what was asked of it the last time."""
        return self._failures > 0 or self.overdue

    def failed(self, now: Timestamp, error: BaseException) -> None:
        """It has failed once more."""
        self._say(error)
        self.retry_at = now + self._pause()
        self.away = self._failures > 1 or isinstance(error, StoreUnavailableError | StoreReplacedError)

    def came_back(self) -> None:
        """It does what is asked of it."""
        if self._said is not None and issubclass(self._said, StoreUnavailableError):
            log.info("The database is back")
        self._failures, self._said, self.away = 0, None, False

    def set_back(self, now: Timestamp) -> None:
        """The clock was set back to this."""
        self.retry_at = min(self.retry_at, now + self._options.max_retry)

    def _pause(self) -> int:
        """How long to wait until the next attempt."""
        longest = min(self._options.retry << min(self._failures, 10), self._options.max_retry)
        self._failures += 1
        share = crc32(f"{self._owner} {self._failures}".encode()) % 1_000
        return longest // 2 + longest * share // 2_000 if self._shared else self._options.retry

    def _say(self, error: BaseException) -> None:
        if isinstance(error, StoreReplacedError) or not isinstance(error, Exception | HeldStep):
            return  # whoever ends the loop, or looks after it, says why
        if isinstance(error, LeaseLostError):
            log.warning("Lost partitions: %s It wrote nothing more to them, and starts over.", error)
        elif self._said is type(error) and not doubled(self._failures):
            return  # it was said; and is again after twice as many failures each time
        elif not isinstance(error, StoreUnavailableError):
            log.error(
                "The engine failed between two steps; starting over from what the database has", exc_info=error
            )
        elif self._failures:
            log.error("%s It has failed %d times in a row; nothing is acknowledged", error, self._failures + 1)
        else:
            log.error("%s Nothing is acknowledged until it is back; starting over then from what it has", error)
        self._said = type(error)
