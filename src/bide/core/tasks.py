"""The tasks an orchestrator awaits, and the two ways to combine them.

A task is a plain value holder: no event loop, no callbacks into user code. Awaiting one that is not done yields
the task to whoever drives the orchestrator, who sends the result in when it comes.

A trailing underscore marks what is the engine's, not the author's; so do the functions at the end.
"""

from __future__ import annotations

from collections.abc import Generator
from datetime import datetime
from functools import lru_cache
from typing import Any, Generic, Protocol, TypeVar, overload

from bide.core.failures import failure_as
from bide.errors import TaskCancelledError
from bide.model.clock import Timestamp, to_datetime
from bide.model.history import Failure
from bide.model.instance import check_reason

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
TaskA = TypeVar("TaskA", bound="Task[Any]")
TaskB = TypeVar("TaskB", bound="Task[Any]")


class Task(Generic[T]):
    """Something that will be done. `await` it (or `yield` it in a generator) for its result."""

    __slots__ = ("done_", "error_", "seen_", "value_", "watchers_")

    def __init__(self) -> None:
        self.done_ = False
        self.seen_ = False
        self.value_: Any = None
        self.error_: Exception | None = None
        self.watchers_: list[_Combination[Any]] | None = None

    def __await__(self) -> Generator[Any, Any, T]:
        self.seen_ = True
        if self.done_:
            return self.result
        value: T = yield self
        return value

    @property
    def is_completed(self) -> bool:
        """True once the task has a result or an error, or was cancelled."""
        self.seen_ = True
        return self.done_

    @property
    def is_cancelled(self) -> bool:
        """True if the task was given up: awaiting it raises `TaskCancelledError`."""
        self.seen_ = True
        return _is_cancelled(self)

    @property
    def is_failed(self) -> bool:
        """True if the task is done and failed, or was cancelled."""
        self.seen_ = True
        return self.error_ is not None

    @property
    def error(self) -> Exception | None:
        """The error of a failed task, else None."""
        self.seen_ = True
        return self.error_

    @property
    def result(self) -> T:
        """The result. Raises the task's error if it failed, `RuntimeError` if it is not done."""
        self.seen_ = True
        if self.error_ is not None:
            raise self.error_
        if not self.done_:
            raise RuntimeError("This task is not done yet: await it before you read its result.")
        value: T = self.value_
        return value


class Canceller(Protocol):
    """What a timer and a wait need of the execution they belong to."""

    def cancel(self, task_id: int) -> None: ...


class DurableTimer(Task[None]):
    """A timer that survives restarts. It never fires early, and fires once (G3)."""

    __slots__ = ("fire_at_", "id_", "owner_", "reminder_")

    def __init__(self, owner: Canceller, task_id: int, fire_at: Timestamp, reminder: bool = False) -> None:
        super().__init__()
        self.owner_ = owner
        self.id_ = task_id
        self.fire_at_ = fire_at
        self.reminder_ = reminder

    @property
    def fire_at(self) -> datetime:
        """When it is due, in UTC."""
        return to_datetime(self.fire_at_)

    def cancel(self) -> None:
        """Give the timer up: it will never fire, and awaiting it raises `TaskCancelledError`.

        Does nothing if it is done or cancelled.
        """
        self.owner_.cancel(self.id_)


class ExternalEvent(Task[T]):
    """An open wait for an event from outside."""

    __slots__ = ("id_", "name", "owner_")

    def __init__(self, owner: Canceller, task_id: int, name: str) -> None:
        super().__init__()
        self.owner_ = owner
        self.id_ = task_id
        self.name = name

    def cancel(self) -> None:
        """Give the wait up: it takes no event, so the next one is kept for whoever waits next (G4).

        Awaiting it raises `TaskCancelledError`. Does nothing if it is done or cancelled.
        """
        self.owner_.cancel(self.id_)


class CallCanceller(Protocol):
    """What a sub-orchestration needs of the execution it belongs to."""

    def cancel_call(self, open_id: int, reason: str) -> None: ...


class SubOrchestration(Task[T]):
    """A sub-orchestration that is under way, through all its attempts."""

    __slots__ = ("open_id_", "owner_")

    def __init__(self, owner: CallCanceller) -> None:
        super().__init__()
        self.owner_ = owner
        self.open_id_ = 0

    def cancel(self, reason: str = "") -> None:
        """Give it up: the child is terminated for that reason, with all its own children, and nobody is asked any
        more. There is no further attempt, and awaiting it raises `TaskCancelledError`.

        Does nothing if it is done or cancelled.
        """
        self.owner_.cancel_call(self.open_id_, check_reason(reason))


class _Combination(Task[T]):
    __slots__ = ("children_",)

    def __init__(self, children: tuple[Task[Any], ...]) -> None:
        super().__init__()
        self.children_: tuple[Task[Any], ...] = children

    def watch_(self, child: Task[Any]) -> None:
        """Hear of a child that is not done. Whoever looks at this one has looked at the child."""
        if child.watchers_ is None:
            child.watchers_ = [self]
        else:
            child.watchers_.append(self)

    def child_done_(self, child: Task[Any]) -> None:
        raise NotImplementedError


