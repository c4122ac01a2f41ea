"""Every error Bide raises, grouped by who must act.

    BideError
    ├── RequestError               the caller must change the request; nothing was changed
    │   ├── PayloadError           a value cannot be written or read as JSON, or a name is not allowed
    │   │   └── MisfitError        a value does not fit its declared type
    │   ├── FunctionNotFoundError  no function of that name is registered
    │   ├── InstanceNotFoundError
    │   ├── InstanceExistsError    the id is taken by an instance with another function or input
    │   ├── InstanceFinishedError  the instance has ended and takes no more messages
    │   ├── InvalidTokenError      a signed token or link was changed, is of another hub, or has expired
    │   ├── KeyNotFoundError       there is no key of that name
    │   ├── AccessDeniedError      the server wants a key, another one, or one of a higher role
    │   ├── WaitClosedError        the wait that the answer is for is over
    │   ├── RequestReusedError     the idempotency key was used for another request
    │   ├── DataRefusedError       the database does not take a value that is in it
    │   └── NotAllowedError        the instance's state does not allow this
    ├── TryAgainError              the caller may repeat the same request
    │   ├── BusyError              the inbox is full; nothing was changed
    │   ├── ServerUnreachableError nobody answers under the server's URL, or the connection broke
    │   ├── StoreUnavailableError  the database does not answer; nothing was changed
    │   └── CommitUnknownError     the commit may or may not have happened: repeat with the same instance id
    ├── StoreError                 the operator must act
    │   ├── StoreInUseError        another process owns the database file
    │   ├── StoreReplacedError     the database's file was deleted or replaced while it was open
    │   └── SchemaTooNewError      the database was written by a newer Bide
    ├── DevelopmentOnlyError       part of the app is for development, and the server is not
    ├── StepFailedError            the engine failed over this one message; nobody else's was touched
    ├── ServerFailedError          the server answered something that no client can act upon
    ├── LeaseLostError             another worker owns the partition now; this one forgets it
    ├── OrchestratorError          the author of the orchestrator must act
    │   ├── NonDeterminismError    the code no longer fits the instance's history (the instance is held)
    │   └── NotADurableTaskError   something was awaited that history cannot replay
    └── TaskFailedError            raised inside an orchestrator, by awaiting a task that failed
        ├── TaskCancelledError     the orchestrator itself gave the task up
        ├── ActivityFailedError
        │   └── OutcomeUnknownError    a once-activity was cut off and nobody knows what it did
        ├── SubOrchestrationFailedError
        └── EventTimeoutError      nobody answered in time (also a TimeoutError)

Two signals derive from `BaseException`, out of the reach of an orchestrator's `except Exception`:
`ContinueAsNew` and `HeldStep`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msgspec import Raw

    from bide.model.history import Failure


class BideError(Exception):
    """Base class of every error in this module."""


def error_named(name: str, text: str, path: str = "") -> BideError | None:
    """An error as another process told it, or None if there is none of that name in this module."""
    kind = globals().get(name)
    if not isinstance(kind, type) or not issubclass(kind, BideError):
        return None
    error = kind.__new__(kind, text)  # their own arguments differ
    error.__dict__.update({"path": path} if path else {})
    return error


class RequestError(BideError):
    """Base class: the request cannot be met as it stands. Nothing was changed."""


class PayloadError(RequestError):
    """A value cannot be written or read as JSON, or a name or id has characters that are not allowed."""


class MisfitError(PayloadError):
    """A value does not fit its declared type. `path` says where: `$` is the whole, `$.a[0]` a part."""

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(message)
        self.path = path


class FunctionNotFoundError(RequestError):
    """No orchestrator or activity of that name is registered."""


class InstanceNotFoundError(RequestError):
    """There is no instance with that id."""

    def __init__(self, instance_id: str) -> None:
        super().__init__(f"There is no instance '{instance_id}'.")
        self.instance_id = instance_id


class InstanceExistsError(RequestError):
    """The instance id is taken: by an instance with another function or input, or, with `reuse="never"`, at all."""

    def __init__(self, instance_id: str, how: str = " with another function or input") -> None:
        super().__init__(
            f"Instance '{instance_id}' already exists{how}. Choose another id; or say by `reuse` that this start "
            "replaces an instance that has `ended`, or in any case (`replace`)."
        )
        self.instance_id = instance_id


class InstanceFinishedError(RequestError):
    """The instance has ended and takes no more messages."""

    def __init__(self, instance_id: str, status: str) -> None:
        super().__init__(f"Instance '{instance_id}' has ended: {status}.")
        self.instance_id = instance_id


class AccessDeniedError(RequestError):
    """The server does not know the key, or it is not good for this."""


class WaitClosedError(RequestError):
    """The wait that the answer is for is over: answered, given up, or gone with its instance's run."""

    def __init__(self) -> None:
        super().__init__("The wait that this answer is for is over.")


