"""Code that ends its process: it is found, alone, and its instance is held (G7)."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from bide import App, Instance, OrchestrationContext, OutcomeUnknownError, RuntimeStatus
from bide.engine.worker import Worker
from bide.model.batch import Batch, Message
from bide.model.history import EventRaised, ExecutionStarted, Fact, TimerFired
from bide.model.instance import PARTITIONS
from bide.model.sealing import SealingKeys
from bide.store.memory import MemoryStore
from bide.testing.clock import ManualClock
from bide.testing.harness import Durable
from tests.workers import new_worker

SEALER = SealingKeys([bytes(32)])


async def work(name: str) -> str:
    return name


async def mended(name: str) -> str:
    return f"{name} mended"


async def mended_again(name: str) -> str:
    return f"{name} mended again"


def endless_app(body: Callable[..., Any] = work) -> App:
    """An orchestrator whose activity is under way whenever the process ends."""
    app = App()
    app.activity(name="work")(body)

    @app.orchestrator
    async def main(ctx: OrchestrationContext, name: str) -> str:
        result: str = await ctx.call_activity("work", name)
        return result

    return app


@pytest.fixture
def app() -> App:
    return endless_app()


def crash_until_held(durable: Durable) -> None:
    """Each time while everything runs that may."""
    durable.crash()
    durable.crash()
    durable.advance("30s")
    durable.crash()
    durable.advance("60s")
    durable.crash()


def test_an_activity_that_ends_four_processes_puts_its_instance_on_hold(durable: Durable) -> None:
    hold = durable.hold("work")
    bad = durable.start("main", "bad")
    durable.crash()
    assert hold.open == 1, "it runs again"
    durable.crash()
    assert hold.open == 0, "first the process lives for a while without it"
    durable.advance("29s")
    assert hold.open == 0
    durable.advance("1s")
    assert hold.open == 1
    durable.crash()
    durable.advance("59s")
    assert hold.open == 0, "then it lives for longer"
    durable.advance("1s")
    assert hold.open == 1
    assert durable.status(bad).held is None
    durable.crash()
    held = durable.status(bad).held
    assert held is not None
    assert "activity 'work' was running when 4 processes ended" in held
    assert hold.open == 0, "it does not run any more"
    for _ in range(3):
        durable.crash()
        durable.advance("30s")
        assert hold.open == 0, "nor at a later start"
    durable.terminate(bad, "enough")
    assert durable.status(bad).status is RuntimeStatus.TERMINATED


def test_who_is_killed_from_outside_again_and_again_is_not_accused(durable: Durable) -> None:
    """The process ends in the same way while nothing that may have done it runs."""
    hold = durable.hold("work")
    ids = [durable.start("main", str(number)) for number in range(5)]
    durable.crash()
    for _ in range(10):
        assert hold.open == 5
        durable.crash()
        assert hold.open == 0, "suspects wait"
        durable.crash()
    while hold.open:
        hold.finish("done")
    assert [durable.output(each) for each in ids] == ["done"] * 5


def test_only_the_one_that_ran_alone_is_held(durable: Durable) -> None:
    """Many run when a process ends. From then on they are found out one by one."""
    hold = durable.hold("work")
    ids = {str(number): durable.start("main", str(number)) for number in range(5)}
    durable.crash()
    assert hold.open == 5
    durable.crash()
    durable.advance("30s")
    assert hold.open == 1, "suspects run one by one"
    alone = hold.arguments[-1][0]
    durable.crash()
    durable.advance("60s")
    assert (hold.open, hold.arguments[-1][0]) == (1, alone), "it is the first again"
    durable.crash()
    assert [name for name, each in ids.items() if durable.status(each).held] == [alone]
    assert hold.open == 0, "one of them did it, so the others are suspects as before"
    durable.advance("30s")
    while hold.open:  # the others go on, one after the other
        assert hold.open == 1
        hold.finish("done")
    assert [durable.output(each) for name, each in ids.items() if name != alone] == ["done"] * 4


def test_each_of_many_that_end_processes_is_found(durable: Durable) -> None:
    hold = durable.hold("work")
    ids = [durable.start("main", str(number)) for number in range(4)]
    durable.crash()
    durable.crash()
    for found in range(1, 5):
        durable.advance("60s")
        assert hold.open == 1
        durable.crash()
        durable.advance("60s")
        assert hold.open == 1
        durable.crash()
        assert sum(durable.status(each).held is not None for each in ids) == found
    assert hold.open == 0


def test_a_suspect_that_goes_on_lets_the_next_begin(durable: Durable) -> None:
    hold = durable.hold("work")
    for number in range(3):
        durable.start("main", str(number))
    durable.crash()
    durable.crash()
    durable.advance("30s")
    assert hold.open == 1
    durable.advance("10s")
    assert hold.open == 2
    durable.advance("10s")
    assert hold.open == 3


def test_a_suspect_that_ended_in_order_stays_one(app: App, durable: Durable) -> None:
    hold = durable.hold("work")
    bad = durable.start("main", "bad")
    durable.crash()
    durable.crash()
    durable.advance("30s")
    durable.deploy(app)
    assert hold.open == 0
    for _ in range(2):
        durable.advance("60s")
        assert hold.open == 1
        assert durable.status(bad).held is None
        durable.crash()
    assert durable.status(bad).held is not None


def test_what_has_run_for_a_minute_is_cleared(durable: Durable) -> None:
    hold = durable.hold("work")
    long = durable.start("main", "long")
    for _ in range(10):
        durable.crash()
        durable.advance("61s")
        assert hold.open == 1
    hold.finish("done")
    assert durable.output(long) == "done"


def test_ending_in_order_leaves_no_suspicion(app: App, durable: Durable) -> None:
    hold = durable.hold("work")
    slow = durable.start("main", "slow")
    for _ in range(10):
        durable.deploy(app)
        assert hold.open == 1
    hold.finish("done")
    assert durable.output(slow) == "done"


def test_work_that_ends_between_kills_is_not_accused(durable: Durable) -> None:
    hold = durable.hold("work")
    for number in range(10):
        short = durable.start("main", str(number))
        durable.crash()
        hold.finish("done")
        assert durable.output(short) == "done"


def test_other_code_may_try_again(durable: Durable) -> None:
    hold = durable.hold("work")
    bad = durable.start("main", "bad")
    crash_until_held(durable)
    assert hold.open == 0
    durable.deploy(endless_app(mended))
    assert hold.open == 1
    crash_until_held(durable)
    assert hold.open == 0
    assert durable.status(bad).held is not None
    durable.deploy(endless_app(mended_again))
    hold.finish("at last")
    assert durable.output(bad) == "at last"
    assert durable.status(bad).held is None


def test_a_resumed_instance_tries_again(durable: Durable) -> None:
    hold = durable.hold("work")
    bad = durable.start("main", "bad")
    crash_until_held(durable)
    durable.resume(bad)
    assert durable.status(bad).held is None
    assert hold.open == 1
    hold.finish("it was the memory")
    assert durable.output(bad) == "it was the memory"


def test_a_once_activity_keeps_its_own_rule_and_is_counted_too() -> None:
    app = App()

    @app.activity(once=True)
    async def pay() -> None: ...

    @app.orchestrator
    async def main(ctx: OrchestrationContext) -> str:
        try:
            await ctx.call_activity(pay)
        except OutcomeUnknownError:
            return "unknown"
        return "paid"

    with Durable(app) as durable:
        hold = durable.hold(pay)
        paying = durable.start(main)
        durable.crash()
        assert hold.open == 0
        assert durable.output(paying) == "unknown"


# --- orchestrators


class Died(BaseException):
    """The process has ended."""


class DeadlyStore(MemoryStore):
    """A step of an instance in `fatal` ends the process before its commit."""

    def __init__(self) -> None:
        super().__init__()
        self.fatal: set[str] = set()
        self.fatal_facts: set[type[Fact]] = set()

    async def commit(self, batch: Batch) -> list[int]:
        if not self.fatal.isdisjoint(row.instance_id for row in batch.history):
            raise Died
        if any(kind.__name__.encode() in row.facts_json for row in batch.history for kind in self.fatal_facts):
            raise Died
        return await super().commit(batch)


class Machine:
    """One process after the other over a store."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = DeadlyStore()
        self.deaths = 0
        self.app = App()

        @self.app.orchestrator
        async def sleeper(ctx: OrchestrationContext) -> str:
            await ctx.create_timer(timedelta(minutes=1))
            return "awake"

        @self.app.orchestrator
        async def parent(ctx: OrchestrationContext) -> str:
            return await ctx.with_options(instance_id="child").call_sub_orchestrator(sleeper)

    def start(self, name: str, instance_id: str) -> None:
        """In a process that is killed right afterwards, if it has not ended by itself."""
        worker = self.process("v0")
        worker.submit(Message(instance_id, ExecutionStarted(name)), lambda error: None)
        self.let_live(worker)

    def process(self, code: str) -> Worker:
        asyncio.run(self.store.open())
        return new_worker(self.app, self.store, self.clock, "worker", code=code)

    def let_live(self, worker: Worker) -> bool:
        """Whether it did what there was to do and lives on."""

        async def live() -> None:
            while await worker.turn():
                pass

        try:
            asyncio.run(live())
        except Died:
            self.deaths += 1
            return False
        return True

    def run(self, code: str = "v1") -> None:
        """Start processes until one lives on; it is killed some time later."""
        for _ in range(10):
            if self.let_live(self.process(code)):
                return
        raise AssertionError("it dies again and again")

    def find(self, instance_id: str) -> Instance:
        found = asyncio.run(self.store.instance(instance_id))
        assert found is not None
        return found


