"""What was under way when partitions were taken: it runs again, and whoever may have ended a process is watched."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

from bide.core.dispatcher import Dispatcher
from bide.engine.activities import Activities
from bide.engine.effects import Effects
from bide.engine.intake import Intake
from bide.engine.mailbox import Mailbox
from bide.engine.reruns import APART, MOST_RUNS, Reruns
from bide.model.batch import Batch, ScheduledActivity, Table, TaskKey
from bide.model.clock import SECOND, Timestamp
from bide.model.instance import partition_of
from bide.model.query import NEVER
from bide.store.protocol import Store

log = logging.getLogger("bide.worker")

_ENDED_PROCESSES = (
    "{what} was running when {times} processes ended without a word: killed, out of memory, or ended by the code. "
    "Deploy other code, resume the instance to try this one again, or terminate it."
)


def why_held(what: str, times: int) -> str:
    """Why an instance is held whose code or activity ended so many processes."""
    return _ENDED_PROCESSES.format(what=what, times=times)


class UnderWay:
    """Implements `Chore`: clears what has run for long, and lets the next suspect run."""

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        activities: Activities,
        reruns: Reruns,
        intake: Intake,
        effects: Effects,
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._activities = activities
        self.reruns = reruns
        self._intake = intake
        self._effects = effects

    @property
    def next_at(self) -> Timestamp:
        """When somebody is cleared, or the next one may run."""
        return self.reruns.next_at

    async def run(self, now: Timestamp) -> bool:
        """Clear what has run for long, and let the next one run."""
        await self.note(now, {}, self.reruns.cleared(now))
        suspect = self.reruns.next_suspect(now)
        if suspect is not None:
            activity, times = suspect
            await self.note(now, {activity.key: times})
            self._activities.run(activity, recovered=True)
        return False

    def set_back(self, now: Timestamp) -> None:
        """The clock was set back to this."""
        self.reruns.set_back(now)

    async def run_again(self, taken: Collection[int], now: Timestamp) -> None:
        """Run what is under way in partitions that were just taken; if their owner was cut off, note it before."""
        cut_off = await self._store.cut_off(taken)
        self.reruns.take(await self._store.reruns(taken), cut_off, now)
        found = await self._found(taken)
        running = [each for each in found if each.key in self._activities.running]
        others = [each for each in found if each.key not in self._activities.running]
        before = len(self.reruns.waiting)
        free, notes, accused = self.reruns.sort(others, cut_off, now)
        self._say_who_waits(self.reruns.waiting[before:])
        batch = self._notes(now, notes, [each.key for each in accused])
        if accused:
            why = {each.instance_id: why_held(f"Its activity '{each.name}'", MOST_RUNS) for each in accused}
            held = self._dispatcher.hold(await self._store.load(why), why, now)
            batch.instances, batch.held = held.instances, held.held
        await self._effects.commit(batch)
        for activity in (*running, *free):
            self._activities.run(activity, recovered=True)

    async def run_those_of(self, instance_ids: Collection[str], partitions: Collection[int]) -> None:
        """Run the activities of instances that were held."""
        for activity in await self._found(partitions):
            if activity.instance_id in instance_ids:
                self._activities.run(activity, recovered=True)

    async def note(self, now: Timestamp, times: Mapping[TaskKey, int], closed: Sequence[TaskKey] = ()) -> None:
        """These are about to run again, each so many times in all; the notes in `closed` go."""
        await self._effects.commit(self._notes(now, times, closed))

    def _notes(self, now: Timestamp, times: Mapping[TaskKey, int], closed: Sequence[TaskKey]) -> Batch:
        """What is about to run, as rows."""
        owned, partitions = self._dispatcher.epochs, {partition_of(key[0]) for key in (*times, *closed)}
        return Batch(now, {each: owned[each] for each in partitions}, reruns=Table(dict(times), [*closed]))

    async def _found(self, partitions: Collection[int]) -> list[ScheduledActivity]:
        """Activities that are to run: not those whose result is here, nor those of instances that are held."""
        results, holds = self._intake.results, self._dispatcher.house.holds
        found = await self._store.activities(partitions)
        return [each for each in found if each.key not in results and not holds(each.held_by)]

    def _say_who_waits(self, waiting: Sequence[ScheduledActivity]) -> None:
        if waiting:
            log.warning(
                "%d activities were running when processes ended again and again. Once this one has lived for "
                "%d s, they run one by one: first '%s' of '%s'",
                len(waiting),
                APART // SECOND,
                waiting[0].name,
                waiting[0].instance_id,
            )


class GoOn:
    """Implements `Chore`: what instances that are held no longer were kept from is read again."""

    def __init__(self, dispatcher: Dispatcher, mailbox: Mailbox, under_way: UnderWay) -> None:
        self._dispatcher = dispatcher
        self._mailbox = mailbox
        self._under_way = under_way

    @property
    def next_at(self) -> Timestamp:
        """At once, if there are any."""
        return 0 if self._dispatcher.house.catching_up else NEVER

    async def run(self, now: Timestamp) -> bool:
        """Read it."""
        house = self._dispatcher.house
        let_go, house.catching_up = house.catching_up, set()
        partitions = {partition_of(each) for each in let_go} & house.epochs.keys()
        self._mailbox.read_again(partitions)
        await self._under_way.run_those_of(let_go, partitions)
        return False

    def set_back(self, now: Timestamp) -> None:
        """It does not go by the clock."""
