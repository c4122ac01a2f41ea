"""How long things take, and how often they happen, in constant memory.

A histogram counts values in buckets, four for each doubling, so a quantile may be a quarter too high.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from bide.model.clock import SECOND, Timestamp
from bide.model.instance import RuntimeStatus

MINUTE: Timestamp = 60 * SECOND
KEPT_MINUTES = 120


def doubled(count: int) -> bool:
    """Whether a count is 1, or twice what it was when this was last so: for lines of the log that grow rarer."""
    return not count & (count - 1)


class Histogram:
    """Counts of whole numbers that are not negative, by size."""

    __slots__ = ("count", "counts", "most")

    def __init__(self) -> None:
        self.count = 0
        self.most = 0
        self.counts: dict[int, int] = {}

    def add(self, value: int) -> None:
        bucket = bucket_of(value)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.count += 1
        if value > self.most:
            self.most = value

    def merge(self, other: Histogram) -> None:
        """Count what another has counted, too."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.count += other.count
        self.most = max(self.most, other.most)

    def quantile(self, share: float) -> int | None:
        """The value that this share of all values does not exceed, or None if there are none."""
        wanted, seen = share * self.count, 0
        for bucket, count in sorted(self.counts.items()):
            seen += count
            if seen >= wanted:
                return min(upper_end(bucket), self.most)
        return None

    def buckets(self) -> Iterator[tuple[int, int]]:
        """The largest value and the count of each bucket that has any."""
        for bucket, count in sorted(self.counts.items()):
            yield upper_end(bucket), count


def bucket_of(value: int) -> int:
    if value < 8:
        return max(value, 0)
    shift = value.bit_length() - 3
    return (shift << 2) + (value >> shift)


def upper_end(bucket: int) -> int:
    """The largest value in a bucket."""
    if bucket < 8:
        return bucket
    shift = (bucket >> 2) - 1
    return (((bucket & 3) + 5) << shift) - 1


class Series:
    """Values in all, and by the minute."""

    __slots__ = ("_before", "_latest", "_until", "minutes")

    def __init__(self) -> None:
        self.minutes: deque[tuple[Timestamp, Histogram]] = deque()
        self._before = Histogram()
        """Of the minutes that are not kept any more."""
        self._latest = self._before
        self._until: Timestamp = 0

    def add(self, now: Timestamp, value: int) -> None:
        """Count a value of this moment. Time does not go back."""
        if now >= self._until:
            self._turn_over(now)
        self._latest.add(value)

    @property
    def total(self) -> Histogram:
        """All values."""
        every = Histogram()
        for part in (self._before, *(each for _, each in self.minutes)):
            every.merge(part)
        return every

    def _turn_over(self, now: Timestamp) -> None:
        minute = now - now % MINUTE
        self._until = minute + MINUTE
        self._latest = Histogram()
        self.minutes.append((minute, self._latest))
        if len(self.minutes) > KEPT_MINUTES:
            self._before.merge(self.minutes.popleft()[1])


class Ends:
    """How many instances were started and ended in a minute."""

    __slots__ = ("at", "ended", "started")

    def __init__(self, at: Timestamp) -> None:
        self.at = at
        self.started = 0
        self.ended: dict[RuntimeStatus, int] = {}

    def count(self, status: RuntimeStatus) -> None:
        """One has ended so."""
        self.ended[status] = self.ended.get(status, 0) + 1


class Metrics:
    """What a process counts. Spans are in microseconds."""

    def __init__(self, since: Timestamp) -> None:
        self.since = since
        self.schedule_to_start = Series()
        """From when an activity is scheduled until its body begins."""
        self.response_time = Series()
        """From when an event is awaited until it is there, of waits that were answered."""
        self.timer_lateness = Series()
        """From when a timer is due until what it caused is durable."""
        self.ends: deque[Ends] = deque(maxlen=KEPT_MINUTES)

    def ends_of(self, now: Timestamp) -> Ends:
        """What is counted in the minute of this moment. Time does not go back."""
        minute = now - now % MINUTE
        if not self.ends or self.ends[-1].at < minute:
            self.ends.append(Ends(minute))
        return self.ends[-1]
