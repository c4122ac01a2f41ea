"""Rolling deployment: two workers with the old code are replaced, one by one, by two with the new, under load."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from random import Random

import pytest

from tests.kill.conftest import eventually
from tests.postgres.serving import Worker

pytestmark = [pytest.mark.postgres, pytest.mark.kill]

OLD = """
from datetime import timedelta
from bide import App, OrchestrationContext, when_any

app = App()


@app.activity
async def send_code(number: str) -> str:
    return "0042"


@app.orchestrator
async def verify(ctx: OrchestrationContext, number: str) -> bool:
    code = await ctx.call_activity(send_code, number)
    deadline = ctx.create_timer(timedelta(seconds=90))
    for _ in range(4):
        answer = ctx.wait_for_external_event("Answer", str)
        if await when_any(answer, deadline) is deadline:
            return False
        if answer.result == code:
            return True
    return False
"""

NEW = (
    OLD.replace("range(4)", "range(5)")
    + '''

@app.orchestrator
async def greet(ctx: OrchestrationContext, name: str) -> str:
    """New in this version."""
    return f"Hello {name}!"
'''
)


class Fleet:
    """The workers that may be asked, as a load balancer knows them; the oldest first."""

    def __init__(self, directory: Path, url: str) -> None:
        self._directory = directory
        self._url = url
        self._random = Random(7)
        self._running: list[Worker] = []
        self._asked: list[Worker] = []
        (directory / "old.py").write_text(OLD)
        (directory / "new.py").write_text(NEW)

    def start(self, version: str) -> Worker:
        worker = Worker(self._directory / f"{version}.py", self._url, BIDE_LEAVE_S="1")
        self._running.append(worker)
        worker.wait_ready()
        self._asked.append(worker)
        return worker

    def replace_first(self) -> None:
        """Start one with the new code, then end the oldest: SIGTERM, and the balancer sees it in /readyz."""
        self._wait_for_share(self.start("new"))
        oldest = self._asked[0]
        ending = threading.Thread(target=self._end, args=(oldest,))
        ending.start()
        eventually("/readyz says that it leaves", lambda: None if oldest.is_ready() else True)
        self._asked.remove(oldest)
        ending.join()

    def _wait_for_share(self, worker: Worker) -> None:
        begun, workers = time.monotonic(), len(self._running)
        eventually("the new worker has its share", lambda: worker.shares_are_fair(workers) or None)
        print(f"\na worker more: it had its share, and was seen to, after {time.monotonic() - begun:.1f} s")

    def _end(self, worker: Worker) -> None:
        self._running.remove(worker)
        assert worker.process.end(signal.SIGTERM) == 0

    def end_all(self) -> None:
        for worker in [*self._running]:
            self._end(worker)

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, object]:
        """Ask any worker that is ready. No failure is forgiven."""
        return self._random.choice(self._asked).ask(method, path, body)


@pytest.fixture
def fleet(tmp_path: Path, database_url: str) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, database_url)
    with ExitStack() as stack:
        stack.callback(fleet.end_all)
        yield fleet


INSTANCES = "/runtime/webhooks/durabletask/instances"


def verify_one(fleet: Fleet, name: str) -> None:
    status, _ = fleet.ask("POST", f"/orchestrators/verify/{name}", b'"+1425"')
    assert status == 202
    for answer in (b'"0000"', b'"0042"'):
        status, said = fleet.ask("POST", f"{INSTANCES}/{name}/raiseEvent/Answer", answer)
        assert status == 202, said

    def ended() -> bool | None:
        status, shown = fleet.ask("GET", f"{INSTANCES}/{name}")
        assert status in (200, 202), shown
        assert isinstance(shown, dict)
        return True if shown["runtimeStatus"] == "Completed" and shown["output"] is True else None

    eventually(f"{name} is verified", ended)


def test_new_code_replaces_old_under_load(fleet: Fleet) -> None:
    for _ in range(2):
        fleet.start("old")
    stop = threading.Event()

    def user(number: int) -> int:
        done = 0
        while not stop.is_set():
            verify_one(fleet, f"user-{number}-{done}")
            done += 1
        return done

    with ThreadPoolExecutor(6) as users:
        running = [users.submit(user, number) for number in range(6)]
        time.sleep(2)
        for _ in range(2):
            fleet.replace_first()
            time.sleep(1)
        stop.set()
        assert sum(each.result() for each in running) > 50
    held = [one for one in _instances(fleet) if one["runtimeStatus"] != "Completed"]
    assert held == []
    status, _ = fleet.ask("POST", "/orchestrators/greet/new-one", b'"Ada"')
    assert status == 202


def _instances(fleet: Fleet) -> list[dict[str, object]]:
    status, found = fleet.ask("GET", f"{INSTANCES}?top=1000")
    assert status == 200
    assert isinstance(found, list)
    return found


def test_what_only_new_workers_have_runs_while_old_ones_live(fleet: Fleet) -> None:
    """An instance is in a partition by its id, whoever owns that: it goes to a worker that has its code."""
    fleet.start("old")
    fleet.start("old")
    new = fleet.start("new")
    names = [f"greeted-{number}" for number in range(40)]
    for name in names:
        status, said = new.ask("POST", f"/orchestrators/greet/{name}", b'"you"')
        assert status == 202, said

    def ended(name: str) -> bool | None:
        _, shown = fleet.ask("GET", f"{INSTANCES}/{name}")
        assert isinstance(shown, dict)
        assert "held" not in shown, shown
        return True if shown.get("output") == "Hello you!" else None

    for name in names:
        eventually(f"{name} has ended", partial(ended, name))
    verify_one(fleet, "as-ever")
