"""How a generation ends: its code is through, it was terminated, or it goes on as the next one."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Raw

from bide.core.changes import encode_facts
from bide.core.holding import NOT_HELD
from bide.core.live import Live
from bide.core.turn import Turn
from bide.errors import InstanceFinishedError
from bide.model.batch import ACCEPTED, Message, Verdict
from bide.model.history import (
    NULL,
    ContinuedAsNew,
    EventRaised,
    ExecutionCompleted,
    ExecutionStarted,
    ExecutionTerminated,
    Failure,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
)
from bide.model.instance import Instance, RuntimeStatus
from bide.model.payload import encode
from bide.model.rules import moved
from bide.model.sealing import sealed_event


def complete(turn: Turn, live: Live, status: RuntimeStatus, end: ExecutionCompleted, custom_status: Raw) -> None:
    """The code returned, or failed."""
    if end.unawaited:
        turn.batch.unawaited[live.instance.id] = end.unawaited
    output = end.result if end.failure is None else encode(end.failure.message)
    _finish(turn, live, status, output, end.failure, custom_status)


def continue_as_new(turn: Turn, live: Live, status: RuntimeStatus, again: ContinuedAsNew) -> None:
    """The code asked for another run of it."""
    if again.unawaited:
        turn.batch.unawaited[live.instance.id] = again.unawaited
    instance = live.instance
    start = ExecutionStarted(instance.name, again.input, instance.parent, birth=instance.birth)
    next_generation(turn, live, status, start, live.work.kept_events() if again.keep_events else [])


def terminate(turn: Turn, message: Message, live: Live) -> Verdict:
    """Somebody ends an instance."""
    fact = message.fact
    assert isinstance(fact, ExecutionTerminated)
    turn.changes.close_source(message, live.partition)
    end(turn, live, fact)
    return ACCEPTED


def end(turn: Turn, live: Live, fact: ExecutionTerminated) -> None:
    """End an instance, whatever its code does."""
    if fact.recurse:
        for request in live.work.requests.values():
            if isinstance(request, SubOrchestrationInstanceCreated):
                turn.changes.end_child(live.instance, request, fact)
    turn.reach(live)
    turn.record(live, encode_facts((fact,)))
    failure = Failure("Terminated", f"Instance '{live.instance.id}' was terminated: {fact.reason}")
    status = moved(live.instance.status, fact)
    _finish(turn, live, status, encode(fact.reason), failure, live.instance.custom_status_json)


def end_orphans(turn: Turn, message: Message, live: Live) -> Verdict:
    """End what an instance has left when it ended, if that is asked for. Children that have ended do the same: so
    it gets to all below."""
    instance, fact = live.instance, message.fact
    refused = turn.drop(message, InstanceFinishedError(instance.id, instance.status))
    if not isinstance(fact, ExecutionTerminated) or not fact.recurse:
        return refused
    if live.snapshot is None:  # it has ended in this very step
        turn.changes.send(instance.id, fact, birth=instance.birth)
        return ACCEPTED
    asked = [fact for step in live.history for fact in step.facts]
    children = [fact for fact in asked if isinstance(fact, SubOrchestrationInstanceCreated)]
    for request in children:
        turn.changes.end_child(instance, request, fact)
    return ACCEPTED if children else refused


def _finish(
    turn: Turn, live: Live, status: RuntimeStatus, output: Raw, failure: Failure | None, custom_status: Raw
) -> None:
    _leave(turn, live)
    turn.change(live, status=status, output_json=output, custom_status_json=custom_status, **NOT_HELD)
    if live.instance.parent is not None:
        answer_parent(turn, live.instance, failure)


def answer_parent(turn: Turn, child: Instance, failure: Failure | None) -> None:
    """Tell whoever waits for this instance how it ended."""
    parent = child.parent
    if parent is not None:
        answer = (
            SubOrchestrationInstanceCompleted(parent.task_id, child.output_json)
            if failure is None
            else SubOrchestrationInstanceFailed(parent.task_id, failure)
        )
        turn.changes.answer(parent, answer)


def next_generation(
    turn: Turn, live: Live, status: RuntimeStatus, start: ExecutionStarted, kept: Iterable[EventRaised]
) -> None:
    """Begin again with an empty history, by a message: no step ever runs two generations."""
    _leave(turn, live)
    instance = live.instance
    turn.change(
        live,
        status=status,
        generation=instance.generation + 1,
        name=start.name,
        input_json=start.input,
        output_json=NULL,
        custom_status_json=NULL,
    )
    live.history_length = 0
    turn.batch.forgotten[instance.id] = live.instance.generation
    turn.changes.put_back(instance, start, live.instance.generation)
    for number, event in enumerate(kept):
        nonce = f"{instance.birth}-{instance.generation}-kept-{number}"
        turn.changes.put_back(instance, sealed_event(turn.house.sealer, instance.id, event, nonce))


def _leave(turn: Turn, live: Live) -> None:
    """Let go of a generation: its code, and everything it waited for."""
    if live.readable:
        turn.changes.drop(live.instance, live.work)
    else:
        turn.changes.clear(live.instance)
    executor = live.executor
    live.run_by(None, None)
    if executor is not None:
        executor.close()
