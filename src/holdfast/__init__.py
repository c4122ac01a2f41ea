"""Durable functions in plain Python, for work that waits on people."""

from holdfast.app import App
from holdfast.clock import SystemClock
from holdfast.config import Settings
from holdfast.core.calls import ActivityCall, Done, NotDone, Outcome, Unknown, current_call
from holdfast.core.context import OrchestrationContext
from holdfast.core.tasks import DurableTimer, ExternalEvent, Task, when_all, when_any
from holdfast.engine.client import Client
from holdfast.errors import (
    ActivityFailedError,
    BusyError,
    CommitUnknownError,
    EventTimeoutError,
    FunctionNotFoundError,
    HoldfastError,
    InstanceExistsError,
    InstanceFinishedError,
    InstanceNotFoundError,
    NonDeterminismError,
    NotADurableTaskError,
    NotAllowedError,
    OutcomeUnknownError,
    PayloadError,
    SubOrchestrationFailedError,
    TaskFailedError,
)
from holdfast.history import Failure, Parent
from holdfast.instance import Instance, RuntimeStatus, Wait
from holdfast.retry import RetryPolicy

__version__ = "0.1.0"

__all__ = [
    "ActivityCall",
    "ActivityFailedError",
    "App",
    "BusyError",
    "Client",
    "CommitUnknownError",
    "Done",
    "DurableTimer",
    "EventTimeoutError",
    "ExternalEvent",
    "Failure",
    "FunctionNotFoundError",
    "HoldfastError",
    "Instance",
    "InstanceExistsError",
    "InstanceFinishedError",
    "InstanceNotFoundError",
    "NonDeterminismError",
    "NotADurableTaskError",
    "NotAllowedError",
    "NotDone",
    "OrchestrationContext",
    "Outcome",
    "OutcomeUnknownError",
    "Parent",
    "PayloadError",
    "RetryPolicy",
    "RuntimeStatus",
    "Settings",
    "SubOrchestrationFailedError",
    "SystemClock",
    "Task",
    "TaskFailedError",
    "Unknown",
    "Wait",
    "current_call",
    "when_all",
    "when_any",
]
