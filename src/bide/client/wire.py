"""What goes over the wire, as values: requests to be sent, and how their answers are read.

Nothing here sends anything, so the two clients share all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote
from uuid import uuid4

import msgspec
from msgspec import UNSET, Raw, Struct

from bide import errors
from bide.errors import (
    AccessDeniedError,
    BideError,
    FunctionNotFoundError,
    InstanceNotFoundError,
    PayloadError,
    ServerFailedError,
    ServerUnreachableError,
)
from bide.http.base.shapes import (
    CONTINUATION,
    IDEMPOTENCY_KEY,
    LAST_EVENT_ID,
    AuditObject,
    LinkObject,
    OrchestratorObject,
    Problem,
    PurgeResult,
    StatusObject,
    WaitObject,
    WorkerObject,
)
from bide.model.arguments import check_count, check_flag, check_kind
from bide.model.batch import AuditEntry
from bide.model.clock import check_span, to_datetime, to_timestamp
from bide.model.history import Parent, Step
from bide.model.instance import (
    MAX_NAME,
    Instance,
    Reuse,
    RuntimeStatus,
    Wait,
    can_name,
    check_event_name,
    check_instance_id,
    check_key,
    check_reason,
    check_reuse,
    check_tags,
)
from bide.model.payload import check_text, encode, plain_text
from bide.model.query import InstanceFilter

T = TypeVar("T")

BASE = "/runtime/webhooks/durabletask"
POLL = timedelta(seconds=25)
"""How long one request waits at most: shorter than what proxies cut."""

ATTEMPTS = 3
"""How often a request is sent that can be repeated."""

Parameters = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """One request, and the type of its answer's body (None: no body)."""

    method: str
    path: str
    answer: Any = None
    parameters: Parameters = field(default_factory=dict[str, Any])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | None = None
    repeatable: bool = False
    """Whether it can be sent again when nobody knows whether it arrived."""

    def read(self, status: int, body: bytes) -> T:
        """The answer as a value. Raises what the server means by it."""
        if status >= 400:
            raise _error(status, body)
        if self.answer is None:
            return cast("T", None)
        try:
            return cast("T", msgspec.json.decode(body, type=self.answer))
        except msgspec.DecodeError as error:
            raise ServerFailedError(f"This is no answer of Bide: {error}. Is the URL right?") from error


class ServerEvent(Struct, frozen=True):
    """One server-sent event. `kind` is `step` or `end` for an instance, `instance` or `reset` for the hub."""

    id: str
    kind: str
    data_json: Raw

    @property
    def data(self) -> Any:
        return msgspec.json.decode(self.data_json)


class History(Struct, frozen=True, rename="camel"):
    name: str
    instance_id: str
    generation: int
    steps: tuple[Step, ...]


class EventReader:
    """Puts the lines of a stream together."""

    def __init__(self) -> None:
        self.last_id = ""
        self._kind = ""

    def feed(self, line: str) -> ServerEvent | None:
        """The event that this line completes, if it does. Each event of Bide has its data in one line.

        Raises `AccessDeniedError` for the one that says that the key counts no more.
        """
        name, _, value = line.partition(": ")
        if name == "id":
            self.last_id = value
        elif name == "event":
            self._kind = value
        elif name == "data" and self._kind == "unauthorized":
            raise _error(401, value.encode())
        elif name == "data":
            return ServerEvent(self.last_id, self._kind, Raw(value.encode()))
        return None


# --- requests


def check_url(url: object) -> str:
    """The URL without a slash at its end. Raises `ValueError` if it is none, `PayloadError` if it is no text."""
    import httpx2  # it takes longer to load than all else

    text = check_text(url, "A server's URL")
    if not text.startswith(("http://", "https://")):
        raise ValueError(f"A server's URL begins with http:// or https://, unlike '{text[:200]}'.")
    try:
        httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise ValueError(f"This is no URL: {error}.") from None
    return text.rstrip("/")


def key_headers(key: object) -> dict[str, str]:
    """The header that says the key, if there is one. Raises `PayloadError` for what can be none."""
    found = "" if key is None else _header("A key", key)
    return {"x-functions-key": found} if found else {}


def refuse_several(orchestrator: str, more: tuple[object, ...]) -> None:
    """Raises `TypeError` if there is more than one argument."""
    if more:
        raise TypeError(
            f"{orchestrator!a} is started over HTTP with one input. Give several arguments as a dict by their "
            f'names: client.start({orchestrator!a}, {{"to": ..., "text": ...}}).'
        )


