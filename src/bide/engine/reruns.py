"""What runs again after a worker was cut off, and which of it ends processes.

A body that ends its process (a crash in a C library, too much memory, `os._exit`) runs again as soon as the next
worker has its partition, and so does the step of an orchestrator that does so. Without a count, one instance would
keep a whole hub down for ever.

So what is about to run again after a worker was killed is noted before, durably, and the note goes when it has come
to an end. What is found with a note is a suspect: suspects wait until the process has lived for a while without
them, and then run one by one, so that only the one that runs is under suspicion when the process ends again. If it
does so twice, the instance is held, and says why.

Most processes are killed from outside, again and again where a machine is short of something, and whatever runs
meanwhile is innocent. That is what the waiting is for: who ends processes does so whenever it runs, and a process
that ends while suspects only wait was not ended by them, so they are suspects no longer and run at once. A worker
that ends in order leaves no suspicion, and what has gone on for a minute is cleared of it. Other code begins with
no note.

Nothing is noted, and nothing costs anything, where the worker before was not killed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping

from bide.model.batch import Batch, Message, ScheduledActivity, TaskKey
from bide.model.clock import SECOND, Timestamp
from bide.model.history import TimerFired
from bide.model.instance import partition_of
from bide.model.query import NEVER

MOST_STEPS = 5
"""So many processes may end while a step is made; then its instance is held. A step takes no time, but what was
noted is stepped one by one right after a start, so a kill from outside that comes then hits one of them."""
MOST_RUNS = 4
"""The same for activities, of which most only wait for somebody when they are killed."""
APART: int = 30 * SECOND
"""How long a process lives before a suspect runs in it, and so much longer each further time."""
ALONE: int = 10 * SECOND
"""How long a suspect runs before the next one begins."""
CLEARED: int = 60 * SECOND
"""How long what runs again must have run to be above suspicion."""
WARY: int = 10 * SECOND
"""How long after a worker was cut off the steps of its instances are noted before they are made."""

_INBOX = -1
"""The task id under which messages of the inbox are noted."""


def message_key(message: Message) -> TaskKey | None:
    """Under what the step that takes a message is noted. None: the message is not repeated by us after a crash.

    What comes from outside is not; and an activity whose result makes its orchestrator end the process is noted
    itself.
    """
    if message.inbox_id:
        return (message.instance_id, 0, _INBOX, str(message.inbox_id))
    if isinstance(message.fact, TimerFired):
        return (message.instance_id, message.generation or 0, message.fact.id, message.birth)
    return None


def close_notes(batch: Batch, keys: Collection[TaskKey], epochs: Mapping[int, int]) -> None:
    """These notes go with this batch."""
    batch.reruns.closed += keys
    for key in keys:
        batch.epochs[partition_of(key[0])] = epochs[partition_of(key[0])]


def _ended(noted: int, was_cut_off: bool, explained: bool) -> int:
    """While how many repetitions of it a process ended, so far as it may have been its doing.

    Args:
        noted: Its note.
        was_cut_off: Whether the process that left the note was killed.
        explained: Whether anything that had a note was running then.
    """
    if noted < 0:
        return 0 if was_cut_off and not explained else -noted
    return noted if was_cut_off else max(0, noted - 1)


class Reruns:
    """Decides; the worker writes and runs."""

    def __init__(self) -> None:
        self._times: dict[TaskKey, int] = {}
        """As the store has them: the number of the run under way, or less than 0: after so many it waits."""
        self._wary: dict[int, Timestamp] = {}
        """Partitions whose owner was cut off -> until when their steps are noted."""
        self._suspects: deque[tuple[ScheduledActivity, int]] = deque()
        """With what is to be noted before they run."""
        self._alone: TaskKey | None = None
        self._next_from: Timestamp = 0
        """When the next suspect may run."""
        self._clear_at: dict[TaskKey, Timestamp] = {}

    # --- taking over

    def clear(self) -> None:
        """Forget all of it: partitions are taken anew."""
        self._times.clear()
        self._wary.clear()
        self._suspects.clear()
        self._clear_at.clear()
        self._alone, self._next_from = None, 0

    def take(self, times: Mapping[TaskKey, int], cut_off: Iterable[int], now: Timestamp) -> None:
        """What the store says of partitions that were taken."""
        self._times.update(times)
        self._wary.update(dict.fromkeys(cut_off, now + WARY))

    def forget(self, partitions: Collection[int]) -> None:
        """These partitions are not this worker's any more."""
        gone = [key for key in self._times if partition_of(key[0]) in partitions]
        self.ended(gone)
        self._suspects = deque(
            each for each in self._suspects if partition_of(each[0].instance_id) not in partitions
        )
        self._wary = {each: until for each, until in self._wary.items() if each not in partitions}

    def set_back(self, now: Timestamp) -> None:
        """The clock was set back to this: nothing takes longer because of it."""
        self._wary = {each: min(until, now + WARY) for each, until in self._wary.items()}
        self._next_from = min(self._next_from, now + (APART * MOST_RUNS if self._alone is None else ALONE))
        self._clear_at = {key: min(at, now + CLEARED) for key, at in self._clear_at.items()}

    def noted(self, times: Mapping[TaskKey, int]) -> None:
        """These notes are durable."""
        self._times.update(times)

    def ended(self, keys: Iterable[TaskKey]) -> None:
        """These have come to an end, or their notes have gone: durably."""
        for key in keys:
            self._times.pop(key, None)
            self._clear_at.pop(key, None)
            if key == self._alone:
                self._alone, self._next_from = None, 0

    def closed_by(self, batch: Batch) -> list[TaskKey]:
        """The notes of activities that come to an end with this batch, and of instances that somebody resumed."""
        if not self._times:
            return []
        let_go = set(batch.let_go)
        return [key for key in self._times if key[0] in let_go] + [
            key for key in batch.activities.closed if key in self._times and key[0] not in let_go
        ]

    # --- activities

    def sort(
        self, activities: Iterable[ScheduledActivity], cut_off: Collection[int], now: Timestamp
    ) -> tuple[list[ScheduledActivity], dict[TaskKey, int], list[ScheduledActivity]]:
        """Divide what was found with partitions that were taken. Suspects are kept here, to run one by one.

        Returns what may run at once, what is to be noted before, and what has ended too many processes.
        """
        free: list[ScheduledActivity] = []
        notes: dict[TaskKey, int] = {}
        accused: list[ScheduledActivity] = []
        explained = any(times > 0 for key, times in self._times.items() if partition_of(key[0]) in cut_off)
        for activity in activities:
            noted = self._times.get(activity.key, 0)
            was_cut_off = partition_of(activity.instance_id) in cut_off
            ended = _ended(noted, was_cut_off, explained)
            if ended + 1 >= MOST_RUNS:
                accused.append(activity)
            elif ended:
                self._wait(activity, ended, now)
                notes[activity.key] = -ended
            else:
                free.append(activity)
                if was_cut_off or noted:
                    notes[activity.key] = 1
                    self._clear_at[activity.key] = now + CLEARED
        return free, notes, accused

    def _wait(self, activity: ScheduledActivity, ended: int, now: Timestamp) -> None:
        if self._alone is None:
            self._next_from = max(self._next_from, now + APART * ended)
        self._suspects.append((activity, ended + 1))

    @property
    def waiting(self) -> list[ScheduledActivity]:
        """The suspects, in the order in which they will run."""
        return [activity for activity, _ in self._suspects]

    def next_suspect(self, now: Timestamp) -> tuple[ScheduledActivity, int] | None:
        """Who may run now, and how often it will have run again; to be noted before."""
        if not self._suspects or now < self._next_from:
            return None
        activity, times = self._suspects.popleft()
        self._alone, self._next_from = activity.key, now + ALONE
        self._clear_at[activity.key] = now + CLEARED
        return activity, times

    def drop(self, keys: Iterable[TaskKey]) -> None:
        """Nobody waits for these any more."""
        if self._suspects:
            gone = set(keys)
            self._suspects = deque(each for each in self._suspects if each[0].key not in gone)

    def cleared(self, now: Timestamp) -> list[TaskKey]:
        """What has run for so long that it is above suspicion; the notes can go."""
        return [key for key, at in self._clear_at.items() if at <= now]

    @property
    def next_at(self) -> Timestamp:
        """When there will be something to do here."""
        clear_at = min(self._clear_at.values(), default=NEVER)
        if not self._suspects:
            return clear_at
        return min(clear_at, self._next_from)

    # --- steps

    def wary_of(self, messages: Iterable[Message], now: Timestamp) -> dict[TaskKey, int]:
        """The messages whose steps are to be noted before they are made, and how often each was noted already."""
        if not self._wary:
            return {}
        self._wary = {each: until for each, until in self._wary.items() if now < until}
        found: dict[TaskKey, int] = {}
        for message in messages:
            key = message_key(message)
            if key is not None and partition_of(message.instance_id) in self._wary:
                found[key] = self._times.get(key, 0)
        return found
