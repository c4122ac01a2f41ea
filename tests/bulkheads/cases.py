"""What one instance, one caller or one row may do to a hub: each harms itself only, through a restart, too.

Every case declares its functions, and gives what is to be done. Beside it a second caller is served all the time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

import pydantic
import pytest

from bide import (
    ActivityFailedError,
    App,
    MisfitError,
    OrchestrationContext,
    PayloadError,
    RuntimeStatus,
    Wait,
)
from bide.errors import DataRefusedError, InstanceNotFoundError, NotAllowedError
from tests.bulkheads.hub import Hub

Case: TypeAlias = Callable[[App], Callable[[Hub], Awaitable[None]]]
LARGE = "x" * 5_000
LIMIT = 3_000
MINUTE = timedelta(minutes=1)


@dataclass
class Touchy:
    """A type whose code raises whatever it likes."""

    x: int

    def __post_init__(self) -> None:
        if self.x < 0:
            raise [KeyError, ZeroDivisionError, KeyboardInterrupt, SystemExit][-self.x - 1]("its own")


class Undescribed(pydantic.BaseModel):
    """A type that has no JSON Schema."""

    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    call: Callable[[], None] = print


async def _ends(hub: Hub, instance_id: str) -> None:
    """The instance can be ended and deleted, and then nothing is left of it."""
    await hub.client.terminate(instance_id, "it is broken")
    assert (await hub.ended(instance_id)).status is RuntimeStatus.TERMINATED
    assert await hub.client.waits(instance_id) == []
    await hub.restart()
    await hub.client.purge(instance_id)
    with pytest.raises(InstanceNotFoundError):
        await hub.client.get(instance_id)


# --- types


def a_wait_whose_type_cannot_be_described(app: App) -> Callable[[Hub], Awaitable[None]]:
    @app.orchestrator
    async def ask(ctx: OrchestrationContext) -> str:
        await ctx.create_timer(MINUTE)
        await ctx.wait_for_external_event("Answer", Undescribed)
        return "answered"

    async def story(hub: Hub) -> None:
        instance_id = await hub.client.start(ask)
        hub.advance(minutes=1)

        await hub.waiting(instance_id)
        await hub.restart()
        (wait,) = await hub.client.waits(instance_id)
        assert bytes(wait.schema_json) == b"{}", "anything, as far as anybody can tell"
        await hub.client.raise_event(instance_id, "Answer", {})
        assert (await hub.ended(instance_id)).output == "answered"

    return story


def an_event_for_a_type_that_raises(app: App) -> Callable[[Hub], Awaitable[None]]:
    @app.orchestrator
    async def ask(ctx: OrchestrationContext) -> int:
        return (await ctx.wait_for_external_event("Answer", Touchy)).x

    async def story(hub: Hub) -> None:
        instance_id = await hub.client.start(ask)
        for x in (-1, -2, -3, -4):
            with pytest.raises(MisfitError, match="Answer"):
                await hub.client.raise_event(instance_id, "Answer", {"x": x})
        await hub.restart()
        await hub.client.raise_event(instance_id, "Answer", {"x": 3})
        assert (await hub.ended(instance_id)).output == 3

    return story


def a_start_with_a_type_that_raises(app: App) -> Callable[[Hub], Awaitable[None]]:
    @app.orchestrator
    async def take(ctx: OrchestrationContext, given: Touchy) -> int:
        return given.x

    async def story(hub: Hub) -> None:
        for x in (-1, -2, -3, -4):
            with pytest.raises(PayloadError):
                await hub.client.start("take", {"x": x})
        assert (await hub.ended(await hub.client.start("take", {"x": 1}))).output == 1

    return story


def arguments_and_results_of_a_type_that_raises(app: App) -> Callable[[Hub], Awaitable[None]]:
    @app.activity
    async def take(given: Touchy) -> int:
        return given.x

    @app.activity
    async def give(x: int) -> Any:
        return {"x": x}

    give_touchy = app.activity(give_it, name="give_touchy")

    @app.orchestrator
    async def call(ctx: OrchestrationContext, x: int) -> list[str]:
        failures: list[str] = []
        for task in (ctx.call_activity("take", {"x": x}), ctx.call_activity(give_touchy, x)):
            try:
                await task
            except (ActivityFailedError, PayloadError) as error:
                failures.append(type(error).__name__)
        return failures

    async def story(hub: Hub) -> None:
        for x in (-1, -2, -3, -4):
            failures = (await hub.ended(await hub.client.start(call, x))).output
            assert failures == ["ActivityFailedError", "MisfitError"], x
        await hub.restart()

    return story


async def give_it(x: int) -> Touchy:
    found = Touchy(0)
    found.x = x
    return found


# --- what the database does not take


def an_argument_that_the_database_does_not_take(app: App) -> Callable[[Hub], Awaitable[None]]:
    @app.activity
    async def measure(text: str) -> int:
        return len(text)

    @app.orchestrator
    async def call(ctx: OrchestrationContext) -> int:
        await ctx.create_timer(MINUTE)
        return await ctx.call_activity(measure, LARGE)

    async def story(hub: Hub) -> None:
        await hub.refuse("activities", "input", LIMIT)
        first, second = [await hub.client.start(call) for _ in range(2)]
        hub.advance(minutes=1)
        for each in (first, second):
            assert "database does not take" in await hub.held(each)
        await hub.restart()
        await _ends(hub, second)
        assert "database does not take" in await hub.held(first)
        await hub.mend("activities", "input")
        await hub.restart()  # the next worker that starts tries it again
        assert (await hub.ended(first)).output == len(LARGE)

    return story


def an_argument_after_an_event(app: App) -> Callable[[Hub], Awaitable[None]]:
    """The event is taken, and its sender told so: it is the instance that cannot go on."""

    @app.activity
    async def measure(text: str) -> int:
        return len(text)

    @app.orchestrator
    async def call(ctx: OrchestrationContext) -> int:
        times = await ctx.wait_for_external_event("Go", int)
        return await ctx.call_activity(measure, LARGE) * times

    async def story(hub: Hub) -> None:
        await hub.refuse("activities", "input", LIMIT)
        instance_id = await hub.client.start(call)
        await hub.client.raise_event(instance_id, "Go", 2, idempotency_key="k")
        assert "database does not take" in await hub.held(instance_id)
        await hub.client.raise_event(instance_id, "Go", 2, idempotency_key="k")
        await hub.mend("activities", "input")
        await hub.restart()
        assert (await hub.ended(instance_id)).output == 2 * len(LARGE)
        kinds = [type(fact).__name__ for step in await hub.client.history(instance_id) for fact in step.facts]
        assert kinds.count("EventRaised") == 1

    return story


def a_result_that_the_database_does_not_take(app: App) -> Callable[[Hub], Awaitable[None]]:
    @app.activity
    async def large() -> str:
        return LARGE

    @app.orchestrator
    async def call(ctx: OrchestrationContext) -> str:
        try:
            return await ctx.call_activity(large)
        except ActivityFailedError as error:
            return error.failure.type

    async def story(hub: Hub) -> None:
        await hub.refuse("history", "facts", LIMIT)
        await hub.refuse("inbox", "message" if hub.on_server else "fact", LIMIT)
        for _ in range(2):
            assert (await hub.ended(await hub.client.start(call))).output == "bide.errors.DataRefusedError"
            await hub.restart()

    return story


def an_event_and_a_start_that_the_database_does_not_take(app: App) -> Callable[[Hub], Awaitable[None]]:
    @app.orchestrator
    async def ask(ctx: OrchestrationContext, note: str) -> str:
        return note + await ctx.wait_for_external_event("Go", str)

    async def story(hub: Hub) -> None:
        instance_id = await hub.client.start(ask, "a")
        await hub.refuse("history", "facts", LIMIT)
        await hub.refuse("instances", "input", LIMIT)
        await hub.refuse("inbox", "message" if hub.on_server else "fact", LIMIT)
        with pytest.raises(DataRefusedError):
            await hub.client.raise_event(instance_id, "Go", LARGE)
        with pytest.raises(DataRefusedError):
            await hub.client.start(ask, LARGE, instance_id="large")
        await hub.restart()
        assert (await hub.client.get(instance_id)).held is None
        await hub.client.raise_event(instance_id, "Go", "b")
        assert (await hub.ended(instance_id)).output == "ab"
        with pytest.raises(InstanceNotFoundError):
            await hub.client.get("large")

    return story


# --- rows that cannot be read


def _waiting(app: App) -> Callable[[Hub], Awaitable[str]]:
    """An instance that waits for an event, a timer, an activity's next attempt and a child."""

    @app.orchestrator
    async def child(ctx: OrchestrationContext) -> None:
        await ctx.wait_for_external_event("Never")

    @app.orchestrator
    async def wait(ctx: OrchestrationContext, number: int) -> int:
        ctx.call_sub_orchestrator(child)
        timer = ctx.create_timer(MINUTE)
        answer = ctx.wait_for_external_event("Go", int)
        await timer
        return number + await answer

    async def start(hub: Hub) -> str:
        instance_id = await hub.client.start(wait, 1, tags={"t": "v"})

        await hub.waiting(instance_id)
        return instance_id

    return start


