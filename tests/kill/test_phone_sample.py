"""The phone sample as a real process, over real HTTP, killed with SIGKILL in between."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.kill.conftest import Carrier, Server, eventually, request

pytestmark = pytest.mark.kill

NUMBER = "+14255550100"


def sms_to(carrier: Carrier, number: str) -> str:
    return eventually("the SMS is accepted", lambda: next(iter(carrier.accepted(number)), None))


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 10_000:04d}"


def kill_and_restart(server: Server) -> None:
    server.process.kill()
    server.start()


def test_the_right_code_ends_with_true(server: Server, carrier: Carrier) -> None:
    server.begin("a", NUMBER)
    server.answer("a", sms_to(carrier, NUMBER))
    assert server.finished("a")["output"] is True


def test_four_wrong_codes_end_with_false_at_once(server: Server, carrier: Carrier) -> None:
    server.begin("a", NUMBER)
    code = sms_to(carrier, NUMBER)
    for _ in range(4):
        server.answer("a", wrong(code))
    assert server.finished("a")["output"] is False


def test_the_fourth_try_may_be_right(server: Server, carrier: Carrier) -> None:
    server.begin("a", NUMBER)
    code = sms_to(carrier, NUMBER)
    for answer in (wrong(code), wrong(code), wrong(code), code):
        server.answer("a", answer)
    assert server.finished("a")["output"] is True


def after_start(server: Server, carrier: Carrier) -> str:
    server.begin("a", NUMBER)
    kill_and_restart(server)
    return sms_to(carrier, NUMBER)


def after_sms(server: Server, carrier: Carrier) -> str:
    server.begin("a", NUMBER)
    code = sms_to(carrier, NUMBER)
    kill_and_restart(server)
    return code


@pytest.mark.parametrize("killed", [after_start, after_sms])
def test_a_killed_process_goes_on(
    server: Server, carrier: Carrier, killed: Callable[[Server, Carrier], str]
) -> None:
    code = killed(server, carrier)
    server.answer("a", code)
    assert server.finished("a")["output"] is True
    assert carrier.accepted(NUMBER) == [code]


def test_an_acknowledged_answer_survives_a_kill(server: Server, carrier: Carrier) -> None:
    server.begin("a", NUMBER)
    server.answer("a", sms_to(carrier, NUMBER))
    kill_and_restart(server)
    assert server.finished("a")["output"] is True
    assert len(carrier.accepted(NUMBER)) == 1


def test_the_deadline_does_not_move_over_a_kill(server: Server, carrier: Carrier) -> None:
    server.begin("a", NUMBER)
    sms_to(carrier, NUMBER)
    eventually("it waits", lambda: request("GET", server.url("a"))[1]["runtimeStatus"] == "Running" or None)
    before = deadline_of(server)
    kill_and_restart(server)
    server.wait_ready()
    server.process.kill()  # the file can be read by one process at a time
    assert deadline_of(server) == before


def deadline_of(server: Server) -> int:
    import sqlite3

    with closing(sqlite3.connect(f"file:{server.db}?mode=ro", uri=True)) as db:
        return eventually(
            "the timer is there", lambda: (db.execute("SELECT fire_at FROM timers").fetchone() or [None])[0]
        )


def test_a_terminated_process_drains(server: Server, carrier: Carrier, tmp_path: Path) -> None:
    server.begin("a", NUMBER)
    assert server.process.end(signal.SIGTERM) in (0, -signal.SIGTERM)
    server.start()
    code = sms_to(carrier, NUMBER)
    server.answer("a", code)
    assert server.finished("a")["output"] is True
    assert "Traceback" not in server.log.read_text()
    assert code not in server.log.read_text(), "the code is never logged"
