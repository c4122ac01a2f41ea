"""An id is used again: by a child, or by a start that says so."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from bide import (
    App,
    InstanceExistsError,
    OrchestrationContext,
    RequestReusedError,
    RetryPolicy,
    RuntimeStatus,
    SubOrchestrationFailedError,
)
from bide.model.instance import Reuse
from bide.testing.harness import Durable


@pytest.fixture
def family(app: App) -> App:
    @app.activity
    def work(number: int) -> int:
        return number

    @app.orchestrator
    async def step(ctx: OrchestrationContext, number: int = 0) -> int:
        return await ctx.call_activity(work, number)

    @app.orchestrator
    async def wait(ctx: OrchestrationContext, value: str = "") -> str:
        return await ctx.wait_for_external_event("Go", str)

    @app.orchestrator
    async def eternal(ctx: OrchestrationContext, number: int = 0) -> int:
        chosen = ctx.with_options(instance_id=f"{ctx.instance_id}:step")
        got = await chosen.call_sub_orchestrator(step, number)
        if got < 3:
            ctx.continue_as_new(got + 1)
        return got

    @app.orchestrator
    async def loop(ctx: OrchestrationContext) -> list[int]:
        chosen = ctx.with_options(instance_id="step")
        return [await chosen.call_sub_orchestrator(step, number) for number in range(4)]

    @app.orchestrator
    async def parent(ctx: OrchestrationContext, name: str = "step") -> Any:
        return await ctx.with_options(instance_id="child").call_sub_orchestrator(name)

    @app.orchestrator
    async def trying(ctx: OrchestrationContext) -> int:
        policy = RetryPolicy(max_attempts=3, first_interval=timedelta(seconds=1))
        return await ctx.with_options(instance_id="child", retry=policy).call_sub_orchestrator(step, 7)

    return app


# --- children with a chosen id


def test_an_eternal_parent_calls_a_child_of_the_same_id_in_each_generation(family: App, durable: Durable) -> None:
    work = durable.fake("work", _same)
    assert durable.output(durable.start("eternal")) == 3
    assert work.arguments == [(0,), (1,), (2,), (3,)]
    assert len({call.idempotency_key for call in work.calls}) == 4


def test_a_loop_calls_a_child_of_the_same_id_again_and_again(family: App, durable: Durable) -> None:
    assert durable.output(durable.start("loop")) == [0, 1, 2, 3]
    assert durable.output("step") == 3


def test_a_restarted_parent_calls_a_child_of_the_same_id(family: App, durable: Durable) -> None:
    work = durable.fake("work", _same)
    instance_id = durable.start("parent")
    for runs in (2, 3):
        durable.restart(instance_id, new_instance_id=False)
        assert durable.output(instance_id) == 0
        assert len(work.calls) == runs


def test_a_parent_that_was_purged_and_started_calls_a_child_of_the_same_id(family: App, durable: Durable) -> None:
    work = durable.fake("work", _same)
    for runs in (1, 2):
        durable.start("parent", instance_id="a")
        assert durable.output("a") == 0
        assert len(work.calls) == runs
        durable.purge("a")


@pytest.mark.parametrize("how", ["terminated", "failed", "another", "from outside"])
def test_whatever_has_ended_makes_way_for_a_child(family: App, durable: Durable, how: str) -> None:
    if how == "failed":
        durable.fake("work", ValueError("no"))
    if how == "from outside":
        durable.start("step", 5, instance_id="child")
    elif how == "terminated":
        durable.terminate(durable.start("parent", "wait"), recurse=True)
    else:
        durable.start("trying" if how == "another" else "parent")
    assert durable.status("child").status.finished
    durable.fake("work", 9)
    assert durable.output(durable.start("parent")) == 9


def test_the_second_life_of_a_parent_does_not_adopt_the_child_of_the_first(family: App, durable: Durable) -> None:
    """It waits still: it is left alone, and the call says whose it is."""
    durable.start("parent", "wait", instance_id="a")
    durable.terminate("a")
    durable.purge("a")
    durable.start("parent", "wait", instance_id="a")
    ended = durable.wait("a")
    assert ended.status is RuntimeStatus.FAILED
    assert "'child' already exists: an earlier run of 'a' called it, and it is Running" in str(ended.output)
    assert durable.status("child").status is RuntimeStatus.RUNNING
    durable.raise_event("child", "Go", "late")  # nobody hears of it
    assert durable.status("a") == ended


@pytest.mark.parametrize("owner", ["from outside", "of another", "twice at once"])
def test_what_has_not_ended_does_not_make_way(app: App, family: App, durable: Durable, owner: str) -> None:
    @app.orchestrator
    async def both(ctx: OrchestrationContext) -> str:
        chosen = ctx.with_options(instance_id="child")
        chosen.call_sub_orchestrator("wait")
        try:
            return str(await chosen.call_sub_orchestrator("wait"))
        except SubOrchestrationFailedError as error:
            return error.failure.type

    if owner == "from outside":
        durable.start("wait", instance_id="child")
    elif owner == "of another":
        durable.start("parent", "wait")
    assert durable.output(durable.start("both")) == "bide.errors.InstanceExistsError"
    assert durable.status("child").status is RuntimeStatus.RUNNING


def test_each_attempt_of_a_child_has_the_id_that_was_chosen(family: App, durable: Durable) -> None:
    work = durable.fake("work", ValueError("no"))
    instance_id = durable.start("trying")
    assert durable.status("child").status is RuntimeStatus.FAILED
    durable.fake("work", 7)
    durable.advance("1s")
    assert durable.output(instance_id) == 7
    assert durable.output("child") == 7
    assert [call.instance_id for call in work.calls] == ["child"]
    durable.replay_all()


def test_a_rewound_parent_gets_its_child_back_and_no_other(family: App, durable: Durable) -> None:
    work = durable.fake("work", ValueError("no"))
    instance_id = durable.start("parent")
    first = durable.status("child").birth
    work = durable.fake("work", 5)
    durable.rewind(instance_id)
    assert durable.output(instance_id) == 5
    assert durable.status("child").birth == first
    assert len(work.calls) == 1


def test_a_rewound_parent_takes_the_id_back_from_one_that_has_ended(family: App, durable: Durable) -> None:
    durable.fake("work", ValueError("no"))
    instance_id = durable.start("parent")
    durable.start("step", 1, instance_id="child", reuse="ended")
    durable.fake("work", 5)
    durable.rewind(instance_id)
    assert durable.output(instance_id) == 5


# --- starts


@pytest.mark.parametrize("reuse", [None, "never", "ended", "replace"])
def test_a_free_id_is_simply_used(family: App, durable: Durable, reuse: Reuse | None) -> None:
    durable.start("step", 4, instance_id="a", reuse=reuse)
    assert durable.output("a") == 4


def test_without_a_word_the_same_start_is_a_repetition(family: App, durable: Durable) -> None:
    durable.start("step", 4, instance_id="a")
    ended = durable.status("a")
    durable.start("step", 4, instance_id="a")
    assert durable.status("a") == ended
    with pytest.raises(InstanceExistsError, match="another function or input"):
        durable.start("step", 5, instance_id="a")
    assert durable.status("a") == ended


@pytest.mark.parametrize("ended", [False, True])
def test_never_refuses_the_same_start_too(family: App, durable: Durable, ended: bool) -> None:
    durable.start("wait", instance_id="a")
    if ended:
        durable.terminate("a")
    before = durable.status("a")
    with pytest.raises(InstanceExistsError):
        durable.start("wait", instance_id="a", reuse="never")
    assert durable.status("a") == before


@pytest.mark.parametrize("reuse", ["ended", "replace"])
@pytest.mark.parametrize("crash", [False, True])
def test_what_has_ended_is_started_anew(family: App, durable: Durable, reuse: Reuse, crash: bool) -> None:
    durable.start("step", 1, instance_id="a", tags={"n": "1"})
    first = durable.status("a")
    durable.advance("1s")
    if crash:
        durable.crash()
    durable.start("step", 2, instance_id="a", tags={"n": "2"}, reuse=reuse)
    second = durable.status("a")
    assert (second.output, second.tags, second.generation) == (2, {"n": "2"}, 0)
    assert second.birth != first.birth
    assert second.created_at > first.created_at
    assert len(durable.history("a")) == 2
    durable.replay_all()


def test_ended_leaves_what_runs_alone(family: App, durable: Durable) -> None:
    durable.start("wait", "x", instance_id="a")
    before = durable.status("a")
    durable.start("wait", "x", instance_id="a", reuse="ended")  # the same: a repetition
    with pytest.raises(InstanceExistsError):
        durable.start("wait", "y", instance_id="a", reuse="ended")
    assert durable.status("a") == before


@pytest.mark.parametrize("state", ["waits", "suspended", "continued", "held", "just started"])
def test_replace_ends_what_is_there(app: App, family: App, durable: Durable, state: str) -> None:
    @app.orchestrator
    async def again(ctx: OrchestrationContext, number: int = 0) -> None:
        await ctx.wait_for_external_event("Go")
        ctx.continue_as_new(number + 1)

    if state == "just started":
        work = [durable.client.start("wait", "x", instance_id="a")]
        work += [durable.client.start("wait", "y", instance_id="a", reuse="replace") for _ in range(2)]
        durable.run(_all(*work))
    else:
        durable.start("again" if state == "continued" else "wait", instance_id="a")
    if state == "suspended":
        durable.suspend("a")
    elif state == "continued":
        durable.raise_event("a", "Go")
    elif state == "held":
        durable.deploy(App())
        durable.raise_event("a", "Other")
        durable.deploy(app)
    durable.start("wait", "z", instance_id="a", reuse="replace")
    found = durable.status("a")
    assert (found.status, found.input, found.generation, found.held) == (RuntimeStatus.RUNNING, "z", 0, None)
    assert [wait.name for wait in durable.waiting("a")] == ["Go"]
    durable.crash()
    durable.raise_event("a", "Go", "new")
    assert durable.output("a") == "new"
    assert len(durable.history("a")) == 2


def test_replace_leaves_nothing_of_the_first_to_the_second(app: App, family: App, durable: Durable) -> None:
    @app.activity
    def slow() -> str: ...  # type: ignore[empty-body]

    @app.orchestrator
    async def many(ctx: OrchestrationContext, number: int) -> list[Any]:
        called, timer = ctx.call_activity(slow), ctx.create_timer(timedelta(seconds=10 * number))
        child = ctx.with_options(instance_id="child").call_sub_orchestrator("wait", str(number))
        return [await called, await child, await timer, ctx.current_utc_datetime.second]

    held = durable.hold("slow")
    durable.start("many", 1, instance_id="a")
    durable.raise_event("a", "Kept", "old")
    durable.start("many", 2, instance_id="a", reuse="replace")
    assert held.open == 1
    assert len({call.idempotency_key for call in held.calls}) == 2
    assert durable.status("child").input == "2"
    held.finish("new")
    durable.raise_event("child", "Go", "child of the second")
    durable.advance("10s")
    assert durable.status("a").status is RuntimeStatus.RUNNING  # the timer of the first
    durable.advance("10s")
    assert durable.output("a")[:2] == ["new", "child of the second"]


def test_who_waits_for_what_is_replaced_hears_of_its_end(family: App, durable: Durable) -> None:
    durable.start("wait", "x", instance_id="a")

    async def both() -> Any:
        waiting = asyncio.ensure_future(durable.client.wait("a", timedelta(seconds=5)))
        await asyncio.sleep(0)
        await durable.client.start("step", 1, instance_id="a", reuse="replace")
        return await waiting

    ended = durable.run(both())
    assert (ended.status, ended.input) == (RuntimeStatus.TERMINATED, "x")
    assert durable.output("a") == 1


def test_the_parent_of_what_is_replaced_hears_of_its_end(family: App, durable: Durable) -> None:
    instance_id = durable.start("parent", "wait")
    durable.start("wait", instance_id="child", reuse="replace")
    ended = durable.wait(instance_id)
    assert "terminated: Replaced by another instance with this id." in str(ended.output)
    assert durable.status("child").parent is None


def test_replace_under_a_key_replaces_once(family: App, durable: Durable) -> None:
    durable.start("wait", "x", instance_id="a")
    births = {durable.status("a").birth}
    for key in ("one", "two"):
        for _ in range(3):
            durable.start("wait", key, instance_id="a", reuse="replace", idempotency_key=key)
            durable.crash()
            births.add(durable.status("a").birth)
        with pytest.raises(RequestReusedError):
            durable.start("wait", "other", instance_id="a", reuse="replace", idempotency_key=key)
    durable.start("wait", "one", instance_id="a", reuse="replace", idempotency_key="one")  # a late repetition
    assert durable.status("a").input == "two"
    assert len(births) == 3


def test_an_events_key_is_of_the_instance_that_took_it(family: App, durable: Durable) -> None:
    for answer in ("one", "two"):
        durable.start("wait", instance_id="a", reuse="replace")
        durable.run(durable.client.raise_event("a", "Go", answer, idempotency_key="k"))
        assert durable.output("a") == answer


def test_what_is_replaced_keeps_its_audit(family: App, durable: Durable) -> None:
    """Who may start may not purge."""
    someone = durable.client.on_behalf("someone", "10.0.0.7")
    durable.run(someone.start("wait", instance_id="a"))
    durable.run(someone.start("wait", instance_id="a", reuse="replace"))
    found = [(entry.verb, entry.reason) for entry in durable.run(durable.client.audit("a"))]
    assert found == [("start", "reuse=replace"), ("start", "")]
    durable.terminate("a")
    durable.purge("a")
    assert durable.run(durable.client.audit("a")) == []


@pytest.mark.parametrize("wrong", ["", "always", "Never", 1, True, ["never"]])
def test_another_word_is_refused(family: App, durable: Durable, wrong: Any) -> None:
    with pytest.raises(ValueError, match="never, ended, replace"):
        durable.start("wait", instance_id="a", reuse=wrong)


async def _all(*work: Any) -> None:
    await asyncio.gather(*work)


def _same(number: int) -> int:
    return number
