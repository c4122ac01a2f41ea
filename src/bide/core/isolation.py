"""Keeps an orchestrator's code to itself.

Code is sent on from inside the engine. Without a wall it would see what the engine stands in: the context variables
of the instance before it, and asyncio's hooks for generators, which finish them outside of any step.
`engine/isolation.py` hides the event loop, which the core does not know.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable
from contextvars import Context, ContextVar
from functools import lru_cache
from types import AsyncGeneratorType
from typing import Any, TypeAlias, TypeVar, cast

A = TypeVar("A")
B = TypeVar("B")
T = TypeVar("T")

LeftEarly: TypeAlias = Callable[["AsyncGeneratorType[Any, Any]"], None]

_orchestrator: ContextVar[str] = ContextVar("bide_orchestrator", default="")
SENT_ON: list[object] = [object()]
"""The wall whose code is being sent on, or else no wall. It is looked at for each thing that code asks for, and so
without a call."""


class Wall:
    """What one execution's code runs behind."""

    __slots__ = ("_context", "_left_early")

    def __init__(self, name: str, left_early: LeftEarly) -> None:
        """`left_early` is told of asynchronous generators that the code drops before their end."""
        self._context = _context_of(name).copy()
        self._left_early = left_early

    def run(self, function: Callable[[A, B], T], first: A, second: B) -> T:
        """Call the function as the execution's code, within `OwnGenerators`.

        It has two arguments: any number of them would cost as much as all the rest.
        """
        sys.set_asyncgen_hooks(None, self)  # each generator keeps what is in force when it begins
        outer = SENT_ON[0]
        SENT_ON[0] = self
        try:
            return self._context.run(function, first, second)
        finally:
            SENT_ON[0] = outer

    def __call__(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Python says that the code dropped a generator.

        At any other moment than its own code's, its clean-up would be at another place on each replay: never.
        """
        if SENT_ON[0] is self:
            self._left_early(cast("AsyncGeneratorType[Any, Any]", generator))


@lru_cache(maxsize=1024)
def _context_of(name: str) -> Context:
    """What each execution's context begins as. A copy costs a fraction of what setting a variable does."""
    context = Context()
    context.run(_orchestrator.set, name)
    return context


def orchestrator_here() -> str:
    """The orchestrator whose code calls this, or an empty text."""
    return _orchestrator.get()


class OwnGenerators:
    """Asynchronous generators that begin in here belong to their execution, and not to an event loop."""

    __slots__ = ("_hooks",)

    def __enter__(self) -> None:
        self._hooks = sys.get_asyncgen_hooks()

    def __exit__(self, *_: object) -> None:
        sys.set_asyncgen_hooks(*self._hooks)
