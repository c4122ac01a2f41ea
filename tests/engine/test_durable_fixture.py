"""The fixture `durable`: what users test their own orchestrators with."""

import asyncio
import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from bide import (
    App,
    InstanceNotFoundError,
    NonDeterminismError,
    OrchestrationContext,
    PayloadError,
    RetryPolicy,
    RuntimeStatus,
    current_call,
    when_any,
)
from bide.model.clock import to_span
from bide.testing.harness import Durable

pytest_plugins = ["pytester"]


@pytest.fixture
def phone(app: App) -> App:
    @app.activity
    async def send_sms(number: str) -> str:
        raise ConnectionError("no network in tests")

    @app.orchestrator
    async def verify(ctx: OrchestrationContext, number: str) -> bool:
        code = await ctx.call_activity(send_sms, number)
        deadline = ctx.create_timer(timedelta(seconds=90))
        for _ in range(4):
            answer = ctx.wait_for_external_event("Answer", str)
            if await when_any(answer, deadline) is deadline:
                return False
            if answer.result == code:
                deadline.cancel()
                return True
        return False

    return app


def test_a_phone_verification_reads_as_it_is_told(phone: App, durable: Durable) -> None:
    sms = durable.fake("send_sms", "0042")
    verification = durable.start("verify", "+1425")
    durable.assert_waiting_for(verification, "answer", until="90s")
    durable.raise_event(verification, "Answer", "0041")
    durable.advance("89s")
    durable.assert_waiting_for(verification, "Answer", until=timedelta(seconds=1))
    durable.raise_event(verification, "Answer", "0042")
    assert durable.output(verification) is True
    assert sms.arguments == [("+1425",)]
    durable.assert_not_waiting(verification)
    durable.replay_all()


def test_ninety_virtual_seconds_take_under_ten_milliseconds(phone: App) -> None:
    def verify() -> float:
        began = time.perf_counter()
        with Durable(phone) as durable:
            durable.fake("send_sms", "0042")
            verification = durable.start("verify", "+1425")
            durable.advance(90)
            assert durable.output(verification) is False
        return time.perf_counter() - began

    assert min(verify() for _ in range(10)) < 0.010


