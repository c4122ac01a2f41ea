"""What callers do with instances: start, answer, watch and end them.

Every verb that changes something returns only when the change is durable (G1). It raises `BusyError` if the worker
has too much to do (nothing was changed), and `CommitUnknownError` if the database did not confirm the write.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from hashlib import blake2b
from typing import NamedTuple

from msgspec import UNSET, Raw
from msgspec.structs import replace

from bide.core.registry import Function, Registry, check_input
from bide.core.showing import opened_instance, shown_instance, shown_steps
from bide.engine.worker import Worker
from bide.errors import BideError, InstanceNotFoundError, NotAllowedError, SealedStep
from bide.model.arguments import check_collection, check_count, check_flag, check_function, check_kind, check_stored
from bide.model.batch import Audit, AuditEntry, Message, RequestKey, Timer
from bide.model.clock import SECOND, Clock, Timestamp, check_span, to_micros
from bide.model.history import (
    EventRaised,
    ExecutionPurged,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    Step,
)
from bide.model.instance import (
    BIRTH_LENGTH,
    UNREADABLE,
    Instance,
    Reuse,
    RuntimeStatus,
    Wait,
    birth_of,
    check_event_name,
    check_instance_id,
    check_key,
    check_reason,
    check_reuse,
    check_tags,
)
from bide.model.metrics import Metrics
from bide.model.payload import ReadJson, check_text, encode, too_large
from bide.model.presence import Presence
from bide.model.query import (
    NEVER,
    FailureCursor,
    InstanceCursor,
    InstanceFilter,
    TimerCursor,
    WaitCursor,
    WaitFilter,
    check_cursor,
    check_filter,
    instance_cursor,
)
from bide.model.sealing import input_place, is_sealed
from bide.store.protocol import Store

_REMEMBERED: Timestamp = 24 * 3_600 * SECOND
"""How long an idempotency key is remembered."""
_PAGE = 200
_TRIES = 100
"""How often to draw an id. With very many workers some are drawn in vain, and those starts travel."""


class Begun(NamedTuple):
    """The instance that a start made, or found. `birth` is empty if that was not known: its row tells."""

    instance_id: str
    birth: str


class Client:
    """The in-process client of a running app.

    Every verb raises `PayloadError` for what cannot be a text, and `TypeError` or `ValueError` for an argument that
    is of another type than it says, or out of range; then nothing was done.
    """

    def __init__(
        self,
        worker: Worker,
        store: Store,
        registry: Registry,
        clock: Clock,
        *,
        caller: str | None = None,
        address: str = "",
        birth: str = "",
        opens: bool = False,
        new_id: Callable[[], str] | None = None,
        new_birth: Callable[[], str] | None = None,
    ) -> None:
        """With a `birth`, it knows only that instance: for whoever has a link or a token that was made for it.

        If it `opens` secrets, `get` and `wait` give an instance with them: for code in this process only.
        """
        self._parts = (worker, store, registry, clock)
        self._worker = worker
        self._sealer = worker.dispatcher.house.sealer
        self._seen = partial(opened_instance, worker.dispatcher.house.sealer) if opens else shown_instance
        self._store = store
        self._registry = registry
        self._clock = clock
        self._caller = caller
        self._address = address
        self._birth = birth
        self._new_birth = new_birth or partial(new_instance_birth, random.SystemRandom())
        self._new_id = new_id or partial(new_instance_id, clock, random.SystemRandom())

    @property
    def ready(self) -> bool:
        """True while the worker owns its partitions and the database confirms its commits."""
        return self._worker.ready and not self._worker.health.failing

    @property
    def metrics(self) -> Metrics:
        """What this process has counted since it started."""
        return self._worker.effects.metrics

    def clock_changed(self) -> None:
        """Let the worker look at its clock now: for clocks that can be set, which no timer hears of by itself."""
        self._worker.sleep.wake_up()

    def on_behalf(self, caller: str, address: str, birth: str = "") -> Client:
        """The same client, whose every change is recorded in the audit: who asked, from where, for what.

        With a `birth`, an instance of another birth is not there for it (`InstanceNotFoundError`), whatever its id.
        """
        return Client(
            *self._parts,
            caller=check_text(caller, "A caller"),
            address=check_text(address, "An address"),
            birth=check_text(birth, "A birth"),
            new_id=self._new_id,
            new_birth=self._new_birth,
        )

    # --- changing

    async def start(
        self,
        orchestrator: str | Function,
        input: object = UNSET,
        *more: object,
        instance_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        reuse: Reuse | None = None,
    ) -> str:
        """Start an instance; returns its id.

        `input` is the orchestrator's parameter. Of several, give them in order, or a dict of them. `tags` are
        names and values to find it by. With an `instance_id`, or an `idempotency_key`, the same start can be
        repeated safely (G2): a key is remembered for 24 hours, and gives the same instance each time.

        `reuse` says what becomes of an instance that has the id already. Without it, the same start once more
        changes nothing, also when the instance has ended. `"never"` refuses any start of that id. `"ended"` deletes
        an instance that has ended (its audit stays) and starts anew. `"replace"` also ends one that runs, with its
        sub-orchestrations. Give an `idempotency_key` with the last two, so that a repetition does it once.

        Raises `FunctionNotFoundError`, `MisfitError` if the input does not fit, `InstanceExistsError` if the
        id is taken by an instance with another function or input, `RequestReusedError` if the key was used for
        another start, `TypeError` for more arguments than it has parameters, and `ValueError` if `reuse` is none of
        the three.
        """
        if more:
            input = self._registry.orchestrator(orchestrator).signature.encode((input, *more), {})
        message = self._to_start(orchestrator, input, instance_id, tags, idempotency_key, reuse)
        await self._send(message, "start", f"reuse={reuse}" if reuse else "")
        return message.instance_id

    async def begin(
        self,
        orchestrator: str | Function,
        input: object = UNSET,
        *,
        instance_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        reuse: Reuse | None = None,
    ) -> Begun:
        """`start`, for who wants to know which of all instances of that id it is."""
        message = self._to_start(orchestrator, input, instance_id, tags, idempotency_key, reuse)
        await self._send(message, "start", f"reuse={reuse}" if reuse else "")
        return _begun(message)

    def _to_start(
        self,
        orchestrator: str | Function,
        input: object,
        instance_id: str | None,
        tags: Mapping[str, str] | None,
        idempotency_key: str | None,
        reuse: Reuse | None,
    ) -> Message:
        reuse = check_reuse(reuse)
        definition = self._registry.orchestrator(orchestrator)
        input_json = (
            encode(input) if isinstance(input, Raw | ReadJson) else definition.signature.encode_input(input)
        )
        if len(input_json) > self._worker.options.max_payload:
            raise too_large(input_json, self._worker.options.max_payload, f"The input of {definition.name}")
        check_input(definition, input_json)
        name, shown = definition.name, {} if tags is None else check_tags(tags)
        signature = definition.signature
        secret = signature.perhaps_secret_input and signature.is_secret_input(input)
        if instance_id is None and idempotency_key is None:
            return self._fresh(name, input_json, secret, shown)
        request = self._request("start", idempotency_key, f"{name}\0{reuse or ''}", input_json)
        started_id = (
            self._id_of(request)
            if instance_id is None and request
            else check_instance_id("" if instance_id is None else instance_id)
        )
        birth = self._new_birth()
        if secret:
            input_json = self._sealer.seal(input_json, input_place(started_id, birth))
        fact = ExecutionStarted(name, input_json, tags=shown, birth=birth)
        return Message(started_id, fact, request=request, reuse=reuse)

    def _fresh(self, name: str, input_json: Raw, secret: bool, tags: dict[str, str]) -> Message:
        """The start of an instance with a new id. No other has it, so a part of it will do for the birth."""
        started_id = self._own_id()
        birth = started_id[-BIRTH_LENGTH:]
        if secret:
            input_json = self._sealer.seal(input_json, input_place(started_id, birth))
        return Message(started_id, ExecutionStarted(name, input_json, tags=tags, birth=birth), fresh=True)

    async def raise_event(
        self, instance_id: str, name: str, data: object = None, *, idempotency_key: str | None = None
    ) -> None:
        """Give an instance the named event, with JSON data. It is kept if nobody waits for it yet (G4).

        With an `idempotency_key`, the same event can be sent again safely within 24 hours.

        Raises `InstanceNotFoundError`, `InstanceFinishedError`, `MisfitError` if the open wait's type
        refuses the data (then the wait stays open), and `RequestReusedError` if the key was used for another event.
        """
        text = self._event_data(data)
        request = None
        if idempotency_key is not None:
            request = self._request("event", idempotency_key, check_event_name(name).lower(), text)
        fact = EventRaised(check_event_name(name), text)
        await self._send(Message(instance_id, fact, request=request), "raiseEvent")

    async def respond(self, wait: Wait, data: object, *, generation: int) -> None:
        """Give this very wait a person's answer, and no other one, whatever waits for the same event.

        `generation` is that of its instance. Raises `WaitClosedError` if the wait is over, `InstanceNotFoundError`,
        `InstanceFinishedError`, and `MisfitError` if the wait's type refuses the data (then the wait stays open).
        """
        check_kind("wait", wait, Wait)
        fact = EventRaised(check_event_name(wait.name), self._event_data(data), check_count("wait.id", wait.id))
        generation = check_stored("generation", generation)
        await self._send(Message(wait.instance_id, fact, generation), "respond")

    async def terminate(self, instance_id: str, reason: str = "", *, recurse: bool = False) -> None:
        """End an instance now; with `recurse`, its running sub-orchestrations too.

        With `recurse`, it may have ended: what it has left, and all below that, is ended. Raises
        `InstanceNotFoundError`, and `InstanceFinishedError` if it has ended, and nothing else is to end.
        """
        fact = ExecutionTerminated(check_reason(reason), check_flag("recurse", recurse))
        await self._send(Message(instance_id, fact), "terminate", fact.reason)

    async def suspend(self, instance_id: str, reason: str = "") -> None:
        """Let an instance take its messages, but not go on, until it is resumed. Suspending twice is once.

        Raises `InstanceNotFoundError` and `InstanceFinishedError`.
        """
        fact = ExecutionSuspended(check_reason(reason))
        await self._send_if_needed(Message(instance_id, fact), "suspend", fact.reason)

    async def resume(self, instance_id: str, reason: str = "") -> None:
        """Let a suspended instance go on, and try one that is held once more. Resuming another one changes nothing.

        Raises `InstanceNotFoundError` and `InstanceFinishedError`.
        """
        fact = ExecutionResumed(check_reason(reason))
        await self._send_if_needed(Message(instance_id, fact), "resume", fact.reason)

    async def rewind(self, instance_id: str, reason: str = "") -> None:
        """Set a failed instance back to where it went wrong, and let it go on from there.

        An activity or sub-orchestration whose failure ended it runs again. If it failed for another reason, its
        code is told the last message once more: mend it first. No event is lost.

        Raises `InstanceNotFoundError`; `InstanceFinishedError` if it ended otherwise; `NotAllowedError` if it has
        not ended, or its code no longer fits its history.
        """
        fact = ExecutionRewound(check_reason(reason))
        await self._send(Message(instance_id, fact), "rewind", fact.reason)

    async def restart(self, instance_id: str, *, new_instance_id: bool = True) -> str:
        """Start again with the same function, input and tags; returns the id.

        With `new_instance_id` as another instance; otherwise as the same one, which must have ended
        (`NotAllowedError`), and whose history is replaced. Raises `InstanceNotFoundError`.
        """
        return (await self.begin_again(instance_id, new_instance_id=new_instance_id)).instance_id

    async def begin_again(self, instance_id: str, *, new_instance_id: bool = True) -> Begun:
        """`restart`, for who wants to know which of all instances of that id it is."""
        check_flag("new_instance_id", new_instance_id)
        instance = await self._row(instance_id)
        if instance.held_by == UNREADABLE:
            raise NotAllowedError(f"Instance '{instance_id}' cannot be restarted. {instance.held}")
        if not new_instance_id:
            fact = ExecutionStarted(instance.name, instance.input_json, instance.parent, instance.tags)
            await self._send(Message(instance_id, fact, restart=True, birth=instance.birth), "restart")
            return Begun(instance_id, instance.birth)
        definition = self._registry.orchestrator(instance.name)
        input_json = self._input_of(instance)
        check_input(definition, input_json)
        secret = definition.signature.secret_input or is_sealed(instance.input_json)
        message = self._fresh(instance.name, input_json, secret, instance.tags)
        await self._send(message, "restart", f"again as {instance_id}")
        return _begun(message)

    def _input_of(self, instance: Instance) -> Raw:
        """The input in clear text. Raises `NotAllowedError` if it cannot be had."""
        try:
            return self._sealer.open(instance.input_json, input_place(instance.id, instance.birth))
        except SealedStep as error:
            raise NotAllowedError(f"Instance '{instance.id}' cannot be restarted. {error}") from None

    async def purge(self, instance_id: str) -> None:
        """Delete an ended instance with its history and its audit; that it was purged is kept.

        Raises `InstanceNotFoundError`, and `NotAllowedError` if it has not ended.
        """
        await self._send(Message(instance_id, ExecutionPurged()), "purge")

    async def purge_many(self, where: InstanceFilter, at_most: int | None = None) -> int:
        """Purge the ended instances among those meant, the newest first. Returns how many were deleted.

        It goes in small steps, so that other work goes on meanwhile; what was deleted stays deleted if it is cut
        short.
        """
        check_kind("where", where, InstanceFilter)
        if at_most is not None:
            check_count("at_most", at_most)
        statuses = [status for status in where.statuses or RuntimeStatus if status.finished]
        if not statuses:
            return 0
        ended, deleted, after = replace(where, statuses=tuple(statuses)), 0, None
        quiet = Client(*self._parts)  # one entry in the audit for all
        while at_most is None or deleted < at_most:
            limit = _PAGE if at_most is None else min(_PAGE, at_most - deleted)
            page = await self._store.instances(ended, after, limit)
            if not page:
                break
            after = instance_cursor(page[-1])
            purged = await asyncio.gather(*(quiet.purge(each.id) for each in page), return_exceptions=True)
            deleted += _count_purged(purged)
        if deleted and self._caller is not None:
            entry = AuditEntry(self._clock.now(), "purge", self._caller, self._address, f"{deleted} instances")
            await self._store.note(entry)
        return deleted

    # --- watching

    async def get(self, instance_id: str) -> Instance:
        """The instance as it is now. Raises `InstanceNotFoundError`.

        What its types say is a `Secret` is there for the app's own client (`App.client`), and hidden from others.
        """
        return self._seen(await self._row(instance_id))

    async def _row(self, instance_id: str) -> Instance:
        """The instance, with what is sealed. Raises `InstanceNotFoundError`."""
        instance_id = _id(instance_id)
        instance = await self._store.instance(instance_id)
        if instance is None or self._is_foreign(instance):
            raise InstanceNotFoundError(instance_id)
        return instance

    def _is_foreign(self, instance: Instance) -> bool:
        return bool(self._birth) and instance.birth != self._birth

    async def waits(self, instance_id: str) -> list[Wait]:
        """Which events the instance waits for, since when and until when (G9). Raises `InstanceNotFoundError`."""
        instance_id = _id(instance_id)
        found = await self._store.waits(instance_id)
        await self._row(instance_id)  # afterwards: a birth that is there still was there before
        return found

    async def names_waited_for(self, instance_id: str) -> list[str]:
        """The names of the events that are waited for under the id now, by whichever instance has it.

        None if there is no such instance. It is a hint for whoever raises an event, and costs one look.
        """
        return sorted({wait.name for wait in await self._store.waits(_id(instance_id))})

    async def history(self, instance_id: str) -> list[Step]:
        """What happened in the instance's present generation, but for secrets. Raises `InstanceNotFoundError`."""
        instance_id = _id(instance_id)
        found = await self._store.history(instance_id)
        await self._row(instance_id)  # afterwards, as above
        return shown_steps(instance_id, found, self._sealer)

    async def histories(self, instance_ids: Collection[str]) -> dict[str, list[Step]]:
        """The histories of several instances; those that do not exist are absent."""
        wanted = [_id(each) for each in check_collection("instance_ids", instance_ids)]
        snapshots = await self._store.load(wanted)
        return {each: shown_steps(each, snapshot.history, self._sealer) for each, snapshot in snapshots.items()}

    async def wait(self, instance_id: str, timeout: timedelta | None = None) -> Instance:  # noqa: ASYNC109
        """Wait until the instance has ended. Raises `InstanceNotFoundError`, and `TimeoutError` after `timeout`."""
        seconds = None if timeout is None else check_span("timeout", timeout).total_seconds()
        instance_id = _id(instance_id)
        ended: asyncio.Future[Instance] = self._worker.sleep.loop.create_future()
        birth = self._birth

        def look(instance: Instance) -> None:
            nonlocal birth
            if ended.done():
                return
            birth = birth or instance.birth
            if instance.birth != birth:  # the one that was waited for is gone
                ended.set_exception(InstanceNotFoundError(instance_id))
            elif instance.status.finished:
                ended.set_result(self._seen(instance))

        forget = self._worker.watch(instance_id, look)
        try:
            if not self._worker.dispatcher.runs(instance_id):
                look(await self._row(instance_id))
            if seconds is None or ended.done():
                return await ended
            async with asyncio.timeout(seconds):
                return await ended
        finally:
            forget()

    @contextmanager
    def watching(self, instance_id: str | None, changed: Callable[[Instance], None]) -> Generator[None, None, None]:
        """Call `changed` with every new state of an instance, or (None) of all instances of this process.

        Once it raises, it is called no more, and the log says why.
        """
        watched = None if instance_id is None else _id(instance_id)
        changed = check_function("changed", changed)
        forget = self._worker.watch(watched, lambda instance: changed(shown_instance(instance)))
        try:
            yield
        finally:
            forget()

    @contextmanager
    def watching_others(self, changed: Callable[[], None]) -> Generator[None, None, None]:
        """Call `changed` when other workers have changed instances: some seconds later, and once for many.

        Once it raises, it is called no more, and the log says why.
        """
        forget = self._worker.watchers.add_for_others(check_function("changed", changed))
        try:
            yield
        finally:
            forget()

    # --- lists

    async def instances(
        self, where: InstanceFilter | None = None, *, after: InstanceCursor | None = None, limit: int = 100
    ) -> list[Instance]:
        """Up to `limit` instances, newest first, beginning after the cursor (`instance_cursor` of the last one).

        Lists show no secrets.
        """
        found = await self._store.instances(
            check_filter(where), check_cursor(after, InstanceCursor), check_count("limit", limit)
        )
        return list(map(shown_instance, found))

    async def counts(self, where: InstanceFilter | None = None) -> dict[RuntimeStatus, int]:
        """How many instances there are of each status that occurs."""
        return await self._store.counts(check_filter(where))

    async def open_waits(
        self,
        *,
        overdue: bool = False,
        name: str = "",
        orchestrator: str = "",
        tags: Mapping[str, str] | None = None,
        after: WaitCursor | None = None,
        limit: int = 100,
    ) -> list[Wait]:
        """Up to `limit` open waits of all instances, the most urgent first (G9).

        With `overdue`, those whose deadline has passed; otherwise narrowed by the event's `name`, the instance's
        `orchestrator` and its `tags`.
        """
        where = WaitFilter(
            due_before=self._clock.now() if check_flag("overdue", overdue) else None,
            name=check_text(name, "An event's name"),
            orchestrator=check_text(orchestrator, "An orchestrator's name"),
            tags={} if tags is None else check_tags(tags),
        )
        return await self._store.open_waits(where, check_cursor(after, WaitCursor), check_count("limit", limit))

    async def failures(
        self, since: timedelta, *, after: FailureCursor | None = None, limit: int = 100
    ) -> list[Instance]:
        """Up to `limit` instances that failed within that time until now, the last one first."""
        begin = max(0, self._clock.now() - to_micros(check_span("since", since)))
        after = check_cursor(after, FailureCursor)
        found = await self._store.failures(begin, after, check_count("limit", limit))
        return list(map(shown_instance, found))

    async def open_timers(
        self, *, overdue: bool = False, after: TimerCursor | None = None, limit: int = 100
    ) -> list[Timer]:
        """Up to `limit` open timers of all instances, the next one first; with `overdue`, those that should have
        fired."""
        due_before = self._clock.now() if check_flag("overdue", overdue) else NEVER
        after = check_cursor(after, TimerCursor)
        return await self._store.open_timers(due_before, after, check_count("limit", limit))

    async def workers(self) -> list[Presence]:
        """The workers there are, and the last of those there were; the one that started last first."""
        return await self._store.workers()

    async def audit(
        self, instance_id: str | None = None, *, before: int | None = None, limit: int = 100
    ) -> list[AuditEntry]:
        """Up to `limit` entries of the audit, newest first: of one instance, or of all and the hub."""
        if before is not None:
            check_stored("before", before)
        wanted = None if instance_id is None else _id(instance_id)
        return await self._store.audit(wanted, before, check_count("limit", limit))

    # --- sending

    async def _send(self, message: Message, verb: str, reason: str = "") -> None:
        instance_id = _id(message.instance_id)
        if instance_id is not message.instance_id:
            message = replace(message, instance_id=instance_id)
        if self._caller is not None:
            audit = Audit(verb, self._caller, self._address, reason)
            message = replace(message, audit=audit, birth=message.birth or ("" if message.fresh else self._birth))
        accepted: asyncio.Future[None] = self._worker.sleep.loop.create_future()
        self._worker.submit(message, partial(_settle, accepted))
        await accepted

    async def _send_if_needed(self, message: Message, verb: str, reason: str) -> None:
        with suppress(NotAllowedError):  # it is so already
            await self._send(message, verb, reason)

    def _request(self, kind: str, key: str | None, name: str, text: Raw) -> RequestKey | None:
        """What an idempotency key stands for. Keys of different callers are different."""
        if key is None:
            return None
        key = check_key(key)
        expires_at = self._clock.now() + _REMEMBERED
        digest, outlives = self._sealer.digest(name.encode(), text), kind == "start"
        return RequestKey(f"{kind}:{self._caller or ''}:{key}", digest, expires_at, outlives)

    def _event_data(self, data: object) -> Raw:
        text = encode(data)
        if len(text) > self._worker.options.max_payload:
            raise too_large(text, self._worker.options.max_payload, "The data of an event")
        return text

    def _own_id(self) -> str:
        """A new id whose instance is stepped here, where its function is, if that can be had."""
        instance_id = self._new_id()
        for _ in range(_TRIES):
            if self._worker.owns(instance_id):
                break
            instance_id = self._new_id()
        return instance_id

    @staticmethod
    def _id_of(request: RequestKey) -> str:
        """The id of an instance whose start was named by a key: each repetition finds it."""
        return blake2b(request.key.encode(), digest_size=16, person=b"start").hexdigest()


