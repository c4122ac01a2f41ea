"""Hides the event loop from orchestrators' code, which is sent on from inside the worker's own task.

Without it, a time limit of asyncio that an orchestrator sets would cancel the worker, for all instances.
"""

from __future__ import annotations

import asyncio

# asyncio exports both, for loops
from asyncio import _get_running_loop, _set_running_loop  # pyright: ignore[reportPrivateUsage]


class WithoutLoop:
    """In here no event loop is running, and there is none to be found."""

    __slots__ = ("_loop",)

    def __enter__(self) -> None:
        self._loop = _get_running_loop()
        if self._loop is not None:
            _set_running_loop(None)
            asyncio.set_event_loop(None)

    def __exit__(self, *_: object) -> None:
        if self._loop is not None:
            asyncio.set_event_loop(self._loop)
            _set_running_loop(self._loop)
