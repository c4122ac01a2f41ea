"""What callers read, as types: in Durable Functions' words and order, and what Bide adds.

The handlers answer with these, and the OpenAPI document is made from them.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, TypeAlias, get_args

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field
from msgspec.json import encode

from bide.access.keys import Role
from bide.model.batch import AuditEntry, Timer
from bide.model.clock import to_datetime
from bide.model.history import (
    EventRaised,
    ExecutionPurged,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionSuspended,
    ExecutionTerminated,
    Fact,
    Parent,
    Step,
)
from bide.model.instance import RuntimeStatus, Wait
from bide.model.presence import Presence
from bide.model.rules import can_happen

IDEMPOTENCY_KEY = "Idempotency-Key"
CONTINUATION = "x-ms-continuation-token"
LAST_EVENT_ID = "Last-Event-ID"
"""Headers of the API."""

Action: TypeAlias = Literal["raiseEvent", "suspend", "resume", "terminate", "rewind", "restart", "purge"]

_FACTS = (
    "The message first. Each has a `type` and its own members. In place of an `input` or `result` that is a secret "
    'stands `{"$hidden": "secret"}`.'
)
_ASKED_BY: dict[Action, type[Fact]] = {
    "raiseEvent": EventRaised,
    "suspend": ExecutionSuspended,
    "resume": ExecutionResumed,
    "terminate": ExecutionTerminated,
    "rewind": ExecutionRewound,
    "purge": ExecutionPurged,
}
"""What an action asks the engine to let happen. `restart` can always be: as another instance."""


Payload: TypeAlias = Annotated[Raw, Meta(description='Any JSON; `{"$hidden": "secret"}` in place of a secret.')]


class _Shape(Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of all answers."""


class ManagementPayload(_Shape, frozen=True, kw_only=True):
    """The URIs under which an instance is watched and managed: those that the setting `token_verbs` allows.

    `{eventName}` and `{text}` stand for what the caller fills in.
    """

    id: str
    status_query_get_uri: str
    send_event_post_uri: str | UnsetType = UNSET
    terminate_post_uri: str | UnsetType = UNSET
    purge_history_delete_uri: str | UnsetType = UNSET
    restart_post_uri: str | UnsetType = UNSET
    suspend_post_uri: str | UnsetType = UNSET
    resume_post_uri: str | UnsetType = UNSET
    rewind_post_uri: str | UnsetType = UNSET


class ParentObject(_Shape, frozen=True, kw_only=True):
    """The instance, and its task, that wait for this one as a sub-orchestration."""

    instance_id: str
    generation: int
    task_id: int


class WaitObject(_Shape, frozen=True, kw_only=True):
    """An open wait for an external event: who waits for what, since when, until when, for which answer."""

    instance_id: str
    orchestrator: str
    id: int
    """The wait's own, in the history of its instance."""
    name: str
    since: datetime
    deadline: datetime | None
    overdue: bool
    schema: Raw
    """JSON Schema of the answer."""


class StatusObject(_Shape, frozen=True, kw_only=True):
    """An instance as it is now."""

    name: str
    instance_id: str
    runtime_status: RuntimeStatus
    input: Payload
    custom_status: Payload
    output: Payload
    """The result; of a failed instance the error's text, of a terminated one the reason."""
    created_time: datetime
    last_updated_time: datetime
    history_events: tuple[dict[str, Any], ...] | UnsetType = UNSET
    allowed_actions: tuple[Action, ...]
    """What this caller may do with it now."""
    tags: dict[str, str]
    waits: tuple[WaitObject, ...] | UnsetType = UNSET
    held: str | UnsetType = UNSET
    """Why it does not go on although it has messages."""
    parent: ParentObject | UnsetType = UNSET


class KeptObject(_Shape, frozen=True):
    """An event that nobody waited for is kept. These are the names that were waited for when it came."""

    waited_for: tuple[str, ...]


class PurgeResult(_Shape, frozen=True, kw_only=True):
    """How many instances were deleted."""

    instances_deleted: Annotated[int, Meta(ge=1)]


class StepObject(_Shape, frozen=True, kw_only=True):
    """A message to an instance, and what the orchestrator asked for in answer, at one moment."""

    seq: int
    at: Annotated[int, Meta(description="Microseconds since 1970, UTC.")]
    facts: Annotated[tuple[Raw, ...], Meta(description=_FACTS)]


class HistoryObject(_Shape, frozen=True, kw_only=True):
    """The facts of an instance's present generation, one step for each message."""

    name: str
    instance_id: str
    generation: int
    steps: tuple[StepObject, ...]


class AuditObject(_Shape, frozen=True, kw_only=True):
    """One management call, and what became of it."""

    id: int
    at: datetime
    verb: str
    caller: str
    address: str
    reason: str
    result: str
    instance_id: str
    """Empty: the call was about the hub."""


class WorkerObject(_Shape, frozen=True, kw_only=True):
    """A worker: who it is, what it runs, and when it was last alive."""

    name: str
    host: str
    process: int
    started_at: datetime
    seen_at: datetime
    ended_at: datetime | None
    """When it ended in order; a worker that is not alive and has none was killed, or cut off."""
    alive: bool
    version: str
    """A digest of its functions' code."""
    orchestrators: tuple[str, ...]
    activities: tuple[str, ...]
    partitions: int
    """How many of the hub's 256 partitions it owns; the instances in them are its to step."""
    live_instances: int
    running_activities: int
    outlived_activities: int
    """Bodies of `def` activities that nobody waits for any more, but that cannot be stopped."""
    queued_messages: int


