"""One instance's code, driven fact by fact; and what is said of code that does not fit (G7)."""

import asyncio
import types
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any

import pytest
from msgspec import Raw

from bide import App, NonDeterminismError, OrchestrationContext, RetryPolicy, Task, when_all, when_any
from bide.core.execution import Execution
from bide.core.replay import replay
from bide.model.history import (
    ContinuedAsNew,
    EventAwaited,
    EventRaised,
    EventSent,
    EventWaitCancelled,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    Fact,
    Failure,
    Step,
    SubOrchestrationInstanceCreated,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCancelled,
    TimerCreated,
    TimerFired,
)
from bide.model.links import SignedLinks
from bide.model.sealing import SealingKeys

SEALER = SealingKeys([bytes(32)])
LINKS = SignedLinks(bytes(32), "http://127.0.0.1:7071")


def execution(function: Callable[..., Any], *, strict: bool = False) -> Execution:
    app = App()
    app.orchestrator(name="o")(function)
    return Execution(app.registry, app.registry.orchestrator("o"), "i", 0, LINKS, SEALER, strict)


def drive(function: Callable[..., Any], *facts: Fact, input: bytes = b"null") -> list[Step]:
    """The history that the code makes of these facts, one a second."""
    code = execution(function)
    given = (ExecutionStarted("o", Raw(input)), *facts)
    steps = [Step(seq, seq, (fact, *code.tell(fact, seq))) for seq, fact in enumerate(given)]
    code.close()
    return steps


def asked(function: Callable[..., Any], *facts: Fact, input: bytes = b"null") -> list[Fact]:
    """What the code asks for in answer to the last fact."""
    return list(drive(function, *facts, input=input)[-1].facts[1:])


def returned(function: Callable[..., Any], *facts: Fact, input: bytes = b"null") -> bytes:
    last = asked(function, *facts, input=input)[-1]
    assert isinstance(last, ExecutionCompleted)
    assert last.failure is None, last.failure
    return bytes(last.result)


def failed(function: Callable[..., Any], *facts: Fact) -> Failure:
    last = asked(function, *facts)[-1]
    assert isinstance(last, ExecutionCompleted)
    assert last.failure is not None
    return last.failure


def test_what_an_execution_has_in_it_is_not_shown() -> None:
    """Whoever shows a traceback with its variables must not show secrets and answers."""

    async def one(ctx: OrchestrationContext, number: str) -> None:
        await ctx.wait_for_external_event("x")

    links = SignedLinks(b"the hub's secret", "http://127.0.0.1:7071")
    app = App()
    app.orchestrator(name="o")(one)
    code = Execution(app.registry, app.registry.orchestrator("o"), "i", 0, links, SEALER)
    code.tell(ExecutionStarted("o", Raw(b'"+14255550100"')), 0)
    code.tell(EventRaised("y", Raw(b'"0042"')), 1)
    shown = repr((code, code.work, links))
    assert not any(word in shown for word in ("secret'", "4255550100", "0042"))
    code.close()


# --- what is asked for


def test_every_verb_of_the_context_is_a_fact() -> None:
    async def all_of_them(ctx: OrchestrationContext) -> None:
        ctx.call_activity("a", 1)
        timer = ctx.create_timer(timedelta(seconds=1))
        wait = ctx.wait_for_external_event("x", timeout=timedelta(seconds=2))
        ctx.with_options(instance_id="kid").call_sub_orchestrator("child", 2)
        ctx.send_event("other", "y", 3)
        timer.cancel()
        wait.cancel()
        ctx.continue_as_new(4)

    assert asked(all_of_them) == [
        TaskScheduled(1, "a", Raw(b"1")),
        TimerCreated(2, 1_000_000),
        EventAwaited(3, "x", deadline=2_000_000),
        TimerCreated(4, 2_000_000),
        SubOrchestrationInstanceCreated(5, "kid", "child", Raw(b"2")),
        EventSent(6, "other", "y", Raw(b"3")),
        TimerCancelled(2, 1_000_000),
        EventWaitCancelled(3),
        TimerCancelled(4, 2_000_000),
        ContinuedAsNew(Raw(b"4"), unawaited=("The activity 'a' (id 1) was never awaited: it is given up.",)),
    ]


def test_generators_plain_functions_and_coroutines_are_driven_alike() -> None:
    async def coroutine(ctx: OrchestrationContext, number: int) -> int:
        return number + await ctx.call_activity("a")

    def generator(ctx: OrchestrationContext, number: int) -> Generator[Task[Any], Any, int]:
        result = yield ctx.call_activity("a")
        return number + int(result)

    def plain(ctx: OrchestrationContext, number: int) -> int:
        return number + 1

    for function in (coroutine, generator):
        assert asked(function, input=b"4") == [TaskScheduled(1, "a")]
        assert returned(function, TaskCompleted(1, Raw(b"1")), input=b"4") == b"5"
    assert returned(plain, input=b"4") == b"5"