def _count_purged(results: Iterable[BaseException | None]) -> int:
    """How many succeeded. Some may have been purged, or restarted, by others meanwhile; other errors are raised."""
    count = 0
    for result in results:
        if result is None:
            count += 1
        elif not isinstance(result, InstanceNotFoundError | NotAllowedError):
            raise result
    return count


def _id(instance_id: object) -> str:
    return check_text(instance_id, "An instance id")


def _settle(future: asyncio.Future[None], error: BideError | None) -> None:
    if future.done():  # the caller has gone
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _begun(message: Message) -> Begun:
    assert isinstance(message.fact, ExecutionStarted)
    return Begun(message.instance_id, message.fact.birth if message.fresh else "")


def new_instance_birth(source: random.Random) -> str:
    """A birth that no other instance of the same id has, had, or will have."""
    return birth_of(source.randbytes(6))


def new_instance_id(clock: Clock, source: random.Random) -> str:
    """32 hex digits that grow with time (the layout of a version 7 UUID, RFC 9562), so that rows land in order."""
    milliseconds = clock.now() // 1000
    chance = source.getrandbits(74)  # asked for at once: each time is a call to the system
    bits = milliseconds << 80 | 0x7 << 76 | chance >> 62 << 64 | 0b10 << 62 | chance & (1 << 62) - 1
    return f"{bits:032x}"
