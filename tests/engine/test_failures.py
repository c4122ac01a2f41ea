"""What an instance keeps of an error: enough to judge it by, and to find what went wrong."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bide import ActivityFailedError, App, OrchestrationContext, RetryPolicy, SubOrchestrationFailedError
from bide.testing.harness import Durable


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