def test_each_timer_fires_at_its_own_time(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def ticks(ctx: OrchestrationContext) -> list[float]:
        began = ctx.current_utc_datetime
        seen = []
        for _ in range(3):
            await ctx.create_timer(timedelta(seconds=10))
            seen.append((ctx.current_utc_datetime - began).total_seconds())
        return seen

    began = durable.clock.utc
    instance = durable.start(ticks)
    durable.advance("25s")
    assert durable.status(instance).status is RuntimeStatus.RUNNING
    durable.advance("5s")
    assert durable.output(instance) == [10, 20, 30]
    assert durable.clock.utc - began == timedelta(seconds=30)


def test_wait_lets_time_pass_until_the_end(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def year(ctx: OrchestrationContext) -> str:
        await ctx.create_timer(timedelta(days=365))
        return "a year older"

    assert durable.wait(durable.start(year)).output == "a year older"


def test_wait_says_what_time_does_not_bring(phone: App, app: App, durable: Durable) -> None:
    @app.orchestrator
    async def patient(ctx: OrchestrationContext) -> None:
        await ctx.wait_for_external_event("Answer")

    instance = durable.start(patient)
    with pytest.raises(AssertionError, match=r"Running\. It waits for 'Answer'\. It does not end by itself"):
        durable.wait(instance)


def test_output_of_a_failed_instance_says_why(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def broken(ctx: OrchestrationContext) -> None:
        raise ValueError("out of cheese")

    with pytest.raises(AssertionError, match="is Failed: ValueError: out of cheese"):
        durable.output(durable.start(broken))


def test_assert_waiting_for_tells_what_is_waited_for_instead(phone: App, durable: Durable) -> None:
    durable.fake("send_sms", "0042")
    verification = durable.start("verify", "+1425")
    with pytest.raises(AssertionError, match=r"waits for 'Answer' until 2026-01-01 00:01:30.*not wait for 'Other'"):
        durable.assert_waiting_for(verification, "Other")
    with pytest.raises(AssertionError, match="does not wait until 2026-01-01 00:01:00"):
        durable.assert_waiting_for(verification, "Answer", until="60s")
    with pytest.raises(AssertionError, match="does not wait for ever"):
        durable.assert_waiting_for(verification, "Answer", until=None)
    with pytest.raises(AssertionError, match="waits for 'Answer'"):
        durable.assert_not_waiting(verification)


@pytest.mark.parametrize("of", ["value", "function", "coroutine function", "error", "error class"])
def test_a_fake_replaces_the_body(app: App, durable: Durable, of: str) -> None:
    @app.activity
    def double(number: int) -> int:
        raise AssertionError("the body must not run")

    @app.orchestrator
    async def caller(ctx: OrchestrationContext, number: int) -> int:
        return await ctx.call_activity(double, number)

    async def later(number: int) -> int:
        return 2 * number

    fakes: dict[str, Any] = {
        "value": 42,
        "function": lambda number: 2 * number,
        "coroutine function": later,
        "error": ValueError("no"),
        "error class": ValueError,
    }
    fake = durable.fake(double, fakes[of])
    instance = durable.start(caller, 21)
    if "error" in of:
        assert durable.status(instance).status is RuntimeStatus.FAILED
    else:
        assert durable.output(instance) == 42
    assert [call.name for call in fake.calls] == ["double"]


def test_a_fake_that_does_not_fit_is_refused(app: App, durable: Durable) -> None:
    @app.activity
    def add(first: int, second: int) -> int:
        return first + second

    with pytest.raises(TypeError, match=r"cannot be called with \(first, second\)"):
        durable.fake(add, lambda first: first)
    with pytest.raises(TypeError, match="'add' cannot return 'x'"):
        durable.fake(add, "x")


def test_a_fake_keeps_retries_and_survives_a_crash(app: App, durable: Durable) -> None:
    @app.activity
    def flaky() -> str:
        raise AssertionError("the body must not run")

    @app.orchestrator
    async def stubborn(ctx: OrchestrationContext) -> str:
        return await ctx.with_options(retry=RetryPolicy(max_attempts=3)).call_activity(flaky)

    def third_time_lucky() -> str:
        if current_call().attempt < 3:
            raise ConnectionError
        return "done"

    fake = durable.fake(flaky, third_time_lucky)
    instance = durable.start(stubborn)
    durable.crash()
    durable.advance("1s")
    durable.crash()
    durable.advance("2s")
    assert durable.output(instance) == "done"
    assert [call.attempt for call in fake.calls] == [1, 2, 3]


def test_a_held_activity_stays_open_until_the_test_ends_it(app: App, durable: Durable) -> None:
    @app.activity
    def work(number: int) -> int:
        return number

    @app.orchestrator
    async def caller(ctx: OrchestrationContext, number: int) -> int:
        return await ctx.call_activity(work, number)

    hold = durable.hold(work)
    first, second = durable.start(caller, 1), durable.start(caller, 2)
    assert (hold.open, hold.arguments) == (2, [(1,), (2,)])
    hold.finish(10)
    hold.fail(ValueError("no"))
    assert durable.output(first) == 10
    assert durable.status(second).status is RuntimeStatus.FAILED
    with pytest.raises(AssertionError, match="No call"):
        hold.finish()


def test_an_activity_that_hangs_is_named(app: App) -> None:
    @app.activity
    async def sleepy() -> None:
        await asyncio.sleep(60)

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> None:
        await ctx.call_activity(sleepy)

    with Durable(app, patience_s=0.05) as durable, pytest.raises(TimeoutError, match=r"sleepy has not ended after"):
        durable.start(caller)


def test_activities_in_threads_are_waited_for(app: App, durable: Durable) -> None:
    @app.activity
    def where() -> str:
        return threading.current_thread().name

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> str:
        return await ctx.call_activity(where)

    assert durable.output(durable.start(caller)).startswith("bide-activity")


def test_replay_all_finds_code_that_depends_on_the_machine(app: App, durable: Durable) -> None:
    runs = []

    @app.orchestrator
    async def fickle(ctx: OrchestrationContext) -> None:
        runs.append(1)
        await ctx.wait_for_external_event(f"Answer{len(runs)}")

    durable.start(fickle)
    with pytest.raises(NonDeterminismError, match=r"Answer1.*Answer2"):
        durable.replay_all()


def test_deploy_goes_on_with_other_code(app: App, durable: Durable) -> None:
    def version(number: int) -> App:
        app = App()

        @app.orchestrator
        async def greet(ctx: OrchestrationContext) -> str:
            return f"{await ctx.wait_for_external_event('Name', str)} {number}"

        return app

    durable.deploy(version(1))
    instance = durable.start("greet")
    durable.deploy(version(2))
    durable.raise_event(instance, "Name", "Ada")
    assert durable.output(instance) == "Ada 2"


def test_run_takes_any_coroutine_of_the_test(phone: App, durable: Durable) -> None:
    durable.fake("send_sms", "0042")

    async def both() -> list[bool]:
        ids = [await durable.client.start("verify", number) for number in ("+1", "+2")]
        for instance_id in ids:
            await asyncio.sleep(0.001)
            await durable.client.raise_event(instance_id, "Answer", "0042")
        return [bool((await durable.client.wait(instance_id)).output) for instance_id in ids]

    assert durable.run(both()) == [True, True]


def test_errors_of_the_client_reach_the_test(phone: App, durable: Durable) -> None:
    with pytest.raises(PayloadError):
        durable.start("verify", 5)
    with pytest.raises(InstanceNotFoundError):
        durable.raise_event("nobody", "Answer")


def test_an_async_test_is_told_to_be_a_plain_one(phone: App, durable: Durable) -> None:
    async def test() -> None:
        durable.start("verify", "+1")

    with pytest.raises(RuntimeError, match="plain `def` test"):
        asyncio.run(test())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1h30m", 5400), ("2d", 172_800), ("250ms", 0.25), ("1.5h", 5400), (" 5 min ", 300)],
)
def test_spans_of_time_are_written_as_people_do(text: str, seconds: float) -> None:
    assert to_span(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "soon", "5", "5y", "1h x"])
def test_other_text_is_no_span(text: str) -> None:
    with pytest.raises(ValueError, match="is no span of time"):
        to_span(text)


def test_time_does_not_go_back(durable: Durable) -> None:
    with pytest.raises(ValueError, match="forward"):
        durable.advance(-1)


def test_the_plugin_says_how_to_name_the_app(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(durable): pass")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*needs to know your app*", "*def durable_app():*"])


