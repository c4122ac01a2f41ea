"""What runs in a step beside the orchestrator: code of types, and `retry_if`. It harms its own instance only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
import pydantic
import pytest

from bide import (
    ActivityFailedError,
    App,
    Failure,
    OrchestrationContext,
    PayloadError,
    RetryPolicy,
    RuntimeStatus,
)
from bide.testing.harness import Durable


class Own(BaseException):
    pass


class Untellable(ValueError):
    def __str__(self) -> str:
        raise KeyboardInterrupt


RAISED: list[BaseException] = [
    KeyboardInterrupt(),
    SystemExit(3),
    GeneratorExit(),
    StopIteration(),
    asyncio.CancelledError(),
    RecursionError(),
    KeyError("k"),
    Own("own"),
    Untellable(),
]
_raises: list[BaseException] = []
"""What the code of the types below raises. Empty: nothing."""


def _maybe_raise() -> None:
    if _raises:
        raise _raises[0]


@dataclass
class Data:
    x: int

    def __post_init__(self) -> None:
        _maybe_raise()


class Model(pydantic.BaseModel):
    x: int

    @pydantic.field_validator("x")
    @classmethod
    def check(cls, x: int) -> int:
        _maybe_raise()
        return x


class Form(msgspec.Struct):
    x: int

    def __post_init__(self) -> None:
        _maybe_raise()


@pytest.fixture(params=RAISED, ids=lambda error: type(error).__name__)
def raising(request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """From when it is called, the types' code raises."""
    yield lambda: _raises.append(request.param)
    _raises.clear()


@pytest.fixture
def neighbour(app: App, durable: Durable) -> Iterator[None]:
    """Another instance, which must not notice; and afterwards, all goes on after a crash."""

    @app.orchestrator
    async def other(ctx: OrchestrationContext) -> str:
        return await ctx.wait_for_external_event("Go", str)

    waiting = durable.start(other)
    yield
    _raises.clear()
    durable.crash()
    durable.advance("1m")
    durable.raise_event(waiting, "Go", "on")
    assert durable.output(waiting) == "on"


TYPES = pytest.mark.parametrize("wanted", [Data, Model, Form])


@TYPES
@pytest.mark.usefixtures("neighbour")
def test_the_code_of_a_type_may_raise_anything_at_every_door(
    app: App, durable: Durable, wanted: Any, raising: Callable[[], None]
) -> None:
    def typed(function: Any, **types: Any) -> Any:
        function.__annotations__ |= types
        return function

    async def take(value: Any) -> None: ...

    async def give() -> Any:
        return {"x": 1}

    async def started(ctx: OrchestrationContext, value: Any) -> None: ...

    async def waits(ctx: OrchestrationContext) -> Any:
        value = await ctx.wait_for_external_event("Value", wanted)
        return value.x

    async def hands_on(ctx: OrchestrationContext, name: str) -> str:
        await ctx.create_timer(timedelta(seconds=10))
        try:
            await ctx.call_activity(name, *({"x": 1},) * (name == "take"))
        except ActivityFailedError:
            return "its argument did not fit"
        except PayloadError:
            return "its result did not fit"
        return "nothing was raised"

    app.activity(typed(take, value=wanted))
    app.activity(typed(give, **{"return": wanted}))
    app.orchestrator(typed(started, value=wanted))
    app.orchestrator(waits)
    app.orchestrator(hands_on)

    waiting = durable.start(waits)
    argument, result = durable.start(hands_on, "take"), durable.start(hands_on, "give")
    raising()
    with pytest.raises(PayloadError):
        durable.start(started, {"x": 1})
    with pytest.raises(PayloadError):
        durable.raise_event(waiting, "Value", {"x": 1})
    durable.advance("10s")
    assert durable.output(argument) == "its argument did not fit"
    assert durable.output(result) == "its result did not fit"
    _raises.clear()
    durable.raise_event(waiting, "Value", {"x": 1})
    assert durable.output(waiting) == 1


