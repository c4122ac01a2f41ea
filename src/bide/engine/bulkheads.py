"""What one message, or one value, makes fail is charged to it alone.

A step takes the messages of many instances, and one commit writes what comes of them. Where a step fails over one
of its messages (`StepFailedError`), or the database refuses a commit because of a value in it (`DataRefusedError`),
nothing of it was written, and it is done once more in parts: one after the other, in the same order, each with a
commit of its own under the same fence. So the order within every instance stays what it was, and nothing is written
twice. In the end one message is left that cannot be done. It is refused, if whoever sent it waits to hear; else its
instance is held, with the message, and says why. All others have their answers in that same turn.

A database that is away is another matter: nothing is known then, and the worker starts over.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from itertools import pairwise
from typing import Protocol, TypeAlias

from msgspec.structs import replace

from bide.core.dispatcher import Dispatcher
from bide.core.failures import failure_as
from bide.core.holding import why_held
from bide.engine.effects import Effects
from bide.engine.intake import Entry, Start
from bide.engine.reruns import close_notes, message_key
from bide.errors import DataRefusedError, StepFailedError
from bide.model.batch import Batch, Loaded, Message, TaskKey
from bide.model.clock import Timestamp
from bide.model.history import EventRaised, TaskCompleted, TaskFailed
from bide.store.protocol import Store

log = logging.getLogger("bide.worker")

Fault: TypeAlias = StepFailedError | DataRefusedError

_WayOut: TypeAlias = Callable[[], Awaitable[Batch]]


class _Step(Protocol):
    async def __call__(
        self, now: Timestamp, entries: Sequence[Entry], starting: Sequence[Start], noted: Collection[TaskKey]
    ) -> None:
        """Step these messages together and commit what comes of them; mark these once-activities as started."""
        ...


class Bulkheads:
    """Finds which message a fault is to be charged to."""

    def __init__(self, store: Store, dispatcher: Dispatcher, effects: Effects, step: _Step) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._effects = effects
        self._step = step

    async def step_in_parts(
        self,
        now: Timestamp,
        entries: Sequence[Entry],
        starting: Sequence[Start],
        noted: Collection[TaskKey],
        fault: Fault,
    ) -> None:
        """Do in parts what could not be done together."""
        self._dispatcher.undo(message for message, _ in entries)
        if len(entries) + len(starting) > 1:
            for part, marks in _parts(entries, starting, fault):
                keys = {message_key(message) for message, _ in part}
                await self._step(now, part, marks, [key for key in noted if key in keys])
        elif entries:
            await self._charge(now, entries[0], noted, fault)
        else:
            log.error("A once-activity cannot be marked as started, so it does not run: %s", fault)
            starting[0][1](fault)

    async def _charge(self, now: Timestamp, entry: Entry, noted: Collection[TaskKey], fault: Fault) -> None:
        message, reply = entry
        log.error(
            "%s for instance %s %s",
            type(message.fact).__name__,
            message.instance_id,
            "made its step fail"
            if isinstance(fault, StepFailedError)
            else f"is not taken by the database: {fault}",
            exc_info=fault.__cause__ if isinstance(fault, StepFailedError) else None,
        )
        for way_out in self._ways_out(now, message, reply is not None or message.reply_to != "", fault):
            try:
                batch = await way_out()
                close_notes(batch, noted, self._dispatcher.epochs)
                await self._effects.commit(batch, [entry])
            except (StepFailedError, DataRefusedError) as further:
                log.debug("Nor this way: %s", further)
                self._dispatcher.undo([message])
            else:
                return
        log.error("It is left where it is, until the next start of a worker")
        if reply is not None:
            reply(fault)

    def _ways_out(self, now: Timestamp, message: Message, asked: bool, fault: Fault) -> Iterator[_WayOut]:
        """What may be done with a message by itself, the best first. `asked`: somebody waits to hear of it."""

        async def refuse() -> Batch:
            return self._dispatcher.refuse(message, fault, now)

        async def set_aside() -> Batch:
            snapshots = await self._store.load([message.instance_id])
            return self._dispatcher.set_aside(message, snapshots.get(message.instance_id), why_held(fault), now)

        async def fail() -> Batch:
            """The result cannot be kept: the orchestrator hears that instead."""
            assert isinstance(message.fact, TaskCompleted)
            failure = failure_as(DataRefusedError, str(fault))
            failed = replace(message, fact=TaskFailed(message.fact.id, failure, message.fact.started_at))
            snapshots = await self._store.load([message.instance_id])
            return self._dispatcher.step([failed], now, Loaded(snapshots))

        its_own_data = isinstance(fault, DataRefusedError)
        if not asked or (its_own_data and isinstance(message.fact, EventRaised)):
            yield set_aside
        if its_own_data and isinstance(message.fact, TaskCompleted):
            yield fail
        if asked:
            yield refuse


def _parts(
    entries: Sequence[Entry], starting: Sequence[Start], fault: Fault
) -> Iterator[tuple[Sequence[Entry], Sequence[Start]]]:
    """All of it, in the same order, in parts of which each is smaller."""
    if starting and entries:
        yield (), starting
        yield entries, ()
        return
    if isinstance(fault, StepFailedError):
        cuts = [0, fault.done, fault.done + 1, len(entries)]
    else:
        cuts = [0, len(entries) // 2, len(entries)]
    for first, end in pairwise(cuts):
        if first < end:
            yield entries[first:end], ()
    middle = len(starting) // 2
    for some in (starting[:middle], starting[middle:]):
        if some:
            yield (), some