class _WhenAny(_Combination[T]):
    __slots__ = ()

    def __init__(self, children: tuple[Task[Any], ...]) -> None:
        super().__init__(children)
        for child in children:
            if not child.done_:
                self.watch_(child)
        first = next((child for child in children if child.done_ and not _is_cancelled(child)), None)
        if first is not None:
            self._settle(first)
        elif all(child.done_ for child in children):
            settle(self, None, cancelled("Each task of this when_any"))

    def child_done_(self, child: Task[Any]) -> None:
        if self.done_:
            return
        if not _is_cancelled(child):
            self._settle(child)
        elif all(other.done_ for other in self.children_):
            settle(self, None, cancelled("Each task of this when_any"))
            self.children_ = ()

    def _settle(self, first: Task[Any]) -> None:
        settle(self, first)
        self.children_ = ()  # the others still know this one: without the way back, no cycle is left behind


class _WhenAll(_Combination[T]):
    __slots__ = ("missing_",)

    def __init__(self, children: tuple[Task[Any], ...]) -> None:
        super().__init__(children)
        missing = [child for child in dict.fromkeys(children) if not child.done_]
        for child in missing:
            self.watch_(child)
        self.missing_ = len(missing)
        if not missing:
            self._finish()

    def child_done_(self, child: Task[Any]) -> None:
        self.missing_ -= 1
        if not self.missing_:
            self._finish()

    def _finish(self) -> None:
        failed = next((child.error_ for child in self.children_ if child.error_ is not None), None)
        settle(self, None if failed else tuple(child.value_ for child in self.children_), failed)


@overload
def when_any(first: TaskA, second: TaskB, /) -> Task[TaskA | TaskB]: ...
@overload
def when_any(*tasks: TaskA) -> Task[TaskA]: ...
def when_any(*tasks: Task[Any]) -> Task[Any]:
    """A task whose result is the first of `tasks` to be done, successfully or not.

    If several are done already, it is the first of them in the order given. The others stay open: cancel a timer
    or a wait that is not needed any more. Cancelled tasks are passed over, so a list of tasks can be used again; if
    all of them are cancelled, it raises `TaskCancelledError` when it is awaited.

    Raises `ValueError` without tasks, `TypeError` for what is no task.
    """
    _see_done("when_any", tasks)
    if not tasks:
        raise ValueError("when_any needs at least one task: nothing could ever be first")
    return _WhenAny(tasks)


@overload
def when_all(first: Task[A], second: Task[B], /) -> Task[tuple[A, B]]: ...
@overload
def when_all(first: Task[A], second: Task[B], third: Task[C], /) -> Task[tuple[A, B, C]]: ...
@overload
def when_all(*tasks: Task[T]) -> Task[tuple[T, ...]]: ...
def when_all(*tasks: Task[Any]) -> Task[Any]:
    """A task that is done when all of `tasks` are; its result is theirs, in the order given.

    If any failed or was cancelled, it raises the error of the first of them in that order, but only once all are
    done, so that no result is lost on the way. Raises `TypeError` for what is no task.
    """
    _see_done("when_all", tasks)
    return _WhenAll(tasks)


def _see_done(name: str, tasks: tuple[object, ...]) -> None:
    """Those that are done have no one to tell. Raises `TypeError` for what is no task."""
    for task in tasks:
        if isinstance(task, Task):
            task.seen_ |= task.done_
        else:
            kind = type(task).__name__
            raise TypeError(
                f"{name} takes tasks, each as an argument of its own: {name}(*tasks). This is a {kind}."
            )


# --- the engine's side


def _is_cancelled(task: Task[Any]) -> bool:
    return isinstance(task.error_, TaskCancelledError)


def with_watchers(task: Task[Any]) -> list[Task[Any]]:
    """The task, and all that hear of it."""
    found = [task]
    for each in found:
        found += each.watchers_ or ()
    return found


def cancelled(what: str) -> TaskCancelledError:
    """The error of what was given up."""
    failure = _given_up(what)
    return TaskCancelledError(failure.message, failure)


@lru_cache(256)
def _given_up(what: str) -> Failure:
    return failure_as(TaskCancelledError, f"{what} was cancelled: it will never have a result.")


def settle(task: Task[Any], value: Any, error: Exception | None = None) -> None:
    """Give a task its result or its error, once."""
    assert not task.done_, "a task is settled once"
    task.done_ = True
    task.value_ = value
    task.error_ = error
    watchers, task.watchers_ = task.watchers_, None
    for watcher in watchers or ():
        watcher.child_done_(task)


def race(task: Task[Any]) -> tuple[list[int], Timestamp | None]:
    """The open waits that are awaited, and the latest of the timers that they are raced against.

    With a reminder and an end in one race, the end is the later one: people are told no end that is a reminder. A
    timer that says that it is a reminder is never an end.
    """
    if isinstance(task, ExternalEvent):
        return [task.id_], None
    if not isinstance(task, _WhenAny):
        return [], None
    waits: list[int] = []
    until: Timestamp | None = None
    for child in task.children_:
        if child.done_:
            continue
        if isinstance(child, ExternalEvent):
            waits.append(child.id_)
        elif isinstance(child, DurableTimer) and not child.reminder_:
            until = child.fire_at_ if until is None else max(until, child.fire_at_)
    return waits, until
