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
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from holdfast.app import App
from holdfast.cli.faults import Fault
from holdfast.config import Settings
from holdfast.http.app import create_app


def listen(settings: Settings) -> socket.socket:
    """The socket to serve on. Raises `Fault` if the port is taken or not allowed."""
    host, port = settings.host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)  # callers are served as soon as the app is ready, not refused until then
    except OSError as error:
        listener.close()
        raise Fault(f"Port {port} on {host} cannot be used: {error.strerror}. Try --port {port + 1}.") from error
    listener.set_inheritable(True)
    return listener


def url(listener: socket.socket) -> str:
    """Where callers find it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


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

    Calls `ready` once the app runs. Raises `StoreError` if the database cannot be used.
    """
    api = create_app(app, settings)
    config = uvicorn.Config(
        api,
        lifespan="off",  # entered here, so that its errors arrive here
        log_config=None,
        access_log=False,  # it would log query strings
        server_header=False,
        timeout_graceful_shutdown=max(1, math.ceil(settings.drain_s)),
    )
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_serve(api, _Server(config), listener, ready))


async def _serve(
    api: Starlette, server: uvicorn.Server, listener: socket.socket, ready: Callable[[], None]
) -> None:
    async with api.router.lifespan_context(api):
        with _stopping_on_signals(server):
            ready()
            await server.serve(sockets=[listener])


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Nothing: uvicorn would raise the signal again after serving, and so end the process before the drain."""
        yield


@contextmanager
def _stopping_on_signals(server: uvicorn.Server) -> Generator[None, None, None]:
    """Stop the server on SIGINT and SIGTERM, and when the process that supervises this one dies.

    Afterwards SIGTERM stays without effect, because the drain is under way; SIGINT cuts it short.
    """
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, server.handle_exit, name, None)
    parent = multiprocessing.parent_process()
    if parent is not None:
        loop.add_reader(parent.sentinel, _stop, server, parent.sentinel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def _stop(server: uvicorn.Server, sentinel: int) -> None:
    asyncio.get_running_loop().remove_reader(sentinel)
    server.should_exit = True


def shown(db: str) -> str:
    """A database in words."""
    return "in memory, lost when this process ends" if db == ":memory:" else str(Path(db))
