"""Payloads that are declared `Secret`: the code gets them, and nothing else has them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from msgspec.json import encode

from bide import ActivityCall, App, Client, OrchestrationContext, Outcome, RetryPolicy, Secret, Settings
from bide.core.hiding import KnownSecrets
from bide.errors import MisfitError, NotAllowedError, PayloadError, RequestReusedError
from bide.model.batch import Batch, Message
from bide.model.history import EventRaised, Step
from bide.model.instance import ALL_PARTITIONS, RuntimeStatus
from bide.model.sealing import HIDDEN, SealingKeys, event_place
from bide.store.memory import MemoryStore
from bide.testing.clock import ManualClock
from bide.testing.harness import Durable
from tests.engine.test_leases import go_on
from tests.sealed import GIVEN, NEEDLE, Login, Note, app_with_secrets, files_with, secret
from tests.workers import new_worker


async def until(ready: Callable[[], Awaitable[bool]]) -> None:
    """Let the worker work until something is so."""
    async with asyncio.timeout(10):
        while not await ready():  # noqa: ASYNC110 - asks the database
            await asyncio.sleep(0)


async def waits_for(client: Client, instance_id: str, name: str, generation: int = 0) -> None:
    async def ready() -> bool:
        same = (await client.get(instance_id)).generation == generation
        return same and name in await client.names_waited_for(instance_id)

    await until(ready)


@asynccontextmanager
async def running(app: App, directory: Path) -> AsyncIterator[Client]:
    async with app.running(Settings(db=str(directory / "bide.db"), drain_s=0)) as client:
        yield client


def shown(steps: list[Step]) -> str:
    return encode(steps).decode()


async def run_all(directory: Path, restart: bool) -> tuple[list[Any], list[str], Any]:
    """Every kind of payload through the app. What its code got; what was shown meanwhile; and the output."""
    app, got = app_with_secrets()
    seen: list[str] = []

    async def look(client: Client) -> None:
        quiet = client.on_behalf("somebody", "")
        for instance in [*await quiet.instances(), await quiet.get("parent"), await client.get("told")]:
            if instance.id != "told":
                seen.append(encode(instance).decode())
            seen.append(shown(await client.history(instance.id)))
        assert files_with(NEEDLE, directory) == []

    async with running(app, directory) as client:
        await client.start("told", instance_id="told")
        await client.start("parent", Login("first", secret("input")), instance_id="parent")
        await client.raise_event("parent", "Early", secret("early"))
        await waits_for(client, "parent", "Open")
        await look(client)
        if not restart:
            return await rest(client, app, got, seen, look)
    app, again = app_with_secrets()
    got += again
    async with running(app, directory) as client:
        found = await rest(client, app, again, seen, look)
    return [*got, *found[0]], found[1], found[2]


async def rest(
    client: Client, app: App, got: list[Any], seen: list[str], look: Callable[[Client], Awaitable[None]]
) -> tuple[list[Any], list[str], Any]:
    await client.raise_event("parent", "Open", Login("e", secret("open")), idempotency_key="once")
    await waits_for(client, "parent", "Early", generation=1)
    await client.suspend("parent")
    await client.raise_event("parent", "early", secret("suspended"))
    await client.raise_event("parent", "Open", Login("e", secret("kept")))
    await look(client)
    await client.resume("parent")
    output = (await client.wait("parent")).output
    assert (await client.wait("told")).output == secret("sent")
    await look(client)
    return got, seen, output


@pytest.mark.parametrize("restart", [False, True])
def test_the_code_gets_its_secrets_and_nobody_else(
    restart: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    got, seen, output = asyncio.run(run_all(tmp_path, restart))
    assert output == secret("output")
    given = {each.removeprefix(f"{NEEDLE}-") for each in got}
    assert given >= {*GIVEN, "early", "open", "next-input", "suspended", "kept", "sent", "sent-struct"}
    assert NEEDLE not in "".join(seen)
    assert "hidden" in "".join(seen)
    assert files_with(NEEDLE, tmp_path) == []
    assert NEEDLE not in caplog.text


def waiting_for(app: App, wanted: Any) -> None:
    @app.orchestrator
    async def ask(ctx: OrchestrationContext) -> Any:
        return await ctx.wait_for_external_event("Answer", wanted)


def events(steps: list[Step]) -> list[Raw]:
    return [fact.input for step in steps for fact in step.facts if isinstance(fact, EventRaised)]


def test_an_early_event_is_shown_when_it_is_known_to_be_no_secret(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def late(ctx: OrchestrationContext) -> str:
        await ctx.wait_for_external_event("First")
        return await ctx.wait_for_external_event("Answer", str)

    instance_id = durable.start(late)
    durable.raise_event(instance_id, "Answer", "plain")
    assert events(durable.history(instance_id)) == [HIDDEN]
    durable.raise_event(instance_id, "First")
    assert [bytes(each) for each in events(durable.history(instance_id))] == [b'"plain"', b"null"]
    assert durable.output(instance_id) == "plain"


def test_events_of_a_name_that_has_a_secret_somewhere_stay_hidden(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def both(ctx: OrchestrationContext) -> str:
        await ctx.wait_for_external_event("First")
        await ctx.wait_for_external_event("Answer", str)
        return await ctx.wait_for_external_event("answer", Secret[str])

    instance_id = durable.start(both)
    durable.raise_event(instance_id, "Answer", "one")
    durable.raise_event(instance_id, "Answer", "two")
    durable.raise_event(instance_id, "First")
    assert durable.output(instance_id) == "two"
    assert events(durable.history(instance_id))[:2] == [HIDDEN, HIDDEN]


@pytest.mark.parametrize("wanted", [Secret[str], str, Any, Raw])
def test_whether_a_type_is_secret_may_change_while_somebody_waits(app: App, durable: Durable, wanted: Any) -> None:
    """What was sealed is opened, whatever the type says by now; and what was not stays as it was."""

    def declare(app: App, kind: Any) -> None:
        async def draw() -> Any:
            return "0702"

        draw.__annotations__["return"] = kind
        app.activity(draw)

        async def ask(ctx: OrchestrationContext, given: Any) -> Any:
            code = await ctx.call_activity(draw)
            answer = await ctx.wait_for_external_event("Answer", kind)
            return [str(bytes(each)) if isinstance(each, Raw) else each for each in (given, code, answer)]

        ask.__annotations__["given"] = kind
        app.orchestrator(ask)

    for before, after in ((Secret[str], wanted), (wanted, Secret[str])):
        first, second = App(), App()
        declare(first, before)
        declare(second, after)
        with Durable(first) as durable:
            instance_id = durable.start("ask", Raw(b'"0701"'))
            durable.deploy(second)
            durable.raise_event(instance_id, "Answer", "0703")
            assert "070" in str(durable.output(instance_id))
            assert len(durable.output(instance_id)) == 3
            durable.replay_all()


def test_a_caller_cannot_send_what_is_sealed(app: App, durable: Durable) -> None:
    waiting_for(app, Secret[str])
    instance_id = durable.start("ask")
    forged = SealingKeys([bytes(32)]).seal(Raw(b'"0702"'), event_place(instance_id, "Answer"))
    with pytest.raises(PayloadError):
        durable.raise_event(instance_id, "Answer", forged)
    with pytest.raises(PayloadError):
        durable.start("ask", forged, instance_id="other")
    durable.assert_waiting_for(instance_id, "Answer")


def test_a_misfit_says_nothing_of_the_value(app: App, durable: Durable) -> None:
    waiting_for(app, Secret[int])
    instance_id = durable.start("ask")
    with pytest.raises(MisfitError) as refused:
        durable.raise_event(instance_id, "Answer", "0702")
    assert "0702" not in str(refused.value)
    durable.assert_waiting_for(instance_id, "Answer")


def test_a_start_with_a_secret_can_be_repeated(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def hold(ctx: OrchestrationContext, login: Login) -> None:
        await ctx.wait_for_external_event("End")

    durable.start(hold, Login("a", "1"), instance_id="i")
    assert durable.start(hold, Login("a", "1"), instance_id="i") == "i"
    with pytest.raises(Exception, match="already exists"):
        durable.start(hold, Login("a", "2"), instance_id="i")


def test_a_restart_has_the_secret_too(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def back(ctx: OrchestrationContext, login: Login) -> Login:
        assert ctx.input == login
        return login

    first = durable.start(back, Login("a", secret("input")))
    other = durable.restart(first)
    assert other != first
    assert durable.restart(first, new_instance_id=False) == first
    for each in (first, other):
        assert durable.output(each) == {"user": "a", "pin": secret("input")}


def test_a_child_that_is_tried_again_gets_its_secret_again(app: App, durable: Durable) -> None:
    tries: list[str] = []

    @app.orchestrator
    async def child(ctx: OrchestrationContext, note: Note) -> None:
        tries.append(note.text)
        if len(tries) < 3:
            raise ValueError("not yet")

    @app.orchestrator
    async def parent(ctx: OrchestrationContext) -> None:
        policy = RetryPolicy(max_attempts=3, first_interval=timedelta(seconds=1))
        await ctx.with_options(retry=policy).call_sub_orchestrator(child, Note("x"))

    instance_id = durable.start(parent)
    durable.advance(1)
    durable.crash()
    durable.advance(10)
    assert durable.wait(instance_id).status is RuntimeStatus.COMPLETED, durable.wait(instance_id).output
    assert tries[-3:] == ["x", "x", "x"]


class Eavesdropper(MemoryStore):
    """Remembers all that was ever to be written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    async def send(self, messages: Sequence[Message]) -> list[int]:
        self.written.append(encode(messages))
        return await super().send(messages)

    async def commit(self, batch: Batch) -> list[int]:
        rows = (batch.inbox, batch.parked, batch.returned, batch.inbox_kept, batch.instances, batch.requests)
        self.written += [encode(each) for each in (*rows, list(batch.activities.put.values()))]
        self.written += [row.facts_json for row in batch.history]
        return await super().commit(batch)