def test_an_orchestrator_that_ends_five_processes_is_held_and_no_other() -> None:
    machine = Machine()
    for name in "abcde":
        machine.start("sleeper", name)
    machine.clock.advance(timedelta(minutes=2))
    machine.store.fatal = {"c"}
    machine.run()
    assert machine.deaths == 4, "the first of the five was killed before its time came"
    assert [machine.find(name).output for name in "abde"] == ["awake"] * 4
    assert "Its code was running when 5 processes ended" in (machine.find("c").held or "")
    for _ in range(5):
        machine.run()
    assert machine.deaths == 4, "no later start tries it again"
    machine.store.fatal = set()
    machine.run("v2")
    assert machine.find("c").output == "awake"


def test_a_few_kills_from_outside_may_hit_one_step() -> None:
    """Those that come right after a start do: what was noted is stepped then, one by one."""
    machine = Machine()
    machine.start("sleeper", "unlucky")
    machine.clock.advance(timedelta(minutes=2))
    machine.store.fatal = {"unlucky"}
    for _ in range(3):
        assert not machine.let_live(machine.process("v1"))
    machine.store.fatal = set()
    machine.run("v1")
    assert machine.find("unlucky").output == "awake"


def test_other_code_that_ends_the_process_too_is_held_as_well() -> None:
    machine = Machine()
    machine.start("sleeper", "bad")
    machine.clock.advance(timedelta(minutes=2))
    machine.store.fatal = {"bad"}
    machine.run("v1")
    before = machine.deaths
    machine.run("v2")
    assert machine.deaths == before + 4
    assert machine.find("bad").held_by == "v2"


