"""A newer version writes what this one does not know: a deployment is rolled back, and both run side by side.

The older one holds the newer one's instances and says why, serves all others, and changes nothing; what it is told
meanwhile is there when the newer one has them again.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import pytest

from bide.model.instance import PARTITIONS
from tests.kill.conftest import eventually
from tests.postgres.serving import Worker

pytestmark = [pytest.mark.postgres, pytest.mark.kill]

APP = """
from datetime import timedelta
from bide import App, OrchestrationContext

app = App()


@app.orchestrator
async def ask(ctx: OrchestrationContext) -> str:
    deadline = ctx.create_timer(timedelta(hours=1))
    answer = await ctx.wait_for_external_event("Answer", str)
    deadline.cancel()
    return answer


@app.orchestrator
async def echo(ctx: OrchestrationContext, text: str) -> str:
    return text
"""
INSTANCES = "/runtime/webhooks/durabletask/instances"
NEWER = str(Path(__file__).parents[1] / "newer")

Start = Callable[[str], Worker]


@pytest.fixture
def start(tmp_path: Path, database_url: str) -> Iterator[Start]:
    """Starts a worker of the `older` or the `newer` version."""
    with ExitStack() as stack:

        def start(version: str) -> Worker:
            app = tmp_path / f"{version}.py"
            app.write_text(APP)
            environ = {"PYTHONPATH": NEWER} if version == "newer" else {}
            worker = Worker(app, database_url, BIDE_LEAVE_S="0", **environ)
            stack.callback(worker.process.kill_if_running)
            worker.wait_ready()
            return worker

        yield start


def asked(worker: Worker, count: int) -> list[str]:
    """Instances of that worker, which wait for an answer."""
    found: list[str] = []
    for _ in range(count):
        status, said = worker.ask("POST", "/orchestrators/ask")
        assert status == 202, said
        found.append(said["id"])
    return found


def answer(worker: Worker, instance_id: str) -> None:
    status, said = worker.ask("POST", f"{INSTANCES}/{instance_id}/raiseEvent/Answer", b'"yes"')
    assert status == 202, said


def assert_held(worker: Worker, ids: list[str]) -> None:
    """It holds them when they are answered, says why, and serves others meanwhile."""
    for instance_id in ids:
        answer(worker, instance_id)

        def held(instance_id: str = instance_id) -> str | None:
            said: str | None = worker.ask("GET", f"{INSTANCES}/{instance_id}")[1].get("held")
            return said

        said = eventually("it is held", held)
        assert "cannot read step 0 of its history" in said
        assert "A newer version may have written it" in said
    for number in range(20):
        status, said = worker.ask("POST", "/orchestrators/echo?wait=5s", f'"{number}"'.encode())
        assert (status, said) == (200, str(number))


def assert_ended(worker: Worker, ids: list[str]) -> None:
    for instance_id in ids:

        def output(instance_id: str = instance_id) -> str | None:
            said: str | None = worker.ask("GET", f"{INSTANCES}/{instance_id}")[1]["output"]
            return said

        assert eventually("it has ended", output) == "yes"


def written(url: str) -> list[tuple[str, bytes]]:
    """The histories that the newer version has begun."""

    async def read() -> list[tuple[str, bytes]]:
        connection = await asyncpg.connect(url)
        try:
            rows = await connection.fetch("SELECT instance_id, facts FROM bide.history WHERE seq = 0 ORDER BY 1")
        finally:
            await connection.close()
        return [(row[0], row[1]) for row in rows if b"TimerCreatedAnew" in row[1]]

    return asyncio.run(read())


def test_a_deployment_is_rolled_back(start: Start, database_url: str) -> None:
    newer = start("newer")
    ids = asked(newer, 5)
    begun = written(database_url)
    assert [instance_id for instance_id, _ in begun] == sorted(ids)
    assert newer.process.end(signal.SIGTERM) == 0

    older = start("older")
    assert_held(older, ids)
    assert older.process.end(signal.SIGTERM) == 0
    assert written(database_url) == begun

    assert_ended(start("newer"), ids)


def test_both_run_and_the_older_one_takes_over(start: Start, database_url: str) -> None:
    newer, older = start("newer"), start("older")
    eventually("each has its share", lambda: older.shares_are_fair(2) or None)
    ids, olds = asked(newer, 10), asked(older, 10)
    begun = written(database_url)
    assert {instance_id for instance_id, _ in begun} == set(ids)

    newer.process.kill()
    whole = {older.process.pid: PARTITIONS}
    eventually("the older one has all partitions", lambda: older.partitions() == whole or None)
    assert_held(older, ids)
    for instance_id in olds:
        answer(older, instance_id)
    assert_ended(older, olds)
    assert written(database_url) == begun

    again = start("newer")
    eventually("each has its share", lambda: older.shares_are_fair(2) or None)
    assert older.process.end(signal.SIGTERM) == 0
    assert_ended(again, ids)
