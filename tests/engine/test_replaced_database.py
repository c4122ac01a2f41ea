"""The database's file is deleted while the app runs: nobody is told that anything was done, and no one waits."""

import asyncio
import logging
from pathlib import Path

import pytest

from bide import App, OrchestrationContext, Settings, SystemClock
from bide.engine.options import WorkerOptions
from bide.errors import CommitUnknownError, StoreUnavailableError
from bide.running import Running, run


def delete(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("asked", [True, False])
def test_nothing_is_acknowledged_and_it_is_said_once(
    app: App, tmp_path: Path, caplog: pytest.LogCaptureFixture, asked: bool
) -> None:
    @app.orchestrator
    async def wait(ctx: OrchestrationContext) -> str:
        return await ctx.wait_for_external_event("Answer", str)

    path = tmp_path / "hub.db"

    async def story(hub: Running) -> None:
        await hub.client.start(wait, instance_id="a")
        delete(path)
        if asked:
            with pytest.raises(CommitUnknownError):
                await hub.client.raise_event("a", "Answer", "yes")
        else:  # then it is the sign of life that finds out
            hub.worker.renew_now()
        error = await asyncio.wait_for(hub.lost, 5)
        assert "hub.db was deleted while the database was open" in str(error)
        assert not hub.client.ready
        with pytest.raises(StoreUnavailableError):
            await hub.client.start(wait, instance_id="b")

    async def main() -> None:
        async with run(app, Settings(db=str(path)), SystemClock(), WorkerOptions()) as hub:
            await story(hub)

    asyncio.run(main())
    said = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.levelname for record in said] == ["CRITICAL"]
    assert not path.exists()
