"""What a worker is given: messages from outside, results of activities, and once-activities that are to begin."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import TypeAlias

from bide.engine.health import AWAY, StoreHealth
from bide.errors import BusyError, CommitUnknownError, LeaseLostError, StoreUnavailableError
from bide.model.batch import Message, Reply, ScheduledActivity, TaskKey
from bide.model.history import OrchestratorCompleted, TaskCompleted, TaskFailed
from bide.model.instance import partition_of

Entry: TypeAlias = tuple[Message, Reply | None]
"""A message, and who waits to hear what becomes of it."""
Start: TypeAlias = tuple[ScheduledActivity, Reply]
"""A once-activity that is to be marked as started, and who waits for that."""


class Intake:
    """A queue. `wake_up` is called when something comes."""

    def __init__(self, health: StoreHealth, most: int, wake_up: Callable[[], None]) -> None:
        """`most` is how many messages may wait; beyond that, senders are told to try again."""
        self._health = health
        self._most = most
        self._wake_up = wake_up
        self.entries: deque[Entry] = deque()
        self.starting: list[Start] = []
        self.refusing = False
        """Whether no more messages are taken from outside."""

    def submit(self, message: Message, reply: Reply, queued: int) -> None:
        """Take a message from outside, with so many in the queue.

        Raises `BusyError` if there is too much to do already, `StoreUnavailableError` while the store fails.
        """
        if self.refusing or queued >= self._most:
            raise BusyError
        if self._health.away or self._health.overdue:
            raise StoreUnavailableError(AWAY)
        self.entries.append((message, reply))
        self._wake_up()

    def post(self, message: Message) -> None:
        """Take an activity's result."""
        self.entries.append((message, None))
        self._wake_up()

    def claim(self, activity: ScheduledActivity, reply: Reply) -> None:
        """Mark a once-activity as started. `reply` hears when that is durable."""
        self.starting.append((activity, reply))
        self._wake_up()

    def take(self, most: int) -> list[Entry]:
        """Take out the first messages."""
        entries = self.entries
        return [entries.popleft() for _ in range(min(len(entries), most))]

    def take_starting(self) -> list[Start]:
        """Take out the once-activities."""
        starting, self.starting = self.starting, []
        return starting

    @property
    def results(self) -> set[TaskKey]:
        """The activities whose results are here."""
        return {key for message, _ in self.entries if (key := result_key(message)) is not None}

    # --- when something has gone wrong

    def void_claims(self, partitions: Collection[int]) -> None:
        """Another worker may have owned these partitions, and have started what was to be marked here (G5)."""
        for activity, started in self.take_starting():
            if partition_of(activity.instance_id) in partitions:
                started(LeaseLostError("The instance may have been another worker's meanwhile."))
            else:
                self.starting.append((activity, started))

    def give_back(self, entries: Iterable[Entry], starting: Iterable[Start]) -> None:
        """What was taken out is not durable, or nobody knows. Results of activities exist only here: they stay.

        Everything else that nobody waits for came from the store, and is read again.
        """
        entries = list(entries)
        for _, started in starting:
            started(CommitUnknownError())
        for _, reply in entries:
            if reply is not None:
                reply(CommitUnknownError())
        results = [entry for entry in entries if result_key(entry[0])]
        waiting = [entry for entry in self.entries if entry[1] is not None or result_key(entry[0])]
        self.entries = deque([*results, *waiting])

    def refuse_waiting(self) -> None:
        """Nobody is kept waiting for what may take hours."""
        entries, self.entries = self.entries, deque()
        for message, reply in entries:
            if reply is None:
                self.entries.append((message, reply))
            else:
                reply(StoreUnavailableError(AWAY))


def result_key(message: Message) -> TaskKey | None:
    """Which activity, or turn, a message is the result of, if it exists nowhere but in memory."""
    fact = message.fact
    if isinstance(fact, TaskCompleted | TaskFailed | OrchestratorCompleted) and not message.inbox_id:
        return (message.instance_id, message.generation or 0, fact.id, message.birth)
    return None
