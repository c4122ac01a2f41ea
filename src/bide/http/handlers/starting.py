"""Handlers that start instances."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import Response

from bide.engine.client import Begun
from bide.errors import InstanceNotFoundError
from bide.http.base.answers import error_answer
from bide.http.base.headers import KEY
from bide.http.base.queries import OutcomeQuery, RestartQuery, ShowQuery, StartQuery, tags_of
from bide.http.base.urls import management_payload
from bide.http.handlers.endpoint import Call, Q
from bide.http.handlers.showing import status_answer
from bide.model.instance import RuntimeStatus
from bide.model.tokens import InstanceGrant, sign

_ONE_INSTANCE = (
    "A token is for one instance, and makes no other. Say restartWithNewInstanceId=false to begin that one again, "
    "or use a key of the role operator."
)


async def start(call: Call[StartQuery]) -> Response:
    """Start an instance with the body as its input."""
    name, instance_id = call.name("functionName"), call.request.path_params.get("newInstanceId")
    key = call.header(KEY) or None
    begun = await call.client.begin(
        name,
        await call.input(),
        instance_id=instance_id,
        tags=tags_of(call.query.tag),
        idempotency_key=key,
        reuse=call.query.reuse,
    )
    return await _started(call, begun, call.query)


async def restart(call: Call[RestartQuery]) -> Response:
    """Start again with the same input, as another instance or as the same. An unknown id is a 400 here, as in
    Durable Functions."""
    as_new = call.query.restart_with_new_instance_id
    if as_new and not call.may("start"):
        raise HTTPException(403, _ONE_INSTANCE)
    try:
        begun = await call.client.begin_again(call.instance_id, new_instance_id=as_new)
    except InstanceNotFoundError as error:
        return error_answer(error, 400)
    return await _started(call, begun, call.query)


async def _started(call: Call[Q], begun: Begun, wanted: OutcomeQuery) -> Response:
    """The 202 payload; or, for a caller who waits, the bare output if it comes in time."""
    instance_id, report_failure = begun.instance_id, wanted.return_internal_server_error_on_failure
    limit = wanted.waiting_time
    if limit is not None and (ended := await call.ended_within(limit, instance_id)):
        if ended.status is RuntimeStatus.COMPLETED:
            return call.answer(200, ended.output_json)
        return await status_answer(call, ended, ShowQuery(), report_failure)
    grant = call.caller.grant or await _grant(call, begun)
    token = sign(call.services.secret, grant)
    payload = management_payload(call.request, call.settings, grant, token, report_failure=report_failure)
    return call.answer(202, payload, {"Location": payload.status_query_get_uri, "Retry-After": "10"})


async def _grant(call: Call[Q], begun: Begun) -> InstanceGrant:
    """What a starter may do with the instance. Whoever restarts one by a token goes on with that token."""
    birth = begun.birth or (await call.client.get(begun.instance_id)).birth
    verbs = tuple(dict.fromkeys(("status", *call.settings.token_verbs)))
    return InstanceGrant(begun.instance_id, birth, verbs, call.settings.token_days)
