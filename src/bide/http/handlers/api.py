"""The operations of the management API, all in one list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Raw

from bide.http.base.headers import KEY, LAST_CHANGE, LAST_STEP, Header
from bide.http.base.paging import AuditCursor
from bide.http.base.queries import (
    EventsQuery,
    FailuresQuery,
    FilterQuery,
    LinkQuery,
    ListQuery,
    PageQuery,
    PurgeQuery,
    Query,
    ReasonQuery,
    RestartQuery,
    StartQuery,
    StatusQuery,
    TerminateQuery,
    TimersQuery,
    WaitsQuery,
)
from bide.http.base.shapes import (
    ActivityObject,
    AuditObject,
    ChangesObject,
    HistoryObject,
    HubObject,
    LinkObject,
    ManagementPayload,
    MetricsObject,
    OrchestratorObject,
    Problem,
    PurgeResult,
    StatusObject,
    StepObject,
    TimerObject,
    WaitObject,
    WorkerObject,
)
from bide.http.handlers import changing, hub, overview, showing, starting
from bide.http.handlers.endpoint import Answers, Body, Endpoint, Handler, OneOf
from bide.model.instance import RuntimeStatus
from bide.model.query import FailureCursor, InstanceCursor, TimerCursor, WaitCursor

_INSTANCE = "/instances/{instanceId}"
_UNKNOWN: Answers = {404: Problem}
_CHANGED: Answers = {202: None, 404: Problem, 409: Problem, 410: Problem}
_FAILED: Answers = {500: OneOf((StatusObject, Problem))}
"""The instance has failed, and that was to be told (`OutcomeQuery`); or the server has."""
_STARTED: Answers = {200: Raw, 202: ManagementPayload, 409: Problem, 422: Problem, **_FAILED}


_SHOWN: Answers = {200: StatusObject, 202: StatusObject, **_UNKNOWN, **_FAILED}
_ENDED = {"unauthorized": Problem}
_CHANGES = {"instance": StatusObject, "reset": None, "changed": ChangesObject, **_ENDED}
_STEPS = {"step": StepObject, "end": StatusObject, **_ENDED}


def _get(path: str, verb: str, handler: Handler[Any], query: type[Query], answers: Answers) -> Endpoint[Any]:
    return Endpoint("GET", path, verb, handler, answers, query)


def _pages(
    path: str, verb: str, handler: Handler[Any], query: type[Query], shape: Any, cursor: type[tuple[Any, ...]]
) -> Endpoint[Any]:
    """A list that comes in pages."""
    return Endpoint("GET", path, verb, handler, {200: tuple[shape, ...]}, query, cursor=cursor)


def _stream(
    path: str,
    handler: Handler[Any],
    answers: Answers,
    query: type[Query],
    events: Mapping[str, Any],
    seen: Header,
) -> Endpoint[Any]:
    """Events as they happen: for each kind, the type of its data."""
    return Endpoint("GET", path, "events", handler, {200: str, **answers}, query, headers=(seen,), events=events)


def _post(path: str, handler: Handler[Any], query: type[Query] = ReasonQuery) -> Endpoint[Any]:
    """A verb on an instance, named by the last part of its path."""
    return Endpoint("POST", f"{_INSTANCE}/{path}", path, handler, _CHANGED, query)


def _start(path: str) -> Endpoint[Any]:
    body: Body = "input"
    return Endpoint("POST", path, "start", starting.start, _STARTED, StartQuery, body, (KEY,))


STARTERS = (
    _start("/orchestrators/{functionName}"),
    _start("/orchestrators/{functionName}/{newInstanceId}"),
)
"""Also served without a prefix and under /api, as the sample app's own function is."""

MANAGEMENT = (
    _get("/orchestrators", "orchestrators", hub.orchestrators, Query, {200: tuple[OrchestratorObject, ...]}),
    _get("/activities", "activities", hub.activities, Query, {200: tuple[ActivityObject, ...]}),
    _get("/hub", "hub", overview.hub, Query, {200: HubObject}),
    _get("/metrics", "metrics", overview.metrics, Query, {200: MetricsObject}),
    _pages("/instances", "list", hub.instances, ListQuery, StatusObject, InstanceCursor),
    Endpoint("DELETE", "/instances", "purge", hub.purge, {200: PurgeResult, 404: Problem}, PurgeQuery),
    _get("/counts", "counts", hub.counts, FilterQuery, {200: dict[RuntimeStatus, int]}),
    _pages("/waits", "waits", hub.waits, WaitsQuery, WaitObject, WaitCursor),
    _pages("/timers", "timers", overview.timers, TimersQuery, TimerObject, TimerCursor),
    _pages("/failures", "failures", overview.failures, FailuresQuery, StatusObject, FailureCursor),
    _get("/workers", "workers", overview.workers, Query, {200: tuple[WorkerObject, ...]}),
    _pages("/audit", "audit", hub.audit, PageQuery, AuditObject, AuditCursor),
    _stream("/events", hub.events, {}, EventsQuery, _CHANGES, LAST_CHANGE),
    Endpoint("POST", "/makeprimary", "makeprimary", hub.make_primary, {200: None}, Query),
    _get(_INSTANCE, "status", showing.status, StatusQuery, _SHOWN),
    Endpoint("DELETE", _INSTANCE, "purge", changing.purge, {200: PurgeResult, 404: Problem, 409: Problem}, Query),
    _get(f"{_INSTANCE}/history", "history", showing.history, Query, {200: HistoryObject, **_UNKNOWN}),
    _get(f"{_INSTANCE}/waits", "waits", showing.waits, Query, {200: tuple[WaitObject, ...], **_UNKNOWN}),
    _pages(f"{_INSTANCE}/audit", "audit", showing.audit, PageQuery, AuditObject, AuditCursor),
    _stream(f"{_INSTANCE}/events", showing.events, _UNKNOWN, Query, _STEPS, LAST_STEP),
    Endpoint(
        "POST",
        f"{_INSTANCE}/raiseEvent/{{eventName}}",
        "raiseEvent",
        changing.raise_event,
        {**_CHANGED, 422: Problem},
        Query,
        "data",
        (KEY,),
    ),
    _post("terminate", changing.terminate, TerminateQuery),
    _post("suspend", changing.suspend),
    _post("resume", changing.resume),
    _post("rewind", changing.rewind),
    Endpoint("POST", f"{_INSTANCE}/restart", "restart", starting.restart, _STARTED, RestartQuery),
    Endpoint(
        "POST",
        f"{_INSTANCE}/responseLinks/{{eventName}}",
        "responseLink",
        changing.response_link,
        {201: LinkObject, 404: Problem, 409: Problem, 410: Problem},
        LinkQuery,
    ),
)
