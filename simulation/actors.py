"""Coroutines without an event loop: whoever holds one sends it on when it likes, or drops it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any

from bide.model.clock import Timestamp


class Until:
    """Awaiting it suspends an actor until something holds, or a time has come."""

    __slots__ = ("at", "holds")

    def __init__(self, holds: Callable[[], bool] | None = None, at: Timestamp | None = None) -> None:
        self.holds = holds
        self.at = at

    def __await__(self) -> Generator[Until, None, None]:
        yield self


class Actor:
    """A client, or an activity that is running."""

    __slots__ = ("_code", "_until", "done", "name")

    def __init__(self, name: str, code: Coroutine[Any, Any, None]) -> None:
        self.name = name
        self.done = False
        self._code = code
        self._until: Until | None = None

    def ready(self, now: Timestamp) -> bool:
        until = self._until
        if until is None:
            return True
        if until.at is not None and now >= until.at:
            return True
        return until.holds is not None and until.holds()

    @property
    def wakes_at(self) -> Timestamp | None:
        return None if self._until is None else self._until.at

    def step(self) -> None:
        try:
            self._until = self._code.send(None)
        except StopIteration:
            self.done = True

    def drop(self) -> None:
        """End it wherever it is, as a crash would."""
        self.done = True
        self._code.close()