def test_the_plugin_gives_a_running_app(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from bide import App

        app = App()

        @app.orchestrator
        async def hello(ctx, name: str) -> str:
            return f"hello {name}"

        @pytest.fixture
        def durable_app():
            return app

        def test_hello(durable):
            assert durable.output(durable.start(hello, "you")) == "hello you"
        """
    )
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_several_arguments_are_given_in_order_or_as_a_dict(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def joined(ctx: OrchestrationContext, first: str, second: int, third: str = "c") -> str:
        return f"{first}{second}{third}"

    assert durable.output(durable.start(joined, "a", 1)) == "a1c"
    assert durable.output(durable.start("joined", "a", 1, "z")) == "a1z"
    assert durable.output(durable.start(joined, {"first": "a", "second": 2})) == "a2c"
    with pytest.raises(TypeError, match="too many positional arguments"):
        durable.start(joined, "a", 1, "c", "d")
    with pytest.raises(PayloadError, match="The input does not fit joined"):
        durable.start(joined, "a", "one")


def test_children_are_shown_as_they_are(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def child(ctx: OrchestrationContext, name: str) -> str:
        return await ctx.wait_for_external_event(name, str)

    @app.orchestrator
    async def parent(ctx: OrchestrationContext) -> list[str]:
        calls = [ctx.call_sub_orchestrator(child, name) for name in ("one", "two")]
        return [await call for call in calls]

    parent_id = durable.start(parent)
    first, second = durable.children(parent_id)
    assert (first.input, second.input) == ("one", "two")
    assert durable.children(first.id) == []
    durable.raise_event(second.id, "two", "b")
    assert [each.status for each in durable.children(parent_id)] == [RuntimeStatus.RUNNING, RuntimeStatus.COMPLETED]
    durable.purge(second.id)
    assert [each.id for each in durable.children(parent_id)] == [first.id]
    durable.replay_all()  # of those that are there


def test_an_activity_may_use_the_apps_client(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def other(ctx: OrchestrationContext) -> str:
        return "done"

    @app.activity
    async def begin() -> str:
        return await app.client.start(other, instance_id="other")

    @app.orchestrator
    async def first(ctx: OrchestrationContext) -> str:
        return await ctx.call_activity(begin)

    assert durable.output(durable.start(first)) == "other"
    assert durable.output("other") == "done"
    durable.crash()
    assert app.client is durable.client
