"""Bugs, planted from outside: each is a store, a worker or a clock that does one thing wrong."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from msgspec import structs

from bide.core.live import Instances, Live
from bide.engine.activities import Activities
from bide.engine.bulkheads import Bulkheads
from bide.engine.effects import Effects
from bide.engine.intake import Entry, Start
from bide.engine.worker import Worker
from bide.errors import BideError, CommitUnknownError
from bide.model.batch import Batch, Message, Reply, Table
from bide.model.clock import SECOND, Clock, SteadyClock, Timestamp
from bide.model.history import EventRaised
from bide.store.memory import MemoryStore
from bide.store.protocol import Store
from simulation import Plant


class NoFence(MemoryStore):
    """Writes whatever comes, under whatever epoch."""

    async def commit(self, batch: Batch) -> list[int]:
        return await super().commit(replace(batch, epochs={}))


class LosesMessages(MemoryStore):
    """Forgets one message of the inbox in ten."""

    async def send(self, messages: Sequence[Message]) -> list[int]:
        ids = await super().send(messages)
        for inbox_id in ids:
            if inbox_id % 10 == 0:
                self._inbox.pop(inbox_id)
        return ids


class LastInFirstOut(MemoryStore):
    """Gives the inbox the wrong way round."""

    async def inbox(self, partitions: Collection[int], after: int, limit: int) -> list[Message]:
        found = await super().inbox(partitions, after, limit)
        return [*reversed(found[:-1]), *found[-1:]]  # the last stays last, because reading goes on from it


class ForgetsStarted(MemoryStore):
    """Does not keep that a once-activity was started."""

    async def commit(self, batch: Batch) -> list[int]:
        return await super().commit(replace(batch, activities_started=[]))


class KeepsTimers(MemoryStore):
    """Does not delete timers that fired or were cancelled."""

    async def commit(self, batch: Batch) -> list[int]:
        return await super().commit(replace(batch, timers=Table(batch.timers.put)))


class HalfCommits(MemoryStore):
    """Not one transaction: now and then the history is written, and the inbox rows it closes stay."""

    commits = 0

    async def commit(self, batch: Batch) -> list[int]:
        self.commits += 1
        return await super().commit(replace(batch, inbox_closed=[]) if self.commits % 5 == 0 else batch)


class FastClock:
    """Runs five seconds ahead of the world."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> Timestamp:
        return self._clock.now() + 5 * SECOND


class Gullible:
    """Goes by whatever the wall clock shows."""

    def __init__(self, clock: Clock) -> None:
        assert isinstance(clock, SteadyClock)
        self.now = clock._wall


class NeverBack:
    """Time is the highest that was ever seen, for all."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._highest = 0

    def now(self) -> Timestamp:
        self._highest = max(self._highest, self._clock.now())
        return self._highest


class ForgetsItsTime(Instances):
    """An instance goes by the clock, wherever it was before."""

    def use(self, instance_id: str) -> Live | None:
        live = super().use(instance_id)
        if live is not None:
            live.at = 0
        return live


class GoesBack(Worker):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.dispatcher.instances.__class__ = ForgetsItsTime


class EarlyEffects(Effects):
    """Answers callers and runs activities before the commit that contains them."""

    async def commit(self, batch: Batch, entries: Sequence[Entry] = (), starting: Sequence[Start] = ()) -> None:
        for (_, reply), verdict in zip(entries, batch.verdicts, strict=True):
            if reply is not None:
                reply(verdict)
        for activity in batch.activities.put.values():
            self._activities.run(activity)
        await super().commit(batch, [(message, None) for message, _ in entries], starting)


class HasEarlyEffects(Worker):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.effects.__class__ = EarlyEffects


class SwallowsErrors(Worker):
    """Tells callers that all is well when the commit failed."""

    def _recover(self, now: Timestamp, error: Exception, entries: Sequence[Any], starting: Sequence[Any]) -> None:
        calm = [(message, _calm(reply) if reply else None) for message, reply in entries]
        super()._recover(now, error, calm, starting)


def _calm(reply: Reply) -> Reply:
    def calm(error: BideError | None) -> None:
        reply(None if isinstance(error, CommitUnknownError) else error)

    return calm


class ForgetsNothing(Worker):
    """Keeps what it knows of the instances after a commit that may have failed."""

    def _recover(self, now: Timestamp, error: Exception, entries: Sequence[Any], starting: Sequence[Any]) -> None:
        self.dispatcher.forget = lambda: None  # type: ignore[method-assign]
        super()._recover(now, error, entries, starting)
        del self.dispatcher.forget  # a process that ends lets go of all the same


class RefusesAll(Bulkheads):
    """Refuses everybody's messages for what is wrong with one."""

    async def step_in_parts(
        self, now: Timestamp, entries: Sequence[Any], starting: Sequence[Any], noted: Any, fault: Any
    ) -> None:
        for _, reply in entries:
            if reply is not None:
                reply(fault)
        others = [entry for entry in entries if entry[1] is None]
        await super().step_in_parts(now, others, starting, noted, fault)