def test_old_style_coroutines_are_driven_too() -> None:
    @types.coroutine
    def old(ctx: OrchestrationContext) -> Generator[Task[Any], Any, int]:
        return (yield ctx.call_activity("a"))

    assert returned(old, TaskCompleted(1, Raw(b"5"))) == b"5"


def test_code_may_be_split_into_coroutines_and_generators() -> None:
    async def inner(ctx: OrchestrationContext) -> int:
        return int(await ctx.call_activity("a"))

    async def outer(ctx: OrchestrationContext) -> int:
        return await inner(ctx) + await inner(ctx)

    def inner_generator(ctx: OrchestrationContext) -> Generator[Task[Any], Any, int]:
        return int((yield ctx.call_activity("a")))

    def outer_generator(ctx: OrchestrationContext) -> Generator[Task[Any], Any, int]:
        first = yield from inner_generator(ctx)
        return first + (yield from inner_generator(ctx))

    for function in (outer, outer_generator):
        assert returned(function, TaskCompleted(1, Raw(b"1")), TaskCompleted(2, Raw(b"2"))) == b"3"


def test_errors_are_raised_where_the_task_is_awaited() -> None:
    def generator(ctx: OrchestrationContext) -> Generator[Task[Any], Any, str]:
        try:
            yield ctx.call_activity("a")
        except Exception as error:
            return type(error).__name__
        return ""

    assert returned(generator, TaskFailed(1, Failure("E", "no"))) == b'"ActivityFailedError"'


def test_tasks_that_are_done_are_awaited_without_a_step() -> None:
    async def twice(ctx: OrchestrationContext) -> int:
        task = ctx.call_activity("a")
        first = await task
        return int(first + await task + await when_any(task).result)

    assert returned(twice, TaskCompleted(1, Raw(b"1"))) == b"3"


def test_nothing_is_asked_for_while_suspended() -> None:
    async def two(ctx: OrchestrationContext) -> Any:
        await ctx.call_activity("a")
        return await ctx.call_activity("b")

    suspend, done = ExecutionSuspended(), TaskCompleted(1)
    assert asked(two, suspend) == asked(two, suspend, done) == []
    assert asked(two, suspend, done, ExecutionResumed()) == [TaskScheduled(2, "b")]


def test_time_never_goes_back_for_an_instance() -> None:
    async def clock(ctx: OrchestrationContext) -> bool:
        before = ctx.current_utc_datetime
        await ctx.call_activity("a")
        return ctx.current_utc_datetime >= before

    code = execution(clock)
    code.tell(ExecutionStarted("o"), 100)
    assert code.tell(TaskCompleted(1), 50) == [ExecutionCompleted(Raw(b"true"))]


def test_retries_are_timers_and_attempts_in_the_history() -> None:
    async def stubborn(ctx: OrchestrationContext) -> Any:
        return await ctx.with_options(retry=RetryPolicy(2)).call_activity("a", 7)

    failure = TaskFailed(1, Failure("E", "no"))
    assert asked(stubborn, failure) == [TimerCreated(2, 1_000_001)]
    assert asked(stubborn, failure, TimerFired(2, 1_000_001)) == [TaskScheduled(3, "a", Raw(b"7"), 2, 1)]
    last = failed(stubborn, failure, TimerFired(2, 1_000_001), TaskFailed(3, Failure("E", "no")))
    assert last.message == "Activity 'a' failed (attempt 2): E: no"


def test_dropping_code_runs_its_finally_blocks_and_asks_for_nothing() -> None:
    seen: list[str] = []

    async def tidy(ctx: OrchestrationContext) -> None:
        try:
            await ctx.call_activity("a")
        finally:
            seen.append("finally")
            ctx.call_activity("b")

    assert len(drive(tidy)) == 1
    assert seen == ["finally"]


# --- what may not be awaited


async def sleeps(ctx: OrchestrationContext) -> None:
    await asyncio.sleep(1)


async def sleeps_zero(ctx: OrchestrationContext) -> None:
    await asyncio.sleep(0)


async def gathers(ctx: OrchestrationContext) -> None:
    await asyncio.gather(ctx.call_activity("a"), ctx.call_activity("b"))  # type: ignore[call-overload]


@types.coroutine
def other_library() -> Generator[Any, Any, None]:
    yield "a token of another library"


async def uses_another_library(ctx: OrchestrationContext) -> None:
    await other_library()


async def creates_tasks(ctx: OrchestrationContext) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(sleeps(ctx))


def yields_something_else(ctx: OrchestrationContext) -> Generator[Any, Any, None]:
    yield 5


