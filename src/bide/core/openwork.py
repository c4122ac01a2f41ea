"""What an instance has asked for and not yet got: a fold over its facts.

Nothing here runs an orchestrator's code, so an instance can be asked what it waits for, and be ended, even when
its code is missing or no longer fits (G7, G9). The live execution uses the same fold, so the rule of which wait
takes which event (G4: first in, first out, by name regardless of case) is written once.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeAlias, cast

from bide.core.records import Record
from bide.model.history import (
    EventAwaited,
    EventDeadlineChanged,
    EventDiscarded,
    EventRaised,
    EventSent,
    EventWaitCancelled,
    ExecutionResumed,
    ExecutionSuspended,
    Fact,
    OrchestratorCompleted,
    OrchestratorStarted,
    Request,
    ResponseLinkCreated,
    Step,
    SubOrchestrationInstanceCancelled,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCancelled,
    TimerCreated,
    TimerFired,
)
from bide.model.rules import SETTLES, Role, check_covers

_Answer: TypeAlias = (
    TaskCompleted
    | TaskFailed
    | TimerFired
    | SubOrchestrationInstanceCompleted
    | SubOrchestrationInstanceFailed
    | EventRaised
    | OrchestratorCompleted
)


class OpenWork(Record):
    """The open requests of one generation, by id, and the events that came before anybody waited.

    `deferred` is what came while the instance was suspended. It settles nothing before the code is there to see it:
    until then the code may give up the very wait or timer that it answers.
    """

    requests: dict[int, Request] = {}
    deferred: list[Fact] = []
    _waiting: dict[str, list[int]] = {}
    _kept: dict[str, deque[EventRaised]] = {}
    _last_wait: int = 0

    @classmethod
    def of(cls, history: Iterable[Step]) -> OpenWork:
        """The open work that a history leaves.

        After a suspension, an event may be seen to take another wait than it took: what was asked for between two
        deferred facts is in history after both. So a wait may be listed that is over, but none is missed.
        """
        work = cls()
        suspended = False
        for step in history:
            match step.facts[0]:
                case ExecutionSuspended():
                    suspended = True
                case ExecutionResumed():
                    suspended = False
                    deferred, work.deferred = work.deferred, []
                    for each in deferred:
                        work.settle(each)
                case fact if suspended:
                    work.deferred.append(fact)
                case fact:
                    work.settle(fact)
            for asked in step.facts[1:]:
                work.ask(asked)
        return work

    def expects(self, fact: Fact) -> bool:
        """False for an answer whose request is not open (any more): a duplicate, or one that came too late."""
        wanted = SETTLES.get(type(fact))
        if wanted is None:
            return True
        task_id = cast("_Answer", fact).id
        if not task_id:  # an event for whoever waits, or will
            return True
        if self.deferred and any(isinstance(other, _Answer) and other.id == task_id for other in self.deferred):
            return False
        return type(self.requests.get(task_id)) is wanted

    def settle(self, fact: Fact) -> int | None:
        """Take a message. Returns the id of the request it settles, or None."""
        if type(fact) is EventRaised:
            return self._give(fact)
        if type(fact) not in SETTLES:
            return None
        task_id = cast("_Answer", fact).id
        del self.requests[task_id]
        return task_id

    def ask(self, fact: Fact) -> EventRaised | None:
        """Take what an orchestrator asks for. Returns the kept event that a new wait gets at once, if any."""
        take = self._takes.get(type(fact))
        return None if take is None else take(self, fact)

    def open(self, request: Request) -> None:
        """An activity, a timer, a sub-orchestration, or a turn of code that runs elsewhere."""
        self.requests[request.id] = request

    def open_wait(self, wait: EventAwaited) -> EventRaised | None:
        """Returns the kept event that the wait gets at once, if any."""
        key = wait.name.lower()
        self._last_wait = wait.id
        if key in self._kept:
            return self.take_kept(key)
        self.requests[wait.id] = wait
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = [wait.id]
        else:
            waiting.append(wait.id)
        return None

    def discard(self, fact: EventDiscarded) -> None:
        """On looking at a history: the event is gone. If it seemed to settle a wait, that is open still."""
        if not fact.id:
            return
        key = fact.name.lower()
        if key in self._kept:  # the next one is for the wait that follows, or takes the discarded one's place
            self.take_kept(key)
        elif fact.id <= self._last_wait:
            self.requests[fact.id] = EventAwaited(fact.id, fact.name)
            insort(self._waiting.setdefault(key, []), fact.id)

    def give_up(self, fact: TimerCancelled | EventWaitCancelled | SubOrchestrationInstanceCancelled) -> None:
        """A timer, a wait or a sub-orchestration. Does nothing if it is closed already."""
        if self._close_wait(fact.id) is None:
            self.requests.pop(fact.id, None)

    _takes: ClassVar[dict[type[Fact], Callable[[OpenWork, Any], EventRaised | None]]] = {
        TaskScheduled: open,
        OrchestratorStarted: open,
        TimerCreated: open,
        SubOrchestrationInstanceCreated: open,
        EventAwaited: open_wait,
        EventDiscarded: discard,
        TimerCancelled: give_up,
        EventWaitCancelled: give_up,
        SubOrchestrationInstanceCancelled: give_up,
    }
    check_covers(
        _takes,
        Role.REQUEST,
        Role.GIVING_UP,
        Role.NOTICE,
        without=(EventDeadlineChanged, EventSent, ResponseLinkCreated),
    )

    def next_wait(self, name: str) -> int | None:
        """The id of the wait that the next event of that name will settle, or None."""
        waiting = self._waiting.get(name.lower())
        return waiting[0] if waiting else None

    def taker(self, event: EventRaised) -> int | None:
        """The id of the wait that this event will settle, or None."""
        if not event.id:
            return self.next_wait(event.name)
        wait = self.requests.get(event.id)
        return event.id if type(wait) is EventAwaited and wait.name.lower() == event.name.lower() else None

    def next_kept(self, name: str) -> EventRaised | None:
        """The event that the next wait of that name will get at once, or None."""
        kept = self._kept.get(name.lower())
        return kept[0] if kept else None

    def kept_events(self) -> list[EventRaised]:
        """Events that nobody has taken and any wait may, per name in the order of their arrival."""
        kept = [event for events in self._kept.values() for event in events]
        return kept + [fact for fact in self.deferred if isinstance(fact, EventRaised) and not fact.id]

    def _give(self, event: EventRaised) -> int | None:
        if event.id:
            return self._close_wait(event.id)
        key = event.name.lower()
        waiting = self._waiting.get(key)
        if not waiting:
            self._kept.setdefault(key, deque()).append(event)
            return None
        wait_id = waiting.pop(0)
        del self.requests[wait_id]
        return wait_id

    def _close_wait(self, wait_id: int) -> int | None:
        """Returns the id itself, or None if no wait of that id is open."""
        wait = self.requests.get(wait_id)
        if type(wait) is not EventAwaited:
            return None
        del self.requests[wait_id]
        self._waiting[wait.name.lower()].remove(wait_id)
        return wait_id

    def take_kept(self, name: str) -> EventRaised:
        """Give out the event that `next_kept` tells of."""
        key = name.lower()
        kept = self._kept[key]
        event = kept.popleft()
        if not kept:
            del self._kept[key]
        return event
