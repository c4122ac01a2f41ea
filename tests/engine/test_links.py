"""Links under which people answer: each for one wait, and the same on every replay, whatever changed meanwhile.

People come by the door itself, in the test's own time.
"""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec import Raw
from starlette.exceptions import HTTPException
from starlette.requests import Request

from bide import (
    App,
    EventTimeoutError,
    MisfitError,
    OrchestrationContext,
    PayloadError,
    Secret,
    Settings,
    Wait,
    when_all,
    when_any,
)
from bide.access.keys import KeyRing
from bide.errors import WaitClosedError
from bide.http.gate.auth import Gate
from bide.http.gate.streams import Streams
from bide.http.handlers.endpoint import Services
from bide.http.respond.responding import respond
from bide.model.history import EventRaised
from bide.model.tokens import ResponseGrant, read
from bide.testing.harness import Durable

SECRET = bytes(32)
OK, TAKEN, NOT_YET, CLOSED, MISFIT = 200, 202, 409, 410, 422


@pytest.fixture
def asker(app: App) -> App:
    @app.activity
    def mail(url: str) -> None: ...

    @app.orchestrator
    async def ask(ctx: OrchestrationContext) -> str:
        url = ctx.response_url("Answer", valid_for=timedelta(days=3))
        await ctx.call_activity(mail, url)
        return await ctx.wait_for_external_event("Answer", str)

    return app


def grant_in(url: str) -> ResponseGrant:
    base, _, token = url.rpartition("/")
    assert base == "http://127.0.0.1:7071/respond"
    grant = read(SECRET, token)
    assert isinstance(grant, ResponseGrant)
    return grant


def come(durable: Durable, url: str, body: bytes | None = None) -> int:
    """Open a link, or (with a `body`) answer by it as a program does. Returns the status of the answer."""
    settings = Settings(db=":memory:")
    services = Services(
        durable.client,
        settings,
        Gate(cast("KeyRing", None), SECRET, settings, durable.clock),
        cast("Streams", None),
        App().registry,
        SECRET,
        durable.clock,
        (),
    )

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body or b"", "more_body": False}

    scope = {
        "type": "http",
        "method": "GET" if body is None else "POST",
        "headers": [(b"content-type", b"application/json")],
        "query_string": b"",
        "path": "/respond/",
        "path_params": {"token": url.rpartition("/")[2]},
        "app": SimpleNamespace(state=SimpleNamespace(services=services)),
    }
    try:
        return durable.run(respond(Request(scope, receive))).status_code
    except HTTPException as error:
        return error.status_code
    except MisfitError:
        return MISFIT


def link_of(durable: Durable, instance_id: str) -> str:
    """What the code shows as its custom status."""
    return str(durable.status(instance_id).custom_status)


# --- the link itself


def test_a_link_is_for_one_wait_of_one_instance(asker: App, durable: Durable) -> None:
    mail = durable.fake("mail", None)
    began = durable.clock.now()
    instance_id = durable.start("ask")
    ((url,),) = mail.arguments
    grant = grant_in(url)
    assert (grant.instance_id, grant.generation, grant.event) == (instance_id, 0, "Answer")
    assert (grant.task_id, grant.asked_at, grant.link_id) == (1, began, "0.1")
    assert grant.expires_at == began + 3 * 86_400_000_000


