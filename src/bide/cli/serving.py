"""Serving an app until the process is asked to stop."""

from __future__ import annotations

import asyncio
import logging
import math
import multiprocessing
import signal
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread

import click
import uvicorn
from msgspec.structs import replace

from bide.access.keys import keys_path
from bide.app import App
from bide.cli.faults import STORE_UNUSABLE, Fault
from bide.cli.first_key import give_first_key
from bide.cli.leaving import leave_soon
from bide.cli.loading import load_app
from bide.cli.options import EVERYWHERE, server_url
from bide.config import Settings, using
from bide.engine.memory import set_aside
from bide.engine.signals import calling_on_stop
from bide.http.app import DurableApi, create_app
from bide.http.gate.auth import is_open
from bide.http.server.protocol import ServerConfig
from bide.store.postgres.address import safe_url

_LISTENING = 32 if find_spec("uvloop") else 1
"""How often the loop gets the same socket. uvloop takes one new connection for each in a turn, so under load
callers would wait for as many turns as there are callers before them. asyncio takes all that wait, and Windows lets
a socket be used once."""


def listen(settings: Settings) -> socket.socket:
    """The socket to serve on.

    Raises `Fault` if the port is taken or not allowed, or if callers need a key and there is no place for keys.
    """
    if not is_open(settings) and settings.db == ":memory:":
        raise Fault("Callers need a key, and a database in memory has no place for keys. Try --db bide.db.")
    host, port = settings.host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    # On Windows, SO_REUSEADDR would let another process take the port away.
    listener.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR), 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)  # callers are served as soon as the app is ready, not refused until then
    except OSError as error:
        listener.close()
        raise Fault(f"Port {port} on {host} cannot be used: {error.strerror}. Try --port {port + 1}.") from error
    listener.set_inheritable(True)
    return listener


def url(listener: socket.socket) -> str:
    """Where callers on this machine find it."""
    host, port = listener.getsockname()[:2]
    return server_url(host, port)


def configure_logging() -> None:
    """Log to stderr. A user's own configuration stays as it is."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for name in ("uvicorn", "httpx2", "httpcore2", "httpx", "httpcore"):
        # At INFO, HTTP clients log whole URLs, which may hold phone numbers and keys.
        logging.getLogger(name).setLevel(logging.WARNING)


def serve(app: App, settings: Settings, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Run the app and its API until SIGINT or SIGTERM, then let what runs come to its end (`Settings.drain_s`).

    Calls `ready` once the app runs. Where callers need a key and there is none yet, one is made (`first_key.py`).
    Raises `StoreError` if the database, or the file of keys, cannot be used, also if that is found while it runs.
    """
    settings = replace(settings, port=listener.getsockname()[1])  # the one that was found, if any would do
    api = create_app(app, settings)
    config = ServerConfig(
        api,
        settings,
        loop=_event_loop(),
        lifespan="off",  # entered here, so that its errors arrive here
        log_config=None,
        access_log=False,  # it would log query strings
        server_header=False,
        timeout_graceful_shutdown=max(1, math.ceil(settings.drain_s)),
    )

    def announce() -> None:
        set_aside()
        ready()
        give_first_key(settings, url(listener))

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_serve(api, _Server(config), listener, announce))


def _event_loop() -> str:
    """uvicorn's choice; but Windows ties a socket to the first process whose Proactor loop has used it."""
    may_be_replaced = multiprocessing.parent_process() is not None
    return "asyncio:SelectorEventLoop" if sys.platform == "win32" and may_be_replaced else "auto"


def serve_file(
    path: Path, name: str | None, settings: Settings, debug: bool, sockets: list[socket.socket] | None = None
) -> None:
    """Load the file and serve its App on the first of the sockets."""
    assert sockets
    with using(settings):
        app = load_app(path, name, debug=debug)
    configure_logging()  # after the file, so that it may have configured its own
    serve(app, settings, sockets[0], lambda: click.echo(banner(path, app, settings, url(sockets[0])), err=True))


def banner(path: Path, app: App, settings: Settings, url: str) -> str:
    """What is served, and where."""
    lines = [
        f"Serving {path} on {url}",
        f"  dashboard:     {url}/",
        f"  database:      {shown(settings.db)}",
        f"  orchestrators: {', '.join(sorted(app.registry.orchestrators)) or 'none yet'}",
        f"  API:           {url}/docs",
    ]
    if settings.host in EVERYWHERE:
        lines.insert(1, "  addresses:     all of this machine")
    if settings.public_url:
        lines.append(f"  public URL:    {settings.public_url}")
    elif settings.host in EVERYWHERE:
        lines.append("  public URL:    not set, so links to people work on this machine only")
    if not is_open(settings):
        where = "in the database" if settings.on_server else keys_path(settings.db)
        lines.append(f"  keys:          every caller needs one ({where})")
    return "\n".join(lines)


async def _serve(
    api: DurableApi, server: uvicorn.Server, listener: socket.socket, ready: Callable[[], None]
) -> None:
    exit_code = 0
    try:
        async with api.lifespan():
            assert api.lost is not None
            api.lost.add_done_callback(lambda _: _stop(api, server, signal.SIGTERM))
            with _stopping_on_signals(partial(_leave, api, server)):
                ready()
                await server.serve(sockets=[listener, *(listener.dup() for _ in range(_LISTENING - 1))])
            if api.lost.done():
                exit_code = STORE_UNUSABLE
                raise api.lost.result()
    finally:
        leave_soon(exit_code)


def _leave(api: DurableApi, server: uvicorn.Server, received: signal.Signals | None = None) -> None:
    """On SIGTERM, let load balancers look away before requests are refused (`Settings.leave_s`)."""
    if received is signal.SIGTERM and api.settings.leave_s and not api.leaving:
        api.leaving = True
        asyncio.get_running_loop().call_later(api.settings.leave_s, _stop, api, server, received)
    else:
        _stop(api, server, received or signal.SIGTERM)


def _stop(api: DurableApi, server: uvicorn.Server, received: signal.Signals) -> None:
    """Take no more requests, and end the answers that would not end by themselves."""
    server.handle_exit(received, None)
    api.state.streams.close()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Nothing: uvicorn would raise the signal again after serving, and so end the process before the drain."""
        yield


@contextmanager
def _stopping_on_signals(stop: Callable[..., None]) -> Generator[None, None, None]:
    """Call `stop` on SIGINT and SIGTERM (with the signal), and when the process that supervises this one dies.

    Afterwards SIGTERM stays without effect, because the drain is under way; SIGINT cuts it short.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        stop_orphaned = partial(asyncio.get_running_loop().call_soon_threadsafe, stop)
        Thread(target=_outlive, args=(parent, stop_orphaned), name="bide-orphaned", daemon=True).start()
    with calling_on_stop(stop):
        yield


def _outlive(parent: BaseProcess, stop: Callable[[], object]) -> None:
    parent.join()
    with suppress(RuntimeError):  # the loop has ended meanwhile
        stop()


def shown(db: str) -> str:
    """A database in words."""
    return "in memory, lost when this process ends" if db == ":memory:" else safe_url(db)
