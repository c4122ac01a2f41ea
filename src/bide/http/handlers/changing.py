"""Handlers that change an instance."""

from __future__ import annotations

import secrets

from starlette.exceptions import HTTPException
from starlette.responses import Response

from bide.errors import InstanceFinishedError, NotAllowedError
from bide.http.base.answers import error_answer, nothing
from bide.http.base.body import media_type
from bide.http.base.headers import KEY
from bide.http.base.queries import LinkQuery, Query, ReasonQuery, TerminateQuery, span_of
from bide.http.base.shapes import KeptObject, LinkObject, PurgeResult
from bide.http.base.urls import base_url
from bide.http.handlers.endpoint import Call
from bide.model.clock import to_micros
from bide.model.instance import Instance, Wait, check_event_name
from bide.model.links import SignedLinks
from bide.model.query import NEVER
from bide.model.tokens import ResponseGrant


async def raise_event(call: Call[Query]) -> Response:
    """Give the instance an event, with the body as its data: JSON, or text.

    Data that does not fit the type that an open wait declares is refused, and the wait stays open. Without an open
    wait, the event is kept until somebody waits for it; then the answer has the names that are waited for
    (`waitedFor`), so that a misspelt one is noticed.
    """
    kind = media_type(call.request)
    if kind not in ("", "application/json", "text/plain") and not kind.endswith("+json"):
        raise HTTPException(400, f"An event's content type is application/json or text/plain, not {kind}.")
    name, key = call.name("eventName"), call.header(KEY) or None
    data, waited_for = await call.payload(), await call.client.names_waited_for(call.instance_id)
    await call.client.raise_event(call.instance_id, name, data, idempotency_key=key)
    if name.lower() in map(str.lower, waited_for):
        return nothing(202)
    return call.answer(202, KeptObject(waited_for=tuple(waited_for)))


async def terminate(call: Call[TerminateQuery]) -> Response:
    """End the instance now."""
    await call.client.terminate(call.instance_id, call.query.reason, recurse=call.query.recurse)
    return nothing(202)


async def suspend(call: Call[ReasonQuery]) -> Response:
    """Let the instance take its messages, but not go on, until it is resumed."""
    await call.client.suspend(call.instance_id, call.query.reason)
    return nothing(202)


async def resume(call: Call[ReasonQuery]) -> Response:
    """Let a suspended instance go on."""
    await call.client.resume(call.instance_id, call.query.reason)
    return nothing(202)


async def rewind(call: Call[ReasonQuery]) -> Response:
    """Set a failed instance back to where it went wrong: what failed runs again.

    For one that has not ended it is a 400, as in Durable Functions.
    """
    try:
        await call.client.rewind(call.instance_id, call.query.reason)
    except NotAllowedError as error:
        return error_answer(error, 400)
    return nothing(202)


async def purge(call: Call[Query]) -> Response:
    """Delete an instance that has ended, with its history."""
    await call.client.purge(call.instance_id)
    return call.answer(200, PurgeResult(instances_deleted=1))


async def response_link(call: Call[LinkQuery]) -> Response:
    """Make a link under which a person can answer one open wait of the instance, and do nothing else.

    Of several waits for that event, it is the oldest, or the one that is chosen by its id (`waitId`).
    """
    name, services = check_event_name(call.name("eventName")), call.services
    instance = await call.client.get(call.instance_id)
    wait = await _chosen(call, instance, name)
    valid_for = call.query.valid_for
    expires_at = None if valid_for is None else min(call.now + to_micros(span_of(valid_for)), NEVER)
    grant = ResponseGrant(
        instance.id,
        instance.birth,
        instance.generation,
        name,
        wait.id,
        wait.opened,
        secrets.token_hex(8),
        expires_at,
    )
    base = services.settings.public_url.rstrip("/") or base_url(call.request)
    return call.answer(201, LinkObject(url=SignedLinks(services.secret, base).url(grant)))


async def _chosen(call: Call[LinkQuery], instance: Instance, name: str) -> Wait:
    """The open wait that a link is asked for. Raises `InstanceFinishedError`, and `NotAllowedError`."""
    if instance.status.finished:
        raise InstanceFinishedError(instance.id, instance.status)
    open_now, wait_id = await call.client.waits(instance.id), call.query.wait_id
    for wait in open_now:
        if wait.name.lower() == name.lower() and wait_id in (None, wait.id):
            return wait
    others = ", ".join(sorted({wait.name for wait in open_now})) or "nothing"
    which = "" if wait_id is None else f" under the id {wait_id}"
    raise NotAllowedError(
        f"A link is for one open wait, and instance '{instance.id}' does not wait for '{name}'{which} now. "
        f"It waits for {others}. Only its own code can make a link beforehand, by ctx.response_url."
    )
