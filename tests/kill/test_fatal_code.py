"""Code that ends its process, as a crash in a library or a lack of memory does: it is found, and others go on."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.kill.conftest import Process, eventually, free_port, request

APP = """
import ctypes, os, signal
from datetime import timedelta
from bide import App, OrchestrationContext
from bide.model.clock import SECOND
from bide.engine import reruns

reruns.APART = SECOND // 10
app = App()

@app.activity
def exits() -> None:
    os._exit(7)

@app.activity
async def exits_on_the_loop() -> None:
    os._exit(7)

@app.activity
def segfaults() -> None:
    ctypes.string_at(0)

@app.activity
def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)

@app.orchestrator
async def runs(ctx: OrchestrationContext, name: str) -> None:
    await ctx.call_activity(name)

@app.orchestrator
async def dies(ctx: OrchestrationContext) -> None:
    await ctx.create_timer(timedelta(milliseconds=1))
    os._exit(7)

@app.orchestrator
async def calls(ctx: OrchestrationContext) -> None:
    await ctx.with_options(instance_id="bad").call_sub_orchestrator(dies_at_once)

@app.orchestrator
async def dies_at_once(ctx: OrchestrationContext) -> None:
    os._exit(7)

@app.orchestrator
async def waits(ctx: OrchestrationContext) -> str:
    return await ctx.wait_for_external_event("Go", str)
"""

CASES = {
    "an activity in a thread": ("runs", "exits"),
    "an activity on the loop": ("runs", "exits_on_the_loop"),
    "a crash in C": ("runs", "segfaults"),
    "killed for its memory": ("runs", "is_killed"),
    "an orchestrator after a timer": ("dies", None),
    "a sub-orchestrator as it begins": ("calls", None),
}


class Server(Process):
    def __init__(self, directory: Path) -> None:
        (directory / "app.py").write_text(APP)
        self.db = directory / "hub.db"
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "bide.cli", "dev", str(directory / "app.py"), "--no-reload"]
        super().__init__([*command, "--port", str(self.port), "--db", str(self.db)], directory / "server.log")

    def serve(self) -> bool:
        """Start it, and wait until it is ready. False if it ended before, or within half a second of that."""
        self.start()
        while self.running:
            try:
                if request("GET", f"{self.base}/readyz")[0] == 200:
                    break
            except OSError:
                time.sleep(0.02)
        end = time.monotonic() + 0.5
        while self.running and time.monotonic() < end:
            time.sleep(0.02)
        return self.running

    def show(self, instance_id: str) -> Any:
        return request("GET", f"{self.base}/runtime/webhooks/durabletask/instances/{instance_id}")[1]

    def begin(self, name: str, instance_id: str, value: str | None) -> None:
        body = b"" if value is None else f'"{value}"'.encode()
        with suppress(OSError):  # it may be gone already
            request("POST", f"{self.base}/orchestrators/{name}/{instance_id}", body)


@pytest.mark.kill
@pytest.mark.parametrize("case", CASES)
def test_code_that_ends_its_process_is_held(tmp_path: Path, case: str) -> None:
    name, value = CASES[case]
    server = Server(tmp_path)
    assert server.serve()
    server.begin("waits", "good", None)
    server.begin(name, "parent" if name == "calls" else "bad", value)
    eventually("it ends the process", lambda: True if not server.running else None)
    starts = 0
    while not server.serve():
        starts += 1
        assert starts < 6, "it comes back again and again"
    most = 4 if name == "runs" else 5
    assert starts == most - 1
    assert f"was running when {most} processes ended" in server.show("bad")["held"]
    event = f"{server.base}/runtime/webhooks/durabletask/instances/good/raiseEvent/Go"
    assert request("POST", event, b'"on"')[0] == 202
    assert eventually("it ends", lambda: server.show("good")["output"]) == "on"
    server.kill()
    assert server.serve(), "the next start knows"
    server.kill()


@pytest.mark.kill
@pytest.mark.parametrize("verb", ["hold", "terminate", "purge"])
def test_an_instance_can_be_ended_while_no_server_runs(tmp_path: Path, verb: str) -> None:
    server = Server(tmp_path)
    assert server.serve()
    server.begin("runs", "bad", "exits")
    eventually("it ends the process", lambda: True if not server.running else None)
    bide = [sys.executable, "-m", "bide.cli", "db"]
    verbs = ["terminate", "purge"] if verb == "purge" else [verb]
    for each in verbs:
        subprocess.run([*bide, each, "bad", "--db", str(server.db)], check=True)
    assert server.serve(), "it does not run again"
    shown = server.show("bad")
    match verb:
        case "hold":
            assert "held" in shown
        case "terminate":
            assert shown["runtimeStatus"] == "Terminated"
        case _:
            assert shown["status"] == 404
    server.kill()
