"""Every door of a hub, found by looking at it: a parameter that is new is tried like the others.

A case hands one strange value, or several, in at one door. What comes back is an answer, or an error that the
door's documentation names; and whoever else is there notices nothing.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import quote, unquote

import httpx2
import msgspec.structs
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

import bide.client
from bide import App, OrchestrationContext, RetryPolicy, RuntimeStatus, Settings, errors, when_any
from bide.core.context import Calls
from bide.core.tasks import Task
from bide.engine.client import Client
from bide.http.app import DurableApi
from bide.http.base.headers import Header
from bide.http.base.urls import NEW_PREFIX, OLD_PREFIX
from bide.http.handlers.api import MANAGEMENT, STARTERS
from bide.model.interrupts import raised_by_code
from bide.model.query import FailureCursor, InstanceCursor, InstanceFilter, TimerCursor, WaitCursor
from tests.bulkheads.hub import Hub, eventually
from tests.bulkheads.values import JSON, Own, functions, moments, shown, spans, texts, values

BASE = "http://127.0.0.1:7071"
KINDS = ("waiting", "ended", "failed", "suspended")
PATIENCE_S = 10.0

# --- the app


@dataclass
class Scene:
    """What an orchestrator does, once. It is found by a number, because it cannot travel as JSON."""

    act: Callable[[OrchestrationContext], Any]
    value: Any = None
    raised: list[BaseException] = field(default_factory=list[BaseException])


SCENES: dict[int, Scene] = {}
_FIRST_SCENE = 10**12
"""The number of the first one: none that is handed in by chance."""


async def play(ctx: OrchestrationContext, number: Any = None) -> Any:
    """Does what its scene says. Whatever that is, it can go on afterwards, and is told so by an event."""
    scene = SCENES.get(number) if type(number) is int else None
    if scene is None:
        return "over"
    go = ctx.wait_for_external_event("@go")
    try:
        found = scene.act(ctx)
        if isinstance(found, Task):
            await when_any(found, go)
            if found is not go and found.is_completed:
                await found
    except (errors.ContinueAsNew, GeneratorExit):
        raise
    except BaseException as error:
        scene.raised.append(error)
    await go
    return scene.value


async def ask(ctx: OrchestrationContext, question: Any = None) -> Any:
    return await ctx.wait_for_external_event("Go", int)


async def echo(ctx: OrchestrationContext, value: Any = None) -> Any:
    return value


async def strict(ctx: OrchestrationContext, count: int, name: str = "x") -> int:
    return count


async def fail(ctx: OrchestrationContext) -> None:
    raise ValueError("it fails")


async def give(number: int) -> Any:
    return SCENES[number].value


async def give_number(number: int) -> int:
    found: int = SCENES[number].value
    return found


def give_in_a_thread(number: int) -> Any:
    return SCENES[number].value


async def give_up(number: int) -> None:
    raise SCENES[number].value


async def take(value: Any) -> None: ...


ORCHESTRATORS = (play, ask, echo, strict, fail)
ACTIVITIES = (give, give_number, give_in_a_thread, give_up, take)
GIVERS = tuple(each.__name__ for each in ACTIVITIES[:-1])


def make_app() -> App:
    app = App()
    for orchestrator in ORCHESTRATORS:
        app.orchestrator(orchestrator)
    for activity in ACTIVITIES:
        app.activity(activity)
    return app


class ServedHub(Hub):
    """A hub that is served, too."""

    def __init__(self, db: str) -> None:
        super().__init__(make_app(), db)
        self.settings = msgspec.structs.replace(self.settings, max_body_bytes=200_000)
        self.watch = time.process_time  # nobody else's work counts, where many cases are played beside it
        self.api = DurableApi(self.app, self.settings, self.clock)

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[Client]:
        async with self.api.lifespan():
            yield self.api.client


# --- values that depend on the hub, or are made when they are used


@dataclass(frozen=True)
class Mine:
    """The id of the example's own instance of that kind."""

    kind: str


