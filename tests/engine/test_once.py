"""A once-activity that is cut off again and again must not act again and again (G5)."""

from __future__ import annotations

import threading
from datetime import timedelta

from bide import ActivityCall, App, Done, NotDone, OrchestrationContext, Outcome, RetryPolicy
from bide.testing.harness import Durable


class LostAnswerError(Exception):
    pass


def test_a_body_runs_twice_at_most_however_often_it_is_cut_off() -> None:
    app = App()
    attempts: list[str] = []

    async def never_found(call: ActivityCall) -> Outcome:
        return NotDone()

    @app.activity(once=True, reconcile=never_found, unknown_on=(LostAnswerError,))
    async def send(number: str) -> str:
        attempts.append(number)
        raise LostAnswerError("the carrier did not answer")

    @app.orchestrator
    async def verify(ctx: OrchestrationContext, number: str) -> str:
        patient = ctx.with_options(retry=RetryPolicy(max_attempts=5, first_interval=timedelta(seconds=1)))
        return await patient.call_activity(send, number)

    with Durable(app) as durable:
        instance = durable.wait(durable.start(verify, "+12025550123"))
    assert attempts == ["+12025550123"] * 2
    assert "nobody knows whether 'send' was done" in str(instance.output)


def test_what_is_cut_off_twice_is_looked_for_twice() -> None:
    app = App()
    answers: list[Outcome] = [NotDone(), Done("found")]

    async def found_in_the_end(call: ActivityCall) -> Outcome:
        return answers.pop(0)

    @app.activity(once=True, reconcile=found_in_the_end, unknown_on=(LostAnswerError,))
    async def send(number: str) -> str:
        raise LostAnswerError("the carrier did not answer")

    @app.orchestrator
    async def verify(ctx: OrchestrationContext, number: str) -> str:
        return await ctx.call_activity(send, number)

    with Durable(app) as durable:
        assert durable.output(durable.start(verify, "+12025550123")) == "found"


def test_reconcile_may_be_a_plain_function_and_has_a_thread_then() -> None:
    app = App()
    threads: list[int] = []

    def find(call: ActivityCall) -> Outcome:
        threads.append(threading.get_ident())
        return Done(f"found for {call.instance_id}")

    @app.activity(once=True, reconcile=find, unknown_on=(LostAnswerError,))
    async def send(number: str) -> str:
        raise LostAnswerError("the carrier did not answer")

    @app.orchestrator
    async def verify(ctx: OrchestrationContext, number: str) -> str:
        return await ctx.call_activity(send, number)

    with Durable(app) as durable:
        assert durable.output(durable.start(verify, "+12025550123", instance_id="a")) == "found for a"
    assert len(threads) == 1
    assert threads != [threading.get_ident()]
