"""Names of functions compare case-insensitively, as in Durable Functions; what is kept is the function's own."""

from __future__ import annotations

from typing import Any

import pytest

from bide import App, OrchestrationContext, RuntimeStatus
from bide.model.history import SubOrchestrationInstanceCreated, TaskScheduled
from bide.testing.harness import Durable


@pytest.fixture
def spelled(app: App) -> App:
    @app.activity(name="SendSms")
    def send(number: str = "none") -> str:
        return f"sent to {number}"

    @app.orchestrator(name="Child")
    async def child(ctx: OrchestrationContext, number: str = "none") -> str:
        return f"called {number}"

    @app.orchestrator(name="Verify")
    async def verify(ctx: OrchestrationContext, activity: str, orchestrator: str) -> list[Any]:
        return [await ctx.call_activity(activity, "1"), await ctx.call_sub_orchestrator(orchestrator, "2")]

    return app


@pytest.mark.parametrize(
    "names", [("Verify", "SendSms", "Child"), ("verify", "sendsms", "child"), ("VERIFY", "SENDSMS", "cHILD")]
)
def test_any_case_finds_it_and_its_own_name_is_kept(
    spelled: App, durable: Durable, names: tuple[str, str, str]
) -> None:
    instance = durable.start(names[0], {"activity": names[1], "orchestrator": names[2]})
    assert durable.output(instance) == ["sent to 1", "called 2"]
    assert durable.status(instance).name == "Verify"
    asked = [fact for step in durable.history(instance) for fact in step.facts[1:]]
    assert [fact.name for fact in asked if isinstance(fact, TaskScheduled | SubOrchestrationInstanceCreated)] == [
        "SendSms",
        "Child",
    ]
    durable.replay_all()


def test_the_same_start_in_another_case_is_a_repetition(spelled: App, durable: Durable) -> None:
    assert durable.start("Child", "1", instance_id="one") == durable.start("CHILD", "1", instance_id="one") == "one"


def test_a_fake_is_found_in_any_case(spelled: App, durable: Durable) -> None:
    durable.fake("sendSMS", "nothing")
    instance = durable.start("Verify", {"activity": "SendSms", "orchestrator": "Child"})
    assert durable.output(instance) == ["nothing", "called 2"]


def test_two_of_one_kind_that_differ_only_in_case_are_refused(spelled: App) -> None:
    def another() -> None: ...

    async def other(ctx: OrchestrationContext) -> None: ...

    with pytest.raises(ValueError, match=r"'sendsms' is taken by 'SendSms'.*case"):
        spelled.activity(name="sendsms")(another)
    with pytest.raises(ValueError, match=r"'CHILD' is taken by 'Child'.*case"):
        spelled.orchestrator(name="CHILD")(other)
    with pytest.raises(ValueError, match=r"'Child' is taken by .*child"):
        spelled.orchestrator(name="Child")(other)
    spelled.activity(name="child")(another)  # of another kind


@pytest.mark.parametrize("name", [".", "..", "a\n", "x" * 201, "\u200b"])
def test_a_name_that_no_address_can_carry_is_refused_where_it_is_given(app: App, name: str) -> None:
    async def other(ctx: OrchestrationContext) -> None: ...

    with pytest.raises(ValueError, match="A function's name is 1 to 200 printable characters"):
        app.orchestrator(name=name)(other)
    with pytest.raises(ValueError, match="A function's name is 1 to 200 printable characters"):
        app.activity(name=name)(lambda: None)


def test_a_child_that_was_asked_for_in_another_case_before_it_was_deployed(app: App, durable: Durable) -> None:
    """History has the name that was asked for then, the code asks for the one that is there now."""

    @app.orchestrator
    async def parent(ctx: OrchestrationContext) -> Any:
        return await ctx.call_sub_orchestrator("NEWER", 4)

    instance = durable.start(parent)

    @app.orchestrator
    async def newer(ctx: OrchestrationContext, number: int) -> int:
        return number + 1

    durable.crash()
    assert durable.output(instance) == 5
    assert durable.status(instance).status is RuntimeStatus.COMPLETED


def test_instances_go_on_when_their_function_is_spelled_in_another_case(app: App, durable: Durable) -> None:
    async def ask(ctx: OrchestrationContext) -> Any:
        return await ctx.wait_for_external_event("Answer")

    app.orchestrator(name="Ask")(ask)
    instance = durable.start("Ask")
    later = App()
    later.orchestrator(name="ask")(ask)
    durable.deploy(later)
    durable.raise_event(instance, "Answer", 1)
    assert durable.output(instance) == 1