class WritesTwice(Bulkheads):
    """Does the first part once more with the second."""

    async def step_in_parts(
        self, now: Timestamp, entries: Sequence[Any], starting: Sequence[Any], noted: Any, fault: Any
    ) -> None:
        half = entries[: len(entries) // 2]
        if half:
            self._dispatcher.undo(message for message, _ in entries)
            await self._step(now, half, (), ())
        await super().step_in_parts(now, entries, starting, noted, fault)


class LastPartFirst(Bulkheads):
    """Does the parts in another order."""

    async def step_in_parts(
        self, now: Timestamp, entries: Sequence[Any], starting: Sequence[Any], noted: Any, fault: Any
    ) -> None:
        await super().step_in_parts(now, [*reversed(entries)], starting, noted, fault)


def _with(bulkheads: type[Bulkheads]) -> Plant:
    class Planted(Worker):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self._steps._bulkheads.__class__ = bulkheads

    return Plant(worker=Planted)


class MixesBirths(Worker):
    """Hears results without knowing whose they are."""

    def __init__(self, store: Store, executors: Any, clock: Clock, activities: Activities, *others: Any) -> None:
        super().__init__(store, executors, clock, activities, *others)
        post = self.intake.post
        activities.connect(lambda message: post(structs.replace(message, birth="")), self.intake.claim)


class MixesRuns(Worker):
    """Takes answers without knowing for which run of the instance they are."""

    def submit(self, message: Message, reply: Reply) -> None:
        super().submit(structs.replace(message, generation=None), reply)


class MixesWaits(Worker):
    """Gives an answer to whoever waits first."""

    def submit(self, message: Message, reply: Reply) -> None:
        if isinstance(message.fact, EventRaised):
            message = structs.replace(message, fact=structs.replace(message.fact, id=0))
        super().submit(message, reply)


def _instead(kind: type[MemoryStore]) -> Plant:
    def swap(_: Store) -> Store:
        return kind()

    return Plant(store=swap)


PLANTS: dict[str, tuple[Plant, str]] = {
    "the epoch is not checked": (_instead(NoFence), "G6"),
    "an inbox row is dropped": (_instead(LosesMessages), "G1"),
    "a timer fires early": (Plant(clock=FastClock), "G3"),
    "a wrong reading of the clock is believed": (Plant(clock=Gullible), "G3"),
    "a clock that is set back holds all others up": (Plant(clock=NeverBack), "time"),
    "an instance goes back in time": (Plant(worker=GoesBack), "time"),
    "effects before the commit": (Plant(worker=HasEarlyEffects), "G1"),
    "the inbox is last in, first out": (_instead(LastInFirstOut), "G4"),
    "the mark of a once-activity is lost": (_instead(ForgetsStarted), "G5"),
    "timers are never deleted": (_instead(KeepsTimers), "rows"),
    "a commit is not one transaction": (_instead(HalfCommits), "G2"),
    "an error of the store is swallowed": (Plant(worker=SwallowsErrors), "G1"),
    "results are not told apart by birth": (Plant(worker=MixesBirths), "births"),
    "answers are not told apart by run": (Plant(worker=MixesRuns), "waits"),
    "answers are not told apart by wait": (Plant(worker=MixesWaits), "waits"),
    "a whole turn is refused": (_with(RefusesAll), "G2"),
    "a part is written twice": (_with(WritesTwice), "G2"),
    "parts are done in another order": (_with(LastPartFirst), "G4"),
    "memory is kept after an unknown outcome": (Plant(worker=ForgetsNothing), "G2"),
}
"""Bug -> how it is planted, and which promise it breaks."""
