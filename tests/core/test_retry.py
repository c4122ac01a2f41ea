"""When a failed task is tried again."""

from datetime import timedelta
from typing import Any

import pytest

from bide import Failure, RetryPolicy
from bide.model.clock import SECOND

ERROR = Failure("ValueError", "no")


class Outer:
    class CardError(Exception):
        pass


def delays(policy: RetryPolicy, count: int, elapsed: int = 0) -> list[float | None]:
    found = [policy.delay(attempt, elapsed, ERROR) for attempt in range(1, count + 1)]
    return [None if delay is None else delay / SECOND for delay in found]


def test_delays_grow_by_the_backoff() -> None:
    assert delays(RetryPolicy(5), 5) == [1, 2, 4, 8, None]
    assert delays(RetryPolicy(4, timedelta(seconds=3), backoff=1), 4) == [3, 3, 3, None]


def test_delays_stop_growing_at_the_longest() -> None:
    assert delays(RetryPolicy(9, max_interval=timedelta(seconds=3)), 4) == [1, 2, 3, 3]


def test_one_attempt_is_no_retry() -> None:
    assert delays(RetryPolicy(1), 1) == [None]


def test_delays_may_be_nothing() -> None:
    assert delays(RetryPolicy(2_000, timedelta(0), backoff=1e308), 1_999) == [0] * 1_999


def test_no_retry_starts_after_the_total_time() -> None:
    policy = RetryPolicy(9, timedelta(seconds=10), total_time=timedelta(seconds=30))
    assert policy.delay(1, 20 * SECOND, ERROR) == 10 * SECOND
    assert policy.delay(1, 20 * SECOND + 1, ERROR) is None


@pytest.mark.parametrize("backoff", [2.0, 10.0, 1e308])
@pytest.mark.parametrize("attempt", [2, 10, 5_000, 10**9])
def test_no_backoff_is_too_large(backoff: float, attempt: int) -> None:
    unbounded = RetryPolicy(10**12, backoff=backoff).delay(attempt, 0, ERROR)
    assert unbounded is not None
    assert 0 < unbounded <= 36_500 * 86_400 * SECOND
    bounded = RetryPolicy(10**12, backoff=backoff, max_interval=timedelta(seconds=2)).delay(attempt, 0, ERROR)
    assert bounded == 2 * SECOND
    ended = RetryPolicy(10**12, backoff=backoff, total_time=timedelta(seconds=1)).delay(attempt, 0, ERROR)
    assert ended is None


@pytest.mark.parametrize(
    ("refused", "failure", "again"),
    [
        (ValueError, Failure("ValueError", ""), False),
        ("ValueError", Failure("ValueError", ""), False),
        ("builtins.ValueError", Failure("ValueError", ""), False),
        (KeyError, Failure("ValueError", ""), True),
        ("CardError", Failure("shop.errors.CardError", ""), False),
        ("shop.errors.CardError", Failure("shop.errors.CardError", ""), False),
        ("other.CardError", Failure("shop.errors.CardError", ""), True),
        (Outer.CardError, Failure(f"{__name__}.Outer.CardError", ""), False),
        (Outer.CardError, Failure("shop.errors.CardError", ""), True),
        ("ValueError", Failure("shop.MyValueError", ""), True),
        (ValueError, Failure("shop.ValueError", ""), True),
        ("ValueError", Failure("shop.ValueError", ""), False),
        (Exception, Failure("shop.CardError", ""), False),
        ("BaseException", Failure("shop.CardError", ""), False),
        (Exception, Failure("KeyboardInterrupt", "", bases=("BaseException",)), True),
        (BaseException, Failure("KeyboardInterrupt", "", bases=("BaseException",)), False),
        (ValueError, Failure("UnicodeDecodeError", "", bases=("UnicodeError", "ValueError")), False),
        ("shop.Refused", Failure("shop.BadNumber", "", bases=("shop.Refused",)), False),
        ("Refused", Failure("shop.BadNumber", "", bases=("shop.Refused",)), False),
        ("other.Refused", Failure("shop.BadNumber", "", bases=("shop.Refused",)), True),
    ],
)
def test_errors_named_are_final(refused: Any, failure: Failure, again: bool) -> None:
    assert (RetryPolicy(non_retryable=(refused,)).delay(1, 0, failure) is not None) is again


def test_a_predicate_decides() -> None:
    policy = RetryPolicy(retry_if=lambda failure: "later" in failure.message)
    assert policy.delay(1, 0, Failure("E", "try later")) is not None
    assert policy.delay(1, 0, Failure("E", "never")) is None


@pytest.mark.parametrize("decides", [bool, lambda *_: True, lambda failure, times=1: True, [ERROR].__contains__])
def test_a_predicate_may_be_whatever_takes_a_failure(decides: Any) -> None:
    assert RetryPolicy(retry_if=decides).delay(1, 0, ERROR) is not None


def test_a_time_limit_is_retried_and_an_unknown_outcome_is_not() -> None:
    assert RetryPolicy().delay(1, 0, Failure("TimeoutError", "", kind="timeout")) is not None
    unknown = Failure("OutcomeUnknownError", "", kind="outcome_unknown")
    assert RetryPolicy(retry_if=lambda failure: True).delay(1, 0, unknown) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"max_attempts": -1},
        {"first_interval": timedelta(seconds=-1)},
        {"max_interval": timedelta(seconds=-1)},
        {"max_interval": timedelta(milliseconds=999)},
        {"total_time": timedelta(seconds=-1)},
        {"backoff": 0.5},
        {"backoff": 0},
        {"backoff": float("nan")},
        {"backoff": float("inf")},
        {"non_retryable": ("",)},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RetryPolicy(**wrong)


async def _later(failure: Failure) -> bool:
    return True


class _Later:
    async def __call__(self, failure: Failure) -> bool:
        return True


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 2.5},
        {"max_attempts": "3"},
        {"max_attempts": None},
        {"max_attempts": True},
        {"first_interval": 1},
        {"first_interval": None},
        {"max_interval": 1.5},
        {"total_time": "1m"},
        {"backoff": "2"},
        {"backoff": None},
        {"backoff": True},
        {"non_retryable": "ValueError"},
        {"non_retryable": ValueError},
        {"non_retryable": [ValueError]},
        {"non_retryable": None},
        {"non_retryable": (5,)},
        {"non_retryable": (int,)},
        {"non_retryable": (ValueError(),)},
        {"retry_if": True},
        {"retry_if": _later},
        {"retry_if": _Later()},
        {"retry_if": lambda: True},
        {"retry_if": lambda failure, attempt: True},
    ],
)
def test_values_of_other_types_are_refused_when_the_policy_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(wrong))):
        RetryPolicy(**wrong)