class TimerObject(_Shape, frozen=True, kw_only=True):
    """An open timer."""

    instance_id: str
    orchestrator: str
    id: int
    fire_at: datetime
    overdue: bool


class HubObject(_Shape, frozen=True, kw_only=True):
    """The hub, and who the caller is to it."""

    version: str
    """Of Bide."""
    now: datetime
    """The hub's clock."""
    caller: str
    role: Role
    open: bool
    """Whether callers on this machine need no key."""
    development: tuple[str, ...]
    """The paths of the app's routes that are there for development only."""


class ChangesObject(_Shape, frozen=True, kw_only=True):
    """How many changes there were in the hub since the event before."""

    now: datetime
    """The hub's clock."""
    changes: int


class BucketObject(_Shape, frozen=True, kw_only=True):
    """How many values were at most so large, and larger than the bucket before."""

    up_to: float
    count: int


class MinuteObject(_Shape, frozen=True, kw_only=True):
    """The values of one minute."""

    at: datetime
    count: int
    p50: float
    p95: float


class MetricObject(_Shape, frozen=True, kw_only=True):
    """How long something takes, in seconds."""

    name: Literal["scheduleToStart", "responseTime", "timerLateness"]
    count: int
    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None
    buckets: tuple[BucketObject, ...]
    minutes: tuple[MinuteObject, ...]


class EndsObject(_Shape, frozen=True, kw_only=True):
    """How many instances were started and ended in a minute."""

    at: datetime
    started: int
    completed: int
    failed: int
    terminated: int


class MetricsObject(_Shape, frozen=True, kw_only=True):
    """What this process has counted since it started."""

    since: datetime
    now: datetime
    metrics: tuple[MetricObject, ...]
    ends: tuple[EndsObject, ...]
    wrong_keys: int = 0
    """Requests with a key or token that was not valid."""


class OrchestratorObject(_Shape, frozen=True, kw_only=True):
    """An orchestrator that can be started, with the JSON Schemas of what goes in and out.

    `events` are those that its code has waited for since the process started.
    """

    name: str
    input_schema: Raw
    output_schema: Raw
    events: dict[str, Raw]


class ActivityObject(_Shape, frozen=True, kw_only=True):
    """An activity, with the JSON Schemas of what goes in and out."""

    name: str
    input_schema: Raw
    output_schema: Raw
    once: bool


class LinkObject(_Shape, frozen=True, kw_only=True):
    """A link under which a person can answer one event of one instance."""

    url: str


class Health(_Shape, frozen=True, kw_only=True):
    """Whether the process can do its work."""

    ready: bool


UNTYPED = "about:blank"


class Problem(_Shape, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request was refused (RFC 9457). `Message` is what clients of Durable Functions read."""

    type: str = UNTYPED
    """`urn:bide:` and the error's name, as Python's callers know it."""
    title: str
    status: int
    detail: str
    message: str = field(name="Message")
    exception_message: str | None = field(default=None, name="ExceptionMessage")
    """The same once more, for 400 and 500: there, clients of Durable Functions for Python read nothing else."""
    path: str | None = None
    """Where in the data the fault lies: `$` is the whole, `$.a[0]` a part."""


def parent_object(parent: Parent) -> ParentObject:
    return ParentObject(instance_id=parent.instance_id, generation=parent.generation, task_id=parent.task_id)


def actions(status: RuntimeStatus, *, held: bool = False) -> tuple[Action, ...]:
    """What may be done to an instance in that state."""
    found = _actions(status)
    return (*found, "resume") if held and "resume" not in found else found


@cache
def _actions(status: RuntimeStatus) -> tuple[Action, ...]:
    known: tuple[Action, ...] = get_args(Action)
    return tuple(each for each in known if each not in _ASKED_BY or can_happen(status, _ASKED_BY[each]))


def step_object(step: Step) -> StepObject:
    return StepObject(seq=step.seq, at=step.time, facts=tuple(Raw(encode(fact)) for fact in step.facts))


def wait_object(wait: Wait, now: int) -> WaitObject:
    return WaitObject(
        instance_id=wait.instance_id,
        orchestrator=wait.orchestrator,
        id=wait.id,
        name=wait.name,
        since=wait.since,
        deadline=wait.deadline,
        overdue=wait.due is not None and wait.due < now,
        schema=wait.schema_json,
    )


def worker_object(presence: Presence, now: int) -> WorkerObject:
    return WorkerObject(
        name=presence.name,
        host=presence.host,
        process=presence.process,
        started_at=to_datetime(presence.started_at),
        seen_at=to_datetime(presence.seen_at),
        ended_at=None if presence.ended_at is None else to_datetime(presence.ended_at),
        alive=presence.alive(now),
        version=presence.version,
        orchestrators=presence.orchestrators,
        activities=presence.activities,
        partitions=presence.partitions if presence.alive(now) else 0,
        live_instances=presence.live_instances,
        running_activities=presence.running_activities,
        outlived_activities=presence.outlived_activities,
        queued_messages=presence.queued_messages,
    )


def timer_object(timer: Timer, now: int) -> TimerObject:
    return TimerObject(
        instance_id=timer.instance_id,
        orchestrator=timer.orchestrator,
        id=timer.task_id,
        fire_at=to_datetime(timer.fire_at),
        overdue=timer.fire_at < now,
    )


def audit_object(entry: AuditEntry) -> AuditObject:
    return AuditObject(
        id=entry.id,
        at=entry.at,
        verb=entry.verb,
        caller=entry.caller,
        address=entry.address,
        reason=entry.reason,
        result=entry.result,
        instance_id=entry.instance_id,
    )
