"""Backup and restore with PostgreSQL's own tools, as docs/deploy.md says, while instances run."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from bide import App, Client, OrchestrationContext, Settings, when_any
from bide.cli import main
from bide.engine.options import WorkerOptions
from bide.errors import InstanceNotFoundError
from bide.model.clock import SECOND, SystemClock
from bide.running import run
from tests.postgres.server import PostgresServer, find_binaries
from tests.postgres.test_workers import until, waits

pytestmark = pytest.mark.postgres

app = App()
sent: list[str] = []


@app.activity
async def send(number: str) -> str:
    sent.append(number)
    return "0042"


@app.orchestrator
async def verify(ctx: OrchestrationContext, number: str) -> str:
    code = await ctx.call_activity(send, number)
    deadline, answer = ctx.create_timer(timedelta(hours=1)), ctx.wait_for_external_event("Answer", str)
    await when_any(answer, deadline)
    return "verified" if answer.is_completed and answer.result == code else "refused"


@app.orchestrator
async def sleep(ctx: OrchestrationContext, seconds: float) -> str:
    await ctx.create_timer(timedelta(seconds=seconds))
    return "awake"


@asynccontextmanager
async def working(url: str) -> AsyncGenerator[Client, None]:
    async with run(app, Settings(db=url), SystemClock(), WorkerOptions(lease=2 * SECOND)) as hub:
        await until(lambda: hub.client.ready and hub.worker.owns("any"))
        yield hub.client


async def due(client: Client) -> int:
    """When the long sleep ends."""
    (at,) = [timer.fire_at for timer in await client.open_timers() if timer.instance_id == "long"]
    return at


def dump(url: str, to: Path) -> None:
    """Runs what `bide db backup` tells to run."""
    result = CliRunner().invoke(main, ["db", "backup", str(to), "--db", url])
    assert result.exit_code == 2
    execute(*shlex.split(result.stderr.splitlines()[-1]))


def execute(program: str, *arguments: str) -> None:
    binaries = find_binaries()
    assert binaries is not None
    done = subprocess.run([binaries / program, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_new_worker_goes_on_after_a_restore(postgres: PostgresServer, database_url: str, tmp_path: Path) -> None:
    copy = tmp_path / "bide.dump"

    async def until_the_accident() -> int:
        async with working(database_url) as client:
            await client.start(verify, "+1425", instance_id="asked")
            await client.start(sleep, 4.0, instance_id="short")
            await client.start(sleep, 3600.0, instance_id="long")
            await until(lambda: waits(client, "asked"))
            await asyncio.to_thread(dump, database_url, copy)
            await client.raise_event("asked", "Answer", "0042")
            await client.start(verify, "+1425", instance_id="later")
            assert (await client.wait("asked")).output == "verified"
            return await due(client)

    async def after_the_restore(url: str) -> int:
        async with working(url) as client:
            assert (await client.get("asked")).status == "Running"  # what came after the copy is gone
            with pytest.raises(InstanceNotFoundError):
                await client.get("later")
            await client.raise_event("asked", "Answer", "0042")
            assert (await client.wait("asked")).output == "verified"
            assert (await client.wait("short")).output == "awake"
            return await due(client)

    then = asyncio.run(until_the_accident())
    assert sent == ["+1425", "+1425"]
    restored = postgres.create_database("restored")
    execute("pg_restore", "--exit-on-error", "--single-transaction", f"--dbname={restored}", str(copy))
    assert asyncio.run(after_the_restore(restored)) == then
    assert sent == ["+1425", "+1425"]  # what was done by then is not done again
    postgres.drop_database("restored")
