"""Which instances, waits and audit entries are meant, and where a page of them ends.

Pages are found by key, not by number: a page begins after the last row of the one before, so rows that come or go
meanwhile neither repeat nor hide others.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any, NamedTuple, TypeVar, cast, get_type_hints

from msgspec import Struct
from msgspec.structs import force_setattr

from bide.model.arguments import check_flag, check_kind, check_stored
from bide.model.batch import Timer
from bide.model.clock import Timestamp, to_timestamp
from bide.model.instance import Instance, RuntimeStatus, Wait, check_tags
from bide.model.payload import check_text

NEVER: Timestamp = 2**62


class InstanceCursor(NamedTuple):
    """An instance's place among all: newest first."""

    created_at: Timestamp
    id: str


class WaitCursor(NamedTuple):
    """A wait's place among all: the most urgent first. Without a deadline it is due at `NEVER`."""

    due: Timestamp
    instance_id: str
    id: int


class FailureCursor(NamedTuple):
    """A failed instance's place among all: the last failure first."""

    failed_at: Timestamp
    id: str


class TimerCursor(NamedTuple):
    """An open timer's place among all: the next one first."""

    fire_at: Timestamp
    instance_id: str
    generation: int
    task_id: int


class InstanceFilter(Struct, frozen=True, kw_only=True):
    """Instances that meet every condition given. Times include both ends.

    Raises `TypeError` for a time that is no `datetime`, or another value of another type, `ValueError` for a time
    without a time zone, and `PayloadError` for texts and tags that no instance can have.
    """

    created_from: datetime | None = None
    created_to: datetime | None = None
    statuses: tuple[RuntimeStatus, ...] = ()
    """Any of these; none given: all."""
    id_prefix: str = ""
    name: str = ""
    """The orchestrator's name."""
    tags: dict[str, str] = {}
    """All of these, with these values."""
    held: bool = False
    """Only those that are held."""

    def __post_init__(self) -> None:
        for name, at in (("created_from", self.created_from), ("created_to", self.created_to)):
            if at is not None:
                _check_moment(name, at)
        for status in cast("tuple[object, ...]", check_kind("statuses", self.statuses, tuple)):
            check_kind("Each of the statuses", status, RuntimeStatus)
        force_setattr(self, "id_prefix", check_text(self.id_prefix, "The beginning of an id"))
        force_setattr(self, "name", check_text(self.name, "An orchestrator's name"))
        force_setattr(self, "tags", check_tags(self.tags))
        check_flag("held", self.held)


EVERYTHING = InstanceFilter()


def check_filter(where: object) -> InstanceFilter:
    """The filter itself; for None, the one that all instances meet. Raises `TypeError`."""
    return EVERYTHING if where is None else check_kind("where", where, InstanceFilter)


Cursor = TypeVar("Cursor", bound=tuple[Any, ...])


def check_cursor(after: object, wanted: type[Cursor]) -> Cursor | None:
    """The cursor itself, if it can be one, or None. Raises `TypeError`, `ValueError` and `PayloadError`."""
    if after is None:
        return None
    for (name, kind), part in zip(_hints(wanted).items(), check_kind("after", after, wanted), strict=True):
        shown = f"The {name} of a cursor"
        if kind is str:
            check_text(part, shown)
        else:
            check_stored(shown, part)
    return cast("Cursor", after)


_hints = cache(get_type_hints)


def _check_moment(name: str, at: object) -> None:
    if not isinstance(at, datetime):
        raise TypeError(f"{name} is a datetime with a time zone, not {type(at).__qualname__}.")
    to_timestamp(at)


class WaitFilter(Struct, frozen=True, kw_only=True):
    """Open waits that meet every condition given."""

    due_before: Timestamp | None = None
    """Only those whose deadline lies before this instant."""
    name: str = ""
    """The event's name, compared case-insensitively."""
    orchestrator: str = ""
    """The name of the instance's function."""
    tags: dict[str, str] = {}
    """Tags that the instance has, all of them."""


def instance_cursor(instance: Instance) -> InstanceCursor:
    return InstanceCursor(instance.created, instance.id)


def failure_cursor(instance: Instance) -> FailureCursor:
    return FailureCursor(instance.updated, instance.id)


def timer_cursor(timer: Timer) -> TimerCursor:
    return TimerCursor(timer.fire_at, timer.instance_id, timer.generation, timer.task_id)


def wait_cursor(wait: Wait) -> WaitCursor:
    return WaitCursor(NEVER if wait.due is None else wait.due, wait.instance_id, wait.id)
