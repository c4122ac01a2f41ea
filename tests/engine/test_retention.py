"""Instances that ended long ago leave by themselves; no others do."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta

import pytest

from bide import App, InstanceNotFoundError, OrchestrationContext, RuntimeStatus
from bide.engine.options import WorkerOptions
from bide.model.clock import SECOND
from bide.model.query import InstanceFilter
from bide.testing.harness import Durable

KEPT = timedelta(hours=1)
LATER = KEPT + timedelta(seconds=60)


@pytest.fixture
def keeping(app: App) -> Iterator[Durable]:
    @app.orchestrator
    async def echo(ctx: OrchestrationContext, value: str = "") -> str:
        return value

    @app.orchestrator
    async def fail(ctx: OrchestrationContext) -> None:
        raise ValueError("no")

    @app.orchestrator
    async def wait(ctx: OrchestrationContext) -> str:
        return await ctx.wait_for_external_event("Answer", str)

    @app.orchestrator
    async def parent(ctx: OrchestrationContext) -> str:
        told = await ctx.with_options(instance_id="child").call_sub_orchestrator(echo, "told")
        await ctx.wait_for_external_event("Answer")
        return told

    options = WorkerOptions(retention=round(KEPT.total_seconds()) * SECOND, max_sweep=3)
    with Durable(app, options=options) as durable:
        yield durable


def ids(durable: Durable) -> list[str]:
    return sorted(each.id for each in durable.run(durable.client.instances(InstanceFilter(), limit=1000)))


def test_what_ended_is_kept_for_so_long_and_then_deleted_with_its_history(keeping: Durable) -> None:
    for name in ("echo", "fail"):
        keeping.start(name, instance_id=name)
    keeping.start("wait", instance_id="stopped")
    keeping.terminate("stopped")
    keeping.advance(KEPT - timedelta(seconds=1))
    assert ids(keeping) == ["echo", "fail", "stopped"]
    keeping.advance(timedelta(seconds=60))
    assert ids(keeping) == []
    with pytest.raises(InstanceNotFoundError):
        keeping.history("echo")


def test_what_waits_is_kept_however_long(keeping: Durable) -> None:
    keeping.start("wait", instance_id="patient")
    keeping.advance(100 * KEPT)
    keeping.raise_event("patient", "Answer", "at last")
    assert keeping.output("patient") == "at last"
    assert ids(keeping) == ["patient"]
    keeping.advance(LATER)
    assert ids(keeping) == []


def test_many_leave_in_small_steps(keeping: Durable, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(20):
        keeping.start("echo", instance_id=f"e-{number}")
    with caplog.at_level(logging.INFO, "bide.worker"):
        keeping.advance(LATER)
    assert ids(keeping) == []
    assert [each.getMessage() for each in caplog.records] == ["Deleted 20 instances that had ended long enough ago"]


def test_what_was_restarted_or_rewound_begins_anew_and_is_kept(keeping: Durable) -> None:
    keeping.start("echo", instance_id="again")
    keeping.start("fail", instance_id="back")
    keeping.advance(KEPT - timedelta(seconds=1))
    keeping.restart("again", new_instance_id=False)
    keeping.rewind("back")
    keeping.advance(timedelta(seconds=60))
    assert ids(keeping) == ["again", "back"]
    assert keeping.status("back").status is RuntimeStatus.FAILED


def test_a_parent_goes_on_without_its_deleted_child(keeping: Durable) -> None:
    keeping.start("parent", instance_id="parent")
    keeping.advance(LATER)
    assert ids(keeping) == ["parent"]
    keeping.crash()
    keeping.raise_event("parent", "Answer")
    assert keeping.output("parent") == "told"


def test_an_id_that_was_deleted_can_be_used_again(keeping: Durable) -> None:
    keeping.start("echo", "old", instance_id="same")
    keeping.advance(LATER)
    keeping.start("echo", "new", instance_id="same")
    assert keeping.output("same") == "new"


def test_without_retention_everything_is_kept(app: App) -> None:
    @app.orchestrator
    async def echo(ctx: OrchestrationContext) -> None: ...

    with Durable(app) as durable:
        durable.start("echo", instance_id="e")
        durable.advance(timedelta(days=10_000))
        assert ids(durable) == ["e"]
