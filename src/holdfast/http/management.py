"""The handlers: parse, one client verb, render."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from holdfast.config import Settings
from holdfast.engine.client import Client
from holdfast.errors import InstanceNotFoundError
from holdfast.http.answers import answer, nothing, refusal
from holdfast.http.body import media_type, read_payload
from holdfast.http.parameters import Parameters, View, function_or_event_name, new_instance_id, view
from holdfast.http.payloads import management_payload, own_url, status_object
from holdfast.instance import Instance, RuntimeStatus

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


def _client(request: Request) -> Client:
    client: Client = request.app.state.client
    return client


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _instance_id(request: Request) -> str:
    instance_id: str = request.path_params["instance_id"]
    return instance_id


# --- starting


async def start(request: Request) -> Response:
    """Start an orchestrator with the body as its input."""
    name, instance_id, wanted = function_or_event_name(request), new_instance_id(request), view(request)
    payload = await read_payload(request, _settings(request))
    started_id = await _client(request).start(name, payload, instance_id=instance_id)
    return await _started(request, started_id, wanted)


async def restart(request: Request) -> Response:
    """Start again with the same input. An unknown id is a 400 here, as in Durable Functions."""
    wanted, as_new = view(request), Parameters(request).flag("restartWithNewInstanceId", default=True)
    try:
        started_id = await _client(request).restart(_instance_id(request), new_instance_id=as_new)
    except InstanceNotFoundError as error:
        return refusal(400, str(error))
    return await _started(request, started_id, wanted)


async def _started(request: Request, instance_id: str, wanted: View) -> Response:
    """The 202 payload; or, for a caller who waits, the bare output if it comes in time."""
    ended = await _ended_in_time(request, instance_id, wanted)
    if ended is not None:
        completed = ended.status is RuntimeStatus.COMPLETED
        return answer(200, ended.output_json) if completed else _status(request, ended, wanted)
    payload = management_payload(request, _settings(request), instance_id, report_failure=wanted.report_failure)
    return answer(202, payload, {"Location": payload["statusQueryGetUri"], "Retry-After": "10"})


async def _ended_in_time(request: Request, instance_id: str, wanted: View) -> Instance | None:
    if wanted.wait is not None:
        with suppress(TimeoutError):
            return await _client(request).wait(instance_id, wanted.wait)
    return None


# --- watching


async def status(request: Request) -> Response:
    """The instance as it is now."""
    wanted = view(request)
    return _status(request, await _client(request).get(_instance_id(request)), wanted)


def _status(request: Request, instance: Instance, wanted: View) -> Response:
    content = status_object(instance, show_input=wanted.show_input)
    if not instance.status.finished:
        return answer(202, content, {"Location": own_url(request), "Retry-After": "5"})
    failed = instance.status is RuntimeStatus.FAILED
    return answer(500 if failed and wanted.report_failure else 200, content)


# --- changing


async def raise_event(request: Request) -> Response:
    """Give the instance an event, with the body as its data."""
    kind = media_type(request)
    if kind not in ("", "application/json", "text/plain") and not kind.endswith("+json"):
        raise HTTPException(400, f"An event's content type is application/json or text/plain, not {kind}.")
    name = function_or_event_name(request)
    payload = await read_payload(request, _settings(request))
    await _client(request).raise_event(_instance_id(request), name, payload)
    return nothing(202)


async def terminate(request: Request) -> Response:
    """End the instance; with `recurse=true`, its sub-orchestrations too."""
    parameters = Parameters(request)
    recurse = parameters.flag("recurse", default=False)
    await _client(request).terminate(_instance_id(request), parameters.text("reason"), recurse=recurse)
    return nothing(202)


async def suspend(request: Request) -> Response:
    await _client(request).suspend(_instance_id(request), Parameters(request).text("reason"))
    return nothing(202)


async def resume(request: Request) -> Response:
    await _client(request).resume(_instance_id(request), Parameters(request).text("reason"))
    return nothing(202)


# --- health


async def healthz(request: Request) -> Response:
    """The process lives."""
    return answer(200, {"status": "ok"})


async def readyz(request: Request) -> Response:
    """The worker owns its partitions, and the database confirms its commits."""
    ready = _client(request).ready
    return answer(200 if ready else 503, {"ready": ready})