def test_an_event_on_its_way_to_another_worker_can_be_read_by_nobody(app: App) -> None:
    waiting_for(app, Login)

    async def story() -> None:
        clock, store = ManualClock(), Eavesdropper()
        owner, other = new_worker(app, store, clock, "owner"), new_worker(app, store, clock, "other")
        owners, others = (Client(each, store, app.registry, clock, opens=True) for each in (owner, other))
        starting = asyncio.create_task(owners.start("ask", instance_id="i"))
        await asyncio.sleep(0)
        await go_on(owner)
        await starting
        raising = asyncio.create_task(others.raise_event("i", "Answer", Login("a", secret("travels"))))
        await asyncio.sleep(0)
        await go_on(other)
        assert len(await store.inbox(ALL_PARTITIONS, 0, 10)) == 1
        owner.mail_came()
        await go_on(owner)
        other.mail_came()
        clock.advance(timedelta(seconds=2))
        await go_on(other)
        await raising
        assert (await others.get("i")).output == {"user": "a", "pin": secret("travels")}
        assert NEEDLE.encode() not in b"".join(store.written)

    asyncio.run(story())


def test_what_a_held_instance_was_told_lies_sealed(app: App) -> None:
    @app.orchestrator
    async def later(ctx: OrchestrationContext) -> Secret[str]:
        return await ctx.wait_for_external_event("Answer", Secret[str])

    async def story() -> None:
        clock, store = ManualClock(), Eavesdropper()
        for functions in (app, App(), app):
            worker = new_worker(functions, store, clock)
            client = Client(worker, store, functions.registry, clock, opens=True)
            work = (
                client.start("later", instance_id="i")
                if functions is app
                else client.raise_event("i", "Answer", secret("held"))
            )
            task = asyncio.create_task(work)
            await asyncio.sleep(0)
            await go_on(worker)
            await task
            await worker.release()
            clock.advance(timedelta(minutes=1))
        assert (await client.get("i")).output == secret("held")
        assert NEEDLE.encode() not in b"".join(store.written)

    asyncio.run(story())


