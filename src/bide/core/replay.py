"""Native executors: an execution brought to where a history ends, and what history has compared with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FrameType

from bide.core.context import ResponseLinks
from bide.core.execution import Execution, Stepping
from bide.core.isolation import OwnGenerators
from bide.core.openwork import OpenWork
from bide.core.registry import Registry
from bide.errors import NonDeterminismError, OrchestratorError
from bide.model.history import (
    ContinuedAsNew,
    EventAwaited,
    EventDeadlineChanged,
    ExecutionCompleted,
    ExecutionTerminated,
    Fact,
    Failure,
    Step,
    Unreadable,
    describe,
)
from bide.model.instance import Instance
from bide.model.payload import MAX_PAYLOAD
from bide.model.sealing import Sealer, WithoutKeys
from bide.model.tokens import ResponseGrant


class Executions:
    """Runs the orchestrators of a registry."""

    def __init__(
        self,
        registry: Registry,
        links: ResponseLinks,
        sealer: Sealer,
        *,
        strict: bool = False,
        max_payload: int = MAX_PAYLOAD,
    ) -> None:
        """`sealer` is for what only the code may read. With `strict`, code must ask for what history has in all its
        parts. No value that code hands in has more than `max_payload` bytes as JSON."""
        self.stepping = Stepping()
        self._registry = registry
        self._links = links
        self._sealer = sealer
        self._strict = strict
        self._max_payload = max_payload

    @property
    def names(self) -> frozenset[str]:
        """The orchestrators that there are, in lower case."""
        return frozenset(map(str.casefold, self._registry.orchestrators))

    def begin(self, instance: Instance) -> Execution:
        """For the first fact of a generation. Raises `FunctionNotFoundError`."""
        definition = self._registry.orchestrator(instance.name)
        return Execution(
            self._registry,
            definition,
            instance.id,
            instance.generation,
            self._links,
            self._sealer,
            self._strict,
            self._max_payload,
            self.stepping,
        )

    def revive(self, instance: Instance, history: Sequence[Step]) -> Execution:
        """Bring the code to where this history ends. Raises `FunctionNotFoundError`, and what `replay` does."""
        execution = self.begin(instance)
        self.stepping.now = (execution,)
        try:
            replay(execution, history)
        except BaseException:
            execution.close()
            raise
        finally:
            self.stepping.now = None
        return execution

    def open_work(self, instance: Instance, history: Sequence[Step]) -> OpenWork:
        """What this history leaves open, found without the code."""
        return OpenWork.of(history)


class _NoLinks:
    """For code that is only looked at: a link that history does not have makes the code differ from it."""

    def url(self, grant: ResponseGrant) -> str:
        return ""


def check_replay(
    registry: Registry,
    name: str,
    instance_id: str,
    generation: int,
    history: Sequence[Step],
    *,
    strict: bool = True,
    sealer: Sealer | None = None,
    on_misfit: Callable[[FrameType], None] | None = None,
) -> list[str]:
    """See whether an orchestrator's code fits a history; nothing is changed.

    `sealer` opens what is sealed in it. Without one, the code is driven to the first secret that it needs: then
    `SealedStep` is raised.

    `on_misfit` is called with the frame of code that does not fit, where it stands then, unless it has ended.

    Returns, unless `strict`, what the code asks for in other words than history has (see `replay`). Raises
    `NonDeterminismError` with both sides if it does not fit, `FunctionNotFoundError` if there is no such code.
    """
    definition, sealer = registry.orchestrator(name), sealer or WithoutKeys()
    execution = Execution(registry, definition, instance_id, generation, _NoLinks(), sealer, strict)
    if history and isinstance(history[-1].facts[0], ExecutionTerminated):
        history = history[:-1]  # the code did not hear of it
    with OwnGenerators():
        try:
            replay(execution, history)
        except NonDeterminismError:
            if on_misfit is not None and execution.frame is not None:
                on_misfit(execution.frame)
            raise
        finally:
            execution.close()
    return execution.differences


def replay(execution: Execution, history: Sequence[Step]) -> None:
    """Bring a new execution to where its history ends.

    The kind, id and name of what the code asks for must agree with history (G7). Inputs, instants, texts and
    results may differ, unless the execution is strict: what was done is done, so they are taken from history.

    Raises `NonDeterminismError`, with both sides, if the code asks for something else, and `OrchestratorError` for
    a step that cannot be read.
    """
    execution.is_replaying = True
    for step in history:
        if type(step.facts[0]) is Unreadable:
            raise OrchestratorError(step.facts[0].reason)
        recorded = _compared(step.facts[1:])
        execution.expect(recorded)
        asked = _compared(execution.tell(step.facts[0], step.time))
        if len(asked) != len(recorded) or not all(
            _fits(execution, *pair) for pair in zip(asked, recorded, strict=True)
        ):
            raise NonDeterminismError(_disagreement(execution, step, asked))
    execution.go_live()


def _compared(asked: Sequence[Fact]) -> Sequence[Fact]:
    """Without what is only shown: nothing depends on it."""
    if any(type(fact) is EventDeadlineChanged for fact in asked):
        return [fact for fact in asked if type(fact) is not EventDeadlineChanged]
    return asked


def _fits(execution: Execution, asked: Fact, recorded: Fact) -> bool:
    if asked == recorded:
        return True
    match asked, recorded:
        case ExecutionCompleted(failure=Failure() as mine), ExecutionCompleted(failure=Failure() as theirs):
            same = (mine.type, mine.message) == (theirs.type, theirs.message)  # a stack names lines, and lines move
        case ExecutionCompleted(failure=None), ExecutionCompleted(failure=None):
            same = asked.result == recorded.result
        case EventAwaited(), EventAwaited():
            same = (asked.id, asked.name) == (recorded.id, recorded.name)
            return same  # whether it is a secret is as history has it
        case ContinuedAsNew(), ContinuedAsNew():
            same = (asked.input, asked.keep_events) == (recorded.input, recorded.keep_events)
        case _:
            return False
    if not same:
        execution.differences.append(describe(recorded))
    return same or not execution.strict


def _disagreement(execution: Execution, step: Step, asked: Sequence[Fact]) -> str:
    recorded = _compared(step.facts[1:])
    same = 0
    while same < min(len(asked), len(recorded)) and _fits(execution, asked[same], recorded[same]):
        same += 1
    theirs = describe(recorded[same]) if same < len(recorded) else "nothing more"
    mine = describe(asked[same]) if same < len(asked) else "nothing more"
    if mine == theirs:
        mine += " with another input"
    return (
        f"The code of '{execution.name}' no longer fits the history of instance '{execution.instance_id}': "
        f"after {describe(step.facts[0])} in step {step.seq}, history has {theirs}, but the code "
        f"(at {execution.where()}) asks for {mine}. Deploy code that fits, or terminate the instance."
    )
