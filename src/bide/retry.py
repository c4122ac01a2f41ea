"""When a failed task is tried again. Pure arithmetic on the policy; the delays themselves are durable timers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from math import inf

from bide.clock import to_micros
from bide.history import Failure

_LONGEST = timedelta(days=36_500)
"""A century. A delay that has no end in sight must still be a date."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and how soon, a failed activity or sub-orchestration is tried again.

    `max_attempts` counts the first try. The n-th delay is `first_interval * backoff ** (n - 1)`, at most
    `max_interval`. No retry starts later than `total_time` after the first try. Errors whose class name is in
    `non_retryable` (as `ValueError` or with its module), and those for which `retry_if` answers false, are
    final. `retry_if` is run again on replay, so it may depend on nothing but the failure.

    Raises `ValueError` for a policy that makes no sense.
    """

    max_attempts: int = 3
    first_interval: timedelta = timedelta(seconds=1)
    backoff: float = 2.0
    max_interval: timedelta | None = None
    total_time: timedelta | None = None
    non_retryable: tuple[type[BaseException] | str, ...] = ()
    retry_if: Callable[[Failure], bool] | None = None

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts counts the first try, so it is at least 1, not {self.max_attempts}")
        if self.first_interval < timedelta(0):
            raise ValueError("first_interval cannot be negative")
        if not 1 <= self.backoff < inf:
            raise ValueError(f"backoff is a factor of at least 1, not {self.backoff}")

    def delay(self, attempt: int, elapsed: int, failure: Failure) -> int | None:
        """Microseconds until the next try after `attempt` failed, or None if that was the last.

        `elapsed` is the time since the first try began, in microseconds.
        """
        if attempt >= self.max_attempts or not self._retryable(failure):
            return None
        longest = _LONGEST if self.max_interval is None else min(self.max_interval, _LONGEST)
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
        short = failure.type.rpartition(".")[2]
        for refused in self.non_retryable:
            name = refused if isinstance(refused, str) else f"{refused.__module__}.{refused.__qualname__}"
            if name == failure.type or name.removeprefix("builtins.") == failure.type or name == short:
                return False
        return self.retry_if is None or self.retry_if(failure)
