"""One call of an activity, as its body and its `reconcile` see it."""

from __future__ import annotations

import hmac
import inspect
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import Any, TypeAlias, TypeVar, cast

from msgspec import Struct

from bide.core.isolation import orchestrator_here
from bide.errors import NotADurableTaskError
from bide.model.clock import Timestamp, to_datetime

F = TypeVar("F", bound=Callable[..., Any])


class ActivityCall(Struct, frozen=True):
    """Which call this is.

    `idempotency_key` is the same for every attempt and every repetition of this call, and for no other call, also
    not for one of a later instance with the same id: hand it to services that deduplicate. `scheduled` is when the
    orchestrator asked for it, in microseconds.
    """

    name: str
    arguments: tuple[Any, ...]
    instance_id: str
    attempt: int
    idempotency_key: str
    scheduled: Timestamp
    secret: bytes = b""

    @property
    def scheduled_at(self) -> datetime:
        """When the orchestrator asked for it, in UTC."""
        return to_datetime(self.scheduled)

    def __repr__(self) -> str:
        return f"<call of {self.name}, attempt {self.attempt}, for instance {self.instance_id}>"

    def derive(self, purpose: str) -> bytes:
        """32 bytes that nobody can predict, yet the same each time this call is repeated.

        HMAC-SHA256 of the idempotency key and `purpose` under the hub's secret, which is not in the database. So a
        one-time code need not be stored to be the same after a crash.
        """
        return hmac.digest(self.secret, f"{purpose}\0{self.idempotency_key}".encode(), "sha256")


@dataclass(frozen=True, slots=True)
class Done:
    """`reconcile` found the activity done; `result` was its result."""

    result: object


@dataclass(frozen=True, slots=True)
class NotDone:
    """`reconcile` is certain that the activity was not done. Its body runs now."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """`reconcile` cannot tell. The orchestrator gets an `OutcomeUnknownError`."""


Outcome: TypeAlias = Done | NotDone | Unknown
Reconcile: TypeAlias = Callable[[ActivityCall], Outcome | Awaitable[Outcome]]

_current: ContextVar[ActivityCall] = ContextVar("bide_activity_call")


def current_call() -> ActivityCall:
    """The call that the running activity serves. Raises `LookupError` outside an activity."""
    try:
        return _current.get()
    except LookupError:
        raise LookupError("current_call() works only while the engine runs an activity.") from None


def enter(call: ActivityCall) -> None:
    """Make `call` the current one of this context."""
    _current.set(call)


def not_inside_orchestrators(function: F) -> F:
    """The function, which refuses to be called by an orchestrator: it would run again on each replay."""

    def check() -> None:
        orchestrator = orchestrator_here()
        if orchestrator:
            name = getattr(function, "__name__", repr(function))
            raise NotADurableTaskError(
                f"{orchestrator} calls the activity {name} directly, so it would run again on each replay of the "
                f"orchestrator. Write: await ctx.call_activity({name}, ...)"
            )

    @wraps(function)
    async def call_async(*args: Any, **kwargs: Any) -> Any:
        check()
        return await function(*args, **kwargs)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        check()
        return function(*args, **kwargs)

    return cast("F", call_async if inspect.iscoroutinefunction(function) else call)
