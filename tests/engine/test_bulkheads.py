"""A step that fails over one message: that is refused, or its instance held. All others go on in the same turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from bide import App, OrchestrationContext, RuntimeStatus, SubOrchestrationFailedError
from bide.core.live import Instances, Live
from bide.engine.options import WorkerOptions
from bide.errors import StepFailedError
from bide.testing.harness import Durable


@pytest.fixture
def wait(app: App) -> Any:
    @app.orchestrator
    async def wait(ctx: OrchestrationContext) -> str:
        await ctx.wait_for_external_event("Go")
        return "gone on"

    return wait


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, BaseException | None], None]:
    """Lets whatever an instance is told fail, in a place that nothing guards: a fault of the engine's own."""
    broken: dict[str, BaseException] = {}
    use = Instances.use

    def fail(self: Instances, instance_id: str) -> Live | None:
        if instance_id in broken:
            raise broken[instance_id]
        return use(self, instance_id)

    monkeypatch.setattr(Instances, "use", fail)

    def begin(instance_id: str, error: BaseException | None) -> None:
        broken.pop(instance_id, None)
        if error is not None:
            broken[instance_id] = error

    return begin


MINUTE = timedelta(minutes=1)
ERRORS: list[BaseException] = [KeyError("its own"), SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whoever_sent_it_is_told_and_all_others_are_answered_in_the_same_turn(
    durable: Durable, wait: Any, failing: Any, error: BaseException
) -> None:
    ids = [durable.start(wait, instance_id=f"i{number}") for number in range(7)]
    failing("i2", error)
    failing("i5", error)

    async def all_at_once() -> list[Any]:
        events = [durable.client.raise_event(each, "Go") for each in ids]
        return await asyncio.gather(*events, return_exceptions=True)

    told = durable.run(all_at_once())
    for number, each in enumerate(told):
        if number in (2, 5):
            assert isinstance(each, StepFailedError)
            assert type(error).__name__ in str(each)
            assert "its own" not in str(each), "what an error says may be somebody's data"
            assert "test_bulkheads.py" in str(each)
        else:
            assert each is None
    assert [durable.status(each).status.finished for each in ids] == [True, True, False, True, True, False, True]
    durable.crash()
    failing("i2", None)
    failing("i5", None)
    for each in ("i2", "i5"):
        assert durable.status(each).held is None
        durable.raise_event(each, "Go")
        assert durable.output(each) == "gone on"


def test_what_nobody_waits_to_hear_of_holds_its_instance_and_is_kept_for_it(
    app: App, durable: Durable, failing: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @app.activity
    async def work() -> int:
        return 1

    @app.orchestrator
    async def sleep(ctx: OrchestrationContext) -> str:
        await ctx.create_timer(MINUTE)
        return "woken"

    @app.orchestrator
    async def call(ctx: OrchestrationContext) -> int:
        return await ctx.call_activity(work)

    hold = durable.hold(work)
    sleeping, calling = durable.start(sleep, instance_id="s"), durable.start(call, instance_id="c")
    well = durable.start(sleep)
    for each in (sleeping, calling):
        failing(each, ZeroDivisionError("its own"))
    hold.finish(5)
    durable.advance("1m")
    assert durable.output(well) == "woken"
    for each in (sleeping, calling):
        held = durable.status(each).held or ""
        assert "ZeroDivisionError: its own" in held
        assert "test_bulkheads.py:" in held
        assert "or terminate the instance" in held
        failing(each, None)
    assert not [record for record in caplog.records if "starting over" in record.getMessage()]
    durable.crash()
    durable.settle()
    assert (durable.output(sleeping), durable.output(calling)) == ("woken", 5)


def test_it_can_be_resumed_terminated_and_purged(durable: Durable, wait: Any, app: App, failing: Any) -> None:
    @app.orchestrator
    async def tell(ctx: OrchestrationContext, whom: str) -> None:
        ctx.send_event(whom, "Go")

    ids = [durable.start(wait, instance_id=each) for each in ("resumed", "ended")]
    for each in ids:
        failing(each, KeyError())
        durable.start(tell, each)
        failing(each, None)
        assert durable.status(each).held
    durable.terminate("ended")
    assert durable.status("ended").status is RuntimeStatus.TERMINATED
    durable.purge("ended")
    durable.resume("resumed")
    assert durable.output("resumed") == "gone on"


def test_a_child_that_cannot_be_started_has_failed_for_its_parent(app: App, durable: Durable, failing: Any) -> None:
    @app.orchestrator
    async def child(ctx: OrchestrationContext) -> None: ...

    @app.orchestrator
    async def parent(ctx: OrchestrationContext) -> str:
        try:
            await ctx.with_options(instance_id="child").call_sub_orchestrator(child)
        except SubOrchestrationFailedError as error:
            return error.failure.message
        return "it ran"

    failing("child", KeyError())
    assert "KeyError" in str(durable.output(durable.start(parent)))
    failing("child", None)
    assert durable.output(durable.start(parent)) == "it ran"


def test_a_later_part_does_not_overtake_what_an_earlier_one_gave_back(app: App, wait: Any, failing: Any) -> None:
    """Between two generations events are given back, and they come before all others."""

    @app.orchestrator
    async def loop(ctx: OrchestrationContext, got: list[str]) -> list[str]:
        got.append(await ctx.wait_for_external_event("Item", str))
        if len(got) < 3:
            ctx.continue_as_new(got)
        return got

    with Durable(app, options=WorkerOptions(max_step=5)) as durable:
        durable.start(loop, [], instance_id="loop")
        durable.start(wait, instance_id="bad")
        for _ in range(5):
            durable.raise_event("loop", "Later")
        failing("bad", KeyError())

        async def all_at_once() -> list[Any]:
            told = [("loop", "Item", "a"), ("loop", "Item", "b"), ("bad", "Go", None), ("loop", "Item", "c")]
            return await asyncio.gather(
                *(durable.client.raise_event(*each) for each in told), return_exceptions=True
            )

        durable.run(all_at_once())
        assert durable.output("loop") == ["a", "b", "c"]
