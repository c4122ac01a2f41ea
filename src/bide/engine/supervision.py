"""Keeps the worker's loop running: should its task end, whatever ended it, it is said, and the loop begins anew."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from bide.engine.intake import Entry
from bide.engine.worker import Worker
from bide.errors import StoreReplacedError

log = logging.getLogger("bide.worker")

_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_LONGEST_COMMIT_S = 10.0
"""Whoever waits for a commit is answered after so long, or twice that, with or without it."""


class Supervisor:
    """Runs one worker until it is stopped. `fell` is called when its loop ends before that; `lost` when it ends for
    good, because what is written is not in the database any more."""

    def __init__(
        self,
        worker: Worker,
        fell: Callable[[], None],
        lost: Callable[[StoreReplacedError], None],
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._worker = worker
        self._fell = fell
        self._lost = lost
        self._pause_s = pause_s
        self._in_turn: Sequence[Entry] | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None
        """In which the worker's loop runs; None: it is about to begin anew."""

    def start(self) -> None:
        self.task = asyncio.get_running_loop().create_task(self._worker.run())
        self.task.add_done_callback(self._look)

    def look_at_turn(self) -> None:
        """Called now and then: let nobody wait for a commit that has not come back since the last time."""
        present, before = self._worker.in_turn, self._in_turn
        self._in_turn = present
        if present is not None and present is before:
            log.error("The database has not answered for %g s: whoever waits for it is told so", _LONGEST_COMMIT_S)
            self._worker.give_up_waiting()

    async def watch(self) -> None:
        """Look every few seconds whether a commit comes back."""
        while True:
            await asyncio.sleep(_LONGEST_COMMIT_S)
            self.look_at_turn()

    async def end(self) -> None:
        """Return once the worker, which was told to stop, has done what was left to do."""
        await self._ended

    def _look(self, task: asyncio.Task[None]) -> None:
        """No task of its own looks after the loop, so nothing can cancel that, too."""
        error = None if task.cancelled() else task.exception()
        if not task.cancelled() and error is None:
            self._ended.set_result(None)
            return
        self.task = None
        if isinstance(error, StoreReplacedError):
            log.critical("%s", error)
            self._lost(error)
            self._ended.set_result(None)
            return
        why = f"{type(error).__name__}: {error}" if error is not None else "its task was cancelled"
        log.error("The worker's loop ended: %s. It begins anew in %g s", why, self._pause_s, exc_info=error)
        self._worker.fall(error or asyncio.CancelledError())
        self._fell()
        asyncio.get_running_loop().call_later(self._pause_s, self.start)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
