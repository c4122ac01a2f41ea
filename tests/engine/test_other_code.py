"""Workers that do not have the same orchestrators: an instance is stepped by one that has its own (G7)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from msgspec import Raw

from bide import App, BideError, Instance, MisfitError, OrchestrationContext, RuntimeStatus
from bide.engine.worker import Worker
from bide.model.batch import Message
from bide.model.clock import SECOND
from bide.model.history import EventRaised, ExecutionStarted, Fact
from bide.model.instance import PARTITIONS, partition_of
from bide.model.presence import Presence
from bide.store.memory import MemoryStore
from bide.testing.clock import ManualClock
from tests.workers import new_worker


class Shared(MemoryStore):
    @property
    def shared(self) -> bool:
        return True


def some_app(*names: str) -> App:
    """Orchestrators that wait for a number and give it back."""
    app = App()

    def add(name: str) -> None:
        @app.orchestrator(name=name)
        async def wait(ctx: OrchestrationContext) -> int:
            return await ctx.wait_for_external_event("Number", int)

    for name in names:
        add(name)
    return app


class Cluster:
    """Workers over one store, each with an app of its own."""

    def __init__(self, **apps: App) -> None:
        self.clock, self.store = ManualClock(), Shared()
        self.apps = apps
        self.workers: dict[str, Worker] = {}
        for name in apps:
            self.begin(name)

    def begin(self, name: str) -> None:
        self.workers[name] = new_worker(self.apps[name], self.store, self.clock, name)

    async def go_on(self, seconds: int = 5) -> None:
        for _ in range(seconds * 4):
            for name, worker in self.workers.items():
                await self.store.announce(
                    Presence(
                        name, "host", 1, "v", tuple(self.apps[name].registry.orchestrators), (), 0, self.clock.now()
                    )
                )
                while await worker.turn():
                    pass
            self.clock.advance(timedelta(microseconds=SECOND // 4))

    async def tell(self, name: str, instance_id: str, fact: Fact) -> BideError | None:
        """What the sender hears, through that worker."""
        heard: asyncio.Future[BideError | None] = asyncio.get_running_loop().create_future()
        self.workers[name].submit(Message(instance_id, fact), heard.set_result)
        await self.go_on()
        return heard.result()

    async def find(self, instance_id: str) -> Instance:
        found = await self.store.instance(instance_id)
        assert found is not None
        return found

    def owner(self, instance_id: str) -> list[str]:
        partition = partition_of(instance_id)
        return [name for name, worker in self.workers.items() if partition in worker.dispatcher.epochs]


def test_each_instance_is_stepped_where_its_code_is() -> None:
    async def story() -> None:
        cluster = Cluster(old=some_app("x"), new=some_app("x", "y"))
        await cluster.go_on()
        ids = [f"{name}{number}" for name in "xy" for number in range(20)]
        for instance_id in ids:
            sender = "old" if len(instance_id) % 2 else "new"
            assert await cluster.tell(sender, instance_id, ExecutionStarted(instance_id[0])) is None
        await cluster.go_on(20)
        for instance_id in ids:
            found = await cluster.find(instance_id)
            assert (found.status, found.held) == (RuntimeStatus.RUNNING, None)
            if instance_id[0] == "y":
                assert cluster.owner(instance_id) == ["new"]
        assert len(cluster.workers["old"].dispatcher.epochs) > PARTITIONS // 3, "it keeps a share"
        for instance_id in ids:
            assert await cluster.tell("old", instance_id, EventRaised("Number", Raw(b"5"))) is None
        await cluster.go_on()
        assert [(await cluster.find(each)).output for each in ids] == [5] * len(ids)

    asyncio.run(story())


def test_an_answer_that_does_not_fit_is_refused_where_the_code_is_not() -> None:
    async def story() -> None:
        cluster = Cluster(new=some_app("y"))
        await cluster.tell("new", "y1", ExecutionStarted("y"))
        await cluster.workers.pop("new").release()
        cluster.apps["old"] = some_app("x")
        cluster.begin("old")
        await cluster.go_on(20)
        refusal = await cluster.tell("old", "y1", EventRaised("Number", Raw(b'"five"')))
        assert isinstance(refusal, MisfitError)
        assert "Expected integer, got string" in str(refusal)
        assert await cluster.tell("old", "y1", EventRaised("Number", Raw(b"5"))) is None
        assert (await cluster.find("y1")).held == "There is no orchestrator 'y'. Registered: x."
        cluster.begin("new")
        await cluster.go_on(20)
        found = await cluster.find("y1")
        assert (found.output, found.held) == (5, None), "a worker that has it came: it goes on by itself"

    asyncio.run(story())


def test_workers_of_which_none_has_all_pass_instances_to_each_other() -> None:
    async def story() -> None:
        cluster = Cluster(one=some_app("x"), other=some_app("y"))
        await cluster.go_on()
        in_one = next(n for n in range(1_000) if partition_of(f"x{n}") == partition_of("y0"))
        await cluster.tell("one", f"x{in_one}", ExecutionStarted("x"))
        await cluster.tell("one", "y0", ExecutionStarted("y"))
        for number in range(3):
            await cluster.go_on(10)
            assert (await cluster.find(f"x{in_one}")).held is None, number
        assert await cluster.tell("other", f"x{in_one}", EventRaised("Number", Raw(b"1"))) is None
        assert await cluster.tell("one", "y0", EventRaised("Number", Raw(b"2"))) is None
        await cluster.go_on(10)
        assert [(await cluster.find(each)).output for each in (f"x{in_one}", "y0")] == [1, 2]

    asyncio.run(story())


def test_what_was_told_while_the_instance_moved_comes_in_order() -> None:
    app = App()

    @app.orchestrator
    async def collect(ctx: OrchestrationContext) -> list[int]:
        return [await ctx.wait_for_external_event("Number", int) for _ in range(5)]

    async def story() -> None:
        cluster = Cluster(old=some_app("x"), new=app)
        await cluster.go_on()
        ids = [f"c{number}" for number in range(20)]
        worker = cluster.workers["old"]
        for instance_id in ids:
            worker.submit(Message(instance_id, ExecutionStarted("collect")), lambda error: None)
            for number in range(5):
                worker.submit(Message(instance_id, EventRaised("Number", Raw(b"%d" % number))), lambda error: None)
        await cluster.go_on(20)
        assert [(await cluster.find(each)).output for each in ids] == [[0, 1, 2, 3, 4]] * 20

    asyncio.run(story())


def test_an_answer_is_judged_by_the_wait_that_will_take_it() -> None:
    """The first is for the first wait; the next for one that is not open yet, of which nobody knows the type."""
    app = App()

    @app.orchestrator
    async def two(ctx: OrchestrationContext) -> list[object]:
        number = await ctx.wait_for_external_event("Answer", int)
        return [number, await ctx.wait_for_external_event("Answer", str)]

    async def story() -> None:
        cluster = Cluster(new=app)
        await cluster.tell("new", "t", ExecutionStarted("two"))
        await cluster.workers.pop("new").release()
        cluster.apps["old"] = some_app("x")
        cluster.begin("old")
        await cluster.go_on(20)
        told: list[BideError | None] = []
        for data in (b"5", b'"x"'):
            cluster.workers["old"].submit(Message("t", EventRaised("Answer", Raw(data))), told.append)
        await cluster.go_on()
        assert told == [None, None]
        cluster.begin("new")
        await cluster.go_on(20)
        assert (await cluster.find("t")).output == [5, "x"]

    asyncio.run(story())