class Writing(pydantic.BaseModel):
    x: int = 1

    @pydantic.field_serializer("x")
    def write(self, x: int) -> int:
        _maybe_raise()
        return x


@pytest.mark.usefixtures("neighbour")
def test_what_is_written_may_raise_anything(app: App, durable: Durable, raising: Callable[[], None]) -> None:
    @app.activity
    async def give() -> Any:
        return Writing()

    @app.orchestrator
    async def returns(ctx: OrchestrationContext) -> Any:
        await ctx.create_timer(timedelta(seconds=10))
        return Writing()

    @app.orchestrator
    async def shows(ctx: OrchestrationContext) -> Any:
        await ctx.create_timer(timedelta(seconds=10))
        ctx.set_custom_status(Writing())

    @app.orchestrator
    async def calls(ctx: OrchestrationContext) -> Any:
        await ctx.create_timer(timedelta(seconds=10))
        await ctx.call_activity("give")

    @app.orchestrator
    async def takes(ctx: OrchestrationContext, value: Any) -> None: ...

    instances = [durable.start(each) for each in (returns, shows, calls)]
    raising()
    with pytest.raises(PayloadError):
        durable.start(takes, Writing())
    with pytest.raises(PayloadError):
        durable.raise_event(instances[0], "Go", Writing())
    durable.advance("10s")
    for each in instances:
        ended = durable.status(each)
        assert ended.status is RuntimeStatus.FAILED
        assert "Writing cannot be sent as JSON" in str(ended.output)


@pytest.mark.usefixtures("neighbour")
def test_an_error_whose_text_raises_is_one_all_the_same(app: App, durable: Durable) -> None:
    @app.activity
    async def fails() -> None:
        raise Untellable

    @app.activity(once=True, unknown_on=(Untellable,))
    async def is_cut_off() -> None:
        raise Untellable

    @app.orchestrator
    async def calls(ctx: OrchestrationContext, name: str) -> None:
        await ctx.call_activity(name)

    @app.orchestrator
    async def raises(ctx: OrchestrationContext) -> None:
        raise Untellable

    for instance_id in (durable.start(calls, "fails"), durable.start(calls, "is_cut_off"), durable.start(raises)):
        assert durable.status(instance_id).status is RuntimeStatus.FAILED
        assert "its text cannot be made: KeyboardInterrupt" in str(durable.status(instance_id).output)


@pytest.mark.usefixtures("neighbour")
def test_retry_if_may_raise_anything(app: App, durable: Durable, raising: Callable[[], None]) -> None:
    @app.activity
    async def mail() -> None:
        raise ValueError("the box is full")

    def decides(failure: Failure) -> bool:
        _maybe_raise()
        return False

    @app.orchestrator
    async def calls(ctx: OrchestrationContext) -> None:
        await ctx.create_timer(timedelta(seconds=10))
        await ctx.with_options(retry=RetryPolicy(retry_if=decides)).call_activity(mail)

    instance_id = durable.start(calls)
    raising()
    durable.advance("10s")
    durable.crash()
    ended = durable.status(instance_id)
    assert ended.status is RuntimeStatus.FAILED
    assert f"retry_if of the call of 'mail' failed with {_named(_raises[0])}" in str(ended.output)
    assert "It was asked about ValueError: the box is full" in str(ended.output)


def _named(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def test_an_answer_of_retry_if_that_must_be_awaited_is_none(app: App, durable: Durable) -> None:
    async def later(failure: Failure) -> bool:
        return False

    @app.activity
    async def mail() -> None:
        raise ValueError

    @app.orchestrator
    async def calls(ctx: OrchestrationContext) -> None:
        policy = RetryPolicy(retry_if=lambda failure: later(failure))  # type: ignore[arg-type,return-value]
        await ctx.with_options(retry=policy).call_activity(mail)

    assert "It answers at once, with True or False" in str(durable.status(durable.start(calls)).output)
