"""The one table of facts: what each of them is, what it settles or gives up, and how it moves an instance.

Whatever tells facts apart derives from here, or is checked against it when it is imported: a fact that nobody has
thought of is an error then, and not one that is silently ignored. A pair of status and fact that has no place in
the table cannot happen; there is no other rule for what an instance may go through.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import Enum, auto
from typing import Any, get_args

from msgspec import Struct

from bide.model.history import (
    ContinuedAsNew,
    EventAwaited,
    EventDeadlineChanged,
    EventDiscarded,
    EventRaised,
    EventSent,
    EventWaitCancelled,
    ExecutionCompleted,
    ExecutionPurged,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    Fact,
    OrchestratorCompleted,
    OrchestratorStarted,
    Request,
    ResponseLinkCreated,
    Step,
    SubOrchestrationInstanceCancelled,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCancelled,
    TimerCreated,
    TimerFired,
    Unreadable,
)
from bide.model.instance import RuntimeStatus


class Role(Enum):
    """Who says a fact, and to whom."""

    CONTROL = auto()
    """A message about the instance as a whole."""
    ANSWER = auto()
    """A message for the code: what it has asked for, or an event."""
    REQUEST = auto()
    """The code asks, and is answered by another fact; until then it is open."""
    GIVING_UP = auto()
    """The code does not want any more what it asked for."""
    NOTICE = auto()
    """What came of the code's step, and is done with it."""
    ENDING = auto()
    """The code is through. The last fact of its step."""
    STAND_IN = auto()
    """In place of a fact that cannot be read. It is never written."""


Moves = Mapping[RuntimeStatus, RuntimeStatus]

_PENDING, _RUNNING, _SUSPENDED = RuntimeStatus.PENDING, RuntimeStatus.RUNNING, RuntimeStatus.SUSPENDED
_COMPLETED, _FAILED, _TERMINATED = RuntimeStatus.COMPLETED, RuntimeStatus.FAILED, RuntimeStatus.TERMINATED
_GOES_ON: Moves = {_RUNNING: _RUNNING, _SUSPENDED: _SUSPENDED}


class Rule(Struct, frozen=True, kw_only=True):
    """What is so for all facts of one kind.

    `request` is the kind of what it settles or gives up. `moves` says from which status to which it takes an
    instance, `failing` the same for one that has a failure.
    """

    role: Role
    request: type[Request] | None = None
    moves: Moves = {}
    failing: Moves = {}


