"""Who runs an instance's code: the port between what happens to instances and the code that answers.

An executor is told one fact at a time, and says what the code asks for in answer. Native code (`execution`) answers
at once. Code that runs elsewhere cannot: its executor asks for a turn (`OrchestratorStarted`). That is an open
request like any other: it is handed out as an activity is, once it is durable, again after a crash, and its answer
(`OrchestratorCompleted`) is a message that counts only while this very turn is open.

The dispatcher knows this port, and no kind of executor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from msgspec import Raw, Struct

from bide.core.openwork import OpenWork
from bide.errors import MisfitError, WaitClosedError
from bide.model.clock import Timestamp
from bide.model.history import ContinuedAsNew, EventRaised, ExecutionCompleted, Fact, Step
from bide.model.instance import Instance

Ending: TypeAlias = ExecutionCompleted | ContinuedAsNew


class Answer(Struct, frozen=True, gc=False):
    """What comes of one fact."""

    message: Fact
    """The fact as history is to have it."""
    asked: Sequence[Fact]
    """What the code asks for, in its order. The ending, if there is one, is the last of it."""
    custom_status_json: Raw
    ending: Ending | None = None
    answered: Sequence[tuple[int, int]] = ()
    """The waits that were answered: the id of each, and how long it had been open, in microseconds."""


class Executor(Protocol):
    """One generation of an instance, as long as its code is in memory."""

    @property
    def work(self) -> OpenWork:
        """What it has asked for, and nobody has answered yet."""
        ...

    def refusal(self, event: EventRaised) -> MisfitError | WaitClosedError | None:
        """Why the wait that would take this event cannot: its data does not fit the declared type (G8), or it is
        for one wait only, which is over."""
        ...

    def advance(self, fact: Fact, at: Timestamp, seq: int) -> Answer:
        """Tell it a fact, which is to become step `seq` of its history.

        May raise anything: then the instance is held, and the executor closed.
        """
        ...

    def close(self) -> None:
        """Let go of the code."""
        ...


class Executors(Protocol):
    """Makes executors. Each method may run users' code."""

    @property
    def names(self) -> frozenset[str]:
        """The orchestrators that there are, in lower case."""
        ...

    def begin(self, instance: Instance) -> Executor:
        """For the first fact of a generation. Raises `FunctionNotFoundError`."""
        ...

    def revive(self, instance: Instance, history: Sequence[Step]) -> Executor:
        """Bring the code to where this history ends. May raise anything: then the instance is held."""
        ...

    def open_work(self, instance: Instance, history: Sequence[Step]) -> OpenWork:
        """What this history leaves open, found without the code."""
        ...
