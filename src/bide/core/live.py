"""The instances in memory, the least recently used of which make way for others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from bide.core.executors import Executor, Executors
from bide.core.openwork import OpenWork
from bide.core.records import Record
from bide.model.batch import Message, Snapshot
from bide.model.clock import Timestamp
from bide.model.history import Step, Unreadable
from bide.model.instance import Instance, partition_of


class Live(Record):
    """An instance in memory. Without `executor` it is not replayed yet, held, or has ended."""

    instance: Instance
    partition: int
    long_at: int
    """The length at which its history is long."""
    at: Timestamp
    """The instant of its present step, or its last. Time never goes back for it, whatever the clock shows."""
    executors: Executors
    history_length: int = 0
    snapshot: Snapshot | None = None
    executor: Executor | None = None
    _work: OpenWork | None = None

    @property
    def work(self) -> OpenWork:
        """What the instance waits for, found without running its code."""
        if self._work is None:
            self._work = self.executors.open_work(self.instance, self.history)
        return self._work

    @property
    def history(self) -> list[Step]:
        """As it was loaded; empty once the code goes on from there."""
        return self.snapshot.history if self.snapshot else []

    @property
    def readable(self) -> bool:
        """Whether all is known of what was loaded: what it waits for."""
        return not any(isinstance(fact, Unreadable) for step in self.history for fact in step.facts)

    def run_by(self, executor: Executor | None, work: OpenWork | None) -> None:
        """`work` is what the executor has asked for; None: nothing."""
        self.executor = executor
        self._work = work
        self.snapshot = None

    def drop_code(self) -> None:
        """Let go of the code, and not of what it waits for."""
        executor = self.executor
        if executor is not None:
            self.run_by(None, executor.work)
            executor.close()


class Instances:
    """Those in memory, by their ids, the most recently used last."""

    def __init__(self, executors: Executors, max_live: int, long_history: int) -> None:
        self._executors = executors
        self._max_live = max_live
        self._long_history = long_history
        self._live: dict[str, Live] = {}

    def __len__(self) -> int:
        return len(self._live)

    def missing(self, messages: Iterable[Message]) -> set[str]:
        """The ids of the instances that must be loaded before these messages can be stepped."""
        return {message.instance_id for message in messages if not message.fresh} - self._live.keys()

    def peek(self, instance_id: str) -> Live | None:
        """An instance, without its use."""
        return self._live.get(instance_id)

    def use(self, instance_id: str) -> Live | None:
        """An instance that is used now."""
        live = self._live.pop(instance_id, None)
        if live is not None:
            self._live[instance_id] = live
        return live

    def bear(self, instance: Instance) -> Live:
        """A new one."""
        live = Live(instance, partition_of(instance.id), self._long_history, instance.updated, self._executors)
        self._live[instance.id] = live
        return live

    def load(self, snapshots: Mapping[str, Snapshot]) -> None:
        """Those that the store has."""
        for instance_id, snapshot in snapshots.items():
            self._live[instance_id] = self.loaded(snapshot)

    def loaded(self, snapshot: Snapshot) -> Live:
        """One that the store has, without a place here."""
        length, long_at = len(snapshot.history), self._long_history
        while long_at <= length:  # it was told of; the next time is when it has doubled
            long_at *= 2
        instance = snapshot.instance
        return Live(
            instance, partition_of(instance.id), long_at, instance.updated, self._executors, length, snapshot
        )

    def remove(self, instance_id: str) -> None:
        """It is deleted, or not as it is here."""
        live = self._live.pop(instance_id, None)
        if live is not None and live.executor is not None:
            live.executor.close()

    def forget(self, partitions: Collection[int]) -> None:
        """Drop all of these partitions."""
        for instance_id in [key for key, live in self._live.items() if live.partition in partitions]:
            self.remove(instance_id)

    def evict(self, stepped: Iterable[Message]) -> None:
        """Let go of what has no code in memory, and of the least recently used beyond the bound."""
        for message in stepped:
            live = self._live.get(message.instance_id)
            if live is not None and live.executor is None:
                del self._live[message.instance_id]
        while len(self._live) > self._max_live:
            self.remove(next(iter(self._live)))