@dataclass(frozen=True)
class Built:
    """An object that is made of these."""

    kind: Callable[..., Any]
    arguments: dict[str, Any]

    def __repr__(self) -> str:
        return f"{self.kind.__name__}({_shown(self.arguments)})"


class Refused(Exception):
    """What was to be handed in could not even be made, and said so by a documented error."""


def made(value: Any, own: Mapping[str, str]) -> Any:
    match value:
        case Mine(kind):
            return own[kind]
        case Built(kind, arguments):
            given = {name: made(each, own) for name, each in arguments.items()}
            try:
                return kind(**given)
            except Refused:
                raise
            except BaseException as error:
                judge(error, kind)
                raise Refused from error
        case _:
            return value


def _shown(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={shown(each)}" for name, each in arguments.items())


# --- which errors a door may raise

NOT_THE_CALLERS = (
    errors.StepFailedError,
    errors.ServerFailedError,
    errors.StoreError,
    errors.CommitUnknownError,
    errors.StoreUnavailableError,
    errors.BusyError,
    errors.LeaseLostError,
    errors.NonDeterminismError,
    errors.HeldStep,
)
"""They say that something is wrong with the hub, and nothing is."""
NAMED = (TypeError, ValueError, OverflowError, TimeoutError, RuntimeError)
"""Errors of Python that a door may raise if its documentation names them."""


def judge(error: BaseException, *doors: Any) -> None:
    """Raise `AssertionError` unless the error is documented."""
    if isinstance(error, errors.BideError | errors.ContinueAsNew) and not isinstance(error, NOT_THE_CALLERS):
        try:
            str(error)
        except BaseException as further:
            raise AssertionError(f"{type(error).__name__} cannot be told") from further
        return
    documented = "\n".join(filter(None, (inspect.getdoc(door) for door in doors)))
    own = next((each for each in NAMED if isinstance(error, each) and each.__name__ in documented), None)
    if own is None or not _of_ours(error):
        raise AssertionError(f"not documented: {type(error).__qualname__}: {shown(error)}") from error


def _of_ours(error: BaseException) -> bool:
    """Whether it was raised by our own words, and not by something deeper that was handed what it cannot take."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    name = place.tb_frame.f_globals.get("__name__", "") if place else ""
    return name.startswith(("bide.", "inspect")) and raised_by_code(error)


# --- calls by Python


Arguments: TypeAlias = dict[str, Any]

WORDS = ("Go", "go", "@go", "ask", "Echo", "give", "play")
booleans = st.booleans()
flat_ids = st.sampled_from([Mine(kind) for kind in KINDS] + ["nobody", "0"])
small_texts = st.sampled_from(["a", "b", "k", "v"])
tags = st.dictionaries(small_texts, small_texts, max_size=2)
counts = st.integers(1, 1000)
instants = st.integers(0, 2**62)


def _mistaken(name: str) -> SearchStrategy[Any]:
    """What somebody may give there: mostly what is meant, and else anything."""
    return st.one_of(USUAL[name], USUAL[name], values) if name in USUAL else values


def _built(kind: Callable[..., Any], **usual: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """An object, whose every parameter may be anything."""
    wanted = {
        name: st.one_of(usual[name], usual[name], values) if name in usual else values
        for name, parameter in inspect.signature(kind).parameters.items()
    }
    required = {
        name: wanted.pop(name)
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.default is parameter.empty
    }
    return st.fixed_dictionaries(required, optional=wanted).map(lambda found: Built(kind, found))


where = _built(
    InstanceFilter,
    created_from=moments,
    created_to=moments,
    statuses=st.lists(st.sampled_from(RuntimeStatus), max_size=2).map(tuple),
    id_prefix=texts,
    name=texts,
    tags=tags,
    held=booleans,
)
cursors = st.one_of(
    _built(InstanceCursor, created_at=instants, id=flat_ids),
    _built(WaitCursor, due=instants, instance_id=small_texts, id=counts),
    _built(FailureCursor, failed_at=instants, id=small_texts),
    _built(TimerCursor, fire_at=instants, instance_id=small_texts, generation=counts, task_id=counts),
)
policies = _built(
    RetryPolicy,
    max_attempts=st.integers(1, 4),
    first_interval=spans,
    backoff=st.floats(1, 3),
    max_interval=spans,
    total_time=spans,
    non_retryable=st.just((ValueError, "KeyError")),
    retry_if=functions,
)
USUAL: dict[str, SearchStrategy[Any]] = {
    "instance_id": flat_ids,
    "instance_ids": st.lists(small_texts, max_size=2),
    "orchestrator": st.sampled_from([*(each.__name__ for each in ORCHESTRATORS), ask, echo, strict]),
    "activity": st.sampled_from(["take", "nobody's", take]),
    "input": JSON,
    "more": st.just(()),
    "args": st.lists(JSON, max_size=1).map(tuple),
    "kwargs": st.just({}),
    "data": st.one_of(st.just(1), JSON),
    "status": JSON,
    "type": st.sampled_from([int, str, Any]),
    "tags": tags,
    "idempotency_key": small_texts,
    "once_key": small_texts,
    "reuse": st.sampled_from([None, "never", "ended", "replace"]),
    "name": st.sampled_from(WORDS),
    "event": st.sampled_from(WORDS),
    "reason": texts,
    "recurse": booleans,
    "new_instance_id": booleans,
    "overdue": booleans,
    "once": booleans,
    "reminder": booleans,
    "keep_events": booleans,
    "where": where,
    "at_most": counts,
    "limit": counts,
    "page": counts,
    "before": counts,
    "after": cursors,
    "since": spans,
    "timeout": spans,
    "wait": spans,
    "valid_for": spans,
    "due": st.one_of(spans, moments),
    "retry": policies,
    "changed": functions,
    "caller": texts,
    "address": texts,
    "birth": small_texts,
    "last_id": texts,
    "url": st.just(BASE),
    "key": texts,
}
"""What is meant by each parameter."""
THE_TESTS_OWN = {"http": None}
"""A parameter that the test itself gives."""


def verbs(kind: type[Any]) -> dict[str, Callable[..., Any]]:
    """The public methods of a class."""
    return {
        name: each
        for base in reversed(kind.__mro__)
        for name, each in vars(base).items()
        if not name.startswith("_") and inspect.isfunction(each)
    }


def arguments_of(function: Callable[..., Any], *, skip: int = 1) -> SearchStrategy[Arguments]:
    """Arguments for a function: one of them may be anything, the others are usual, or left out if they can be."""
    parameters = {
        name: parameter
        for name, parameter in [*inspect.signature(function).parameters.items()][skip:]
        if name not in THE_TESTS_OWN
    }
    if not parameters:
        return st.just({})

    def with_victim(victim: str) -> SearchStrategy[Arguments]:
        required, optional = dict[str, SearchStrategy[Any]](), dict[str, SearchStrategy[Any]]()
        for name, parameter in parameters.items():
            wanted = _mistaken(name) if name == victim else USUAL.get(name, values)
            if parameter.kind is parameter.VAR_POSITIONAL and name == victim:
                wanted = st.lists(values, max_size=2).map(tuple)
            if parameter.kind is parameter.VAR_KEYWORD and name == victim:
                wanted = st.dictionaries(st.sampled_from(["value", "x", "number"]), values, max_size=2)
            needed = name == victim or parameter.default is parameter.empty
            (required if needed else optional)[name] = wanted
        return st.fixed_dictionaries(required, optional=optional)

    return st.sampled_from([*parameters]).flatmap(with_victim)


def called(function: Callable[..., Any], owner: Any, arguments: Arguments, own: Mapping[str, str]) -> Any:
    """Call it with these; `*` and `**` take what is given under their names."""
    positional, named = list[Any](), dict[str, Any]()
    for name, parameter in [*inspect.signature(function).parameters.items()][1:]:
        if name not in arguments:
            continue
        value = made(arguments[name], own)
        match parameter.kind:
            case parameter.VAR_POSITIONAL:
                positional += value
            case parameter.VAR_KEYWORD:
                named |= value
            case parameter.KEYWORD_ONLY:
                named[name] = value
            case _ if len(positional) < _place(function, name):
                named[name] = value
            case _:
                positional.append(value)
    return function(owner, *positional, **named)


def _place(function: Callable[..., Any], name: str) -> int:
    return [*inspect.signature(function).parameters][1:].index(name)


class World:
    """A hub, and the event loop that it runs on: only while somebody calls."""

    def __init__(self, db: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.hub = ServedHub(db)
        self.own: dict[str, str] = {}
        self.left = 0
        """How many more requests the synchronous client may make."""

    def __enter__(self) -> World:
        self.run(self.hub.up())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self.hub.down())
        self.loop.close()

    def run(self, work: Awaitable[Any]) -> Any:
        async def in_time() -> Any:
            async with asyncio.timeout(6 * PATIENCE_S):
                return await work

        return self.loop.run_until_complete(in_time())

    async def prepare(self) -> None:
        """Instances of its own for an example."""
        client = self.hub.client
        waiting, ended, failed, suspended = [await client.start(name) for name in ("ask", "echo", "fail", "ask")]
        await client.suspend(suspended)
        for each in (ended, failed):
            await client.wait(each)
        self.own = {"waiting": waiting, "ended": ended, "failed": failed, "suspended": suspended}


@dataclass
class Case:
    """Something handed in somewhere."""

    door: str
    arguments: Arguments

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.door}: {_shown(self.arguments)})"

    def begin(self, world: World) -> Awaitable[None] | None:
        """What is done together with the other cases of an example, if anything is."""
        return None

    def end(self, world: World) -> None:
        """What is done afterwards, while the loop does not run."""


def _judged(case: Case, error: BaseException, *doors: Any) -> None:
    try:
        judge(error, *doors)
    except AssertionError as wrong:
        raise AssertionError(f"{case!r}: {wrong}") from error


class InProcess(Case):
    """At a verb of the client of a running app."""

    def begin(self, world: World) -> Awaitable[None]:
        return self._play(world)

    async def _play(self, world: World) -> None:
        verb = verbs(Client)[self.door]
        reference = verbs(Client)["start" if self.door == "begin" else "raise_event"]
        client = world.hub.client
        try:
            async with asyncio.timeout(0.2 if self.door == "wait" else PATIENCE_S):
                found = called(verb, client, self.arguments, world.own)
                if isinstance(found, Client):
                    found = found.terminate(world.own["waiting"])
                if isinstance(found, AbstractContextManager):
                    with found:
                        for _ in range(30):
                            await asyncio.sleep(0)
                        return
                if inspect.isawaitable(found):
                    await found
        except (Refused, AssertionError) as error:
            if isinstance(error, AssertionError):
                raise AssertionError(f"{self!r}: {error}") from error
        except TimeoutError:
            assert self.door == "wait", f"{self!r} hangs"
        except BaseException as error:
            _judged(self, error, verb, reference, Client)


class _Cut(Exception):
    """The client has been let ask often enough."""


class _Transport(httpx2.BaseTransport):
    """Requests of the synchronous client, served on the loop of the hub."""

    def __init__(self, world: World) -> None:
        self._world = world

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._world.left == 0:
            raise _Cut
        self._world.left -= 1
        raw_path, _, query = request.url.raw_path.partition(b"?")
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        status, heads, body = self._world.run(
            asked(self._world, request.method, raw_path, query, headers, request.read())
        )
        return httpx2.Response(status, headers=heads, content=body)


class Synchronous(Case):
    """At a verb of the client for ordinary code."""

    def end(self, world: World) -> None:
        kind = bide.client.Client
        verb = verbs(kind)[self.door] if self.door else kind
        world.left = 20
        try:
            with httpx2.Client(transport=_Transport(world)) as http:
                options = (
                    {} if self.door else {name: made(each, world.own) for name, each in self.arguments.items()}
                )
                client = kind(**({"url": BASE, "http": http} | options))
                client._pause = _cut  # type: ignore[method-assign]
                if not self.door:
                    client.get(world.own["waiting"])
                    return
                found = called(verb, client, self.arguments, world.own)
                if isinstance(found, Iterator):
                    for _ in zip(range(3), found, strict=False):
                        pass
        except (Refused, _Cut):
            pass
        except BaseException as error:
            of_hub = verbs(Client).get(self.door)
            _judged(self, error, verb, kind, of_hub, kind.__init__, verbs(Client)["raise_event"])


def _cut(attempt: int) -> None:
    raise _Cut


class _Played(Case):
    """Something that an orchestrator does."""

    _number = -1
    _instance_id = ""
    doors: tuple[Any, ...] = ()

    def scene(self, world: World) -> Scene:
        raise NotImplementedError

    async def begin_scene(self, world: World) -> None:
        number = self._number = _FIRST_SCENE + len(SCENES)
        SCENES[number] = self.scene(world)
        self._instance_id = await world.hub.client.start("play", number)
        for _ in range(30):
            await asyncio.sleep(0)
        with suppress(errors.InstanceFinishedError):  # as after continue_as_new
            await world.hub.client.raise_event(self._instance_id, "@go")

    def begin(self, world: World) -> Awaitable[None]:
        return self.begin_scene(world)

    def end(self, world: World) -> None:
        async def over() -> bool:
            instance = await world.hub.client.get(self._instance_id)
            assert instance.held is None, f"{self!r}: held: {instance.held}"
            if instance.status is RuntimeStatus.SUSPENDED:
                await world.hub.client.resume(self._instance_id)
            return instance.status.finished

        try:
            world.run(eventually(over))
        except AssertionError as error:
            raise AssertionError(f"{self!r}: {error}") from error
        except errors.InstanceNotFoundError:  # replaced or purged by itself
            pass
        for error in SCENES[self._number].raised:
            _judged(self, error, *self.doors, errors.TaskFailedError)


class InOrchestrator(_Played):
    """At a verb of the context."""

    def scene(self, world: World) -> Scene:
        own = dict(world.own)
        with_options = verbs(OrchestrationContext)["with_options"]
        verb = verbs(OrchestrationContext)[self.door]
        self.doors = (verb, Calls.call_activity, with_options, RetryPolicy)
        options = self.arguments.get("with_options")

        def act(ctx: OrchestrationContext) -> Any:
            try:
                owner: Any = ctx if options is None else called(with_options, ctx, options, own)
                given = {name: each for name, each in self.arguments.items() if name != "with_options"}
                found = called(verb, owner, given, own)
                return found.call_activity("give_up", self._number) if isinstance(found, Calls) else found
            except Refused:
                return None

        return Scene(act, value=ValueError("x") if self.door == "with_options" else None)


class Outcome(_Played):
    """What an activity or an orchestrator gives back."""

    def scene(self, world: World) -> Scene:
        value = made(self.arguments["value"], world.own)
        if self.door == "play":
            return Scene(lambda ctx: None, value)
        return Scene(lambda ctx: ctx.call_activity(self.door, self._number), value)


# --- HTTP


async def asked(
    world: World, method: str, raw_path: bytes, query: bytes, headers: list[tuple[bytes, bytes]], body: bytes
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """The answer to a request, as a server of ASGI hands it in. A stream is left after what it says first."""
    gone = asyncio.Event()
    unread = [body]
    status, answered, text = 0, list[tuple[bytes, bytes]](), bytearray()

    async def receive() -> dict[str, Any]:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            answered.extend(message["headers"])
        else:
            text.extend(message.get("body", b""))
            if message.get("more_body") and text:
                gone.set()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw_path.decode("latin-1")),
        "raw_path": raw_path,
        "root_path": "",
        "query_string": query,
        "headers": headers,
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 7071),
        "state": {},
    }
    later = asyncio.get_running_loop().call_later(0.1, gone.set)
    try:
        await world.hub.api(scope, receive, send)
    finally:
        later.cancel()
    return status, answered, bytes(text)


HOST = (b"host", b"127.0.0.1:7071")


class OverHttp(Case):
    """A request, of bytes."""

    def begin(self, world: World) -> Awaitable[None]:
        return self._play(world)

    async def _play(self, world: World) -> None:
        asked_for = self.arguments
        path = b"".join(
            _quoted(made(each, world.own)) if not isinstance(each, bytes) else each for each in asked_for["path"]
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                status, headers, body = await asked(
                    world, asked_for["method"], path, asked_for["query"], asked_for["headers"], asked_for["body"]
                )
        except BaseException as error:
            raise AssertionError(f"{self!r}: {type(error).__name__}: {shown(error)}") from error
        kind = dict(headers).get(b"content-type", b"")
        found = None
        if kind.startswith((b"application/json", b"application/problem+json")) and asked_for["method"] != "HEAD":
            found = json.loads(body.decode(), parse_constant=_no_json) if body else None
        failed = isinstance(found, dict) and found.get("runtimeStatus") == "Failed"
        assert 200 <= status < 500 or status == 501 or failed, f"{self!r}: {status} {body[:300]!r}"


def _no_json(text: str) -> None:
    raise AssertionError(f"{text} is no JSON")


def _quoted(text: str) -> bytes:
    return quote(text.encode("utf-8", "surrogatepass"), safe="").encode()


ENDPOINTS = [
    (prefix + endpoint.path, endpoint)
    for endpoint in (*MANAGEMENT, *STARTERS)
    for prefix in (NEW_PREFIX, OLD_PREFIX)
]
ROUTES = [
    path for each in DurableApi(App(), Settings(db=":memory:")).routes if (path := getattr(each, "path", None))
]
METHODS = st.sampled_from(["GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS", "GETT", ""])
HEADERS = (
    "content-type",
    "accept",
    "authorization",
    "cookie",
    "origin",
    "x-functions-key",
    "last-event-id",
    "range",
    "host",
    "x-forwarded-for",
    "x-forwarded-proto",
    "transfer-encoding",
    "if-none-match",
    "accept-encoding",
    "content-length",
)
chars = st.binary(max_size=20)
raw_texts = texts.map(lambda text: text[:3000].encode("utf-8", "surrogatepass"))
header_values = st.one_of(
    st.sampled_from(
        [
            b"application/json",
            b"text/plain",
            b"application/x-www-form-urlencoded",
            b"*/*",
            b"-1",
            b"0",
            b"Bearer x",
            b"multipart/form-data; boundary=x",
            b"text/html",
            b"bytes=0-",
            b"application/json; charset=x",
        ]
    ),
    chars,
    raw_texts,
)
bodies = st.one_of(
    st.just(b""),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=50),
    raw_texts,
    st.sampled_from(
        [
            b"[" * 5000,
            b"[" * 5000 + b"]" * 5000,
            b"NaN",
            b"1e999",
            b'"\\ud800"',
            b'{"a":1,"a":2}',
            b"\xef\xbb\xbf1",
            b"9" * 5000,
            b'"' + b"x" * 150_000 + b'"',
            b"x" * 300_000,
            b"\0",
            b'"\\u0000"',
            b"1 2",
        ]
    ),
)


def _cased(kind: type[Case], doors: Mapping[str, SearchStrategy[Arguments]]) -> SearchStrategy[Case]:
    return st.one_of([wanted.map(_case(kind, door)) for door, wanted in doors.items()])


def _case(kind: type[Case], door: str) -> Callable[[Arguments], Case]:
    return lambda arguments: kind(door, arguments)


def _query_text(name: str, value: str | bytes) -> bytes:
    return f"{name}={quote(value)}".encode()


QUERY_VALUES = st.one_of(
    st.sampled_from(["true", "1", "90s", "2026-01-01T00:00:00Z", "Running", "a:b", "never", "ask", "0.01", "100"]),
    texts.map(lambda text: text[:2000].encode("utf-8", "surrogatepass")),
    st.binary(max_size=5),
)


@st.composite
def requests(draw: st.DrawFn) -> Case:
    template, endpoint = draw(st.sampled_from([*ENDPOINTS, *((path, None) for path in ROUTES)]))
    path: list[Any] = []
    for part in template.split("/")[1:]:
        path.append(b"/")
        if part.startswith("{"):
            usual = flat_ids if part == "{instanceId}" else st.sampled_from(WORDS)
            path.append(draw(st.one_of(usual, usual, usual, texts, chars)))
        else:
            path.append(part.encode())
    if draw(st.integers(0, 9)) == 9:
        path.append(draw(st.one_of(chars, st.sampled_from([b"/", b"//", b"/..", b"%", b"%2F", b"/%00", b"?"]))))
    known = [found.encode_name for found in msgspec.structs.fields(endpoint.query)] if endpoint else []
    names = st.sampled_from(known) if known else st.sampled_from(["a", "code", "top"])
    pairs = draw(st.lists(st.tuples(names, QUERY_VALUES), max_size=3))
    query = b"&".join(_query_text(*pair) for pair in pairs)
    if draw(st.integers(0, 9)) == 9:
        query += draw(st.binary(max_size=10))
    own: tuple[Header, ...] = endpoint.headers if endpoint else ()
    heads = st.sampled_from([*HEADERS, "x-ms-continuation-token", *(each.name.lower() for each in own)])
    headers = draw(st.lists(st.tuples(heads.map(str.encode), header_values), max_size=2))
    if not any(name == b"host" for name, _ in headers) or draw(booleans):
        headers = [HOST, *headers]
    method = endpoint.method if endpoint and draw(st.integers(0, 9)) else draw(METHODS)
    arguments = {"method": method, "path": path, "query": query, "headers": headers, "body": draw(bodies)}
    return OverHttp(template, arguments)


# --- all of it


def _in_orchestrator(verb: Callable[..., Any]) -> SearchStrategy[Arguments]:
    if verb not in (Calls.call_activity, Calls.call_sub_orchestrator):
        return arguments_of(verb)
    options = st.one_of(st.none(), arguments_of(verbs(OrchestrationContext)["with_options"]))
    return st.tuples(arguments_of(verb), options).map(lambda pair: pair[0] | {"with_options": pair[1]})


outcomes = st.fixed_dictionaries(
    {"value": st.one_of(values, st.builds(ValueError, values), st.builds(Own, values))}
)
IN_PROCESS = _cased(InProcess, {name: arguments_of(verb) for name, verb in verbs(Client).items()})
SYNCHRONOUS = _cased(
    Synchronous,
    {name: arguments_of(verb) for name, verb in verbs(bide.client.Client).items()}
    | {"": arguments_of(bide.client.Client, skip=0)},
)
IN_ORCHESTRATOR = _cased(
    InOrchestrator, {name: _in_orchestrator(verb) for name, verb in verbs(OrchestrationContext).items()}
)
OUTCOMES = _cased(Outcome, dict.fromkeys(["play", *GIVERS], outcomes))
CASES = st.one_of(IN_PROCESS, SYNCHRONOUS, IN_ORCHESTRATOR, OUTCOMES, requests())


class Batch:
    """Cases that come at once, so that they share a step; and whether the hub is restarted afterwards."""

    def __init__(self, cases: list[Case], restart: bool) -> None:
        self.cases = cases
        self.restart = restart

    def __repr__(self) -> str:
        return "\n".join([*map(repr, self.cases), *(["and a restart"] if self.restart else [])])

    def play(self, world: World) -> list[BaseException]:
        """Returns what is wrong."""
        found = world.run(self._together(world))
        for case in self.cases:
            try:
                case.end(world)
            except Exception as error:
                found.append(error)
        if self.restart:
            world.run(world.hub.restart())
        world.run(world.hub.one_round())
        SCENES.clear()
        return found

    async def _together(self, world: World) -> list[BaseException]:
        await world.prepare()
        begun = [work for case in self.cases if (work := case.begin(world)) is not None]
        results = await asyncio.gather(world.hub.one_round(), *begun, return_exceptions=True)
        return [error for error in results if isinstance(error, BaseException)]


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    return Batch(draw(st.lists(CASES, min_size=1, max_size=8)), draw(st.integers(0, 60)) == 60)
