"""The composition root: a user's functions, and what it takes to run them."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

from msgspec.structs import replace
from starlette.routing import BaseRoute

from bide.clock import SECOND, Clock, SyncedClock, SystemClock, to_datetime
from bide.config import Settings
from bide.core.calls import Reconcile, not_inside_orchestrators
from bide.core.context import ResponseLinks
from bide.core.registry import ActivityDefinition, Registry, Signature
from bide.core.replay import Executions
from bide.engine.activities import ActivityRunner
from bide.engine.client import Client
from bide.engine.clockwatch import ClockWatch, say_if_behind
from bide.engine.code_version import code_version
from bide.engine.heartbeat import Heartbeat, presence_of
from bide.engine.memory import search_less_often
from bide.engine.options import WorkerOptions
from bide.engine.supervision import Supervisor
from bide.engine.watchdog import Watchdog
from bide.engine.worker import Worker
from bide.errors import StoreReplacedError
from bide.links import LinksToNowhere, SignedLinks
from bide.metrics import Metrics
from bide.presence import Presence
from bide.sealing_keys import sealing_keys
from bide.store.address import require_driver
from bide.store.memory import MemoryStore
from bide.store.protocol import Store
from bide.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from bide.http.app import DurableApi

F = TypeVar("F", bound=Callable[..., Any])


class App:
    """Orchestrators and activities that run together.

    `mounts` are further routes to be served beside the management API; `clock` is what the app runs by, if nothing
    else is asked for.
    """

    def __init__(self) -> None:
        self.registry = Registry()
        self.mounts: list[BaseRoute] = []
        self.clock: Clock = SystemClock()
        self.running_client: Client | None = None  # set by whoever runs the app

    # --- declaring

    @overload
    def orchestrator(self, function: F, /) -> F: ...
    @overload
    def orchestrator(self, /, *, name: str | None = None) -> Callable[[F], F]: ...
    def orchestrator(self, function: F | None = None, /, *, name: str | None = None) -> F | Callable[[F], F]:
        """Declare an orchestrator: `async def` (or a generator function), its first parameter the context.

        `name` is how others call it, in upper or lower case; by default the function's own. The function stays as
        it is.
        """

        def declare(function: F) -> F:
            self.registry.add_orchestrator(name or function.__name__, function)
            return function

        return declare if function is None else declare(function)

    @overload
    def activity(self, function: F, /) -> F: ...
    @overload
    def activity(
        self,
        /,
        *,
        name: str | None = None,
        once: bool = False,
        reconcile: Reconcile | None = None,
        unknown_on: tuple[type[Exception], ...] = (),
        timeout: timedelta | None = None,
        max_concurrent: int | None = None,
    ) -> Callable[[F], F]: ...
    def activity(
        self,
        function: F | None = None,
        /,
        *,
        name: str | None = None,
        once: bool = False,
        reconcile: Reconcile | None = None,
        unknown_on: tuple[type[Exception], ...] = (),
        timeout: timedelta | None = None,
        max_concurrent: int | None = None,
    ) -> F | Callable[[F], F]:
        """Declare an activity: a function that does something in the world. `async def` runs on the event loop,
        `def` in a thread.

        With `once`, its body is never repeated blindly after a crash (G5): `reconcile(call)`, `async def` or `def`
        as well, is asked first, and answers `Done(result)`, `NotDone()` or `Unknown()`. The errors in
        `unknown_on`, and running out of `timeout`, count as a crash: nobody knows what was done.

        `timeout` limits one attempt; `max_concurrent` how many run at once in one worker. The function can be
        called as before, but not inside an orchestrator: there, `await ctx.call_activity(function, ...)` is the
        way. Raises `ValueError` for `reconcile` or `unknown_on` without `once`.
        """
        if not once and (reconcile is not None or unknown_on):
            raise ValueError("reconcile and unknown_on belong to once=True")

        def declare(function: F) -> F:
            definition = ActivityDefinition(
                name or function.__name__,
                function,
                Signature(function, skip=0),
                once,
                reconcile,
                unknown_on,
                timeout,
                max_concurrent,
            )
            called = not_inside_orchestrators(function)
            self.registry.add_activity(definition, called)
            return called

        return declare if function is None else declare(function)

    def utc_now(self) -> datetime:
        """The present instant by `clock`, for activities and carriers. Orchestrators have their context's."""
        return to_datetime(self.clock.now())

    # --- running

    @property
    def client(self) -> Client:
        """The client of the app while it runs in this process: to start and answer from your own code.

        Raises `RuntimeError` while it does not run.
        """
        if self.running_client is None:
            raise RuntimeError(
                "The app does not run in this process yet. It runs while the lifespan of `app.asgi()` is entered, "
                "or inside `async with app.running() as client`. A program beside it takes bide.client.Client."
            )
        return self.running_client

    def asgi(self, settings: Settings | None = None) -> DurableApi:
        """The management API as an ASGI application, to be served, or mounted in another app.

        The app around it must enter its `lifespan`, for example `FastAPI(lifespan=durable.lifespan)`; without it,
        every request is refused. The application's `client` starts and answers from your own endpoints. Links of
        `response_url` need the setting `public_url`, as nothing else says under which address people reach it;
        without it, an instance that asks for one is held.

        Raises `DevelopmentOnlyError` if one of the app's own routes is for development, and the settings are not.
        """
        from bide.http.app import DurableApi  # it is above: whoever only runs the app does not need it

        return DurableApi(self, settings or Settings(), served_by_us=False)

    @asynccontextmanager
    async def running(
        self, settings: Settings | None = None, *, clock: Clock | None = None, options: WorkerOptions | None = None
    ) -> AsyncGenerator[Client, None]:
        """Run the app in this process, and give its client.

        On leaving, it takes no more messages, lets activities end (`Settings.drain_s`), and closes the database.
        Python's search for cycles is set to look less often (`gc.set_threshold`), unless you have set it yourself.
        Nothing is served: links of `response_url` need the setting `public_url`, the address of the server that
        people reach; without it, an instance that asks for one is held. Raises `StoreError` if the database cannot
        be used.
        """
        async with run(self, settings or Settings(), clock or self.clock, options, address_known=False):
            yield self.client


