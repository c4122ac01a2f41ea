"""A running app as a whole: the real loop, the real clock and real files."""

import asyncio
import inspect
import io
import logging
import pdb
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from bide import App, BusyError, Client, InstanceNotFoundError, OrchestrationContext, RuntimeStatus, Settings
from bide.engine.options import WorkerOptions
from bide.errors import StoreError

IN_MEMORY = Settings(db=":memory:")
QUICK = timedelta(seconds=5)


@asynccontextmanager
async def running(app: App, settings: Settings = IN_MEMORY, **options: int) -> AsyncIterator[Client]:
    async with asyncio.timeout(10), app.running(settings, options=WorkerOptions(**options)) as client:
        yield client


@pytest.fixture(params=[False, True], ids=["one thread", "writer thread"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    return Settings(db=str(tmp_path / "hub.db"), writer_thread=request.param, drain_s=0.05)


@pytest.fixture
def echo(app: App) -> App:
    @app.activity
    def twice(text: str) -> str:
        return text * 2

    @app.orchestrator
    async def echo(ctx: OrchestrationContext, text: str) -> str:
        first = await ctx.call_activity(twice, text)
        return first + await ctx.wait_for_external_event("More", str)

    return app


def test_an_app_runs_over_a_file_and_goes_on_after_it_was_stopped(echo: App, settings: Settings) -> None:
    async def first() -> str:
        async with running(echo, settings) as client:
            return await client.start("echo", "ab")

    async def second(instance_id: str) -> object:
        async with running(echo, settings) as client:
            assert client.ready or await client.get(instance_id)
            await client.raise_event(instance_id, "More", "!")
            return (await client.wait(instance_id, QUICK)).output

    instance_id = asyncio.run(first())
    assert asyncio.run(second(instance_id)) == "abab!"


def test_a_timer_wakes_the_sleeping_loop(app: App, settings: Settings) -> None:
    @app.orchestrator
    async def nap(ctx: OrchestrationContext) -> bool:
        await ctx.create_timer(timedelta(milliseconds=20))
        return True

    async def main() -> None:
        async with running(app, settings) as client:
            instance = await client.wait(await client.start(nap), QUICK)
            assert instance.updated_at - instance.created_at >= timedelta(milliseconds=20)

    asyncio.run(main())


def test_wait_gives_up_after_its_timeout(echo: App) -> None:
    async def main() -> None:
        async with running(echo) as client:
            with pytest.raises(TimeoutError):
                await client.wait(await client.start("echo", "a"), timedelta(milliseconds=5))

    asyncio.run(main())


def test_many_at_once_are_all_done(echo: App, settings: Settings) -> None:
    async def one(client: Client, number: int) -> object:
        instance_id = await client.start("echo", str(number))
        await client.raise_event(instance_id, "More", "!")
        return (await client.wait(instance_id, QUICK)).output

    async def main() -> None:
        async with running(echo, settings, max_live=10, max_step=7) as client:
            outputs = await asyncio.gather(*[one(client, number) for number in range(100)])
        assert outputs == [f"{number}{number}!" for number in range(100)]

    asyncio.run(main())


# --- limits


def test_a_full_inbox_answers_busy_and_changes_nothing(app: App) -> None:
    @app.orchestrator
    async def patient(ctx: OrchestrationContext) -> str:
        return await ctx.wait_for_external_event("Go", str)

    async def main() -> None:
        async with running(app, max_inbox=3) as client:
            ids = [f"i{number}" for number in range(10)]
            starts = [asyncio.create_task(client.start(patient, instance_id=name)) for name in ids]
            await asyncio.wait(starts)
            busy = [name for name, task in zip(ids, starts, strict=True) if task.exception() is not None]
            assert [type(task.exception()) for task in starts].count(BusyError) == len(busy) == 7
            assert BusyError().retry_after_s > 0
            for name in busy:
                with pytest.raises(InstanceNotFoundError):
                    await client.get(name)
            for name in ids:  # it takes more now
                await client.start(patient, instance_id=name)
                await client.raise_event(name, "Go", name)
                assert (await client.wait(name, QUICK)).output == name

    asyncio.run(main())


def test_a_stopping_app_takes_no_more_but_ends_what_it_took(app: App, settings: Settings) -> None:
    ended = threading.Event()

    @app.activity
    def work() -> str:
        time.sleep(0.02)
        ended.set()
        return "done"

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> str:
        return await ctx.call_activity(work)

    settings = Settings(db=settings.db, drain_s=5)

    async def stopped() -> str:
        async with running(app, settings) as client:
            instance_id = await client.start(caller)
        with pytest.raises(BusyError):
            await client.start(caller)
        return instance_id

    async def look(instance_id: str) -> None:
        async with running(app, settings) as client:
            assert (await client.get(instance_id)).output == "done"

    instance_id = asyncio.run(stopped())
    assert ended.is_set()
    asyncio.run(look(instance_id))


def test_an_activity_that_outlasts_the_drain_runs_again(app: App, settings: Settings) -> None:
    ran: list[int] = []

    @app.activity
    async def work() -> str:
        ran.append(1)
        if len(ran) == 1:
            await asyncio.sleep(60)
        return "done"

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> str:
        return await ctx.call_activity(work)

    async def first() -> str:
        async with running(app, settings) as client:
            return await client.start(caller)

    async def second(instance_id: str) -> None:
        async with running(app, settings) as client:
            assert (await client.wait(instance_id, QUICK)).output == "done"

    asyncio.run(second(asyncio.run(first())))
    assert len(ran) == 2


def test_two_apps_do_not_interfere(tmp_path: Path) -> None:
    def build(word: str) -> App:
        app = App()

        @app.orchestrator
        async def greet(ctx: OrchestrationContext) -> str:
            return word + await ctx.wait_for_external_event("Name", str)

        return app

    async def main() -> None:
        one, two = (Settings(db=str(tmp_path / name)) for name in ("one.db", "two.db"))
        async with running(build("hello "), one) as first, running(build("bye "), two) as second:
            for client in (first, second):
                await client.start("greet", instance_id="same")
            for client in (first, second):
                await client.raise_event("same", "Name", "Ada")
            outputs = [(await client.wait("same", QUICK)).output for client in (first, second)]
        assert outputs == ["hello Ada", "bye Ada"]

    asyncio.run(main())


# --- runaway steps


def spin() -> None:
    while True:
        pass


def block() -> None:
    time.sleep(60)


@pytest.mark.parametrize("runaway", [spin, block])
def test_a_runaway_step_is_reported_and_held_and_the_rest_goes_on(
    app: App, runaway: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    @app.orchestrator
    async def endless(ctx: OrchestrationContext) -> None:
        await ctx.wait_for_external_event("Go")
        try:
            runaway()
        except Exception:
            await ctx.wait_for_external_event("Caught")

    @app.orchestrator
    async def other(ctx: OrchestrationContext) -> str:
        return "fine"

    settings = Settings(db=":memory:", step_limit_s=0.1)

    async def main() -> None:
        async with running(app, settings) as client:
            instance_id = await client.start(endless)
            await client.raise_event(instance_id, "Go")
            assert (await client.wait(await client.start(other), QUICK)).output == "fine"
            instance = await client.get(instance_id)
            assert instance.status is RuntimeStatus.RUNNING
            assert instance.held is not None
            assert "ran for more than 0.1 s without awaiting anything" in instance.held
            assert f"{__file__}:" in instance.held
            await client.terminate(instance_id)

    with caplog.at_level(logging.ERROR, "bide.worker"):
        asyncio.run(main())
    assert "Orchestrator endless" in caplog.text
    assert f"{__file__}:" in caplog.text


def test_each_of_two_apps_stops_its_own_runaway_steps(app: App) -> None:
    @app.orchestrator
    async def endless(ctx: OrchestrationContext) -> None:
        while True:
            pass

    @app.orchestrator
    async def other(ctx: OrchestrationContext) -> str:
        return "fine"

    settings = Settings(db=":memory:", step_limit_s=0.1)

    async def main() -> None:
        async with running(app, settings) as first:
            async with running(app, settings) as second:
                for client in (first, second):
                    assert (await client.get(await client.start(endless))).held is not None
            assert (await first.get(await first.start(endless))).held is not None
            assert (await first.wait(await first.start(other), QUICK)).output == "fine"

    asyncio.run(main())


def test_a_runaway_replay_is_held_too(app: App, tmp_path: Path) -> None:
    settings = Settings(db=str(tmp_path / "hub.db"), step_limit_s=0.1)
    spinning = False

    @app.orchestrator
    async def later(ctx: OrchestrationContext) -> str:
        while spinning:
            pass
        return await ctx.wait_for_external_event("Go", str)

    async def first() -> str:
        async with running(app, settings) as client:
            return await client.start(later)

    async def second(instance_id: str) -> None:
        async with running(app, settings) as client:
            await client.raise_event(instance_id, "Go", "x")
            assert "without awaiting" in str((await client.get(instance_id)).held)

    async def third(instance_id: str) -> None:
        async with running(app, settings) as client:
            assert "without awaiting" in str((await client.get(instance_id)).held), "the code is the same"
            await client.resume(instance_id)
            assert (await client.wait(instance_id, QUICK)).output == "x"

    instance_id = asyncio.run(first())
    spinning = True
    asyncio.run(second(instance_id))
    spinning = False
    asyncio.run(third(instance_id))


# --- debuggers


class Prompt(io.StringIO):
    """What a person types, who thinks for several step limits before each line."""

    def readline(self, size: int | None = -1) -> str:
        time.sleep(0.15)
        return super().readline(-1 if size is None else size)


def stop_in_pdb(typed: str, here: FrameType) -> io.StringIO:
    """What `breakpoint()` in that frame does, with somebody at the terminal. Returns what is shown there."""
    shown = io.StringIO()
    pdb.Pdb(stdin=Prompt(typed), stdout=shown, nosigint=True, readrc=False).set_trace(here)
    return shown


def here() -> FrameType:
    """The caller's frame."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back


def stop_in_pydevd() -> None:
    """What the debugger of VS Code and PyCharm does at a breakpoint: it waits in the thread that it holds."""
    space: dict[str, Any] = {"sleep": time.sleep}
    exec(compile("def do_wait_suspend():\n    sleep(0.15)", "/anywhere/pydevd.py", "exec"), space)
    space["do_wait_suspend"]()


def test_a_debugger_may_hold_an_orchestrator_for_as_long_as_it_likes(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    shown: list[io.StringIO] = []

    @app.orchestrator
    async def looked_at(ctx: OrchestrationContext) -> str:
        word = "found"
        shown.append(stop_in_pdb("next\np word\ncontinue\n", here()))
        word += ", and changed"
        return word

    @app.orchestrator
    async def in_an_editor(ctx: OrchestrationContext) -> str:
        stop_in_pydevd()
        return "done"

    async def main() -> None:
        async with running(app, Settings(db=":memory:", step_limit_s=0.05)) as client:
            for function, output in ((looked_at, "found, and changed"), (in_an_editor, "done")):
                assert (await client.wait(await client.start(function), QUICK)).output == output

    asyncio.run(main())
    answers = [line for line in shown[0].getvalue().splitlines() if line.startswith("(Pdb) '")]
    assert answers == ["(Pdb) 'found, and changed'"]
    assert not [record for record in caplog.records if record.name == "bide.worker"]


def test_code_that_runs_away_after_a_breakpoint_is_stopped(app: App) -> None:
    @app.orchestrator
    async def endless(ctx: OrchestrationContext) -> None:
        stop_in_pdb("continue\n", here())
        spin()

    async def main() -> None:
        async with running(app, Settings(db=":memory:", step_limit_s=0.05)) as client:
            assert f"{__file__}:" in str((await client.get(await client.start(endless))).held)

    asyncio.run(main())


def test_code_that_is_traced_for_its_coverage_is_stopped(app: App) -> None:
    @app.orchestrator
    async def endless(ctx: OrchestrationContext) -> None:
        spin()

    def trace(frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
        return trace

    async def main() -> None:
        async with running(app, Settings(db=":memory:", step_limit_s=0.05)) as client:
            before = sys.gettrace()
            sys.settrace(trace)
            try:
                assert "without awaiting" in str((await client.get(await client.start(endless))).held)
            finally:
                sys.settrace(before)

    asyncio.run(main())


def test_a_process_that_runs_in_a_debugger_stops_runaway_steps(app: App) -> None:
    @app.orchestrator
    async def endless(ctx: OrchestrationContext) -> None:
        spin()

    async def main() -> None:
        async with running(app, Settings(db=":memory:", step_limit_s=0.05)) as client:
            assert "without awaiting" in str((await client.get(await client.start(endless))).held)

    space: dict[str, Any] = {"run": lambda: asyncio.run(main())}
    exec(compile("def interaction():\n    run()", "/anywhere/pdb.py", "exec"), space)
    space["interaction"]()


# --- the hub's secret


def test_the_secret_stays_with_the_database(app: App, settings: Settings) -> None:
    seen: list[bytes] = []

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> None:
        await ctx.call_activity("derive")

    @app.activity
    def derive() -> None:
        from bide import current_call

        seen.append(current_call().derive("x"))

    async def main() -> None:
        async with running(app, settings) as client:
            await client.start(caller, instance_id="a")
            await client.wait("a", QUICK)
            await client.restart("a", new_instance_id=False)
            await client.wait("a", QUICK)

    asyncio.run(main())
    secret = Path(f"{settings.db}.secret")
    assert (secret.stat().st_mode & 0o777, len(secret.read_bytes())) == (0o600, 32)
    assert len(set(seen)) == 2
    secret.write_bytes(b"short")
    with pytest.raises(StoreError, match="should hold 32 bytes, and has 5"):
        asyncio.run(main())


# --- text that no database can keep


@pytest.mark.parametrize("where", ["activity", "orchestrator", "result"])
def test_errors_with_half_a_character_are_kept_like_others(app: App, settings: Settings, where: str) -> None:
    @app.activity
    def odd() -> str:
        if where == "result":
            return "\udc80"
        raise OSError("no file \udc80.txt")

    @app.orchestrator
    async def caller(ctx: OrchestrationContext) -> None:
        if where == "orchestrator":
            raise ValueError("\udc80.txt")
        await ctx.call_activity(odd)

    async def main() -> None:
        async with running(app, settings) as client:
            instance = await client.wait(await client.start(caller), QUICK)
            assert instance.status is RuntimeStatus.FAILED
            assert "\\udc80" in str(instance.output)

    asyncio.run(main())
