"""Handlers that show one instance."""

from __future__ import annotations

from datetime import datetime
from functools import cache

from msgspec import UNSET
from starlette.responses import Response

from bide.access.keys import Role
from bide.http.base.headers import LAST_STEP
from bide.http.base.history_events import history_events
from bide.http.base.paging import AuditCursor, page
from bide.http.base.queries import PageQuery, Query, ShowQuery, StatusQuery, span_of
from bide.http.base.shapes import (
    Action,
    HistoryObject,
    StatusObject,
    WaitObject,
    actions,
    audit_object,
    parent_object,
    step_object,
    wait_object,
)
from bide.http.base.urls import own_url
from bide.http.gate.auth import VERBS, Caller
from bide.http.handlers.endpoint import Call, Q
from bide.model.clock import SECOND, Timestamp, to_datetime
from bide.model.history import NULL, Step
from bide.model.instance import Instance, RuntimeStatus


async def status(call: Call[StatusQuery]) -> Response:
    """The instance as it is now. With `wait`, as soon as it has ended, at the latest after that time."""
    instance = await call.client.get(call.instance_id)
    if call.query.wait is not None and not instance.status.finished:
        ended = await call.ended_within(span_of(call.query.wait), instance.id)
        instance = ended or await call.client.get(instance.id)
    return await status_answer(call, instance, call.query, call.query.return_internal_server_error_on_failure)


async def status_answer(call: Call[Q], instance: Instance, wanted: ShowQuery, report_failure: bool) -> Response:
    """200 for an instance that has ended (500 if it failed and that was asked for), else 202 and where to ask."""
    if wanted.show_history:
        call.services.gate.require(call.caller, "history", instance.id)
    steps = await call.client.history(instance.id) if wanted.show_history else None
    waits = [] if instance.status.finished else await call.client.waits(instance.id)
    shown = status_object(call, instance, wanted, steps, tuple(wait_object(wait, call.now) for wait in waits))
    if not instance.status.finished:
        return call.answer(202, shown, {"Location": _again(call), "Retry-After": "5"})
    failed = instance.status is RuntimeStatus.FAILED
    return call.answer(500 if failed and report_failure else 200, shown)


def _again(call: Call[Q]) -> str:
    """Where to ask again. A token is for that; a key of the hub is not repeated, as answers are logged and kept."""
    return own_url(call.request, with_code=call.caller.grant is not None)


def status_object(
    call: Call[Q],
    instance: Instance,
    wanted: ShowQuery,
    steps: list[Step] | None = None,
    waits: tuple[WaitObject, ...] | None = None,
) -> StatusObject:
    """An instance as the caller gets to see it."""
    return StatusObject(
        name=instance.name,
        instance_id=instance.id,
        runtime_status=instance.status,
        input=instance.input_json if wanted.show_input else NULL,
        custom_status=instance.custom_status_json,
        output=instance.output_json,
        created_time=_to_second(instance.created),
        last_updated_time=_to_second(instance.updated),
        history_events=UNSET
        if steps is None
        else history_events(steps, show_input=wanted.show_input, show_output=wanted.show_history_output),
        allowed_actions=_allowed(call.caller, instance),
        tags=instance.tags,
        waits=UNSET if waits is None else waits,
        held=UNSET if instance.held is None else instance.held,
        parent=UNSET if instance.parent is None else parent_object(instance.parent),
    )


def _allowed(caller: Caller, instance: Instance) -> tuple[Action, ...]:
    if caller.grant is None:
        return _allowed_to(caller.role, instance.status, instance.held is not None)
    possible = actions(instance.status, held=instance.held is not None)
    return tuple(action for action in possible if caller.may(action, instance.id))


@cache
def _allowed_to(role: Role, status: RuntimeStatus, held: bool) -> tuple[Action, ...]:
    return tuple(action for action in actions(status, held=held) if role >= VERBS[action])


async def history(call: Call[Query]) -> Response:
    """Every fact of the instance's present generation, as it is stored. `bide replay` reads it."""
    instance = await call.client.get(call.instance_id)
    steps = tuple(map(step_object, await call.client.history(instance.id)))
    shown = HistoryObject(name=instance.name, instance_id=instance.id, generation=instance.generation, steps=steps)
    return call.answer(200, shown)


async def waits(call: Call[Query]) -> Response:
    """Which events the instance waits for, since when, until when, and what an answer must look like."""
    found = await call.client.waits(call.instance_id)
    return call.answer(200, [wait_object(wait, call.now) for wait in found])


async def audit(call: Call[PageQuery]) -> Response:
    """Who did what to the instance, newest first."""
    return await audit_page(call, call.instance_id)


async def audit_page(call: Call[PageQuery], instance_id: str | None) -> Response:
    """A page of the audit: of one instance, or (None) of all."""
    after, top = call.cursor(AuditCursor), call.query.top
    entries = await call.client.audit(instance_id, before=after and after.id, limit=top + 1)
    shown, headers = page(entries, top, lambda entry: AuditCursor(entry.id))
    return call.answer(200, [audit_object(entry) for entry in shown], headers)


async def events(call: Call[Query]) -> Response:
    """The instance's history as server-sent events (`step`), and its status when it has ended (`end`).

    A reader that comes back with `Last-Event-ID` misses nothing.
    """

    def show(what: Step | Instance) -> bytes:
        return call.encode(status_object(call, what, ShowQuery()) if isinstance(what, Instance) else what)

    last = call.header(LAST_STEP)
    return await call.services.streams.instance(call.caller, call.client, call.instance_id, last, show)


def _to_second(at: Timestamp) -> datetime:
    return to_datetime(at - at % SECOND)
