"""The composition root: a user's functions, and what it takes to run them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, overload

from starlette.routing import BaseRoute

from bide.config import Settings
from bide.core.calls import Reconcile, not_inside_orchestrators
from bide.core.registry import ActivityDefinition, Registry, Signature
from bide.engine.client import Client
from bide.engine.options import WorkerOptions
from bide.model.clock import Clock, SystemClock, to_datetime
from bide.running import run

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
