"""A history in the form that clients of Durable Functions read.

There, what was asked for is folded into the event that ends it: a `TaskCompleted` has the function's name and when
it was scheduled. What is still open does not appear, except for timers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from textwrap import indent
from typing import Any, TypeAlias

from bide.model.clock import to_datetime
from bide.model.history import (
    ContinuedAsNew,
    EventRaised,
    EventSent,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    Fact,
    Failure,
    Step,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
    Unreadable,
)
from bide.model.instance import RuntimeStatus
from bide.model.rules import moved

Event: TypeAlias = dict[str, Any]

_DEEP = 20
"""So deep are causes and members shown. Earlier versions have written more of them."""


def history_events(steps: Iterable[Step], *, show_input: bool, show_output: bool) -> tuple[Event, ...]:
    """The events of a history, oldest first. Results only with `show_output`, inputs only with `show_input`."""
    return tuple(_Folding(show_input, show_output).events(steps))


class _Folding:
    def __init__(self, show_input: bool, show_output: bool) -> None:
        self._show_input = show_input
        self._show_output = show_output
        self._scheduled: dict[int, tuple[str, datetime]] = {}
        """Task id -> the function's name, and when it was called."""

    def events(self, steps: Iterable[Step]) -> Iterator[Event]:
        for step in steps:
            at = step.at
            for fact in step.facts:
                shown = self._event(fact, at)
                if shown is not None:
                    yield {"EventType": type(fact).__name__, "Timestamp": at, **shown}

    def _event(self, fact: Fact, at: datetime) -> Event | None:
        match fact:
            case ExecutionStarted():
                return {"FunctionName": fact.name, **self._input(fact)}
            case TaskScheduled() | SubOrchestrationInstanceCreated():
                self._scheduled[fact.id] = (fact.name, at)
                return None
            case TaskCompleted() | SubOrchestrationInstanceCompleted():
                return {**self._call(fact.id), **self._result(fact)}
            case TaskFailed() | SubOrchestrationInstanceFailed():
                return {**self._call(fact.id), **_failure(fact.failure)}
            case TimerCreated():
                self._scheduled[fact.id] = ("", at)
                return {"FireAt": to_datetime(fact.fire_at)}
            case TimerFired():
                at = self._call(fact.id)["ScheduledTime"]
                return {"FireAt": to_datetime(fact.fire_at), "ScheduledTime": at}
            case EventRaised():
                return {"Name": fact.name, **self._input(fact)}
            case EventSent():
                return {"Name": fact.name, "InstanceId": fact.instance_id, **self._input(fact)}
            case _:
                return self._life(fact)

    def _life(self, fact: Fact) -> Event | None:
        match fact:
            case (
                ExecutionSuspended()
                | ExecutionResumed()
                | ExecutionRewound()
                | ExecutionTerminated()
                | Unreadable()
            ):
                return {"Reason": fact.reason}
            case ExecutionCompleted():
                shown = {"OrchestrationStatus": moved(RuntimeStatus.RUNNING, fact).value}
                return {**shown, **(self._result(fact) if fact.failure is None else _failure(fact.failure))}
            case ContinuedAsNew():
                return self._input(fact)
            case _:  # bookkeeping that its readers do not know
                return None

    def _call(self, task_id: int) -> Event:
        name, at = self._scheduled.get(task_id, ("", None))  # the step that has it may be one that cannot be read
        return {"ScheduledTime": at, "FunctionName": name}

    def _input(self, fact: ExecutionStarted | EventRaised | EventSent | ContinuedAsNew) -> Event:
        return {"Input": fact.input} if self._show_input else {}

    def _result(self, fact: TaskCompleted | SubOrchestrationInstanceCompleted | ExecutionCompleted) -> Event:
        return {"Result": fact.result} if self._show_output else {}


def _failure(failure: Failure) -> Event:
    return {"Reason": failure.message, "Details": _details(failure)}


def _details(failure: Failure, depth: int = 0) -> str:
    """Where it was raised; below it, the members of a group, and what caused it."""
    parts = [failure.stack or failure.type]
    if depth < _DEEP:
        parts += [f"{number}. {_told(member, depth)}" for number, member in enumerate(failure.members, 1)]
        parts += [f"Caused by {_told(failure.cause, depth)}"] if failure.cause is not None else []
    return "\n".join(parts)


def _told(failure: Failure, depth: int) -> str:
    return indent(f"{failure.type}: {failure.message}\n{_details(failure, depth + 1)}", "  ").lstrip()
