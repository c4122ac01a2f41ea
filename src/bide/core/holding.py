"""Holding instances: whose code is not to run now, and what becomes of the messages that come meanwhile (G7)."""

from __future__ import annotations

from typing import Any

from bide.core.failures import said
from bide.core.live import Live
from bide.core.schemas import misfit
from bide.core.turn import Turn
from bide.errors import (
    BideError,
    DataRefusedError,
    HeldStep,
    RunawayStep,
    StepFailedError,
    WaitClosedError,
)
from bide.model.batch import ACCEPTED, Message, Verdict
from bide.model.history import EventAwaited, EventRaised, ExecutionStarted, Unreadable
from bide.model.sealing import event_place, is_sealed, sealed_event

NOT_HELD: dict[str, Any] = {"held": None, "held_by": ""}


def is_held(turn: Turn, live: Live) -> bool:
    """True if the instance is held, and was tried by this very code: since this worker started, or at a cost that
    nobody is to bear again."""
    instance = live.instance
    return instance.held is not None and (instance.id in turn.house.given_up or turn.house.holds(instance.held_by))


def hold(turn: Turn, message: Message, live: Live, reason: str, by: str = "") -> Verdict:
    """Keep the instance as it is, with its messages, until fitting code is deployed (G7).

    The message is one that the code has not seen: an answer that does not fit is refused as ever.
    """
    refusal = refusal_without_code(turn, message, live)
    keep(turn, live, reason, by)
    return park(turn, message, live) if refusal is ACCEPTED else turn.drop(message, refusal)


def keep(turn: Turn, live: Live, reason: str, by: str) -> None:
    """Hold the instance. `by` is the version of the code that is not to try it again; empty: each start tries."""
    turn.house.given_up.setdefault(live.instance.id, set())
    if (live.instance.held, live.instance.held_by) != (reason, by):
        turn.change(live, held=reason, held_by=by)
        turn.batch.held.append(live.instance)


def hold_unread(turn: Turn, message: Message, fact: Unreadable, live: Live) -> Verdict:
    """Hold an instance for which there is a message that cannot be read, and leave that as it is."""
    if live.instance.status.finished:
        return turn.drop(message)
    live.drop_code()
    keep(turn, live, fact.reason, "")
    return ACCEPTED


def holder(turn: Turn, error: BaseException) -> str:
    """Whether only other code is to try again, or every worker that starts. A step that does not end costs all
    other instances its time; one that does not fit costs nothing, and what it lacks may be there then."""
    return turn.house.code if isinstance(error, RunawayStep) else ""


def pass_on(turn: Turn, message: Message, live: Live) -> Verdict:
    """Keep the message for a worker that has the instance's code, which is to get its partition."""
    refusal = refusal_without_code(turn, message, live)
    if refusal is not ACCEPTED:
        return turn.drop(message, refusal)
    if isinstance(message.fact, ExecutionStarted):
        turn.change(live)  # its row is there before it begins: what comes after is for this very instance
    return _put_down(turn, message, live, _judged(turn, message, live))


def park(turn: Turn, message: Message, live: Live) -> Verdict:
    """Keep a message in the inbox: until the next worker starts if the instance is held, else until the next step,
    when the generation that it must not overtake has begun."""
    instance = live.instance
    judged = _judged(turn, message, live)
    if instance.held is None and not turn.is_catching_up(instance.id) and not turn.is_elsewhere(live):
        turn.changes.put_back(instance, judged.fact, judged.generation)
        return turn.drop(message)
    return _put_down(turn, message, live, judged)


def _judged(turn: Turn, message: Message, live: Live) -> Message:
    """The message as it lies in the inbox, where it is not judged again."""
    instance, generation, fact, batch = live.instance, message.generation, message.fact, turn.batch
    if isinstance(fact, ExecutionStarted):
        generation = instance.generation
    elif isinstance(fact, EventRaised):
        nonce = f"{batch.at}-{len(batch.parked)}-{len(batch.returned)}"
        fact = sealed_event(turn.house.sealer, instance.id, fact, nonce)
    return Message(instance.id, fact, generation, message.inbox_id, birth=instance.birth)


def _put_down(turn: Turn, message: Message, live: Live, judged: Message) -> Verdict:
    """Leave a message in the inbox. An event is for the wait that would take it now: the next one is not."""
    if type(message.fact) is EventRaised and live.readable:
        wait_id = live.work.taker(message.fact)
        if wait_id is not None:
            turn.house.given_up.setdefault(live.instance.id, set()).add(wait_id)
    if message.inbox_id:
        turn.changes.keep(message, judged)
        return ACCEPTED
    turn.batch.parked.append(judged)
    return turn.drop(message)


def refusal_without_code(turn: Turn, message: Message, live: Live) -> Verdict:
    """Why nobody will take an event, as far as that can be told without the code: by the facts of its wait."""
    fact = message.fact
    if type(fact) is not EventRaised or message.accepted or not live.readable:
        return ACCEPTED
    wait_id, parked = live.work.taker(fact), turn.house.given_up.get(live.instance.id, ())
    if wait_id is None or wait_id in parked or (fact.id and not live.work.expects(fact)):
        return WaitClosedError() if fact.id else ACCEPTED  # else it is kept for a wait that nobody knows yet
    wait = live.work.requests[wait_id]
    assert isinstance(wait, EventAwaited), "events are taken by waits"
    return misfit(wait, _opened(turn, live, fact))


def _opened(turn: Turn, live: Live, event: EventRaised) -> Any:
    if not is_sealed(event.input):
        return event.input
    return turn.house.sealer.open(event.input, event_place(live.instance.id, event.name))


# --- in words


def reason(error: BaseException) -> str:
    """Why an instance is held."""
    if isinstance(error, BideError | HeldStep):
        return str(error)
    return f"The step failed inside the engine{_place(error)}: {said(error)}"


def why_held(fault: StepFailedError | DataRefusedError) -> str:
    """What failed, where, and what to do about it."""
    cause = fault.__cause__
    if isinstance(fault, StepFailedError) and cause is not None:
        what = reason(cause)
    else:
        what = f"The database does not take what the step makes: {fault}"
    return f"{what.rstrip('.')}. Deploy code that mends it and start again, or terminate the instance."


def what_failed(error: BaseException) -> str:
    """For whoever sent a message: what an error says may be somebody's data, and is in the log."""
    return str(error) if isinstance(error, HeldStep) else f"{type(error).__name__}{_place(error)}"


def _place(error: BaseException) -> str:
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return "" if place is None else f" at {place.tb_frame.f_code.co_filename}:{place.tb_lineno}"
