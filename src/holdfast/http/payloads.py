"""What callers read: the 202 payload and the status object, in Durable Functions' words and order."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from msgspec import Raw
from starlette.requests import Request

from holdfast.clock import Timestamp, to_datetime
from holdfast.config import Settings
from holdfast.history import NULL
from holdfast.instance import Instance

NEW_PREFIX = "/runtime/webhooks/durabletask"
OLD_PREFIX = "/admin/extensions/DurableTaskExtension"
"""The sample document's. Served like the new one, but not given out."""


def management_payload(
    request: Request, settings: Settings, instance_id: str, *, report_failure: bool
) -> dict[str, str]:
    """The URIs under which an instance is watched and managed, beginning with the address the request came to.

    `{eventName}` and `{text}` stay as they are: the caller replaces them. `code` is empty until callers have keys.
    """
    instance = f"{base_url(request)}{NEW_PREFIX}/instances/{quote(instance_id, safe='')}"
    keys = urlencode({"taskHub": settings.task_hub, "connection": "Storage", "code": ""})
    status = f"{instance}?{keys}"
    return {
        "id": instance_id,
        "statusQueryGetUri": f"{status}&returnInternalServerErrorOnFailure=true" if report_failure else status,
        "sendEventPostUri": f"{instance}/raiseEvent/{{eventName}}?{keys}",
        "terminatePostUri": f"{instance}/terminate?reason={{text}}&{keys}",
        "restartPostUri": f"{instance}/restart?{keys}",
        "suspendPostUri": f"{instance}/suspend?reason={{text}}&{keys}",
        "resumePostUri": f"{instance}/resume?reason={{text}}&{keys}",
    }


def status_object(instance: Instance, *, show_input: bool) -> dict[str, str | Raw]:
    """An instance as clients of Durable Functions know it, and `held` (why it does not go on) if it is."""
    shown: dict[str, str | Raw] = {
        "name": instance.name,
        "instanceId": instance.id,
        "runtimeStatus": instance.status.value,
        "input": instance.input_json if show_input else NULL,
        "customStatus": instance.custom_status_json,
        "output": instance.output_json,
        "createdTime": _to_second(instance.created_at),
        "lastUpdatedTime": _to_second(instance.updated_at),
    }
    if instance.held is not None:
        shown["held"] = instance.held
    return shown


def base_url(request: Request) -> str:
    """Scheme, host and root path of a request, without a slash at the end."""
    return str(request.base_url).rstrip("/")


def own_url(request: Request) -> str:
    """The URL of the request itself, safe to send back in a header."""
    path = quote(request.scope["path"].removeprefix(request.scope.get("root_path", "")))
    query = quote(request.scope["query_string"], safe="%=&/?:@!$'()*+,;~{}")
    return f"{base_url(request)}{path}?{query}" if query else f"{base_url(request)}{path}"


def _to_second(at: Timestamp) -> str:
    return to_datetime(at).strftime("%Y-%m-%dT%H:%M:%SZ")