async def _spoil(hub: Hub, instance_id: str, before: str, after: str) -> None:
    """Replace some words in the instance's history."""
    table, column, key = ("history", "facts", "instance_id") if hub.on_server else ("instances", "steps", "id")
    text = f"convert_from({column}, 'UTF8')" if hub.on_server else f"CAST({column} AS TEXT)"
    changed = f"replace({text}, '{before}', '{after}')"
    changed = f"convert_to({changed}, 'UTF8')" if hub.on_server else f"CAST({changed} AS BLOB)"
    await hub.sql(f"UPDATE {table} SET {column} = {changed} WHERE {key} = '{instance_id}'")


def _spoilt_history(before: str, after: str) -> Case:
    def case(app: App) -> Callable[[Hub], Awaitable[None]]:
        start = _waiting(app)

        async def story(hub: Hub) -> None:
            mended, ended = [await start(hub) for _ in range(2)]
            await hub.down()
            for each in (mended, ended):
                await _spoil(hub, each, before, after)
            await hub.up()
            hub.advance(minutes=1)
            for each in (mended, ended):
                assert "cannot read step 0 of its history" in await hub.held(each)
            await hub.client.raise_event(mended, "Go", 1)
            assert {mended, ended} <= {each.id for each in await hub.listed() if each.held}
            assert len(await hub.client.history(ended)) >= 1
            await hub.restart()
            await _ends(hub, ended)
            await hub.down()
            await _spoil(hub, mended, after, before)
            await hub.up()  # a version that can read it goes on
            assert (await hub.ended(mended)).output == 2

        return story

    return case


