"""While the store fails, callers hear it, each of them and soon; and nothing of what they asked for was done."""

import asyncio
from datetime import timedelta

import pytest

from bide import App, OrchestrationContext
from bide.engine.client import Client
from bide.engine.options import WorkerOptions
from bide.engine.supervision import Supervisor
from bide.errors import CommitUnknownError, StoreUnavailableError
from bide.model.batch import Batch, Message
from bide.model.history import TaskCompleted
from bide.model.sealing import SealingKeys
from bide.store.memory import MemoryStore
from bide.testing.clock import ManualClock
from bide.testing.faults import FaultyStore, InjectedError, Moment
from tests.workers import new_worker

SEALER = SealingKeys([bytes(32)])


class Outage:
    """Implements `Faults`: nothing works for as long as it lasts."""

    lasts = False
    only = ""
    """The one verb that does not work, if others do."""
    slow = False
    """Whether others have their turn while the store works."""

    def pause(self, verb: str, moment: Moment) -> bool:
        return self.slow

    def error(self, verb: str, moment: Moment) -> Exception | None:
        away = self.lasts and self.only in ("", verb) and moment == "before"
        return StoreUnavailableError(f"{verb}: no room.") if away else None


def test_each_caller_is_told_while_the_store_is_away(app: App) -> None:
    @app.orchestrator
    async def echo(ctx: OrchestrationContext, value: int) -> int:
        return value

    async def story() -> None:
        clock, outage = ManualClock(), Outage()
        store = FaultyStore(MemoryStore(), outage)
        worker = new_worker(app, store, clock)
        client = Client(worker, store, app.registry, clock)

        async def later(*starts: "asyncio.Task[str]") -> list[BaseException | str | None]:
            """What the callers know a few seconds later."""
            for _ in range(4):
                for _ in range(3):
                    await asyncio.sleep(0)
                    await worker.turn()
                clock.advance(timedelta(seconds=1))
            assert all(start.done() for start in starts), "nobody is kept waiting"
            return [start.exception() or start.result() for start in starts]

        def start(number: int) -> "asyncio.Task[str]":
            return asyncio.create_task(client.start(echo, number, instance_id=f"i{number}"))

        assert await later(start(1)) == ["i1"]
        outage.lasts = True
        (first,) = await later(start(2))
        others = await later(start(3), start(4))
        assert isinstance(first, CommitUnknownError)
        assert [type(other) for other in others] == [StoreUnavailableError] * 2
        assert not client.ready
        outage.lasts = False
        await later()
        assert client.ready
        assert await later(start(3), start(5)) == ["i3", "i5"]
        assert await store.instance("i4") is None
        assert await store.instance("i2") is None

    asyncio.run(story())


def test_who_waits_while_a_commit_fails_is_told_at_once(app: App) -> None:
    @app.orchestrator
    async def echo(ctx: OrchestrationContext, value: int) -> int:
        return value

    async def story() -> None:
        clock, outage = ManualClock(), Outage()
        store = FaultyStore(MemoryStore(), outage)
        worker = new_worker(app, store, clock)
        client = Client(worker, store, app.registry, clock)
        await worker.turn()
        outage.lasts = True
        first = asyncio.create_task(client.start(echo, 1))
        await asyncio.sleep(0)
        outage.slow = True
        turn = asyncio.create_task(worker.turn())
        await asyncio.sleep(0)
        second = asyncio.create_task(client.start(echo, 2))
        await turn
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert isinstance(first.exception(), CommitUnknownError)
        assert isinstance(second.exception(), StoreUnavailableError)

    asyncio.run(story())


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("away", ["when it is to be written", "before it comes"])
def test_a_result_outlives_the_store_s_absence(app: App, away: str, once: bool) -> None:
    """It is in memory only. No body runs again for it, nor is it unknown what that of a once-activity did."""
    clock, outage, runs = ManualClock(), Outage(), []
    outage.slow = True
    paid = asyncio.Event()

    @app.activity(once=once)
    async def pay() -> str:
        runs.append("pay")
        await paid.wait()
        outage.lasts = True
        return "receipt"

    @app.orchestrator
    async def order(ctx: OrchestrationContext) -> str:
        return await ctx.call_activity(pay)

    async def story() -> None:
        store = FaultyStore(MemoryStore(), outage)
        worker = new_worker(app, store, clock)
        client = Client(worker, store, app.registry, clock)

        async def go_on() -> None:
            for _ in range(10):
                await worker.turn()
                await asyncio.sleep(0)
                clock.advance(timedelta(seconds=1))

        starting = asyncio.create_task(client.start(order))
        await go_on()
        instance_id = await starting
        assert runs == ["pay"]
        if away == "before it comes":
            outage.lasts = True
            clock.advance(timedelta(minutes=1))
            await go_on()
            assert not client.ready, "the next timers could not be read"
        else:
            outage.only = "commit"
        paid.set()
        await go_on()
        assert not client.ready, "the result could not be written"
        outage.lasts = False
        await go_on()
        assert (await client.get(instance_id)).output == "receipt"

    asyncio.run(story())
    assert runs == ["pay"]


