"""`bide demo` as a real process."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.kill.conftest import eventually, request

NUMBER = "+12025550123"


class Demo:
    """`bide demo`, and what it serves."""

    def __init__(self, directory: Path, command: Sequence[str] = (sys.executable, "-m", "bide.cli")) -> None:
        """`command` runs Bide's command line; without one, it is that of these tests."""
        self._log = directory / "demo.log"
        self.db = directory / "demo.db"
        own = ("Twilio", "BIDE_", "PYTHONPATH")
        environ = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        arguments = [*command, "demo", "--port", "0", "--db", str(self.db)]
        with self._log.open("ab") as log:
            # In a group of its own, as a shell starts it: Ctrl+C goes to the whole group.
            self.process = subprocess.Popen(
                arguments, cwd=directory, env=environ, stdin=subprocess.DEVNULL, stderr=log, process_group=0
            )
        self.base = eventually("it serves", self._serves)

    def _serves(self) -> str | None:
        found = re.search(r" on (http://\S+)", self.said)
        assert found or self.process.poll() is None, self.said
        return found and found[1]

    @property
    def said(self) -> str:
        return self._log.read_text()

    @property
    def workers(self) -> list[int]:
        """The process ids of its children that serve."""
        command = ["pgrep", "-P", str(self.process.pid), "-f", "spawn_main"]
        listed = subprocess.run(command, capture_output=True, text=True, check=False)
        return [int(pid) for pid in listed.stdout.split()]

    def start(self, instance_id: str) -> str:
        """Begin a verification, and give its code."""
        url = f"{self.base}/orchestrators/E4_SmsPhoneVerification/{instance_id}"
        assert request("POST", url, json.dumps(NUMBER).encode())[0] == 202
        return eventually("the SMS is there", lambda: next((each["code"] for each in self.messages()), None))

    def messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = request("GET", f"{self.base}/dev/phone/messages?wait=5s")[1]
        return found

    def answer(self, instance_id: str, code: str) -> int:
        url = f"{self.base}/runtime/webhooks/durabletask/instances/{instance_id}/raiseEvent/SmsChallengeResponse"
        return request("POST", url, json.dumps(code).encode())[0]

    def output(self, instance_id: str) -> Any:
        """The result, once there is one."""
        url = f"{self.base}/runtime/webhooks/durabletask/instances/{instance_id}?wait=5s"
        return eventually("it ends", lambda: request("GET", url)[1]["output"])

    def now(self) -> datetime:
        return datetime.fromisoformat(request("GET", f"{self.base}/dev/demo")[1]["now"])

    def gone(self) -> bool | None:
        host, port = self.base.removeprefix("http://").split(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) != 0 or None

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
