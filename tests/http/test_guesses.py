"""Wrong keys: counted, told, slowed down; and nobody is locked out by them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from bide import Settings
from bide.access.keys import KeyRing, Role, keys_path
from bide.http.gate.guesses import BURST, EVERY_S, LINES, MOST_ADDRESSES, QUIET_S, Guesses
from bide.model.clock import SECOND
from tests.http.conftest import INSTANCES, Api, serve

NOW = 1_763_880_000 * SECOND
METRICS = INSTANCES.replace("/instances", "/metrics")


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing(keys_path(str(tmp_path / "hub.db")))


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serve(Settings(db=str(tmp_path / "hub.db"), require_key=True)) as served:
        yield served


def test_wrong_keys_are_counted_told_and_slowed_down(
    api: Api, ring: KeyRing, caplog: pytest.LogCaptureFixture
) -> None:
    key = {"x-functions-key": ring.create("ci", Role.VIEWER, 0)}
    wrong = [f"a-guess-{number}" for number in range(BURST)] + ["bide.eyJ9.forged-seal"] * BURST
    answers = [api.get(INSTANCES, params={"code": each}) for each in wrong]
    assert [answer.status_code for answer in answers] == [401] * BURST + [429] * BURST
    for answer in answers[BURST:]:
        assert 1 <= int(answer.headers["retry-after"]) <= EVERY_S
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "a valid key counts at any time" in answer.json()["Message"]
    assert api.get(INSTANCES, headers=key).status_code == 200
    assert api.get(INSTANCES).status_code == 401  # shows none
    assert api.get(METRICS, headers=key).json()["wrongKeys"] == len(wrong)
    told = [each.args for each in caplog.records if each.name == "bide.http"]
    assert told == [("127.0.0.1", count, "") for count in (1, 2, 4, 8, 16, 32)]
    assert "127.0.0.1" in caplog.text
    assert "a-guess" not in caplog.text
    assert "forged" not in caplog.text


def test_what_is_no_guess_is_not_counted(api: Api, ring: KeyRing) -> None:
    one, other = (ring.create(name, Role.OPERATOR, 0) for name in ("one", "other"))
    started = api.post("/orchestrators/Approve/a", headers={"x-functions-key": one}).json()
    for _ in range(BURST + 1):
        assert api.get(INSTANCES).status_code == 401
        assert api.get(started["statusQueryGetUri"]).status_code == 202
        assert api.get(INSTANCES, params={"code": one}, headers={"x-functions-key": other}).status_code == 401
    assert api.get(METRICS, params={"code": one}).json()["wrongKeys"] == 0


def test_what_clients_of_azure_bring_along_is_no_guess() -> None:
    with serve(Settings(db=":memory:")) as api:
        for _ in range(BURST + 1):
            assert api.get(INSTANCES, params={"code": "XXX"}).status_code == 200
        assert api.get(METRICS).json()["wrongKeys"] == 0


def test_whoever_waits_may_try_again() -> None:
    guesses = Guesses(NOW)
    assert [guesses.add("10.0.0.7", NOW) for _ in range(BURST + 2)] == [0] * BURST + [EVERY_S] * 2
    assert guesses.add("10.0.0.8", NOW) == 0
    assert guesses.add("10.0.0.7", NOW + EVERY_S * SECOND // 2) == 2
    later = NOW + EVERY_S * SECOND
    assert [guesses.add("10.0.0.7", later) for _ in range(2)] == [0, EVERY_S]
    much_later = later + 10_000 * SECOND
    assert [guesses.add("10.0.0.7", much_later) for _ in range(BURST + 1)] == [0] * BURST + [EVERY_S]


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    guesses = Guesses(NOW)
    for _ in range(BURST):
        guesses.add("10.0.0.7", NOW)
    back = NOW - 10**9 * SECOND
    assert guesses.add("10.0.0.7", back) == EVERY_S
    assert guesses.add("10.0.0.7", back + EVERY_S * SECOND) == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.7", "::ffff:10.0.0.7", True),
        ("10.0.0.7", "10.0.0.8", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        ("", "a\nforged line", True),
    ],
)
def test_addresses_of_the_same_caller(one: str, other: str, same: bool, caplog: pytest.LogCaptureFixture) -> None:
    guesses = Guesses(NOW)
    for _ in range(BURST):
        guesses.add(one, NOW)
    assert (guesses.add(other, NOW) > 0) is same
    assert "forged" not in caplog.text


def test_the_log_stays_short_however_many_addresses_there_are(caplog: pytest.LogCaptureFixture) -> None:
    guesses = Guesses(NOW)
    for number in range(1_000):
        guesses.add(f"10.0.{number // 250}.{number % 250}", NOW)
    assert len(caplog.records) == LINES
    caplog.clear()
    guesses.add("10.9.9.9", NOW + 60 * SECOND)
    assert caplog.messages == [
        f"A key that is not valid came from 10.9.9.9: 1 so far ({1_000 - LINES} lines like this one were left out)"
    ]


def test_after_quiet_the_next_one_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    guesses = Guesses(NOW)
    for _ in range(3):
        guesses.add("10.0.0.7", NOW)
    caplog.clear()
    guesses.add("10.0.0.7", NOW + QUIET_S * SECOND)
    guesses.add("10.0.0.7", NOW + 3 * QUIET_S * SECOND)
    assert [each.args for each in caplog.records] == [("10.0.0.7", 4, ""), ("10.0.0.7", 1, "")]


def test_what_is_kept_is_bounded() -> None:
    guesses = Guesses(NOW)
    tracemalloc.start()
    try:
        for number in range(3 * MOST_ADDRESSES):
            guesses.add(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", NOW)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1_000 * MOST_ADDRESSES
    assert guesses.count == 3 * MOST_ADDRESSES