def _spoilt_column(column: str, value: str, said: str) -> Case:
    def case(app: App) -> Callable[[Hub], Awaitable[None]]:
        start = _waiting(app)

        async def story(hub: Hub) -> None:
            instance_id = await start(hub)
            await hub.down()
            await hub.sql(f"UPDATE instances SET {column} = {value} WHERE id = '{instance_id}'")
            await hub.up()
            hub.advance(minutes=1)
            assert said in await hub.held(instance_id)
            await hub.client.raise_event(instance_id, "Go", 1)
            await hub.client.resume(instance_id)  # it is tried once more, and cannot be read
            with pytest.raises(NotAllowedError, match=column):
                await hub.client.restart(instance_id)
            assert instance_id in {each.id for each in await hub.listed() if each.held}
            assert sum((await hub.client.counts()).values()) >= 1
            await hub.restart()
            assert said in await hub.held(instance_id)
            await _ends(hub, instance_id)

        return story

    return case


def a_message_that_cannot_be_read(app: App) -> Callable[[Hub], Awaitable[None]]:
    """From a newer version: for an instance, and for one that is not there yet."""
    start = _waiting(app)

    async def story(hub: Hub) -> None:
        instance_id = await start(hub)
        await hub.down()
        for receiver in (instance_id, "not-yet"):
            await _put(hub, receiver, '{"type":"FromTheFuture"}')
        await hub.up()
        assert "cannot read message" in await hub.held(instance_id)
        assert len(await _inbox(hub)) == 2
        await hub.restart()
        assert len(await _inbox(hub)) == 2, "a version that can read them finds them there"
        await _ends(hub, instance_id)
        await hub.restart()
        assert len(await _inbox(hub)) == 1

    return story


async def _put(hub: Hub, instance_id: str, fact: str) -> None:
    from bide.model.instance import partition_of

    if hub.on_server:
        message = f'{{"instance_id":"{instance_id}","fact":{fact}}}'
        await hub.sql(
            "INSERT INTO inbox (partition, instance_id, birth, message) VALUES "
            f"({partition_of(instance_id)}, '{instance_id}', '', blob('{message}', 'UTF8'))"
        )
    else:
        await hub.sql(
            "INSERT INTO inbox (instance_id, generation, birth, fact, message) VALUES "
            f"('{instance_id}', NULL, '', CAST('{fact}' AS BLOB), NULL)"
        )


