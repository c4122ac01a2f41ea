"""What history has of the step that is replayed, and what of it is taken in place of what the code asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

from bide.model.history import (
    EventDiscarded,
    EventSent,
    Fact,
    ResponseLinkCreated,
    SubOrchestrationInstanceCancelled,
    SubOrchestrationInstanceCreated,
    TaskScheduled,
    TimerCreated,
    describe,
)

Asked = TypeVar(
    "Asked",
    TaskScheduled | SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceCancelled,
    TimerCreated,
    EventSent,
)
_NAMED = (
    TaskScheduled,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceCancelled,
    TimerCreated,
    EventSent,
    ResponseLinkCreated,
)
"""What has more to it than its kind, id and name."""


class Recorded:
    """Of one step."""

    __slots__ = ("_discards", "_facts", "_strict")

    def __init__(self, facts: Sequence[Fact], *, strict: bool) -> None:
        """With `strict`, nothing is taken but links, which cannot be made again."""
        self._strict = strict
        self._discards = [fact for fact in facts if isinstance(fact, EventDiscarded) and fact.id]
        self._facts: dict[tuple[type[Fact], int], Fact] = {
            (type(fact), fact.id): fact for fact in facts if isinstance(fact, _NAMED)
        }

    def of(self, kind: type[Fact], task_id: int) -> Fact | None:
        """What was asked for then, of that kind and under that id."""
        return self._facts.get((kind, task_id))

    def in_place_of(self, asked: Asked, differences: list[str]) -> Asked:
        """What history has in place of what the code asks for, if it is of the same kind, id and name."""
        recorded = self.of(type(asked), asked.id)
        if recorded is None or self._strict or recorded == asked or name_in(recorded) != name_in(asked):
            return asked
        differences.append(describe(recorded))
        return cast("Asked", recorded)

    def next_discard(self, wait_id: int) -> EventDiscarded | None:
        """The next event that was discarded, if that was for this wait."""
        return self._discards.pop(0) if self._discards and self._discards[0].id == wait_id else None


def name_in(fact: Fact) -> str:
    """The name of a function or an event, as names compare."""
    return str(getattr(fact, "name", "")).casefold()