def start(
    name: str,
    input: object,
    instance_id: str | None,
    tags: Mapping[str, str] | None,
    key: str | None,
    reuse: Reuse | None = None,
) -> Request[dict[str, str]]:
    name = plain_text(name, "An orchestrator's name")
    if not can_name(name, MAX_NAME):  # some of these would lead to another address
        raise FunctionNotFoundError(f"There is no orchestrator {name[:100]!a}.")
    path = f"{BASE}/orchestrators/{_quoted(name)}"
    if instance_id is not None:
        path += f"/{_quoted(check_instance_id(instance_id))}"
    parameters = {"tag": _tags(tags), "reuse": check_reuse(reuse)}
    return _sending(path, input, dict[str, str], key, parameters)


def raise_event(instance_id: str, name: str, data: object, key: str | None) -> Request[None]:
    return _sending(f"{_instance(instance_id)}/raiseEvent/{_quoted(check_event_name(name))}", data, None, key, {})


def change(instance_id: str, verb: str, reason: str, recurse: bool = False) -> Request[None]:
    """`terminate`, `suspend`, `resume` or `rewind`."""
    parameters = {"reason": check_reason(reason), "recurse": check_flag("recurse", recurse) or None}
    return Request("POST", f"{_instance(instance_id)}/{verb}", parameters=_given(parameters))


def restart(instance_id: str, new_instance_id: bool) -> Request[dict[str, str]]:
    parameters = {"restartWithNewInstanceId": check_flag("new_instance_id", new_instance_id)}
    return Request("POST", f"{_instance(instance_id)}/restart", dict[str, str], _given(parameters))


def purge(instance_id: str) -> Request[PurgeResult]:
    return Request("DELETE", _instance(instance_id), PurgeResult)


def purge_many(where: InstanceFilter, at_most: int | None) -> Request[PurgeResult]:
    if at_most is not None:
        check_count("at_most", at_most)
    since = check_kind("where", where, InstanceFilter).created_from or to_datetime(0)
    parameters = {**_filter(where), "createdTimeFrom": since.isoformat(), "top": at_most}
    return Request("DELETE", f"{BASE}/instances", PurgeResult, _given(parameters))


def response_link(
    instance_id: str, event: str, wait_id: int | None, valid_for: timedelta | None
) -> Request[LinkObject]:
    path = f"{_instance(instance_id)}/responseLinks/{_quoted(check_event_name(event))}"
    span = None if valid_for is None else f"{check_span('valid_for', valid_for).total_seconds():.6f}s"
    if wait_id is not None:
        check_count("wait_id", wait_id)
    return Request("POST", path, LinkObject, _given({"waitId": wait_id, "validFor": span}))


def status(instance_id: str, wait: timedelta | None = None) -> Request[StatusObject]:
    span = None if wait is None else f"{max(0.0, check_span('wait', wait).total_seconds()):.3f}s"
    return _get(_instance(instance_id), StatusObject, {"wait": span})


def history(instance_id: str) -> Request[History]:
    return _get(f"{_instance(instance_id)}/history", History, {})


def waits(instance_id: str) -> Request[tuple[WaitObject, ...]]:
    return _get(f"{_instance(instance_id)}/waits", tuple[WaitObject, ...], {})


def orchestrators() -> Request[tuple[OrchestratorObject, ...]]:
    return _get(f"{BASE}/orchestrators", tuple[OrchestratorObject, ...], {})


def counts(where: InstanceFilter) -> Request[dict[RuntimeStatus, int]]:
    return _get(f"{BASE}/counts", dict[RuntimeStatus, int], _filter(where))


def workers() -> Request[tuple[WorkerObject, ...]]:
    return _get(f"{BASE}/workers", tuple[WorkerObject, ...], {})


def instances(where: InstanceFilter, top: int, token: str) -> Request[tuple[StatusObject, ...]]:
    return _page(
        f"{BASE}/instances", tuple[StatusObject, ...], {**_filter(where), "top": check_count("page", top)}, token
    )


def open_waits(
    overdue: bool, event: str, orchestrator: str, tags: Mapping[str, str] | None, top: int, token: str
) -> Request[tuple[WaitObject, ...]]:
    parameters = {
        "overdue": check_flag("overdue", overdue),
        "event": check_text(event, "An event's name"),
        "name": check_text(orchestrator, "An orchestrator's name"),
        "tag": _tags(tags),
        "top": top,
    }
    return _page(f"{BASE}/waits", tuple[WaitObject, ...], parameters, token)


def audit(instance_id: str | None, top: int, token: str) -> Request[tuple[AuditObject, ...]]:
    base = BASE if instance_id is None else _instance(instance_id)
    return _page(f"{base}/audit", tuple[AuditObject, ...], {"top": top}, token)


def events(instance_id: str | None, last_id: str) -> Request[None]:
    base = BASE if instance_id is None else _instance(instance_id)
    last_id = _header("last_id", last_id)
    return Request("GET", f"{base}/events", headers={LAST_EVENT_ID: last_id} if last_id else {}, repeatable=True)


# --- values