async def _inbox(hub: Hub) -> list[str]:
    return [instance_id for instance_id in await hub.column("inbox", "instance_id") if instance_id]


def a_worker_of_another_version(app: App) -> Callable[[Hub], Awaitable[None]]:
    async def story(hub: Hub) -> None:
        await hub.sql("INSERT INTO workers (name, started_at, presence) VALUES ('new', 1, blob('{}', 'UTF8'))")
        await hub.restart()
        assert "new" not in {each.name for each in await hub.client.workers()}

    return story


# --- values that are too large


def values_over_the_limit(app: App) -> Callable[[Hub], Awaitable[None]]:
    over = "x" * 1_000_000

    @app.activity
    async def give() -> str:
        return over

    @app.activity
    async def take(text: str) -> None: ...

    @app.orchestrator
    async def returns(ctx: OrchestrationContext) -> str:
        return over

    @app.orchestrator
    async def goes_on(ctx: OrchestrationContext, text: str = "") -> str:
        ctx.continue_as_new(over)

    @app.orchestrator
    async def calls(ctx: OrchestrationContext) -> list[str]:
        refused = [
            _refusal(lambda: ctx.call_activity(take, over)),
            _refusal(lambda: ctx.call_sub_orchestrator(goes_on, over)),
            _refusal(lambda: ctx.send_event("other", "E", over)),
        ]
        try:
            await ctx.call_activity(give)
        except ActivityFailedError as error:
            refused.append(str(error))
        await ctx.wait_for_external_event("Go")
        return refused

    async def story(hub: Hub) -> None:
        instance_id = await hub.client.start(calls)
        await _refused_at_the_door(hub, instance_id, over)
        for code in (returns, goes_on):
            end = await hub.ended(await hub.client.start(code))
            assert end.status is RuntimeStatus.FAILED
            assert "1,000,002 bytes" in str(end.output)

        await hub.waiting(instance_id)
        await hub.restart()  # what was refused is refused on replay, too
        await hub.client.raise_event(instance_id, "Go")
        output = (await hub.ended(instance_id)).output
        assert isinstance(output, list)
        named = ["activity 'take'", "sub-orchestration 'goes_on'", "event 'E'", "activity 'give'"]
        for name, said in zip(named, output, strict=True):
            assert name in said
            assert "max_payload_bytes" in said

    return story


def _refusal(call: Callable[[], object]) -> str:
    with pytest.raises(PayloadError) as refused:
        call()
    return str(refused.value)


async def _refused_at_the_door(hub: Hub, instance_id: str, over: str) -> None:
    for attempt in (
        hub.client.start("goes_on", over),
        hub.client.raise_event(instance_id, "Go", over),
        hub.client.respond(Wait(instance_id, 1, "Go", 0), over, generation=0),
    ):
        with pytest.raises(PayloadError, match=r"1,000,002 bytes .* 999,999 .*max_payload_bytes"):
            await attempt


CASES: dict[str, Case] = {
    each.__name__: each
    for each in (
        a_wait_whose_type_cannot_be_described,
        an_event_for_a_type_that_raises,
        a_start_with_a_type_that_raises,
        arguments_and_results_of_a_type_that_raises,
        an_argument_that_the_database_does_not_take,
        an_argument_after_an_event,
        a_result_that_the_database_does_not_take,
        an_event_and_a_start_that_the_database_does_not_take,
        a_message_that_cannot_be_read,
        a_worker_of_another_version,
        values_over_the_limit,
    )
} | {
    "a_fact_of_a_newer_version": _spoilt_history('"type":"TimerCreated"', '"type":"TimerCreatedAnew"'),
    "a_fact_that_was_accepted_with_null": _spoilt_history('"name":"wait"', '"name":null'),
    "a_status_of_a_newer_version": _spoilt_column("status", "'Canceled'", "status"),
    "a_damaged_parent": _spoilt_column("parent", "blob('{', 'UTF8')", "parent"),
    "damaged_tags": _spoilt_column("tags", "blob('[1]', 'UTF8')", "tags"),
    "tags_that_are_no_json": _spoilt_column("tags", "blob('{\"t\"', 'UTF8')", "tags"),
    "a_damaged_input": _spoilt_column("input", "blob('{', 'UTF8')", "input"),
    "a_damaged_output": _spoilt_column("output", "blob('nul', 'UTF8')", "output"),
    "a_damaged_custom_status": _spoilt_column("custom_status", "blob('', 'UTF8')", "custom_status"),
}