def test_requests_are_told_apart_though_nobody_can_see_what_they_say(app: App, durable: Durable) -> None:
    waiting_for(app, Secret[str])
    instance_id = durable.start("ask")
    client = durable.client
    durable.run(client.raise_event(instance_id, "Answer", "0702", idempotency_key="link"))
    durable.run(client.raise_event(instance_id, "Answer", "0702", idempotency_key="link"))
    with pytest.raises(RequestReusedError):
        durable.run(client.raise_event(instance_id, "Answer", "0703", idempotency_key="link"))


# --- texts of errors


CODES = [271828, 5]
QUOTED = "it's s3cr3t, \u00fc"


@dataclass
class Picky:
    text: Secret[str]

    def __post_init__(self) -> None:
        if self.text.startswith("no"):
            raise ValueError(f"{self.text} is not wanted")


def test_errors_do_not_tell_what_the_code_was_given(
    app: App, durable: Durable, caplog: pytest.LogCaptureFixture
) -> None:
    @app.activity
    async def check(login: Login, codes: list[int]) -> None:
        try:
            raise KeyError(login.pin)
        except KeyError as error:
            error.add_note(f"of {codes[0]}")
            both = ExceptionGroup(
                f"{login.pin!r} and {codes}", [ValueError(f"<{login.pin}>"), TypeError("a plain one")]
            )
            raise both from error

    @app.activity
    async def draw() -> Secret[str]:
        return "0702"

    @app.orchestrator
    async def fail(ctx: OrchestrationContext, how: str, note: Note) -> None:
        code = await ctx.call_activity(draw)
        pin = await ctx.wait_for_external_event("Pin", Secret[str])
        if how == "raises":
            raise ValueError(f"{code}, {pin}, {note.text} and {how}")
        if how == "lets fail":
            await ctx.call_activity(check, Login("u", QUOTED), CODES)
        ctx.call_activity(check, Login("u", QUOTED), CODES)
        await ctx.create_timer(timedelta(seconds=1))

    texts = ""
    for how in ("raises", "lets fail", "does not look"):
        durable.start(fail, {"how": how, "note": Note("n0tes")}, instance_id=how)
        durable.raise_event(how, "Pin", "0703")
    durable.advance(1)
    durable.replay_all()
    for how in ("raises", "lets fail", "does not look"):
        others = durable.client.on_behalf("somebody", "")
        texts += encode([durable.history(how), durable.run(others.get(how))]).decode()
    shown = str(durable.wait("raises").output)
    assert shown == "••••••, ••••••, •••••• and ••••••", "all of a payload is hidden that has a secret"
    for hidden in ("0702", "0703", "n0tes", "s3cr3t", "271828"):
        assert hidden not in texts
        assert hidden not in caplog.text
    assert "a plain one" in texts
    assert "KeyError" in texts


