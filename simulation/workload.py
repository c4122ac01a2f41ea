"""What runs in a simulated world: orchestrators that use everything, and the activities they call.

The bodies of the activities are in `world`, where time and faults are; here are only their names and types. The
second version of the code does not fit histories of the first: `UNFIT` says which functions it spoils (G7).
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any

from bide.core.calls import ActivityCall, Outcome, Unknown
from bide.core.context import OrchestrationContext
from bide.core.registry import ActivityDefinition, Registry, Signature
from bide.core.tasks import Task, when_all, when_any
from bide.errors import (
    ActivityFailedError,
    EventTimeoutError,
    OutcomeUnknownError,
    SubOrchestrationFailedError,
)
from bide.model.payload import Secret
from bide.model.retry import RetryPolicy
from simulation import rogues
from simulation.rogues import clean

UNFIT = frozenset({"collect", "verify", "patient", "vote"})

LACKING = frozenset({"chain", "loop", "play", "parent", "child"})
"""What workers of the third version do not have."""

VERIFY_S = 90


# --- activities


async def send_sms(phone: str) -> str: ...  # type: ignore[empty-body]
async def charge(amount: int) -> int: ...  # type: ignore[empty-body]
async def flaky(number: int) -> int: ...  # type: ignore[empty-body]
async def double(number: int) -> int: ...  # type: ignore[empty-body]


async def find_sms(call: ActivityCall) -> Outcome:
    return Unknown()


class CarrierTimeout(Exception):
    """Nobody knows whether the SMS was sent."""


# --- orchestrators


async def verify(ctx: OrchestrationContext, phone: str) -> str:
    """Phone verification: a code by SMS, 90 seconds, four tries."""
    try:
        code = await ctx.call_activity(send_sms, phone)
    except OutcomeUnknownError:
        return "unknown"
    except ActivityFailedError:
        return "refused"
    deadline = ctx.create_timer(timedelta(seconds=VERIFY_S))
    for _ in range(4):
        answer = ctx.wait_for_external_event("Answer", Secret[str])
        if await when_any(answer, deadline) is deadline:
            return "late"
        if answer.result.partition("#")[0] == code:
            deadline.cancel()
            return "verified"
    return "wrong"


async def chain(ctx: OrchestrationContext, length: int) -> int:
    """One flaky activity after the other, each retried."""
    policy = RetryPolicy(max_attempts=6, first_interval=timedelta(seconds=1), max_interval=timedelta(seconds=4))
    number = 0
    for _ in range(length):
        try:
            number = await ctx.with_options(retry=policy).call_activity(flaky, number)
        except ActivityFailedError:
            return -1
    return number if clean() else -2


async def pay(ctx: OrchestrationContext, amount: int) -> str:
    """A once-activity that nobody can reconcile."""
    try:
        return f"paid {await ctx.call_activity(charge, amount)}"
    except OutcomeUnknownError:
        return "unknown"


def fan(ctx: OrchestrationContext, width: int) -> Generator[Any, Any, list[int]]:
    """Fan-out and fan-in, as a generator."""
    results = yield when_all(*[ctx.call_activity(double, number) for number in range(width)])
    return list(results)


async def parent(ctx: OrchestrationContext, width: int) -> list[int]:
    """Sub-orchestrations; the one with an odd number fails, and is tried twice."""
    policy = RetryPolicy(max_attempts=2, first_interval=timedelta(seconds=2))
    children: list[Task[int]] = []
    for number in range(width):
        options = (
            ctx.with_options(retry=policy)
            if number % 2
            else ctx.with_options(instance_id=f"{ctx.instance_id}.{number}")
        )
        children.append(options.call_sub_orchestrator(child, number))
    results: list[int] = []
    for task in children:
        try:
            results.append(await task)
        except SubOrchestrationFailedError:
            results.append(-1)
    return results


async def child(ctx: OrchestrationContext, number: int) -> int:
    doubled = await ctx.call_activity(double, number)
    if not clean():
        return -2
    with suppress(EventTimeoutError):
        await ctx.wait_for_external_event("Go", str, timeout=timedelta(seconds=10))
    if number % 2:
        raise ValueError("odd")
    return doubled


async def patient(ctx: OrchestrationContext, rounds: int) -> list[str]:
    """Waits that time out, are cancelled, are raced later than they were opened, or get nothing."""
    early = ctx.wait_for_external_event("Early", str)
    given_up = ctx.wait_for_external_event("Late", str)
    await ctx.call_activity(double, rounds)
    patience = ctx.create_timer(timedelta(seconds=20))
    taken: list[str] = []
    if await when_any(early, patience) is early:
        patience.cancel()
        taken.append(early.result)
    if given_up.is_completed:
        taken.append(given_up.result)
    given_up.cancel()
    for number in range(rounds):
        name = "late" if number % 2 else "LATE"
        try:
            taken.append(await ctx.wait_for_external_event(name, str, timeout=timedelta(seconds=6)))
        except EventTimeoutError:
            taken.append("-")
    return taken


async def collect(ctx: OrchestrationContext, wanted: int) -> dict[str, list[str]]:
    """Takes `wanted` events of each of two names, first in, first out, in whatever case they come."""
    red: list[str] = []
    blue: list[str] = []
    for number in range(wanted):
        both = when_all(
            ctx.wait_for_external_event("Red" if number % 2 else "RED", str),
            ctx.wait_for_external_event("blue" if number % 2 else "Blue", str),
        )
        one, other = await both
        red.append(one)
        blue.append(other)
        if number % 3 == 2:
            await ctx.create_timer(timedelta(seconds=3))
    return {"red": red, "blue": blue}


@dataclass
class Loop:
    wanted: int
    got: list[Secret[str]] = field(default_factory=list[str])


async def loop(ctx: OrchestrationContext, state: Loop) -> list[str]:
    """Begins anew after each event or two, and leaves all kinds of open work behind."""
    ctx.set_custom_status(len(state.got))
    ctx.create_timer(timedelta(seconds=5))
    ctx.wait_for_external_event("Nobody", str, timeout=timedelta(seconds=30))
    ctx.call_activity(double, len(state.got))
    for _ in range(1 + len(state.got) % 2):
        state.got.append(await ctx.wait_for_external_event("Item", Secret[str]))
    if len(state.got) >= state.wanted:
        return state.got
    ctx.continue_as_new(state)


@dataclass
class Votes:
    rounds: int
    got: list[str] = field(default_factory=list[str])


async def vote(ctx: OrchestrationContext, state: Votes) -> list[str]:
    """Three waits of one name at once, of which the first that is answered counts; anew after two rounds."""
    for _ in range(2):
        if len(state.got) >= state.rounds:
            return state.got
        votes = [ctx.wait_for_external_event("Vote" if number % 2 else "VOTE", str) for number in range(3)]
        patience = ctx.create_timer(timedelta(seconds=8))
        first = await when_any(*votes, patience)
        state.got += [f"{each.id_}={each.result}" for each in votes if each is first] or ["-"]
        patience.cancel()
        for each in votes:
            each.cancel()
    ctx.continue_as_new(state)


@dataclass
class Match:
    peer: str
    rounds: int
    serves: bool


async def play(ctx: OrchestrationContext, match: Match) -> list[str]:
    """Two instances send each other a ball. What got lost before the other began is served again."""
    seen: list[str] = []
    for number in range(match.rounds):
        if match.serves or number:
            ctx.send_event(match.peer, "Ball", f"{ctx.instance_id}>{number}")
        seen.append(await ctx.wait_for_external_event("ball", str))
    return seen


async def misfit(ctx: OrchestrationContext, anything: object) -> object:
    """Code of another version: it asks for something that no history has."""
    return await ctx.call_activity("other", anything)


@cache
def registry(version: int = 1) -> Registry:
    """The functions of one version of the code. Nobody changes it, so all workers of all worlds share it."""
    found = Registry()
    for function in (verify, chain, pay, fan, parent, child, patient, collect, loop, vote, play):
        if version == 3 and function.__name__ in LACKING:
            continue
        if version != 2 or function.__name__ not in UNFIT:
            found.add_orchestrator(function.__name__, function)
        elif function not in (patient, vote):  # of these the second version knows nothing at all
            found.add_orchestrator(function.__name__, misfit)
    for activity in (send_sms, charge, flaky, double):
        signature = Signature(activity, skip=0)
        once = activity in (send_sms, charge)
        reconcile = find_sms if activity is send_sms else None
        unknown_on = (CarrierTimeout,) if once else ()
        found.add_activity(ActivityDefinition(activity.__name__, activity, signature, once, reconcile, unknown_on))
    rogues.add_to(found)
    return found
