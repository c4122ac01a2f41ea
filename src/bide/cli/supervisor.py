"""A server in a process of its own, which is started again when it is killed.

The listening socket stays open here meanwhile, so callers wait, and are not refused. When this process is killed,
the server notices, and stops by itself (`serving`).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from signal import Signals

import click

from bide.engine.signals import calling_on_stop, ctrl_c_blocked, ignore_ctrl_c, was_killed

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
        with calling_on_stop(self._stop):
            return await self._serve_until_stopped()

    async def _serve_until_stopped(self) -> int:
        exit_code = await self._serve_once(first=True)
        while was_killed(exit_code) and not self._stopping.is_set():
            click.echo("The worker was killed; starting it again.", err=True)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _OUTAGE_S)
            if not self._stopping.is_set():
                exit_code = await self._serve_once(first=False)
        return 0 if was_killed(exit_code) else exit_code

    async def _serve_once(self, *, first: bool) -> int:
        arguments = (self._serve, self._listener, first)
        self._process = process = get_context("spawn").Process(target=_serve_in_child, args=arguments)
        _start(process)
        await asyncio.to_thread(wait, [process.sentinel])
        process.join()
        assert process.exitcode is not None
        return process.exitcode

    def _stop(self, received: Signals) -> None:
        self._stopping.set()
        if self._process is not None and self._process.is_alive():
            self._process.terminate()


def _start(process: BaseProcess) -> None:
    """Ctrl+C reaches both processes. The new one begins with SIGINT blocked; here it waits until that is done."""
    resource_tracker.ensure_running()  # started with the process, it would unblock the signal again
    with ctrl_c_blocked():
        process.start()


def _serve_in_child(serve: Callable[[socket.socket, bool], None], listener: socket.socket, first: bool) -> None:
    # Until the server has its own answer to Ctrl+C, the supervisor's SIGTERM must do.
    ignore_ctrl_c()
    serve(listener, first)
