"""Real processes: the phone sample's server, and a carrier stand-in whose log is the oracle."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

ROOT = Path(__file__).parent.parent.parent
T = TypeVar("T")


def eventually(what: str, attempt: Callable[[], T | None], limit_s: float = 30) -> T:
    """The first answer of `attempt` that is not None; connection errors count as none yet."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        try:
            found = attempt()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            found = None
        if found is not None:
            return found
        time.sleep(0.01)
    raise AssertionError(f"{what}: not within {limit_s:g} s")


def request(
    method: str, url: str, body: bytes | None = None, content_type: str = "application/json", key: str = ""
) -> tuple[int, Any]:
    """Status and decoded body. `key` is an idempotency key. Raises `URLError` if nobody answers."""
    headers = {"Content-Type": content_type} | ({"Idempotency-Key": key} if key else {})
    asked = urllib.request.Request(url, body, headers, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"null")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A child process that can be killed and started again."""

    def __init__(self, command: list[str], log: Path, **environ: str) -> None:
        self._command = command
        self._log = log
        self._environ = {**os.environ, **environ}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environ, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def send(self, what: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(what)

    def end(self, how: signal.Signals) -> int:
        assert self._process is not None
        self.send(how)
        return self._process.wait(30)

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def kill_if_running(self) -> None:
        if self.running:
            self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None


class Carrier:
    """The stand-in, in a process of its own."""

    def __init__(self, directory: Path, delay_ms: int = 0) -> None:
        self.log = directory / "accepted.jsonl"
        self.port = free_port()
        command = [sys.executable, "-m", "tests.phone.carrier_standin"]
        command += ["--port", str(self.port), "--log", str(self.log), "--delay-ms", str(delay_ms)]
        self.process = Process(command, directory / "carrier.log")
        self.process.start()
        eventually("the stand-in answers", self._answers)

    def _answers(self) -> bool | None:
        with socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True

    def accepted(self, number: str) -> list[str]:
        """The codes that were accepted for a number."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        messages = [json.loads(line) for line in lines if line.endswith("}")]
        bodies = [message["body"] for message in messages if message["to"] == number]
        return [re.findall(r"\d{4}", body)[0] for body in bodies]


class Server:
    """`bide dev` over the phone sample."""

    def __init__(self, directory: Path, carrier: Carrier | None = None, **environ: str) -> None:
        self.db = directory / "phone.db"
        self.log = directory / "server.log"
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        settings = environ
        if carrier is not None:
            settings |= {
                "TwilioAccountSid": "AC" + "0" * 32,
                "TwilioAuthToken": "secret-token",
                "TwilioPhoneNumber": "+15005550006",
                "TwilioBaseUrl": f"http://127.0.0.1:{carrier.port}",
            }
        sample = str(ROOT / "examples" / "phone_verification" / "app.py")
        command = [sys.executable, "-m", "bide.cli", "dev", sample, "--no-reload"]
        command += ["--port", str(self.port), "--db", str(self.db)]
        self.process = Process(command, self.log, **settings)

    def start(self) -> None:
        self.process.start()

    def wait_ready(self) -> None:
        eventually("the server is ready", lambda: request("GET", f"{self.base}/readyz")[0] == 200 or None)

    def url(self, instance_id: str, operation: str = "") -> str:
        return f"{self.base}/runtime/webhooks/durabletask/instances/{instance_id}{operation}"

    def begin(self, instance_id: str, number: str) -> None:
        """Start a verification, repeating it until it is acknowledged."""
        url = f"{self.base}/orchestrators/E4_SmsPhoneVerification/{instance_id}"
        eventually(
            "the start is accepted", lambda: request("POST", url, json.dumps(number).encode())[0] == 202 or None
        )

    def answer(self, instance_id: str, code: str) -> None:
        """Send an answer, repeating it until it is acknowledged, or the instance has ended by it."""
        url = self.url(instance_id, "/raiseEvent/SmsChallengeResponse")
        eventually(
            "the answer is accepted",
            lambda: request("POST", url, json.dumps(code).encode())[0] in (202, 410) or None,
        )

    def status(self, instance_id: str) -> dict[str, Any]:
        code, body = request("GET", self.url(instance_id))
        assert code in (200, 202), body
        return body

    def finished(self, instance_id: str) -> dict[str, Any]:
        """The status, once the instance has ended."""

        def look() -> dict[str, Any] | None:
            code, body = request("GET", self.url(instance_id))
            return body if code == 200 else None

        return eventually(f"{instance_id} ends", look)


@pytest.fixture
def carrier(tmp_path: Path) -> Iterator[Carrier]:
    standin = Carrier(tmp_path)
    yield standin
    standin.process.kill()


@pytest.fixture
def server(tmp_path: Path, carrier: Carrier) -> Iterator[Server]:
    sample = Server(tmp_path, carrier)
    sample.start()
    yield sample
    sample.process.kill_if_running()
