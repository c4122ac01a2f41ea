"""Exceptions as values that history can keep, and back into what an orchestrator catches."""

from __future__ import annotations

import traceback

from bide.errors import (
    ActivityFailedError,
    OutcomeUnknownError,
    SubOrchestrationFailedError,
    TaskFailedError,
)
from bide.history import Failure, SubOrchestrationInstanceCreated, TaskScheduled
from bide.interrupts import from_outside

_DEPTH_MAX = 8
_BASES_MAX = 20
_ORDINARY = ("Exception", "BaseException")


def failure_of(error: BaseException, depth: int = 0) -> Failure:
    """The error's type, message, stack and cause, as text."""
    if isinstance(error, TaskFailedError):
        cause: Failure | None = error.failure
    elif error.__cause__ is not None and depth < _DEPTH_MAX:
        cause = failure_of(error.__cause__, depth + 1)
    else:
        cause = None
    stack = "".join(traceback.format_tb(error.__traceback__))
    return Failure(_name(type(error)), _text(error), _plain(stack), cause, bases=_bases(type(error)))


def _bases(kind: type[BaseException]) -> tuple[str, ...]:
    """The names of the classes that it derives from: what a handler in Python would go by."""
    names = tuple(_name(base) for base in kind.__mro__[1:-1][:_BASES_MAX])
    return tuple(name for name in names if name not in _ORDINARY) if issubclass(kind, Exception) else names


def said(error: BaseException) -> str:
    """The error's type and message, whatever the code of its type raises."""
    return f"{_name(type(error))}: {_text(error)}"


def _name(kind: type) -> str:
    return _plain(kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}")


def _text(error: BaseException) -> str:
    try:
        return _plain(str(error))
    except BaseException as broken:  # an error that cannot be described is an error still
        if from_outside(broken):
            raise
        return f"(its text cannot be made: {type(broken).__qualname__})"


def _plain(text: str) -> str:
    """The text with half characters (as in file names that are not UTF-8) written out: JSON cannot hold them."""
    return text.encode(errors="backslashreplace").decode()


def task_error(request: TaskScheduled | SubOrchestrationInstanceCreated, failure: Failure) -> TaskFailedError:
    """What awaiting the failed call raises."""
    after = f" (attempt {request.attempt})" if request.attempt > 1 else ""
    text = f"'{request.name}' failed{after}: {failure.type}: {failure.message}"
    if isinstance(request, SubOrchestrationInstanceCreated):
        return SubOrchestrationFailedError(f"Sub-orchestration {text}", failure)
    if failure.kind == "outcome_unknown":
        return OutcomeUnknownError(f"Activity '{request.name}': {failure.message}", failure)
    return ActivityFailedError(f"Activity {text}", failure)
