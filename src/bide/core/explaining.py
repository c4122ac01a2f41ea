"""Errors of orchestrators in words: what cannot be replayed, where it stands, and what to write instead."""

from __future__ import annotations

import sys
from types import FrameType

from bide.core.failures import failure_of, said
from bide.errors import NotADurableTaskError, OrchestratorError
from bide.model.history import Failure, Request


def not_durable(where: str, name: str, awaited: object) -> NotADurableTaskError:
    """The code awaits what is no task of its context."""
    return NotADurableTaskError(
        f"{where}: {name} awaits {type(awaited).__qualname__}, which cannot be replayed. "
        "An orchestrator may await only tasks of its context (call_activity, create_timer, "
        "wait_for_external_event, call_sub_orchestrator, when_any, when_all). Put I/O and sleeping into an "
        "activity."
    )


def explained(raised: BaseException, where: str, name: str) -> BaseException:
    """What looked for an event loop found none. The error says what to write instead."""
    if not _misses_a_loop(raised):
        return raised
    instead = NotADurableTaskError(
        f"{_user_line(raised) or where}: {name} uses a tool of asyncio, which cannot be replayed: "
        "an orchestrator has no event loop. For a time limit, write wait_for_external_event(..., timeout=...), "
        "or when_any with create_timer; for several things at once, when_all. Put I/O and sleeping into an "
        "activity."
    )
    instead.__cause__ = raised
    return instead


def undecided(request: Request, failure: Failure, raised: BaseException) -> OrchestratorError:
    """`retry_if` failed, so nobody knows whether the call is to be tried again."""
    name = getattr(request, "name", "")
    error = OrchestratorError(
        f"retry_if of the call of '{name}' failed with {said(raised)}. "
        f"It was asked about {failure.type}: {failure.message}"
    )
    error.__cause__ = raised
    return error


_ENGINE = ("asyncio", "bide", "anyio", "sniffio")


def _misses_a_loop(error: BaseException) -> bool:
    """Whether this is how asyncio, anyio and sniffio say that no event loop runs."""
    if type(error).__name__ in ("NoEventLoopError", "AsyncLibraryNotFoundError"):
        return True
    return isinstance(error, RuntimeError) and failure_of(error).message.startswith(
        ("no running event loop", "There is no current")
    )


def _user_line(error: BaseException) -> str:
    """The innermost line of the user's own code that the error came through."""
    found, place = "", error.__traceback__
    while place is not None:
        package = str(place.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in _ENGINE and package not in sys.stdlib_module_names:
            found = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}"
        place = place.tb_next
    return found


def user_frame(code: object) -> FrameType | None:
    """The innermost frame of suspended code that is the user's own."""
    found: FrameType | None = None
    while code is not None:
        frame = getattr(code, "cr_frame", None) or getattr(code, "gi_frame", None)
        if frame is not None and (
            found is None or frame.f_globals.get("__name__", "").partition(".")[0] not in _ENGINE
        ):
            found = frame
        code = getattr(code, "cr_await", None) or getattr(code, "gi_yieldfrom", None)
    return found