def test_a_type_that_tells_what_it_refuses_tells_it_to_nobody(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def ask(ctx: OrchestrationContext) -> None:
        await ctx.wait_for_external_event("First")
        await ctx.wait_for_external_event("Answer", Picky)

    durable.start(ask, instance_id="i")
    durable.raise_event("i", "Answer", {"text": "no-s3cr3t"})
    durable.raise_event("i", "First")
    with pytest.raises(MisfitError) as refused:
        durable.raise_event("i", "Answer", {"text": "no-s3cr3t"})
    assert str(refused.value).endswith("•••••• is not wanted")
    told = encode([durable.history("i"), durable.run(durable.client.audit())]).decode()
    assert "EventDiscarded" in told
    assert "s3cr3t" not in told


def test_what_could_not_be_reconciled_is_logged_without_it(
    app: App, durable: Durable, caplog: pytest.LogCaptureFixture
) -> None:
    async def reconcile(call: ActivityCall) -> Outcome:
        raise ValueError(f"{call.arguments} cannot be found")

    @app.activity(once=True, reconcile=reconcile)
    async def send(note: Note) -> None:
        await asyncio.Event().wait()

    @app.orchestrator
    async def call(ctx: OrchestrationContext) -> None:
        await ctx.call_activity(send, Note(secret("argument")))

    durable.hold(send)
    durable.start(call, instance_id="i")
    durable.crash()
    assert durable.wait("i").status is RuntimeStatus.FAILED
    assert "cannot be found" in caplog.text
    assert NEEDLE not in caplog.text


def test_a_rewind_finds_the_call_that_failed_though_its_error_tells_a_secret(app: App, durable: Durable) -> None:
    """What an activity was not given as a secret stands in its error; what ended the instance is hidden."""
    told: list[str] = []

    @app.activity
    async def guess() -> str:
        told.append("asked")
        if len(told) == 1:
            raise ValueError("no luck with 0703")
        return "done"

    @app.orchestrator
    async def ask(ctx: OrchestrationContext, pin: Secret[str]) -> str:
        try:
            return await ctx.call_activity(guess)
        except Exception:
            await ctx.wait_for_external_event("Go")
            raise

    durable.start(ask, "0703", instance_id="i")
    durable.raise_event("i", "Go")
    assert durable.wait("i").status is RuntimeStatus.FAILED
    assert durable.status("i").output == "Activity 'guess' failed: ValueError: no luck with ••••••"
    durable.rewind("i")
    assert durable.output("i") == "done"


def test_of_very_many_values_none_is_told() -> None:
    known = KnownSecrets()
    known.add(Raw(encode(list(range(10_000, 12_000)))))
    assert known.hide("11999") == "••••••"
    few = KnownSecrets()
    few.add(Raw(b'[1, true, null, "abc", {"a": -1234, "b": 1.25, "c": "long"}]'))
    assert few.hide("1 True None abc -1234 1.25 long") == "1 True None abc •••••• •••••• ••••••"


# --- keys that are gone


def test_who_has_not_the_key_holds_the_instance_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    async def lose() -> None:
        app, _ = app_with_secrets()
        secret_file = tmp_path / "bide.db.secret"
        async with running(app, tmp_path) as client:
            await client.start("told", instance_id="told")
            await client.start("parent", Login("first", secret("input")), instance_id="parent")
            await client.raise_event("parent", "Early", secret("early"))
            await waits_for(client, "parent", "Open")
        kept = secret_file.read_bytes()
        secret_file.unlink()
        app, _ = app_with_secrets()
        async with running(app, tmp_path) as client:
            await client.raise_event("parent", "Open", Login("e", secret("open")))

            async def held() -> bool:
                return (await client.get("parent")).held is not None

            await until(held)
            reason = (await client.get("parent")).held
            assert reason is not None
            assert "is sealed under the key" in reason
            assert "Restore" in reason
            assert (await client.get("parent")).input == {"$hidden": "secret"}
            with pytest.raises(NotAllowedError, match="sealed"):
                await client.restart("parent")
            await client.start("told", instance_id="other")  # nobody else notices
        assert files_with(NEEDLE, tmp_path) == []
        secret_file.write_bytes(kept)
        app, got = app_with_secrets()
        async with running(app, tmp_path) as client:
            await client.resume("parent")

            async def still() -> bool:
                return "input" in "".join(got)

            await until(still)

    asyncio.run(lose())


def test_an_activity_whose_input_cannot_be_opened_waits_for_its_key(tmp_path: Path) -> None:
    began: list[str] = []

    def app() -> App:
        app = App()

        @app.activity
        async def use(note: Note) -> str:
            began.append(note.text)
            if len(began) == 1:
                await asyncio.Event().wait()
            return "done"

        @app.orchestrator
        async def call(ctx: OrchestrationContext) -> str:
            return await ctx.call_activity(use, Note(secret("argument")))

        return app

    async def lose() -> None:
        secret_file = tmp_path / "bide.db.secret"

        async def begun() -> bool:
            return bool(began)

        async def held() -> bool:
            return (await client.get("i")).held is not None

        async with running(app(), tmp_path) as client:
            await client.start("call", instance_id="i")
            await until(begun)
        kept = secret_file.read_bytes()
        secret_file.unlink()
        async with running(app(), tmp_path) as client:
            await until(held)
            assert "activity's input is sealed" in str((await client.get("i")).held)
        assert began == [secret("argument")]
        secret_file.write_bytes(kept)
        async with running(app(), tmp_path) as client:
            assert (await client.wait("i")).output == "done"
            assert (await client.get("i")).held is None

    asyncio.run(lose())
