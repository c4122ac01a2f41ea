"""Tells what interrupts code from what code raises by itself.

Whatever code raises is its own outcome, also `KeyboardInterrupt`. Ctrl-C, and what the engine raises into code
that it stops, must go through whatever code is running.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dis import opname
from types import CodeType, TracebackType

from bide.errors import HeldStep


def from_outside(error: BaseException) -> bool:
    """Whether the engine stopped the code, or Ctrl-C did: then the error says nothing about the code."""
    return isinstance(error, HeldStep) or (isinstance(error, KeyboardInterrupt) and not raised_by_code(error))


def raised_by_code(error: BaseException) -> bool:
    """Whether Python code raised the error by `raise`, rather than the interpreter in its midst.

    So a `KeyboardInterrupt` of the code can be told from Ctrl-C, and its `GeneratorExit` from `close()`.
    """
    place = error.__traceback__
    if place is None:
        return False
    while place.tb_next is not None:
        place = place.tb_next
    if place.tb_frame.f_globals.get("__name__") == "asyncio.runners":  # its handler of SIGINT
        return False
    return _operation(place.tb_frame.f_code, place) == "RAISE_VARARGS"


@contextmanager
def own_suppressed() -> Generator[None]:
    """Drops whatever the code in here raises by itself; what comes from outside goes through."""
    try:
        yield
    except BaseException as error:
        if from_outside(error):
            raise


def _operation(code: CodeType, place: TracebackType) -> str:
    return opname[code.co_code[place.tb_lasti]]