def instance_of(shown: StatusObject) -> Instance:
    """What the wire has of an instance: times to the second, and no generation."""
    parent = shown.parent
    return Instance(
        id=shown.instance_id,
        name=shown.name,
        status=shown.runtime_status,
        created=to_timestamp(shown.created_time),
        updated=to_timestamp(shown.last_updated_time),
        input_json=shown.input,
        output_json=shown.output,
        custom_status_json=shown.custom_status,
        parent=None if parent is UNSET else Parent(parent.instance_id, parent.generation, parent.task_id),
        held=None if shown.held is UNSET else shown.held,
        tags=shown.tags,
    )


def wait_of(shown: WaitObject) -> Wait:
    deadline = None if shown.deadline is None else to_timestamp(shown.deadline)
    opened = to_timestamp(shown.since)
    return Wait(shown.instance_id, shown.id, shown.name, opened, deadline, shown.schema, shown.orchestrator)


def entry_of(shown: AuditObject) -> AuditEntry:
    return AuditEntry(
        to_timestamp(shown.at),
        shown.verb,
        shown.caller,
        shown.address,
        shown.reason,
        shown.result,
        shown.instance_id,
        shown.id,
    )


# --- parts


def _get(path: str, answer: Any, parameters: Parameters) -> Request[Any]:
    return Request("GET", path, answer, _given(parameters), repeatable=True)


def _page(path: str, answer: Any, parameters: Parameters, token: str) -> Request[Any]:
    headers = {CONTINUATION: token} if token else {}
    return Request("GET", path, answer, _given(parameters), headers, repeatable=True)


def _sending(path: str, value: object, answer: Any, key: str | None, parameters: Parameters) -> Request[Any]:
    """A request with a body, under an idempotency key."""
    key = uuid4().hex if key is None else _header("An idempotency key", check_key(key))
    headers = {"Content-Type": "application/json", IDEMPOTENCY_KEY: key}
    body = b"" if value is UNSET else bytes(encode(value))
    return Request("POST", path, answer, _given(parameters), headers, body, repeatable=True)


def _tags(tags: Mapping[str, str] | None) -> list[str]:
    return [] if tags is None else [f"{name}:{value}" for name, value in check_tags(tags).items()]


def _header(name: str, value: object) -> str:
    """The text itself, if a header can carry it: printable ASCII. Raises `PayloadError`."""
    text = check_text(value, name)
    if not (text.isascii() and text.isprintable()):
        raise PayloadError(f"{name} travels in a header, and can have printable ASCII characters only.")
    return text


def _filter(where: InstanceFilter) -> dict[str, Any]:
    check_kind("where", where, InstanceFilter)
    return {
        "createdTimeFrom": _iso(where.created_from),
        "createdTimeTo": _iso(where.created_to),
        "runtimeStatus": ",".join(status.value for status in where.statuses) or None,
        "instanceIdPrefix": where.id_prefix or None,
        "name": where.name or None,
        "tag": [f"{name}:{value}" for name, value in where.tags.items()],
        "held": where.held or None,
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _given(parameters: Parameters) -> dict[str, Any]:
    """The parameters that say something."""
    return {name: value for name, value in parameters.items() if value not in (None, "", [])}


def _instance(instance_id: str) -> str:
    """Raises `InstanceNotFoundError` for an id that none can have: some of them would lead to another address."""
    instance_id = plain_text(instance_id, "An instance id")
    try:
        return f"{BASE}/instances/{_quoted(check_instance_id(instance_id))}"
    except PayloadError:
        raise InstanceNotFoundError(instance_id) from None


def _quoted(part: str) -> str:
    return quote(part, safe="")


_MEANING: dict[int, type[BideError]] = {
    404: errors.InstanceNotFoundError,
    409: errors.NotAllowedError,
    410: errors.InstanceFinishedError,
    503: errors.BusyError,
}


def too_long(error: Exception) -> PayloadError:
    """What was asked for does not go into an address."""
    return PayloadError(f"This cannot be asked for over HTTP: {error}.")


def unreachable(url: str, error: Exception) -> ServerUnreachableError:
    """The connection to the server was not made, or broke."""
    said = str(error) or type(error).__name__
    return ServerUnreachableError(f"No answer from {url}: {said}. Is the server running there?")


def pause_s(attempt: int) -> float:
    """How long to wait before a further attempt, in seconds."""
    return 0.1 * 3.0**attempt


def _error(status: int, body: bytes) -> BideError:
    """What the server means by a refusal."""
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except msgspec.DecodeError:
        return ServerFailedError(f"The server answered {status}, and not as Bide does. Is the URL right?")
    if status in (401, 403, 429):  # the last one: not valid, and too often
        return AccessDeniedError(problem.detail)
    name, path = problem.type.removeprefix("urn:bide:"), problem.path or ""
    fallback = _MEANING.get(status, errors.PayloadError if status < 500 else ServerFailedError)
    error = errors.error_named(name, problem.detail, path)
    return error or errors.error_named(fallback.__name__, problem.detail, path) or fallback(problem.detail)
