"""What can happen to an instance that has ended: it begins again, makes way, is deleted, or is set back."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from bide.core.changes import encode_facts
from bide.core.endings import answer_parent, end, next_generation
from bide.core.failures import failure_as
from bide.core.holding import reason
from bide.core.live import Live
from bide.core.openwork import OpenWork
from bide.core.rewinding import asked_again, still_wanted, told_again, undone_from
from bide.core.stepping import bear
from bide.core.turn import Turn
from bide.errors import HeldStep, InstanceExistsError, InstanceFinishedError, NotAllowedError
from bide.model.batch import ACCEPTED, Message, Verdict
from bide.model.history import (
    NULL,
    EventRaised,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionTerminated,
    Fact,
    Failure,
    Parent,
    SubOrchestrationInstanceFailed,
)
from bide.model.instance import Instance, RuntimeStatus
from bide.model.rules import moved, next_status, status_after


def restart(turn: Turn, message: Message, fact: ExecutionStarted, live: Live) -> Verdict:
    """Let an instance that has ended begin again."""
    instance = live.instance
    status = next_status(instance.status, fact)
    if status is not RuntimeStatus.PENDING:
        refusal = f"Instance '{instance.id}' is {instance.status}; only one that has ended can be restarted."
        return turn.drop(message, NotAllowedError(refusal))
    next_generation(turn, live, status, replace(fact, birth=instance.birth), [])
    return turn.drop(message)


def replace_by(turn: Turn, message: Message, fact: ExecutionStarted, live: Live) -> Verdict:
    """Let another instance have the id, in the same commit that ends what is there and deletes it."""
    if not live.instance.status.finished:
        end(turn, live, ExecutionTerminated("Replaced by another instance with this id.", recurse=True))
    turn.changes.make_way(live.instance)
    turn.forget_requests(live.instance.id, outliving=False)
    return bear(turn, message, fact)


def take_child(turn: Turn, message: Message, fact: ExecutionStarted, parent: Parent, live: Live) -> Verdict:
    """A child's id is taken: by this very child, whose parent was rewound and asks once more; or by another
    instance, which makes way if it has ended."""
    child, rewound = live.instance, ExecutionRewound("Its parent was rewound.")
    if fact.birth != child.birth:
        if child.status.finished:
            return replace_by(turn, message, fact, live)
        failure = failure_as(InstanceExistsError, _taken(child, parent))
        turn.changes.answer(parent, SubOrchestrationInstanceFailed(parent.task_id, failure))
    elif next_status(child.status, rewound) is not None:
        refusal = _set_back(turn, live, rewound)
        if refusal is not ACCEPTED:
            answer_parent(turn, child, Failure("Failed", str(refusal)))
    elif child.status.finished:
        ended = Failure("Terminated", f"Instance '{child.id}' was terminated.")
        answer_parent(turn, child, ended if child.status is RuntimeStatus.TERMINATED else None)
    return turn.drop(message)


def purge(turn: Turn, message: Message, live: Live) -> Verdict:
    """Delete an instance that has ended."""
    instance = live.instance
    if next_status(instance.status, message.fact) is None:
        refusal = f"Instance '{instance.id}' is {instance.status}; only one that has ended can be purged."
        return turn.drop(message, NotAllowedError(refusal))
    if instance.id in turn.batch.instances:
        turn.changes.send(instance.id, message.fact, birth=instance.birth)  # its new rows must be there first
        return turn.drop(message)
    turn.house.instances.remove(instance.id)
    turn.batch.purged.append(instance.id)
    turn.forget_requests(instance.id, outliving=True)
    return turn.drop(message)


def rewind(turn: Turn, message: Message, fact: ExecutionRewound, live: Live) -> Verdict:
    """Set back an instance that has failed."""
    instance = live.instance
    if next_status(instance.status, fact) is not None:
        return turn.drop(message, _set_back(turn, live, fact))
    if instance.status.finished:
        return turn.drop(message, InstanceFinishedError(instance.id, instance.status))
    refusal = f"Instance '{instance.id}' is {instance.status}; only one that has failed can be rewound."
    return turn.drop(message, NotAllowedError(refusal))


def _set_back(turn: Turn, live: Live, fact: ExecutionRewound) -> Verdict:
    """Undo the steps in which a failed instance went wrong (see `rewinding`)."""
    instance, changes = live.instance, turn.changes
    if live.snapshot is None:  # it has failed in this very step
        changes.send(instance.id, fact, birth=instance.birth)
        return ACCEPTED
    history = live.history
    cut = undone_from(history)
    kept = history[:cut]
    try:
        executor = turn.house.executors.revive(instance, kept)
    except (Exception, HeldStep) as error:
        return NotAllowedError(f"Instance '{instance.id}' cannot be rewound: {reason(error)}")
    again = told_again(history[cut:])
    status = status_after(kept, moved(instance.status, fact))
    turn.batch.undone[instance.id] = (instance.generation, history[cut].seq)
    live.history_length = cut
    if cut == 0:
        executor.close()
        live.run_by(None, OpenWork())
        turn.change(live, status=status, output_json=NULL, custom_status_json=NULL)
    else:
        live.run_by(executor, executor.work)
        turn.reach(live)
        answer = executor.advance(fact, live.at, cut)
        turn.record(live, encode_facts((answer.message, *answer.asked)), answer.asked)
        again = _wanted_again(turn, instance, executor.work, again)
        for at, request in asked_again(kept, executor.work, again):
            changes.ask(instance, at, (request,))
        turn.change(live, status=status, output_json=NULL, custom_status_json=answer.custom_status_json)
    for message in again:
        generation = None if type(message) is EventRaised and not message.id else instance.generation
        changes.send(instance.id, message, generation, instance.birth)
    return ACCEPTED


def _wanted_again(turn: Turn, instance: Instance, work: OpenWork, undone: Sequence[Fact]) -> list[Fact]:
    """What is to be told again. An answer to one wait only, whose opening was undone, is of no use any more."""
    wanted = still_wanted(work, undone)
    for fact in undone:
        if type(fact) is EventRaised and fact not in wanted:
            turn.changes.note_late(instance.id)
    return wanted


def _taken(child: Instance, parent: Parent) -> str:
    """Why a call cannot have that id."""
    owner = child.parent
    if owner is None:
        whose = "it was not called by an orchestrator"
    elif owner.instance_id != parent.instance_id:
        whose = f"it was called by instance '{owner.instance_id}'"
    elif (owner.birth, owner.generation) != (parent.birth, parent.generation):
        whose = f"an earlier run of '{parent.instance_id}' called it"
    else:
        whose = f"'{parent.instance_id}' called it before"
    return (
        f"Instance '{child.id}' already exists: {whose}, and it is {child.status}. "
        "An id can be used again when its instance has ended."
    )
