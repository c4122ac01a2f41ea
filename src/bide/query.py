"""Which instances, waits and audit entries are meant, and where a page of them ends.

Pages are found by key, not by number: a page begins after the last row of the one before, so rows that come or go
meanwhile neither repeat nor hide others.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from msgspec import Struct

from bide.batch import Timer
from bide.clock import Timestamp, to_timestamp
from bide.instance import Instance, RuntimeStatus, Wait

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

    Raises `TypeError` for a time that is no `datetime`, and `ValueError` for one without a time zone.
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
