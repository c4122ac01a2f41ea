"""The URIs that callers are given, beginning with the address their own request came to."""

from __future__ import annotations

from functools import cache
from urllib.parse import quote, urlencode

from starlette.requests import Request

from bide.config import Settings
from bide.http.shapes import ManagementPayload

NEW_PREFIX = "/runtime/webhooks/durabletask"
OLD_PREFIX = "/admin/extensions/DurableTaskExtension"
"""The sample document's. Served like the new one, but not given out."""


def management_payload(
    request: Request, settings: Settings, instance_id: str, token: str, *, report_failure: bool
) -> ManagementPayload:
    """The URIs of an instance. Their `code` is a token for that instance and nothing else."""
    instance = f"{base_url(request)}{NEW_PREFIX}/instances/{quote(instance_id, safe='')}"
    keys = f"{_hub(settings.task_hub)}&code={token}"  # a token is made of what may stand in a URL
    status = f"{instance}?{keys}"
    return ManagementPayload(
        id=instance_id,
        status_query_get_uri=f"{status}&returnInternalServerErrorOnFailure=true" if report_failure else status,
        send_event_post_uri=f"{instance}/raiseEvent/{{eventName}}?{keys}",
        terminate_post_uri=f"{instance}/terminate?reason={{text}}&{keys}",
        purge_history_delete_uri=status,
        restart_post_uri=f"{instance}/restart?{keys}",
        suspend_post_uri=f"{instance}/suspend?reason={{text}}&{keys}",
        resume_post_uri=f"{instance}/resume?reason={{text}}&{keys}",
        rewind_post_uri=f"{instance}/rewind?reason={{text}}&{keys}",
    )


@cache
def _hub(name: str) -> str:
    return urlencode({"taskHub": name, "connection": "Storage"})


def base_url(request: Request) -> str:
    """Scheme, host and the path that this app is mounted under, without a slash at the end."""
    prefix = request.scope.get("root_path")
    return f"{_origin(request)}{quote(prefix).rstrip('/')}" if prefix else _origin(request)


def own_url(request: Request) -> str:
    """The URL of the request itself, safe to send back in a header."""
    path = quote(request.scope["path"])
    query = quote(request.scope["query_string"], safe="%=&/?:@!$'()*+,;~{}")
    return f"{_origin(request)}{path}?{query}" if query else f"{_origin(request)}{path}"


def _origin(request: Request) -> str:
    """As Starlette's `URL` finds it, without making one: the host that was asked for, or where we listen."""
    for name, value in request.scope["headers"]:
        if name == b"host":
            return f"{request.scope['scheme']}://{value.decode('latin-1')}"
    return f"{request.url.scheme}://{request.url.netloc}"
