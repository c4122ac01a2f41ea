"""Finds an orchestrator that runs for seconds without awaiting anything, and stops it.

Orchestrators run on the event loop's thread, so one that spins or blocks would stop everybody. A thread of the
watchdog looks at what is being stepped; after the limit it reports where the code is, and sends the loop's thread a
signal, whose handler raises `RunawayStep` inside the orchestrator. The partition then holds the instance.

A signal also interrupts blocking calls such as `time.sleep`, which an exception set from another thread does not
(Windows: see `signals`). Python delivers signals to the main thread only: where the loop runs in another thread, a
runaway step is reported but cannot be stopped.

Code in which a debugger waits for a person does not run: it is neither reported nor stopped, and that time does not
count. Being traced is no reason by itself, because coverage measurement traces as well.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from bide.core.execution import Execution
from bide.engine.signals import INTERRUPT, interrupt
from bide.errors import RunawayStep

log = logging.getLogger("bide.worker")

_DEBUGGERS = frozenset({"bdb.py", "pdb.py", "pydevd.py"})
"""Their files: `bdb` is what pdb, ipdb and pudb are made of, `pydevd` serves VS Code and PyCharm."""
_WAITING = frozenset(
    {"user_call", "user_line", "user_opcode", "user_return", "user_exception", "interaction", "do_wait_suspend"}
)
"""The functions that a debugger calls in the thread that it holds, and in which it waits for a person."""


class Watchdog:
    """Watches the thread that calls `start`."""

    def __init__(self, stepping: Callable[[], tuple[Execution] | None], limit_s: float) -> None:
        self._stepping = stepping
        self._limit_s = limit_s
        self._overdue: tuple[Execution] | None = None
        self._stopped = threading.Event()
        self._thread_id = 0
        self._can_stop = False

    def start(self) -> None:
        self._thread_id = threading.get_ident()
        self._can_stop = threading.current_thread() is threading.main_thread()
        if self._can_stop:
            _watching.append(self)
            signal.signal(INTERRUPT, _interrupt_overdue)
        threading.Thread(target=self._watch, name="bide-watchdog", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        if self in _watching:
            _watching.remove(self)
            if not _watching:
                signal.signal(INTERRUPT, signal.SIG_DFL)

    def _watch(self) -> None:
        """Three looks that see the same step mean that it has run for at least the limit."""
        seen: tuple[Execution] | None = None
        looks = 0
        while not self._stopped.wait(self._limit_s / 2):
            step = self._stepping()
            if step is not None and _in_debugger(_frame_of(self._thread_id)):
                step = None
            looks = looks + 1 if step is not None and step is seen else 0
            seen = step
            if step is not None and looks >= 2:
                self._report(step)

    def _report(self, step: tuple[Execution]) -> None:
        (execution,) = step
        log.error(
            "Orchestrator %s, instance %s, has run for more than %g s without awaiting anything. It stands at %s.",
            execution.name,
            execution.instance_id,
            self._limit_s,
            execution.where(),
        )
        if self._can_stop:
            self._overdue = step
            interrupt(self._thread_id)

    def interrupt(self, frame: FrameType | None) -> None:
        """Runs in the watched thread, at this frame. Since the signal was sent, the step may have ended, or met a
        breakpoint."""
        overdue, self._overdue = self._overdue, None
        if overdue is not None and overdue is self._stepping() and not _in_debugger(frame):
            raise RunawayStep(
                f"The orchestrator ran for more than {self._limit_s:g} s without awaiting anything, "
                f"at {overdue[0].where()}. Put long work into an activity."
            )


_watching: list[Watchdog] = []
"""One for each app that runs in this process."""


def _interrupt_overdue(signum: int, frame: FrameType | None) -> None:
    """A signal does not say for whom it is: each looks whether its own step is overdue."""
    for watchdog in list(_watching):
        watchdog.interrupt(frame)


def _frame_of(thread_id: int) -> FrameType | None:
    frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage] - documented, and the only way
    return frames.get(thread_id)


def _in_debugger(frame: FrameType | None) -> bool:
    """Whether a debugger waits for a person in the step that stands at this frame.

    What is below the step does not count: with `python -m pdb`, the engine itself is called by a debugger.
    """
    while frame is not None and frame.f_globals.get("__name__") != Execution.__module__:
        caller = frame.f_back
        if frame.f_code.co_name in _WAITING and not _DEBUGGERS.isdisjoint((_file(frame), _file(caller))):
            return True
        frame = caller
    return False


def _file(frame: FrameType | None) -> str:
    return "" if frame is None else Path(frame.f_code.co_filename).name