def test_links_of_one_instance_differ(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def two(ctx: OrchestrationContext) -> list[str]:
        return [ctx.response_url("Answer"), ctx.response_url("Answer")]

    one, other = durable.output(durable.start(two))
    assert grant_in(one).link_id != grant_in(other).link_id


def test_a_link_is_the_same_after_a_crash(asker: App, durable: Durable) -> None:
    mail = durable.hold("mail")
    instance_id = durable.start("ask")
    durable.crash()
    (first,), (second,) = mail.arguments
    assert first == second
    assert come(durable, first) == OK
    assert come(durable, first, b'"yes"') == NOT_YET
    mail.finish()
    assert come(durable, first, b'"yes"') == TAKEN
    assert durable.output(instance_id) == "yes"
    durable.replay_all()


def test_another_event_no_longer_fits_the_history(asker: App, durable: Durable) -> None:
    durable.fake("mail", None)
    instance_id = durable.start("ask")
    changed = App()

    @changed.orchestrator
    async def ask(ctx: OrchestrationContext) -> str:
        ctx.response_url("Question")
        return ""

    durable.deploy(changed)
    durable.raise_event(instance_id, "Answer", "yes")
    assert "no longer fits" in (durable.status(instance_id).held or "")


@pytest.mark.parametrize("event", ["", "\0", 5, None])
def test_a_name_that_cannot_be_fails_the_orchestrator(app: App, durable: Durable, event: Any) -> None:
    @app.orchestrator
    async def wrong(ctx: OrchestrationContext) -> str:
        try:
            return ctx.response_url(event)
        except PayloadError as error:
            return str(error)

    assert "An event's name is" in durable.output(durable.start(wrong))


def test_a_wait_of_another_instance_is_refused(app: App, durable: Durable) -> None:
    others: list[Any] = []

    @app.orchestrator
    async def ask(ctx: OrchestrationContext) -> str:
        wait = ctx.wait_for_external_event("Answer")
        others.append(wait)
        try:
            return ctx.response_url(others[0])
        except ValueError as error:
            return str(error)

    assert durable.output(durable.start(ask)).startswith("http")
    assert "another instance" in durable.output(durable.start(ask))


# --- which wait it is for


@pytest.fixture
def voting(app: App) -> App:
    @app.orchestrator
    async def vote(ctx: OrchestrationContext, rounds: int) -> list[Any]:
        """Two votes at once in each round, of which the first that comes counts."""
        found: list[Any] = []
        links: list[list[str]] = []
        for _ in range(rounds):
            early = ctx.response_url("Vote")
            votes = [ctx.wait_for_external_event("Vote", int) for _ in range(2)]
            links.append([early, *map(ctx.response_url, votes)])
            ctx.set_custom_status(links)
            first = await when_any(*votes)
            for each in votes:
                each.cancel()
            found.append([votes.index(first), first.result])
        return found

    return app


@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_in_a_race_each_link_is_for_its_own_wait(voting: App, durable: Durable, chosen: int) -> None:
    instance_id = durable.start("vote", 2)
    for number in range(2):
        durable.advance("1s")
        links: Any = durable.status(instance_id).custom_status
        if number:
            assert [come(durable, old, b"9") for old in links[0]] == [CLOSED] * 3
        durable.crash()
        assert come(durable, links[number][chosen], b"%d" % number) == TAKEN
        durable.replay_all()
    which = max(0, chosen - 1)
    assert durable.output(instance_id) == [[which, 0], [which, 1]]


def test_a_link_by_name_goes_on_as_recorded_when_code_changes(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def ask(ctx: OrchestrationContext) -> str:
        wait = ctx.wait_for_external_event("Answer", str)
        ctx.set_custom_status(ctx.response_url("Answer"))
        return await wait

    instance_id = durable.start(ask)
    link = link_of(durable, instance_id)
    changed = App()

    @changed.orchestrator(name="ask")
    async def ask_again(ctx: OrchestrationContext) -> str:
        wait = ctx.wait_for_external_event("Answer", str)
        ctx.set_custom_status(ctx.response_url(wait, valid_for=timedelta(days=1)))
        return await wait

    durable.deploy(changed)
    durable.advance("2d")
    assert come(durable, link, b'"yes"') == TAKEN
    assert durable.output(instance_id) == "yes"


def test_each_answer_is_judged_by_the_type_of_its_own_wait(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def ask(ctx: OrchestrationContext) -> list[Any]:
        number, word = ctx.wait_for_external_event("Answer", int), ctx.wait_for_external_event("Answer", str)
        ctx.set_custom_status(ctx.response_url(word))
        return [await word, await number]

    instance_id = durable.start(ask)
    link = link_of(durable, instance_id)
    assert come(durable, link, b"5") == MISFIT
    assert come(durable, link, b'"five"') == TAKEN
    durable.replay_all()
    durable.raise_event(instance_id, "Answer", 5)
    assert durable.output(instance_id) == ["five", 5]


def test_at_the_very_same_instant_the_next_run_has_links_of_its_own(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def ask(ctx: OrchestrationContext, run: int = 0) -> str:
        wait = ctx.wait_for_external_event("Answer", str)
        ctx.set_custom_status(ctx.response_url(wait))
        if await when_any(wait, ctx.wait_for_external_event("Go")) is not wait:
            ctx.continue_as_new(run + 1)
        return wait.result

    instance_id = durable.start(ask)
    old = link_of(durable, instance_id)
    durable.raise_event(instance_id, "Go")
    assert [come(durable, old), come(durable, old, b'"old"')] == [CLOSED, CLOSED]
    assert come(durable, link_of(durable, instance_id), b'"new"') == TAKEN
    assert durable.output(instance_id) == "new"


# --- time


@pytest.fixture
def patient(app: App) -> App:
    @app.orchestrator
    async def ask(ctx: OrchestrationContext, own: bool) -> list[Any]:
        """A wait for a day, by its own timeout or by a timer, and another one."""
        wait = ctx.wait_for_external_event("Answer", str, timeout=timedelta(days=1) if own else None)
        ctx.set_custom_status(ctx.response_url(wait))
        found: list[Any] = []
        if own:
            try:
                found.append(await wait)
            except EventTimeoutError:
                found.append("late")
        else:
            first = await when_any(wait, ctx.create_timer(timedelta(days=1)))
            found.append(wait.result if first is wait else "late")
            wait.cancel()
        last = ctx.wait_for_external_event("Answer", str)
        return [*found, await last]

    return app


@pytest.mark.parametrize("own", [True, False])
def test_a_link_ends_when_its_wait_times_out(patient: App, durable: Durable, own: bool) -> None:
    instance_id = durable.start("ask", own)
    link = link_of(durable, instance_id)
    durable.advance("23h 59m")
    assert come(durable, link) == OK
    durable.advance("1m")
    assert [come(durable, link), come(durable, link, b'"yes"')] == [CLOSED, CLOSED]
    durable.crash()
    assert come(durable, link, b'"yes"') == CLOSED
    durable.raise_event(instance_id, "Answer", "last")
    assert durable.output(instance_id) == ["late", "last"]


def test_a_wait_that_timed_out_while_it_was_suspended_takes_no_answer(patient: App, durable: Durable) -> None:
    instance_id = durable.start("ask", True)
    link = link_of(durable, instance_id)
    durable.suspend(instance_id)
    durable.advance("1d")
    assert come(durable, link, b'"yes"') == CLOSED
    durable.resume(instance_id)
    durable.raise_event(instance_id, "Answer", "last")
    assert durable.output(instance_id) == ["late", "last"]


@pytest.mark.parametrize("crash", [False, True])
def test_an_answer_that_was_accepted_is_for_its_wait_only(patient: App, durable: Durable, crash: bool) -> None:
    """The code alone knows that the timer ends the wait: so the answer is accepted, and comes too late."""
    instance_id = durable.start("ask", False)
    link = link_of(durable, instance_id)
    durable.suspend(instance_id)
    durable.advance("1d")
    assert come(durable, link, b'"yes"') == TAKEN
    if crash:
        durable.crash()
    durable.resume(instance_id)
    durable.assert_waiting_for(instance_id, "Answer")
    entry = durable.run(durable.client.audit(instance_id))[0]
    assert (entry.result, entry.reason) == ("discarded", "The wait that it was for is over.")
    if crash:
        durable.crash()
    durable.replay_all()
    durable.raise_event(instance_id, "Answer", "last")
    assert durable.output(instance_id) == ["late", "last"]


def test_what_is_kept_for_the_next_run_are_events_and_no_answers_by_link(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def ask(ctx: OrchestrationContext, run: int = 0) -> str:
        if run:
            return await ctx.wait_for_external_event("Answer", str)
        wait = ctx.wait_for_external_event("Answer", str)
        ctx.set_custom_status(ctx.response_url(wait))
        await ctx.wait_for_external_event("Go")
        ctx.continue_as_new(1)

    instance_id = durable.start(ask)
    link = link_of(durable, instance_id)
    durable.suspend(instance_id)
    durable.raise_event(instance_id, "Go")
    assert come(durable, link, b'"by link"') == TAKEN
    durable.raise_event(instance_id, "Answer", "raised")
    durable.resume(instance_id)
    assert durable.output(instance_id) == "raised"


def test_what_comes_too_late_and_what_does_not_fit_are_told_apart_on_replay(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def ask(ctx: OrchestrationContext) -> int:
        wait = ctx.wait_for_external_event("Answer", str)
        ctx.set_custom_status(ctx.response_url(wait))
        await ctx.wait_for_external_event("Go")
        wait.cancel()
        return await ctx.wait_for_external_event("Answer", int)

    instance_id = durable.start(ask)
    link = link_of(durable, instance_id)
    durable.suspend(instance_id)
    durable.raise_event(instance_id, "Go")
    assert come(durable, link, b'"late"') == TAKEN
    durable.raise_event(instance_id, "Answer", "no number")
    durable.resume(instance_id)
    reasons = [each.reason for each in durable.run(durable.client.audit(instance_id)) if each.result == "discarded"]
    assert len(reasons) == 2
    durable.crash()
    durable.replay_all()
    durable.raise_event(instance_id, "Answer", 5)
    assert durable.output(instance_id) == 5


# --- code that does not fit


def test_while_it_is_held_each_wait_takes_one_answer(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def ask(ctx: OrchestrationContext) -> list[str]:
        waits = [ctx.wait_for_external_event("Answer", str) for _ in range(2)]
        ctx.set_custom_status([ctx.response_url(each) for each in [*waits, *waits]])
        return await when_all(*waits)

    instance_id = durable.start(ask)
    links: Any = durable.status(instance_id).custom_status
    durable.deploy(App())
    assert come(durable, links[1], b'"second"') == TAKEN
    assert durable.status(instance_id).held
    assert [come(durable, links[1]), come(durable, links[1], b'"again"')] == [CLOSED, CLOSED]
    assert come(durable, links[3], b'"another"') == CLOSED  # another link for the same wait
    durable.crash()
    assert come(durable, links[3], b'"another"') == CLOSED
    assert come(durable, links[0], b'"first"') == TAKEN
    durable.deploy(app)
    assert durable.output(instance_id) == ["first", "second"]


def test_an_answer_that_was_kept_for_a_held_instance_is_for_its_wait_only(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def ask(ctx: OrchestrationContext) -> list[Any]:
        wait = ctx.wait_for_external_event("Answer", str)
        ctx.set_custom_status(ctx.response_url(wait))
        await when_any(wait, ctx.wait_for_external_event("Stop"))
        wait.cancel()
        return [await ctx.wait_for_external_event("Answer", str)]

    instance_id = durable.start(ask)
    link = link_of(durable, instance_id)
    durable.deploy(App())
    durable.raise_event(instance_id, "Stop")
    assert come(durable, link, b'"late"') == TAKEN
    durable.deploy(app)
    durable.assert_waiting_for(instance_id, "Answer")
    assert durable.run(durable.client.audit(instance_id))[0].result == "discarded"
    durable.raise_event(instance_id, "Answer", "right")
    assert durable.output(instance_id) == ["right"]


@pytest.mark.parametrize("stands", ["running", "suspended", "held"])
def test_a_secret_that_comes_by_a_link_is_kept_sealed(app: App, durable: Durable, stands: str) -> None:
    @app.orchestrator
    async def ask(ctx: OrchestrationContext) -> int:
        pins = [ctx.wait_for_external_event("Pin", Secret[str]) for _ in range(2)]
        ctx.set_custom_status(ctx.response_url(pins[1]))
        return len(await pins[1])

    instance_id = durable.start(ask)
    link = link_of(durable, instance_id)
    if stands == "suspended":
        durable.suspend(instance_id)
    elif stands == "held":
        durable.deploy(App())
    assert come(durable, link, b'"4711"') == TAKEN
    if stands == "suspended":
        durable.crash()
        durable.resume(instance_id)
    elif stands == "held":
        durable.deploy(app)
    assert durable.output(instance_id) == 4
    facts = [fact for step in durable.history(instance_id) for fact in step.facts if isinstance(fact, EventRaised)]
    assert [(fact.id, bytes(fact.input)) for fact in facts] == [(2, b'{"$hidden":"secret"}')]
    durable.replay_all()


# --- a rewind


@pytest.fixture
def flaky(app: App) -> App:
    @app.activity
    def work() -> None: ...

    @app.orchestrator
    async def ask(ctx: OrchestrationContext) -> list[str]:
        early = ctx.response_url("Late")
        first = ctx.wait_for_external_event("First", str)
        ctx.set_custom_status([early, ctx.response_url(first)])
        error = ""
        try:
            await ctx.call_activity(work)
        except Exception as raised:
            error, cause = str(raised), raised
            last = ctx.wait_for_external_event("Late", str)
            ctx.set_custom_status([early, ctx.response_url(first), ctx.response_url(last)])
            await last
            raise RuntimeError(error) from cause
        return [await first, await ctx.wait_for_external_event("Late", str)]

    return app


def test_a_rewind_undoes_a_wait_and_its_links(flaky: App, durable: Durable) -> None:
    work = durable.hold("work")
    instance_id = durable.start("ask")
    durable.advance("1s")
    work.fail(ValueError("no"))
    early, first, late = cast("list[str]", durable.status(instance_id).custom_status)
    assert come(durable, first, b'"before"') == TAKEN  # in a step that is undone, for a wait that is not
    assert come(durable, early, b'"undone"') == TAKEN  # for a wait that is undone
    durable.advance("1s")
    durable.rewind(instance_id)
    durable.advance("1s")
    assert come(durable, late, b'"9"') == CLOSED  # the question that it was for was never asked, by now
    assert come(durable, early, b'"9"') == NOT_YET
    work.finish()
    durable.assert_waiting_for(instance_id, "Late")
    assert come(durable, late, b'"9"') == CLOSED
    durable.crash()
    assert come(durable, early, b'"right"') == TAKEN
    assert durable.output(instance_id) == ["before", "right"]
    discarded = [each for each in durable.run(durable.client.audit(instance_id)) if each.result == "discarded"]
    assert len(discarded) == 1
    durable.replay_all()


def test_an_answer_that_broke_the_code_is_told_again_for_the_same_wait(app: App, durable: Durable) -> None:
    @app.orchestrator
    async def ask(ctx: OrchestrationContext) -> int:
        waits = [ctx.wait_for_external_event("Answer", str) for _ in range(2)]
        ctx.set_custom_status(ctx.response_url(waits[1]))
        return int(await waits[1])

    instance_id = durable.start(ask)
    assert come(durable, link_of(durable, instance_id), b'"7 of 9"') == TAKEN
    assert "invalid literal" in str(durable.status(instance_id).output)
    mended = App()

    @mended.orchestrator(name="ask")
    async def ask_again(ctx: OrchestrationContext) -> int:
        waits = [ctx.wait_for_external_event("Answer", str) for _ in range(2)]
        ctx.set_custom_status(ctx.response_url(waits[1]))
        return int((await waits[1]).partition(" ")[0])

    durable.deploy(mended)
    durable.rewind(instance_id)
    assert durable.output(instance_id) == 7


def test_an_answer_that_is_told_again_is_for_its_own_run(app: App, durable: Durable) -> None:
    @app.activity
    def fails() -> None: ...

    @app.activity
    def works() -> None: ...

    @app.orchestrator
    async def ask(ctx: OrchestrationContext, run: int = 0) -> str:
        wait, go = ctx.wait_for_external_event("Answer", str), ctx.wait_for_external_event("Go")
        ctx.set_custom_status(ctx.response_url(wait))
        await when_all(ctx.call_activity(fails), ctx.call_activity(works), go)
        return await wait

    failing, working = durable.hold("fails"), durable.hold("works")
    instance_id = durable.start(ask)
    link = link_of(durable, instance_id)
    failing.fail(ValueError("no"))
    durable.raise_event(instance_id, "Go")
    assert come(durable, link, b'"for the first run"') == TAKEN
    working.finish()
    mended = App()
    mended.activity(fails)
    mended.activity(works)

    @mended.orchestrator(name="ask")
    async def ask_again(ctx: OrchestrationContext, run: int = 0) -> str:
        """Here an event ends the run before the answer is told again."""
        wait, go = ctx.wait_for_external_event("Answer", str), ctx.wait_for_external_event("Go")
        ctx.set_custom_status(ctx.response_url(wait))
        if run:
            return await wait
        ctx.call_activity(fails)
        ctx.call_activity(works)
        await go
        ctx.continue_as_new(1)

    durable.deploy(mended)
    durable.rewind(instance_id)
    durable.assert_waiting_for(instance_id, "Answer")
    assert come(durable, link_of(durable, instance_id), b'"right"') == TAKEN
    assert durable.output(instance_id) == "right"


# --- the verb behind it


def test_an_answer_names_its_wait_in_the_history(voting: App, durable: Durable) -> None:
    instance_id = durable.start("vote", 1)
    _, second = durable.waiting(instance_id)
    durable.run(durable.client.respond(second, 5, generation=0))
    assert durable.history(instance_id)[-1].facts[0] == EventRaised("Vote", Raw(b"5"), second.id)
    assert durable.output(instance_id) == [[1, 5]]


@pytest.mark.parametrize("generation", [-1, 1])
def test_an_answer_for_another_run_is_refused(voting: App, durable: Durable, generation: int) -> None:
    instance_id = durable.start("vote", 1)
    first, _ = durable.waiting(instance_id)
    with pytest.raises(WaitClosedError):
        durable.run(durable.client.respond(first, 5, generation=generation))
    assert len(durable.waiting(instance_id)) == 2


def test_an_answer_for_what_is_no_open_wait_is_refused(voting: App, durable: Durable) -> None:
    instance_id = durable.start("vote", 1)
    for task_id in (1, 4, 99):  # two links, and nothing
        with pytest.raises(WaitClosedError):
            durable.run(durable.client.respond(Wait(instance_id, task_id, "Vote", 0), 5, generation=0))
    with pytest.raises(WaitClosedError):  # there is no such wait for that event
        durable.run(durable.client.respond(Wait(instance_id, 2, "Note", 0), 5, generation=0))
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=r"wait\.id"):
            durable.run(durable.client.respond(Wait(instance_id, wrong, "Vote", 0), 5, generation=0))
    assert len(durable.waiting(instance_id)) == 2