@pytest.mark.parametrize("function", [sleeps_zero, uses_another_library, yields_something_else])
def test_awaiting_something_else_names_file_and_line(function: Callable[..., Any]) -> None:
    failure = failed(function)
    line = function.__code__.co_firstlineno + 1
    assert failure.type == "bide.errors.NotADurableTaskError"
    assert f"{__file__}:" in failure.message
    if function is not uses_another_library:  # there, the innermost line is the library's
        assert f"{__file__}:{line}: o awaits" in failure.message
    assert "Put I/O and sleeping into an activity" in failure.message


@pytest.mark.parametrize("function", [sleeps, gathers, creates_tasks])
def test_asyncio_in_an_orchestrator_fails_the_instance_naming_the_line(function: Callable[..., Any]) -> None:
    async def inside() -> Failure:  # where there is a loop, as in a running app
        return failed(function)

    failure = asyncio.run(inside())
    assert failure.type == "bide.errors.NotADurableTaskError", failure
    assert f"{__file__}:{function.__code__.co_firstlineno + 1}" in failure.message + failure.stack


# --- replay


def test_replay_brings_code_to_where_it_was() -> None:
    async def two(ctx: OrchestrationContext) -> list[int]:
        return [await ctx.call_activity("a"), await ctx.call_activity("b")]

    history = drive(two, TaskCompleted(1, Raw(b"1")))
    again = execution(two)
    replay(again, history)
    assert not again.is_replaying
    assert again.tell(TaskCompleted(2, Raw(b"2")), 9) == [ExecutionCompleted(Raw(b"[1,2]"))]


def test_replay_knows_errors_by_type_and_message_not_by_lines() -> None:
    async def first(ctx: OrchestrationContext) -> None:
        raise ValueError("no")

    async def moved(ctx: OrchestrationContext) -> None:
        if ctx.instance_id:
            raise ValueError("no")

    replay(execution(moved), drive(first))


async def original(ctx: OrchestrationContext) -> None:
    await ctx.call_activity("send", "secret words")
    await ctx.create_timer(timedelta(seconds=90))


async def another_activity(ctx: OrchestrationContext) -> None:
    await ctx.call_activity("mail", "secret words")


async def another_input(ctx: OrchestrationContext) -> None:
    await ctx.call_activity("send", "other words")


async def another_kind(ctx: OrchestrationContext) -> None:
    await ctx.create_timer(timedelta(seconds=90))


async def more(ctx: OrchestrationContext) -> None:
    await when_all(ctx.call_activity("send", "secret words"), ctx.call_activity("mail"))


async def nothing(ctx: OrchestrationContext) -> None:
    pass


async def fails(ctx: OrchestrationContext) -> None:
    raise ValueError("secret words")


async def another_span(ctx: OrchestrationContext) -> None:
    await ctx.call_activity("send", "secret words")
    await ctx.create_timer(timedelta(seconds=60))


@pytest.mark.parametrize(
    ("function", "where", "theirs", "mine"),
    [
        (another_activity, "step 0", "TaskScheduled(id=1, name='send')", "TaskScheduled(id=1, name='mail')"),
        (another_input, "step 0", "TaskScheduled(id=1, name='send')", "another input"),
        (another_kind, "step 0", "TaskScheduled(id=1, name='send')", "TimerCreated(id=1, fire_at=90000000)"),
        (more, "step 0", "nothing more", "TaskScheduled(id=2, name='mail')"),
        (nothing, "step 0", "TaskScheduled(id=1, name='send')", "ExecutionCompleted()"),
        (fails, "step 0", "TaskScheduled(id=1, name='send')", "ExecutionCompleted()"),
        (another_span, "step 1", "TimerCreated(id=2, fire_at=90000001)", "TimerCreated(id=2, fire_at=60000001)"),
    ],
)
def test_code_that_does_not_fit_is_shown_with_both_sides(
    function: Callable[..., Any], where: str, theirs: str, mine: str
) -> None:
    history = drive(original, TaskCompleted(1))
    code = execution(function, strict=True)
    with pytest.raises(NonDeterminismError) as raised:
        replay(code, history)
    code.close()
    text = str(raised.value)
    assert all(part in text for part in (where, theirs, mine, "'o'", "'i'", f"{__file__}:"))
    assert '"words"' not in text
    if function is another_span:
        assert f"{__file__}:{another_span.__code__.co_firstlineno + 2}" in text


def test_code_that_asks_for_more_is_shown() -> None:
    history = drive(original, TaskCompleted(1))
    history[1] = Step(1, 1, (TaskCompleted(1),))
    code = execution(original)
    with pytest.raises(NonDeterminismError, match=r"history has nothing more, but the code .* TimerCreated\(id=2"):
        replay(code, history)
    code.close()
