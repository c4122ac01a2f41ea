"""What the type checkers must know of the authoring API. Checked by mypy and pyright in `make check`; never run."""

import logging
import random
from collections.abc import Generator
from datetime import datetime, timedelta
from typing import Any, assert_type
from uuid import UUID

from bide import (
    App,
    Client,
    DurableTimer,
    ExternalEvent,
    Instance,
    OrchestrationContext,
    Parent,
    RetryPolicy,
    Secret,
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


@app.activity(once=True, unknown_on=(ConnectionError,))
async def charge(cents: int) -> str:
    return str(cents)


@app.orchestrator
async def child(ctx: OrchestrationContext, number: int) -> bool:
    return ctx.parent is not None and number > 0


@app.orchestrator(name="Generator")
def generator(ctx: OrchestrationContext, number: int) -> Generator[Task[Any], Any, str]:
    result: int = yield ctx.call_activity("send", str(number))
    return str(result)


async def decorated(ctx: OrchestrationContext) -> None:
    """The decorators give back the function as it is."""
    assert_type(await send("+1"), int)
    assert_type(await charge(5), str)
    assert_type(add(1, second=2), float)
    assert_type(await child(ctx, 1), bool)
    assert_type(generator(ctx, 1), Generator[Task[Any], Any, str])


@app.orchestrator
async def calls(ctx: OrchestrationContext) -> None:
    assert_type(ctx.call_activity(send, "+1"), Task[int])
    assert_type(await ctx.call_activity(send, number="+1"), int)
    assert_type(await ctx.call_activity(charge, 5), str)
    assert_type(await ctx.call_activity(add, 1, second=2), float)
    assert_type(await ctx.call_activity("send", "+1"), Any)
    assert_type(await ctx.call_sub_orchestrator(child, 1), bool)
    assert_type(await ctx.call_sub_orchestrator(generator, 1), str)
    assert_type(await ctx.call_sub_orchestrator("child", 1), Any)
    patient = ctx.with_options(retry=RetryPolicy(max_attempts=2), instance_id="x")
    assert_type(await patient.call_activity(send, "+1"), int)
    assert_type(await patient.call_activity(add, 1), float)
    assert_type(await patient.call_activity("send", "+1"), Any)
    assert_type(await patient.call_sub_orchestrator(child, 1), bool)
    assert_type(await patient.call_sub_orchestrator(generator, 1), str)
    assert_type(await patient.call_sub_orchestrator("child", 1), Any)


@app.orchestrator
async def waiting(ctx: OrchestrationContext) -> None:
    timer = ctx.create_timer(timedelta(seconds=1))
    event = ctx.wait_for_external_event("Answer", str, timeout=timedelta(days=1))
    assert_type(timer, DurableTimer)
    assert_type(ctx.create_timer(timer.fire_at + timedelta(seconds=1)), DurableTimer)
    assert_type(timer.fire_at, datetime)
    assert_type(await timer, None)
    assert_type(event, ExternalEvent[str])
    assert_type(await event, str)
    assert_type(event.result, str)
    assert_type(ctx.wait_for_external_event("Anything"), ExternalEvent[Any])
    assert_type(ctx.wait_for_external_event("Either", int | str), ExternalEvent[Any])
    assert_type(await when_any(event, timer), ExternalEvent[str] | DurableTimer)
    assert_type(await when_any(*[event, event, event]), ExternalEvent[str])
    several = [ctx.call_activity(send, number) for number in ("+1", "+2")]
    assert_type(when_any(*several), Task[Task[int]])
    assert_type(when_all(*several), Task[tuple[int, ...]])
    assert_type(await when_all(event, ctx.call_activity(send, "+1")), tuple[str, int])
    assert_type(await when_all(event, timer, ctx.call_activity(add, 1)), tuple[str, None, float])
    assert_type(await when_all(*[event, event]), tuple[str, ...])
    winner = await when_any(event, timer)
    if winner is not timer:
        timer.cancel()
    event.cancel()


@app.activity
async def draw() -> Secret[str]:
    return "0042"


@app.orchestrator
async def secrets(ctx: OrchestrationContext) -> None:
    assert_type(await ctx.call_activity(draw), str)
    assert_type(await ctx.wait_for_external_event("Pin", Secret[int]), int)


@app.orchestrator
async def context(ctx: OrchestrationContext) -> None:
    assert_type(ctx.instance_id, str)
    assert_type(ctx.name, str)
    assert_type(ctx.parent, Parent | None)
    assert_type(ctx.current_utc_datetime, datetime)
    assert_type(ctx.is_replaying, bool)
    assert_type(ctx.random, random.Random)
    assert_type(ctx.new_uuid(), UUID)
    assert_type(ctx.logger, logging.LoggerAdapter[logging.Logger])


@app.orchestrator
async def forever(ctx: OrchestrationContext, rounds: int) -> int:
    ctx.continue_as_new(rounds + 1)  # no `return` is missed: it never comes back


async def client(client: Client) -> None:
    assert_type(await client.start(child, 1, instance_id="a"), str)
    assert_type(await client.start("child"), str)
    assert_type(await client.wait("a"), Instance)
