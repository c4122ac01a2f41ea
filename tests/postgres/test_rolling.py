"""Rolling deployment: two workers with the old code are replaced, one by one, by two with the new, under load."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from tests.kill.conftest import Process, eventually, free_port, request

pytestmark = [pytest.mark.postgres, pytest.mark.kill]

OLD = """
from datetime import timedelta
from holdfast import App, OrchestrationContext, when_any

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
    """The workers that may be asked, as a load balancer knows them."""

    def __init__(self, directory: Path, url: str) -> None:
        self._directory = directory
        self._url = url
        self._random = Random(7)
        self._workers: dict[int, Process] = {}
        self._asked: list[int] = []
        (directory / "old.py").write_text(OLD)
        (directory / "new.py").write_text(NEW)

    def start(self, version: str) -> None:
        port = free_port()
        command = [sys.executable, "-m", "holdfast.cli", "serve", str(self._directory / f"{version}.py")]
        command += ["--port", str(port), "--db", self._url]
        process = Process(command, self._directory / f"{version}-{port}.log", HOLDFAST_LEAVE_S="1")
        process.start()
        eventually(f"{version} is ready", lambda: is_ready(port) or None)
        self._workers[port] = process
        self._asked.append(port)

    def replace_first(self) -> None:
        """Start one with the new code, then end the oldest: SIGTERM, and the balancer sees it in /readyz."""
        self.start("new")
        time.sleep(1)
        port = self._asked[0]
        ending = threading.Thread(target=self._end, args=(port,))
        ending.start()
        eventually("/readyz says that it leaves", lambda: None if is_ready(port) else True)
        self._asked.remove(port)
        ending.join()

    def _end(self, port: int) -> None:
        assert self._workers.pop(port).end(signal.SIGTERM) == 0

    def end_all(self) -> None:
        for port in [*self._workers]:
            self._end(port)

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, object]:
        """Ask any worker that is ready. No failure is forgiven."""
        return request(method, f"http://127.0.0.1:{self._random.choice(self._asked)}{path}", body)


def is_ready(port: int) -> bool:
    return request("GET", f"http://127.0.0.1:{port}/readyz")[0] == 200


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
