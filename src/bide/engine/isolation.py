"""Hides the event loop from orchestrators' code, which is sent on from inside the worker's own task.

Without it, a time limit of asyncio that an orchestrator sets would cancel the worker, for all instances.
"""

from __future__ import annotations

import asyncio
from asyncio import _set_running_loop  # pyright: ignore[reportPrivateUsage] - asyncio exports it, for loops
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def without_loop() -> Generator[None]:
    """In here no event loop is running, and there is none to be found."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        yield
        return
    _set_running_loop(None)
    asyncio.set_event_loop(None)
    try:
        yield
    finally:
        asyncio.set_event_loop(loop)
        _set_running_loop(loop)
