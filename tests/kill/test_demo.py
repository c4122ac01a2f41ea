"""The demo as real processes: a worker that is killed and comes back, time that is skipped, and how both end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from twilio.http.http_client import TwilioHttpClient  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from tests.kill.conftest import eventually, request
from tests.kill.demo import NUMBER, Demo

pytestmark = pytest.mark.kill

AGAIN = "The worker was killed; starting it again.\n"


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    started = Demo(tmp_path)
    yield started
    started.stop()


def test_a_killed_worker_comes_back_and_the_code_still_works(demo: Demo) -> None:
    code = demo.start("a")
    (before,) = demo.workers
    assert request("POST", f"{demo.base}/dev/demo/kill")[0] == 202
    eventually("the worker is gone", lambda: before not in demo.workers or None)
    # Callers are not refused meanwhile: they wait. One attempt is enough.
    assert demo.answer("a", code) == 202
    assert demo.output("a") is True
    (after,) = demo.workers
    assert after != before
    assert len(demo.messages()) == 1, "no SMS twice"
    assert demo.said.count(AGAIN) == 1
    assert demo.said.count("Phone verification is ready") == 1
    assert code not in demo.said


def test_twilios_client_sends_to_the_demos_telephone(demo: Demo) -> None:
    http = TwilioHttpClient(timeout=10)
    client = Client("AC" + "0" * 32, "any token", http_client=http)
    client.api.base_url = demo.base
    sent = client.messages.create(to=NUMBER, from_="+15005550006", body="Your verification code is 0042")
    assert [(each["id"], each["code"]) for each in demo.messages()] == [(sent.sid, "0042")]
    assert client.messages(sent.sid).fetch().status == "delivered"
    assert http.session is not None
    http.session.close()


def test_skipped_time_is_over_and_survives_a_kill(demo: Demo) -> None:
    demo.start("a")
    assert request("POST", f"{demo.base}/dev/demo/skip?seconds=85")[0] == 200
    os.kill(demo.workers[0], signal.SIGKILL)
    eventually("it is started again", lambda: AGAIN in demo.said or None)
    assert demo.now() - datetime.now(UTC) > timedelta(seconds=84)
    assert demo.output("a") is False


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("to_group", [False, True])
def test_a_signal_ends_both_in_order(demo: Demo, how: signal.Signals, to_group: bool) -> None:
    os.killpg(demo.process.pid, how) if to_group else demo.process.send_signal(how)
    assert demo.process.wait(20) == 0
    assert demo.gone()
    assert "Traceback" not in demo.said
    assert AGAIN not in demo.said


def test_a_signal_ends_it_while_the_worker_is_away(demo: Demo) -> None:
    os.kill(demo.workers[0], signal.SIGKILL)
    eventually("it is noticed", lambda: AGAIN in demo.said or None)
    demo.process.terminate()
    assert demo.process.wait(20) == 0
    assert demo.gone()


def test_a_worker_that_ends_by_itself_ends_the_demo(demo: Demo) -> None:
    os.kill(demo.workers[0], signal.SIGTERM)
    assert demo.process.wait(20) == 0
    assert AGAIN not in demo.said


def test_a_killed_supervisor_leaves_no_child(demo: Demo) -> None:
    (worker,) = demo.workers
    demo.process.kill()
    demo.process.wait(20)
    eventually("the port is free", demo.gone)

    def ended() -> bool | None:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return True
        return None

    eventually("the worker is gone", ended)
