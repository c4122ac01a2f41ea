"""A server in a process of its own, which is started again when it is killed.

The listening socket stays open here meanwhile, so callers wait, and are not refused. When this process is killed,
the server notices, and stops by itself (`serving`).
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.process import BaseProcess

import click

_OUTAGE_S = 2.0
"""How long the server stays away: long enough to be seen."""


def supervise(serve: Callable[[socket.socket, bool], None], listener: socket.socket) -> int:
    """Run `serve` (a picklable function) until it ends by itself, or until SIGINT or SIGTERM.

    It gets the socket, and whether it is the first time. Returns its exit code, and 0 if a signal ended it.
    """
    return asyncio.run(_Supervisor(serve, listener).run())


class _Supervisor:
    def __init__(self, serve: Callable[[socket.socket, bool], None], listener: socket.socket) -> None:
        self._serve = serve
        self._listener = listener
        self._process: BaseProcess | None = None
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, self._stop)
        exit_code = await self._serve_once(first=True)
        while exit_code < 0 and not self._stopping.is_set():  # negative: it died by a signal
            click.echo("The worker was killed; starting it again.", err=True)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _OUTAGE_S)
            if not self._stopping.is_set():
                exit_code = await self._serve_once(first=False)
        return max(exit_code, 0)

    async def _serve_once(self, *, first: bool) -> int:
        loop = asyncio.get_running_loop()
        arguments = (self._serve, self._listener, first)
        self._process = process = get_context("spawn").Process(target=_serve_in_child, args=arguments)
        _start(process)
        ended = asyncio.Event()
        loop.add_reader(process.sentinel, ended.set)
        await ended.wait()
        loop.remove_reader(process.sentinel)
        process.join()
        assert process.exitcode is not None
        return process.exitcode

    def _stop(self) -> None:
        self._stopping.set()
        if self._process is not None and self._process.is_alive():
            self._process.terminate()


def _start(process: BaseProcess) -> None:
    """Ctrl+C reaches both processes. The new one begins with SIGINT blocked; here it waits until that is done."""
    resource_tracker.ensure_running()  # started with the process, it would unblock the signal again
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _serve_in_child(serve: Callable[[socket.socket, bool], None], listener: socket.socket, first: bool) -> None:
    # Until the server has its own answer to Ctrl+C, the supervisor's SIGTERM must do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    serve(listener, first)
