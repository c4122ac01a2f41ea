"""Running an app: its store, its worker, and what looks after them."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from msgspec.structs import replace
from starlette.routing import BaseRoute

from bide.access.sealing_keys import sealing_keys
from bide.config import Settings
from bide.core.context import ResponseLinks
from bide.core.registry import Registry
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
from bide.model.clock import SECOND, Clock, SyncedClock, SystemClock
from bide.model.links import LinksToNowhere, SignedLinks
from bide.model.metrics import Metrics
from bide.model.presence import Presence
from bide.store.memory import MemoryStore
from bide.store.postgres.address import require_driver
from bide.store.protocol import Store
from bide.store.sqlite.store import SqliteStore


class Runnable(Protocol):
    """What an app is to whoever runs it."""

    registry: Registry
    mounts: list[BaseRoute]
    clock: Clock
    running_client: Client | None

    @property
    def client(self) -> Client:
        """The client of the app while it runs. Raises `RuntimeError` while it does not."""
        ...


class Running(NamedTuple):
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
    app: Runnable,
    settings: Settings,
    clock: Clock,
    options: WorkerOptions | None = None,
    *,
    address_known: bool = True,
) -> AsyncGenerator[Running, None]:
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
            yield Running(Client(worker, store, app.registry, clock), store, worker, secret, clock, lost)
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
        changes=worker.effects.rows_written,
    )


def _store(settings: Settings, clock: Clock, owner: str) -> tuple[Store, Clock]:
    """The store, and the clock that goes with it: workers on many machines go by the one of their database."""
    if settings.db == ":memory:":
        return MemoryStore(), clock
    if settings.on_server:
        require_driver()
        from bide.store.postgres.store import PostgresStore  # its driver is an extra

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
