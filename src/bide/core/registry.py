"""Names and the functions behind them, with the types of what goes in and comes out.

A function's arguments travel as one JSON value: none as null, a single one as itself, several as an object under
their names. So the same activity can be called from Python, by name, and over HTTP.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from types import FunctionType, SimpleNamespace
from typing import Any, Generic, Never, NoReturn, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Raw

from bide.core.calls import Reconcile
from bide.errors import FunctionNotFoundError, MisfitError, PayloadError
from bide.model.clock import check_span
from bide.model.history import NULL
from bide.model.instance import MAX_NAME, can_name
from bide.model.interrupts import from_outside, own_suppressed
from bide.model.payload import decoder, encode, has_secret, holds_secret, plain_text, schema

Function: TypeAlias = Callable[..., Any]

MAX_EVENTS = 100
"""Code may make up the names of events, without end."""


class Signature:
    """How the arguments of one function are written as JSON and read back."""

    __slots__ = (
        "_defaults",
        "_keywords",
        "_names",
        "_null_is_default",
        "_payload",
        "_read",
        "_signature",
        "no_input",
        "perhaps_secret_input",
        "perhaps_secret_result",
        "result",
        "secret_input",
        "secret_result",
    )
    secret_input: bool
    """Whether the type of a parameter has a `Secret` in it: then the payload is sealed."""
    secret_result: bool
    perhaps_secret_input: bool
    """Whether it is at least possible that arguments are to be sealed (`is_secret_input`)."""
    perhaps_secret_result: bool

    def __init__(self, function: Function, skip: int) -> None:
        """`skip` leading parameters are not part of the payload (the orchestrator's context)."""
        own = list(inspect.signature(function).parameters.values())
        _check_form(function, own, skip)
        parameters = own[skip:]
        hints = _hints(function, {parameter.name for parameter in own[:skip]})
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise TypeError(
                    f"{function.__qualname__}: *{parameter.name} cannot travel as JSON; name each parameter"
                )
        self._signature = inspect.Signature(parameters)
        self._names = [parameter.name for parameter in parameters]
        self._keywords = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
        self._defaults = [parameter.default is not parameter.empty for parameter in parameters]
        types = [hints.get(name, Any) for name in self._names]
        self._payload = self._payload_type(function, types, parameters)
        self.result = _result_type(function, hints.get("return", Any))
        try:
            self._read = decoder(self._payload)
        except TypeError as error:
            raise TypeError(f"The parameters of {function.__qualname__}: {error}") from error
        try:
            decoder(self.result)
        except TypeError as error:
            raise TypeError(f"The result of {function.__qualname__}: {error}") from error
        self.secret_input, self.secret_result = has_secret(self._payload), has_secret(self.result)
        self.perhaps_secret_input = self.secret_input or Any in types
        self.perhaps_secret_result = self.secret_result or self.result is Any
        self._null_is_default = len(parameters) == 1 and self._defaults[0] and not self._reads(NULL)
        self.no_input = self._without_arguments(function, parameters)

    @property
    def input_schema(self) -> Raw:
        """JSON Schema of the payload."""
        return schema(self._payload | None if self._null_is_default else self._payload)

    def accepts(self, text: Raw) -> bool:
        """Whether the payload fits."""
        try:
            self.decode(text)
        except PayloadError:
            return False
        return True

    @property
    def result_schema(self) -> Raw:
        """JSON Schema of what the function returns."""
        return schema(self.result)

    def is_secret_input(self, *values: object) -> bool:
        """Whether arguments are to be sealed: by their declared types; where there are none, by their classes."""
        return self.perhaps_secret_input and (self.secret_input or holds_secret(values))

    def is_secret_result(self, value: object) -> bool:
        """The same of what the function returned."""
        return self.perhaps_secret_result and (self.secret_result or holds_secret(value))

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Raw:
        """The arguments as JSON. Raises `TypeError` as a call would, `PayloadError` for what is no JSON."""
        if len(args) == 1 and len(self._names) == 1 and not kwargs:
            return self.encode_input(args[0])
        bound = self._signature.bind(*args, **kwargs).arguments
        if len(self._names) > 1:
            return encode(bound)
        return self.encode_input(next(iter(bound.values()), UNSET))

    def encode_input(self, value: object) -> Raw:
        """The payload itself as JSON; `UNSET`: none was given, which is not None. Raises `PayloadError`."""
        if value is UNSET:
            return self.no_input
        if value is None and self._null_is_default:
            raise PayloadError(f"None does not fit {self._names[0]}. Leave it out for its default.")
        return encode(value)

    def decode(self, text: Raw) -> tuple[Any, ...]:
        """The arguments, in order. Raises `PayloadError`."""
        match self._names:
            case []:
                return ()
            case [_]:
                if self._null_is_default and text == NULL:
                    return ()
                return (self._read(text),)
            case names:
                arguments = self._read(Raw(b"{}") if text == NULL else text)
                return tuple(getattr(arguments, name) for name in names)

    def _reads(self, text: Raw) -> bool:
        try:
            self._read(text)
        except PayloadError:
            return False
        return True

    def _without_arguments(self, function: Function, parameters: list[inspect.Parameter]) -> Raw:
        """What stands for no arguments. Where null is a value of the only parameter, it is the default's."""
        if len(parameters) != 1 or not self._defaults[0] or self._null_is_default:
            return NULL
        try:
            return encode(parameters[0].default)
        except PayloadError as error:
            raise TypeError(f"The default of {function.__qualname__}: {error}") from error

    def call(self, function: Function, arguments: tuple[Any, ...], *context: Any) -> Any:
        """Call the function with what `decode` gave: parameters after a `*` by their names."""
        if not self._keywords or not arguments:
            return function(*context, *arguments)
        positional = len(arguments) - len(self._keywords)
        keywords = dict(zip(self._keywords, arguments[positional:], strict=True))
        return function(*context, *arguments[:positional], **keywords)

    @staticmethod
    def _payload_type(function: Function, types: list[Any], parameters: list[inspect.Parameter]) -> Any:
        if not parameters:
            return Any
        if len(parameters) == 1:
            return types[0] | None if parameters[0].default is None and types[0] is not Any else types[0]
        fields = [
            (parameter.name, wanted)
            if parameter.default is parameter.empty
            else (parameter.name, wanted, msgspec.field(default_factory=partial(_same, parameter.default)))
            for parameter, wanted in zip(parameters, types, strict=True)
        ]
        return msgspec.defstruct(f"{function.__name__}_arguments", fields, kw_only=True, forbid_unknown_fields=True)


def _check_form(function: Function, parameters: list[inspect.Parameter], skip: int) -> None:
    """Raises `TypeError` for what cannot be called as it would be."""
    if inspect.isasyncgenfunction(function):
        raise TypeError(f"{function.__qualname__} is `async def` and has a yield. Write await in its place.")
    first = parameters[:skip]
    if len(first) < skip or any(each.kind in (each.KEYWORD_ONLY, each.VAR_KEYWORD) for each in first):
        raise TypeError(
            f"The first parameter of an orchestrator is its context. Write: def {function.__name__}(ctx, ...)"
        )


def _hints(function: Function, skipped: set[str]) -> dict[str, Any]:
    """The types of what travels. Those of the others may be names that only type checkers know."""
    if not skipped:
        return get_type_hints(function, include_extras=True)
    named = {name: hint for name, hint in function.__annotations__.items() if name not in skipped}
    names = getattr(inspect.unwrap(function), "__globals__", {})
    return get_type_hints(SimpleNamespace(__annotations__=named), names, include_extras=True)


def _same(default: Any) -> Any:
    return default


def _result_type(function: Function, annotation: Any) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in (NoReturn, Never):
        return Any
    if inspect.isgeneratorfunction(function):
        return arguments[2] if origin is Generator and len(arguments) == 3 else Any
    if origin in (Awaitable, Coroutine):
        return arguments[-1]
    return annotation


@dataclass(frozen=True, slots=True)
class OrchestratorDefinition:
    """An orchestrator and how its input is read."""

    name: str
    function: Function
    signature: Signature
    events: dict[str, Any] = field(default_factory=dict[str, Any])
    """The types of the events that its code has waited for, by their names: the first `MAX_EVENTS` that it used."""
    makes_coroutine: bool = field(init=False)
    """Whether calling the function makes a coroutine, and runs none of its code yet."""

    def __post_init__(self) -> None:
        flags = self.function.__code__.co_flags if isinstance(self.function, FunctionType) else 0
        object.__setattr__(self, "makes_coroutine", bool(flags & inspect.CO_COROUTINE))

    def note_event(self, name: str, wanted: Any) -> None:
        if name in self.events or len(self.events) < MAX_EVENTS:
            self.events[name] = wanted


@dataclass(frozen=True, slots=True)
class ActivityDefinition:
    """An activity, and how it may be run. See `App.activity` for the meaning of each setting."""

    name: str
    function: Function
    signature: Signature
    once: bool = False
    reconcile: Reconcile | None = None
    unknown_on: tuple[type[Exception], ...] = ()
    timeout: timedelta | None = None
    max_concurrent: int | None = None
    is_async: bool = field(init=False)
    """Whether the function runs on the event loop; others run in threads."""

    def __post_init__(self) -> None:
        """Raises `TypeError` and `ValueError` for limits that cannot be."""
        if self.timeout is not None and check_span("timeout", self.timeout) <= timedelta(0):
            raise ValueError(f"The timeout of {self.name} is {self.timeout}: nothing could end in it.")
        _check_limit(self.name, self.max_concurrent)
        _check_once(self.reconcile, self.unknown_on)
        object.__setattr__(self, "is_async", inspect.iscoroutinefunction(self.function))


def _check_limit(name: str, most: object) -> None:
    if most is None:
        return
    if isinstance(most, bool) or not isinstance(most, int):
        raise TypeError(f"max_concurrent of {name} is a whole number (int), not {type(most).__qualname__}.")
    if most < 1:
        raise ValueError(f"max_concurrent of {name} is {most}: it could never run.")


def _check_once(reconcile: object, unknown_on: Any) -> None:
    if reconcile is not None and not callable(reconcile):
        raise TypeError(f"reconcile is a function of the call, not {type(reconcile).__qualname__}.")
    try:
        issubclass(Exception, unknown_on)
    except TypeError:
        raise TypeError("unknown_on is a tuple of exception classes, as (TimeoutError,).") from None


Definition = TypeVar("Definition", OrchestratorDefinition, ActivityDefinition)


class _Functions(Generic[Definition]):
    """The functions of one kind: by their own names, by those in any case, and by the function objects."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.named: dict[str, Definition] = {}
        self._found: dict[str | Function, Definition] = {}
        self._folded: dict[str, Definition] = {}

    def add(self, definition: Definition, *called: Function) -> None:
        """Raises `ValueError` for a name that cannot be, or that is taken."""
        name = definition.name
        self._check_name(name)
        self.named[name] = self._folded[name.casefold()] = definition
        self._found.update(dict.fromkeys((name, *called), definition))

    def find(self, wanted: str | Function) -> Definition | None:
        if type(wanted) is not str and isinstance(wanted, str):
            wanted = plain_text(wanted, "A function's name")
        try:
            return self._found[wanted]
        except KeyError:
            return self._folded.get(wanted.casefold()) if isinstance(wanted, str) else None
        except BaseException as error:  # callers may hand in anything, also what cannot be a key
            if from_outside(error):
                raise
            return None

    def unknown(self, wanted: str | Function, instead: str) -> FunctionNotFoundError:
        """The error for what is not here; `instead` says what it is. Raises `TypeError` for what is no function."""
        if not isinstance(wanted, str) and not callable(wanted):
            raise _no_function(self._kind, wanted)
        shown = plain_text(wanted, "") if isinstance(wanted, str) else _qualname(wanted)
        said = instead or f"Registered: {', '.join(sorted(self.named)) or 'none'}."
        return FunctionNotFoundError(f"There is no {self._kind} '{shown}'. {said}")

    def _check_name(self, name: str) -> None:
        if not can_name(name, MAX_NAME):
            raise ValueError(
                f"A function's name is 1 to {MAX_NAME} printable characters, and not . or ..; "
                f"this one is {name[:100]!a}."
            )
        taken = self._folded.get(name.casefold())
        if taken is None:
            return
        if taken.name == name:
            raise ValueError(f"The name '{name}' is taken by {taken.function.__qualname__}.")
        raise ValueError(
            f"The name '{name}' is taken by '{taken.name}' ({taken.function.__qualname__}): "
            "names of functions compare without regard to case. Choose another one."
        )


_AN_ACTIVITY = "It is an activity: orchestrators call it, by ctx.call_activity."
_AN_ORCHESTRATOR = "It is an orchestrator: call it by ctx.call_sub_orchestrator."


def _qualname(wanted: object) -> str:
    """What a function is called; else, what kind of object it is."""
    with own_suppressed():
        found: object = getattr(wanted, "__qualname__", None)
        if type(found) is str:
            return found
    return type(wanted).__qualname__


def _no_function(kind: str, wanted: object) -> TypeError:
    """For who calls the function where the function itself belongs."""
    shown = _qualname(wanted)
    if inspect.iscoroutine(wanted):
        wanted.close()
    return TypeError(
        f"This is no {kind}, but a {type(wanted).__qualname__} ({shown}). "
        "Give the function itself and then its arguments, as call_activity(mail, to), or the function's name."
    )


class Registry:
    """All functions of an app, by name and by the function object itself. Names compare case-insensitively."""

    def __init__(self) -> None:
        self._orchestrators = _Functions[OrchestratorDefinition]("orchestrator")
        self._activities = _Functions[ActivityDefinition]("activity")

    @property
    def orchestrators(self) -> Mapping[str, OrchestratorDefinition]:
        """By their own names."""
        return self._orchestrators.named

    @property
    def activities(self) -> Mapping[str, ActivityDefinition]:
        """By their own names."""
        return self._activities.named

    def add_orchestrator(self, name: str, function: Function) -> None:
        """Raises `ValueError` for a name that is taken, or cannot be; `TypeError` if parameters cannot be JSON."""
        self._orchestrators.add(OrchestratorDefinition(name, function, Signature(function, skip=1)), function)

    def add_activity(self, definition: ActivityDefinition, called: Function | None = None) -> None:
        """`called` is the function as its callers know it, if that is another object.

        Raises `ValueError` if the name is taken, or cannot be one.
        """
        self._activities.add(definition, definition.function, called or definition.function)

    def orchestrator(self, wanted: str | Function) -> OrchestratorDefinition:
        """Raises `FunctionNotFoundError`."""
        found = self._orchestrators.find(wanted)
        if found is None:
            raise self._orchestrators.unknown(wanted, _AN_ACTIVITY if self._activities.find(wanted) else "")
        return found

    def activity(self, wanted: str | Function) -> ActivityDefinition:
        """Raises `FunctionNotFoundError`."""
        found = self._activities.find(wanted)
        if found is None:
            raise self._activities.unknown(wanted, _AN_ORCHESTRATOR if self._orchestrators.find(wanted) else "")
        return found

    def orchestrator_if_known(self, name: str) -> OrchestratorDefinition | None:
        """Other workers may have more functions than this one."""
        return self._orchestrators.find(name)

    def activity_if_known(self, name: str) -> ActivityDefinition | None:
        """Other workers may have more functions than this one."""
        return self._activities.find(name)


def check_input(definition: OrchestratorDefinition, text: Raw) -> None:
    """Raises `MisfitError`, saying for which function, if the input does not fit the declared type."""
    try:
        definition.signature.decode(text)
    except MisfitError as error:
        raise MisfitError(f"The input does not fit {definition.name}: {error}", error.path) from error
