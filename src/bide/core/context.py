"""What an orchestrator sees of the engine: its only door to the world.

Everything here is the same on every replay. Time, ids and random numbers come from the history; nothing is read
from the machine.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Coroutine, Generator, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Concatenate, NoReturn, ParamSpec, Protocol, TypeAlias, TypeVar, overload
from uuid import UUID, uuid5

from msgspec import UNSET, Raw

from bide.core.registry import Function, Registry, Signature
from bide.core.tasks import DurableTimer, ExternalEvent, SubOrchestration, Task
from bide.errors import ContinueAsNew, PayloadError
from bide.model.arguments import check_flag, kind_of
from bide.model.clock import Timestamp, check_span, to_datetime, to_micros, to_timestamp
from bide.model.history import NULL, Parent
from bide.model.instance import check_event_name, check_instance_id
from bide.model.interrupts import from_outside
from bide.model.payload import check_text, decoder, encode, has_secret, holds_secret
from bide.model.retry import RetryPolicy
from bide.model.sealing import is_sealed
from bide.model.tokens import ResponseGrant

P = ParamSpec("P")
T = TypeVar("T")

MAX_CUSTOM_STATUS = 16 * 1024
"""How many bytes of JSON a custom status has at most."""

_LAST = to_timestamp(datetime.max.replace(tzinfo=UTC))
_NAMESPACE = UUID("6f0b2f52-6c1c-4f6e-9d3a-4c1c5d0a7b11")


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How a call is made. `instance_id` applies to sub-orchestrations only."""

    retry: RetryPolicy | None = None
    instance_id: str | None = None


_AS_IT_IS = CallOptions()


class ResponseLinks(Protocol):
    """Where links come from under which people answer."""

    def url(self, grant: ResponseGrant) -> str: ...


class ContextHost(Protocol):
    """What the context needs of the execution behind it."""

    instance_id: str
    birth: str
    generation: int
    parent: Parent | None
    at: Timestamp
    is_replaying: bool
    registry: Registry

    @property
    def name(self) -> str: ...
    def call_activity(
        self, name: str, input_json: Raw, secret: bool, result: Any, options: CallOptions
    ) -> Task[Any]: ...
    def call_child(
        self, name: str, input_json: Raw, secret: bool, result: Any, options: CallOptions
    ) -> SubOrchestration[Any]: ...
    def create_timer(self, fire_at: Timestamp, reminder: bool) -> DurableTimer: ...
    def open_wait(self, name: str, wanted: Any, fire_at: Timestamp | None) -> ExternalEvent[Any]: ...
    def send_event(self, instance_id: str, name: str, input_json: Raw, secret: bool) -> None: ...
    def response_url(self, event: str | ExternalEvent[Any], expires_at: Timestamp | None) -> str: ...
    def set_custom_status(self, status_json: Raw, secret: bool) -> None: ...
    def next_input(self, text: Raw, secret: bool) -> Raw: ...
    def open_input(self, text: Raw) -> Raw: ...


