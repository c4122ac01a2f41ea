"""The facts: everything that can happen to an instance, one small frozen value each.

Names are those of Durable Task's history events. What an orchestrator asks for (`TaskScheduled`,
`TimerCreated`, ...) is recorded as it was asked, so checking a replay is `==` on these values.

A history is a sequence of steps. The first fact of a step is the message that caused it; the rest is what the
orchestrator asked for in answer. Facts carry no time of their own: all facts of a step happen at the step's
time. Payloads are JSON text (`Raw`), decoded only where somebody reads them.

Tasks, timers, waits, sub-orchestrations and sent events of one generation share one counter, `id`, which
starts at 1. A *generation* is one run of an orchestrator between two continue-as-new.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias

from msgspec import Raw, Struct, field

from bide.model.clock import Timestamp, to_datetime

NULL = Raw(b"null")
ANYTHING = Raw(b"{}")
"""The JSON Schema that any value fits."""
ErrorClass: TypeAlias = type[BaseException]


class Failure(Struct, frozen=True, omit_defaults=True, gc=False):
    """An error as history keeps it.

    `type` is the class name with its module. `kind` says what went wrong: the code raised (`error`), ran out
    of its time limit (`timeout`), or was cut off so that nobody knows what it did (`outcome_unknown`). `bases` are
    the names of the classes that the error's class derives from; `Exception` and `BaseException` are left out if it
    is an `Exception`. `members` are the errors of an `ExceptionGroup`: up to a hundred, with their own members and
    causes.
    """

    type: str
    message: str
    stack: str = ""
    cause: Failure | None = None
    kind: Literal["error", "timeout", "outcome_unknown"] = "error"
    bases: tuple[str, ...] = ()
    members: tuple[Failure, ...] = ()

    def is_a(self, kind: ErrorClass | str) -> bool:
        """Whether the error was of that class, or of one that derives from it: what `except` would go by.

        A class may be given by its name, as `ValueError`, or with its module.
        """
        name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        ordinary = () if "BaseException" in self.bases else ("Exception", "BaseException")
        names = (self.type, *self.bases, *ordinary)
        if name.startswith("builtins."):
            return name.removeprefix("builtins.") in names
        return any(name in (each, each.rpartition(".")[2]) for each in names)


class Parent(Struct, frozen=True, gc=False):
    """Who waits for a sub-orchestration: task `task_id` of a generation of an instance.

    `birth` is that instance's.
    """

    instance_id: str
    generation: int
    task_id: int
    birth: str = ""


class _Fact(Struct, frozen=True, tag=True, tag_field="type", omit_defaults=True, gc=False):
    """Base of all facts. In JSON, `type` holds the class name."""


# --- what happens to the instance as a whole


class ExecutionStarted(_Fact, frozen=True):
    """The first fact of every generation. `birth` is the instance's (see `Instance.birth`)."""

    name: str
    input: Raw = NULL
    parent: Parent | None = None
    tags: dict[str, str] = {}
    birth: str = ""


class ExecutionSuspended(_Fact, frozen=True):
    reason: str = ""


class ExecutionResumed(_Fact, frozen=True):
    reason: str = ""


class ExecutionTerminated(_Fact, frozen=True):
    """Ended from outside. With `recurse`, the open sub-orchestrations are ended too."""

    reason: str = ""
    recurse: bool = False


class ExecutionRewound(_Fact, frozen=True):
    """A failed instance was set back to before its last step, and goes on from there."""

    reason: str = ""


class ExecutionPurged(_Fact, frozen=True):
    """An ended instance is to be deleted with all its history. A message only: no history is left to keep it."""


class ExecutionCompleted(_Fact, frozen=True):
    """The orchestrator returned `result`, or raised `failure`.

    `unawaited` says, a sentence each, what was lost of what it had asked for and never looked at when it returned.
    """

    result: Raw = NULL
    failure: Failure | None = None
    unawaited: tuple[str, ...] = ()


class ContinuedAsNew(_Fact, frozen=True):
    """This generation ended; the next starts with `input`. `unawaited` is as in `ExecutionCompleted`."""

    input: Raw = NULL
    keep_events: bool = True
    unawaited: tuple[str, ...] = ()


# --- activities


class TaskScheduled(_Fact, frozen=True):
    """An activity was called.

    `call_id` is the id of the first attempt (0: this is the first), so that all attempts share one
    idempotency key.
    """

    id: int
    name: str
    input: Raw = NULL
    attempt: int = 1
    call_id: int = 0


class TaskCompleted(_Fact, frozen=True):
    """`started_at` is when the body began (0: not known), so that queueing and running can be told apart."""

    id: int
    result: Raw = NULL
    started_at: Timestamp = 0


class TaskFailed(_Fact, frozen=True):
    """`started_at` as in `TaskCompleted`."""

    id: int
    failure: Failure
    started_at: Timestamp = 0


# --- timers


class TimerCreated(_Fact, frozen=True):
    id: int
    fire_at: Timestamp


class TimerFired(_Fact, frozen=True):
    id: int
    fire_at: Timestamp


class TimerCancelled(_Fact, frozen=True):
    id: int
    fire_at: Timestamp


