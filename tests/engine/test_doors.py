"""Texts that callers give: what cannot be one is refused where it comes in, and the others notice nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from datetime import timedelta
from enum import StrEnum
from typing import Any

import pytest

from bide import App, Client, InstanceFilter, OrchestrationContext, PayloadError, RuntimeStatus
from bide.errors import FunctionNotFoundError
from bide.model.interrupts import raised_by_code
from bide.model.query import WaitCursor
from bide.testing.harness import Durable
from tests.bulkheads.values import Odd, Own, Untellable, shown

NO_TEXTS: list[Any] = [42, None, b"x", ["x"], {}, "\ud800", "a\0b"]
VERBS = ("get", "waits", "history", "terminate", "suspend", "resume", "rewind", "restart", "purge")
REASONED = ("terminate", "suspend", "resume", "rewind")

Call = Callable[[Client, Any], Coroutine[Any, Any, Any]]


def _verb(verb: str) -> Call:
    return lambda client, bad: getattr(client, verb)(bad)


def _reason(verb: str) -> Call:
    return lambda client, bad: getattr(client, verb)("one", bad)


DOORS: dict[str, Call] = {
    **{verb: _verb(verb) for verb in VERBS},
    **{f"the reason of {verb}": _reason(verb) for verb in REASONED},
    "raise_event": lambda client, bad: client.raise_event(bad, "Go", "x"),
    "the event's name": lambda client, bad: client.raise_event("one", bad, "x"),
    "a tag's value": lambda client, bad: client.start("waits", tags={"a": bad}),
    "tags": lambda client, bad: client.start("waits", tags=[bad]),
}
KEYS: dict[str, Call] = {
    "the id": lambda client, bad: client.start("waits", instance_id=bad),
    "the key of a start": lambda client, bad: client.start("waits", idempotency_key=bad),
    "the key of an event": lambda client, bad: client.raise_event("one", "Other", idempotency_key=bad),
}


@pytest.fixture
def waiting(app: App, durable: Durable) -> Durable:
    @app.orchestrator
    async def waits(ctx: OrchestrationContext) -> str:
        return await ctx.wait_for_external_event("Go", str)

    durable.start("waits", instance_id="one")
    return durable


@pytest.mark.parametrize("bad", NO_TEXTS, ids=repr)
@pytest.mark.parametrize("door", [*DOORS, *KEYS])
def test_what_is_no_text_is_refused_and_changes_nothing(
    waiting: Durable, door: str, bad: Any, caplog: pytest.LogCaptureFixture
) -> None:
    if bad is None and door in KEYS:
        pytest.skip("None: there is none")
    before = waiting.history("one")
    with caplog.at_level(logging.WARNING), pytest.raises(PayloadError):
        waiting.run((DOORS | KEYS)[door](waiting.client, bad))
    assert not caplog.records, "nobody else heard of it"
    assert waiting.history("one") == before
    waiting.raise_event("one", "Go", "on")
    assert waiting.output("one") == "on"


@pytest.mark.parametrize(
    ("door", "longest"),
    [*[(f"the reason of {verb}", 1_000) for verb in REASONED], *[(door, 255) for door in KEYS if door != "the id"]],
)
def test_a_text_that_is_too_long_is_refused(waiting: Durable, door: str, longest: int) -> None:
    with pytest.raises(PayloadError, match=f"has up to {longest:,} characters; this one has {longest + 1:,}"):
        waiting.run((DOORS | KEYS)[door](waiting.client, "x" * (longest + 1)))
    if door != "the reason of rewind":  # it has not failed
        waiting.run((DOORS | KEYS)[door](waiting.client, "x" * longest))


def test_a_child_is_given_up_for_a_reason_as_long_as_others(app: App, waiting: Durable) -> None:
    @app.orchestrator
    async def gives_up(ctx: OrchestrationContext) -> None:
        ctx.call_sub_orchestrator("waits").cancel("x" * 1_001)

    ended = waiting.status(waiting.start(gives_up))
    assert (ended.status, "A reason has up to 1,000 characters" in str(ended.output)) == (
        RuntimeStatus.FAILED,
        True,
    )


@pytest.mark.parametrize("bad", [*NO_TEXTS, "", "x" * 101, "a/b", ".."], ids=repr)
def test_an_orchestrator_that_gives_no_text_fails_alone(app: App, waiting: Durable, bad: Any) -> None:
    @app.orchestrator
    async def careless(ctx: OrchestrationContext, where: str) -> None:
        match where:
            case "event":
                ctx.wait_for_external_event(bad)
            case "send":
                ctx.send_event(bad, "Go")
            case "child":
                ctx.with_options(instance_id=bad if bad is not None else 5).call_sub_orchestrator("waits")
            case _:
                ctx.response_url(bad)

    for where in ("event", "send", "child", "link"):
        if where in ("event", "link") and bad in ("x" * 101, "a/b"):
            continue  # an event may be called so
        status = waiting.status(waiting.start(careless, where))
        assert status.status is RuntimeStatus.FAILED, where
    assert waiting.status("one").status is RuntimeStatus.RUNNING


class Event(StrEnum):
    GO = "Go"


def test_a_text_that_derives_from_str_is_a_text(waiting: Durable) -> None:
    waiting.raise_event(Event.GO.replace("Go", "one"), Event.GO, "on")
    assert waiting.output("one") == "on"


READS: dict[str, Call] = {
    "where": lambda client, bad: client.instances(bad),
    "where of counts": lambda client, bad: client.counts(bad),
    "a cursor": lambda client, bad: client.instances(after=bad),
    "a part of a cursor": lambda client, bad: client.open_waits(after=WaitCursor(bad, "one", 1)),
    "limit": lambda client, bad: client.open_timers(limit=bad),
    "before": lambda client, bad: client.audit(before=bad),
    "since": lambda client, bad: client.failures(bad),
    "overdue": lambda client, bad: client.open_waits(overdue=bad),
    "recurse": lambda client, bad: client.terminate("one", recurse=bad),
    "new_instance_id": lambda client, bad: client.restart("one", new_instance_id=bad),
    "at_most": lambda client, bad: client.purge_many(InstanceFilter(), bad),
    "instance_ids": lambda client, bad: client.histories(bad),
}


@pytest.mark.parametrize("bad", ["x", 1.5, -(2**70), Odd(Own), Odd(KeyError)], ids=shown)
@pytest.mark.parametrize("door", READS)
def test_what_is_of_another_type_is_met_by_a_sentence(waiting: Durable, door: str, bad: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as refused:
        waiting.run(READS[door](waiting.client, bad))
    assert raised_by_code(refused.value), "by our words, and not by chance"
    assert waiting.status("one").status is RuntimeStatus.RUNNING


@pytest.mark.parametrize(
    "call",
    [
        lambda ctx: ctx.continue_as_new(keep_events="no"),
        lambda ctx: ctx.response_url("Go", valid_for=1),
        lambda ctx: ctx.create_timer(timedelta(1), reminder=None),
        lambda ctx: ctx.call_activity("a", 1, 2),
        lambda ctx: ctx.wait_for_external_event("Go", [int]),
        lambda ctx: ctx.wait_for_external_event("Go", ()),
        lambda ctx: ctx.wait_for_external_event("Go", Untellable()),
    ],
)
def test_an_orchestrator_is_told_what_its_arguments_should_be(
    app: App, durable: Durable, call: Callable[[OrchestrationContext], object]
) -> None:
    @app.orchestrator
    async def careless(ctx: OrchestrationContext) -> str:
        try:
            call(ctx)
        except TypeError:
            return "told"
        return "not told"

    assert durable.output(durable.start(careless)) == "told"


@pytest.mark.parametrize("kind", [Own, KeyError])
def test_what_raises_however_it_is_looked_at_is_no_function(
    app: App, durable: Durable, kind: type[BaseException]
) -> None:
    odd: Any = Odd(kind)

    @app.orchestrator
    async def careless(ctx: OrchestrationContext) -> str:
        try:
            await ctx.call_activity(odd)
        except FunctionNotFoundError:
            return "told"
        return "not told"

    with pytest.raises(FunctionNotFoundError, match="Odd"):
        durable.start(odd)
    assert durable.output(durable.start(careless)) == "told"


@pytest.mark.parametrize("kind", [ValueError, Own])
def test_a_watcher_that_raises_harms_nobody(
    app: App, waiting: Durable, kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    odd: Any = Odd(kind)
    seen: list[RuntimeStatus] = []

    with (
        waiting.client.watching(None, odd),
        waiting.client.watching("one", odd),
        waiting.client.watching("one", lambda instance: seen.append(instance.status)),
    ):
        waiting.run(waiting.client.suspend("one"))
        waiting.run(waiting.client.resume("one"))

    assert seen == [RuntimeStatus.SUSPENDED, RuntimeStatus.RUNNING]
    assert [record.getMessage() for record in caplog.records].count(
        "A function that watches instances failed. It is not called any more."
    ) == 2
