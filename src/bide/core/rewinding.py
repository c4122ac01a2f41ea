"""Setting a failed instance back to where it went wrong.

The failure that ended it has a cause. If that is a failed activity or child, the steps from its failure on are
undone, and it runs again; otherwise the last step is undone. Messages that came in undone steps are told again, in
their order, so no answer is lost. What was open at that point was dropped when the instance failed, and is opened
again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from msgspec.structs import replace

from bide.core.openwork import OpenWork
from bide.model.clock import Timestamp
from bide.model.history import (
    EventDeadlineChanged,
    ExecutionCompleted,
    ExecutionRewound,
    Fact,
    Failure,
    OrchestratorCompleted,
    Request,
    Step,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TimerFired,
)

_Failed: TypeAlias = TaskFailed | SubOrchestrationInstanceFailed
_NOT_AGAIN = (TaskFailed, SubOrchestrationInstanceFailed, ExecutionRewound, OrchestratorCompleted)
"""What has failed runs again, and so does a turn."""
_Answer: TypeAlias = TaskCompleted | TimerFired | SubOrchestrationInstanceCompleted


def undone_from(history: Sequence[Step]) -> int:
    """The index of the first step that a rewind undoes."""
    first = _failed_at(history)
    # Code that awaits several calls at once goes on when the last of them is done. Failures before that have not
    # moved it either.
    for index in range(first - 1, 0, -1):
        if len(history[index].facts) > 1:
            break
        if isinstance(history[index].facts[0], _Failed):
            first = index
    return first


def told_again(undone: Sequence[Step]) -> list[Fact]:
    """The messages of these steps that the instance must hear once more."""
    messages = [step.facts[0] for step in undone]
    return [fact for fact in messages if not isinstance(fact, _NOT_AGAIN)]


def still_wanted(work: OpenWork, again: Sequence[Fact]) -> list[Fact]:
    """Those of the messages that answer something open, or nothing in particular."""
    return [fact for fact in again if work.expects(fact)]


def asked_again(
    kept: Sequence[Step], work: OpenWork, again: Sequence[Fact]
) -> Iterator[tuple[Timestamp, Request | EventDeadlineChanged]]:
    """The open requests that nobody works on any more, with the instants at which they were asked for.

    That is all but those whose answer is there already. A wait comes with what its deadline has become.
    """
    answers = [fact for fact in (*work.deferred, *again) if isinstance(fact, _Answer | _Failed)]
    open_ids = work.requests.keys() - {answer.id for answer in answers}
    for step in kept:
        for fact in step.facts[1:]:
            if isinstance(fact, Request | EventDeadlineChanged) and fact.id in open_ids:
                yield step.time, fact


def _failed_at(history: Sequence[Step]) -> int:
    """The step whose message is the cause of the instance's failure, or the last one."""
    last = len(history) - 1
    ending = history[last].facts[-1]
    causes = [_alone(each) for each in _causes(ending.failure)] if isinstance(ending, ExecutionCompleted) else []
    for index in range(last, 0, -1):
        message = history[index].facts[0]
        if isinstance(message, _Failed) and _alone(message.failure) in causes:
            return index
    return last


def _alone(failure: Failure) -> Failure:
    """Of what is below it, the instance's own failure may have less."""
    return replace(failure, cause=None, members=())


def _causes(failure: Failure | None) -> Iterator[Failure]:
    while failure is not None:
        yield failure
        failure = failure.cause
