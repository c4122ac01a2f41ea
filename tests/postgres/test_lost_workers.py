"""Three workers as processes: one is killed, one is stopped for longer than its lease, the third takes over.

The stopped one goes on with timers that were due meanwhile and an answer that was sent to it, as far as it knows.
What their instances do is written to a file, line by line: each line must be there once.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bide.model.instance import PARTITIONS
from tests.kill.conftest import eventually
from tests.postgres.serving import Worker

pytestmark = [pytest.mark.postgres, pytest.mark.kill]

APP = """
import os
from datetime import timedelta
from bide import App, OrchestrationContext

app = App()


@app.activity
async def note(line: str) -> None:
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(line + "\\n")


@app.orchestrator
async def later(ctx: OrchestrationContext, name: str) -> str:
    await ctx.create_timer(timedelta(seconds=4))
    await ctx.call_activity(note, f"{name} is due")
    answer = await ctx.wait_for_external_event("Answer", str)
    await ctx.call_activity(note, f"{name} got {answer}")
    return answer
"""
INSTANCES = "/runtime/webhooks/durabletask/instances"


@pytest.fixture
def workers(tmp_path: Path, database_url: str) -> Iterator[list[Worker]]:
    app = tmp_path / "app.py"
    app.write_text(APP)
    with ExitStack() as stack:
        workers: list[Worker] = []
        for _ in range(3):
            worker = Worker(app, database_url, NOTES=str(tmp_path / "notes.txt"))
            stack.callback(worker.process.kill_if_running)
            workers.append(worker)
        for worker in workers:
            worker.wait_ready()
        eventually("each has its share", lambda: workers[0].shares_are_fair(3) or None)
        yield workers


def test_one_takes_over_from_the_killed_and_from_the_stopped(workers: list[Worker], tmp_path: Path) -> None:
    killed, stopped, third = workers
    names = [f"order-{number}" for number in range(60)]
    for number, name in enumerate(names):
        status, said = workers[number % 3].ask("POST", f"/orchestrators/later/{name}", f'"{name}"'.encode())
        assert status == 202, said
    killed.process.kill()
    stopped.process.send(signal.SIGSTOP)
    begun = time.monotonic()

    whole = {third.process.pid: PARTITIONS}
    eventually("the third has all partitions", lambda: third.partitions() == whole or None)
    print(f"\ntaken over, and seen to be, after {time.monotonic() - begun:.1f} s")
    for name in names[:30]:
        answer(third, name)
    stopped.process.send(signal.SIGCONT)
    for name in names[30:]:
        answer(stopped, name)

    for name in names:
        eventually(f"{name} has ended", lambda name=name: third.ask("GET", f"{INSTANCES}/{name}")[0] == 200 or None)
    notes = Counter((tmp_path / "notes.txt").read_text().splitlines())
    assert notes == Counter(f"{name} {what}" for name in names for what in ("is due", "got yes"))
    assert "It wrote nothing more to them, and starts over." in stopped.log()
    eventually("both have their share", lambda: third.shares_are_fair(2) or None)


def answer(worker: Worker, name: str) -> None:
    def take() -> bool | None:
        status, said = worker.ask("POST", f"{INSTANCES}/{name}/raiseEvent/Answer", b'"yes"')
        assert status in (202, 503), said  # 503: not now, and nothing has happened
        return True if status == 202 else None

    eventually(f"the answer to {name} is taken", take)
