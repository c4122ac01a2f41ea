"""Verifications while the server is killed at random moments: one SMS each, and no acknowledged answer lost.

`pytest -m kill --kill-runs=200` is the long form. Each run kills the server once, somewhere between the start and
the end of a verification. The stand-in carrier waits for a random time between accepting an SMS and saying so, so
that kills fall in between as well. Its log is the oracle.
"""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest

from tests.kill.conftest import Carrier, Server, eventually

pytestmark = pytest.mark.kill


def test_one_sms_each_and_no_answer_lost(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    runs: int = request.config.getoption("--kill-runs")
    carrier = Carrier(tmp_path, delay_ms=60)
    server = Server(tmp_path, carrier)
    server.start()
    server.wait_ready()
    moments = random.Random(20261123)
    killed_before_end = 0
    try:
        for run in range(runs):
            delay_s = moments.uniform(0, 0.15)
            killed_before_end += verify_under_fire(server, carrier, f"run-{run}", f"+1425{run:07d}", delay_s)
    finally:
        server.process.kill()
        carrier.process.kill()
    print(f"\n{runs} runs, {killed_before_end} killed before they ended: one SMS each, every result true")
    assert killed_before_end >= runs // 10, "too few kills fell into a verification to mean anything"


def verify_under_fire(server: Server, carrier: Carrier, instance_id: str, number: str, delay_s: float) -> bool:
    """One verification with one kill. True if the kill came before its end."""
    ended = threading.Event()
    killed_before_end: list[bool] = []

    def kill() -> None:
        time.sleep(delay_s)
        killed_before_end.append(not ended.is_set())
        server.process.kill()
        server.start()

    killer = threading.Thread(target=kill)
    killer.start()
    server.begin(instance_id, number)
    code = eventually("the SMS is accepted", lambda: next(iter(carrier.accepted(number)), None))
    server.answer(instance_id, code)
    output = server.finished(instance_id)["output"]
    ended.set()
    killer.join()
    assert output is True, f"{instance_id}: {output!r}"
    assert carrier.accepted(number) == [code], f"{instance_id}: more than one SMS"
    return killed_before_end[0]
