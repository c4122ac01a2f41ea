"""What may happen to an instance in each state, through the door: the table of facts says it, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bide import App, BideError, OrchestrationContext, RuntimeStatus, TaskFailedError
from bide.http.base.shapes import actions
from bide.model.history import Fact, TaskCompleted, TaskScheduled, TimerFired
from bide.model.rules import RULES, Role, check_covers, of_role
from bide.testing.harness import Durable

MAY_BECOME = {
    "Pending": {"raiseEvent": "Pending", "terminate": "Terminated"},
    "Running": {"raiseEvent": "Completed", "suspend": "Suspended", "terminate": "Terminated"},
    "Suspended": {"raiseEvent": "Suspended", "resume": "Running", "terminate": "Terminated"},
    "Completed": {"restart": "Running", "purge": None},
    "Failed": {"rewind": "Running", "restart": "Running", "purge": None},
    "Terminated": {"restart": "Running", "purge": None},
}
VERBS = ("raiseEvent", "suspend", "resume", "terminate", "rewind", "restart", "purge")
HARMLESS = {("Running", "resume"), ("Suspended", "suspend"), ("Pending", "suspend"), ("Pending", "resume")}
"""It is so already, or waits until the instance has begun."""


async def ask(ctx: OrchestrationContext) -> Any:
    if await ctx.wait_for_external_event("Go", bool):
        return 2
    await ctx.call_activity("fail")
    return 3


async def fail() -> None:
    raise ValueError("no")


async def kid(ctx: OrchestrationContext) -> str:
    if await ctx.wait_for_external_event("Go", bool):
        return "done"
    raise ValueError("no")


async def work() -> str:
    return "done"


async def waits(ctx: OrchestrationContext, answer: str) -> str:
    try:
        if answer == "timer":
            await ctx.create_timer(timedelta(minutes=1))
            return "done"
        if "activity" in answer:
            return await ctx.call_activity(work)
        return await ctx.with_options(instance_id="kid").call_sub_orchestrator(kid)
    except TaskFailedError:
        return "failed"


@pytest.fixture
def app() -> App:
    app = App()
    for orchestrator in (ask, kid, waits):
        app.orchestrator(orchestrator)
    for activity in (fail, work):
        app.activity(activity)
    return app


def in_state(durable: Durable, app: App, status: str) -> str:
    if status == "Pending":
        durable.start(ask, instance_id="one")
        durable.run(durable.client.terminate("one"))
        without_its_code = App()
        without_its_code.activity(fail)
        durable.deploy(without_its_code)
        durable.run(durable.client.restart("one", new_instance_id=False))
        durable.settle()
        return "one"
    durable.start(ask, instance_id="one")
    if status == "Suspended":
        durable.suspend("one")
    if status in ("Completed", "Failed"):
        durable.raise_event("one", "Go", status == "Completed")
    if status == "Terminated":
        durable.terminate("one")
    return "one"


def do(durable: Durable, verb: str) -> None:
    client = durable.client
    work = {
        "raiseEvent": lambda: client.raise_event("one", "Go", True),
        "restart": lambda: client.restart("one", new_instance_id=False),
    }.get(verb, lambda: getattr(client, verb)("one"))
    durable.run(work())
    durable.settle()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("status", MAY_BECOME)
def test_each_status_lets_happen_what_it_may_and_no_more(
    app: App, durable: Durable, status: str, verb: str
) -> None:
    in_state(durable, app, status)
    assert durable.status("one").status == status
    allowed = MAY_BECOME[status]
    durable.hold(fail)
    if verb in allowed:
        do(durable, verb)
        found = {each.id: each.status for each in durable.run(durable.client.instances())}
        assert found.get("one") == allowed[verb]
    elif (status, verb) in HARMLESS:
        do(durable, verb)
        assert durable.status("one").status == status
    else:
        with pytest.raises(BideError):
            do(durable, verb)
        assert durable.status("one").status == status


@pytest.mark.parametrize("status", MAY_BECOME)
def test_what_is_offered_is_what_may_happen(status: str) -> None:
    always = {"restart"}  # as another instance
    assert set(actions(RuntimeStatus(status))) == MAY_BECOME[status].keys() | always


def test_a_rewind_leads_to_what_is_left_of_the_history(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def twice(ctx: OrchestrationContext) -> None:
        await ctx.wait_for_external_event("Go")
        await ctx.call_activity(fail)

    instance = durable.start(twice)
    durable.suspend(instance)
    durable.resume(instance)
    durable.raise_event(instance, "Go")
    assert durable.status(instance).status is RuntimeStatus.FAILED
    held = durable.hold(fail)
    durable.rewind(instance)
    assert durable.status(instance).status is RuntimeStatus.RUNNING
    held.finish()
    assert durable.status(instance).status is RuntimeStatus.COMPLETED


@pytest.mark.parametrize("suspended", [False, True])
@pytest.mark.parametrize("answer", ["activity", "failed activity", "child", "failed child", "timer"])
def test_answers_reach_code_that_is_not_in_memory(durable: Durable, answer: str, suspended: bool) -> None:
    held = durable.hold(work)
    instance = durable.start(waits, answer)
    if suspended:
        durable.suspend(instance)
    durable.crash()
    if answer == "timer":
        durable.advance(timedelta(minutes=1))
    elif "child" in answer:
        durable.raise_event("kid", "Go", answer == "child")
    elif answer == "activity":
        held.finish("done")
    else:
        held.fail(ValueError("no"))
    if suspended:
        assert durable.status(instance).status is RuntimeStatus.SUSPENDED
        durable.resume(instance)
    assert durable.output(instance) == ("failed" if "failed" in answer else "done")


def test_each_fact_that_settles_or_gives_up_says_what() -> None:
    for kind in of_role(Role.ANSWER, Role.GIVING_UP):
        assert RULES[kind].request in of_role(Role.REQUEST)


@pytest.mark.parametrize("table", [{TaskCompleted}, {TaskCompleted, TimerFired, TaskScheduled}])
def test_a_table_that_forgets_a_fact_or_knows_one_too_many_is_refused(table: set[type[Fact]]) -> None:
    others = of_role(Role.ANSWER) - {TaskCompleted, TimerFired}
    with pytest.raises(TypeError, match="TimerFired" if len(table) == 1 else "TaskScheduled"):
        check_covers(table, Role.ANSWER, without=others)
