"""Keeps an orchestrator's code to itself.

Code is sent on from inside the engine. Without a wall it would see what the engine stands in: the context variables
of the instance before it, and asyncio's hooks for generators, which finish them outside of any step.
`engine/isolation.py` hides the event loop, which the core does not know.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable
from contextvars import Context, ContextVar
from types import AsyncGeneratorType
from typing import Any, TypeAlias, TypeVar, TypeVarTuple, cast

Args = TypeVarTuple("Args")
T = TypeVar("T")

LeftEarly: TypeAlias = Callable[["AsyncGeneratorType[Any, Any]"], None]

_orchestrator: ContextVar[str] = ContextVar("bide_orchestrator", default="")
_now_sent: list[Wall] = []
"""The wall whose code is being sent on; empty between two of them. User code can start no step, so there is one."""


class Wall:
    """What one execution's code runs behind."""

    __slots__ = ("_context", "_left_early")

    def __init__(self, name: str, left_early: LeftEarly) -> None:
        """`left_early` is told of asynchronous generators that the code drops before their end."""
        self._context = Context()
        self._context.run(_orchestrator.set, name)
        self._left_early = left_early

    def run(self, function: Callable[[*Args], T], *args: *Args) -> T:
        """Call the function as the execution's code, within `OwnGenerators`."""
        sys.set_asyncgen_hooks(None, self)  # each generator keeps what is in force when it begins
        _now_sent.append(self)
        try:
            return self._context.run(function, *args)
        finally:
            _now_sent.pop()

    @property
    def entered(self) -> bool:
        """Whether its code is being sent on."""
        return bool(_now_sent) and _now_sent[-1] is self

    def __call__(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Python says that the code dropped a generator.

        At any other moment than its own code's, its clean-up would be at another place on each replay: never.
        """
        if self.entered:
            self._left_early(cast("AsyncGeneratorType[Any, Any]", generator))


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
