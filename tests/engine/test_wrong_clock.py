"""A clock that is read wrong harms nobody; one that is set is followed, and no instance sees time go back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec import Raw

from bide import App, OrchestrationContext, RuntimeStatus, Settings
from bide.engine import clockwatch
from bide.engine.clockwatch import ClockWatch, say_if_behind
from bide.engine.options import WorkerOptions
from bide.engine.ownership import UNSETTLED
from bide.engine.reruns import ALONE, APART, CLEARED, MOST_RUNS, WARY, Reruns
from bide.engine.retention import DOUBTFUL
from bide.engine.timers import WINDOW, TimerWindow
from bide.errors import MisfitError, StoreUnavailableError
from bide.model.batch import Message, ScheduledActivity, Timer
from bide.model.clock import SECOND, SyncedClock, Timestamp
from bide.model.history import ExecutionStarted, TimerFired
from bide.model.instance import PARTITIONS, Instance, partition_of
from bide.model.presence import SILENCE, Presence
from bide.model.query import InstanceFilter
from bide.model.sealing import SealingKeys
from bide.running import run
from bide.store.memory import MemoryStore
from bide.store.protocol import LONGEST_LEASE
from bide.testing.clock import ManualClock
from bide.testing.faults import FaultyStore, Moment
from bide.testing.harness import Durable
from tests.machine import ManualMachine
from tests.workers import new_worker

SEALER = SealingKeys([bytes(32)])

HOUR = 3_600 * SECOND
YEAR = 365 * 24 * HOUR
OFF = [2 * SECOND, -2 * SECOND, HOUR, -HOUR, 10 * YEAR, -10 * YEAR]
KEPT = 24 * HOUR


@pytest.fixture
def functions(app: App) -> App:
    @app.orchestrator
    async def remind(ctx: OrchestrationContext) -> list[str]:
        began = ctx.current_utc_datetime
        await ctx.create_timer(timedelta(seconds=60))
        return [str(began), str(ctx.current_utc_datetime)]

    @app.orchestrator
    async def ask(ctx: OrchestrationContext) -> str:
        return await ctx.wait_for_external_event("Answer", str, timeout=timedelta(seconds=90))

    @app.orchestrator
    async def hours(ctx: OrchestrationContext, count: int) -> list[str]:
        seen = []
        for _ in range(count):
            await ctx.wait_for_external_event("Next")
            seen.append(str(ctx.current_utc_datetime))
        return seen

    @app.orchestrator
    async def echo(ctx: OrchestrationContext) -> str:
        return "done"

    return app


class Office:
    """An app on a machine whose clock can be wrong."""

    def __init__(self, app: App) -> None:
        options = WorkerOptions(retention=KEPT)
        self.durable = Durable(app, options=options)
        self.machine = self.durable.clock = ManualMachine()
        self.durable.crash()  # the next worker goes by the machine's clock

    def wrong(self, by: int, seconds: int = 1) -> None:
        """The wall clock is wrong for so long, and whoever works looks at it."""
        self.machine.off += by
        self.live(seconds)
        self.machine.off -= by
        self.machine.advance(timedelta(seconds=1))
        self.durable.settle()

    def live(self, seconds: int) -> None:
        """Let time pass, second by second."""
        for _ in range(seconds):
            self.durable.settle()
            self.machine.advance(timedelta(seconds=1))
        self.durable.settle()

    def ended_after(self, instance_id: str, seconds: int = 200) -> int:
        """After how many seconds the instance ends."""
        for passed in range(seconds):
            self.durable.settle()
            if self.durable.status(instance_id).status.finished:
                return passed
            self.machine.advance(timedelta(seconds=1))
        raise AssertionError("it does not end")

    @property
    def ids(self) -> set[str]:
        return {each.id for each in self.durable.run(self.durable.client.instances(InstanceFilter(), limit=99))}


@pytest.fixture
def office(functions: App) -> Iterator[Office]:
    office = Office(functions)
    with office.durable:
        yield office


# --- one wrong reading


@pytest.mark.parametrize("by", OFF)
def test_a_timer_made_after_a_wrong_reading_fires_at_its_time(office: Office, by: int) -> None:
    office.wrong(by)
    reminded = office.durable.start("remind")
    assert office.ended_after(reminded) == 60


@pytest.mark.parametrize("by", OFF)
def test_a_timer_that_is_open_at_a_wrong_reading_fires_at_its_time(office: Office, by: int) -> None:
    reminded = office.durable.start("remind")
    office.wrong(by, seconds=4)
    office.durable.crash()
    office.wrong(by, seconds=2)
    assert office.ended_after(reminded) == 60 - 5 - 3


@pytest.mark.parametrize("by", OFF)
def test_what_is_made_at_a_wrong_reading_has_its_right_instants(office: Office, by: int) -> None:
    durable, machine = office.durable, office.machine
    machine.off = by
    machine.advance(timedelta(seconds=1))
    began = machine.right
    reminded, asked = durable.start("remind"), durable.start("ask")
    machine.off = 0
    assert durable.status(reminded).created == began
    (wait,) = durable.run(durable.client.waits(asked))
    assert (wait.opened, wait.due) == (began, began + 90 * SECOND)
    assert office.ended_after(asked) == 90
    assert durable.status(asked).status is RuntimeStatus.FAILED


@pytest.mark.parametrize("by", OFF)
def test_a_wrong_reading_deletes_nothing(office: Office, by: int) -> None:
    office.durable.start("echo", instance_id="ended")
    office.live(40)
    office.wrong(by, seconds=4)
    office.live(40)
    assert office.ids == {"ended"}


# --- a clock that was set


def test_a_timer_is_late_by_what_it_takes_to_believe_that_the_clock_was_set(office: Office) -> None:
    reminded = office.durable.start("remind")
    office.machine.off = HOUR
    assert 5 <= office.ended_after(reminded) <= 7
    assert office.ended_after(office.durable.start("remind")) == 60
    office.machine.off = 0
    office.live(8)
    assert office.ended_after(office.durable.start("remind")) == 60


@pytest.mark.parametrize("by", [HOUR, 10 * YEAR])
def test_after_the_clock_was_set_back_nothing_waits_for_the_old_time(office: Office, by: int) -> None:
    durable, machine = office.durable, office.machine
    old = durable.start("hours", 3)
    machine.off = by
    office.live(10)
    durable.raise_event(old, "Next")
    ahead = machine.now()
    machine.off = 0
    office.live(10)
    assert machine.now() == machine.right
    for _ in range(2):
        durable.raise_event(old, "Next")
        durable.crash()
    instants = [step.time for step in durable.history(old)]
    assert instants == sorted(instants), "time does not go back for an instance"
    assert max(instants) == ahead
    assert durable.status(old).updated == ahead
    seen = durable.output(old)
    assert seen == sorted(seen)
    young = durable.start("remind")
    assert durable.status(young).created == machine.right, "that is another instance's"
    assert office.ended_after(young) == 60


def test_a_clock_that_was_wrong_for_long_deletes_nothing_if_it_is_set_right(office: Office) -> None:
    office.durable.start("echo", instance_id="ended")
    office.machine.off = 10 * YEAR
    office.live(60)
    assert office.machine.now() == office.machine.right + 10 * YEAR
    office.machine.off = 0
    office.live(60)
    assert office.ids == {"ended"}


def test_a_clock_that_is_wrong_at_the_start_deletes_nothing_if_it_is_set_right_soon(functions: App) -> None:
    async def story() -> Instance | None:
        store, machine = MemoryStore(), ManualMachine()
        worker = new_worker(functions, store, machine)
        worker.submit(Message("ended", ExecutionStarted("echo")), lambda error: None)
        while await worker.turn():
            pass
        await worker.release()
        wrong = ManualMachine()
        wrong.be_set(10 * YEAR)
        wrong.last_step = None  # nobody knows of it: so was the clock when the machine started
        worker = new_worker(functions, store, wrong, options=WorkerOptions(retention=KEPT))
        wrong.off = 0
        for _ in range(100):
            await worker.turn()
            wrong.advance(timedelta(seconds=1))
        return await store.instance("ended")

    assert asyncio.run(story()) is not None


def test_an_hour_after_the_clock_was_set_it_is_right(office: Office) -> None:
    office.durable.start("echo", instance_id="ended")
    office.machine.off = 10 * YEAR
    office.live(10)
    office.machine.advance(timedelta(microseconds=DOUBTFUL - 60 * SECOND))
    office.live(1)
    assert office.ids == {"ended"}
    office.live(120)
    assert office.ids == set()


def test_an_instance_hears_of_a_timer_when_it_was_due_or_later(functions: App) -> None:
    """The timer has fired while nobody had the code, and the clock was set back before somebody has it again."""

    async def story() -> None:
        clock, store = ManualClock(), MemoryStore()
        worker = new_worker(functions, store, clock)
        worker.submit(Message("a", ExecutionStarted("remind")), lambda error: None)
        await worker.turn()
        await worker.release()
        clock.advance(timedelta(seconds=60))
        due = clock.now()
        worker = new_worker(App(), store, clock)
        await worker.turn()
        await worker.turn()  # nobody else has the code
        await worker.release()
        held = await store.instance("a")
        assert held is not None
        assert held.held
        clock.set(due - HOUR)
        await new_worker(functions, store, clock).turn()
        found = await store.instance("a")
        assert found is not None
        assert found.status is RuntimeStatus.COMPLETED
        assert [step.time for step in await store.history("a")][-1] == found.updated == due

    asyncio.run(story())


def test_a_timer_that_waits_for_its_turn_is_due_by_the_clock_of_that_turn(functions: App) -> None:
    async def story() -> None:
        clock, store = ManualClock(), MemoryStore()
        worker = new_worker(functions, store, clock, options=WorkerOptions(max_step=1))
        for name in ("a", "b"):
            worker.submit(Message(name, ExecutionStarted("remind")), lambda error: None)
            await worker.turn()
        clock.advance(timedelta(seconds=60))
        due = clock.now()
        await worker.turn()
        clock.set(due - HOUR)
        await worker.turn()
        waiting = await store.timers(range(PARTITIONS), due)
        assert len(waiting) == 1
        clock.set(due)
        await worker.turn()
        for name in ("a", "b"):
            assert [step.time for step in await store.history(name)][-1] == due

    asyncio.run(story())


# --- the worker's own times


class Outage:
    """Implements `Faults`."""

    def __init__(self) -> None:
        self.lasts = False

    def pause(self, verb: str, moment: Moment) -> bool:
        return False

    def error(self, verb: str, moment: Moment) -> Exception | None:
        return StoreUnavailableError("it is away") if self.lasts else None


@pytest.mark.parametrize("by", [HOUR, 10 * YEAR])
def test_a_worker_whose_clock_goes_back_does_everything_as_often_as_before(functions: App, by: int) -> None:
    async def story() -> None:
        clock, store = ManualClock(), MemoryStore()
        worker = new_worker(functions, store, clock, options=WorkerOptions(retention=60 * SECOND))
        leaving = await store.acquire("leaving", clock.now(), clock.now() + LONGEST_LEASE, 1)
        worker.submit(Message("e", ExecutionStarted("echo")), lambda error: None)
        worker.submit(Message("r", ExecutionStarted("remind")), lambda error: None)
        while await worker.turn():
            pass
        clock.advance(timedelta(seconds=50))
        await worker.turn()
        assert worker._timers._open, "the timer is due soon"
        reruns = worker._steps._under_way.reruns
        reruns.take({}, range(PARTITIONS), clock.now())
        clock.set(clock.now() - by)
        back = clock.now()
        await worker.turn()
        timer = Message("r", TimerFired(1, 0), 0)
        assert not reruns.wary_of([timer], back + WARY), "nobody is wary for longer than that"
        assert worker.next_at() <= back + SECOND, "it looks for free partitions every second"
        assert worker.dispatcher.epochs
        kept = await store.acquire("other", back, back + SECOND, PARTITIONS)
        assert kept.keys() <= leaving.keys(), "it has renewed its own leases at once, and no others hold"
        await store.release("other", kept)
        worker.submit(Message("young", ExecutionStarted("remind")), lambda error: None)
        worker.submit(Message("brief", ExecutionStarted("echo")), lambda error: None)
        for _ in range(100):
            clock.advance(timedelta(seconds=1))
            while await worker.turn():
                pass
        assert len(worker.dispatcher.epochs) == PARTITIONS
        assert len(worker._timers._open) == 0, "what is due long after this is not kept in memory"
        assert await store.instance("brief") is None, "it ended long enough ago"
        young = await store.instance("young")
        assert young is not None
        assert young.status is RuntimeStatus.COMPLETED

    asyncio.run(story())


def test_a_timer_that_was_taken_is_not_read_again_when_time_goes_back() -> None:
    """The store has it until its step is durable."""
    timers = TimerWindow()
    timer = Timer("a", 0, 1, 10 * HOUR, "b")
    timers.extend([timer], 10 * HOUR + WINDOW)
    assert timers.due(10 * HOUR, 9) == [timer]
    timers.set_back(HOUR)
    assert timers.horizon == HOUR + WINDOW
    timers.extend([timer], 11 * HOUR)
    assert timers.due(11 * HOUR, 9) == []
    timers.discard([timer.key])
    timers.add([timer])
    assert timers.due(11 * HOUR, 9) == [timer]
    timers.forget([partition_of("a")])
    timers.add([timer])
    assert timers.due(11 * HOUR, 9) == [timer]


def test_a_worker_waits_no_longer_for_the_store_because_the_clock_was_set_back(functions: App) -> None:
    async def story() -> None:
        clock, outage = ManualClock(), Outage()
        worker = new_worker(functions, FaultyStore(MemoryStore(), outage), clock)
        outage.lasts = True
        await worker.turn()
        outage.lasts = False
        clock.set(clock.now() - HOUR)
        await worker.turn()
        clock.advance(timedelta(seconds=8))
        await worker.turn()
        assert worker.ready

    asyncio.run(story())


def test_watchers_of_others_instances_go_on_after_the_clock_was_set_back(functions: App) -> None:
    async def story() -> list[RuntimeStatus]:
        clock, store = ManualClock(), MemoryStore()
        theirs = await store.acquire("other", clock.now(), clock.now() + LONGEST_LEASE // 2, PARTITIONS)
        worker = new_worker(functions, store, clock)
        await worker.turn()
        seen: list[RuntimeStatus] = []
        worker.watch("far", lambda instance: seen.append(instance.status))
        await worker.turn()
        clock.set(clock.now() - LONGEST_LEASE // 2)
        await worker.turn()
        other = new_worker(functions, store, clock, "other")
        other.dispatcher.epochs.update(theirs)
        batch = other.dispatcher.step([Message("far", ExecutionStarted("ask"))], clock.now())
        await store.commit(batch)
        clock.advance(timedelta(seconds=1))
        await worker.turn()
        return seen

    assert asyncio.run(story()) == [RuntimeStatus.RUNNING]


def test_leases_are_not_taken_right_after_the_clock_was_set(functions: App) -> None:
    """Those who hold them may follow the same clock a little later."""

    class Shared(MemoryStore):
        @property
        def shared(self) -> bool:
            return True

    async def story() -> None:
        time = ManualClock()
        clock = SyncedClock(time.now)
        store = Shared()

        def hear(off: int) -> None:
            time.advance(timedelta(seconds=2))
            clock.heard(time.now() + off)

        hear(0)
        held = await store.acquire("slow", clock.now(), clock.now() + LONGEST_LEASE, PARTITIONS - 1)
        worker = new_worker(functions, store, clock)
        await worker.turn()
        assert len(worker.dispatcher.epochs) == 1
        for _ in range(5):
            hear(HOUR)
            await worker.turn()
        assert clock.last_step is not None
        assert len(worker.dispatcher.epochs) == 1
        assert await store.renew("slow", held, clock.now(), clock.now() + 15 * SECOND) == held.keys()
        for _ in range(UNSETTLED // SECOND // 2 + 1):
            hear(HOUR)
            await worker.turn()
        assert len(worker.dispatcher.epochs) == PARTITIONS, "after a while, who did not renew is gone"

    asyncio.run(story())


def test_suspects_wait_no_longer_because_the_clock_was_set_back() -> None:
    reruns = Reruns()
    found = [ScheduledActivity(name, 0, 1, "work", Raw(b"[]"), 1, 1, HOUR) for name in ("a", "b", "c")]
    cut_off = {partition_of(each.instance_id) for each in found}
    noted = {each.key: 1 for each in found[1:]}
    reruns.take(noted, cut_off, HOUR)
    reruns.sort(found, cut_off, HOUR)
    assert reruns.next_suspect(HOUR + APART - 1) is None
    reruns.set_back(0)
    longest = APART * MOST_RUNS
    assert reruns.next_suspect(longest) is not None
    assert reruns.next_suspect(longest + ALONE - 1) is None
    reruns.set_back(0)
    assert reruns.next_suspect(ALONE) is not None
    assert reruns.cleared(CLEARED)
    timer = Message("a", TimerFired(1, 0), 0)
    assert reruns.wary_of([timer], WARY - 1)
    assert not reruns.wary_of([timer], WARY)


def test_a_sign_of_life_from_the_future_says_nothing_of_today() -> None:
    presence = Presence("w", "host", 1, "v", (), (), 0, seen_at=HOUR)
    assert presence.alive(HOUR - SILENCE + 1)
    assert not presence.alive(HOUR - SILENCE)


def test_no_worker_asks_for_a_lease_that_is_not_believed() -> None:
    WorkerOptions(lease=LONGEST_LEASE)
    with pytest.raises(ValueError, match="at most"):
        WorkerOptions(lease=LONGEST_LEASE + 1)


# --- what is said


@pytest.mark.parametrize(
    ("by", "words"),
    [
        (HOUR, ["The clock was set ahead by 1:00:00", "what is due by now fires now"]),
        (-HOUR, ["The clock was set back by 1:00:00", "take longer by as much"]),
        (400_000, ["ahead by 0.4 s"]),
    ],
)
def test_a_clock_that_was_set_is_told_in_one_line(
    by: int, words: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    machine = ManualMachine()
    woken: list[int] = []
    watch = ClockWatch(machine, lambda: woken.append(machine.now()))

    def live(seconds: int) -> None:
        for _ in range(seconds):
            watch.look(machine.right / SECOND)
            machine.advance(timedelta(seconds=1))

    with caplog.at_level(logging.INFO):
        live(10)
        machine.off = 3 * by
        live(3)
        machine.off = 0
        live(10)
        assert caplog.messages == []
        assert woken == []
        machine.off = by
        live(20)
    (line,) = caplog.messages
    assert all(each in line for each in words)
    assert len(woken) == (abs(by) > SECOND // 2)


def test_who_slept_with_the_machine_is_woken(caplog: pytest.LogCaptureFixture) -> None:
    """The event loop does not count that time, so its alarm would come late."""
    machine = ManualMachine()
    woken: list[int] = []
    watch = ClockWatch(machine, lambda: woken.append(machine.now()))
    watch.look(10.0)
    machine.advance(timedelta(hours=8))
    watch.look(11.0)
    machine.advance(timedelta(seconds=1))
    watch.look(12.0)
    assert len(woken) == 1
    assert caplog.messages == []


def test_a_clock_behind_what_the_store_has_is_told_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    app = App()

    async def main(seen_after_s: int) -> list[str]:
        clock = ManualMachine()
        store = MemoryStore()
        seen_at = clock.now() + seen_after_s * SECOND
        await store.announce(Presence("former", "host", 1, "v", (), (), 0, seen_at))
        caplog.clear()
        say_if_behind(clock, await store.workers())
        return [*caplog.messages]

    assert asyncio.run(main(-5)) == asyncio.run(main(50)) == []
    (line,) = asyncio.run(main(7_200))
    assert line.startswith("The clock is 2:00:00 behind what worker former had")
    say_if_behind(ManualMachine(), [])

    async def start() -> None:
        async with run(app, Settings(db=":memory:"), ManualMachine()):
            pass

    asyncio.run(start())


@pytest.mark.parametrize("db", [":memory:", "hub.db"])
def test_a_running_app_wakes_when_its_clock_was_set(
    functions: App, db: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the real loop, of which nobody asks for anything."""
    monkeypatch.setattr(clockwatch, "_EVERY_S", 0.01)
    machine = ManualMachine()
    settings = Settings(db=db if db == ":memory:" else str(tmp_path / db))

    async def story() -> None:
        async with asyncio.timeout(20), run(functions, settings, machine) as hub:
            ended = asyncio.Event()
            reminded = await hub.client.start("remind")
            for _ in range(100):
                await asyncio.sleep(0)  # until the worker has nothing to do
            hub.worker.watch(reminded, lambda instance: ended.set() if instance.status.finished else None)
            machine.be_set(HOUR)
            await ended.wait()

    asyncio.run(story())
    assert sum("The clock was set ahead by 1:00:00" in each for each in caplog.messages) == 1


