"""What callers do with instances: start, answer, watch and end them.

Every verb that changes something returns only when the change is durable (G1). It raises `BusyError` if the worker
has too much to do (nothing was changed), and `CommitUnknownError` if the database did not confirm the write.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

from msgspec import Raw

from holdfast.batch import Message
from holdfast.clock import Clock
from holdfast.core.registry import Function, Registry, check_input
from holdfast.engine.worker import Worker
from holdfast.errors import HoldfastError, InstanceNotFoundError, NotAllowedError
from holdfast.history import (
    EventRaised,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    Step,
)
from holdfast.instance import Instance, Wait, check_event_name, check_instance_id
from holdfast.payload import decoder, encode
from holdfast.store.protocol import Store


class Client:
    """The in-process client of a running app."""

    def __init__(self, worker: Worker, store: Store, registry: Registry, clock: Clock) -> None:
        self._worker = worker
        self._store = store
        self._registry = registry
        self._new_id = partial(new_instance_id, clock, random.SystemRandom())

    @property
    def ready(self) -> bool:
        """True while the worker owns its partitions and the database confirms its commits."""
        return self._worker.ready

    # --- changing

    async def start(
        self, orchestrator: str | Function, input: object = None, *, instance_id: str | None = None
    ) -> str:
        """Start an instance; returns its id.

        `input` is the orchestrator's parameter, or a dict of them if it has several. With an `instance_id`, the
        same start can be repeated safely (G2).

        Raises `FunctionNotFoundError`, `PayloadError` if the input does not fit, and `InstanceExistsError` if the
        id is taken by an instance with another function or input.
        """
        definition = self._registry.orchestrator(orchestrator)
        input_json = _payload(input)
        check_input(definition, input_json)
        fact = ExecutionStarted(definition.name, input_json)
        fresh = instance_id is None
        started_id = self._new_id() if instance_id is None else check_instance_id(instance_id)
        await self._send(Message(started_id, fact, fresh=fresh))
        return started_id

    async def raise_event(self, instance_id: str, name: str, data: object = None) -> None:
        """Give an instance the named event, with JSON data. It is kept if nobody waits for it yet (G4).

        Raises `InstanceNotFoundError`, `InstanceFinishedError`, and `PayloadError` if the open wait's type
        refuses the data; then the wait stays open.
        """
        await self._send(Message(instance_id, EventRaised(check_event_name(name), _payload(data))))

    async def terminate(self, instance_id: str, reason: str = "", *, recurse: bool = False) -> None:
        """End an instance now; with `recurse`, its running sub-orchestrations too.

        Raises `InstanceNotFoundError` and `InstanceFinishedError`.
        """
        await self._send(Message(instance_id, ExecutionTerminated(_text(reason), recurse)))

    async def suspend(self, instance_id: str, reason: str = "") -> None:
        """Let an instance take its messages, but not go on, until it is resumed. Suspending twice is once.

        Raises `InstanceNotFoundError` and `InstanceFinishedError`.
        """
        await self._send_if_needed(Message(instance_id, ExecutionSuspended(_text(reason))))

    async def resume(self, instance_id: str, reason: str = "") -> None:
        """Let a suspended instance go on. Resuming a running one changes nothing.

        Raises `InstanceNotFoundError` and `InstanceFinishedError`.
        """
        await self._send_if_needed(Message(instance_id, ExecutionResumed(_text(reason))))

    async def restart(self, instance_id: str, *, new_instance_id: bool = True) -> str:
        """Start again with the same function and input; returns the id.

        With `new_instance_id` as another instance; otherwise as the same one, which must have ended
        (`NotAllowedError`), and whose history is replaced. Raises `InstanceNotFoundError`.
        """
        instance = await self.get(instance_id)
        if new_instance_id:
            return await self.start(instance.name, instance.input_json)
        fact = ExecutionStarted(instance.name, instance.input_json, instance.parent)
        await self._send(Message(instance_id, fact, restart=True))
        return instance_id

    # --- watching

    async def get(self, instance_id: str) -> Instance:
        """The instance as it is now. Raises `InstanceNotFoundError`."""
        instance = await self._store.instance(instance_id)
        if instance is None:
            raise InstanceNotFoundError(instance_id)
        return instance

    async def waits(self, instance_id: str) -> list[Wait]:
        """Which events the instance waits for, since when and until when (G9). Raises `InstanceNotFoundError`."""
        await self.get(instance_id)
        return await self._store.waits(instance_id)

    async def history(self, instance_id: str) -> list[Step]:
        """What happened in the instance's present generation. Raises `InstanceNotFoundError`."""
        await self.get(instance_id)
        return await self._store.history(instance_id)

    async def wait(self, instance_id: str, timeout: timedelta | None = None) -> Instance:  # noqa: ASYNC109
        """Wait until the instance has ended. Raises `InstanceNotFoundError`, and `TimeoutError` after `timeout`."""
        ended: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        forget = self._worker.watch_end(instance_id, partial(_set, ended))
        try:
            instance = await self.get(instance_id)
            if instance.status.finished:
                return instance
            async with asyncio.timeout(None if timeout is None else timeout.total_seconds()):
                return await ended
        finally:
            forget()

    # --- sending

    async def _send(self, message: Message) -> None:
        accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._worker.submit(message, partial(_settle, accepted))
        await accepted

    async def _send_if_needed(self, message: Message) -> None:
        with suppress(NotAllowedError):  # it is so already
            await self._send(message)


def _payload(value: object) -> Raw:
    """The value as JSON text. `Raw` is read once, because nobody could read a history with broken JSON in it."""
    text = encode(value)
    if isinstance(value, Raw):
        decoder(Any)(text)
    return text


def _text(reason: str) -> str:
    encode(reason)  # raises PayloadError for what no database can keep
    return reason


def _set(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _settle(future: asyncio.Future[None], error: HoldfastError | None) -> None:
    if future.done():  # the caller has gone
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def new_instance_id(clock: Clock, source: random.Random) -> str:
    """32 hex digits that grow with time (the layout of a version 7 UUID, RFC 9562), so that rows land in order."""
    milliseconds = clock.now() // 1000
    bits = milliseconds << 80 | 0x7 << 76 | source.getrandbits(12) << 64 | 0b10 << 62 | source.getrandbits(62)
    return f"{bits:032x}"
