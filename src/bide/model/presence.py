"""A worker as others see it: who it is, what it runs, and when it was last alive."""

from __future__ import annotations

from msgspec import Struct

from bide.model.clock import SECOND, Timestamp

BEAT: Timestamp = 2 * SECOND
"""How often a worker says that it is alive."""
SILENCE: Timestamp = 10 * SECOND
"""After how long without a sign of life a worker counts as gone."""
REMEMBERED = 100
"""How many workers a store remembers, so that it can be told when one was killed and who went on."""


class Presence(Struct, frozen=True):
    """What a worker says of itself.

    `version` is a digest of its functions' code. A worker that has long not been seen and has no `ended_at` was
    killed, or cut off: whoever ends in order says so.
    """

    name: str
    host: str
    process: int
    version: str
    orchestrators: tuple[str, ...]
    activities: tuple[str, ...]
    started_at: Timestamp
    seen_at: Timestamp
    ended_at: Timestamp | None = None
    failing: bool = False
    """Whether it cannot take partitions: the database does not do what it asks for."""
    partitions: int = 0
    """How many of the hub's partitions it owns."""
    live_instances: int = 0
    """Instances whose code is in memory."""
    running_activities: int = 0
    """Activities that run, or wait for a slot."""
    outlived_activities: int = 0
    """Bodies in threads that nobody waits for any more, and that cannot be stopped."""
    queued_messages: int = 0
    changes: int = 0
    """How many rows of instances it has written since it started, so that others hear that there is news."""

    def alive(self, now: Timestamp) -> bool:
        """A sign from long after `now` was given before the clock was set back: it says nothing of today."""
        return self.ended_at is None and abs(now - self.seen_at) < SILENCE
