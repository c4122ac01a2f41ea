"""One step of the dispatcher, while it is made: what was loaded for it, and the batch that it fills."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from bide.core.changes import Changes
from bide.core.executors import Executors
from bide.core.live import Instances, Live
from bide.core.records import Record
from bide.errors import InstanceNotFoundError, RequestError, RequestReusedError
from bide.model.batch import ACCEPTED, Batch, Message, RequestKey, Verdict, words_of
from bide.model.clock import Timestamp
from bide.model.history import Fact
from bide.model.instance import OPERATOR, UNREADABLE, partition_of
from bide.model.sealing import Sealer


class House(Record):
    """What all steps share."""

    executors: Executors
    instances: Instances
    sealer: Sealer
    code: str
    """The version of the users' code."""
    epochs: dict[int, int] = {}
    """The owned partitions, and the epoch under which each is."""
    given_up: dict[str, set[int]] = {}
    """The instances that this code is not to try again, each with the waits for which an answer is parked."""
    catching_up: set[str] = set()
    """Instances that are held no longer, and were not given yet what they were kept from: it comes first."""
    elsewhere: frozenset[str] = frozenset()
    """The orchestrators that other workers have and this one has not, by their names in lower case."""
    nowhere: frozenset[str] = frozenset()
    """Orchestrators that were looked for, and no worker has: their instances are held."""
    wanted: dict[int, str] = {}
    """Owned partitions with messages for an orchestrator that is not here, and its name in lower case."""

    @property
    def sought(self) -> frozenset[str]:
        """The orchestrators that are wanted, and of which nobody knows whether any worker has them."""
        return frozenset(self.wanted.values()) - self.elsewhere - self.nowhere

    def forget(self, partitions: Collection[int]) -> None:
        """These partitions are another worker's, or all is read anew."""

        def kept(instance_id: str) -> bool:
            return partition_of(instance_id) not in partitions

        self.given_up = {each: waits for each, waits in self.given_up.items() if kept(each)}
        self.catching_up = set(filter(kept, self.catching_up))
        self.wanted = {each: name for each, name in self.wanted.items() if each not in partitions}

    def holds(self, held_by: str) -> bool:
        """Whether what is held by that is not to be tried by this code."""
        return held_by in (OPERATOR, UNREADABLE) or (held_by != "" and held_by == self.code)


class Turn(Record):
    """The state of one step."""

    house: House
    changes: Changes
    batch: Batch
    requests: dict[tuple[str, str], RequestKey]
    """Those of the messages' requests that took effect earlier, or in this step."""
    accused: Mapping[str, str]
    """The instances whose code is not to run, and why."""

    def reach(self, live: Live) -> None:
        """The instance changes now. What changes nothing does not move its time, either."""
        live.at = max(live.at, self.batch.at)

    def record(self, live: Live, facts_json: bytes, asked: Sequence[Fact] = ()) -> None:
        """A step of an instance's history."""
        self.changes.record(live.instance, live.history_length, live.at, facts_json, asked)
        live.history_length += 1
        if live.history_length == live.long_at:
            live.long_at *= 2
            self.batch.long[live.instance.id] = live.history_length

    def change(self, live: Live, **changes: Any) -> None:
        """Change an instance's row."""
        house, batch = self.house, self.batch
        if batch.at > live.at:
            live.at = batch.at
        live.instance = changed = replace(live.instance, updated=live.at, **changes)
        if house.given_up and changed.held is None:
            house.given_up.pop(changed.id, None)
        batch.instances[changed.id] = changed
        batch.epochs[live.partition] = house.epochs[live.partition]

    def drop(self, message: Message, refusal: Verdict = ACCEPTED) -> Verdict:
        """The message goes no further."""
        self.changes.close_source(message, partition_of(message.instance_id))
        return refusal

    def keeps_back(self, instance_id: str) -> bool:
        """Whether the code of the instance is not to be told what comes now."""
        if not (self.accused or self.house.catching_up or self.batch.let_go):  # as nearly always
            return False
        return instance_id in self.accused or self.is_catching_up(instance_id)

    def is_catching_up(self, instance_id: str) -> bool:
        """Whether what the instance was kept from is to come first."""
        return instance_id in self.house.catching_up or instance_id in self.batch.let_go

    def is_elsewhere(self, live: Live) -> bool:
        """Whether the instance waits for a worker that has its orchestrator."""
        wanted = live.partition in self.batch.wanted or live.partition in self.house.wanted
        return wanted and live.instance.name.casefold() not in self.house.executors.names

    # --- requests and those who made them

    def tell_sender(self, message: Message, verdict: Verdict, *, repeated: bool = False) -> None:
        """Note who asked, and what became of it, where that is wanted."""
        if message.audit is not None:
            self.changes.audit(message, message.audit, verdict, repeated=repeated)
        if message.reply_to:
            self.changes.reply(message, verdict)

    def earlier(self, instance_id: str, request: RequestKey) -> RequestKey | None:
        """The request that has the key. One that was refused has not used it up."""
        earlier = self.requests.get((instance_id, request.key))
        return earlier if earlier and (not earlier.error or earlier.digest == request.digest) else None

    def remember(self, instance_id: str, request: RequestKey, verdict: Verdict) -> None:
        """A repetition is to be told the same. What found no instance was told nothing by any."""
        if isinstance(verdict, InstanceNotFoundError):
            return
        if verdict is not ACCEPTED:
            error, text, path = words_of(verdict)
            request = replace(request, error=error, text=text, path=path)
        self.requests[instance_id, request.key] = request
        self.batch.requests[instance_id, request.key] = request

    def forget_requests(self, instance_id: str, *, outliving: bool) -> None:
        """The instance is deleted, and with it those of its requests that do not outlive it, or all."""
        self.requests = {
            key: request
            for key, request in self.requests.items()
            if key[0] != instance_id or (request.outlives and not outliving)
        }


def told_before(earlier: RequestKey, request: RequestKey) -> Verdict:
    """What a request is told whose key was used before."""
    if earlier.digest != request.digest:
        return RequestReusedError()
    told = earlier.verdict
    return told if isinstance(told, RequestError) else ACCEPTED


def begun(
    house: House,
    now: Timestamp,
    requests: Mapping[tuple[str, str], RequestKey] | None = None,
    accused: Mapping[str, str] | None = None,
) -> Turn:
    """A new step."""
    changes = Changes(now, house.epochs, house.sealer)
    return Turn(house, changes, changes.batch, dict(requests or {}), accused or {})
