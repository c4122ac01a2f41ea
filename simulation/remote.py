"""Executors whose code runs elsewhere: a second kind, to see that the port of the core carries it.

Of each message the code hears in a turn of its own. While a turn is open, other messages wait; when its answer has
come, the next one is given. So what an instance does is what native code does, only later, and every check of the
simulation holds for it, too.

The "elsewhere" is `Host`: it has nothing but the history, of which it makes the state of the code anew each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec import Raw
from msgspec.structs import replace

from bide.core.executors import Answer, Ending, Executor
from bide.core.openwork import OpenWork
from bide.core.replay import Executions
from bide.core.schemas import misfit
from bide.errors import FunctionNotFoundError, MisfitError, WaitClosedError
from bide.model.clock import Timestamp
from bide.model.history import (
    NULL,
    ContinuedAsNew,
    EventAwaited,
    EventDiscarded,
    EventRaised,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionSuspended,
    ExecutionTerminated,
    Fact,
    OrchestratorCompleted,
    OrchestratorStarted,
    Step,
)
from bide.model.instance import Instance
from bide.model.sealing import Sealer, event_place, sealed_event


class Given(NamedTuple):
    """A message that the code hears of, and the turn in which it does; 0: in the one that follows."""

    turn: int
    at: Timestamp
    message: Fact


class RemoteExecutor:
    """Implements `Executor`."""

    def __init__(self, instance: Instance, sealer: Sealer) -> None:
        self.work = OpenWork()
        self.given: list[Given] = []
        """Everything that the code has heard of, in order."""
        self._instance = instance
        self._sealer = sealer
        self._suspended = False
        self._turns = 0
        self._opened: dict[int, Timestamp] = {}
        """The waits, and when they were opened."""
        self._custom_status = NULL

    def refusal(self, event: EventRaised) -> MisfitError | WaitClosedError | None:
        """By the facts of the wait: the code is not here."""
        wait = self._taker(event)
        if wait is None or not self.work.expects(event):
            return WaitClosedError() if event.id else None
        return misfit(wait, self._sealer.open(event.input, event_place(self._instance.id, event.name)))

    def advance(self, fact: Fact, at: Timestamp, seq: int) -> Answer:
        """Take a message; hand out a turn if none is open."""
        kept, asked, ending = fact, list[Fact](), None
        answered: list[tuple[int, int]] = []
        match fact:
            case ExecutionSuspended():
                self._suspended = True
            case ExecutionResumed():
                self._suspended = False
            case ExecutionRewound() | ExecutionTerminated():
                pass
            case OrchestratorCompleted():
                kept, asked, ending = replace(fact, asked=()), [*fact.asked], self._ending(fact)
                self.work.settle(fact)
                answered += self._ask(asked, at)
                self._custom_status = fact.custom_status
            case EventRaised():
                kept = self._as_kept(fact, seq)
                self.work.deferred.append(fact)
            case _:
                self.work.deferred.append(fact)
        if ending is None:
            self._give(asked, answered, at)
        return Answer(kept, asked, self._custom_status, ending, answered)

    def close(self) -> None:
        """There is no code here."""

    def fold(self, history: Sequence[Step]) -> None:
        """Come to where this history ends."""
        for step in history:
            message, *asked = step.facts
            if isinstance(message, OrchestratorCompleted):
                message = replace(message, asked=tuple(fact for fact in asked if not _own(fact)))
            self.advance(message, step.time, step.seq)

    @property
    def _busy(self) -> bool:
        return -self._turns in self.work.requests

    def _ending(self, fact: OrchestratorCompleted) -> Ending | None:
        last = fact.asked[-1] if fact.asked else None
        return last if isinstance(last, ExecutionCompleted | ContinuedAsNew) else None

    def _ask(self, asked: Sequence[Fact], at: Timestamp) -> Iterator[tuple[int, int]]:
        """Open what the code asks for. Gives the waits that an event was kept for."""
        for each in asked:
            kept = self.work.ask(each)
            if isinstance(each, EventAwaited):
                self._opened[each.id] = at
                if kept is not None:
                    yield each.id, 0

    def _give(self, asked: list[Fact], answered: list[tuple[int, int]], at: Timestamp) -> None:
        """Let the code hear of the next message that is for it, in a turn."""
        while self.work.deferred and not self._busy and not self._suspended:
            fact = self.work.deferred.pop(0)
            if not self.work.expects(fact):
                if isinstance(fact, EventRaised):
                    asked.append(EventDiscarded(0, fact.name, "The wait that it was for is over."))
                continue
            settled = self.work.settle(fact)
            kept = isinstance(fact, EventRaised) and settled is None
            if isinstance(fact, EventRaised) and settled is not None:
                answered.append((settled, at - self._opened[settled]))
            if kept:
                self.given.append(Given(0, at, fact))
                continue
            self._turns += 1
            self.given.append(Given(-self._turns, at, fact))
            turn = OrchestratorStarted(-self._turns)
            self.work.open(turn)
            asked.append(turn)

    def _taker(self, event: EventRaised) -> EventAwaited | None:
        wait = self.work.requests.get(self.work.taker(event) or 0)
        return wait if isinstance(wait, EventAwaited) else None

    def _as_kept(self, event: EventRaised, seq: int) -> EventRaised:
        """In clear only if it is known that a wait takes it that has no secret."""
        wait = None if self._busy or self._suspended or self.work.deferred else self._taker(event)
        if wait is not None and not wait.secret:
            return event
        nonce = f"{self._instance.birth}-{self._instance.generation}-{seq}"
        return sealed_event(self._sealer, self._instance.id, event, nonce, declared=wait is not None)


def _own(fact: Fact) -> bool:
    """Whether the executor asked for it, and not the code."""
    return isinstance(fact, OrchestratorStarted) or (isinstance(fact, EventDiscarded) and not fact.id)


def _recorded(history: Sequence[Step]) -> list[Fact]:
    """What the code has asked for."""
    answers = [step for step in history if isinstance(step.facts[0], OrchestratorCompleted)]
    return [fact for step in answers for fact in step.facts[1:] if not _own(fact)]


class RemoteExecutors:
    """Implements `Executors`: all orchestrators but the rogues run elsewhere."""

    def __init__(self, native: Executions, sealer: Sealer, name: str = "rogue") -> None:
        """`name` is that of those that run here."""
        self._native = native
        self._sealer = sealer
        self._name = name

    @property
    def names(self) -> frozenset[str]:
        return self._native.names

    def begin(self, instance: Instance) -> Executor:
        if instance.name == self._name:
            return self._native.begin(instance)
        if instance.name not in self.names:
            raise FunctionNotFoundError(f"There is no orchestrator '{instance.name}'.")
        return RemoteExecutor(instance, self._sealer)

    def revive(self, instance: Instance, history: Sequence[Step]) -> Executor:
        if instance.name == self._name:
            return self._native.revive(instance, history)
        executor = RemoteExecutor(instance, self._sealer)
        executor.fold(history)
        return executor

    def open_work(self, instance: Instance, history: Sequence[Step]) -> OpenWork:
        if instance.name == self._name:
            return self._native.open_work(instance, history)
        executor = RemoteExecutor(instance, self._sealer)
        executor.fold(history)
        return executor.work


class Host:
    """Runs turns: has the code, and asks for nothing but the history."""

    def __init__(self, executions: Executions, sealer: Sealer) -> None:
        self._executions = executions
        self._sealer = sealer

    def run(self, instance: Instance, history: Sequence[Step], turn: int) -> OrchestratorCompleted | None:
        """The answer to that turn. None: it was not handed out, or is answered."""
        executor = RemoteExecutor(instance, self._sealer)
        executor.fold(history)
        recorded = _recorded(history)
        asked, status = self._asked(instance, executor.given, turn)
        if turn not in executor.work.requests or asked[: len(recorded)] != recorded:
            return None
        return OrchestratorCompleted(turn, tuple(asked[len(recorded) :]), status)

    def asked(self, instance: Instance, history: Sequence[Step]) -> tuple[list[Fact], list[Fact]]:
        """What the code asks for in all the turns that were answered, and what history has of it."""
        executor = RemoteExecutor(instance, self._sealer)
        executor.fold(history)
        messages = [step.facts[0] for step in history]
        turn = min((each.id for each in messages if isinstance(each, OrchestratorCompleted)), default=0)
        return self._asked(instance, executor.given, turn)[0], _recorded(history)

    def _asked(self, instance: Instance, given: Sequence[Given], turn: int) -> tuple[list[Fact], Raw]:
        """Everything that the code asks for up to that turn, and its custom status."""
        execution = self._executions.begin(instance)
        asked: list[Fact] = []
        for each in given:
            asked += execution.tell(each.message, each.at)
            if each.turn == turn:
                break
        status = execution.custom_status_json
        execution.close()
        return asked if turn else [], status