RULES: Mapping[type[Fact], Rule] = {
    # From any end, a start begins the next generation, which waits for a worker as a new instance does.
    ExecutionStarted: Rule(
        role=Role.CONTROL,
        moves={_PENDING: _RUNNING, _COMPLETED: _PENDING, _FAILED: _PENDING, _TERMINATED: _PENDING},
    ),
    ExecutionSuspended: Rule(role=Role.CONTROL, moves={_RUNNING: _SUSPENDED}),
    ExecutionResumed: Rule(role=Role.CONTROL, moves={_SUSPENDED: _RUNNING}),
    ExecutionTerminated: Rule(
        role=Role.CONTROL, moves={_PENDING: _TERMINATED, _RUNNING: _TERMINATED, _SUSPENDED: _TERMINATED}
    ),
    # Back to the beginning; what is left of the history happens again from there (`status_after`).
    ExecutionRewound: Rule(role=Role.CONTROL, moves={_FAILED: _PENDING}),
    # After it there is no instance that could have a status.
    ExecutionPurged: Rule(
        role=Role.CONTROL, moves={_COMPLETED: _COMPLETED, _FAILED: _FAILED, _TERMINATED: _TERMINATED}
    ),
    TaskCompleted: Rule(role=Role.ANSWER, request=TaskScheduled, moves=_GOES_ON),
    TaskFailed: Rule(role=Role.ANSWER, request=TaskScheduled, moves=_GOES_ON),
    TimerFired: Rule(role=Role.ANSWER, request=TimerCreated, moves=_GOES_ON),
    # Before the code has begun, an event is kept for it.
    EventRaised: Rule(role=Role.ANSWER, request=EventAwaited, moves={_PENDING: _PENDING, **_GOES_ON}),
    SubOrchestrationInstanceCompleted: Rule(
        role=Role.ANSWER, request=SubOrchestrationInstanceCreated, moves=_GOES_ON
    ),
    SubOrchestrationInstanceFailed: Rule(role=Role.ANSWER, request=SubOrchestrationInstanceCreated, moves=_GOES_ON),
    TaskScheduled: Rule(role=Role.REQUEST),
    TimerCreated: Rule(role=Role.REQUEST),
    EventAwaited: Rule(role=Role.REQUEST),
    SubOrchestrationInstanceCreated: Rule(role=Role.REQUEST),
    TimerCancelled: Rule(role=Role.GIVING_UP, request=TimerCreated),
    EventWaitCancelled: Rule(role=Role.GIVING_UP, request=EventAwaited),
    SubOrchestrationInstanceCancelled: Rule(role=Role.GIVING_UP, request=SubOrchestrationInstanceCreated),
    OrchestratorStarted: Rule(role=Role.REQUEST),
    OrchestratorCompleted: Rule(role=Role.ANSWER, request=OrchestratorStarted, moves=_GOES_ON),
    EventDeadlineChanged: Rule(role=Role.NOTICE),
    EventSent: Rule(role=Role.NOTICE),
    EventDiscarded: Rule(role=Role.NOTICE),
    ResponseLinkCreated: Rule(role=Role.NOTICE),
    ExecutionCompleted: Rule(role=Role.ENDING, moves={_RUNNING: _COMPLETED}, failing={_RUNNING: _FAILED}),
    ContinuedAsNew: Rule(role=Role.ENDING, moves={_RUNNING: _PENDING}),
    Unreadable: Rule(role=Role.STAND_IN),
}


def of_role(*roles: Role) -> frozenset[type[Fact]]:
    """The kinds of facts that have one of these roles."""
    return frozenset(kind for kind, rule in RULES.items() if rule.role in roles)


def check_covers(table: Iterable[type[Fact]], *roles: Role, without: Collection[type[Fact]] = ()) -> None:
    """A table says something for each kind of fact of these roles, and for no other kind.

    `without` names those for which there is nothing to do. Raises `TypeError`.
    """
    odd = frozenset(table) ^ (of_role(*roles) - frozenset(without))
    if odd:
        names = ", ".join(sorted(kind.__name__ for kind in odd))
        raise TypeError(f"A table and the rules of facts do not agree about: {names}.")


check_covers(get_args(Fact), *Role)

ANSWERS = of_role(Role.ANSWER)
SETTLES: Mapping[type[Fact], type[Request]] = {
    kind: rule.request for kind, rule in RULES.items() if rule.role is Role.ANSWER and rule.request is not None
}
"""Answer -> the kind of request that it settles."""

_MOVES: dict[tuple[RuntimeStatus, type[Any]], RuntimeStatus] = {
    (before, kind): after for kind, rule in RULES.items() for before, after in rule.moves.items()
}


def next_status(status: RuntimeStatus, fact: Fact) -> RuntimeStatus | None:
    """The status into which the fact takes an instance, or None if it cannot happen to one that is `status`."""
    failing = RULES[type(fact)].failing
    if failing and getattr(fact, "failure", None) is not None:
        return failing.get(status)
    return _MOVES.get((status, type(fact)))


def moved(status: RuntimeStatus, fact: Fact) -> RuntimeStatus:
    """The status into which the fact takes an instance. Raises `AssertionError` if it cannot happen."""
    found = next_status(status, fact)
    assert found is not None, f"{type(fact).__name__} cannot happen to an instance that is {status}"
    return found


def can_happen(status: RuntimeStatus, kind: type[Fact]) -> bool:
    """Whether a fact of that kind can happen to an instance that is `status`."""
    return (status, kind) in _MOVES


def status_after(history: Iterable[Step], status: RuntimeStatus) -> RuntimeStatus:
    """The status to which these steps' messages lead from another one. What was a rewind then moves nothing now."""
    for step in history:
        status = next_status(status, step.facts[0]) or status
    return status