# --- external events


class EventAwaited(_Fact, frozen=True):
    """A wait for the named event was opened. Names compare case-insensitively. `secret`: so is its answer.

    `schema` is the JSON Schema of the answer's declared type. `deadline` is when the wait times out, or else when
    the last timer fires that it is raced against.
    """

    id: int
    name: str
    secret: bool = False
    schema: Raw = ANYTHING
    deadline: Timestamp | None = None


class EventDeadlineChanged(_Fact, frozen=True):
    """An open wait is raced against other timers now, or against none. Nothing but what is shown depends on it."""

    id: int
    deadline: Timestamp | None = None


class EventRaised(_Fact, frozen=True):
    """Somebody answered. The oldest open wait of that name takes it; without one it is kept.

    With an `id`, it is for the wait of that id, and for no other: it is never kept.
    """

    name: str
    input: Raw = NULL
    id: int = 0


class EventDiscarded(_Fact, frozen=True):
    """An event did not fit the type of the wait that was to take it (`id`), so nobody got it.

    Nobody waited when it was accepted, or another instance sent it: what is raised while a wait is open is judged
    at the door. Where the wait is asked for in this very step, the fact comes before it.

    Without an `id`, it was for one wait only, and that was over when the code could hear of it.
    """

    id: int
    name: str
    reason: str = ""


class EventWaitCancelled(_Fact, frozen=True):
    """A wait was given up, or timed out. It takes no event any more."""

    id: int


class EventSent(_Fact, frozen=True):
    """An event was sent to another instance."""

    id: int
    instance_id: str
    name: str
    input: Raw = NULL


class ResponseLinkCreated(_Fact, frozen=True):
    """A link was made under which a person can answer one wait. On replay it is the same link again."""

    id: int
    name: str
    url: str


# --- sub-orchestrations


class SubOrchestrationInstanceCreated(_Fact, frozen=True):
    """A child was started. `attempt` and `call_id` as in `TaskScheduled`."""

    id: int
    instance_id: str
    name: str
    input: Raw = NULL
    attempt: int = 1
    call_id: int = 0


class SubOrchestrationInstanceCancelled(_Fact, frozen=True):
    """The call was given up: its child, an instance with that id, is terminated, and its own children too."""

    id: int
    instance_id: str
    reason: str = ""


class SubOrchestrationInstanceCompleted(_Fact, frozen=True):
    id: int
    result: Raw = NULL


class SubOrchestrationInstanceFailed(_Fact, frozen=True):
    id: int
    failure: Failure


# --- turns of executors that answer later


class OrchestratorStarted(_Fact, frozen=True):
    """A turn was handed out: what came up to now is given to code that runs elsewhere. `id` is less than 0."""

    id: int


class OrchestratorCompleted(_Fact, frozen=True):
    """The answer to a turn. `asked` is what the code asks for; in history it stands as facts of this step.

    The last of it is an ending if the code is through. `custom_status` is as the code has set it up to then.
    """

    id: int
    asked: tuple[Fact, ...] = ()
    custom_status: Raw = NULL


# --- what cannot be read


class Unreadable(_Fact, frozen=True):
    """Stands for what a database has and this version cannot read: a fact of a newer one, or a damaged one.

    Only reading makes it. It is never written: another version may be able to read what is there.
    """

    reason: str


Fact: TypeAlias = (
    ExecutionStarted
    | ExecutionSuspended
    | ExecutionResumed
    | ExecutionTerminated
    | ExecutionRewound
    | ExecutionPurged
    | ExecutionCompleted
    | ContinuedAsNew
    | TaskScheduled
    | TaskCompleted
    | TaskFailed
    | TimerCreated
    | TimerFired
    | TimerCancelled
    | EventAwaited
    | EventRaised
    | EventDiscarded
    | EventWaitCancelled
    | EventSent
    | ResponseLinkCreated
    | SubOrchestrationInstanceCreated
    | SubOrchestrationInstanceCancelled
    | SubOrchestrationInstanceCompleted
    | SubOrchestrationInstanceFailed
    | EventDeadlineChanged
    | OrchestratorStarted
    | OrchestratorCompleted
    | Unreadable
)

Request: TypeAlias = (
    TaskScheduled | TimerCreated | EventAwaited | SubOrchestrationInstanceCreated | OrchestratorStarted
)
"""What stays open until another fact settles it."""


class Step(Struct, frozen=True, gc=False):
    """One step of an instance: the message, and what the orchestrator asked for in answer, at one instant.

    `seq` counts the steps of a generation from 0. `time` is in microseconds, as all instants within facts are; `at`
    is the same as `datetime`.
    """

    seq: int
    time: Timestamp = field(name="at")
    facts: tuple[Fact, ...]

    @property
    def at(self) -> datetime:
        """When it happened, in UTC."""
        return to_datetime(self.time)


def describe(fact: Fact) -> str:
    """A fact in words for an error message: its kind, id, name and time, never its payload."""
    shown = [f"{field}={getattr(fact, field)!r}" for field in ("id", "name", "fire_at") if getattr(fact, field, 0)]
    return f"{type(fact).__name__}({', '.join(shown)})"
