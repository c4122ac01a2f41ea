"""The engines that are compared, each behind the same port, so that one driver asks the same of all."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

PHONE = "+14255550100"
CITIES = ("Tokyo", "Seattle", "London")


class Outbox:
    """Stands in for the person's telephone: the activity that sends the code puts it here."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._expected: dict[str, asyncio.Future[Any]] = {}

    def expect(self, key: str) -> asyncio.Future[Any]:
        future = self._expected[key] = self._loop.create_future()
        return future

    def deliver(self, key: str, code: object) -> None:
        """From any thread. A second delivery, as after a crash, finds nobody who listens."""
        future = self._expected.pop(key, None)
        if future is None:
            return
        if threading.get_ident() == self._thread:
            future.set_result(code)
        else:
            self._loop.call_soon_threadsafe(future.set_result, code)


class Engine:
    """What the driver asks for. Keys name instances; a waiting one waits for an event or a timer of one hour.

    What an engine does not override it cannot do, and is not asked for (see `run.py`).
    """

    versions: ClassVar[dict[str, str]]
    durability: str

    async def open(self, directory: Path, *, fresh: bool) -> None:
        raise NotImplementedError

    async def start_verify(self, key: str, phone: str) -> Any:
        raise NotImplementedError

    async def answer(self, key: str, code: Any) -> None:
        raise NotImplementedError

    async def result(self, handle: Any) -> bool:
        raise NotImplementedError

    async def hello(self, key: str) -> list[str]:
        raise NotImplementedError

    async def fan(self, key: str, width: int) -> int:
        raise NotImplementedError

    async def history(self, key: str, steps: int) -> int:
        """One instance that calls `one` for each number, one after the other, and returns how many those were."""
        raise NotImplementedError

    async def start_events(self, key: str, count: int) -> Any:
        """One instance that waits for so many numbers, and returns their sum. Returns a handle for `total`."""
        raise NotImplementedError

    async def send_event(self, key: str, number: int) -> None:
        raise NotImplementedError

    async def total(self, handle: Any) -> int:
        raise NotImplementedError

    async def start_timer(self, key: str, due: float) -> None:
        """One instance that sleeps until that moment, and then delivers the time to the outbox by an activity."""
        raise NotImplementedError

    async def start_waiting(self, key: str) -> None:
        raise NotImplementedError

    async def all_waiting(self, count: int) -> None:
        """Return when so many wait."""
        raise NotImplementedError

    async def answer_waiting(self, key: str) -> None:
        raise NotImplementedError

    async def completed_waiting(self) -> int:
        raise NotImplementedError

    def processes(self) -> list[int]:
        return [os.getpid()]

    def disk_bytes(self) -> int:
        return 0

    def kill(self) -> None:
        """SIGKILL for what the engine started beside this process."""


def allocated_bytes(*paths: Path) -> int:
    """What the files, and the files below the folders, take on disk."""
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*"))]
    found = 0
    for file in files:
        try:
            found += file.lstat().st_blocks * 512
        except FileNotFoundError:
            continue  # a log that was dropped while we looked
    return found


def with_children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    return [pid, *(process for child in found for process in with_children(int(child)))]


class Database:
    """A database of its own on the PostgreSQL that `run.py` started; DATABASE_URL and POSTMASTER say which."""

    def __init__(self) -> None:
        self.url = os.environ["DATABASE_URL"]

    def processes(self) -> list[int]:
        """The server's, with those that serve our connections."""
        return with_children(int(os.environ["POSTMASTER"]))

    def bytes(self) -> int:
        command = ["psql", "-Atc", "SELECT pg_database_size(current_database())", self.url]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    def version(self) -> str:
        command = ["psql", "-Atc", "SHOW server_version", self.url]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]


def memory_bytes(pids: list[int]) -> int:
    """Proportional set size: pages that processes share count once. A process that has ended meanwhile has none."""
    found = 0
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    found += int(line.split()[1]) * 1024
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system time so far. That of a process that has ended is its parent's, and not counted."""
    ticks = 0
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
