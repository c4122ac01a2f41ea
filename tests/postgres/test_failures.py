"""What becomes of workers, and of those who wait, when the database goes away and comes back."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from bide.errors import CommitUnknownError, StoreUnavailableError, TryAgainError
from bide.model.clock import SECOND, SystemClock
from bide.model.instance import PARTITIONS
from bide.store.postgres.store import PostgresStore
from tests.postgres.server import PostgresServer
from tests.postgres.test_workers import Workers, play, until, verify, waits

pytestmark = pytest.mark.postgres


@pytest.fixture
def server(installed: None, memory: Path) -> Iterator[PostgresServer]:
    """One that may be killed: nobody else uses it."""
    with PostgresServer(memory, fast=True) as server:
        yield server


def crash(server: PostgresServer) -> None:
    server.kill()


def restart_immediately(server: PostgresServer) -> None:
    server.stop("immediate")


@pytest.mark.parametrize("stop", [crash, restart_immediately])
def test_an_answer_waits_out_the_database(server: PostgresServer, stop: Callable[[PostgresServer], None]) -> None:
    async def scene(workers: Workers) -> None:
        hub = await workers.start("a")
        client = hub.client
        instance_id = await client.start(verify, "+1425")
        await until(lambda: waits(client, instance_id))
        stop(server)
        await until(lambda: not client.ready)
        with pytest.raises(StoreUnavailableError, match="The database failed"):
            await client.get(instance_id)
        server.start()
        await until(lambda: client.ready)
        await client.raise_event(instance_id, "Answer", "0042")
        assert (await client.wait(instance_id)).output is True

    play(server.create_database("hub"), scene)


def test_what_was_not_confirmed_is_not_acknowledged(server: PostgresServer) -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'bide.instances'::regclass AND NOT granted"

    async def scene(workers: Workers) -> None:
        client = (await workers.start("a")).client
        # Let the commit wait, so that the server goes away under it, and not under a look that came before.
        other = await asyncpg.connect(server.url("hub"))
        await other.execute("BEGIN; LOCK TABLE bide.instances IN SHARE MODE")
        starting = asyncio.create_task(client.start(verify, "+1425", instance_id="order-1"))
        await until(lambda: server.query(waiting, "hub") == "1")
        server.stop("immediate")
        other.terminate()
        with pytest.raises(CommitUnknownError):
            await starting
        server.start()
        await until(lambda: client.ready)
        await client.start(verify, "+1425", instance_id="order-1")  # the same again is safe (G2)
        await until(lambda: waits(client, "order-1"))

    play(server.create_database("hub"), scene)


def test_workers_follow_a_failover(server: PostgresServer, memory: Path) -> None:
    with server.standby(memory) as standby:
        server.make_synchronous(standby)
        url = server.create_database("hub")
        both = f"{url.rsplit(':', 1)[0]}:{server.port},127.0.0.1:{standby.port}/hub"

        async def scene(workers: Workers) -> None:
            client = (await workers.start("a")).client
            instance_id = await client.start(verify, "+1425")
            await until(lambda: waits(client, instance_id))
            server.kill()
            await asyncio.to_thread(standby.promote)
            await repeat(lambda: client.raise_event(instance_id, "Answer", "0042", idempotency_key="one"))
            assert (await client.wait(instance_id)).output is True

        play(both, scene)


async def repeat(call: Callable[[], Awaitable[None]]) -> None:
    """As callers do who are told to try again."""
    while True:
        try:
            return await call()
        except TryAgainError:
            await asyncio.sleep(0.1)


def test_a_worker_of_a_lost_past_writes_nothing(database_url: str, postgres: PostgresServer) -> None:
    """After a restore, or a failover to a standby that was behind, epochs are those of before."""
    name = database_url.rpartition("/")[2]

    async def scene(workers: Workers) -> None:
        a = await workers.start("a")
        before = {**a.worker.dispatcher.epochs}
        postgres.query("UPDATE bide.partitions SET owner = NULL, epoch = epoch - 1", name)
        store = PostgresStore(database_url)
        await store.open()
        now = SystemClock().now()
        taken = await store.acquire("other", now, now + SECOND, PARTITIONS)
        await store.close()
        assert len(taken) == PARTITIONS
        assert all(taken[partition] > before[partition] for partition in taken)

    play(database_url, scene)


class Fast(SystemClock):
    """A machine whose clock is a minute ahead."""

    def now(self) -> int:
        return super().now() + 60 * SECOND


def test_workers_go_by_the_database_s_clock(database_url: str) -> None:
    async def scene(workers: Workers) -> None:
        hub = await workers.start("a", Fast())
        assert abs(hub.clock.now() - SystemClock().now()) < SECOND
        instance = await hub.client.get(await hub.client.start(verify, "+1425"))
        assert abs(instance.created - SystemClock().now()) < 5 * SECOND

    play(database_url, scene)


def test_hints_that_are_lost_cost_one_look(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PostgresStore, "listen", lambda *_: None)

    async def scene(workers: Workers) -> None:
        a = await workers.start("a")
        await workers.start("b")
        await workers.even()
        foreign = next(f"order-{n}" for n in range(1_000) if not a.worker.owns(f"order-{n}"))
        await a.client.start(verify, "+1425", instance_id=foreign)
        await until(lambda: waits(a.client, foreign))

    play(database_url, scene)
