"""What one commit carries: everything that changed in one step of a partition, as rows.

A batch is one transaction. What must happen outside *after* it is durable (run these activities, hand over
these messages, tell these callers) is read from the same lists, so the two cannot disagree.

Rows and facts refer to nothing that refers back to them, so the search for cycles passes them by (`gc=False`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Generic, TypeAlias, TypeVar

from msgspec import Raw, Struct

from bide.errors import BideError, MisfitError, error_named
from bide.model.clock import Timestamp, to_datetime
from bide.model.history import Fact, Step
from bide.model.instance import Instance, Reuse, Wait

TaskKey: TypeAlias = tuple[str, int, int, str]
"""(instance id, generation, task id, birth): one activity call, for ever."""
TimerKey: TypeAlias = tuple[str, int, int, str, Timestamp]
"""(instance id, generation, task id, birth, due): one timer, for ever."""
WaitKey: TypeAlias = tuple[str, int]
"""(instance id, id of the wait)."""
Key = TypeVar("Key", bound=Hashable)
Row = TypeVar("Row")


Verdict: TypeAlias = BideError | None
"""What a message's sender is told: why it was refused, or None (`ACCEPTED`)."""

ACCEPTED: Verdict = None

Reply: TypeAlias = Callable[[Verdict], None]
"""Tells a sender what became of its message: None once it is durable, else the error."""


class Audit(Struct, frozen=True, gc=False):
    """Who asks for what, as the audit keeps it.

    `caller` is the name of a key; `address` is where the call came from.
    """

    verb: str
    caller: str
    address: str
    reason: str = ""


class AuditEntry(Struct, frozen=True, gc=False):
    """One management call and what became of it.

    `result` is `accepted`, `repeated`, `discarded` (an event that was accepted before anybody waited, and did not
    fit the wait that came), or the name of the error that refused it. Without an `instance_id`, the call
    was about the hub. `id` counts up, and is 0 before the entry is stored.
    """

    time: Timestamp
    verb: str
    caller: str
    address: str
    reason: str = ""
    result: str = "accepted"
    instance_id: str = ""
    id: int = 0

    @property
    def at(self) -> datetime:
        """When it was called, in UTC. `time` is the same in microseconds."""
        return to_datetime(self.time)


class RequestKey(Struct, frozen=True, gc=False):
    """Names one request to an instance, so that it takes effect once however often it is sent (G2).

    The same key with another `digest` is another request, and is refused. The key is remembered until `expires_at`,
    and for as long as the instance exists. One that `outlives` the instance is remembered also when that is
    replaced: a start that replaced it must not do so twice.

    With it is remembered what the first of them was told, if that was a refusal: the name of the `error`, its
    `text` and `path`. A refusal does not use the key up: another request may come under it.
    """

    key: str
    digest: bytes
    expires_at: Timestamp
    outlives: bool = False
    error: str = ""
    text: str = ""
    path: str = ""

    @property
    def verdict(self) -> Verdict:
        """What the request was told. None: it was accepted."""
        return error_named(self.error, self.text, self.path) if self.error else None


class Message(Struct, frozen=True, gc=False):
    """A fact on its way to an instance.

    `generation` is set where the fact answers a request of that generation, and is None for what comes from
    outside. `birth` is set where the fact is for that instance only, and for no other that has its id later: an
    answer to a request, what was accepted before, and what comes by a link or token. `inbox_id` is the row that
    holds the message until its step is committed; 0: it has none.

    For `ExecutionStarted` only: `fresh` says that the id was just made, so no instance can have it; `restart`
    that a finished instance of that id is to begin again; `reuse` what becomes of the one that has the id (None:
    the same start once more is a repetition).

    `request` makes it safe to send the message again; `audit` has it recorded with what became of it. `reply_to`
    names the worker that took the message for an instance of another one's, and waits for the verdict.
    """

    instance_id: str
    fact: Fact
    generation: int | None = None
    inbox_id: int = 0
    fresh: bool = False
    restart: bool = False
    request: RequestKey | None = None
    audit: Audit | None = None
    reply_to: str = ""
    birth: str = ""
    reuse: Reuse | None = None

    @property
    def goes_with(self) -> str:
        """The birth of the instance with which it is deleted. Empty: with none, because somebody waits to hear what
        becomes of it, or it is for whichever instance has the id."""
        return "" if self.reply_to else self.birth

    @property
    def accepted(self) -> bool:
        """True if it is in the inbox because it was accepted, and not to be judged."""
        return bool(self.inbox_id) and not self.reply_to


