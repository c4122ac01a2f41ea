"""Durable functions in plain Python, for work that waits on people."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bide.app import App
    from bide.batch import AuditEntry
    from bide.clock import SystemClock, to_span
    from bide.config import Settings
    from bide.core.calls import ActivityCall, Done, NotDone, Outcome, Unknown, current_call
    from bide.core.context import OrchestrationContext
    from bide.core.tasks import DurableTimer, ExternalEvent, SubOrchestration, Task, when_all, when_any
    from bide.engine.client import Client
    from bide.errors import (
        ActivityFailedError,
        BideError,
        BusyError,
        CommitUnknownError,
        DevelopmentOnlyError,
        EventTimeoutError,
        FunctionNotFoundError,
        InstanceExistsError,
        InstanceFinishedError,
        InstanceNotFoundError,
        MisfitError,
        NonDeterminismError,
        NotADurableTaskError,
        NotAllowedError,
        OutcomeUnknownError,
        PayloadError,
        RequestReusedError,
        SubOrchestrationFailedError,
        TaskCancelledError,
        TaskFailedError,
    )
    from bide.history import Failure, Parent
    from bide.http.development import DevelopmentRoute
    from bide.http.keyless import KeylessRoute
    from bide.http.streams import ServerSentEvent, event_stream, unless_stopping
    from bide.instance import Instance, RuntimeStatus, Wait
    from bide.payload import OneTimeCode, Secret
    from bide.query import InstanceFilter
    from bide.retry import RetryPolicy
    from bide.web import dashboard_page

__version__ = "0.1.0"

__all__ = [
    "ActivityCall",
    "ActivityFailedError",
    "App",
    "AuditEntry",
    "BideError",
    "BusyError",
    "Client",
    "CommitUnknownError",
    "DevelopmentOnlyError",
    "DevelopmentRoute",
    "Done",
    "DurableTimer",
    "EventTimeoutError",
    "ExternalEvent",
    "Failure",
    "FunctionNotFoundError",
    "Instance",
    "InstanceExistsError",
    "InstanceFilter",
    "InstanceFinishedError",
    "InstanceNotFoundError",
    "KeylessRoute",
    "MisfitError",
    "NonDeterminismError",
    "NotADurableTaskError",
    "NotAllowedError",
    "NotDone",
    "OneTimeCode",
    "OrchestrationContext",
    "Outcome",
    "OutcomeUnknownError",
    "Parent",
    "PayloadError",
    "RequestReusedError",
    "RetryPolicy",
    "RuntimeStatus",
    "Secret",
    "ServerSentEvent",
    "Settings",
    "SubOrchestration",
    "SubOrchestrationFailedError",
    "SystemClock",
    "Task",
    "TaskCancelledError",
    "TaskFailedError",
    "Unknown",
    "Wait",
    "current_call",
    "dashboard_page",
    "event_stream",
    "to_span",
    "unless_stopping",
    "when_all",
    "when_any",
]

_HOMES = {
    "app": ("App",),
    "batch": ("AuditEntry",),
    "clock": ("SystemClock", "to_span"),
    "config": ("Settings",),
    "core.calls": ("ActivityCall", "Done", "NotDone", "Outcome", "Unknown", "current_call"),
    "core.context": ("OrchestrationContext",),
    "core.tasks": ("DurableTimer", "ExternalEvent", "SubOrchestration", "Task", "when_all", "when_any"),
    "engine.client": ("Client",),
    "history": ("Failure", "Parent"),
    "http.development": ("DevelopmentRoute",),
    "http.keyless": ("KeylessRoute",),
    "http.streams": ("ServerSentEvent", "event_stream", "unless_stopping"),
    "instance": ("Instance", "RuntimeStatus", "Wait"),
    "payload": ("OneTimeCode", "Secret"),
    "query": ("InstanceFilter",),
    "retry": ("RetryPolicy",),
    "web": ("dashboard_page",),
}
"""Which module has which names; `errors` has all others.

A name is imported when it is first asked for, so that `bide --help` need not load the engine.
"""

_home_of = {name: f"bide.{module}" for module, names in _HOMES.items() for name in names}

if not TYPE_CHECKING:  # a checker that knew of it would find no fault with a misspelt name

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'bide' has no attribute {name!r}")
        value = getattr(import_module(_home_of.get(name, "bide.errors")), name)
        globals()[name] = value  # the next time it is simply there
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
