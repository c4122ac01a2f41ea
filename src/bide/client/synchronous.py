"""The client for ordinary code, made by scripts/sync_client.py: change the other one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import UNSET

from bide.client import wire
from bide.client.wire import EventReader, Request, ServerEvent
from bide.errors import InstanceNotFoundError
from bide.http.base.shapes import CONTINUATION, OrchestratorObject, StatusObject, WaitObject, WorkerObject
from bide.model.batch import AuditEntry
from bide.model.clock import SystemClock, check_span, to_micros
from bide.model.history import Step
from bide.model.instance import Instance, Reuse, RuntimeStatus, Wait
from bide.model.query import InstanceFilter

if TYPE_CHECKING:
    from types import TracebackType

    import httpx2

T = TypeVar("T")

_EVERYTHING = InstanceFilter()
_PAGE = 500
_SILENCE_S = 60.0
"""A stream that says nothing for so long is broken: the server gives a sign of life every 15 s."""


class Client:
    """A client that waits for each answer.

    `key` is one of the server's keys; on this machine none may be needed. `http` is an HTTP client of your own, for
    proxies or certificates; it is not closed.

    Every verb raises `PayloadError` for what cannot be a text, and `TypeError` or `ValueError` for an argument that
    is of another type than it says, or out of range; then nothing was sent.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:7071",
        *,
        key: str | None = None,
        http: httpx2.Client | None = None,
        timeout: timedelta = timedelta(seconds=60),
    ) -> None:
        """`timeout` is how long one request may take. Raises `ValueError` if the URL is none."""
        import httpx2  # it takes longer to load than all else

        self.url = wire.check_url(url)
        self._headers = wire.key_headers(key)
        self._http = http or httpx2.Client(timeout=check_span("timeout", timeout).total_seconds())
        self._own = http is None
        self._broken = httpx2.TransportError
        self._no_address = httpx2.InvalidURL
        self._clock = SystemClock()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        if self._own:
            self._http.close()

    # --- changing

    def start(
        self,
        orchestrator: str,
        input: object = UNSET,
        *more: object,
        instance_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        reuse: Reuse | None = None,
    ) -> str:
        """Start an instance; returns its id. See `bide.Client.start`.

        Several arguments are one dict of them here: a server is not asked for their names. Raises `TypeError` for
        more than one.
        """
        wire.refuse_several(orchestrator, more)
        uris = self._send(wire.start(orchestrator, input, instance_id, tags, idempotency_key, reuse))
        return uris["id"]

    def raise_event(
        self, instance_id: str, name: str, data: object = None, *, idempotency_key: str | None = None
    ) -> None:
        """Give an instance the named event, with JSON data. See `bide.Client.raise_event`."""
        self._send(wire.raise_event(instance_id, name, data, idempotency_key))

    def terminate(self, instance_id: str, reason: str = "", *, recurse: bool = False) -> None:
        """End an instance now; with `recurse`, its running sub-orchestrations too, also if it has ended itself."""
        self._send(wire.change(instance_id, "terminate", reason=reason, recurse=recurse))

    def suspend(self, instance_id: str, reason: str = "") -> None:
        """Let an instance take its messages, but not go on, until it is resumed."""
        self._send(wire.change(instance_id, "suspend", reason=reason))

    def resume(self, instance_id: str, reason: str = "") -> None:
        """Let a suspended instance go on."""
        self._send(wire.change(instance_id, "resume", reason=reason))

    def rewind(self, instance_id: str, reason: str = "") -> None:
        """Set a failed instance back to where it went wrong. See `bide.Client.rewind`."""
        self._send(wire.change(instance_id, "rewind", reason=reason))

    def restart(self, instance_id: str, *, new_instance_id: bool = True) -> str:
        """Start again with the same function, input and tags; returns the id."""
        uris = self._send(wire.restart(instance_id, new_instance_id))
        return uris["id"]

    def purge(self, instance_id: str) -> None:
        """Delete an ended instance with its history."""
        self._send(wire.purge(instance_id))

    def purge_many(self, where: InstanceFilter, at_most: int | None = None) -> int:
        """Purge the ended instances among those meant; returns how many were deleted."""
        try:
            result = self._send(wire.purge_many(where, at_most))
        except InstanceNotFoundError:
            return 0
        return result.instances_deleted

    def response_link(
        self, instance_id: str, event: str, *, wait_id: int | None = None, valid_for: timedelta | None = None
    ) -> str:
        """A link under which a person can answer one open wait for the event, and do nothing else.

        It is the oldest, or the one whose `id` is given. The link ends with that wait, and after `valid_for`.
        Raises `NotAllowedError` if there is no such wait now, and `InstanceFinishedError`.
        """
        link = self._send(wire.response_link(instance_id, event, wait_id, valid_for))
        return link.url

    # --- watching

    def get(self, instance_id: str) -> Instance:
        """The instance as it is now: times to the second. Raises `InstanceNotFoundError`."""
        return wire.instance_of(self.status(instance_id))

    def status(self, instance_id: str, *, wait: timedelta | None = None) -> StatusObject:
        """All that the server shows of an instance, with its open waits and what may be done to it.

        With `wait`, the answer comes when it has ended, at the latest after that time.
        """
        return self._send(wire.status(instance_id, wait))

    def wait(self, instance_id: str, timeout: timedelta | None = None) -> Instance:
        """Wait until the instance has ended. Raises `InstanceNotFoundError`, and `TimeoutError` after `timeout`."""
        end = None if timeout is None else self._clock.now() + max(0, to_micros(check_span("timeout", timeout)))
        while True:
            left = (
                wire.POLL
                if end is None
                else min(wire.POLL, timedelta(microseconds=max(0, end - self._clock.now())))
            )
            instance = wire.instance_of(self.status(instance_id, wait=left))
            if instance.status.finished:
                return instance
            if end is not None and self._clock.now() >= end:
                raise TimeoutError(f"Instance '{instance_id}' is still {instance.status}.")

    def waits(self, instance_id: str) -> list[Wait]:
        """Which events the instance waits for, since when and until when."""
        return [wire.wait_of(shown) for shown in self._send(wire.waits(instance_id))]

    def history(self, instance_id: str) -> list[Step]:
        """What happened in the instance's present generation."""
        return list((self._send(wire.history(instance_id))).steps)

    def shown_history(self, instance_id: str) -> wire.History:
        """The same with the name and the generation, as the server shows it; `bide replay` reads its JSON."""
        return self._send(wire.history(instance_id))

    def orchestrators(self) -> tuple[OrchestratorObject, ...]:
        """What can be started, with the JSON Schema of its input."""
        return self._send(wire.orchestrators())

    def counts(self, where: InstanceFilter = _EVERYTHING) -> dict[RuntimeStatus, int]:
        """How many instances there are of each status that occurs."""
        return self._send(wire.counts(where))

    def workers(self) -> tuple[WorkerObject, ...]:
        """The workers there are, and the last of those there were; the one that started last first."""
        return self._send(wire.workers())

    # --- lists, page by page as they are read

    def statuses(self, where: InstanceFilter = _EVERYTHING, *, page: int = _PAGE) -> Iterator[StatusObject]:
        """All instances that are meant, newest first, as the server shows them."""
        for found in self._pages(lambda token: wire.instances(where, page, token)):
            yield from found

    def instances(self, where: InstanceFilter = _EVERYTHING) -> Iterator[Instance]:
        """All instances that are meant, newest first."""
        for shown in self.statuses(where):
            yield wire.instance_of(shown)

    def shown_waits(
        self,
        *,
        overdue: bool = False,
        name: str = "",
        orchestrator: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> Iterator[WaitObject]:
        """All open waits as the server shows them: also whether they are overdue."""
        for found in self._pages(lambda token: wire.open_waits(overdue, name, orchestrator, tags, _PAGE, token)):
            yield from found

    def open_waits(
        self,
        *,
        overdue: bool = False,
        name: str = "",
        orchestrator: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> Iterator[Wait]:
        """All open waits, the most urgent first; with `overdue`, those whose deadline has passed. `name` is the
        event's."""
        for shown in self.shown_waits(overdue=overdue, name=name, orchestrator=orchestrator, tags=tags):
            yield wire.wait_of(shown)

    def audit(self, instance_id: str | None = None) -> Iterator[AuditEntry]:
        """Who did what, newest first: to one instance, or to all and the hub."""
        for found in self._pages(lambda token: wire.audit(instance_id, _PAGE, token)):
            for shown in found:
                yield wire.entry_of(shown)

    def events(self, instance_id: str | None = None, *, last_id: str = "") -> Iterator[ServerEvent]:
        """What happens, as it happens: to one instance until it has ended, or (None) to all.

        A broken connection is made again, and the stream goes on where it was. Raises as `get` does.
        """
        reader = EventReader()
        reader.last_id = last_id
        while True:
            for event in self._listen(wire.events(instance_id, reader.last_id), reader):
                yield event
                if event.kind == "end":
                    return
            self._pause(0)

    # --- sending

    def _send(self, request: Request[T]) -> T:
        answer = self._answer(request)
        return request.read(answer.status_code, answer.content)

    def _pages(self, request: Callable[[str], Request[tuple[T, ...]]]) -> Iterator[tuple[T, ...]]:
        token = ""
        while True:
            wanted = request(token)
            answer = self._answer(wanted)
            yield wanted.read(answer.status_code, answer.content)
            token = answer.headers.get(CONTINUATION, "")
            if not token:
                return

    def _answer(self, request: Request[Any]) -> httpx2.Response:
        """The server's answer. What can be repeated is, some times, while the connection breaks."""
        attempt = 0
        while True:
            try:
                return self._http.request(
                    request.method,
                    f"{self.url}{request.path}",
                    params=request.parameters,
                    headers={**request.headers, **self._headers},
                    content=request.body,
                )
            except self._no_address as error:
                raise wire.too_long(error) from None
            except self._broken as error:
                attempt += 1
                if not request.repeatable or attempt == wire.ATTEMPTS:
                    raise wire.unreachable(self.url, error) from error
            self._pause(attempt)

    def _listen(self, request: Request[Any], reader: EventReader) -> Iterator[ServerEvent]:
        headers = {**request.headers, **self._headers}
        try:
            with self._http.stream(
                "GET", f"{self.url}{request.path}", headers=headers, timeout=_SILENCE_S
            ) as stream:
                if stream.status_code != 200:
                    request.read(stream.status_code, stream.read())
                for line in stream.iter_lines():
                    event = reader.feed(line)
                    if event is not None:
                        yield event
        except self._broken as error:
            if not reader.last_id:
                raise wire.unreachable(self.url, error) from error

    def _pause(self, attempt: int) -> None:
        threading.Event().wait(wire.pause_s(attempt))
