"""Telling the code a message: it begins, is revived, and goes on."""

from __future__ import annotations

from bide.core.changes import encode_facts
from bide.core.endings import complete, continue_as_new
from bide.core.executors import Executor
from bide.core.holding import NOT_HELD, hold, holder, keep, park, pass_on, reason
from bide.core.live import Live
from bide.core.turn import Turn
from bide.errors import FunctionNotFoundError, HeldStep, WaitClosedError
from bide.model.batch import ACCEPTED, Message, Verdict
from bide.model.history import EventRaised, ExecutionCompleted, ExecutionStarted, TimerFired
from bide.model.instance import Instance, RuntimeStatus
from bide.model.rules import moved, next_status


def bear(turn: Turn, message: Message, fact: ExecutionStarted) -> Verdict:
    """A new instance begins."""
    now = turn.batch.at
    instance = Instance(
        message.instance_id,
        fact.name,
        RuntimeStatus.PENDING,
        now,
        now,
        input_json=fact.input,
        parent=fact.parent,
        tags=fact.tags,
        birth=fact.birth,
    )
    return begin(turn, message, turn.house.instances.bear(instance))


def begin(turn: Turn, message: Message, live: Live) -> Verdict:
    """A generation begins."""
    instance = live.instance
    accused = turn.accused.get(instance.id)
    if accused is not None:
        return hold(turn, message, live, accused, turn.house.code)
    try:
        executor = turn.house.executors.begin(instance)
    except FunctionNotFoundError as error:
        return without_code(turn, message, live, error)
    return advance(turn, message, live, executor, moved(instance.status, message.fact))


def apply(turn: Turn, message: Message, live: Live, status: RuntimeStatus) -> Verdict:
    """Tell an instance something, whose code may have to be brought back into memory first."""
    accused = turn.accused.get(live.instance.id)
    if accused is not None:
        live.drop_code()
        return hold(turn, message, live, accused, turn.house.code)
    executor = live.executor
    if executor is None:
        try:
            executor = _revived(turn, live)
        except FunctionNotFoundError as error:
            return without_code(turn, message, live, error)
        except (Exception, HeldStep) as error:  # code that does not fit, or spins
            return hold(turn, message, live, reason(error), holder(turn, error))
    return tell(turn, message, live, executor, status)


def _revived(turn: Turn, live: Live) -> Executor:
    assert live.snapshot is not None, "what has no code in memory was loaded"
    executor = turn.house.executors.revive(live.instance, live.history)
    live.run_by(executor, executor.work)
    if live.instance.held is not None:
        turn.change(live, **NOT_HELD)
    return executor


def without_code(turn: Turn, message: Message, live: Live, error: FunctionNotFoundError) -> Verdict:
    """There is no such orchestrator here. A worker that has it is to get the instance; if none has, it is held."""
    name = turn.batch.wanted[live.partition] = live.instance.name.casefold()
    if name in turn.house.nowhere:
        return hold(turn, message, live, str(error))
    return pass_on(turn, message, live)


def tell(turn: Turn, message: Message, live: Live, executor: Executor, status: RuntimeStatus) -> Verdict:
    """Tell the code, if it is to hear of it."""
    fact = message.fact
    if type(fact) is EventRaised and not message.accepted:
        refusal = executor.refusal(fact)
        if refusal is not None:
            return turn.drop(message, refusal)
    elif not executor.work.expects(fact):
        return come_late(turn, message)
    return advance(turn, message, live, executor, status)


def come_late(turn: Turn, message: Message) -> Verdict:
    """An answer to what is not open any more. Whoever sent an event hears of it, or at least the audit does."""
    if type(message.fact) is not EventRaised:
        return turn.drop(message)
    if message.accepted:
        turn.changes.note_late(message.instance_id)
        return turn.drop(message)
    return turn.drop(message, WaitClosedError())


def advance(turn: Turn, message: Message, live: Live, executor: Executor, status: RuntimeStatus) -> Verdict:
    """One step of the history: the message, and what the code asks for in answer."""
    changes, fact = turn.changes, message.fact
    if turn.batch.at > live.at:
        live.at = turn.batch.at
    if type(fact) is TimerFired and fact.fire_at > live.at:
        live.at = fact.fire_at  # it hears of a timer when that was due, even if the clock was set back since
    if live.executor is not executor:
        live.run_by(executor, executor.work)
    try:
        answer = executor.advance(fact, live.at, live.history_length)
        facts_json = encode_facts((answer.message, *answer.asked))
    except (Exception, HeldStep) as error:  # contained: it must not stop the other instances
        live.drop_code()
        keep(turn, live, reason(error), holder(turn, error))
        return park(turn, message, live)
    changes.close_source(message, live.partition)
    turn.record(live, facts_json, answer.asked)
    if answer.answered:
        changes.close_answered(live.instance, answer.answered)
    ending = answer.ending
    if ending is None:
        turn.change(live, status=status, custom_status_json=answer.custom_status_json, **NOT_HELD)
    elif isinstance(ending, ExecutionCompleted):
        complete(turn, live, moved(status, ending), ending, answer.custom_status_json)
    else:
        continue_as_new(turn, live, moved(status, ending), ending)
    return ACCEPTED


def let_go(turn: Turn, message: Message, live: Live) -> Verdict:
    """Somebody says that the instance is to go on: whatever it was kept from is tried again."""
    turn.change(live, **NOT_HELD)
    turn.batch.let_go.append(live.instance.id)
    status = next_status(live.instance.status, message.fact)
    return turn.drop(message) if status is None else apply(turn, message, live, status)
