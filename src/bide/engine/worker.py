"""The engine's loop: inbox -> step -> commit -> effects.

`turn` does one round, without any event loop of its own, so that a simulation can drive it by hand. `run` calls it
for as long as there is work, and sleeps until the next message or timer.

Nothing leaves before the commit that contains it is durable: replies (G1), activities, messages to others. If a
commit fails, or its outcome is unknown, the worker forgets everything it knew, takes its partitions again under new
epochs (so that nothing it may have in flight can land), and goes on from what the store has.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

from msgspec.structs import replace

from bide.batch import Batch, Loaded, Message, Reply, ScheduledActivity, Table, TaskKey
from bide.clock import SECOND, Clock, Timestamp, last_step
from bide.core.dispatcher import Dispatcher
from bide.core.executors import Executors
from bide.engine.activities import Activities
from bide.engine.bulkheads import Bulkheads, Entry, Start
from bide.engine.isolation import WithoutLoop
from bide.engine.reruns import APART, MOST, Reruns, close_notes, message_key
from bide.engine.timers import WINDOW, TimerWindow
from bide.engine.watching import Watchers
from bide.errors import (
    BusyError,
    CommitUnknownError,
    DataRefusedError,
    HeldStep,
    LeaseLostError,
    StepFailedError,
    StoreReplacedError,
    StoreUnavailableError,
)
from bide.history import EventRaised, TaskCompleted, TaskFailed, TimerFired, Unreadable
from bide.instance import PARTITIONS, Instance, partition_of
from bide.metrics import Metrics, doubled
from bide.payload import MAX_PAYLOAD
from bide.presence import Presence
from bide.query import NEVER, InstanceCursor
from bide.sealing import Sealer, sealed_event
from bide.store.protocol import BEFORE_ALL, LONGEST_LEASE, Store

log = logging.getLogger("bide.worker")

_UNAWAITED = "Instance %s (%s) returned without awaiting all that it asked for. %s"
_LONG = (
    "Instance %s (%s) has %d steps in its history, all of which are repeated whenever it comes back into memory. "
    "Code that goes on for ever should end a run now and then: ctx.continue_as_new(...)."
)

_AWAY = "The database does not answer now. Nothing was changed; the same request may succeed later."

_ENDED_PROCESSES = (
    "{what} was running when {times} processes ended without a word: killed, out of memory, or ended by the code. "
    "Deploy other code, resume the instance to try this one again, or terminate it."
)

_GATHERING = 3
"""Turns of the event loop between two steps. In the meantime those who were answered send their next message,
requests are read, and short activities end: one commit for all of it."""

_LAST_TRIES = 3

LOOK: int = SECOND // 10
"""How often to look at instances of other workers that somebody here watches."""

SWEEP: int = 30 * SECOND
"""How often to look for instances that ended long enough ago, once all that there were are deleted."""

UNSETTLED: int = 30 * SECOND
"""So long after the clock was set nothing is taken from other workers: they may follow a little later."""

DOUBTFUL: int = 3600 * SECOND
"""So long after the clock was set nothing is deleted by its age: who set it wrong may set it right."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Limits of one worker. Spans are in microseconds."""

    max_live: int = 10_000
    """Instances that keep their code in memory; the others are replayed when their next message comes."""
    long_history: int = 10_000
    """Steps in one history, from which on it is warned of."""
    max_inbox: int = 20_000
    """Messages waiting to be stepped. Beyond that, senders are told to try again."""
    max_step: int = 2_000
    """Messages in one commit; and a quarter of that in timers, however many are due."""
    lease: int = 15 * SECOND
    poll: int = SECOND
    """How often to look for messages left by other workers, and for partitions without an owner."""
    retry: int = SECOND
    """How long to wait after the store failed; twice as long each further time, up to `max_retry`."""
    max_retry: int = 8 * SECOND
    retention: int | None = None
    """How long instances are kept after they have ended. None: until they are purged."""
    strict_replay: bool = False
    """Whether code must ask for what history has in all its parts, and not only in kind, id and name."""
    max_payload: int = MAX_PAYLOAD
    """Bytes in one value, as JSON."""
    max_sweep: int = 200
    """How many are deleted between two steps: few enough to hold nobody up."""

    def __post_init__(self) -> None:
        if self.lease > LONGEST_LEASE:
            raise ValueError(f"lease is {self.lease} microseconds; {LONGEST_LEASE} at most")