def test_what_changes_nothing_does_not_move_an_instances_time(functions: App) -> None:
    with Durable(functions) as durable:

        @functions.orchestrator
        async def count(ctx: OrchestrationContext) -> int:
            return await ctx.wait_for_external_event("Go", int)

        instance_id = durable.start(count)
        durable.advance("5s")
        with pytest.raises(MisfitError):
            durable.raise_event(instance_id, "Go", "no number")
        durable.clock.set(durable.clock.now() - 3 * SECOND)
        durable.raise_event(instance_id, "Go", 1)
        assert durable.history(instance_id)[-1].time == durable.clock.now()


def test_what_comes_while_chores_take_long_is_not_stepped_at_an_earlier_instant(functions: App) -> None:
    """Else its timers would be due so much too early."""

    class Slow(MemoryStore):
        async def renew(
            self, owner: str, epochs: Mapping[int, int], now: Timestamp, lease_until: Timestamp
        ) -> set[int]:
            clock.advance(timedelta(seconds=2))
            came.append(clock.now())
            worker.submit(Message("late", ExecutionStarted("remind")), lambda error: None)
            return await super().renew(owner, epochs, now, lease_until)

    clock, came = ManualClock(), list[Timestamp]()
    store = Slow()
    worker = new_worker(functions, store, clock)

    async def story() -> None:
        await worker.turn()
        clock.advance(timedelta(seconds=10))
        await worker.turn()
        late = await store.instance("late")
        assert late is not None
        assert late.created == came[0]

    asyncio.run(story())
