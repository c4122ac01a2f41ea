"""The URIs that callers are given, beginning with the address their own request came to."""

from __future__ import annotations

from functools import cache
from urllib.parse import quote, unquote_plus, urlencode

from msgspec import UNSET, UnsetType
from starlette.requests import Request

from bide.config import Settings
from bide.http.base.shapes import ManagementPayload
from bide.model.tokens import InstanceGrant

NEW_PREFIX = "/runtime/webhooks/durabletask"
OLD_PREFIX = "/admin/extensions/DurableTaskExtension"
"""The sample document's. Served like the new one, but not given out."""
_REASON = "reason={text}&"


def management_payload(
    request: Request, settings: Settings, grant: InstanceGrant, token: str, *, report_failure: bool
) -> ManagementPayload:
    """The URIs of what the grant allows. Their `code` is the grant's token, for that instance and nothing else."""
    instance = f"{base_url(request)}{NEW_PREFIX}/instances/{quote(grant.instance_id, safe='')}"
    keys = f"{_hub(settings.task_hub)}&code={token}"  # a token is made of what may stand in a URL
    status = f"{instance}?{keys}"

    def uri(verb: str, query: str = "") -> str | UnsetType:
        operation = "raiseEvent/{eventName}" if verb == "raiseEvent" else verb
        return f"{instance}/{operation}?{query}{keys}" if verb in grant.verbs else UNSET

    return ManagementPayload(
        id=grant.instance_id,
        status_query_get_uri=f"{status}&returnInternalServerErrorOnFailure=true" if report_failure else status,
        send_event_post_uri=uri("raiseEvent"),
        terminate_post_uri=uri("terminate", _REASON),
        purge_history_delete_uri=status if "purge" in grant.verbs else UNSET,
        restart_post_uri=uri("restart", "restartWithNewInstanceId=false&"),
        suspend_post_uri=uri("suspend", _REASON),
        resume_post_uri=uri("resume", _REASON),
        rewind_post_uri=uri("rewind", _REASON),
    )


@cache
def _hub(name: str) -> str:
    return urlencode({"taskHub": name, "connection": "Storage"})


def base_url(request: Request) -> str:
    """Scheme, host and the path that this app is mounted under, without a slash at the end."""
    prefix = request.scope.get("root_path")
    return f"{_origin(request)}{quote(prefix).rstrip('/')}" if prefix else _origin(request)


def own_url(request: Request, *, with_code: bool) -> str:
    """The URL of the request itself, safe to send back in a header.

    Not `with_code`: without what it has as `code`, for that may be a key of the hub.
    """
    path, query = quote(request.scope["path"]), request.scope["query_string"]
    if not with_code:
        query = b"&".join(part for part in query.split(b"&") if not _is_code(part))
    shown = quote(query, safe="%=&/?:@!$'()*+,;~{}")
    return f"{_origin(request)}{path}?{shown}" if shown else f"{_origin(request)}{path}"


def _is_code(part: bytes) -> bool:
    return unquote_plus(part.partition(b"=")[0].decode("latin-1")).lower() == "code"


def _origin(request: Request) -> str:
    """As Starlette's `URL` finds it, without making one: the host that was asked for, or where we listen."""
    for name, value in request.scope["headers"]:
        if name == b"host":
            return f"{request.scope['scheme']}://{value.decode('latin-1')}"
    return f"{request.url.scheme}://{request.url.netloc}"
