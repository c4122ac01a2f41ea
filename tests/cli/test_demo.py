"""The demo in process: its clock, its routes, and what it says."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from bide import Settings
from bide.cli.demo import sample, serve_demo
from bide.cli.demo_routes import DemoClock, demo_routes
from bide.cli.faults import Fault, shown_errors
from bide.cli.loading import load_app
from bide.config import using
from bide.http.app import create_app
from bide.model.clock import SECOND, SystemClock
from tests.http.conftest import BASE, INSTANCES, Api

NUMBER = "+12025550123"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("TwilioAccountSid", "TwilioAuthToken", "TwilioPhoneNumber"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def ahead(clock: DemoClock) -> float:
    """By how many seconds, whole ones."""
    return round((clock.now() - SystemClock().now()) / SECOND)


def test_the_clock_is_the_machines_until_time_is_skipped(directory: Path) -> None:
    path = directory / "clock"
    clock = DemoClock(path)
    assert ahead(clock) == 0
    assert not path.exists()
    for seconds in (85, 3_600):
        clock.skip(timedelta(seconds=seconds))
    assert ahead(clock) == 3_685
    assert ahead(DemoClock(path)) == 3_685, "the next process has the same time"
    assert [each.name for each in directory.iterdir()] == ["clock"]


def test_a_clock_file_that_cannot_be_read(directory: Path) -> None:
    path = directory / "clock"
    path.write_text("soon")
    with pytest.raises(Fault, match=r"clock should hold microseconds.*Delete it"):
        DemoClock(path)


def test_a_skip_that_cannot_be_kept_is_none(directory: Path) -> None:
    clock = DemoClock(directory / "missing" / "clock")
    with pytest.raises(OSError, match="No such file"):
        clock.skip(timedelta(seconds=85))
    assert ahead(clock) == 0


@pytest.fixture
def api(directory: Path) -> Iterator[Api]:
    settings = Settings(db=str(directory / "demo.db"))
    with using(settings):
        app = load_app(sample())
    app.clock = clock = DemoClock(directory / "demo.db.clock")
    app.mounts += demo_routes(clock)
    with TestClient(create_app(app, settings), base_url=BASE, client=("127.0.0.1", 50_000)) as http:
        yield Api(http)


def test_what_the_demo_can_do(api: Api) -> None:
    shown = api.get("/dev/demo").json()
    assert (shown["kill"], shown["skip"]) == (True, True)
    assert shown["now"].endswith("Z")


@pytest.mark.parametrize("query", ["", "?seconds=", "?seconds=0", "?seconds=-5", "?seconds=3601", "?seconds=1.5"])
def test_what_is_no_span_is_refused_and_skips_nothing(api: Api, directory: Path, query: str) -> None:
    answer = api.post(f"/dev/demo/skip{query}")
    assert answer.status_code == 400
    assert "from 1 to 3600" in answer.json()["Message"]
    assert not (directory / "demo.db.clock").exists()


def started(api: Api) -> str:
    """A verification that waits for its answer. Gives its id."""
    instance_id = api.start("E4_SmsPhoneVerification", json.dumps(NUMBER).encode())
    assert len(api.get(f"/dev/phone/messages?to={NUMBER}&wait=10s").json()) == 1
    return instance_id


@pytest.mark.parametrize("skips", [[90], [60, 30], [3_600]])
def test_skipped_time_is_over_at_once(api: Api, skips: list[int]) -> None:
    instance_id = started(api)
    for seconds in skips:
        assert api.post(f"/dev/demo/skip?seconds={seconds}").status_code == 200
    assert api.ended(instance_id)["output"] is False


@pytest.mark.parametrize("body", [b'"not a code"', b'"00425"', b"42425"])
def test_what_is_no_code_is_taken_as_every_event_and_costs_no_try(api: Api, body: bytes) -> None:
    instance_id = started(api)
    assert api.post(f"{INSTANCES}/{instance_id}/raiseEvent/SmsChallengeResponse", body).status_code == 202
    shown = api.get(f"{INSTANCES}/{instance_id}").json()["customStatus"]
    assert (shown["triesLeft"], shown["hint"]) == (
        4,
        "A code is 4 digits. The last answer was none, and cost no try.",
    )


def test_the_answer_still_counts_after_a_skip(api: Api) -> None:
    instance_id = started(api)
    before = api.get("/dev/demo").json()["now"]
    assert api.post("/dev/demo/skip?seconds=80").json()["now"] > before
    code = api.get("/dev/phone/messages").json()[0]["code"]
    api.post(f"{INSTANCES}/{instance_id}/raiseEvent/SmsChallengeResponse", json.dumps(code).encode())
    assert api.ended(instance_id)["output"] is True


def test_skipped_time_brings_late_messages(api: Api) -> None:
    api.post("/dev/phone/faults", b'{"next": "late"}')
    api.start("E4_SmsPhoneVerification", json.dumps(NUMBER).encode())
    assert api.get("/dev/phone/messages?wait=10ms").json() == []
    api.post("/dev/demo/skip?seconds=10")
    assert len(api.get("/dev/phone/messages?wait=10s").json()) == 1


def test_the_demo_says_what_to_try_at_its_first_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served: list[Any] = []

    def serve(app: Any, settings: Settings, listener: socket.socket, ready: Any) -> None:
        ready()
        served.append(app)

    monkeypatch.setattr("bide.cli.serving.serve", serve)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for first in (True, False):
            serve_demo(Settings(db="demo.db"), False, False, listener, first)
            said = capsys.readouterr()
            assert said.out == ""
            assert ("Phone verification is ready" in said.err) is first
    assert "E4_SmsPhoneVerification" in served[0].registry.orchestrators
    assert isinstance(served[0].clock, DemoClock)


@pytest.mark.parametrize("with_phone", [True, False])
def test_the_demo_is_for_this_machine_alone(
    with_phone: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not with_phone:
        for name, value in (("AccountSid", "AC1"), ("AuthToken", "x"), ("PhoneNumber", "+15005550006")):
            monkeypatch.setenv(f"Twilio{name}", value)
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(SystemExit) as ended:
        serve_demo(Settings(db="demo.db", require_key=True), False, False, listener, True)
    assert ended.value.code == 2
    path = "/dev/phone" if with_phone else "/dev/demo"
    assert capsys.readouterr().err.startswith(f"Error: {path} is for development only")
    assert not Path("demo.db").exists()


def test_a_second_interrupt_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, shown_errors(debug=True):
        raise KeyboardInterrupt
    assert ended.value.code == 1
    assert capsys.readouterr().err == "Aborted!\n"
