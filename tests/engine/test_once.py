"""A once-activity that is cut off again and again must not act again and again (G5)."""

from __future__ import annotations

from datetime import timedelta

from holdfast import ActivityCall, App, NotDone, OrchestrationContext, Outcome, RetryPolicy
from holdfast.testing.harness import Durable


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
