"""When a failed task is tried again. Pure arithmetic on the policy; the delays themselves are durable timers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from inspect import isawaitable, iscoroutine, iscoroutinefunction, signature
from math import inf
from typing import cast

from bide.model.clock import check_span, to_micros
from bide.model.history import Failure

LONGEST_PAUSE = timedelta(days=36_500)
"""A century. A delay that has no end in sight must still be a date."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and how soon, a failed activity or sub-orchestration is tried again.

    `max_attempts` counts the first try. The n-th delay is `first_interval * backoff ** (n - 1)`, at most
    `max_interval`. No retry starts later than `total_time` after the first try. Errors of the classes in
    `non_retryable`, and of those that derive from them, are final (`Failure.is_a`): a class may be given by its
    name, as `ValueError` or with its module. So are those for which `retry_if` answers false. It is run again on
    replay, so it may depend on nothing but the failure.

    Raises `TypeError` for a value of another type, `ValueError` for a policy that makes no sense.
    """

    max_attempts: int = 3
    first_interval: timedelta = timedelta(seconds=1)
    backoff: float = 2.0
    max_interval: timedelta | None = None
    total_time: timedelta | None = None
    non_retryable: tuple[type[BaseException] | str, ...] = ()
    retry_if: Callable[[Failure], bool] | None = None

    def __post_init__(self) -> None:
        _check_attempts(self.max_attempts)
        _check_backoff(self.backoff)
        for name in ("first_interval", "max_interval", "total_time"):
            span = getattr(self, name)
            if (span is not None or name == "first_interval") and check_span(name, span) < timedelta(0):
                raise ValueError(f"{name} cannot be negative, as {span} is")
        if self.max_interval is not None and self.max_interval < self.first_interval:
            raise ValueError(
                f"max_interval ({self.max_interval}) is shorter than first_interval ({self.first_interval})"
            )
        _check_refused(self.non_retryable)
        _check_predicate(self.retry_if)

    def delay(self, attempt: int, elapsed: int, failure: Failure) -> int | None:
        """Microseconds until the next try after `attempt` failed, or None if that was the last.

        `elapsed` is the time since the first try began, in microseconds.
        """
        if attempt >= self.max_attempts or not self._retryable(failure):
            return None
        longest = LONGEST_PAUSE if self.max_interval is None else min(self.max_interval, LONGEST_PAUSE)
        try:
            wait = self.first_interval.total_seconds() * self.backoff ** (attempt - 1)
        except OverflowError:
            wait = longest.total_seconds() if self.first_interval else 0
        micros = int(min(wait, longest.total_seconds()) * 1_000_000)
        if self.total_time is not None and elapsed + micros > to_micros(self.total_time):
            return None
        return micros

    def _retryable(self, failure: Failure) -> bool:
        if failure.kind == "outcome_unknown":  # a blind second try is what a once-activity rules out (G5)
            return False
        if any(failure.is_a(refused) for refused in self.non_retryable):
            return False
        if self.retry_if is None:
            return True
        answer: object = self.retry_if(failure)
        if isawaitable(answer):
            if iscoroutine(answer):
                answer.close()
            raise TypeError("retry_if answered with something to await. It answers at once, with True or False.")
        return bool(answer)


def _check_attempts(attempts: object) -> None:
    if isinstance(attempts, bool) or not isinstance(attempts, int):
        raise TypeError(f"max_attempts is a whole number (int), not {type(attempts).__qualname__}")
    if attempts < 1:
        raise ValueError(f"max_attempts counts the first try, so it is at least 1, not {attempts}")


def _check_backoff(backoff: object) -> None:
    if isinstance(backoff, bool) or not isinstance(backoff, int | float):
        raise TypeError(f"backoff is a number (float), not {type(backoff).__qualname__}")
    if not 1 <= backoff < inf:
        raise ValueError(f"backoff is a factor of at least 1, not {backoff}")


def _check_refused(refused: object) -> None:
    if not isinstance(refused, tuple):
        raise TypeError(
            f"non_retryable is a tuple of exception classes and of their names, not {type(refused).__qualname__}. "
            "Write for example non_retryable=(ValueError,)."
        )
    for each in cast("tuple[object, ...]", refused):
        if each == "":
            raise ValueError("non_retryable has an empty text, which is the name of no exception")
        if not (isinstance(each, type) and issubclass(each, BaseException)) and not isinstance(each, str):
            raise TypeError(f"non_retryable has exception classes and their names, and not {each!r:.100}")


def _check_predicate(decides: object) -> None:
    if decides is None:
        return
    if not callable(decides):
        raise TypeError(f"retry_if is a function of the failure, not {type(decides).__qualname__}")
    if iscoroutinefunction(decides) or iscoroutinefunction(type(decides).__call__):
        raise TypeError("retry_if is asked within a step, so it cannot be `async def`. Write it as `def`.")
    try:
        taken = signature(decides)
    except ValueError:  # some of those written in C do not say what they take
        return
    try:
        taken.bind(None)
    except TypeError as error:
        raise TypeError(f"retry_if is called with the failure, and with nothing else: {error}") from None