def test_other_messages_that_are_taken_clear_nobody() -> None:
    """Each life begins with an event that does no harm, before the one that does."""
    machine = Machine()
    machine.start("sleeper", "bad")
    machine.clock.advance(timedelta(minutes=2))
    machine.store.fatal_facts = {TimerFired}
    for _ in range(6):
        asyncio.run(machine.store.send([Message("bad", EventRaised("Go"))]))
        machine.let_live(machine.process("v1"))
    assert machine.deaths == 4
    assert machine.find("bad").held is not None


def test_an_orchestrator_that_ends_the_process_as_it_begins_is_held() -> None:
    machine = Machine()
    machine.store.fatal = {"child"}
    machine.start("parent", "p")
    machine.run()
    assert machine.deaths == 5
    child = machine.find("child")
    assert (child.status, child.held_by) == (RuntimeStatus.PENDING, "v1")
    machine.run()
    machine.store.fatal = set()
    machine.run("v2")
    machine.clock.advance(timedelta(minutes=2))
    machine.run("v2")
    assert machine.find("p").output == "awake"


def test_nothing_is_noted_where_no_worker_was_killed(durable: Durable, app: App) -> None:
    noted: list[dict[Any, int]] = []
    hold = durable.hold("work")
    durable.start("main", "x")
    durable.deploy(app)
    noted.append(asyncio.run(durable._store.reruns(range(PARTITIONS))))
    hold.finish("done")
    assert noted == [{}]
