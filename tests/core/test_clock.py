"""Clocks that follow another one: not where that is read wrong, but where it was set."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bide import SystemClock
from bide.model.clock import CONFIRMED, SECOND, ClockStep, FastestWord, SteadyClock, SyncedClock
from bide.testing.clock import ManualClock
from tests.machine import ManualMachine

HOUR = 3_600 * SECOND
YEAR = 365 * 24 * HOUR
OFF = [2 * SECOND, -2 * SECOND, HOUR, -HOUR, 10 * YEAR, -10 * YEAR]
LOOKED_AT = SECOND
"""A watch reads the clock every second."""


@pytest.fixture
def machine() -> ManualMachine:
    return ManualMachine()


@pytest.mark.parametrize("by", OFF)
@pytest.mark.parametrize("times", [1, 2, 4])
def test_a_clock_that_was_wrong_for_a_moment_changes_nothing(machine: ManualMachine, by: int, times: int) -> None:
    for _ in range(5):
        machine.off += by
        for _ in range(times):
            assert machine.now() == machine.right
            machine.advance(timedelta(seconds=1))
        machine.off -= by
        assert machine.now() == machine.right
        machine.advance(timedelta(seconds=1))
    assert machine.last_step is None


@pytest.mark.parametrize("by", OFF)
def test_a_clock_that_was_set_and_stays_so_is_followed(machine: ManualMachine, by: int) -> None:
    machine.off = by
    began = machine.right
    while machine.now() == machine.right:
        machine.advance(timedelta(seconds=1))
    assert CONFIRMED <= machine.right - began <= CONFIRMED + LOOKED_AT
    assert machine.now() == machine.right + by
    assert machine.last_step == ClockStep(by, machine.now())
    machine.advance(timedelta(seconds=1))
    assert machine.last_step is not None
    assert machine.last_step.at < machine.now()


def test_wrong_readings_in_between_only_delay_it(machine: ManualMachine) -> None:
    machine.be_set(HOUR, seconds=4)
    machine.be_set(-YEAR, seconds=1)
    machine.off += YEAR
    assert machine.last_step is None
    machine.be_set(0, seconds=5)
    assert machine.last_step is None
    machine.be_set(0, seconds=1)
    assert machine.now() == machine.right + HOUR


def test_a_clock_that_shows_now_this_now_that_is_not_believed(machine: ManualMachine) -> None:
    for second in range(100):
        machine.off = HOUR if second % 3 else 0
        assert machine.now() == machine.right
        machine.advance(timedelta(seconds=1))


@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_time_in_which_nobody_looked_confirms_nothing(machine: ManualMachine, by: int) -> None:
    """As when a machine sleeps: the clock is wrong before, and when it wakes, but is right soon afterwards."""
    machine.be_set(by, seconds=2)
    machine.advance(timedelta(hours=8))
    assert machine.now() == machine.right
    machine.off = 0
    machine.advance(timedelta(seconds=1))
    assert machine.now() == machine.right
    assert machine.last_step is None


def test_sleep_that_both_clocks_count_is_no_step(machine: ManualMachine) -> None:
    machine.now()
    machine.advance(timedelta(hours=8))
    assert machine.now() == machine.right
    assert machine.last_step is None


@pytest.mark.parametrize("drift", [400, -400, 3_000, -3_000])
def test_a_drift_is_followed_smoothly_and_without_a_word(machine: ManualMachine, drift: int) -> None:
    """Microseconds in a second, as when NTP slews."""
    last = machine.now()
    for number in range(4_000):
        machine.advance(timedelta(microseconds=SECOND // 2 + number % 7))
        machine.off += drift // 2
        now = machine.now()
        assert last < now
        last = now
    assert abs(machine.now() - machine.right - machine.off) <= abs(drift)
    assert machine.last_step is None


def test_a_small_step_is_made_up_for(machine: ManualMachine) -> None:
    machine.off = SECOND // 11
    for _ in range(30):
        assert 0 <= machine.now() - machine.right <= machine.off
        machine.advance(timedelta(seconds=1))
    assert machine.now() == machine.right + machine.off


def test_a_thread_that_stood_still_between_two_readings_says_nothing() -> None:
    machine = ManualMachine()
    stood_still: list[int] = []

    def wall() -> int:
        if stood_still:
            machine.advance(timedelta(microseconds=stood_still.pop()))
        return machine.wall()

    clock = SteadyClock(machine.wall, lambda: machine.counted)
    clock._wall = wall
    for _ in range(40):
        machine.advance(timedelta(seconds=1))
        stood_still.append(2 * SECOND)
        clock.now()
    stood_still.clear()
    assert clock.now() == machine.right
    assert clock.last_step is None


def test_between_two_looks_only_one_clock_is_read(machine: ManualMachine) -> None:
    machine.advance(timedelta(seconds=1))
    before = machine.readings
    for _ in range(200):
        machine.now()
        machine.advance(timedelta(milliseconds=1))
    assert machine.readings == before + 1


def test_the_machine_s_clock_is_about_right() -> None:
    clock = SystemClock()
    first = clock.now()
    assert first <= clock.now() < first + 60 * SECOND
    assert abs(clock.now() - SystemClock().now()) < SECOND
    assert clock.utc_now().tzinfo is not None


# --- the clock of a database, of which a worker hears every other second


class Heard:
    """A clock that hears of another one, in time that the test moves."""

    def __init__(self) -> None:
        self.time = ManualClock()
        self.clock = SyncedClock(self.time.now)
        self.off = 0
        for _ in range(10):
            self.hear()

    def hear(self, by: int = 0, late: int = 0) -> None:
        """The other clock is off by `by`; what it said took so long to come."""
        self.time.advance(timedelta(seconds=2))
        self.clock.heard(self.time.now() + self.off + by - late)

    @property
    def ahead(self) -> int:
        return self.clock.now() - self.time.now()


@pytest.mark.parametrize("by", OFF)
@pytest.mark.parametrize("times", [1, 2])
def test_a_wrong_word_of_the_database_changes_nothing(by: int, times: int) -> None:
    heard = Heard()
    for _ in range(20):
        for _ in range(times):
            heard.hear(by)
            assert heard.ahead == 0
        heard.hear()
        assert heard.ahead == 0
    assert heard.clock.last_step is None


@pytest.mark.parametrize(("by", "at_most_s"), [(each, 8 if each > 0 else 20) for each in OFF])
def test_a_database_whose_clock_was_set_is_followed(by: int, at_most_s: int) -> None:
    heard = Heard()
    heard.off = by
    began = heard.time.now()
    while heard.ahead == 0:
        heard.hear()
    assert CONFIRMED <= heard.time.now() - began <= at_most_s * SECOND
    assert heard.ahead == by
    assert heard.clock.last_step == ClockStep(by, heard.clock.now())


def test_a_slow_way_is_no_step() -> None:
    heard = Heard()
    for late in (3, 2, 5, 4, 3, 9, 3, 3, 3):
        heard.hear(late=late * SECOND)
        assert heard.ahead == 0
    heard.hear()
    assert heard.ahead == 0
    for late in range(10):
        heard.hear(late=SECOND // 2 + late)  # all of them: nothing tells that from a clock that was set
    assert heard.ahead == -SECOND // 2
    heard.hear()
    assert heard.ahead == 0
    assert heard.clock.last_step is None


def test_of_several_words_in_a_row_the_one_that_came_fastest_counts() -> None:
    time = ManualClock()
    word = FastestWord(time.now)
    for late_ms in (10_000, 200, 3, 4_000):
        shown = time.now()
        time.advance(timedelta(milliseconds=late_ms))
        word.heard(shown)
    assert time.now() - word.now() == SECOND * 3 // 1000
