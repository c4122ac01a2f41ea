"""What authors write by mistake is met by a sentence that says what to write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from bide import App, OrchestrationContext, RetryPolicy, RuntimeStatus
from bide.client import AsyncClient, Client
from bide.errors import FunctionNotFoundError
from bide.testing.harness import Durable

if TYPE_CHECKING:
    from bide import OrchestrationContext as KnownToCheckersOnly

Ask = Callable[[OrchestrationContext], Any]


def failure_of(app: App, durable: Durable, ask: Ask) -> str:
    """What the instance fails with whose code asks for this."""

    @app.orchestrator
    async def author(ctx: OrchestrationContext) -> Any:
        return await ask(ctx)

    instance = durable.status(durable.start(author))
    assert instance.status is RuntimeStatus.FAILED
    return str(instance.output)


NO_SPANS: list[tuple[Any, str]] = [
    (90, "not 90 (int). For 90 seconds, write timedelta(seconds=90)."),
    (0.5, "not 0.5 (float). For 0.5 seconds, write timedelta(seconds=0.5)."),
    (True, "not bool. For 90 seconds, write timedelta(seconds=90)."),
    ("90s", "not str."),
    (date(2026, 1, 1), "not date."),
]


@pytest.mark.parametrize(("span", "said"), NO_SPANS)
@pytest.mark.parametrize(
    "ask",
    [
        lambda ctx, span: ctx.create_timer(span),
        lambda ctx, span: ctx.wait_for_external_event("Go", str, timeout=span),
        lambda ctx, span: ctx.response_url("Go", valid_for=span),
        lambda ctx, span: RetryPolicy(first_interval=span),
        lambda ctx, span: RetryPolicy(max_interval=span),
        lambda ctx, span: RetryPolicy(total_time=span),
    ],
)
def test_a_number_is_no_span(
    app: App, durable: Durable, ask: Callable[[OrchestrationContext, Any], Any], span: Any, said: str
) -> None:
    assert "is a span of time" in failure_of(app, durable, lambda ctx: ask(ctx, span))
    assert said in str(durable.status(durable.start("author")).output)


def test_a_moment_has_a_time_zone(app: App, durable: Durable) -> None:
    naive = datetime(2026, 1, 1)
    assert "has no time zone" in failure_of(app, durable, lambda ctx: ctx.create_timer(naive))


@pytest.mark.parametrize("type_", [90, 0.5, timedelta(days=3)])
def test_a_timeout_is_given_by_its_name(app: App, durable: Durable, type_: Any) -> None:
    said = failure_of(app, durable, lambda ctx: ctx.wait_for_external_event("Go", type_))
    assert "give the timeout by its name, as timeout=timedelta(seconds=90)" in said


@pytest.mark.parametrize(("retry", "attempts"), [(3, 3), (5, 5), (0, 3), (True, 3), ("3", 3), ([RetryPolicy()], 3)])
def test_a_number_is_no_policy(app: App, durable: Durable, retry: Any, attempts: int) -> None:
    said = failure_of(app, durable, lambda ctx: ctx.with_options(retry=retry).call_activity("mail"))
    assert f"For {attempts} attempts, write with_options(retry=RetryPolicy(max_attempts={attempts}))." in said


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"timeout": 30}, TypeError, r"write timedelta\(seconds=30\)"),
        ({"timeout": timedelta(0)}, ValueError, "nothing could end in it"),
        ({"timeout": timedelta(seconds=-1)}, ValueError, "nothing could end in it"),
        ({"max_concurrent": 0}, ValueError, "it could never run"),
        ({"max_concurrent": -3}, ValueError, "it could never run"),
        ({"max_concurrent": 2.5}, TypeError, "a whole number"),
        ({"max_concurrent": True}, TypeError, "a whole number"),
        ({"once": True, "reconcile": "find"}, TypeError, "reconcile is a function"),
        ({"once": True, "unknown_on": ("TimeoutError",)}, TypeError, "a tuple of exception classes"),
    ],
)
def test_limits_of_an_activity_are_checked_when_it_is_declared(
    app: App, wrong: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):

        @app.activity(**wrong)
        async def mail() -> None: ...


@pytest.mark.parametrize("timeout", [5, 0.5, "5s"])
def test_clients_take_spans_too(app: App, durable: Durable, timeout: Any) -> None:
    with Client(timeout=timedelta(seconds=1)) as here, pytest.raises(TypeError, match="timeout is a span of time"):
        here.wait("a", timeout)
    with pytest.raises(TypeError, match="timeout is a span of time"):
        durable.run(durable.client.wait("a", timeout))
    for kind in (Client, AsyncClient):
        with pytest.raises(TypeError, match="timeout is a span of time"):
            kind(timeout=timeout)
    with Client() as here:
        with pytest.raises(TypeError, match="wait is a span of time"):
            here.status("a", wait=timeout)
        with pytest.raises(TypeError, match="valid_for is a span of time"):
            here.response_link("a", "Go", valid_for=timeout)

    async def wait() -> None:
        async with AsyncClient() as there:
            await there.wait("a", timeout)

    with pytest.raises(TypeError, match="timeout is a span of time"):
        asyncio.run(wait())


@pytest.fixture
def mail(app: App) -> Callable[..., Any]:
    @app.activity
    async def mail(to: str) -> str:
        return f"sent to {to}"

    return mail


@pytest.mark.parametrize(
    "value",
    [lambda task: task, lambda task: [task], lambda task: {"a": task}],
    ids=["itself", "in a list", "in a dict"],
)
def test_a_forgotten_await_is_named(
    app: App, durable: Durable, mail: Callable[..., Any], value: Callable[[Any], Any]
) -> None:
    async def nothing(ctx: OrchestrationContext) -> Any:
        return value(ctx.call_activity("mail", "a"))

    said = failure_of(app, durable, nothing)
    assert "a Task has its value once it is awaited. Write await before it" in said


def test_an_activity_that_forgets_to_await_is_told_too(app: App, durable: Durable) -> None:
    @app.activity
    async def forgets() -> Any:
        return asyncio.get_running_loop().create_future()

    said = failure_of(app, durable, lambda ctx: ctx.call_activity(forgets))
    assert "a Future has its value once it is awaited" in said


def test_a_call_of_the_wrong_kind_says_which_is_right(app: App, durable: Durable, mail: Callable[..., Any]) -> None:
    @app.orchestrator
    async def other(ctx: OrchestrationContext) -> None: ...

    asks: list[Ask] = [lambda ctx: ctx.call_activity(other), lambda ctx: ctx.call_activity("Other")]
    for ask in asks:
        app_ = App()
        app_.orchestrator(other)
        with Durable(app_) as apart:
            said = failure_of(app_, apart, ask)
        assert "It is an orchestrator: call it by ctx.call_sub_orchestrator." in said
    said = failure_of(app, durable, lambda ctx: ctx.call_sub_orchestrator(mail, "a"))
    assert "It is an activity: orchestrators call it, by ctx.call_activity." in said
    with pytest.raises(FunctionNotFoundError, match="It is an activity"):
        durable.start("mail", "a")
    with pytest.raises(FunctionNotFoundError, match="It is an activity"):
        durable.start(mail, "a")


async def _coroutine() -> None: ...


@pytest.mark.parametrize("wanted", [_coroutine, lambda: 5, lambda: None, lambda: ["mail"]])
def test_what_is_no_function_is_told_so(app: App, durable: Durable, wanted: Callable[[], Any]) -> None:
    said = failure_of(app, durable, lambda ctx: ctx.call_activity(wanted()))
    assert "Give the function itself and then its arguments" in said
    with pytest.raises(TypeError, match="Give the function itself"):
        durable.start(wanted())


def test_an_orchestrator_has_a_context(app: App) -> None:
    async def nothing() -> None: ...

    async def by_name(*, ctx: OrchestrationContext) -> None: ...

    for function in (nothing, by_name):
        with pytest.raises(TypeError, match="The first parameter of an orchestrator is its context"):
            app.orchestrator(function)

    @app.orchestrator
    async def any_arguments(*context: Any) -> None: ...


def test_await_and_yield_do_not_mix(app: App) -> None:
    async def mixed(ctx: OrchestrationContext) -> Any:
        yield ctx.create_timer(timedelta(seconds=1))

    for declare in (app.orchestrator, app.activity):
        with pytest.raises(TypeError, match="Write await in its place"):
            declare(mixed)


def test_the_type_of_the_context_need_not_be_imported(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def author(ctx: KnownToCheckersOnly, number: int) -> int:
        return number

    assert durable.output(durable.start(author, 5)) == 5
