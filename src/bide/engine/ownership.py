"""Which partitions are this worker's: a fair share of those that all workers have together, as long as its lease
is renewed (G6)."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

from bide.core.dispatcher import Dispatcher
from bide.engine.activities import Activities
from bide.engine.intake import Intake
from bide.engine.mailbox import Mailbox
from bide.engine.timers import TimerWindow
from bide.engine.underway import UnderWay
from bide.engine.watching import LOOK, Abroad
from bide.errors import LeaseLostError
from bide.model.clock import SECOND, Clock, Timestamp, set_lately
from bide.model.instance import PARTITIONS, partition_of
from bide.model.presence import Presence
from bide.model.query import NEVER
from bide.store.protocol import Store

log = logging.getLogger("bide.worker")

UNSETTLED: int = 30 * SECOND
"""So long after the clock was set nothing is taken from other workers: they may follow a little later."""


class Lease:
    """Implements `Chore`: renews the lease in time."""

    def __init__(self, store: Store, dispatcher: Dispatcher, mailbox: Mailbox, owner: str, span: int) -> None:
        """`span` is in microseconds."""
        self._store = store
        self._dispatcher = dispatcher
        self._mailbox = mailbox
        self._owner = owner
        self._span = span
        self.until: Timestamp = 0

    @property
    def next_at(self) -> Timestamp:
        """When half of it is over."""
        return self.until - self._span // 2 if self._dispatcher.epochs else NEVER

    async def run(self, now: Timestamp) -> bool:
        """Renew it. Raises `LeaseLostError` if another worker has something of what was owned."""
        epochs, until = self._dispatcher.epochs, now + self._span
        if await self._store.renew(self._owner, epochs, now, until) != epochs.keys():
            raise LeaseLostError("Another worker took a partition.")
        self.until = until
        self._mailbox.look()  # a worker that lost its partitions may have left something
        return False

    async def acquire(self, now: Timestamp, at_most: int, having: Collection[str]) -> dict[int, int]:
        """Take what is free and can be run here, and all that is wanted for an orchestrator in `having`. Returns it
        with its epochs. Raises `LeaseLostError` as `run` does."""
        epochs, until = self._dispatcher.epochs, now + self._span
        lacking = self._dispatcher.house.elsewhere
        taken = await self._store.acquire(self._owner, now, until, at_most, lacking, having)
        if not epochs:  # else what was held before ends earlier
            self.until = until
        lost = epochs.keys() & taken.keys()
        epochs.update(taken)
        if lost:  # it was another worker's meanwhile: what is here of it is old
            raise LeaseLostError("Another worker had taken a partition.")
        return taken

    def set_back(self, now: Timestamp) -> None:
        """The clock was set back to this."""
        if self.until > now + self._span + SECOND:
            self.until = now  # renewed at once: others do not believe a lease of such length


class Sharing:
    """Implements `Chore`: looks now and then who else is there, and takes or gives."""

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        clock: Clock,
        owner: str,
        poll: int,
        lease: Lease,
        activities: Activities,
        intake: Intake,
        mailbox: Mailbox,
        timers: TimerWindow,
        under_way: UnderWay,
        abroad: Abroad,
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._clock = clock
        self._owner = owner
        self._poll = poll
        self.lease = lease
        self._activities = activities
        self._intake = intake
        self._mailbox = mailbox
        self._timers = timers
        self._under_way = under_way
        self._abroad = abroad
        self._poll_at: Timestamp = 0
        self._wanted: dict[int, str] = {}
        """Owned partitions that are wanted for an orchestrator, by whoever had them before."""
        self._lacked = frozenset[str]()
        """The orchestrators of this worker that not all others have."""

    @property
    def next_at(self) -> Timestamp:
        """When to look again. Never, where no other worker can be."""
        shares = self._store.shared or len(self._dispatcher.epochs) < PARTITIONS
        return self._poll_at if shares else NEVER

    def look(self) -> None:
        """There may be partitions to be had."""
        self._poll_at = 0

    async def begin(self, now: Timestamp) -> None:
        """Own what can be owned, under new epochs: nothing that may be in flight can land."""
        epochs = self._dispatcher.epochs
        await self._store.release(self._owner, epochs)
        epochs.clear()
        self._mailbox.begin()
        self._timers.clear()
        self._under_way.reruns.clear()
        self._wanted.clear()
        await self._balance(now, at_first=True)

    async def run(self, now: Timestamp) -> bool:
        """Own a fair share."""
        await self._balance(now)
        self._mailbox.look()
        return False

    async def release(self) -> None:
        """Give all to whoever wants it."""
        await self._store.release(self._owner, self._dispatcher.epochs)

    def set_back(self, now: Timestamp) -> None:
        """The clock was set back to this."""
        self._poll_at = min(self._poll_at, now + self._poll)

    async def _balance(self, now: Timestamp, *, at_first: bool = False) -> None:
        """Take what is free, or give some to those who have too few."""
        self._poll_at = now + self._poll
        others = await self._others(now)
        self._look_what_they_have(others)
        self._abroad.others_changed(sum(each.changes for each in others))
        share = -(-PARTITIONS // (sum(not each.failing for each in others) + 1))
        surplus = len(self._dispatcher.epochs) - share
        if surplus > 0:
            await self._give(surplus)
        if (surplus < 0 or self._lacked) and (at_first or not set_lately(self._clock, now, UNSETTLED)):
            await self._take(now, max(0, -surplus))

    def _look_what_they_have(self, others: Sequence[Presence]) -> None:
        """An instance is stepped by a worker that has its orchestrator, as long as there is one."""
        house = self._dispatcher.house
        mine = house.executors.names
        theirs = [frozenset(map(str.casefold, each.orchestrators)) for each in others if not each.failing]
        house.elsewhere = frozenset[str]().union(*theirs) - mine
        house.nowhere -= house.elsewhere
        self._lacked = mine - mine.intersection(*theirs)

    async def _others(self, now: Timestamp) -> list[Presence]:
        """The workers to share with. Where one has the store for itself, whoever seems to live has been killed."""
        if not self._store.shared:
            return []
        return [each for each in await self._store.workers() if each.alive(now) and each.name != self._owner]

    async def _take(self, now: Timestamp, most: int) -> None:
        taken = await self.lease.acquire(now, most, self._lacked)
        if taken:
            self._intake.void_claims(taken.keys())
            self._wanted |= await self._store.wanted(taken.keys())
            self._timers.add(await self._store.timers(taken.keys(), self._timers.horizon))
            await self._under_way.run_again(taken.keys(), now)
            self._mailbox.look()

    async def _give(self, most: int) -> None:
        """Let others have partitions that all of them can run."""
        kept = {partition for partition, name in self._wanted.items() if name in self._lacked}
        given = sorted(self._idle(self._dispatcher.epochs.keys() - kept))[:most]
        if given:
            await self._release(given, {})
            log.info("Gave %d partitions to other workers; has %d", len(given), len(self._dispatcher.epochs))

    async def pass_on(self, now: Timestamp) -> None:
        """Give partitions to those who have the orchestrators that they are wanted for; if nobody has, hold."""
        house = self._dispatcher.house
        self._look_what_they_have(await self._others(now))
        found = {each: name for each, name in house.wanted.items() if name in house.elsewhere}
        given = self._idle(found.keys() & house.epochs.keys())
        if given:
            await self._release(given, found)
            log.info("Gave %d partitions to workers that have their orchestrators", len(given))
        missing = house.sought
        if missing:
            house.nowhere |= missing
            self._mailbox.read_again({each for each, name in house.wanted.items() if name in missing})

    async def _release(self, partitions: Collection[int], wanted: Mapping[int, str]) -> None:
        epochs = self._dispatcher.epochs
        given = {partition: epochs.pop(partition) for partition in partitions}
        self._forget(given.keys())
        await self._store.release(self._owner, given, wanted)

    def _idle(self, partitions: Collection[int]) -> set[int]:
        """Those in which nothing is under way: what runs here would run there once more."""
        return set(partitions) - {partition_of(instance_id) for instance_id in self._busy()}

    def _busy(self) -> list[str]:
        """The instances for which something is under way."""
        busy = [message.instance_id for message, _ in self._intake.entries]
        busy += [message.instance_id for message in self._mailbox.messages]
        busy += [activity.instance_id for activity, _ in self._intake.starting]
        return busy + [key[0] for key in self._activities.running]

    def _forget(self, partitions: Collection[int]) -> None:
        self._dispatcher.forget(partitions)
        self._timers.forget(partitions)
        self._under_way.reruns.forget(partitions)
        self._mailbox.forget(partitions)
        self._abroad.look()  # some of them may be watched
        self._wanted = {each: name for each, name in self._wanted.items() if each not in partitions}


class PassingOn:
    """Implements `Chore`: a partition goes to a worker that has the orchestrator that it is wanted for, as soon as
    nothing is under way in it."""

    def __init__(self, dispatcher: Dispatcher, sharing: Sharing) -> None:
        self._house = dispatcher.house
        self._sharing = sharing
        self._at: Timestamp = 0

    @property
    def next_at(self) -> Timestamp:
        """At once, if it is not known who has what is wanted; else now and then, if somebody has it."""
        house = self._house
        if not house.wanted:
            return NEVER
        return 0 if house.sought else NEVER if house.elsewhere.isdisjoint(house.wanted.values()) else self._at

    async def run(self, now: Timestamp) -> bool:
        """Give what can be given."""
        self._at = now + LOOK
        await self._sharing.pass_on(now)
        return False

    def set_back(self, now: Timestamp) -> None:
        """The clock was set back to this."""
        self._at = min(self._at, now + LOOK)
