"""The port between the engine and a database, in the words of the domain.

Rules that every store keeps, and `bide.testing.conformance` examines:

* Time is an argument. A store never asks the machine or the database what time it is.
* A batch is one transaction: after `commit` returns, all of it survives power loss; if it raises
  `LeaseLostError`, none of it exists. Any other error leaves the outcome unknown: the caller forgets what it
  knows and loads again.
* The fence is checked inside the writing transaction (G6): every epoch in `Batch.epochs` must be the partition's
  present one.
* Ids of inbox rows are never used twice, so that a message taken out of order is never mistaken for another. They
  grow; those of `Batch.returned` are negative, and fall from batch to batch. Within one instance, the order of ids
  is the order of delivery.
* Payloads come back byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from bide.model.batch import (
    AuditEntry,
    Batch,
    Message,
    RemoteVerdict,
    RequestKey,
    ScheduledActivity,
    Snapshot,
    TaskKey,
    Timer,
)
from bide.model.clock import SECOND, Timestamp
from bide.model.history import Step
from bide.model.instance import Instance, RuntimeStatus, Wait
from bide.model.presence import Presence
from bide.model.query import FailureCursor, InstanceCursor, InstanceFilter, TimerCursor, WaitCursor, WaitFilter

BEFORE_ALL = -(1 << 63)
"""Below all ids in the inbox, and before all instants: where reading begins."""

LONGEST_LEASE: int = 120 * SECOND
"""A lease that ends later than so long after now was taken before the clock was set back: it holds nobody off."""


class Store(Protocol):
    """A task hub's memory."""

    @property
    def shared(self) -> bool:
        """Whether other workers may use it at the same time."""
        ...

    async def open(self) -> None:
        """Make the store ready: create or migrate its tables.

        Raises `StoreInUseError` if it admits one process only and another has it, `SchemaTooNewError` if a newer
        Bide wrote it.
        """
        ...

    async def close(self) -> None:
        """Let go of files and connections. Leases stay until `release` or their end."""
        ...

    async def secret(self) -> bytes:
        """The hub's secret: 32 random bytes, the same for all its workers, made when first asked for.

        Tokens are signed with it, and codes derived from it. Raises `StoreError` if what is there is no secret.
        """
        ...

    # --- ownership

    async def acquire(
        self,
        owner: str,
        now: Timestamp,
        lease_until: Timestamp,
        at_most: int,
        lacking: Collection[str] = (),
        having: Collection[str] = (),
    ) -> dict[int, int]:
        """Take up to `at_most` partitions whose lease nobody holds, ended before `now`, or ends later than
        `LONGEST_LEASE` after it; but none that is wanted for one of the orchestrators `lacking`. Those that are
        wanted for one of the orchestrators `having` are taken besides, however many they are.

        Returns each with its new epoch, which is higher than any before. What an earlier owner commits from now
        on is refused. Partitions that `owner` holds already are not returned again.
        """
        ...

    async def cut_off(self, partitions: Collection[int]) -> set[int]:
        """Those of these owned partitions that their last owner did not release: it was killed, or lost them."""
        ...

    async def renew(
        self, owner: str, epochs: Mapping[int, int], now: Timestamp, lease_until: Timestamp
    ) -> set[int]:
        """Prolong the leases still held under these epochs. Returns those partitions; the others are lost."""
        ...

    async def release(self, owner: str, epochs: Mapping[int, int], wanted: Mapping[int, str] | None = None) -> None:
        """Give the leases back, so that another worker can take them at once.

        `wanted` says for which orchestrator, in lower case, partitions are wanted from now on: whoever takes them
        should have it.
        """
        ...

    async def wanted(self, partitions: Collection[int]) -> dict[int, str]:
        """Those of the partitions that are wanted for an orchestrator, and for which."""
        ...

    def listen(self, owner: str, mail: Callable[[], None], free: Callable[[], None]) -> None:
        """From now on, until `close`, call `mail` when something comes for this worker (into the inbox, or a
        verdict), and `free` when partitions are released.

        These are hints: they may be lost, or come for nothing.
        """
        ...

    # --- stepping

    async def load(self, instance_ids: Iterable[str]) -> dict[str, Snapshot]:
        """The rows and present histories of these instances; those that do not exist are absent."""
        ...

    async def requests(
        self, keys: Collection[tuple[str, str]], now: Timestamp
    ) -> dict[tuple[str, str], RequestKey]:
        """Those of these requests, by (instance id, key), that are remembered at `now`."""
        ...

    async def commit(self, batch: Batch) -> list[int]:
        """Write the batch. Returns the ids of the messages put into the inbox: those of `batch.returned`, which are
        lower than all others, then those of `batch.inbox`. Raises `LeaseLostError`.

        Requests whose time has passed at `batch.at` are deleted on the way, some with each commit.
        """
        ...

    # --- work that waits for its owner

    async def send(self, messages: Sequence[Message]) -> list[int]:
        """Put messages, with all they say, into the inbox for whoever owns their instances. Returns their ids."""
        ...

    async def verdicts(self, worker: str) -> list[RemoteVerdict]:
        """Take out what became of the messages that this worker sent. Each verdict is given once."""
        ...

    async def inbox(self, partitions: Collection[int], after: int, limit: int) -> list[Message]:
        """Messages for these partitions with an id above `after`, in the order of ids."""
        ...

    async def timers(
        self, partitions: Collection[int], until: Timestamp, after: Timestamp = BEFORE_ALL
    ) -> list[Timer]:
        """Open timers due later than `after`, and at `until` or before, earliest first."""
        ...

    async def activities(self, partitions: Collection[int]) -> list[ScheduledActivity]:
        """Activities that are scheduled and not recorded, oldest first, with who holds their instances."""
        ...

    async def reruns(self, partitions: Collection[int]) -> dict[TaskKey, int]:
        """What had begun to run again after a cut-off and has not come to an end, and how often it had."""
        ...

    # --- reading

    async def instance(self, instance_id: str) -> Instance | None:
        """The instance's row."""
        ...

    async def rows(self, instance_ids: Collection[str]) -> list[Instance]:
        """The rows of those instances that exist."""
        ...

    async def history(self, instance_id: str) -> list[Step]:
        """The steps of the instance's present generation."""
        ...

    async def waits(self, instance_id: str) -> list[Wait]:
        """The instance's open waits, oldest first (G9)."""
        ...

    # --- lists: none of these holds up a commit, however many rows there are

    async def instances(self, where: InstanceFilter, after: InstanceCursor | None, limit: int) -> list[Instance]:
        """Up to `limit` instances that come after the cursor, newest first, then by id downwards."""
        ...

    async def counts(self, where: InstanceFilter) -> dict[RuntimeStatus, int]:
        """How many instances there are of each status that occurs."""
        ...

    async def open_waits(self, where: WaitFilter, after: WaitCursor | None, limit: int) -> list[Wait]:
        """Up to `limit` open waits that come after the cursor: by deadline, those without one last (G9)."""
        ...

    async def ended(
        self, partitions: Collection[int], before: Timestamp, after: InstanceCursor | None, limit: int
    ) -> tuple[list[str], InstanceCursor | None]:
        """Ids of up to `limit` instances of these partitions that ended before that instant, and where to go on.

        It looks at some instances, in the order in which they were made, beginning after the cursor; so there may
        be fewer than `limit` though others follow. None: nobody follows.
        """
        ...

    async def failures(self, since: Timestamp, after: FailureCursor | None, limit: int) -> list[Instance]:
        """Up to `limit` instances that failed at `since` or later and come after the cursor, the last one first."""
        ...

    async def open_timers(self, due_before: Timestamp, after: TimerCursor | None, limit: int) -> list[Timer]:
        """Up to `limit` open timers due before that instant that come after the cursor, the next one first.

        They have their `orchestrator`.
        """
        ...

    async def audit(self, instance_id: str | None, before: int | None, limit: int) -> list[AuditEntry]:
        """Up to `limit` entries with an id below `before`, newest first: an instance's, or (None) all."""
        ...

    async def note(self, entry: AuditEntry) -> None:
        """Keep an entry about the hub."""
        ...

    # --- who works

    async def announce(self, presence: Presence) -> None:
        """Keep what a worker says of itself, in place of what it said before.

        The `REMEMBERED` workers that started last are kept; the others are forgotten, with verdicts for them.
        """
        ...

    async def workers(self) -> list[Presence]:
        """The workers that are remembered, the one that started last first."""
        ...
