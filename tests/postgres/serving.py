"""`bide serve` over a database, in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bide.model.instance import PARTITIONS
from tests.kill.conftest import Process, eventually, free_port, request


class Worker:
    """One worker: how to ask it, and what it says of all."""

    def __init__(self, app: Path, url: str, **environ: str) -> None:
        """Start to serve `app`, a file of Python, over the database at `url`."""
        self.port = free_port()
        self._log = app.with_name(f"{app.stem}-{self.port}.log")
        command = [sys.executable, "-m", "bide.cli", "serve", str(app)]
        command += ["--port", str(self.port), "--db", url]
        self.process = Process(command, self._log, **environ)
        self.process.start()

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        return request(method, f"http://127.0.0.1:{self.port}{path}", body)

    def is_ready(self) -> bool:
        return self.ask("GET", "/readyz")[0] == 200

    def wait_ready(self) -> None:
        eventually("the worker is ready", lambda: self.is_ready() or None)

    def partitions(self) -> dict[int, int]:
        """How many partitions each worker has that seems to be alive, by the id of its process."""
        _, found = self.ask("GET", "/runtime/webhooks/durabletask/workers")
        return {each["process"]: each["partitions"] for each in found if each["alive"]}

    def shares_are_fair(self, workers: int) -> bool:
        """Whether so many workers have all partitions, and none of them more than its share."""
        shares = self.partitions().values()
        return len(shares) == workers and sum(shares) == PARTITIONS and max(shares) <= -(-PARTITIONS // workers)

    def log(self) -> str:
        return self._log.read_text()