def words_of(verdict: Verdict) -> tuple[str, str, str]:
    """A verdict as it is kept: the name of the error, its text, and where in the data the fault is."""
    if verdict is None:
        return "", "", ""
    return type(verdict).__name__, str(verdict), verdict.path if isinstance(verdict, MisfitError) else ""


class RemoteVerdict(Struct, frozen=True, gc=False):
    """What became of a message that `worker` left in the inbox for another one. No `error`: it was accepted."""

    worker: str
    inbox_id: int
    error: str = ""
    """The name of the error that refused it."""
    text: str = ""
    path: str = ""

    @property
    def verdict(self) -> Verdict:
        return error_named(self.error, self.text, self.path) if self.error else None


class Snapshot(Struct, frozen=True, gc=False):
    """An instance as the store has it: its row, and the history of its present generation."""

    instance: Instance
    history: list[Step]


class Loaded(Struct, frozen=True):
    """What the store has of the instances and requests that a step is about."""

    snapshots: Mapping[str, Snapshot] = {}
    requests: Mapping[tuple[str, str], RequestKey] = {}


class ScheduledActivity(Struct, frozen=True, gc=False):
    """An activity that is scheduled and not yet recorded.

    `call_id` is the task id of its first attempt. `started` is set, durably, before the body of a once-activity
    runs. `held_by` is its instance's; only reading fills it in.
    """

    instance_id: str
    generation: int
    task_id: int
    name: str
    input_json: Raw
    attempt: int
    call_id: int
    scheduled_at: Timestamp
    started: bool = False
    birth: str = ""
    held_by: str = ""

    @property
    def key(self) -> TaskKey:
        return (self.instance_id, self.generation, self.task_id, self.birth)

    @property
    def idempotency_key(self) -> str:
        """The same for all attempts, and for no other call."""
        return f"{self.instance_id}/{self.birth}/{self.generation}/{self.call_id}"


class Timer(Struct, frozen=True, gc=False):
    """An open timer. `orchestrator` is the name of the instance's function; only lists fill it in."""

    instance_id: str
    generation: int
    task_id: int
    fire_at: Timestamp
    birth: str = ""
    orchestrator: str = ""

    @property
    def key(self) -> TimerKey:
        return (self.instance_id, self.generation, self.task_id, self.birth, self.fire_at)


class HistoryRow(Struct, gc=False):
    """One step of one instance; `facts_json` is the array of its facts."""

    instance_id: str
    generation: int
    seq: int
    at: Timestamp
    facts_json: bytes


class Table(Struct, Generic[Key, Row]):
    """What one step does to rows of one kind: first those of the keys in `closed` go, then those in `put` come."""

    put: dict[Key, Row] = {}
    closed: list[Key] = []

    def open(self, key: Key, row: Row) -> None:
        """A new row."""
        self.put[key] = row

    def close(self, key: Key) -> None:
        """The row goes. One that came in the same step never reaches the database."""
        if self.put.pop(key, None) is None:
            self.closed.append(key)

    def __bool__(self) -> bool:
        return bool(self.put or self.closed)


