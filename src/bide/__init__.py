"""Durable functions in plain Python, for work that waits on people."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from bide.version import __version__ as __version__

if TYPE_CHECKING:
    from bide.app import App
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
    from bide.http.gate.development import DevelopmentRoute
    from bide.http.gate.keyless import KeylessRoute
    from bide.http.gate.streams import ServerSentEvent, event_stream, unless_stopping
    from bide.model.batch import AuditEntry
    from bide.model.clock import SystemClock, to_span
    from bide.model.history import Failure, Parent
    from bide.model.instance import Instance, RuntimeStatus, Wait
    from bide.model.payload import OneTimeCode, Secret
    from bide.model.query import InstanceFilter
    from bide.model.retry import RetryPolicy
    from bide.web import dashboard_page

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
    "model.batch": ("AuditEntry",),
    "model.clock": ("SystemClock", "to_span"),
    "config": ("Settings",),
    "core.calls": ("ActivityCall", "Done", "NotDone", "Outcome", "Unknown", "current_call"),
    "core.context": ("OrchestrationContext",),
    "core.tasks": ("DurableTimer", "ExternalEvent", "SubOrchestration", "Task", "when_all", "when_any"),
    "engine.client": ("Client",),
    "model.history": ("Failure", "Parent"),
    "http.gate.development": ("DevelopmentRoute",),
    "http.gate.keyless": ("KeylessRoute",),
    "http.gate.streams": ("ServerSentEvent", "event_stream", "unless_stopping"),
    "model.instance": ("Instance", "RuntimeStatus", "Wait"),
    "model.payload": ("OneTimeCode", "Secret"),
    "model.query": ("InstanceFilter",),
    "model.retry": ("RetryPolicy",),
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
