"""What must be the same when code runs again over its history, and what happens when it does not fit (G7)."""

import logging
from datetime import timedelta
from typing import Any

import pytest

from bide import App, OrchestrationContext, RuntimeStatus, when_all
from bide.engine.options import WorkerOptions
from bide.model.instance import PARTITIONS
from bide.store.protocol import BEFORE_ALL
from bide.testing.harness import Durable


def test_ids_random_numbers_and_time_are_the_same_on_replay(app: App, durable: Durable) -> None:
    runs: list[list[Any]] = []

    @app.orchestrator
    async def curious(ctx: OrchestrationContext) -> list[Any]:
        seen: list[Any] = []
        runs.append(seen)
        for _ in range(3):
            seen += [ctx.current_utc_datetime.isoformat(), str(ctx.new_uuid()), ctx.random.random()]
            await ctx.create_timer(timedelta(seconds=10))
        return seen

    instance = durable.start(curious)
    durable.advance("10s")
    durable.crash()
    durable.advance("20s")
    first, second = runs
    assert second[: len(first)] == first
    assert len(first) == 6
    assert durable.output(instance) == second
    assert len(set(second)) == 9
    durable.replay_all()


def test_instances_and_generations_get_ids_and_numbers_of_their_own(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def curious(ctx: OrchestrationContext, again: bool = False) -> list[Any]:
        seen = [str(ctx.new_uuid()), ctx.random.random()]
        ctx.set_custom_status(seen)
        if again:
            await ctx.wait_for_external_event("Go")
            ctx.continue_as_new(False)
        return seen

    instance = durable.start(curious, True)
    first = durable.status(instance).custom_status
    durable.raise_event(instance, "Go")
    others = [durable.output(instance), durable.output(durable.start(curious, False))]
    assert all(other[n] != first[n] for other in others for n in (0, 1))  # type: ignore[index]


def test_the_logger_says_each_line_once(app: App, durable: Durable, caplog: pytest.LogCaptureFixture) -> None:
    @app.orchestrator
    async def chatty(ctx: OrchestrationContext) -> None:
        ctx.logger.info("before")
        await ctx.wait_for_external_event("Go")
        ctx.logger.info("after %s", "all")

    with caplog.at_level(logging.INFO, "bide.orchestrator"):
        instance = durable.start(chatty)
        durable.crash()
        durable.raise_event(instance, "Go")
        durable.replay_all()
    assert [record.getMessage() for record in caplog.records] == ["before", "after all"]
    assert all(record.instance_id == instance for record in caplog.records)  # type: ignore[attr-defined]
    assert caplog.records[0].name == "bide.orchestrator.chatty"


@pytest.mark.parametrize(("max_live", "replayed"), [(1, True), (5, False)])
def test_evicted_instances_are_replayed_when_their_message_comes(app: App, max_live: int, replayed: bool) -> None:
    runs: list[int] = []

    @app.activity
    def double(number: int) -> int:
        return 2 * number

    @app.orchestrator
    async def summing(ctx: OrchestrationContext, number: int) -> int:
        runs.append(number)
        total = await ctx.call_activity(double, number)
        for _ in range(3):
            total += await ctx.wait_for_external_event("Number", int, timeout=timedelta(hours=1))
        return total

    with Durable(app, options=WorkerOptions(max_live=max_live)) as durable:
        ids = [durable.start(summing, n) for n in range(5)]
        for number in (100, 10, 1):
            for instance_id in ids:
                durable.raise_event(instance_id, "Number", number)
        assert [durable.output(instance_id) for instance_id in ids] == [111, 113, 115, 117, 119]
        assert (len(runs) > 5) is replayed
        durable.replay_all()


def test_evicted_children_and_parents_find_each_other(app: App) -> None:
    @app.orchestrator
    async def child(ctx: OrchestrationContext, number: int) -> int:
        await ctx.create_timer(timedelta(seconds=number))
        return number

    @app.orchestrator
    async def parent(ctx: OrchestrationContext) -> list[int]:
        return list(await when_all(*[ctx.call_sub_orchestrator(child, n) for n in range(5)]))

    with Durable(app, options=WorkerOptions(max_live=1)) as durable:
        assert durable.wait(durable.start(parent)).output == [0, 1, 2, 3, 4]


# --- code that does not fit


def version(*names: str, result: str = "") -> App:
    app = App()

    @app.orchestrator(name="steps")
    async def steps(ctx: OrchestrationContext) -> list[str]:
        seen = [await ctx.wait_for_external_event(name, str) for name in names]
        return [*seen, result]

    return app


@pytest.fixture
def misfit(durable: Durable) -> str:
    """An instance with one event taken, held by code that asks for another."""
    durable.deploy(version("First", "Second", "Third", result="old"))
    instance = durable.start("steps")
    durable.raise_event(instance, "First", "1")
    durable.deploy(version("First", "Other", "Third", result="new"))
    durable.raise_event(instance, "Second", "2")
    return instance


def test_code_that_does_not_fit_holds_the_instance_and_says_why(misfit: str, durable: Durable) -> None:
    status = durable.status(misfit)
    assert status.status is RuntimeStatus.RUNNING
    assert status.held is not None
    assert "EventAwaited(id=2, name='Second')" in status.held
    assert "EventAwaited(id=2, name='Other')" in status.held
    assert f"{__file__}:" in status.held


def test_a_held_instance_keeps_its_messages_and_goes_on_with_fitting_code(misfit: str, durable: Durable) -> None:
    durable.raise_event(misfit, "Third", "3")
    durable.crash()
    durable.raise_event(misfit, "Third", "too many")
    assert durable.status(misfit).held is not None
    durable.deploy(version("First", "Second", "Third", result="fits"))
    assert durable.output(misfit) == ["1", "2", "3", "fits"]
    assert durable.status(misfit).held is None
    durable.replay_all()


def test_a_held_instance_keeps_the_order_of_its_events(durable: Durable) -> None:
    durable.deploy(version("Item", "Item", "Item"))
    instance = durable.start("steps")
    durable.raise_event(instance, "Item", "0")
    durable.deploy(version("Other"))
    for n in range(1, 6):
        durable.raise_event(instance, "Item", str(n))
        if n % 2:
            durable.crash()
    durable.deploy(version("Item", "Item", "Item"))
    assert durable.output(instance) == ["0", "1", "2", ""]


def test_a_held_instance_can_be_terminated(misfit: str, durable: Durable) -> None:
    durable.terminate(misfit, "no way back")
    status = durable.status(misfit)
    assert (status.status, status.held) == (RuntimeStatus.TERMINATED, None)
    assert durable.waiting(misfit) == []
    durable.crash()
    assert durable.status(misfit).status is RuntimeStatus.TERMINATED


def test_a_held_parent_can_be_terminated_with_its_children(durable: Durable) -> None:
    def build(fits: bool) -> App:
        app = App()

        @app.orchestrator
        async def child(ctx: OrchestrationContext) -> None:
            await ctx.wait_for_external_event("Never")

        @app.orchestrator
        async def parent(ctx: OrchestrationContext) -> None:
            if fits:
                await ctx.with_options(instance_id="kid").call_sub_orchestrator(child)
            await ctx.wait_for_external_event("Other")

        return app

    durable.deploy(build(fits=True))
    instance = durable.start("parent")
    durable.deploy(build(fits=False))
    durable.raise_event(instance, "Other")
    assert durable.status(instance).held is not None
    durable.terminate(instance, recurse=True)
    assert durable.status("kid").status is RuntimeStatus.TERMINATED


def test_an_instance_that_never_began_can_be_terminated(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def parent(ctx: OrchestrationContext) -> None:
        await ctx.with_options(instance_id="kid").call_sub_orchestrator("unknown")

    instance = durable.start(parent)
    assert durable.status("kid").status is RuntimeStatus.PENDING
    durable.raise_event("kid", "Item")
    durable.suspend("kid")
    durable.terminate("kid", "never mind")
    assert durable.status(instance).status is RuntimeStatus.FAILED
    durable.crash()
    assert durable.status("kid").status is RuntimeStatus.TERMINATED
    assert durable.run(durable._store.inbox(range(PARTITIONS), BEFORE_ALL, 10)) == []


def test_a_held_instance_does_not_disturb_others(misfit: str, durable: Durable) -> None:
    other = durable.start("steps")
    for name in ("First", "Other", "Third"):
        durable.raise_event(other, name, name)
    assert durable.output(other) == ["First", "Other", "Third", "new"]


def test_a_held_instance_can_be_suspended_and_resumed_later(misfit: str, durable: Durable) -> None:
    durable.suspend(misfit)
    durable.deploy(version("First", "Second", "Third"))
    assert durable.status(misfit).status is RuntimeStatus.SUSPENDED
    durable.raise_event(misfit, "Third", "3")
    durable.resume(misfit)
    assert durable.output(misfit) == ["1", "2", "3", ""]


def test_timers_and_results_that_come_while_held_are_kept(app: App, durable: Durable) -> None:
    def build(fits: bool) -> App:
        app = App()

        @app.activity
        def work() -> str:
            return "done"

        @app.orchestrator
        async def steps(ctx: OrchestrationContext) -> list[str]:
            if not fits:
                await ctx.create_timer(timedelta(days=9))
            task = ctx.call_activity(work)
            timer = ctx.create_timer(timedelta(hours=1))
            await timer
            at = ctx.current_utc_datetime.isoformat()
            return [at, await task]

        return app

    durable.deploy(build(fits=True))
    hold = durable.hold("work")
    instance = durable.start("steps")
    durable.deploy(build(fits=False))
    hold.finish("done")
    durable.advance("2h")
    assert durable.status(instance).held is not None
    durable.advance("1h")
    durable.deploy(build(fits=True))
    assert durable.output(instance) == ["2026-01-01T03:00:00+00:00", "done"]
    durable.replay_all()


def test_an_unknown_function_holds_its_instances_until_it_is_back(durable: Durable) -> None:
    durable.deploy(version("First"))
    instance = durable.start("steps")
    durable.deploy(App())
    durable.raise_event(instance, "First", "1")
    assert "no orchestrator 'steps'" in str(durable.status(instance).held)
    durable.deploy(version("First"))
    assert durable.output(instance) == ["1", ""]


def test_an_unknown_activity_fails_its_call(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> Any:
        return await ctx.call_activity("nothing", 1)

    assert "no activity 'nothing'" in str(durable.status(durable.start(caller)).output)


def test_changes_that_ask_for_the_same_need_no_care(durable: Durable) -> None:
    durable.deploy(version("First", "Second", result="old"))
    instance = durable.start("steps")
    durable.raise_event(instance, "First", "1")
    durable.deploy(version("First", "Second", "Third", result="new"))
    durable.raise_event(instance, "Second", "2")
    durable.raise_event(instance, "Third", "3")
    assert durable.output(instance) == ["1", "2", "3", "new"]


def test_an_event_for_a_held_instance_is_not_judged_by_code_that_does_not_fit(
    misfit: str, durable: Durable
) -> None:
    durable.raise_event(misfit, "Third", "3")  # accepted: kept for fitting code
    assert durable.status(misfit).held is not None
