"""Exceptions as values that history can keep, and back into what an orchestrator catches."""

from __future__ import annotations

import traceback
from typing import Literal, cast

from msgspec.structs import replace

from bide.errors import (
    ActivityFailedError,
    OutcomeUnknownError,
    SubOrchestrationFailedError,
    TaskFailedError,
)
from bide.model.history import Failure, SubOrchestrationInstanceCreated, TaskScheduled
from bide.model.interrupts import from_outside

MAX_CAUSES = 8
MAX_ERRORS = 100
"""So many errors are kept of one: itself, its causes and its members. The text of a group has their number."""
_BASES_MAX = 20
_ORDINARY = ("Exception", "BaseException")
_SHOWN, _SHOWN_CHARS = 5, 200
_QUOTED_HEAD, _QUOTED_TAIL = 1_000, 3_000


def failure_of(error: BaseException) -> Failure:
    """The error's type, message, stack, cause and members, as text."""
    return _Keeping().keep(error)


def failure_as(
    kind: type[BaseException], text: str, what: Literal["error", "timeout", "outcome_unknown"] = "error"
) -> Failure:
    """What the engine itself has to say: a failure of that class, which nobody raised."""
    return Failure(_name(kind), text, kind=what, bases=_bases(kind))


class _Keeping:
    """Turns an error and those that belong to it into one failure, as far as there is room."""

    def __init__(self) -> None:
        self._room = MAX_ERRORS

    def keep(self, error: BaseException, depth: int = 0) -> Failure:
        self._room -= 1
        cause = self._cause(error, depth)
        members = self._members(error, depth)
        text = _text(error) + _in_short(members)
        stack = _plain("".join(traceback.format_tb(error.__traceback__)))
        return Failure(_name(type(error)), text, stack, cause, bases=_bases(type(error)), members=members)

    def _cause(self, error: BaseException, depth: int) -> Failure | None:
        if isinstance(error, TaskFailedError):
            return self._adopt(error.failure, depth + 1)
        if error.__cause__ is None or depth >= MAX_CAUSES or self._room <= 0:
            return None
        return self.keep(error.__cause__, depth + 1)

    def _adopt(self, failure: Failure, depth: int) -> Failure:
        """A failure that is kept already. Where it goes on below what there is room for, the last cause is kept: it
        is where all of it began, however many sub-orchestrations are between."""
        self._room -= 1
        if depth < MAX_CAUSES:
            cause = failure.cause if failure.cause is None else self._adopt(failure.cause, depth + 1)
            members = tuple(self._adopt(each, depth + 1) for each in failure.members if self._room > 0)
            return replace(failure, cause=cause, members=members)
        last = failure
        while last.cause is not None:
            last = last.cause
        cause = None if last is failure else replace(last, members=())
        return replace(failure, cause=cause, members=())

    def _members(self, error: BaseException, depth: int) -> tuple[Failure, ...]:
        if not isinstance(error, BaseExceptionGroup) or depth >= MAX_CAUSES:
            return ()
        group = cast("BaseExceptionGroup[BaseException]", error)
        return tuple(self.keep(member, depth + 1) for member in group.exceptions if self._room > 0)


def _in_short(members: tuple[Failure, ...]) -> str:
    """What a group's own text does not say: which errors it has."""
    if not members:
        return ""
    shown = [f"{member.type}: {member.message}"[:_SHOWN_CHARS] for member in members[:_SHOWN]]
    return f": {'; '.join(shown)}{'; ...' if len(members) > _SHOWN else ''}"


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
        notes: list[str] = getattr(error, "__notes__", [])
        return _plain("\n".join([str(error), *notes]))
    except BaseException as broken:  # an error that cannot be described is an error still
        if from_outside(broken):
            raise
        return f"(its text cannot be made: {type(broken).__qualname__})"


def _plain(text: str) -> str:
    """The text with half characters (as in file names that are not UTF-8) written out: JSON cannot hold them."""
    return text.encode(errors="backslashreplace").decode()


def _bounded(text: str) -> str:
    """A text within another one, which may be within a third. What began all of it is at the end."""
    left_out = len(text) - _QUOTED_HEAD - _QUOTED_TAIL
    return text if left_out <= 0 else f"{text[:_QUOTED_HEAD]} [...] {text[-_QUOTED_TAIL:]}"


def task_error(request: TaskScheduled | SubOrchestrationInstanceCreated, failure: Failure) -> TaskFailedError:
    """What awaiting the failed call raises."""
    after = f" (attempt {request.attempt})" if request.attempt > 1 else ""
    text = f"'{request.name}' failed{after}: {failure.type}: {_bounded(failure.message)}"
    if isinstance(request, SubOrchestrationInstanceCreated):
        return SubOrchestrationFailedError(f"Sub-orchestration {text}", failure)
    if failure.kind == "outcome_unknown":
        return OutcomeUnknownError(f"Activity '{request.name}': {failure.message}", failure)
    return ActivityFailedError(f"Activity {text}", failure)