class Calls:
    """The calls an orchestrator can make, under one set of options."""

    __slots__ = ("_execution", "_options")

    def __init__(self, execution: ContextHost, options: CallOptions) -> None:
        self._execution = execution
        self._options = options

    @overload
    def call_activity(self, activity: str, input: object = UNSET, /) -> Task[Any]: ...
    @overload
    def call_activity(
        self, activity: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Task[T]: ...
    @overload
    def call_activity(self, activity: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Task[T]: ...
    def call_activity(self, activity: str | Function, /, *args: Any, **kwargs: Any) -> Task[Any]:
        """Run an activity and give its result.

        Called by function, arguments and result are typed as the function's. Called by name, there is one input,
        and the activity may be unknown here: then the task fails.

        The task fails with `ActivityFailedError` (after the last retry), or `OutcomeUnknownError` for a
        once-activity that was cut off.

        Raises `PayloadError` for arguments that cannot be written as JSON, `FunctionNotFoundError` for a
        function that is no activity of this app, and `TypeError` for arguments that it does not take, or what is no
        function at all.
        """
        if isinstance(activity, str):
            activity = check_text(activity, "An activity's name")
            known = self._execution.registry.activity_if_known(activity)
            name, result = (known.name, known.signature.result) if known else (activity, Any)
            given = _one_input(known.signature if known else None, name, args, kwargs)
            return self._execution.call_activity(name, *given, result, self._options)
        definition = self._execution.registry.activity(activity)
        signature = definition.signature
        input_json = signature.encode(args, kwargs)
        secret = signature.perhaps_secret_input and signature.is_secret_input(args, kwargs)
        return self._execution.call_activity(definition.name, input_json, secret, signature.result, self._options)

    @overload
    def call_sub_orchestrator(self, orchestrator: str, input: object = UNSET, /) -> SubOrchestration[Any]: ...
    @overload
    def call_sub_orchestrator(
        self,
        orchestrator: Callable[Concatenate[OrchestrationContext, P], Coroutine[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> SubOrchestration[T]: ...
    @overload
    def call_sub_orchestrator(
        self,
        orchestrator: Callable[Concatenate[OrchestrationContext, P], Generator[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> SubOrchestration[T]: ...
    def call_sub_orchestrator(
        self, orchestrator: str | Function, /, *args: Any, **kwargs: Any
    ) -> SubOrchestration[Any]:
        """Run another orchestrator as an instance of its own, and give its result.

        The child's id is derived from this instance, unless `with_options(instance_id=...)` chose one; then each
        attempt of a retried child has that one. An instance that has the id and has ended makes way: it is deleted.
        It has this instance's tags. The task fails with `SubOrchestrationFailedError` if the child fails, is
        terminated, or its id belongs to an instance that has not ended; `cancel()` gives it up.

        Raises as `call_activity` does.
        """
        if isinstance(orchestrator, str):
            orchestrator = check_text(orchestrator, "An orchestrator's name")
            known = self._execution.registry.orchestrator_if_known(orchestrator)
            name, result = (known.name, known.signature.result) if known else (orchestrator, Any)
            given = _one_input(known.signature if known else None, name, args, kwargs)
            return self._execution.call_child(name, *given, result, self._options)
        definition = self._execution.registry.orchestrator(orchestrator)
        signature = definition.signature
        input_json = signature.encode(args, kwargs)
        secret = signature.perhaps_secret_input and signature.is_secret_input(args, kwargs)
        return self._execution.call_child(definition.name, input_json, secret, signature.result, self._options)


def _one_input(
    known: Signature | None, called: str, args: tuple[object, ...], kwargs: dict[str, object]
) -> tuple[Raw, bool]:
    """The input of a call by name, and whether it is a secret.

    Raises `TypeError` for several, `PayloadError` for what is no JSON.
    """
    if len(args) > 1 or kwargs:
        raise TypeError(
            f"{called!a} is called by its name, and so with one input, not with {len(args)} and those named "
            f"{', '.join(kwargs) or '...'}. Give several as a dict, or the function itself in place of its name."
        )
    input = args[0] if args else UNSET
    if known is not None:
        return known.encode_input(input), known.is_secret_input(input)
    return (NULL, False) if input is UNSET else (encode(input), holds_secret(input))


Logger: TypeAlias = "logging.LoggerAdapter[logging.Logger]"


class _ReplaySafeLogger(logging.LoggerAdapter[logging.Logger]):
    """Silent while history is replayed, so that every line appears once."""

    def __init__(self, execution: ContextHost) -> None:
        super().__init__(logging.getLogger(f"bide.orchestrator.{execution.name}"), {})
        self._execution = execution

    def isEnabledFor(self, level: int) -> bool:  # logging's own name
        return not self._execution.is_replaying and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(kwargs.get("extra") or {}), "instance_id": self._execution.instance_id}
        return msg, kwargs


class OrchestrationContext(Calls):
    """The first argument of every orchestrator."""

    __slots__ = ("_input_json", "_logger", "_random", "_signature", "_uuids")

    def __init__(self, execution: ContextHost, input_json: Raw, signature: Signature) -> None:
        super().__init__(execution, _AS_IT_IS)
        self._input_json = input_json
        self._signature = signature
        self._uuids = 0
        self._random: random.Random | None = None
        self._logger: Logger | None = None

    # --- who and when

    @property
    def instance_id(self) -> str:
        return self._execution.instance_id

    @property
    def name(self) -> str:
        """The orchestrator's registered name."""
        return self._execution.name

    @property
    def parent(self) -> Parent | None:
        """Who started this instance as a sub-orchestration, or None."""
        return self._execution.parent

    @property
    def input(self) -> Any:
        """The input, read as the declared type of the orchestrator's parameter (several: as a tuple)."""
        if is_sealed(self._input_json):
            self._input_json = self._execution.open_input(self._input_json)
        arguments = self._signature.decode(self._input_json)
        return arguments[0] if len(arguments) == 1 else arguments or decoder(Any)(self._input_json)

    @property
    def current_utc_datetime(self) -> datetime:
        """The time of the present step, the same on every replay. Use it in place of `datetime.now`."""
        return to_datetime(self._execution.at)

    @property
    def is_replaying(self) -> bool:
        """True while the code is brought back to where it was. Never let the flow depend on it."""
        return self._execution.is_replaying

    @property
    def logger(self) -> Logger:
        """A logger that is silent while replaying. Records carry `instance_id`."""
        if self._logger is None:
            self._logger = _ReplaySafeLogger(self._execution)
        return self._logger

    @property
    def random(self) -> random.Random:
        """Random numbers that are the same on every replay, and of each instance others. Never for secrets."""
        if self._random is None:
            execution = self._execution
            seed = f"{execution.instance_id}/{execution.birth}/{execution.generation}"
            self._random = random.Random(seed)  # noqa: S311 - must be repeatable
        return self._random

    def new_uuid(self) -> UUID:
        """A new id, the same on every replay."""
        self._uuids += 1
        execution = self._execution
        return uuid5(_NAMESPACE, f"{execution.instance_id}/{execution.birth}/{execution.generation}/{self._uuids}")

    # --- calls

    def with_options(self, *, retry: RetryPolicy | None = None, instance_id: str | None = None) -> Calls:
        """The same calls, retried by a policy, or with a chosen id for the sub-orchestration.

        Raises `TypeError` for a `retry` that is no policy, `PayloadError` for what cannot be an id.
        """
        _check_policy(retry)
        if instance_id is not None:
            instance_id = check_instance_id(instance_id)
        return Calls(self._execution, CallOptions(retry, instance_id))

    # --- waiting

    def create_timer(self, due: timedelta | datetime, *, reminder: bool = False) -> DurableTimer:
        """A timer that is due after a span, or at a moment (with a time zone). Any length; survives restarts.

        A wait that is raced against timers is shown as due when the last of them is, which is taken for its end.
        One that is a `reminder` ends nothing, and is not shown as a deadline.

        Raises `TypeError` for anything else, as a number of seconds, `ValueError` for a moment without a time
        zone, and `OverflowError` for one after the year 9999.
        """
        check_flag("reminder", reminder)
        if isinstance(due, datetime):
            return self._execution.create_timer(_last_checked(to_timestamp(due), due), reminder)
        span = check_span(
            "The argument of create_timer", due, " (timedelta), or a moment (datetime with a time zone)"
        )
        return self._execution.create_timer(self._after(span), reminder)

    @overload
    def wait_for_external_event(
        self, name: str, type: type[T], *, timeout: timedelta | None = None
    ) -> ExternalEvent[T]: ...
    @overload
    def wait_for_external_event(
        self, name: str, type: object = Any, *, timeout: timedelta | None = None
    ) -> ExternalEvent[Any]: ...
    def wait_for_external_event(
        self, name: str, type: Any = Any, *, timeout: timedelta | None = None
    ) -> ExternalEvent[Any]:
        """Wait for somebody to raise the named event. Names compare case-insensitively.

        Events are kept in order: one that came before is taken at once (G4). An answer that does not fit `type`
        is refused at the door, and the wait stays open. With a `timeout`, the wait is given up when it has
        passed, and awaiting it raises `EventTimeoutError`.

        Raises `TypeError` for a timeout that is no span, and for a type whose values cannot travel; `OverflowError`
        for one that ends after the year 9999.
        """
        if isinstance(type, timedelta | int | float):
            raise TypeError(f"The second argument of wait_for_external_event is the answer's type: {_TIMEOUT}")
        _check_hashable(type)
        fire_at = None if timeout is None else self._after(check_span("timeout", timeout))
        return self._execution.open_wait(check_event_name(name), type, fire_at)

    def response_url(self, event: str | ExternalEvent[Any], *, valid_for: timedelta | None = None) -> str:
        """A link under which a person can answer one wait for an event, and do nothing else.

        Given a wait, as `wait_for_external_event` returns it, the link is for that one. Given a name, it is for the
        open wait that an event of that name would go to now; if none is open, for the next one of that name that
        this run opens. It ends with that wait, whether that is answered or given up, and after `valid_for`.

        Opening it shows a page with a form for the type that the wait declares; only sending the form answers, so
        a mail scanner that follows links does no harm. Whoever has the link can answer: give it to nobody else. It
        begins with the setting `public_url`.

        Raises `PayloadError` for what is neither a wait nor the name of an event, and `ValueError` for a wait of
        another instance or run. Raises `TypeError` for a `valid_for` that is no span, and `OverflowError` for one
        that ends after the year 9999.
        """
        expires_at = None if valid_for is None else self._after(check_span("valid_for", valid_for))
        if not isinstance(event, ExternalEvent):
            event = check_event_name(event)
        return self._execution.response_url(event, expires_at)

    # --- telling others

    def send_event(self, instance_id: str, name: str, data: object = None, type: object = Any) -> None:
        """Raise an event of another instance, exactly once. One that does not exist, or has ended, ignores it.

        With a `type` that has a `Secret` in it, this instance's history does not show the data either.
        """
        _check_hashable(type)
        secret = has_secret(type) or holds_secret(data)
        self._execution.send_event(check_instance_id(instance_id), check_event_name(name), encode(data), secret)

    def set_custom_status(self, status: object) -> None:
        """Show `status` to whoever asks for this instance's status: up to 16 KiB of JSON.

        Every later step writes it anew, so it is for a summary. Raises `PayloadError` for what is larger, and for
        what is no JSON.
        """
        text = encode(status)
        size = len(text)
        if size > MAX_CUSTOM_STATUS:
            raise PayloadError(
                f"This custom status has {size:,} bytes of JSON; up to {MAX_CUSTOM_STATUS:,} are possible, because "
                "every later step writes it anew. Show a summary, and keep the rest where an activity can put it."
            )
        self._execution.set_custom_status(text, holds_secret(status))

    def continue_as_new(self, input: object = UNSET, *, keep_events: bool = True) -> NoReturn:
        """End this run, and start again with a new input and an empty history.

        Without an input, the next run has the parameter's default.

        Open timers, waits and activities of this run are dropped. Events that nobody has taken are kept for the
        next run, unless `keep_events` is false. Raises the signal that does it: do not catch `BaseException`
        around it. Raises `TypeError` if `keep_events` is neither True nor False, and `PayloadError` for an
        input that is no JSON.
        """
        check_flag("keep_events", keep_events)
        text, secret = self._signature.encode_input(input), self._signature.is_secret_input(input)
        raise ContinueAsNew(self._execution.next_input(text, secret), keep_events)

    def _after(self, span: timedelta) -> Timestamp:
        return _last_checked(self._execution.at + max(0, to_micros(span)), span)


_TIMEOUT = "give the timeout by its name, as timeout=timedelta(seconds=90)."


def _last_checked(at: Timestamp, due: timedelta | datetime) -> Timestamp:
    """The instant itself. Raises `OverflowError` if it is no date."""
    if at > _LAST:
        raise OverflowError(f"There is no date {due} from here; the last one is {datetime.max:%Y-%m-%d}.")
    return at


def _check_hashable(wanted: object) -> None:
    """Raises `TypeError` for what is no type, as every type is a key."""
    try:
        hash(wanted)
    except BaseException as error:  # user code: it may raise anything
        if from_outside(error):
            raise
        raise TypeError(f"A {kind_of(wanted)} is no type, and here the answer's type belongs.") from error


def _check_policy(retry: object) -> None:
    if retry is None or isinstance(retry, RetryPolicy):
        return
    attempts = retry if isinstance(retry, int) and not isinstance(retry, bool) and retry > 0 else 3
    raise TypeError(
        f"retry is a RetryPolicy, not {type(retry).__qualname__}. For {attempts} attempts, "
        f"write with_options(retry=RetryPolicy(max_attempts={attempts}))."
    )
