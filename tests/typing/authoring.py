"""What the type checkers must know of the authoring API. Checked by mypy and pyright in `make check`; never run."""

import random
from collections.abc import Generator
from datetime import datetime, timedelta
from typing import Any, assert_type
from uuid import UUID

from holdfast import (
    App,
    Client,
    DurableTimer,
    ExternalEvent,
    Instance,
    OrchestrationContext,
    Parent,
    RetryPolicy,
    Task,
    current_call,
    when_all,
    when_any,
)

app = App()


@app.activity
async def send(number: str) -> int:
    return len(current_call().idempotency_key) + len(number)


@app.activity(name="Add", timeout=timedelta(seconds=1))
def add(first: int, second: int = 1) -> float:
    return first + second


@app.orchestrator
async def child(ctx: OrchestrationContext, number: int) -> bool:
    return ctx.parent is not None and number > 0


@app.orchestrator(name="Generator")
def generator(ctx: OrchestrationContext, number: int) -> Generator[Task[Any], Any, str]:
    result: int = yield ctx.call_activity("send", str(number))
    return str(result)


@app.orchestrator
async def calls(ctx: OrchestrationContext) -> None:
    assert_type(ctx.call_activity(send, "+1"), Task[int])
    assert_type(await ctx.call_activity(send, number="+1"), int)
    assert_type(await ctx.call_activity(add, 1, second=2), float)
    assert_type(await ctx.call_activity("send", "+1"), Any)
    assert_type(await ctx.call_sub_orchestrator(child, 1), bool)
    assert_type(await ctx.call_sub_orchestrator(generator, 1), str)
    assert_type(await ctx.call_sub_orchestrator("child", 1), Any)
    patient = ctx.with_options(retry=RetryPolicy(max_attempts=2), instance_id="x")
    assert_type(await patient.call_activity(send, "+1"), int)
    assert_type(await patient.call_sub_orchestrator(child, 1), bool)


@app.orchestrator
async def waiting(ctx: OrchestrationContext) -> None:
    timer = ctx.create_timer(timedelta(seconds=1))
    event = ctx.wait_for_external_event("Answer", str, timeout=timedelta(days=1))
    assert_type(timer, DurableTimer)
    assert_type(event, ExternalEvent[str])
    assert_type(await event, str)
    assert_type(event.result, str)
    assert_type(ctx.wait_for_external_event("Anything"), ExternalEvent[Any])
    assert_type(ctx.wait_for_external_event("Either", int | str), ExternalEvent[Any])
    assert_type(await when_any(event, timer), ExternalEvent[str] | DurableTimer)
    assert_type(await when_any(*[event, event, event]), ExternalEvent[str])
    assert_type(await when_all(event, ctx.call_activity(send, "+1")), tuple[str, int])
    assert_type(await when_all(*[event, event]), tuple[str, ...])


@app.orchestrator
async def context(ctx: OrchestrationContext) -> None:
    assert_type(ctx.instance_id, str)
    assert_type(ctx.name, str)
    assert_type(ctx.parent, Parent | None)
    assert_type(ctx.current_utc_datetime, datetime)
    assert_type(ctx.is_replaying, bool)
    assert_type(ctx.random, random.Random)
    assert_type(ctx.new_uuid(), UUID)
    ctx.logger.info("a line")
    ctx.continue_as_new()


async def client(client: Client) -> None:
    assert_type(await client.start(child, 1, instance_id="a"), str)
    assert_type(await client.wait("a"), Instance)
