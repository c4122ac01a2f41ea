"""What the code has asked for, and awaits or may await."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, TypeGuard

from bide.core.records import Record
from bide.core.tasks import DurableTimer, ExternalEvent, Task
from bide.model.clock import Timestamp
from bide.model.history import EventRaised, SubOrchestrationInstanceCreated, TaskScheduled
from bide.model.payload import Decode
from bide.model.retry import RetryPolicy


class OpenCall(Record):
    """An activity or sub-orchestration that is under way, through all its attempts."""

    request: TaskScheduled | SubOrchestrationInstanceCreated
    task: Task[Any]
    decode: Decode
    retry: RetryPolicy | None
    began: Timestamp
    child_id: str | None = None
    """The id that was chosen for the sub-orchestration: each attempt uses it."""


class OpenWait(Record):
    """A wait for an event, with the timer that ends it (0: none)."""

    id: int
    event: ExternalEvent[Any]
    wanted: Any
    decode: Decode
    secret: bool
    """Whether nobody but the code is shown the answer."""
    since: Timestamp
    place: int
    """Where among all that is asked for in its step the request stands; -1 once that step is over."""
    timer_id: int = 0
    timeout_at: Timestamp | None = None
    deadline: Timestamp | None = None
    judged: EventRaised | None = None
    """The event that was found to fit, and `value`: its data is read once."""
    value: Any = None


Target: TypeAlias = OpenCall | OpenWait | DurableTimer


def is_wait(target: Target, key: int) -> TypeGuard[OpenWait]:
    """Whether this is a wait under its own id: one with a timeout is open under its timer's id too."""
    return isinstance(target, OpenWait) and target.id == key


def task_of(target: Target) -> Task[Any]:
    """What the code awaits of it."""
    match target:
        case OpenCall():
            return target.task
        case OpenWait():
            return target.event
        case _:
            return target


def called(target: Target) -> str:
    """What it is, in words."""
    if isinstance(target, DurableTimer):
        return f"The timer (id {target.id_})"
    if isinstance(target, OpenWait):
        return f"The wait for '{target.event.name}' (id {target.id})"
    kind = "activity" if isinstance(target.request, TaskScheduled) else "sub-orchestration"
    return f"The {kind} '{target.request.name}' (id {target.request.id})"


def is_seen(tasks: Sequence[Task[Any]]) -> bool:
    """Whether the code has looked at one of them."""
    return any(task.seen_ for task in tasks)
