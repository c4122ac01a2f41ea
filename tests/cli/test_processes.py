"""The commands as real processes: signals, reloading, and what only a real server can show."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.kill.conftest import eventually, request

APP = """
import asyncio
from datetime import timedelta
from bide import App, OrchestrationContext
from bide.config import data_file

app = App()

@app.activity
async def slow() -> str:
    data_file("begun").touch()
    await asyncio.sleep(0.5)
    return "done"

@app.orchestrator
async def first(ctx: OrchestrationContext) -> str:
    return await ctx.call_activity(slow)
"""


class Command:
    """`bide ...` in a directory of its own."""

    def __init__(self, directory: Path, *arguments: str, **environ: str) -> None:
        self.log = directory / f"{arguments[0]}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bide.cli", *arguments],
                cwd=directory,
                env={**os.environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def base(self) -> str:
        """The URL it serves on, once it says so."""

        def look() -> str | None:
            found = re.search(r" on (http://\S+)", self.said)
            assert found or self.process.poll() is None, self.said
            return found and found[1]

        return eventually("it serves", look)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(20)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def started() -> Iterator[list[Command]]:
    commands: list[Command] = []
    yield commands
    for command in commands:
        if command.process.poll() is None:
            command.stop(signal.SIGKILL)


def start(started: list[Command], directory: Path, *arguments: str, **environ: str) -> Command:
    started.append(Command(directory, *arguments, "--port", "0", **environ))
    return started[-1]


def test_the_commands_load_no_server_before_they_serve() -> None:
    code = "import sys, bide.cli; print([name for name in ('uvicorn', 'rich') if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


@pytest.mark.kill
def test_demo_answers_the_three_requests(tmp_path: Path, started: list[Command]) -> None:
    demo = start(started, tmp_path, "demo")
    number = "+12025550123"
    status, uris = request(
        "POST", f"{demo.base}/orchestrators/E4_SmsPhoneVerification", json.dumps(number).encode()
    )
    assert status == 202

    def sms() -> str | None:
        _, messages = request("GET", f"{demo.base}/dev/phone/messages?to=%2B12025550123")
        return messages[0]["body"] if messages else None

    code = eventually("the SMS is there", sms)[-4:]
    event = uris["sendEventPostUri"].replace("{eventName}", "SmsChallengeResponse")
    assert request("POST", event, code.encode(), "text/plain")[0] == 202
    assert eventually("it ends", lambda: request("GET", uris["statusQueryGetUri"])[1]["output"]) is True
    assert demo.stop() == 0
    assert "Traceback" not in demo.said
    assert code not in demo.said


@pytest.mark.kill
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("reload", ["--reload", "--no-reload"])
def test_what_runs_is_let_to_its_end(
    directory: Path, started: list[Command], how: signal.Signals, reload: str
) -> None:
    dev = start(started, directory, "dev", "app.py", reload)
    request("POST", f"{dev.base}/orchestrators/first/x")
    eventually("the activity runs", lambda: (directory / "bide.db.begun").exists() or None)
    assert dev.stop(how) == 0
    assert "Traceback" not in dev.said
    (directory / "bide.db.begun").unlink()
    again = start(started, directory, "dev", "app.py", "--no-reload")
    assert request("GET", f"{again.base}/runtime/webhooks/durabletask/instances/x")[1]["output"] == "done"
    assert not (directory / "bide.db.begun").exists(), "the activity was not repeated"


@pytest.mark.kill
@pytest.mark.parametrize("reload", ["--reload", "--no-reload"])
def test_a_database_has_one_owner(directory: Path, started: list[Command], reload: str) -> None:
    assert start(started, directory, "dev", "app.py", "--no-reload").base
    second = start(started, directory, "demo", "--db", "bide.db")
    assert second.process.wait(20) == 9
    assert re.fullmatch(r"Error: bide\.db is in use by process \d+\..*\n", second.said)
    third = start(started, directory, "dev", "app.py", reload)
    assert third.process.wait(20) == 9
    assert "Traceback" not in third.said


@pytest.mark.kill
@pytest.mark.parametrize("end", ["", "-wal"])
def test_a_server_whose_database_is_deleted_ends_and_says_what_to_do(
    directory: Path, started: list[Command], end: str
) -> None:
    serve = start(started, directory, "serve", "app.py")
    base = serve.base
    assert request("POST", f"{base}/orchestrators/first/x")[0] == 202
    (directory / f"bide.db{end}").unlink()
    with suppress(OSError):  # it may be gone by now
        assert request("POST", f"{base}/orchestrators/first/y")[0] == 503
    assert serve.process.wait(20) == 9
    assert re.search(
        rf"\nError: .*bide\.db{end} was deleted while the database was open.*start again\.\n", serve.said
    )
    assert "Traceback" not in serve.said


@pytest.mark.kill
def test_a_change_of_the_code_is_served(directory: Path, started: list[Command]) -> None:
    dev = start(started, directory, "dev", "app.py")
    base = dev.base
    (directory / "app.py").write_text(f"{APP}boom()")
    eventually("it says what is wrong", lambda: "NameError" in dev.said or None)
    (directory / "app.py").write_text(APP.replace("first", "second"))
    eventually("the new code is served", lambda: "second" in dev.said or None)
    assert request("POST", f"{base}/orchestrators/second")[0] == 202
    assert dev.stop() == 0


@pytest.mark.kill
def test_the_server_goes_when_its_supervisor_is_killed(directory: Path, started: list[Command]) -> None:
    dev = start(started, directory, "dev", "app.py")
    address = dev.base.removeprefix("http://").split(":")
    dev.stop(signal.SIGKILL)

    def gone() -> bool | None:
        with socket.socket() as probe:
            return probe.connect_ex((address[0], int(address[1]))) != 0 or None

    eventually("the port is free", gone)


@pytest.mark.kill
def test_a_half_sent_body_is_cut(directory: Path, started: list[Command]) -> None:
    dev = start(started, directory, "dev", "app.py", "--no-reload", BIDE_BODY_TIMEOUT_S="0.2")
    host, port = dev.base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as caller:
        caller.sendall(b"POST /orchestrators/first HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n[1")
        answer = b"".join(iter(lambda: caller.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive within 0.2 s" in answer


STAYS = """
import asyncio, threading, time
from bide import App, OrchestrationContext
from bide.config import data_file

