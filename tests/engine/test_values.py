"""Values on every way that they take through an instance."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from bide import App, OrchestrationContext, PayloadError, RuntimeStatus
from bide.model.payload import decoder
from bide.testing.harness import Durable
from tests.core import test_payload_changes as values

ODD = timezone(timedelta(hours=5, minutes=30, seconds=15))
LOST: list[Any] = [
    values.Password(password="s3cret-Value"),
    values.Blob(data=b"\xff"),
    values.Number(number=math.nan),
    {"ratio": math.nan},
    math.inf,
    datetime(2026, 1, 1, tzinfo=ODD),
]


def _app(app: App, model: Any, wanted: Any) -> None:
    """Functions that hand a value on, declared with its type."""

    def typed(function: Any, **types: Any) -> Any:
        function.__annotations__ |= types
        return function

    async def echo(value: Any) -> Any:
        return value

    async def give() -> Any:
        return model

    async def child(ctx: OrchestrationContext, value: Any) -> Any:
        return value

    async def parent(ctx: OrchestrationContext, value: Any) -> Any:
        event = await ctx.wait_for_external_event("Value", wanted)
        ctx.set_custom_status(event)
        given = await ctx.call_activity(give)
        echoed = await ctx.call_activity(echo, given)
        back = await ctx.call_sub_orchestrator(child, echoed)
        assert [value, event, given, echoed, back] == [model] * 5
        return back

    async def again(ctx: OrchestrationContext, value: Any, last: bool = False) -> Any:
        assert value == model
        if not last:
            ctx.continue_as_new({"value": value, "last": True})
        return value

    app.activity(typed(echo, value=wanted, **{"return": wanted}))
    app.activity(typed(give, **{"return": wanted}))
    for function in (child, parent, again):
        app.orchestrator(typed(function, value=wanted, **{"return": wanted}))


@pytest.mark.parametrize("model", values.MODELS, ids=values.IDS)
def test_a_model_arrives_on_every_way(app: App, durable: Durable, model: Any) -> None:
    _app(app, model, type(model))
    instance_id = durable.start("parent", model)
    durable.raise_event(instance_id, "Value", model)
    second = durable.start("again", {"value": model})
    durable.crash()
    for each in (instance_id, second):
        shown = durable.status(each)
        assert shown.status is RuntimeStatus.COMPLETED, shown.output
        assert decoder(type(model))(shown.output_json) == model
    durable.replay_all()


@pytest.mark.parametrize("value", LOST, ids=lambda value: type(value).__name__)
def test_what_would_be_lost_is_refused_on_every_way(app: App, durable: Durable, value: Any) -> None:
    refused: list[str] = []

    @app.activity
    async def take(value: Any) -> None:
        raise AssertionError("it is not called")

    @app.activity
    async def give() -> Any:
        return value

    @app.orchestrator
    async def child(ctx: OrchestrationContext, value: Any) -> None:
        raise AssertionError("it is not started")

    @app.orchestrator
    async def tries(ctx: OrchestrationContext) -> Any:
        for what in (
            lambda: ctx.call_activity(take, value),
            lambda: ctx.call_activity("take", value),
            lambda: ctx.call_sub_orchestrator(child, value),
            lambda: ctx.set_custom_status(value),
            lambda: ctx.send_event("other", "Event", value),
            lambda: ctx.continue_as_new(value),
        ):
            with pytest.raises(PayloadError) as raised:
                what()
            refused.append(str(raised.value))
        with pytest.raises(Exception, match="cannot be sent as JSON"):
            await ctx.call_activity(give)
        return value

    instance_id = durable.start(tries)
    assert durable.status(instance_id).status is RuntimeStatus.FAILED
    assert "cannot be sent as JSON" in str(durable.status(instance_id).output)
    assert len(refused) == 6
    assert "s3cret" not in str(durable.history(instance_id))
    with pytest.raises(PayloadError):
        durable.start(child, value)
    with pytest.raises(PayloadError):
        durable.raise_event(instance_id, "Event", value)


def test_none_is_none_and_nothing_is_the_default(app: App, durable: Durable) -> None:
    @app.activity
    async def one(limit: int | None = 10) -> int | None:
        return limit

    @app.orchestrator
    async def child(ctx: OrchestrationContext, limit: int | None = 10) -> int | None:
        return limit

    @app.orchestrator
    async def again(ctx: OrchestrationContext, limit: int | None = 10) -> int | None:
        return limit if limit is None else ctx.continue_as_new(None)

    @app.orchestrator
    async def anew(ctx: OrchestrationContext, limit: int | None = 10) -> int | None:
        return limit if limit == 10 else ctx.continue_as_new()

    @app.orchestrator
    async def parent(ctx: OrchestrationContext) -> list[int | None]:
        return [
            await ctx.call_activity(one),
            await ctx.call_activity(one, None),
            await ctx.call_activity("one"),
            await ctx.call_activity("one", None),
            await ctx.call_sub_orchestrator(child),
            await ctx.call_sub_orchestrator(child, None),
            await ctx.call_sub_orchestrator("child"),
            await ctx.call_sub_orchestrator("child", None),
        ]

    assert durable.output(durable.start(parent)) == [10, None] * 4
    assert durable.output(durable.start(child)) == 10
    assert durable.output(durable.start(child, None)) is None
    assert durable.output(durable.start(again)) is None
    assert durable.output(durable.start(anew, None)) == 10
    durable.replay_all()


@pytest.mark.parametrize(
    ("status", "size"),
    [
        ("x" * 16_382, 16_384),
        ("x" * 16_383, 16_385),
        ("ü" * 8_191, 16_384),
        ("ü" * 8_192, 16_386),
        ([0] * 9_000, 18_001),
    ],
)
def test_a_custom_status_is_a_summary(app: App, durable: Durable, status: Any, size: int) -> None:
    @app.orchestrator
    async def shows(ctx: OrchestrationContext) -> str:
        ctx.set_custom_status("before")
        try:
            ctx.set_custom_status(status)
        except PayloadError as error:
            return str(error)
        return ""

    instance = durable.status(durable.start(shows))
    if size <= 16_384:
        assert (instance.custom_status, instance.output) == (status, "")
    else:
        assert instance.custom_status == "before"
        assert f"This custom status has {size:,} bytes of JSON; up to 16,384 are possible" in str(instance.output)


@pytest.mark.parametrize(
    ("wanted", "returned", "said"),
    [
        (int, "12", "Expected `int`, got `str`"),
        (int, None, "Expected `int`, got `null`"),
        (None, "x", "Expected `null`, got `str`"),
        (list[int], [1, "2"], "Expected `int`, got `str` - at `$[1]`"),
    ],
)
def test_a_result_is_of_its_declared_type(
    app: App, durable: Durable, wanted: Any, returned: Any, said: str
) -> None:
    async def gives() -> Any:
        return returned

    async def child(ctx: OrchestrationContext) -> Any:
        return returned

    async def asks(ctx: OrchestrationContext) -> str:
        try:
            return str(await ctx.call_activity(gives))
        except PayloadError as error:
            return str(error)

    gives.__annotations__["return"] = child.__annotations__["return"] = wanted
    app.activity(gives)
    app.orchestrator(child)
    app.orchestrator(asks)
    ended = durable.status(durable.start(child))
    assert ended.status is RuntimeStatus.FAILED
    assert ended.output == f"The result of child does not fit its declared type: {said}"
    activity = durable.output(durable.start(asks))
    assert activity == f"The activity 'gives' (id 1) gave what does not fit its declared type: {said}"
    durable.replay_all()
