"""What a worker does now and then, beside stepping: each such thing is a chore."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bide.model.clock import Timestamp


class Chore(Protocol):
    """Something that is to be done at times."""

    @property
    def next_at(self) -> Timestamp:
        """When it is due."""
        ...

    async def run(self, now: Timestamp) -> bool:
        """Do it. Returns whether it has more to do at once. May raise what the store does."""
        ...

    def set_back(self, now: Timestamp) -> None:
        """The clock shows less than before, and this: what is to be done in a while is not further away than that
        while."""
        ...


class Agenda:
    """The chores of a worker, in the order in which they are done when several are due."""

    def __init__(self, chores: Sequence[Chore]) -> None:
        self._chores = chores

    @property
    def next_at(self) -> Timestamp:
        """When the next one is due."""
        return min(chore.next_at for chore in self._chores)

    async def run(self, now: Timestamp) -> bool:
        """Do what is due. Returns whether any of it has more to do at once."""
        more = False
        for chore in self._chores:
            if now >= chore.next_at and await chore.run(now):
                more = True
        return more

    def set_back(self, now: Timestamp) -> None:
        """The clock was set back to this."""
        for chore in self._chores:
            chore.set_back(now)