class Hub(NamedTuple):
    """A running app, as the edges see it."""

    client: Client
    """Shows no secrets: for what callers are told."""
    store: Store
    worker: Worker
    secret: bytes
    clock: Clock
    """What it runs by: with a database that workers share, the database's."""
    lost: asyncio.Future[StoreReplacedError]
    """Done when the database's file was deleted or replaced: nothing goes on, and the process should end."""


@asynccontextmanager
async def run(
    app: App,
    settings: Settings,
    clock: Clock,
    options: WorkerOptions | None = None,
    *,
    address_known: bool = True,
) -> AsyncGenerator[Hub, None]:
    """What `App.running` does, for those who serve the app: at the address in the settings, or at one that only
    `public_url` tells."""
    search_less_often()
    owner = _owner_name()
    async with open_store(settings, clock, owner) as (store, clock):
        secret = await store.secret()
        say_if_behind(clock, await store.workers())
        metrics = Metrics(clock.now())
        options = options or _worker_options(settings)
        sealer = sealing_keys(settings, secret)
        runner = ActivityRunner(app.registry, secret, sealer, clock, metrics, max_payload=options.max_payload)
        executions = Executions(
            app.registry,
            _links(secret, settings, address_known),
            sealer,
            strict=options.strict_replay,
            max_payload=options.max_payload,
        )
        version = code_version(app.registry)
        worker = Worker(store, executions, clock, runner, owner, sealer, metrics, options, version)
        presence = presence_of(owner, app.registry, version, clock)
        heartbeat = Heartbeat(store, clock, presence, partial(_load, worker, runner), worker.renew_now)
        lost: asyncio.Future[StoreReplacedError] = asyncio.get_running_loop().create_future()
        watchdog = Watchdog(lambda: executions.stepping.now, settings.step_limit_s)
        watchdog.start()
        store.listen(owner, worker.mail_came, worker.partitions_came_free)
        supervisor = Supervisor(worker, fell=heartbeat.hurry, lost=lost.set_result)
        supervisor.start()
        beating = asyncio.create_task(heartbeat.run())
        watching = asyncio.create_task(ClockWatch(clock, worker.sleep.wake_up).run())
        awaiting = asyncio.create_task(supervisor.watch())
        client = app.running_client = Client(worker, store, app.registry, clock, opens=True)
        try:
            yield Hub(Client(worker, store, app.registry, clock), store, worker, secret, clock, lost)
        finally:
            if app.running_client is client:
                app.running_client = None
            worker.refuse()
            await runner.drain(0 if lost.done() else settings.drain_s)
            worker.stop()
            await supervisor.end()
            watching.cancel()
            awaiting.cancel()
            beating.cancel()
            await heartbeat.end()
            with suppress(StoreReplacedError):  # it has been said
                await worker.release()
            watchdog.stop()


@asynccontextmanager
async def open_store(settings: Settings, clock: Clock, owner: str) -> AsyncGenerator[tuple[Store, Clock], None]:
    """The database, open, and the clock that goes with it. Raises `StoreError` if it cannot be used."""
    store, clock = _store(settings, clock, owner)
    await store.open()
    try:
        yield store, clock
    finally:
        await store.close()


def _worker_options(settings: Settings) -> WorkerOptions:
    return WorkerOptions(
        retention=round(settings.retention_days * 86_400 * SECOND) if settings.retention_days else None,
        strict_replay=settings.strict_replay,
        max_payload=settings.max_payload_bytes,
    )


def _load(worker: Worker, runner: ActivityRunner, presence: Presence) -> Presence:
    return replace(
        presence,
        failing=worker.health.failing,
        partitions=len(worker.dispatcher.epochs),
        live_instances=len(worker.dispatcher.instances),
        running_activities=len(runner.running),
        outlived_activities=runner.outlived,
        queued_messages=worker.queued,
        changes=worker.effects.changes,
    )


def _store(settings: Settings, clock: Clock, owner: str) -> tuple[Store, Clock]:
    """The store, and the clock that goes with it: workers on many machines go by the one of their database."""
    if settings.db == ":memory:":
        return MemoryStore(), clock
    if settings.on_server:
        require_driver()
        from bide.store.postgres import PostgresStore  # its driver is an extra

        shared = SyncedClock()
        store = PostgresStore(settings.db, shared.heard, owner)
        return store, shared if isinstance(clock, SystemClock) else clock
    return SqliteStore(Path(settings.db), writer_thread=settings.writer_thread), clock


_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - listening on all addresses, and one that is known


def _links(secret: bytes, settings: Settings, address_known: bool) -> ResponseLinks:
    if address_known or settings.public_url:
        return SignedLinks(secret, _base_url(settings))
    return LinksToNowhere()


def _base_url(settings: Settings) -> str:
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = _ANY.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _owner_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{random.SystemRandom().getrandbits(32):08x}"