@dataclass(slots=True)
class Batch:
    """All changes of one step. Nothing in it is in the database before its commit, and all of it after."""

    at: Timestamp
    epochs: dict[int, int] = field(default_factory=dict[int, int])
    """Partition -> the epoch under which it was stepped. The fence (G6)."""

    instances: dict[str, Instance] = field(default_factory=dict[str, Instance])
    """New and changed rows, as they are after this step."""
    history: list[HistoryRow] = field(default_factory=list[HistoryRow])
    """New steps, in their order. Each comes with the row of its instance: a step changes that, too."""
    forgotten: dict[str, int] = field(default_factory=dict[str, int])
    """Instance id -> generation: the history of all earlier generations is deleted."""
    undone: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Instance id -> (generation, seq): these steps and later ones are deleted, before `history` is written."""
    purged: list[str] = field(default_factory=list[str])
    """Instances that are deleted with all their rows, before anything else of this batch is written. The same
    id may begin anew in this batch."""
    replaced: dict[str, Instance] = field(default_factory=dict[str, Instance])
    """Instances that make way for others of their ids, as they were last. They are deleted like `purged` ones, but
    their audit stays, and requests that outlive them."""

    activities: Table[TaskKey, ScheduledActivity] = field(default_factory=Table[TaskKey, ScheduledActivity])
    activities_started: list[ScheduledActivity] = field(default_factory=list[ScheduledActivity])
    cleared: list[str] = field(default_factory=list[str])
    """Instances that end though nobody can read what they waited for: all their activities, timers and waits go."""
    reruns: Table[TaskKey, int] = field(default_factory=Table[TaskKey, int])
    """What is about to run again after a cut-off, and how often it will have (see `engine.reruns`)."""
    timers: Table[TimerKey, Timer] = field(default_factory=Table[TimerKey, Timer])
    waits: Table[WaitKey, Wait] = field(default_factory=Table[WaitKey, Wait])
    deadlines: dict[WaitKey, Timestamp | None] = field(default_factory=dict[WaitKey, Timestamp | None])
    """Until when waits of earlier steps are open now."""
    returned: list[Message] = field(default_factory=list[Message])
    """Messages of instances between two generations: they come before all that is in the inbox."""
    inbox: list[Message] = field(default_factory=list[Message])
    """Messages on their way to an instance; they are handed over when the batch is durable."""
    parked: list[Message] = field(default_factory=list[Message])
    """Messages that a held instance cannot take yet; they stay in the inbox (G7)."""
    inbox_kept: list[Message] = field(default_factory=list[Message])
    """Messages of the inbox that were judged, and stay in their place until their instance is held no more."""
    inbox_closed: list[int] = field(default_factory=list[int])

    requests: dict[tuple[str, str], RequestKey] = field(default_factory=dict[tuple[str, str], RequestKey])
    """(instance id, key) -> the request that took effect, to be remembered."""
    audit: list[AuditEntry] = field(default_factory=list[AuditEntry])

    remote_verdicts: list[RemoteVerdict] = field(default_factory=list[RemoteVerdict])
    """What other workers wait to hear of the messages that they put into the inbox."""

    verdicts: list[Verdict] = field(default_factory=list[Verdict])
    """One for each message of the step, in order."""
    answered: list[int] = field(default_factory=list[int])
    """How long each wait that was answered in this step had been open, in microseconds."""
    fired: list[Timestamp] = field(default_factory=list[Timestamp])
    """When the timers were due that fired in this step."""
    long: dict[str, int] = field(default_factory=dict[str, int])
    """The instances whose history has become long in this step, and how many steps it has, to be reported."""
    unawaited: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """What the orchestrators that ended in this step never looked at, in sentences, to be reported."""
    held: list[Instance] = field(default_factory=list[Instance])
    """The instances that this step put on hold, to be reported."""
    wanted: dict[int, str] = field(default_factory=dict[int, str])
    """Partitions that another worker is to have, for the orchestrator of that name."""
    let_go: list[str] = field(default_factory=list[str])
    """The instances that are held no longer because somebody resumed them: what they were kept from is due now."""

    @property
    def empty(self) -> bool:
        """True if there is nothing to write."""
        return not any(getattr(self, rows) for rows in _ROWS)


_TOLD = ("at", "epochs", "verdicts", "answered", "fired", "long", "unawaited", "held", "wanted", "let_go")
"""What a batch says beside its rows."""
_ROWS = tuple(each.name for each in fields(Batch) if each.name not in _TOLD)
