"""Signals where the system has them, and what takes their place on Windows.

What differs there: an orchestrator that blocks (`time.sleep`) is interrupted when the blocking call returns, not in
its midst; one that spins is interrupted as elsewhere. A process that ends itself at once does it with an exit code.
"""

from __future__ import annotations

import asyncio
import os
import signal
from _thread import interrupt_main
from collections.abc import Callable, Generator
from contextlib import contextmanager

INTERRUPT: signal.Signals = getattr(signal, "SIGURG", signal.SIGILL)
"""Nobody else sends it: SIGURG is ignored by default, and Windows never raises SIGILL by itself."""

_STOPPING = (signal.SIGINT, signal.SIGTERM)
_ENDED_AT_ONCE = 137
"""The exit code of a process that was killed, as a shell on POSIX shows it."""


def interrupt(main_thread: int) -> None:
    """Have the handler of `INTERRUPT` run in the main thread, whose identifier this is."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main_thread, INTERRUPT)
    else:
        interrupt_main(INTERRUPT)


@contextmanager
def calling_on_stop(call: Callable[[signal.Signals], None]) -> Generator[None, None, None]:
    """Call back in the running loop, with the signal, when the process is asked to stop: by SIGINT or SIGTERM.

    Afterwards SIGTERM stays without effect as long as the loop runs; SIGINT has its usual one.
    """
    loop = asyncio.get_running_loop()
    try:
        for name in _STOPPING:
            loop.add_signal_handler(name, call, name)
    except NotImplementedError:
        with _calling_by_handlers(loop, call):
            yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


@contextmanager
def _calling_by_handlers(
    loop: asyncio.AbstractEventLoop, call: Callable[[signal.Signals], None]
) -> Generator[None, None, None]:
    def handle(number: int, frame: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(call, signal.Signals(number))

    for name in _STOPPING:
        signal.signal(name, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def ctrl_c_blocked() -> Generator[None, None, None]:
    """Keep SIGINT waiting; a process that is started meanwhile begins so, where the system has that."""
    _mask_ctrl_c("SIG_BLOCK")
    try:
        yield
    finally:
        _mask_ctrl_c("SIG_UNBLOCK")


def ignore_ctrl_c() -> None:
    """Let SIGINT have no effect, also if this process was started with it blocked."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _mask_ctrl_c("SIG_UNBLOCK")


def _mask_ctrl_c(how: str) -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(getattr(signal, how), {signal.SIGINT})


def end_at_once() -> None:
    """End this process as `kill -9` does: nothing of it has a chance to clean up."""
    if hasattr(signal, "SIGKILL"):
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(_ENDED_AT_ONCE)


def was_killed(exit_code: int) -> bool:
    """Whether a process ended by a signal, or by `end_at_once`."""
    return exit_code < 0 or exit_code == _ENDED_AT_ONCE