app = App()

@app.activity
def hangs() -> None:
    data_file("hangs").touch()
    time.sleep(1000)

@app.activity
async def swallows() -> None:
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            pass

@app.activity
async def leaves_a_thread() -> None:
    threading.Thread(target=time.sleep, args=(1000,), name="left").start()

@app.orchestrator
async def main(ctx: OrchestrationContext) -> str:
    tasks = [ctx.call_activity(hangs), ctx.call_activity(swallows)]
    await ctx.call_activity(leaves_a_thread)
    await tasks[0]
    return "done"

@app.orchestrator
async def short(ctx: OrchestrationContext) -> str:
    return "short"
"""


@pytest.mark.kill
@pytest.mark.parametrize("reload", ["--reload", "--no-reload"])
def test_code_that_does_not_end_keeps_no_process(directory: Path, started: list[Command], reload: str) -> None:
    (directory / "app.py").write_text(STAYS)
    dev = start(started, directory, "dev", "app.py", reload, BIDE_DRAIN_S="0.2")
    assert request("POST", f"{dev.base}/orchestrators/main/x")[0] == 202
    eventually("the activity runs", lambda: (directory / "bide.db.hangs").exists() or None)
    assert request("POST", f"{dev.base}/orchestrators/short/y")[0] == 202
    assert dev.stop() == 0
    assert "the process ends without them" in dev.said
    again = start(started, directory, "dev", "app.py", "--no-reload")
    assert request("GET", f"{again.base}/runtime/webhooks/durabletask/instances/y")[1]["output"] == "short"
