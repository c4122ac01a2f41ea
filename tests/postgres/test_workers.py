"""Several workers over one database: who owns what, and how messages and answers travel between them."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from msgspec.structs import replace

from bide import App, Client, OrchestrationContext, Settings, when_any
from bide.engine.options import WorkerOptions
from bide.errors import (
    InstanceExistsError,
    InstanceFinishedError,
    InstanceNotFoundError,
    MisfitError,
    WaitClosedError,
)
from bide.model.clock import Clock, SystemClock
from bide.model.instance import PARTITIONS, RuntimeStatus, partition_of
from bide.running import Running, run

pytestmark = pytest.mark.postgres

app = App()
sent: list[str] = []


@app.activity
async def send(number: str) -> str:
    sent.append(number)
    return "0042"


@app.orchestrator
async def verify(ctx: OrchestrationContext, number: str) -> bool:
    code = await ctx.call_activity(send, number)
    deadline, answer = ctx.create_timer(timedelta(hours=1)), ctx.wait_for_external_event("Answer", str)
    await when_any(answer, deadline)
    return answer.is_completed and answer.result == code


@app.orchestrator
async def parent(ctx: OrchestrationContext, count: int) -> int:
    children = [ctx.call_sub_orchestrator(child, number) for number in range(count)]
    return sum([await each for each in children])


@app.orchestrator
async def child(ctx: OrchestrationContext, number: int) -> int:
    return number


async def until(condition: Callable[[], bool | Awaitable[bool]], limit_s: float = 20) -> None:
    """These are real workers in real time: nothing but looking tells when they have agreed."""
    async with asyncio.timeout(limit_s):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)


class Workers:
    """Workers of one process, each with its own connections."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stacks: dict[str, AsyncExitStack] = {}
        self.hubs: dict[str, Running] = {}

    async def start(self, name: str, clock: Clock | None = None) -> Running:
        stack = self._stacks[name] = AsyncExitStack()
        options = WorkerOptions(poll=200_000, retry=100_000)
        running = run(app, Settings(db=self._url), clock or SystemClock(), options)
        hub = self.hubs[name] = await stack.enter_async_context(running)
        await until(lambda: hub.client.ready)
        return hub

    async def stop(self, name: str) -> None:
        del self.hubs[name]
        await self._stacks.pop(name).aclose()

    async def stop_all(self) -> None:
        for name in [*self._stacks]:
            await self.stop(name)

    def owned(self) -> dict[str, int]:
        return {name: len(hub.worker.dispatcher.epochs) for name, hub in self.hubs.items()}

    async def even(self) -> None:
        """Wait until every partition has an owner, and nobody has more than a fair share."""
        share = -(-PARTITIONS // len(self.hubs))
        await until(lambda: sum(self.owned().values()) == PARTITIONS and max(self.owned().values()) <= share)


def play(url: str, scene: Callable[[Workers], Awaitable[None]]) -> None:
    async def playing() -> None:
        workers = Workers(url)
        try:
            await scene(workers)
        finally:
            await workers.stop_all()

    asyncio.run(playing())


def foreign_id(hub: Running, prefix: str = "order") -> str:
    """An id whose instance another worker steps."""
    owned = hub.worker.dispatcher.epochs
    return next(name for name in (f"{prefix}-{n}" for n in range(10_000)) if partition_of(name) not in owned)


def test_workers_share_and_take_over_what_another_leaves(database_url: str) -> None:
    async def scene(workers: Workers) -> None:
        await workers.start("a")
        assert workers.owned() == {"a": PARTITIONS}
        await workers.start("b")
        await workers.even()
        await workers.start("c")
        await workers.even()
        await workers.stop("a")
        await workers.even()
        await workers.stop("c")
        await workers.even()

    play(database_url, scene)


def test_workers_that_start_at_once_make_the_tables_once(database_url: str) -> None:
    async def scene(workers: Workers) -> None:
        await asyncio.gather(*(workers.start(name) for name in "abcd"))
        await workers.even()

    play(database_url, scene)


def test_any_worker_takes_any_request(database_url: str) -> None:
    async def scene(workers: Workers) -> None:
        a, b = await workers.start("a"), await workers.start("b")
        await workers.even()
        instance_id = foreign_id(a)
        assert await a.client.start(verify, "+1425", instance_id=instance_id) == instance_id
        await until(lambda: waits(a.client, instance_id))
        ended = asyncio.create_task(a.client.wait(instance_id))
        await asyncio.sleep(0)
        await a.client.raise_event(instance_id, "Answer", "0042")
        assert (await ended).output is True
        assert (await b.client.wait(instance_id)).output is True

    play(database_url, scene)


async def waits(client: Client, instance_id: str) -> bool:
    return bool(await client.waits(instance_id))


def test_refusals_travel_back(database_url: str) -> None:
    async def scene(workers: Workers) -> None:
        a = await workers.start("a")
        await workers.start("b")
        await workers.even()
        instance_id = foreign_id(a)
        with pytest.raises(InstanceNotFoundError, match=instance_id):
            await a.client.raise_event(instance_id, "Answer", "0042")
        await a.client.start(verify, "+1425", instance_id=instance_id)
        await a.client.start(verify, "+1425", instance_id=instance_id)  # the same again (G2)
        with pytest.raises(InstanceExistsError):
            await a.client.start(verify, "+1426", instance_id=instance_id)
        await until(lambda: waits(a.client, instance_id))
        with pytest.raises(MisfitError) as refused:
            await a.client.raise_event(instance_id, "Answer", {"not": "a code"})
        assert refused.value.path == "$"
        await a.client.terminate(instance_id)
        with pytest.raises(InstanceFinishedError):
            await a.client.raise_event(instance_id, "Answer", "0042")

    play(database_url, scene)


def test_an_answer_to_one_wait_travels_and_so_does_its_refusal(database_url: str) -> None:
    async def scene(workers: Workers) -> None:
        a = await workers.start("a")
        await workers.start("b")
        await workers.even()
        instance_id = foreign_id(a)
        await a.client.start(verify, "+1425", instance_id=instance_id)
        await until(lambda: waits(a.client, instance_id))
        (wait,) = await a.client.waits(instance_id)
        with pytest.raises(WaitClosedError):
            await a.client.respond(wait, "0042", generation=1)
        with pytest.raises(WaitClosedError):
            await a.client.respond(replace(wait, id=wait.id + 1), "0042", generation=0)
        with pytest.raises(MisfitError):
            await a.client.respond(wait, 42, generation=0)
        await a.client.respond(wait, "0042", generation=0)
        assert (await a.client.wait(instance_id)).output is True

    play(database_url, scene)


def test_requests_are_remembered_and_audited_where_they_take_effect(database_url: str) -> None:
    async def scene(workers: Workers) -> None:
        a = await workers.start("a")
        await workers.start("b")
        await workers.even()
        client, instance_id = a.client.on_behalf("ci", "10.0.0.7"), foreign_id(a)
        await client.start(verify, "+1425", instance_id=instance_id)
        for _ in range(2):
            await client.raise_event(instance_id, "Other", 1, idempotency_key="one")
        entries = await client.audit(instance_id)
        assert [(each.verb, each.result, each.caller) for each in reversed(entries)] == [
            ("start", "accepted", "ci"),
            ("raiseEvent", "accepted", "ci"),
            ("raiseEvent", "repeated", "ci"),
        ]

    play(database_url, scene)


def test_watchers_hear_of_what_others_change(database_url: str) -> None:
    async def scene(workers: Workers) -> None:
        a, b = await workers.start("a"), await workers.start("b")
        await workers.even()
        heard = asyncio.Event()
        with a.client.watching_others(heard.set):
            await b.client.start(child, 1)
            async with asyncio.timeout(10):
                await heard.wait()

    play(database_url, scene)


def test_an_instance_of_another_worker_is_shown_when_it_changes(database_url: str) -> None:
    async def scene(workers: Workers) -> None:
        a, b = await workers.start("a"), await workers.start("b")
        await workers.even()
        instance_id = await b.client.start(verify, "+1425")
        assert not a.worker.owns(instance_id)
        seen: list[RuntimeStatus] = []
        with a.client.watching(instance_id, lambda instance: seen.append(instance.status)):
            await until(lambda: bool(seen))
            await b.client.terminate(instance_id)
            await until(lambda: seen[-1] is RuntimeStatus.TERMINATED)
        assert len(seen) <= 4, "each state once, not with each look"

    play(database_url, scene)


def test_who_waits_goes_on_waiting_when_the_instance_moves(database_url: str) -> None:
    async def scene(workers: Workers) -> None:
        a = await workers.start("a")
        ids = [await a.client.start(verify, f"+{number}") for number in range(8)]
        for instance_id in ids:
            await until(lambda: waits(a.client, instance_id))  # noqa: B023 - awaited within the turn
        ended = [asyncio.create_task(a.client.wait(instance_id)) for instance_id in ids]
        await asyncio.sleep(0)
        b = await workers.start("b")
        await workers.even()
        assert not all(a.worker.owns(instance_id) for instance_id in ids)
        for instance_id in ids:
            await b.client.raise_event(instance_id, "Answer", "0042")
        async with asyncio.timeout(10):
            assert [(await each).output for each in ended] == [True] * 8

    play(database_url, scene)


def test_children_are_spread_and_answer(database_url: str) -> None:
    async def scene(workers: Workers) -> None:
        a, b = await workers.start("a"), await workers.start("b")
        await workers.even()
        instance_id = await a.client.start(parent, 40)
        assert (await b.client.wait(instance_id)).output == sum(range(40))

    play(database_url, scene)


def test_new_instances_are_stepped_where_they_were_started(database_url: str) -> None:
    async def scene(workers: Workers) -> None:
        a = await workers.start("a")
        await workers.start("b")
        await workers.even()
        for _ in range(20):
            assert a.worker.owns(await a.client.start(child, 1))

    play(database_url, scene)


def test_under_load_nothing_is_lost_while_workers_come_and_go(database_url: str) -> None:
    async def scene(workers: Workers) -> None:
        first = await workers.start("a")
        done: list[RuntimeStatus] = []
        sent.clear()

        async def user(number: int) -> None:
            for turn in range(15):
                hub = [*workers.hubs.values()][(number + turn) % len(workers.hubs)]
                instance_id = await hub.client.start(verify, f"{number}-{turn}")
                await until(lambda: waits(hub.client, instance_id))  # noqa: B023 - awaited within the turn
                await first.client.raise_event(instance_id, "Answer", "0042")
                instance = await first.client.wait(instance_id)
                assert instance.output is True
                done.append(instance.status)

        users = [asyncio.create_task(user(number)) for number in range(20)]
        await workers.start("b")
        await workers.start("c")
        await workers.even()
        await asyncio.gather(*users)
        assert len(done) == 300
        assert len(sent) == len(set(sent)) == 300

    play(database_url, scene)
