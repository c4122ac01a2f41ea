"""What only the demo can do: kill its worker, and skip time."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from bide.cli.faults import Fault
from bide.engine.signals import end_at_once
from bide.http.base.answers import json_answer, nothing, refusal
from bide.http.gate.development import DevelopmentRoute
from bide.model.clock import SystemClock, Timestamp, to_datetime, to_micros

_MOST_SECONDS = 3_600
_INSTEAD = (
    "Whoever calls can kill the demo. Run it on this machine alone, or serve the sample's own file: bide serve."
)


class DemoClock:
    """Implements `Clock`: the machine's own, set ahead by what a file says. The file outlives a killed worker.

    Raises `Fault` if the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._system = SystemClock()
        self._ahead = _ahead(path)

    def now(self) -> Timestamp:
        return self._system.now() + self._ahead

    def utc_now(self) -> datetime:
        return to_datetime(self.now())

    def skip(self, span: timedelta) -> None:
        """Set it ahead, durably. Raises `OSError`, and then it is as before."""
        ahead = self._ahead + to_micros(span)
        written = self._path.with_name(f"{self._path.name}.new")
        written.write_text(f"{ahead}\n", "utf-8")
        written.replace(self._path)
        self._ahead = ahead


def _ahead(path: Path) -> int:
    """The microseconds in the file; 0 if there is none."""
    try:
        return int(path.read_text("utf-8"))
    except FileNotFoundError:
        return 0
    except (OSError, ValueError) as error:
        raise Fault(f"{path} should hold microseconds: {error}. Delete it: time is the machine's then.") from error


def demo_routes(clock: DemoClock) -> list[BaseRoute]:
    """`GET /dev/demo`, `POST /dev/demo/kill`, `POST /dev/demo/skip?seconds=85`."""

    async def state(request: Request) -> Response:
        return json_answer(200, msgspec.json.encode({"now": clock.utc_now(), "kill": True, "skip": True}))

    async def kill(request: Request) -> Response:
        answer = nothing(202)
        answer.background = BackgroundTask(end_at_once)  # once the answer is out
        return answer

    async def skip(request: Request) -> Response:
        text = request.query_params.get("seconds", "")
        if not re.fullmatch(r"[1-9][0-9]{0,3}", text) or int(text) > _MOST_SECONDS:
            return refusal(400, f"seconds should be a whole number from 1 to {_MOST_SECONDS}.")
        clock.skip(timedelta(seconds=int(text)))
        request.app.client.clock_changed()
        return json_answer(200, msgspec.json.encode({"now": clock.utc_now()}))

    return [
        DevelopmentRoute("/dev/demo", state, instead=_INSTEAD, methods=["GET"]),
        DevelopmentRoute("/dev/demo/kill", kill, instead=_INSTEAD, methods=["POST"]),
        DevelopmentRoute("/dev/demo/skip", skip, instead=_INSTEAD, methods=["POST"]),
    ]
