"""The limits of one worker."""

from __future__ import annotations

from dataclasses import dataclass

from bide.model.clock import SECOND
from bide.model.payload import MAX_PAYLOAD
from bide.store.protocol import LONGEST_LEASE


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Limits of one worker. Spans are in microseconds."""

    max_live: int = 10_000
    """Instances that keep their code in memory; the others are replayed when their next message comes."""
    long_history: int = 10_000
    """Steps in one history, from which on it is warned of."""
    max_inbox: int = 20_000
    """Messages waiting to be stepped. Beyond that, senders are told to try again."""
    max_step: int = 2_000
    """Messages in one commit; and a quarter of that in timers, however many are due."""
    lease: int = 15 * SECOND
    poll: int = SECOND
    """How often to look for messages left by other workers, and for partitions without an owner."""
    retry: int = SECOND
    """How long to wait after the store failed; twice as long each further time, up to `max_retry`."""
    max_retry: int = 8 * SECOND
    retention: int | None = None
    """How long instances are kept after they have ended. None: until they are purged."""
    strict_replay: bool = False
    """Whether code must ask for what history has in all its parts, and not only in kind, id and name."""
    max_payload: int = MAX_PAYLOAD
    """Bytes in one value, as JSON."""
    max_sweep: int = 200
    """How many are deleted between two steps: few enough to hold nobody up."""

    def __post_init__(self) -> None:
        if self.lease > LONGEST_LEASE:
            raise ValueError(f"lease is {self.lease} microseconds; {LONGEST_LEASE} at most")