class Worker:
    """Owns partitions and steps their instances."""

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
        self.options = options or WorkerOptions()
        self.dispatcher = Dispatcher(
            executors, sealer, self.options.max_live, self.options.long_history, WithoutLoop, code
        )
        self.ready = False
        self.sealer = sealer
        self._store = store
        self._bulkheads = Bulkheads(store, self.dispatcher, self._step_together, self._release)
        self._clock = clock
        self._activities = activities
        activities.connect(self.post, self.start_activity)
        self._owner = owner
        self.metrics = metrics
        self._now: Timestamp = 0
        self._entries: deque[Entry] = deque()
        self._inbox: deque[Message] = deque()
        """From the store, in the order of their ids. They come before all others: they were accepted earlier."""
        self._first_left = 0
        """The id of the first message that the present turn left in `_inbox`, if that was given back, else 0."""
        self._starting: list[Start] = []
        self._timers = TimerWindow()
        self._reruns = Reruns()
        self._lease_until: Timestamp = 0
        self._poll_at: Timestamp = 0
        self._look_at: Timestamp = NEVER
        self._mail = False
        """Whether there may be something in the inbox, or a verdict."""
        self._asked: dict[int, Reply] = {}
        """Who waits for the verdict on a message, by the message's id in the inbox."""
        self._retry_at: Timestamp = 0
        self._failures = 0
        """How often the store has failed since it last did what was asked of it."""
        self._most = self.options.max_step
        """Messages in the next commit: half as many after each that failed, twice as many after each that did not.
        So none is repeated as it was, should it be too much for the database."""
        self._sweep_at: Timestamp = 0 if self.options.retention is not None else NEVER
        self._swept_to: InstanceCursor | None = None
        self._swept = 0
        self._delivered: dict[int, int] = {}
        """Ids of messages taken from the inbox, and their partitions."""
        self._in_turn: Sequence[Entry] | None = None
        """What the present turn is about, if there is one."""
        self._away = False
        """Whether the store is what failed, or whatever it is has failed twice in a row: nobody is kept waiting."""
        self._overdue = False
        """Whether its commit has taken so long that nobody waits for it any more."""
        self._said: type[BaseException] | None = None
        """The kind of failure that was last told in the log, if the store has not come back since."""
        self._watchers = Watchers()
        self.changes = 0
        """How many rows of instances were written since this worker started."""
        self._refusing = False
        self._stopping = False
        self._last_tries = _LAST_TRIES
        """How often it may fail yet before it stops with work left: that is in the database, or runs again."""
        self._wake: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop in which it runs. Asking asyncio for it is a call to the system each time."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    # --- messages in

    def submit(self, message: Message, reply: Reply) -> None:
        """Take a message from outside.

        Raises `BusyError` if there is too much to do already, `StoreUnavailableError` while the store fails.
        """
        if self._refusing or self.queued >= self.options.max_inbox:
            raise BusyError
        if self._away or self._overdue:
            raise StoreUnavailableError(_AWAY)
        self._entries.append((message, reply))
        self._wake_up()

    def post(self, message: Message) -> None:
        """Take an activity's result."""
        self._entries.append((message, None))
        self._wake_up()

    def start_activity(self, activity: ScheduledActivity, reply: Reply) -> None:
        """Mark a once-activity as started. `reply` hears when that is durable."""
        self._starting.append((activity, reply))
        self._wake_up()

    def watch(self, instance_id: str | None, changed: Callable[[Instance], None]) -> Callable[[], None]:
        """Call `changed` with each new state of the instance, or (None) of all. Returns a function that forgets
        this."""
        forget = self._watchers.add(instance_id, changed)
        if instance_id is not None and not self.owns(instance_id):
            self._look_at = min(self._look_at, self._clock.now() + LOOK)
            self._wake_up()
        return forget

    def watch_others(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` now and then, when other workers have changed instances. Returns a function that forgets
        this."""
        return self._watchers.add_for_others(changed)

    def runs(self, instance_id: str) -> bool:
        """Whether the instance's code is in memory here: then it has not ended."""
        return self.dispatcher.runs(instance_id)

    @property
    def failing(self) -> bool:
        """Whether the store has not done what was asked of it the last time."""
        return self._failures > 0 or self._overdue

    def owns(self, instance_id: str) -> bool:
        """Whether the instance is stepped here."""
        epochs = self.dispatcher.epochs
        return len(epochs) == PARTITIONS or partition_of(instance_id) in epochs

    @property
    def queued(self) -> int:
        """Messages waiting to be stepped."""
        return len(self._inbox) + len(self._entries)

    # --- one round

    async def turn(self) -> bool:
        """Step and commit what there is to do. Returns False if there was nothing."""
        now = self._clock.now()
        if now < self._now:
            self._set_back(now)
        self._now = now
        if not self.ready and now < self._retry_at:
            return False
        entries: list[Entry] = []
        starting: list[Start] = []
        self._in_turn = entries
        try:
            if not self.ready:
                await self._take_over(now)
            await self._keep_up(now)
            swept = now >= self._sweep_at and await self._sweep(now)
            entries = self._in_turn = self._take(now)
            starting, self._starting = self._starting, starting
            if not entries and not starting:
                return swept
            await self._step(now, entries, starting)
            self._most = min(2 * self._most, self.options.max_step)
        except (Exception, HeldStep) as error:
            self._recover(now, error, entries, starting)
            if isinstance(error, StoreReplacedError):
                raise  # there is nothing to start over from
        except BaseException as error:  # the loop is being ended; whoever waits hears of it all the same
            self._recover(now, error, entries, starting)
            raise
        finally:
            self._in_turn, self._overdue = None, False
        return True

    def give_up_waiting(self) -> None:
        """The store has taken too long in this turn: answer those who wait. It may come to its end all the same."""
        in_turn, self._in_turn = self._in_turn, None
        self._overdue = True
        for _, reply in in_turn or ():
            if reply is not None:
                reply(CommitUnknownError())
        self._refuse_waiting()

    @property
    def in_turn(self) -> Sequence[Entry] | None:
        """What the present turn is about: the same object as long as it waits for the same answers of the store."""
        return self._in_turn

    def _set_back(self, now: Timestamp) -> None:
        """The clock shows less than before: what is to be done in a while is not further away than that while."""
        options = self.options
        if self._lease_until > now + options.lease + SECOND:
            self._lease_until = now  # renewed at once: others do not believe a lease of such length
        self._retry_at = min(self._retry_at, now + options.max_retry)
        self._poll_at = min(self._poll_at, now + options.poll)
        self._look_at = min(self._look_at, now + LOOK)
        if options.retention is not None:
            self._sweep_at = min(self._sweep_at, now + SWEEP)
        self._timers.set_back(now)
        self._reruns.set_back(now)

    def _unsettled(self, now: Timestamp, span: int) -> bool:
        """Whether the clock was set less than so long ago."""
        step = last_step(self._clock)
        return step is not None and now < step.at + span

    async def _step(self, now: Timestamp, entries: Sequence[Entry], starting: Sequence[Start]) -> None:
        if len(self.dispatcher.epochs) < PARTITIONS:
            entries, starting = await self._hand_over(entries, starting)
        wary = self._reruns.wary_of((message for message, _ in entries), now)
        if not wary:
            return await self._step_together(now, entries, starting, ())
        if any(wary.values()):
            entries = await self._step_suspects(now, entries, wary)
        fresh = wary.keys() & {message_key(message) for message, _ in entries}
        await self._commit(self._notes(now, dict.fromkeys(fresh, 1)))
        return await self._step_together(now, entries, starting, fresh)

    async def _step_suspects(
        self, now: Timestamp, entries: Sequence[Entry], wary: Mapping[TaskKey, int]
    ) -> list[Entry]:
        """Step one by one what an instance is told that was stepped when a worker was cut off. Returns the others.

        Whatever was about to be told it when so many processes ended, it is not told: it is held.
        """
        suspects = {key[0] for key, times in wary.items() if times}
        for entry in entries:
            message = entry[0]
            if message.instance_id not in suspects:
                continue
            noted = wary.keys() & {message_key(message)}
            accused = any(wary[each] >= MOST - 1 for each in noted)
            if not accused:
                await self._commit(self._notes(now, {each: wary[each] + 1 for each in noted}))
            await self._step_together(now, [entry], (), noted, accused=[message.instance_id] if accused else ())
        return [entry for entry in entries if entry[0].instance_id not in suspects]

    async def _step_together(
        self,
        now: Timestamp,
        entries: Sequence[Entry],
        starting: Sequence[Start],
        noted: Collection[TaskKey],
        *,
        accused: Collection[str] = (),
    ) -> None:
        """One step and its commit, with which the notes of the messages go. Instances that are `accused` are held.

        What was given back by another part of the same turn comes first: it was there before these messages.
        """
        if self._inbox and self._inbox[0].inbox_id < self._first_left:
            entries = [*self._given_back(), *entries]
        messages = [message for message, _ in entries]
        try:
            batch = await self._stepped(now, messages, starting, noted, accused=accused)
            inbox_ids = [] if batch.empty else await self._store.commit(batch)
        except (StepFailedError, DataRefusedError) as fault:
            await self._bulkheads.step_in_parts(now, entries, starting, noted, fault)
        else:
            self._release(batch, inbox_ids, entries, starting)

    async def _stepped(
        self,
        now: Timestamp,
        messages: Sequence[Message],
        starting: Sequence[Start],
        noted: Collection[TaskKey],
        *,
        accused: Collection[str],
    ) -> Batch:
        missing = self.dispatcher.instances.missing(messages)
        loaded = await self._store.load(missing) if missing else {}
        keys = {(message.instance_id, message.request.key) for message in messages if message.request}
        remembered = await self._store.requests(keys, now) if keys else {}
        held = dict.fromkeys(accused, _why_held("Its code")) if accused else {}
        batch = self.dispatcher.step(
            messages, now, Loaded(loaded, remembered), [activity for activity, _ in starting], held
        )
        batch.reruns.closed += self._reruns.closed_by(batch)
        close_notes(batch, noted, self.dispatcher.epochs)
        return batch

    def _given_back(self) -> list[Entry]:
        """Take out what instances gave back in this turn (see `_put_first`): its ids are lower than all before."""
        inbox, found = self._inbox, list[Entry]()
        while inbox and inbox[0].inbox_id < self._first_left:
            found.append((inbox.popleft(), None))
        return found

    def _notes(self, now: Timestamp, times: Mapping[TaskKey, int], closed: Sequence[TaskKey] = ()) -> Batch:
        """What is about to run, as rows."""
        epochs = {
            each: self.dispatcher.epochs[each] for each in {partition_of(key[0]) for key in (*times, *closed)}
        }
        return Batch(now, epochs, reruns=Table(dict(times), [*closed]))

    async def _commit(self, batch: Batch) -> None:
        """Make something durable that no message asked for."""
        if not batch.empty:
            self._release(batch, await self._store.commit(batch), (), ())

    async def _hand_over(
        self, entries: Sequence[Entry], starting: Sequence[Start]
    ) -> tuple[list[Entry], list[Start]]:
        """Leave messages for instances of other workers in the inbox. Returns what is this worker's own."""
        epochs = self.dispatcher.epochs
        foreign = [
            entry
            for entry in entries
            if partition_of(entry[0].instance_id) not in epochs and not entry[0].inbox_id  # else it lies there
            if not isinstance(entry[0].fact, Unreadable)  # its owner sees for itself
        ]
        if foreign:
            await self._send(foreign)
        for activity, started in starting:
            if partition_of(activity.instance_id) not in epochs:
                started(LeaseLostError("Another worker owns the instance now."))
        return (
            [entry for entry in entries if partition_of(entry[0].instance_id) in epochs],
            [start for start in starting if partition_of(start[0].instance_id) in epochs],
        )

    async def _send(self, foreign: Sequence[Entry]) -> None:
        """Put messages into the inbox. What the database does not take is found as in a step: in parts."""
        try:
            ids = await self._store.send([self._addressed(*entry, nth) for nth, entry in enumerate(foreign)])
        except DataRefusedError as refusal:
            if len(foreign) == 1:
                ((message, reply),) = foreign
                log.error(
                    "A message for instance %s is not taken by the database: %s", message.instance_id, refusal
                )
                if reply is not None:  # else it is an activity's result, and the instance's owner runs that again
                    reply(refusal)
                return
            middle = len(foreign) // 2
            await self._send(foreign[:middle])
            await self._send(foreign[middle:])
            return
        self._asked.update(
            (inbox_id, reply) for inbox_id, (_, reply) in zip(ids, foreign, strict=True) if reply is not None
        )

    def _addressed(self, message: Message, reply: Reply | None, nth: int) -> Message:
        """The message as it lies in the inbox, where nobody is to read an event of which nobody knows the type."""
        if isinstance(message.fact, EventRaised):
            nonce = f"{self._now}-{nth}"
            message = replace(message, fact=sealed_event(self.sealer, message.instance_id, message.fact, nonce))
        return message if reply is None else replace(message, reply_to=self._owner)

    def _take(self, now: Timestamp) -> list[Entry]:
        """What goes into the next step. After an outage many timers are due at once: they come in portions, after
        the people, and what is left of them does not fill the queue that people's requests need."""
        inbox, entries, most = self._inbox, self._entries, self._most
        taken: list[Entry] = [(inbox.popleft(), None) for _ in range(min(len(inbox), most))]
        taken += [entries.popleft() for _ in range(min(len(entries), most - len(taken)))]
        for timer in self._timers.due(now, max(1, most // 4)):
            fired = TimerFired(timer.task_id, timer.fire_at)
            taken.append((Message(timer.instance_id, fired, timer.generation, birth=timer.birth), None))
        self._first_left = min(inbox[0].inbox_id, 0) if inbox else 0
        return taken

    def _release(
        self,
        batch: Batch,
        inbox_ids: Sequence[int],
        entries: Sequence[Entry],
        starting: Sequence[Start],
    ) -> None:
        """The batch is durable: let its effects out."""
        self._timers.discard(batch.timers.closed)
        self._timers.add(batch.timers.put.values())
        self._activities.cancel(batch.activities.closed)
        self._reruns.drop(batch.activities.closed)
        self._reruns.ended(batch.reruns.closed)
        self._reruns.noted(batch.reruns.put)
        self.dispatcher.house.catching_up.update(batch.let_go)
        for activity in batch.activities.put.values():
            self._activities.run(activity)
        for _, started in starting:
            started(None)
        for inbox_id in batch.inbox_closed:
            self._delivered.pop(inbox_id, None)
        put = [
            Message(message.instance_id, message.fact, message.generation, inbox_id, birth=message.birth)
            for message, inbox_id in zip((*batch.returned, *batch.inbox), inbox_ids, strict=True)
        ]
        first = len(batch.returned)
        self._deliver(put[first:])
        self._put_first(put[:first])
        for (_, reply), verdict in zip(entries, batch.verdicts, strict=True):
            if reply is not None:
                reply(verdict)
        self._count(batch)
        for instance_id, steps in batch.long.items():
            log.warning(_LONG, instance_id, batch.instances[instance_id].name, steps)
        for instance_id, sentences in batch.unawaited.items():
            log.warning(_UNAWAITED, instance_id, batch.instances[instance_id].name, " ".join(sentences))
        for instance in batch.held:
            log.warning("Instance %s is held: %s", instance.id, instance.held)
        if batch.replaced:
            self._watchers.tell(batch.replaced.values())
        self._watchers.tell(batch.instances.values())

    def _count(self, batch: Batch) -> None:
        metrics, now = self.metrics, batch.at
        self.changes += len(batch.instances)
        if batch.fired:
            durable_at = max(now, self._clock.now())
            for due in batch.fired:
                metrics.timer_lateness.add(durable_at, durable_at - due)
        for waited in batch.answered:
            metrics.response_time.add(now, waited)
        for instance in batch.replaced.values():
            if instance.updated >= now:  # it had not ended
                metrics.ends_of(now).count(instance.status)
        for instance in batch.instances.values():
            if instance.created == now:
                metrics.ends_of(now).started += 1
            if instance.status.finished:
                metrics.ends_of(now).count(instance.status)

    def _deliver(self, messages: Sequence[Message]) -> None:
        """Take messages of the inbox, unless they are another worker's."""
        epochs = self.dispatcher.epochs
        mine = [message for message in messages if partition_of(message.instance_id) in epochs]
        self._delivered.update((message.inbox_id, partition_of(message.instance_id)) for message in mine)
        self._inbox.extend(mine)

    def _put_first(self, messages: Sequence[Message]) -> None:
        """Take what this worker's own instances gave back, before all others."""
        self._delivered.update((message.inbox_id, partition_of(message.instance_id)) for message in messages)
        self._inbox.extendleft(reversed(messages))

    async def _show(self, instance_ids: Collection[str]) -> None:
        """Tell watchers of what was committed without being confirmed."""
        self._watchers.show(await self._store.rows(instance_ids) if instance_ids else ())

    async def _look_abroad(self, now: Timestamp) -> None:
        """Show watchers the instances of other workers."""
        abroad = [instance_id for instance_id in self._watchers.ids if not self.owns(instance_id)]
        self._look_at = now + LOOK if abroad else NEVER
        self._watchers.show_abroad(await self._store.rows(abroad) if abroad else ())

    # --- ownership

    async def _take_over(self, now: Timestamp) -> None:
        """Own what can be owned, under new epochs, and load what waits there."""
        epochs = self.dispatcher.epochs
        await self._store.release(self._owner, epochs)
        epochs.clear()
        self._delivered.clear()
        self._timers = TimerWindow()
        self._reruns = Reruns()
        await self._balance(now)
        if self._said is not None and issubclass(self._said, StoreUnavailableError):
            log.info("The database is back")
        self._failures, self._said, self._away = 0, None, False
        self.ready = True
        await self._read_mail()
        self._look_at = 0
        self._sweep_at = max(self._sweep_at, now + SWEEP)  # a clock that is wrong at the start may be set right yet
        await self._show(self._watchers.ids)

    async def _balance(self, now: Timestamp) -> None:
        """Own a fair share of the partitions: take what is free, or give some to those who have too few."""
        self._poll_at = now + self.options.poll
        others = await self._others(now)
        self._watchers.others_changed(sum(each.changes for each in others))
        share = -(-PARTITIONS // (sum(not each.failing for each in others) + 1))
        surplus = len(self.dispatcher.epochs) - share
        if surplus > 0:
            await self._give(surplus)
        elif surplus < 0 and not (self.ready and self._unsettled(now, UNSETTLED)):
            await self._acquire(now, -surplus)

    async def _others(self, now: Timestamp) -> list[Presence]:
        """The workers to share with. Where one has the store for itself, whoever seems to live has been killed."""
        if not self._store.shared:
            return []
        return [each for each in await self._store.workers() if each.alive(now) and each.name != self._owner]

    async def _give(self, most: int) -> None:
        """Let others have partitions in which nothing is under way: what runs here would run there once more."""
        epochs = self.dispatcher.epochs
        under_way = [message.instance_id for message, _ in self._entries]
        under_way += [message.instance_id for message in self._inbox]
        under_way += [activity.instance_id for activity, _ in self._starting]
        under_way += [key[0] for key in self._activities.running]
        idle = epochs.keys() - {partition_of(instance_id) for instance_id in under_way}
        given = {partition: epochs.pop(partition) for partition in sorted(idle)[:most]}
        if given:
            self._forget(given.keys())
            await self._store.release(self._owner, given)
            log.info("Gave %d partitions to other workers; has %d", len(given), len(epochs))

    def _forget(self, partitions: Collection[int]) -> None:
        self.dispatcher.forget(partitions)
        self._timers.forget(partitions)
        self._reruns.forget(partitions)
        self._delivered = {
            inbox_id: partition for inbox_id, partition in self._delivered.items() if partition not in partitions
        }
        self._look_at = 0  # some of them may be watched

    async def _acquire(self, now: Timestamp, at_most: int) -> None:
        epochs = self.dispatcher.epochs
        until = now + self.options.lease
        taken = await self._store.acquire(self._owner, now, until, at_most)
        if not epochs:  # else what was held before ends earlier
            self._lease_until = until
        lost = epochs.keys() & taken.keys()
        epochs.update(taken)
        if lost:  # it was another worker's meanwhile: what is here of it is old
            raise LeaseLostError("Another worker had taken a partition.")
        if taken:
            self._void_claims(taken.keys())
            self._timers.add(await self._store.timers(taken.keys(), self._timers.horizon))
            await self._run_again(taken.keys(), now)
            self._mail = True

    async def _run_again(self, taken: Collection[int], now: Timestamp) -> None:
        """Run what is under way in partitions that were just taken; if their owner was cut off, note it before."""
        cut_off = await self._store.cut_off(taken)
        self._reruns.take(await self._store.reruns(taken), cut_off, now)
        found = await self._under_way(taken)
        running = [each for each in found if each.key in self._activities.running]
        others = [each for each in found if each.key not in self._activities.running]
        free, notes, accused = self._reruns.sort(others, cut_off, now)
        batch = self._notes(now, notes, [each.key for each in accused])
        self._say_who_waits()
        if accused:
            why = {each.instance_id: _why_held(f"Its activity '{each.name}'") for each in accused}
            held = self.dispatcher.hold(await self._store.load(why), why, now)
            batch.instances, batch.held = held.instances, held.held
        await self._commit(batch)
        for activity in (*running, *free):
            self._activities.run(activity, recovered=True)

    def _say_who_waits(self) -> None:
        waiting = self._reruns.waiting
        if waiting:
            first = waiting[0]
            log.warning(
                "%d activities were running when %d processes ended in a row; they run again in %d s, one by one: "
                "first '%s' of '%s'",
                len(waiting),
                MOST - 1,
                APART // SECOND,
                first.name,
                first.instance_id,
            )

    async def _under_way(self, partitions: Collection[int]) -> list[ScheduledActivity]:
        """Activities that are to run: not those whose result is here, nor those of instances that are held."""
        have = {_result_key(message) for message, _ in self._entries}
        found = await self._store.activities(partitions)
        return [each for each in found if each.key not in have and not self.dispatcher.house.holds(each.held_by)]

    async def _go_on(self) -> None:
        """Read again what instances that are held no longer were kept from."""
        house = self.dispatcher.house
        let_go, house.catching_up = house.catching_up, set()
        partitions = {partition_of(each) for each in let_go} & self.dispatcher.epochs.keys()
        self._inbox = deque(each for each in self._inbox if partition_of(each.instance_id) not in partitions)
        self._delivered = {each: number for each, number in self._delivered.items() if number not in partitions}
        self._mail = True
        for activity in await self._under_way(partitions):
            if activity.instance_id in let_go:
                self._activities.run(activity, recovered=True)

    def _void_claims(self, taken: Collection[int]) -> None:
        """Another worker may have owned these partitions, and have started what was to be marked here (G5)."""
        pending, self._starting = self._starting, []
        for activity, started in pending:
            if partition_of(activity.instance_id) in taken:
                started(LeaseLostError("The instance may have been another worker's meanwhile."))
            else:
                self._starting.append((activity, started))

    async def _keep_up(self, now: Timestamp) -> None:
        """Renew leases, read the timer window on, and look for what other workers left."""
        epochs = self.dispatcher.epochs
        if now >= self._lease_until - self.options.lease // 2 and epochs:
            until = now + self.options.lease
            if await self._store.renew(self._owner, epochs, now, until) != epochs.keys():
                raise LeaseLostError("Another worker took a partition.")
            self._lease_until = until
            self._mail = True  # a worker that lost its partitions may have left something
        if now >= self._timers.extend_at:
            horizon = now + WINDOW
            found = await self._store.timers(epochs.keys(), horizon, after=self._timers.horizon)
            self._timers.extend(found, horizon)
        if self._shares and now >= self._poll_at:
            await self._balance(now)
            self._mail = True
        if self.dispatcher.house.catching_up:
            await self._go_on()
        if self._mail:
            await self._read_mail()
        if now >= self._reruns.next_at:
            await self._look_after_suspects(now)
        if now >= self._look_at:
            await self._look_abroad(now)

    async def _look_after_suspects(self, now: Timestamp) -> None:
        """Clear what has run for long, and let the next one run."""
        cleared = self._reruns.cleared(now)
        await self._commit(self._notes(now, {}, cleared))
        suspect = self._reruns.next_suspect(now)
        if suspect is not None:
            activity, times = suspect
            await self._commit(self._notes(now, {activity.key: times}))
            self._activities.run(activity, recovered=True)

    @property
    def _shares(self) -> bool:
        """Whether other workers may be there."""
        return self._store.shared or len(self.dispatcher.epochs) < PARTITIONS

    async def _sweep(self, now: Timestamp) -> bool:
        """Delete some of the instances that ended long ago. Returns whether there may be more of them."""
        assert self.options.retention is not None
        if self._unsettled(now, DOUBTFUL):
            self._sweep_at = now + SWEEP
            return False
        before, most = now - self.options.retention, self.options.max_sweep
        ended, self._swept_to = await self._store.ended(self.dispatcher.epochs.keys(), before, self._swept_to, most)
        if ended:
            await self._store.commit(self.dispatcher.purge(ended, now))
            self._swept += len(ended)
        if self._swept_to is None:  # that was all: the next ones are due later
            self._sweep_at = now + SWEEP
            if self._swept:
                log.info("Deleted %d instances that had ended long enough ago", self._swept)
                self._swept = 0
        return self._swept_to is not None

    async def _read_mail(self) -> None:
        self._mail = False
        if self._asked:
            for each in await self._store.verdicts(self._owner):
                reply = self._asked.pop(each.inbox_id, None)
                if reply is not None:
                    reply(each.verdict)
        after = BEFORE_ALL
        while page := await self._store.inbox(self.dispatcher.epochs.keys(), after, self.options.max_step):
            after = page[-1].inbox_id
            self._deliver([message for message in page if message.inbox_id not in self._delivered])

    def _recover(
        self,
        now: Timestamp,
        error: BaseException,
        entries: Sequence[Entry],
        starting: Sequence[Start],
    ) -> None:
        """Forget everything; the next turn takes over from what the store has."""
        self._say_what_failed(error)
        if self._stopping:
            self._last_tries -= 1
        if entries:
            self._most = max(1, len(entries) // 2)
        self.ready = False
        self._retry_at = now + self._pause()
        self.dispatcher.forget()
        for _, started in starting:
            started(CommitUnknownError())
        for _, reply in entries:
            if reply is not None:
                reply(CommitUnknownError())
        # What came from the store will be read again. Activities' results exist only here.
        self._inbox.clear()
        results = [entry for entry in entries if _result_key(entry[0])]
        waiting = [entry for entry in self._entries if entry[1] is not None or _result_key(entry[0])]
        self._entries = deque([*results, *waiting])
        self._away = self._failures > 1 or isinstance(error, StoreUnavailableError | StoreReplacedError)
        if self._away:
            self._refuse_waiting()

    def _refuse_waiting(self) -> None:
        """Nobody is kept waiting for what may take hours."""
        results: deque[Entry] = deque()
        for message, reply in self._entries:
            if reply is None:
                results.append((message, reply))
            else:
                reply(StoreUnavailableError(_AWAY))
        self._entries = results

    def fall(self, error: BaseException) -> None:
        """The loop's task has ended: start over as after a commit that failed."""
        self._recover(self._now, error, (), ())

    def _say_what_failed(self, error: BaseException) -> None:
        if isinstance(error, StoreReplacedError) or not isinstance(error, Exception | HeldStep):
            return  # whoever ends the loop, or looks after it, says why
        if isinstance(error, LeaseLostError):
            log.warning("Lost partitions: %s It wrote nothing more to them, and starts over.", error)
        elif self._said is type(error) and not doubled(self._failures):
            return  # it was said; and is again after twice as many failures each time
        elif not isinstance(error, StoreUnavailableError):
            log.error(
                "The engine failed between two steps; starting over from what the database has", exc_info=error
            )
        elif self._failures:
            log.error("%s It has failed %d times in a row; nothing is acknowledged", error, self._failures + 1)
        else:
            log.error("%s Nothing is acknowledged until it is back; starting over then from what it has", error)
        self._said = type(error)

    def _pause(self) -> int:
        """How long to wait until the next attempt. Workers that failed together come back one by one."""
        longest = min(self.options.retry << min(self._failures, 10), self.options.max_retry)
        self._failures += 1
        share = crc32(f"{self._owner} {self._failures}".encode()) % 1_000
        return longest // 2 + longest * share // 2_000 if self._store.shared else self.options.retry

    # --- running

    async def run(self) -> None:
        """Turn until `stop` was called and everything accepted is done, or cannot be done after a few tries."""
        while not self._stopping or (self._has_work and self._last_tries):
            if await self.turn():
                for _ in range(_GATHERING):
                    await asyncio.sleep(0)
            else:
                await self._idle()

    @property
    def _has_work(self) -> bool:
        return bool(self._inbox or self._entries or self._starting or self._asked)

    def clock_changed(self) -> None:
        """Look at the clock now: it shows another time, so what was to be done later may be due."""
        self._wake_up()

    def mail_came(self) -> None:
        """Look into the inbox now."""
        self._mail = True
        self._wake_up()

    def partitions_came_free(self) -> None:
        """Look now whether there are partitions to be had."""
        self._poll_at = 0
        self._wake_up()

    def renew_now(self) -> None:
        """Find out now whether the store still holds what this worker has."""
        self._lease_until = 0
        self._wake_up()

    def refuse(self) -> None:
        """Take no more messages from outside."""
        self._refusing = True

    def stop(self) -> None:
        """Let `run` return once nothing is left to do."""
        self._refusing = self._stopping = True
        self._wake_up()

    async def release(self) -> None:
        """Give the partitions to whoever wants them."""
        await self._store.release(self._owner, self.dispatcher.epochs)
        self.ready = False

    def next_at(self) -> Timestamp:
        """When `turn` will have something to do, if no message comes before."""
        if not self.ready:
            return self._retry_at
        renew_at = self._lease_until - self.options.lease // 2 if self.dispatcher.epochs else NEVER
        at = min(self._timers.next_at, renew_at, self._sweep_at, self._look_at, self._reruns.next_at)
        return min(at, self._poll_at) if self._shares else at

    async def _idle(self) -> None:
        loop = self.loop
        self._wake = loop.create_future()
        delay_s = max(0, self.next_at() - self._clock.now()) / SECOND
        alarm = loop.call_later(delay_s, self._wake_up)
        busy = self._mail or self._inbox or self._entries or self._starting or self._stopping
        if not self.ready or not busy:
            await self._wake
        alarm.cancel()
        self._wake = None

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


def _why_held(what: str) -> str:
    return _ENDED_PROCESSES.format(what=what, times=MOST)


def _result_key(message: Message) -> TaskKey | None:
    """Which activity a message is the result of, if it exists nowhere but in memory."""
    fact = message.fact
    if isinstance(fact, TaskCompleted | TaskFailed) and not message.inbox_id:
        return (message.instance_id, message.generation or 0, fact.id, message.birth)
    return None
