"""The engine's loop: inbox -> step -> commit -> effects.

`turn` does one round, without any event loop of its own, so that a simulation can drive it by hand. `run` calls it
for as long as there is work, and sleeps until the next message or timer.

Nothing leaves before the commit that contains it is durable: replies (G1), activities, messages to others. If a
commit fails, or its outcome is unknown, the worker forgets everything it knew, takes its partitions again under new
epochs (so that nothing it may have in flight can land), and goes on from what the store has.

What it does beside stepping are its chores (`agenda`): leases, shares, timers, mail, suspects, watching, retention.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from bide.core.dispatcher import Dispatcher
from bide.core.executors import Executors
from bide.engine.activities import Activities
from bide.engine.agenda import Agenda
from bide.engine.effects import Effects
from bide.engine.health import StoreHealth
from bide.engine.intake import Entry, Intake, Start
from bide.engine.isolation import WithoutLoop
from bide.engine.mailbox import Mailbox
from bide.engine.options import WorkerOptions
from bide.engine.ownership import Lease, PassingOn, Sharing
from bide.engine.reruns import Reruns
from bide.engine.retention import Retention
from bide.engine.sleep import Sleep
from bide.engine.steps import Steps
from bide.engine.timers import ReadingAhead, TimerWindow
from bide.engine.underway import GoOn, UnderWay
from bide.engine.watching import Abroad, Watchers
from bide.errors import CommitUnknownError, HeldStep, StoreReplacedError
from bide.model.batch import Message, Reply
from bide.model.clock import Clock, Timestamp
from bide.model.history import TimerFired
from bide.model.instance import PARTITIONS, Instance, partition_of
from bide.model.metrics import Metrics
from bide.model.sealing import Sealer
from bide.store.protocol import Store

_GATHERING = 3
"""Turns of the event loop between two steps. In the meantime those who were answered send their next message,
requests are read, and short activities end: one commit for all of it."""

_LAST_TRIES = 3


class Worker:
    """Owns partitions and steps their instances.

    It puts its parts together, and is the door to them for the rest of the process.
    """

    def __init__(
        self,
        store: Store,
        executors: Executors,
        clock: Clock,
        activities: Activities,
        owner: str,
        sealer: Sealer,
        metrics: Metrics,
        options: WorkerOptions | None = None,
        code: str = "",
    ) -> None:
        """`code` is the version of the users' code."""
        self.options = options = options or WorkerOptions()
        self.dispatcher = dispatcher = Dispatcher(
            executors, sealer, options.max_live, options.long_history, WithoutLoop, code
        )
        self.sleep = Sleep(clock)
        self.health = StoreHealth(owner, options, shared=store.shared)
        self.intake = Intake(self.health, options.max_inbox, self.sleep.wake_up)
        self.mailbox = Mailbox(store, dispatcher, sealer, owner, options.max_step)
        self.watchers = Watchers()
        self._timers = TimerWindow()
        self._abroad = Abroad(store, self.watchers, self.owns)
        reruns = Reruns()
        self.effects = Effects(
            store, dispatcher, clock, activities, self._timers, reruns, self.mailbox, self.watchers, metrics
        )
        under_way = UnderWay(store, dispatcher, activities, reruns, self.intake, self.effects)
        self._steps = Steps(store, dispatcher, self.mailbox, under_way, self.effects)
        lease = Lease(store, dispatcher, self.mailbox, owner, options.lease)
        self.sharing = Sharing(
            store,
            dispatcher,
            clock,
            owner,
            options.poll,
            lease,
            activities,
            self.intake,
            self.mailbox,
            self._timers,
            under_way,
            self._abroad,
        )
        self._retention = Retention(store, dispatcher, clock, options.retention, options.max_sweep)
        self._agenda = Agenda(
            [
                lease,
                ReadingAhead(store, dispatcher, self._timers),
                self.sharing,
                PassingOn(dispatcher, self.sharing),
                GoOn(dispatcher, self.mailbox, under_way),
                self.mailbox,
                under_way,
                self._abroad,
                self._retention,
            ]
        )
        activities.connect(self.intake.post, self.intake.claim)
        self._state = _State(options.max_step)

    # --- the door

    def submit(self, message: Message, reply: Reply) -> None:
        """Take a message from outside.

        Raises `BusyError` if there is too much to do already, `StoreUnavailableError` while the store fails.
        """
        self.intake.submit(message, reply, self.queued)

    def watch(self, instance_id: str | None, changed: Callable[[Instance], None]) -> Callable[[], None]:
        """Call `changed` with each new state of the instance, or (None) of all. Returns a function that forgets
        this."""
        forget = self.watchers.add(instance_id, changed)
        if instance_id is not None and not self.owns(instance_id):
            self._abroad.look_soon(self.sleep.clock.now())
            self.sleep.wake_up()
        return forget

    def owns(self, instance_id: str) -> bool:
        """Whether the instance is stepped here."""
        epochs = self.dispatcher.epochs
        return len(epochs) == PARTITIONS or partition_of(instance_id) in epochs

    @property
    def ready(self) -> bool:
        """Whether it owns what it can, and the store did what was asked of it."""
        return self._state.ready

    @property
    def queued(self) -> int:
        """Messages waiting to be stepped."""
        return len(self.mailbox.messages) + len(self.intake.entries)

    def mail_came(self) -> None:
        """Look into the inbox now."""
        self.mailbox.look()
        self.sleep.wake_up()

    def partitions_came_free(self) -> None:
        """Look now whether there are partitions to be had."""
        self.sharing.look()
        self.sleep.wake_up()

    def renew_now(self) -> None:
        """Find out now whether the store still holds what this worker has."""
        self.sharing.lease.until = 0
        self.sleep.wake_up()

    # --- one round

    async def turn(self) -> bool:
        """Step and commit what there is to do. Returns False if there was nothing."""
        now, state = self._look_at_clock(), self._state
        if not state.ready and now < self.health.retry_at:
            return False
        entries: list[Entry] = []
        starting: list[Start] = []
        state.entries = entries
        try:
            if not state.ready:
                await self._begin(now)
            more = await self._agenda.run(now)
            now = self._look_at_clock()  # what has come meanwhile is not stepped at an earlier instant
            entries = state.entries = self._take(now)
            starting = self.intake.take_starting()
            if not entries and not starting:
                return more
            await self._steps.step(now, entries, starting)
            state.grow()
        except (Exception, HeldStep) as error:
            self._recover(now, error, entries, starting)
            if isinstance(error, StoreReplacedError):
                raise  # there is nothing to start over from
        except BaseException as error:  # the loop is being ended; whoever waits hears of it all the same
            self._recover(now, error, entries, starting)
            raise
        finally:
            state.entries, self.health.overdue = None, False
        return True

    def _look_at_clock(self) -> Timestamp:
        now, state = self.sleep.clock.now(), self._state
        if now < state.now:
            self.health.set_back(now)
            self._agenda.set_back(now)
        state.now = now
        return now

    @property
    def in_turn(self) -> Sequence[Entry] | None:
        """What the present turn is about: the same object as long as it waits for the same answers of the store."""
        return self._state.entries

    def give_up_waiting(self) -> None:
        """The store has taken too long in this turn: answer those who wait. It may come to its end all the same."""
        in_turn, self._state.entries = self._state.entries, None
        self.health.overdue = True
        for _, reply in in_turn or ():
            if reply is not None:
                reply(CommitUnknownError())
        self.intake.refuse_waiting()

    async def _begin(self, now: Timestamp) -> None:
        """Own what can be owned, and load what waits there."""
        await self.sharing.begin(now)
        self.health.came_back()
        self._state.ready = True
        await self.mailbox.run(now)
        self._abroad.look()
        self._retention.begin(now)
        await self._abroad.show_all()

    def _take(self, now: Timestamp) -> list[Entry]:
        """What goes into the next step. After an outage many timers are due at once: they come in portions, after
        the people, and what is left of them does not fill the queue that people's requests need."""
        most = self._state.most
        taken = self.mailbox.take(most)
        taken += self.intake.take(most - len(taken))
        for timer in self._timers.due(now, max(1, most // 4)):
            fired = TimerFired(timer.task_id, timer.fire_at)
            taken.append((Message(timer.instance_id, fired, timer.generation, birth=timer.birth), None))
        return taken

    def _recover(
        self, now: Timestamp, error: BaseException, entries: Sequence[Entry], starting: Sequence[Start]
    ) -> None:
        """Forget everything; the next turn takes over from what the store has."""
        self.health.failed(now, error)
        self._state.fail(len(entries))
        self.dispatcher.forget()
        self.mailbox.clear()
        self.intake.give_back(entries, starting)
        if self.health.away:
            self.intake.refuse_waiting()

    def fall(self, error: BaseException) -> None:
        """The loop's task has ended: start over as after a commit that failed."""
        self._recover(self._state.now, error, (), ())

    # --- running

    async def run(self) -> None:
        """Turn until `stop` was called and everything accepted is done, or cannot be done after a few tries."""
        state = self._state
        while not state.stopping or (self._is_busy(waits_too=True) and state.last_tries):
            if await self.turn():
                for _ in range(_GATHERING):
                    await asyncio.sleep(0)
            elif not state.ready or not self._is_busy():
                await self.sleep.until(self.next_at())

    def _is_busy(self, *, waits_too: bool = False) -> bool:
        """Whether there is something to step; or, with `waits_too`, somebody waits for another worker's verdict."""
        intake, mailbox = self.intake, self.mailbox
        return bool(intake.entries or intake.starting or mailbox.messages or (waits_too and mailbox.asked))

    def refuse(self) -> None:
        """Take no more messages from outside."""
        self.intake.refusing = True

    def stop(self) -> None:
        """Let `run` return once nothing is left to do."""
        self.intake.refusing = self._state.stopping = True
        self.sleep.wake_up()

    async def release(self) -> None:
        """Give the partitions to whoever wants them."""
        await self.sharing.release()
        self._state.ready = False

    def next_at(self) -> Timestamp:
        """When `turn` will have something to do, if no message comes before."""
        if not self._state.ready:
            return self.health.retry_at
        return min(self._timers.next_at, self._agenda.next_at)


class _State:
    """How a worker's loop is doing."""

    def __init__(self, most: int) -> None:
        self.ready = False
        self.stopping = False
        self.now: Timestamp = 0
        """The instant of the present turn, or the last."""
        self.entries: Sequence[Entry] | None = None
        """What the present turn is about, if there is one."""
        self.most = most
        """Messages in the next commit: half as many after each that failed, twice as many after each that did not.
        So none is repeated as it was, should it be too much for the database."""
        self._limit = most
        self.last_tries = _LAST_TRIES
        """How often it may fail yet before it stops with work left: that is in the database, or runs again."""

    def grow(self) -> None:
        """A commit did not fail."""
        self.most = min(2 * self.most, self._limit)

    def fail(self, entries: int) -> None:
        """A turn about so many messages failed."""
        self.ready = False
        if self.stopping:
            self.last_tries -= 1
        if entries:
            self.most = max(1, entries // 2)