class RequestReusedError(RequestError):
    """The idempotency key was already used for another request."""

    def __init__(self) -> None:
        super().__init__("This key was already used for another request.")


class DataRefusedError(RequestError):
    """The database will never take what it was given, because of a value in it. Nothing was changed."""


class InvalidTokenError(RequestError):
    """The text is no token of this hub, or somebody has changed it, or its time is over."""

    def __init__(self, message: str = "This token is not valid here.") -> None:
        super().__init__(message)


class KeyNotFoundError(RequestError):
    """There is no key of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no key named {name[:50]!a}.")


class NotAllowedError(RequestError):
    """What was asked for is not allowed in the instance's present state."""


class TryAgainError(BideError):
    """Base class: the same request may succeed later."""

    retry_after_s: float = 1.0


class BusyError(TryAgainError):
    """The worker's inbox is full. Nothing was changed."""

    def __init__(self) -> None:
        super().__init__(f"The worker has as much work as it can hold. Try again in {self.retry_after_s:g} s.")


class ServerUnreachableError(TryAgainError):
    """Nobody answers under the server's URL, or the connection broke before the answer was there."""


class CommitUnknownError(TryAgainError):
    """Whether the commit happened is not known.

    Repeating a start with the same instance id and input is safe.
    """

    def __init__(self) -> None:
        super().__init__("The database did not confirm the write; it may or may not have happened.")


class StoreUnavailableError(TryAgainError):
    """The database does not answer now. Nothing was changed; the worker goes on by itself when it is back."""


class DevelopmentOnlyError(BideError):
    """The app has a route that is for development (`DevelopmentRoute`), and the server is not. Nothing was done."""


class StoreError(BideError):
    """Base class: the database cannot be used as it is."""


class StoreInUseError(StoreError):
    """Another process owns the database file."""


class StoreReplacedError(StoreError):
    """The database's file, or one that belongs to it, was deleted or replaced while it was open.

    Nothing more is acknowledged; the process must end.
    """


class SchemaTooNewError(StoreError):
    """The database was written by a newer Bide than this one."""


class StepFailedError(BideError):
    """Something failed inside the engine while it took one message. Nothing was changed.

    `done` is how many messages of the same step had been taken before.
    """

    def __init__(self, done: int, what: str) -> None:
        super().__init__(f"The engine failed while it took this: {what}. Nothing was changed.")
        self.done = done


class ServerFailedError(BideError):
    """A server's answer that is no use to a client. Its log says more."""


class LeaseLostError(BideError):
    """A commit came from a worker that no longer owns the partition. Nothing of it was written (G6)."""


class OrchestratorError(BideError):
    """Base class: the orchestrator's code must change."""


class NonDeterminismError(OrchestratorError):
    """The code asks for something else than its history has (G7)."""


class NotADurableTaskError(OrchestratorError):
    """An orchestrator awaited something that is not one of the context's tasks."""


class TaskFailedError(BideError):
    """Base class: an awaited task failed. `failure` has the type, message, stack and cause of the error."""

    def __init__(self, message: str, failure: Failure) -> None:
        super().__init__(message)
        self.failure = failure


class TaskCancelledError(TaskFailedError):
    """The awaited timer or wait was cancelled, by the orchestrator itself."""


class ActivityFailedError(TaskFailedError):
    """An activity raised an error, and no retry is left."""


class OutcomeUnknownError(ActivityFailedError):
    """A once-activity was cut off by a crash, and its `reconcile` could not tell whether it was done (G5)."""


class SubOrchestrationFailedError(TaskFailedError):
    """A sub-orchestration failed or was terminated, and no retry is left."""


class EventTimeoutError(TaskFailedError, TimeoutError):
    """`wait_for_external_event(..., timeout=...)`: the time passed before the event came."""


class ContinueAsNew(BaseException):  # a signal, not an error
    """Ends this generation of an orchestrator; raised by `OrchestrationContext.continue_as_new`."""

    def __init__(self, input_json: Raw, keep_events: bool) -> None:
        super().__init__()
        self.input_json = input_json
        self.keep_events = keep_events


class HeldStep(BaseException):  # a signal, not an error: an orchestrator's `except Exception` must not take it
    """Base class: the step cannot be made now, and the instance is held. The text says what must change."""


class RunawayStep(HeldStep):
    """Raised into an orchestrator that has run for seconds without awaiting anything."""


class SealedStep(HeldStep):
    """What the step needs is sealed, and cannot be opened here."""


class UnknownAddressStep(HeldStep):
    """Raised into an orchestrator that wants a link, where nobody knows the address under which people come."""

    def __init__(self) -> None:
        super().__init__(
            "response_url cannot make a link: this app is not served, or served by another one, and does not know "
            "under which address people reach it. Set public_url to that address, with the path it is mounted "
            "under, as "
            "Settings(public_url='https://example.com/durable'), and start again: the instance goes on."
        )
