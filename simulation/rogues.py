"""Orchestrators and activities that misbehave, each in one way. Whoever lives beside them must not notice.

The simulated world runs inside an event loop, so that there is one to be harmed.
"""

from __future__ import annotations

import asyncio
import decimal
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from bide.core.context import OrchestrationContext
from bide.core.registry import ActivityDefinition, Registry, Signature
from bide.errors import ActivityFailedError, EventTimeoutError
from bide.model.instance import RuntimeStatus
from bide.model.retry import RetryPolicy

LEAK: ContextVar[str] = ContextVar("leak", default="")
"""Set by rogues; well-behaved code looks whether it can be seen."""
DEADLY = frozenset({"ends the process", "has a deadly activity"})
"""Kinds that end every process which runs them: they are held, and then terminated by whoever started them."""
REFUSED = "asks for what the database refuses"
UNREAD = "has rows that nobody can read"
HOPELESS = DEADLY | {REFUSED, UNREAD}
"""Kinds that are held, and then terminated."""


class Odd(BaseException):
    """No `Exception`."""


@dataclass
class Touchy:
    """A type that raises when it is read."""

    text: str

    def __post_init__(self) -> None:
        raise Odd


def clean() -> bool:
    """Whether nothing of another instance's context can be seen here."""
    return not LEAK.get() and decimal.getcontext().prec != 2


async def deadly(number: int) -> int: ...  # type: ignore[empty-body]
async def odd(number: int) -> int: ...  # type: ignore[empty-body]


async def rogue(ctx: OrchestrationContext, kind: str) -> object:
    LEAK.set(ctx.instance_id)
    decimal.getcontext().prec = 2
    return await _WAYS[kind][0](ctx)


async def _sets_a_time_limit(ctx: OrchestrationContext) -> object:
    async with asyncio.timeout(1):
        return await ctx.wait_for_external_event("Go", str)


async def _makes_a_group(ctx: OrchestrationContext) -> object:
    async with asyncio.TaskGroup():
        return await ctx.wait_for_external_event("Go", str)


async def _cancels_its_task(ctx: OrchestrationContext) -> object:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    return await ctx.wait_for_external_event("Go", str)


async def _sleeps(ctx: OrchestrationContext) -> object:
    await asyncio.sleep(1)
    return None


def _raises(error: type[BaseException]) -> Callable[[OrchestrationContext], Any]:
    async def way(ctx: OrchestrationContext) -> object:
        await ctx.create_timer(timedelta(seconds=1))
        raise error

    return way


async def _leaves_a_generator(ctx: OrchestrationContext) -> object:
    async def rows() -> AsyncIterator[int]:
        try:
            for number in range(9):
                await ctx.create_timer(timedelta(seconds=1))
                yield number
        finally:
            await ctx.create_timer(timedelta(seconds=1))

    async for number in rows():
        return number
    return None


async def _asks_as_it_leaves(ctx: OrchestrationContext) -> object:
    try:
        return await ctx.wait_for_external_event("Go", str)
    finally:
        ctx.set_custom_status("leaving")
        await ctx.create_timer(timedelta(seconds=1))


async def _catches_everything(ctx: OrchestrationContext) -> object:
    answer: object = None
    while answer is None:
        with suppress(BaseException):
            answer = await ctx.wait_for_external_event("Go", str)
    return answer


async def _returns_what_is_no_json(ctx: OrchestrationContext) -> object:
    await ctx.create_timer(timedelta(seconds=1))
    return object()


async def _has_a_mad_policy(ctx: OrchestrationContext) -> object:
    def never_again(failure: object) -> bool:
        raise KeyboardInterrupt

    policy = RetryPolicy(max_attempts=3, first_interval=timedelta(seconds=1), retry_if=never_again)
    await ctx.with_options(retry=policy).call_activity(odd, 1)
    return None


async def _keeps_its_context(ctx: OrchestrationContext) -> object:
    await ctx.create_timer(timedelta(seconds=1))
    return LEAK.get() == ctx.instance_id and decimal.getcontext().prec == 2


async def _waits_for_a_touchy_type(ctx: OrchestrationContext) -> object:
    with suppress(EventTimeoutError):
        await ctx.wait_for_external_event("Go", Touchy, timeout=timedelta(seconds=20))
    return None


async def _goes_on_after_a_timer(ctx: OrchestrationContext) -> object:
    """Here nothing is wrong: the store refuses what comes of it, or gives it back spoilt."""
    ctx.create_timer(timedelta(days=9))
    ctx.call_activity(odd, 1)
    given_up = ctx.wait_for_external_event("Never")
    await ctx.create_timer(timedelta(seconds=1))
    given_up.cancel()
    return await ctx.wait_for_external_event("Go", str)


async def _has_a_deadly_activity(ctx: OrchestrationContext) -> object:
    with suppress(ActivityFailedError):
        await ctx.call_activity(deadly, 1)
    return None


async def _ends_the_process(ctx: OrchestrationContext) -> object:
    """Not here: the world does it, whenever the step after the timer is about to be committed."""
    await ctx.create_timer(timedelta(seconds=1))
    return None


_FAILED, _COMPLETED = {RuntimeStatus.FAILED}, {RuntimeStatus.COMPLETED}
_TERMINATED = {RuntimeStatus.TERMINATED}

_WAYS: dict[str, tuple[Callable[[OrchestrationContext], Any], set[RuntimeStatus]]] = {
    "sets a time limit": (_sets_a_time_limit, _FAILED),
    "makes a group": (_makes_a_group, _FAILED),
    "cancels its task": (_cancels_its_task, _FAILED),
    "sleeps": (_sleeps, _FAILED),
    "raises KeyboardInterrupt": (_raises(KeyboardInterrupt), _FAILED),
    "raises SystemExit": (_raises(SystemExit), _FAILED),
    "raises what is no Exception": (_raises(Odd), _FAILED),
    "raises CancelledError": (_raises(asyncio.CancelledError), _FAILED),
    "leaves a generator": (_leaves_a_generator, _FAILED),
    "asks as it leaves": (_asks_as_it_leaves, _COMPLETED),
    "catches everything": (_catches_everything, _COMPLETED),
    "returns what is no JSON": (_returns_what_is_no_json, _FAILED),
    "has a mad policy": (_has_a_mad_policy, _FAILED),
    "keeps its context": (_keeps_its_context, _COMPLETED),
    "waits for a touchy type": (_waits_for_a_touchy_type, _COMPLETED),
    "has a deadly activity": (_has_a_deadly_activity, _TERMINATED),
    "ends the process": (_ends_the_process, _TERMINATED),
    REFUSED: (_goes_on_after_a_timer, _TERMINATED),
    UNREAD: (_goes_on_after_a_timer, _TERMINATED | _COMPLETED),  # perhaps it never left memory
}

KINDS = tuple(_WAYS)


def ends_as(kind: str) -> set[RuntimeStatus]:
    """How a rogue of that kind must end, if nobody meddles."""
    return _WAYS[kind][1]


def add_to(registry: Registry) -> None:
    registry.add_orchestrator("rogue", rogue)
    for activity in (deadly, odd):
        registry.add_activity(ActivityDefinition(activity.__name__, activity, Signature(activity, skip=0)))
