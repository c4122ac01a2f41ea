"""What an instance keeps of an error: enough to judge it by, and to find what went wrong."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from bide import (
    ActivityFailedError,
    App,
    Failure,
    OrchestrationContext,
    RetryPolicy,
    RuntimeStatus,
    Settings,
    SubOrchestrationFailedError,
)
from bide.client import Client
from bide.core.failures import MAX_CAUSES, MAX_ERRORS, failure_of, task_error
from bide.http.app import create_app
from bide.http.base.history_events import history_events
from bide.model.history import ExecutionCompleted, Step, SubOrchestrationInstanceCreated, TaskFailed
from bide.model.payload import encode
from bide.testing.harness import Durable
from tests.http.conftest import BASE


class Refused(Exception):
    pass


class BadNumber(Refused, LookupError):
    pass


@pytest.mark.parametrize(
    ("raised", "refused", "tries"),
    [
        (BadNumber(), Refused, 1),
        (BadNumber(), LookupError, 1),
        (BadNumber(), "Refused", 1),
        (BadNumber(), f"{__name__}.Refused", 1),
        (BadNumber(), Exception, 1),
        (FileNotFoundError(), OSError, 1),
        (FileNotFoundError(), "OSError", 1),
        (Refused(), BadNumber, 4),
        (KeyboardInterrupt(), Exception, 4),
        (KeyboardInterrupt(), BaseException, 1),
    ],
)
@pytest.mark.parametrize("by_child", [False, True])
def test_a_class_that_is_final_covers_those_that_derive_from_it(
    app: App, durable: Durable, raised: BaseException, refused: Any, tries: int, by_child: bool
) -> None:
    calls = 0

    @app.activity
    async def send() -> None:
        nonlocal calls
        calls += 1
        raise raised

    @app.orchestrator
    async def child(ctx: OrchestrationContext) -> None:
        nonlocal calls
        calls += not ctx.is_replaying
        raise raised

    @app.orchestrator
    async def asks(ctx: OrchestrationContext) -> bool:
        policy = RetryPolicy(4, timedelta(seconds=1), backoff=1, non_retryable=(refused,))
        again = ctx.with_options(retry=policy)
        try:
            await (again.call_sub_orchestrator(child) if by_child else again.call_activity(send))
        except (ActivityFailedError, SubOrchestrationFailedError) as error:
            return error.failure.is_a(refused)
        return False

    instance_id = durable.start(asks)
    durable.advance("10s")
    durable.crash()
    assert durable.output(instance_id) is (tries == 1)
    assert calls == tries


def _several() -> None:
    errors: list[Exception] = []
    for number in (1, 2):
        try:
            raise BadNumber(f"number {number}") from OSError("the line")
        except BadNumber as error:
            errors.append(error)
    errors[1].add_note("it was the customer's")
    raise ExceptionGroup("several", [errors[0], ExceptionGroup("inner", [errors[1]])])


def _is_told(failure: Failure) -> None:
    assert failure.type == "ExceptionGroup"
    assert failure.message == (
        f"several (2 sub-exceptions): {__name__}.BadNumber: number 1; "
        f"ExceptionGroup: inner (1 sub-exception): {__name__}.BadNumber: number 2\nit was the customer's"
    )
    first, inner = failure.members
    (second,) = inner.members
    assert (first.message, second.message) == ("number 1", "number 2\nit was the customer's")
    assert first.is_a(Refused)
    assert second.cause is not None
    assert second.cause.message == "the line"
    assert "_several" in failure.stack
    assert "_several" in second.stack


def test_the_members_of_a_group_are_kept(app: App, durable: Durable) -> None:
    found: list[Failure] = []

    @app.activity
    async def send() -> None:
        _several()

    @app.orchestrator
    async def asks(ctx: OrchestrationContext) -> None:
        try:
            await ctx.call_activity(send)
        except ActivityFailedError as error:
            found.append(error.failure)
        _several()

    instance_id = durable.start(asks)
    steps = durable.history(instance_id)
    kept = [
        fact.failure for step in steps for fact in step.facts if isinstance(fact, TaskFailed | ExecutionCompleted)
    ]
    assert len(kept) == 2
    for failure in (*kept, *found):
        assert failure is not None
        _is_told(failure)
    assert "number 2" in str(durable.status(instance_id).output)
    durable.replay_all()


def test_callers_see_the_members_of_a_group(app: App) -> None:
    @app.orchestrator
    async def asks(ctx: OrchestrationContext) -> None:
        _several()

    api = create_app(app, Settings(db=":memory:"))
    with TestClient(api, base_url=BASE, client=("127.0.0.1", 50_000)) as http:
        client = Client(BASE, http=http)
        client.wait(client.start("asks", instance_id="a"))
        ending = client.history("a")[0].facts[-1]
        assert isinstance(ending, ExecutionCompleted)
        assert ending.failure is not None
        _is_told(ending.failure)
        shown = http.get("/runtime/webhooks/durabletask/instances/a", params={"showHistory": "true"}).json()
    details = shown["historyEvents"][-1]["Details"]
    for text in ("1. ", f"{__name__}.BadNumber: number 1", "Caused by OSError: the line", "number 2"):
        assert text in details
    assert details.count("in _several") == 3


@pytest.mark.parametrize(
    "error",
    [
        ExceptionGroup("wide", [ValueError(str(number)) for number in range(1_000)]),
        ExceptionGroup("of wide ones", [ExceptionGroup("w", [ValueError()] * 100) for _ in range(100)]),
    ],
)
def test_a_group_of_very_many_is_kept_in_part(app: App, durable: Durable, error: Exception) -> None:
    @app.orchestrator
    async def asks(ctx: OrchestrationContext) -> None:
        raise error

    ending = durable.history(durable.start(asks))[0].facts[-1]
    assert isinstance(ending, ExecutionCompleted)
    assert ending.failure is not None
    assert _count(ending.failure) == 100
    assert str(error) in ending.failure.message
    assert ending.failure.message.endswith("; ...") or len(ending.failure.members) < 6


def _count(failure: Failure) -> int:
    return 1 + sum(_count(member) for member in failure.members)


def test_a_group_that_nests_very_deep_is_kept_in_part(app: App, durable: Durable) -> None:
    error: Exception = ValueError("innermost")
    for _ in range(200):
        error = ExceptionGroup("deep", [error])

    @app.orchestrator
    async def asks(ctx: OrchestrationContext) -> None:
        raise error

    ending = durable.history(durable.start(asks))[0].facts[-1]
    assert isinstance(ending, ExecutionCompleted)
    assert ending.failure is not None
    assert _count(ending.failure) == 9


# --- failures that came through many sub-orchestrations


def fallen(levels: int) -> Failure:
    """What is kept of an error at the end of a chain of sub-orchestrations, by the first one of them."""
    request = SubOrchestrationInstanceCreated(1, "chain", "id")
    failure = failure_of(ValueError("the end"))
    for _ in range(levels):
        failure = failure_of(task_error(request, failure))
    return failure


def all_of(failure: Failure) -> int:
    return 1 + sum(all_of(each) for each in (*failure.members, *([failure.cause] if failure.cause else [])))


def depth_of(failure: Failure) -> int:
    return 1 + max(
        (depth_of(each) for each in (*failure.members, *([failure.cause] if failure.cause else []))), default=0
    )


def test_of_a_failure_that_came_from_far_the_first_causes_and_the_last_are_kept() -> None:
    few = fallen(3)
    assert (depth_of(few), few.cause and few.cause.type) == (4, "bide.errors.SubOrchestrationFailedError")
    for levels in (20, 1_000):
        many = fallen(levels)
        assert depth_of(many) <= MAX_CAUSES + 3
        assert many.message.endswith("ValueError: the end")
        last = many
        while last.cause is not None:
            last = last.cause
        assert (last.type, last.message) == ("ValueError", "the end")
        assert len(encode(many)) < 60_000


def test_groups_within_groups_of_sub_orchestrations_are_kept_in_part() -> None:
    """Each level has three failed children: whoever kept all of them would keep 3 ** 12 errors."""
    request = SubOrchestrationInstanceCreated(1, "fan", "id")
    failure = failure_of(ValueError("the end"))
    for _ in range(12):
        failure = failure_of(ExceptionGroup("several", [task_error(request, failure) for _ in range(3)]))
    assert all_of(failure) <= 3 * MAX_ERRORS
    assert depth_of(failure) <= MAX_CAUSES + 3


def test_a_failure_that_nests_deeper_than_any_that_is_kept_now_is_shown() -> None:
    failure = Failure("ValueError", "the end")
    for number in range(2_000):
        failure = Failure("KeyError", f"{number}", cause=failure)
    steps = [Step(0, 0, (ExecutionCompleted(failure=failure),))]
    (event,) = history_events(steps, show_input=True, show_output=True)
    assert "Caused by KeyError: 1998" in event["Details"]
    assert len(event["Details"]) < 10_000


def test_a_chain_that_failed_is_rewound_where_it_began(app: App, durable: Durable) -> None:
    levels, broken = MAX_CAUSES + 5, True

    @app.orchestrator
    async def chain(ctx: OrchestrationContext, left: int) -> int:
        if left:
            return 1 + await ctx.with_options(instance_id=f"c{left - 1}").call_sub_orchestrator(chain, left - 1)
        if broken:
            raise ValueError("the end")
        return 0

    durable.start(chain, levels, instance_id="first")
    assert durable.status("first").status is RuntimeStatus.FAILED
    broken = False
    durable.crash()
    durable.rewind("first")
    durable.settle()
    for left in range(levels - 1, -1, -1):  # whoever rewinds a parent runs its child again
        assert durable.status(f"c{left}").status is RuntimeStatus.COMPLETED
    assert durable.output("first") == levels