@pytest.mark.parametrize("verb", ["commit", "acquire", "inbox"])
def test_a_worker_stops_even_if_its_last_work_cannot_be_done(app: App, verb: str) -> None:
    @app.orchestrator
    async def echo(ctx: OrchestrationContext, value: int) -> int:
        return value

    class Never(Outage):
        def error(self, name: str, moment: Moment) -> Exception | None:
            return InjectedError("no room") if self.lasts and name in (verb, "commit") else None

    async def story() -> BaseException | None:
        clock, outage = ManualClock(), Never()
        store = FaultyStore(MemoryStore(), outage)
        worker = new_worker(app, store, clock, options=WorkerOptions(retry=0, max_retry=0))
        client = Client(worker, store, app.registry, clock)
        running = asyncio.create_task(worker.run())
        await client.start(echo, 1)
        outage.lasts = True
        worker.intake.post(Message("i", TaskCompleted(1), 0))  # it exists nowhere else, so it is tried again
        start = asyncio.create_task(client.start(echo, 2))
        await asyncio.sleep(0)
        worker.stop()
        await asyncio.wait_for(running, 5)
        return start.exception()

    assert isinstance(asyncio.run(story()), CommitUnknownError)


def test_nobody_waits_for_a_commit_that_does_not_come_back(app: App) -> None:
    @app.orchestrator
    async def echo(ctx: OrchestrationContext, value: int) -> int:
        return value

    class NoAnswer(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.answers = asyncio.Event()
            self.answers.set()

        async def commit(self, batch: Batch) -> list[int]:
            await self.answers.wait()
            return await super().commit(batch)

    async def story() -> None:
        clock, store = ManualClock(), NoAnswer()
        worker = new_worker(app, store, clock)
        client = Client(worker, store, app.registry, clock)
        supervisor = Supervisor(worker, lambda: None, lambda error: None)
        await worker.turn()
        store.answers.clear()
        first = asyncio.create_task(client.start(echo, 1, instance_id="first"))
        await asyncio.sleep(0)
        turn = asyncio.create_task(worker.turn())
        await asyncio.sleep(0)
        second = asyncio.create_task(client.start(echo, 2, instance_id="second"))
        await asyncio.sleep(0)
        supervisor.look_at_turn()
        await asyncio.sleep(0)
        assert not first.done()
        assert client.ready
        supervisor.look_at_turn()
        await asyncio.wait([first, second], timeout=1)
        assert isinstance(first.exception(), CommitUnknownError)
        assert isinstance(second.exception(), StoreUnavailableError)
        assert not client.ready
        with pytest.raises(StoreUnavailableError):
            await client.start(echo, 3)
        store.answers.set()
        await turn
        assert client.ready
        assert (await client.get("first")).output == 1
        assert await store.instance("second") is None

    asyncio.run(story())


def test_what_fails_for_long_is_said_at_growing_intervals(app: App, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def story() -> None:
        clock, outage = ManualClock(), Outage()
        store = FaultyStore(MemoryStore(), outage)
        worker = new_worker(app, store, clock)
        await worker.turn()
        outage.lasts = True
        for _ in range(600):
            clock.advance(timedelta(minutes=1))
            await worker.turn()
        outage.lasts = False
        clock.advance(timedelta(minutes=1))
        await worker.turn()
        assert worker.ready

    asyncio.run(story())
    said = [record.getMessage() for record in caplog.records if record.name == "bide.worker"]
    assert len(said) == 12, said
    assert "no room" in said[0]
    assert "It has failed 513 times in a row" in said[-2]
    assert said[-1] == "The database is back"
    assert not any(record.exc_info for record in caplog.records)
