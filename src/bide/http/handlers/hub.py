"""Handlers about all instances, and the hub itself."""

from __future__ import annotations

from starlette.responses import Response

from bide.http.base.answers import nothing, refusal
from bide.http.base.headers import LAST_CHANGE
from bide.http.base.paging import page
from bide.http.base.queries import (
    EventsQuery,
    FilterQuery,
    ListQuery,
    PageQuery,
    PurgeQuery,
    Query,
    ShowQuery,
    WaitsQuery,
    meant_by,
    span_of,
    tags_of,
)
from bide.http.base.shapes import (
    ActivityObject,
    OrchestratorObject,
    PurgeResult,
    wait_object,
)
from bide.http.handlers.endpoint import Call
from bide.http.handlers.showing import audit_page, status_object
from bide.model.history import Step
from bide.model.instance import Instance
from bide.model.payload import schema
from bide.model.query import InstanceCursor, WaitCursor, instance_cursor, wait_cursor


async def instances(call: Call[ListQuery]) -> Response:
    """Instances, newest first. Pages follow each other without gaps or repetitions, whatever is written meanwhile.

    The header `x-ms-continuation-token` of one answer is that of the request for the next page.
    """
    query = call.query
    where, after = meant_by(query), call.cursor(InstanceCursor)
    if where is None:
        return call.answer(200, [])
    found = await call.client.instances(where, after=after, limit=query.top + 1)
    shown, headers = page(found, query.top, instance_cursor)
    histories = await call.client.histories([each.id for each in shown]) if query.show_history else {}
    return call.answer(
        200, [status_object(call, each, query.view, histories.get(each.id)) for each in shown], headers
    )


async def counts(call: Call[FilterQuery]) -> Response:
    """How many instances there are of each status that occurs."""
    where = meant_by(call.query)
    return call.answer(200, {} if where is None else await call.client.counts(where))


async def purge(call: Call[PurgeQuery]) -> Response:
    """Delete instances that have ended, in small steps. With `top`, a caller can follow the progress."""
    query = call.query
    where = meant_by(query)
    deleted = 0 if where is None else await call.client.purge_many(where, query.top)
    if not deleted:
        return refusal(404, "No instance that has ended is meant.")
    return call.answer(200, PurgeResult(instances_deleted=deleted))


async def waits(call: Call[WaitsQuery]) -> Response:
    """Who waits for what: all open waits, the most urgent first."""
    query, after = call.query, call.cursor(WaitCursor)
    found = await call.client.open_waits(
        overdue=query.overdue,
        name=query.event,
        orchestrator=query.name,
        tags=tags_of(query.tag),
        after=after,
        limit=query.top + 1,
    )
    shown, headers = page(found, query.top, wait_cursor)
    return call.answer(200, [wait_object(wait, call.now) for wait in shown], headers)


async def audit(call: Call[PageQuery]) -> Response:
    """Who did what, newest first."""
    return await audit_page(call, None)


async def events(call: Call[EventsQuery]) -> Response:
    """Instances as they change, as server-sent events (`instance`).

    `reset` says that changes were missed: load again. With `every`, there is one event (`changed`) in that time at
    most, and it says only how many changes there were.
    """
    if call.query.every is not None:
        every = span_of(call.query.every)
        return call.services.streams.beats(call.caller, every, lambda: call.now)

    def show(what: Step | Instance) -> bytes:
        return call.encode(status_object(call, what, ShowQuery()) if isinstance(what, Instance) else what)

    last_id, view = call.header(LAST_CHANGE), f"{call.caller.role}"
    return call.services.streams.hub(call.caller, last_id, view, show)


async def orchestrators(call: Call[Query]) -> Response:
    """What can be started, with which input, and which events it has waited for."""
    known = call.services.registry.orchestrators
    return call.answer(
        200,
        [
            OrchestratorObject(
                name=name,
                input_schema=each.signature.input_schema,
                output_schema=each.signature.result_schema,
                events={event: schema(wanted) for event, wanted in each.events.items()},
            )
            for name, each in sorted(known.items())
        ],
    )


async def activities(call: Call[Query]) -> Response:
    """The activities of this app, and what goes in and out."""
    known = call.services.registry.activities
    return call.answer(
        200,
        [
            ActivityObject(
                name=name,
                input_schema=each.signature.input_schema,
                output_schema=each.signature.result_schema,
                once=each.once,
            )
            for name, each in sorted(known.items())
        ],
    )


async def make_primary(call: Call[Query]) -> Response:
    """Make this app the hub's primary one. It always is: the process that serves the hub owns it."""
    return nothing(200)
