"""A response link is for one wait: it answers that one, ends with it, and is nothing to any other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from itertools import product
from typing import Any

import pytest

from bide import App, EventTimeoutError, OrchestrationContext, RetryPolicy, Settings, when_all, when_any
from tests.http.conftest import INSTANCES, Api, serve

KINDS = ["early", "named", "given", "asked"]
"""How a link is made: by the code before its wait is opened, after that by its name, or for the wait itself; or
over HTTP, by somebody who has a key."""
ENDS = ["answered", "raised", "given up", "timed out", "continued"]
"""What ends the first of two waits, while the instance goes on."""


def asked(ctx: OrchestrationContext, kind: str, timeout: timedelta | None = None) -> Any:
    """A wait for the word, with a link to answer it in the custom status."""
    early = ctx.response_url("word") if kind == "early" else ""
    wait = ctx.wait_for_external_event("Word", str, timeout=timeout)
    late = {"named": "WORD", "given": wait}.get(kind)
    ctx.set_custom_status(early if late is None else ctx.response_url(late))
    return wait


async def first_word(ctx: OrchestrationContext, kind: str, end: str) -> str:
    if end == "timed out":
        try:
            return str(await asked(ctx, kind, timedelta(0)))
        except EventTimeoutError:
            return end
    wait, other = asked(ctx, kind), ctx.wait_for_external_event("Other")
    if await when_any(wait, other) is wait:
        other.cancel()
        return str(wait.result)
    if end == "continued":
        ctx.continue_as_new({"kind": kind, "asked_before": end})
    wait.cancel()
    return end


def example() -> App:
    app = App()

    @app.orchestrator(name="Ask")
    async def ask(ctx: OrchestrationContext, kind: str, end: str = "", asked_before: str = "") -> list[str]:
        first = asked_before or await first_word(ctx, kind, end)
        return [first, await asked(ctx, kind)]

    @app.orchestrator(name="Both")
    async def both(ctx: OrchestrationContext, kind: str = "given") -> list[str]:
        early = [ctx.response_url("Word"), ctx.response_url("Word")]
        waits = [ctx.wait_for_external_event("Word", str) for _ in range(2)]
        late = [ctx.response_url(wait) for wait in waits]
        ctx.set_custom_status({"early": early, "given": late, "named": [ctx.response_url("Word")] * 2}[kind])
        return await when_all(*waits)

    @app.orchestrator(name="Child")
    async def child(ctx: OrchestrationContext) -> str:
        word = await asked(ctx, "early")
        if word == "fail":
            raise ValueError("as told")
        return str(word)

    @app.orchestrator(name="Parent")
    async def parent(ctx: OrchestrationContext) -> str:
        again = RetryPolicy(max_attempts=2, first_interval=timedelta(0))
        child_id = f"{ctx.instance_id}-child"
        return await ctx.with_options(retry=again, instance_id=child_id).call_sub_orchestrator(child)

    @app.orchestrator(name="Late")
    async def late(ctx: OrchestrationContext) -> str:
        ctx.set_custom_status(ctx.response_url("Word"))
        await ctx.wait_for_external_event("Go")
        return await ctx.wait_for_external_event("Word", str)

    @app.orchestrator(name="Over")
    async def over(ctx: OrchestrationContext) -> str:
        """Its link is for a wait that is over."""
        await ctx.wait_for_external_event("Go")
        wait = ctx.wait_for_external_event("Word", str)
        ctx.set_custom_status(ctx.response_url(wait))
        return str(await wait) + str(await ctx.wait_for_external_event("Word", str))

    return app


class One(Api):
    """The API, and an instance of the test's own."""

    def __init__(self, served: Api, instance_id: str) -> None:
        super().__init__(served.http)
        self.x = instance_id


@pytest.fixture(scope="module")
def served() -> Iterator[Api]:
    with serve(Settings(db=":memory:"), example()) as api:
        yield api


@pytest.fixture
def api(served: Api, request: pytest.FixtureRequest) -> One:
    return One(served, sha256(request.node.name.encode()).hexdigest()[:16])


def start(api: One, name: str, body: str = "", instance_id: str = "") -> None:
    answer = api.post(f"/orchestrators/{name}/{instance_id or api.x}?reuse=never", body.encode())
    assert answer.status_code == 202, answer.text


def link_of(api: One, kind: str, instance_id: str = "") -> str:
    """The link for the word that is asked for now."""
    if kind == "asked":
        made = api.post(f"{INSTANCES}/{instance_id or api.x}/responseLinks/word")
        assert made.status_code == 201, made.text
        return str(made.json()["url"])
    return str(api.status(instance_id or api.x)["customStatus"])


def words(api: One, instance_id: str = "") -> list[dict[str, Any]]:
    return [wait for wait in api.status(instance_id or api.x)["waits"] if wait["name"] == "Word"]


def form(api: One, url: str, word: str) -> int:
    return api.http.post(url, data={"$": word}).status_code


def json(api: One, url: str, word: str) -> int:
    return api.post(url, b'"%s"' % word.encode()).status_code


def check_closed(api: One, url: str, said: str) -> None:
    """It shows and takes nothing, whoever comes by it."""
    page = api.get(url)
    assert page.status_code == 410
    assert "This question is closed" in page.text
    assert said in page.text
    assert "<form" not in page.text
    assert (form(api, url, "intruder"), json(api, url, "intruder")) == (410, 410)
    assert api.post(url, b'"intruder"').json()["status"] == 410


def verb(api: One, path: str, body: bytes = b"", instance_id: str = "") -> None:
    answer = api.post(f"{INSTANCES}/{instance_id or api.x}/{path}", body)
    assert answer.status_code == 202, answer.text


OVER = "It ended before an answer came through this link"
MINE = "You have answered it, and your answer was kept"


# --- the next wait of the same name


@pytest.mark.parametrize(("kind", "end"), [each for each in product(KINDS, ENDS) if each != ("asked", "timed out")])
def test_a_link_ends_with_its_wait_and_is_none_for_the_next(api: One, kind: str, end: str) -> None:
    start(api, "Ask", f'{{"kind": "{kind}", "end": "{end}"}}')
    old = first_link(api, kind, end)
    if end == "answered":
        assert form(api, old, "answered") == 200
    elif end == "raised":
        verb(api, "raiseEvent/Word", b'"raised"')
    elif end != "timed out":
        verb(api, "raiseEvent/Other")
    eventually_next(api)
    check_closed(api, old, MINE if end == "answered" else OVER)
    (wait,) = words(api)
    new = link_of(api, kind)
    assert new != old
    assert api.get(new).status_code == 200
    assert words(api) == [wait]
    assert json(api, new, "right") == 202
    assert api.ended(api.x)["output"] == [end, "right"]
    for link, said in ((old, MINE if end == "answered" else OVER), (new, MINE)):
        check_closed(api, link, said)


def first_link(api: One, kind: str, end: str) -> str:
    """The link for the first of the two waits, which may be over already."""
    if kind == "asked" or end != "timed out":
        return link_of(api, kind)
    facts = [fact for step in api.get(f"{INSTANCES}/{api.x}/history").json()["steps"] for fact in step["facts"]]
    return str(next(fact["url"] for fact in facts if fact["type"] == "ResponseLinkCreated"))


def eventually_next(api: One) -> None:
    """Until the second word is all that is asked for: what ends the first one may be a message of its own."""
    for _ in range(1000):
        if [wait["name"] for wait in api.status(api.x)["waits"]] == ["Word"]:
            return
    raise AssertionError(api.status(api.x))


# --- another life, or another run


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
@pytest.mark.parametrize("how", ["restarted", "purged", "replaced"])
def test_a_link_of_what_has_ended_is_none_for_what_follows(api: One, kind: str, used: bool, how: str) -> None:
    body = f'{{"kind": "{kind}"}}'
    start(api, "Ask", body)
    old = link_of(api, kind)
    if used:
        assert json(api, old, "mine") == 202
    if how != "replaced":
        verb(api, "terminate")
        check_closed(api, old, MINE if used else OVER)
    if how == "restarted":
        verb(api, "restart?restartWithNewInstanceId=false")
    elif how == "purged":
        assert api.http.delete(f"{INSTANCES}/{api.x}").status_code == 200
        start(api, "Ask", body)
    else:
        assert api.post(f"/orchestrators/Ask/{api.x}?reuse=replace", body.encode()).status_code == 202
    check_closed(api, old, (MINE if used else OVER) if how == "restarted" else "No answer is needed any more")
    assert len(words(api)) == 1
    assert json(api, link_of(api, kind), "right") == 202
    verb(api, "raiseEvent/Word", b'"second"')
    assert api.ended(api.x)["output"] == ["right", "second"]


def test_a_link_of_one_attempt_of_a_child_is_none_for_the_next(api: One) -> None:
    start(api, "Parent")
    old = eventually_asked(api, f"{api.x}-child", "")
    assert json(api, old, "fail") == 202
    new = eventually_asked(api, f"{api.x}-child", old)
    check_closed(api, old, "No answer is needed any more")
    assert json(api, new, "right") == 202
    assert api.ended(api.x)["output"] == "right"
    check_closed(api, new, MINE)


def eventually_asked(api: One, instance_id: str, but: str) -> str:
    for _ in range(1000):
        found = api.get(f"{INSTANCES}/{instance_id}").json()
        if found.get("waits") and found["customStatus"] not in (None, but):
            return str(found["customStatus"])
    raise AssertionError("it does not ask")


def test_the_link_of_a_child_ends_with_it(api: One) -> None:
    start(api, "Parent")
    link = eventually_asked(api, f"{api.x}-child", "")
    verb(api, "terminate?recurse=true")
    api.ended(f"{api.x}-child")
    check_closed(api, link, OVER)


# --- two waits at once


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_each_of_two_waits_has_its_own_link(api: One, order: tuple[int, int]) -> None:
    start(api, "Both")
    links = api.status(api.x)["customStatus"]
    for place in order:
        assert json(api, links[place], f"word {place}") == 202
        if place == order[0]:
            check_closed(api, links[place], MINE)
    assert api.ended(api.x)["output"] == ["word 0", "word 1"]


def test_a_link_takes_nothing_from_an_event_for_whoever_waits_first(api: One) -> None:
    start(api, "Both")
    links = api.status(api.x)["customStatus"]
    verb(api, "raiseEvent/Word", b'"raised"')
    check_closed(api, links[0], OVER)
    assert json(api, links[1], "mine") == 202
    assert api.ended(api.x)["output"] == ["raised", "mine"]


@pytest.mark.parametrize("kind", ["early", "named"])
def test_a_link_by_name_is_for_the_first_of_two_waits(api: One, kind: str) -> None:
    start(api, "Both", f'"{kind}"')
    one, other = api.status(api.x)["customStatus"]
    assert json(api, one, "first") == 202
    check_closed(api, other, OVER if other != one else MINE)
    verb(api, "raiseEvent/Word", b'"second"')
    assert api.ended(api.x)["output"] == ["first", "second"]


@pytest.mark.parametrize("chosen", [0, 1])
def test_over_http_a_link_is_for_the_wait_that_is_chosen(api: One, chosen: int) -> None:
    start(api, "Both")
    waits = words(api)
    path = f"{INSTANCES}/{api.x}/responseLinks/Word"
    made = [api.post(f"{path}?waitId={wait['id']}").json()["url"] for wait in waits]
    assert api.post(path).status_code == 201
    assert json(api, made[chosen], "chosen") == 202
    assert words(api) == [waits[1 - chosen]]
    for wait_id in (waits[chosen]["id"], 99):
        assert api.post(f"{path}?waitId={wait_id}").status_code == 409
    for wait_id in ("0", "-1", "x", ""):
        assert api.post(f"{path}?waitId={wait_id}").status_code == 400


# --- before the wait, and over HTTP


def test_before_its_wait_is_opened_a_link_takes_nothing(api: One) -> None:
    start(api, "Late")
    link = link_of(api, "early")
    page = api.get(link)
    assert page.status_code == 200
    assert "This question is not open yet" in page.text
    assert (form(api, link, "soon"), json(api, link, "soon")) == (409, 409)
    verb(api, "raiseEvent/Go")
    assert "<form" in api.get(link).text
    assert json(api, link, "now") == 202
    assert api.ended(api.x)["output"] == "now"


def test_a_wait_that_is_answered_as_it_is_opened_closes_its_links(api: One) -> None:
    """By an event that was kept."""
    for name in ("Late", "Over"):
        instance_id = f"{api.x}-{name}"
        start(api, name, instance_id=instance_id)
        link = link_of(api, "early", instance_id)
        verb(api, "raiseEvent/Word", b'"kept"', instance_id)
        verb(api, "raiseEvent/Go", instance_id=instance_id)
        if name == "Over":
            link = link_of(api, "given", instance_id)
            assert [wait["name"] for wait in api.status(instance_id)["waits"]] == ["Word"]
        check_closed(api, link, OVER)


def test_over_http_a_link_takes_an_open_wait(api: One) -> None:
    start(api, "Late")
    path = f"{INSTANCES}/{api.x}/responseLinks/Word"
    refused = api.post(path)
    assert refused.status_code == 409
    assert "does not wait for 'Word' now. It waits for Go." in refused.json()["Message"]
    assert api.post(path.replace(api.x, "nobody")).status_code == 404
    verb(api, "raiseEvent/Go")
    assert api.post(path).status_code == 201
    verb(api, "terminate")
    assert api.post(path).status_code == 410


def test_a_link_that_was_used_says_so(api: One) -> None:
    start(api, "Ask", '{"kind": "early"}')
    link = link_of(api, "early")
    assert form(api, link, "mine") == 200
    for again in ("mine", "another"):  # an impatient click, or a second thought
        answer = api.http.post(link, data={"$": again})
        assert answer.status_code == 410
        assert MINE in answer.text
    history = api.get(f"{INSTANCES}/{api.x}/history").json()["steps"]
    assert [step["facts"][0]["type"] for step in history] == ["ExecutionStarted", "EventRaised"]
    entries = api.get(f"{INSTANCES}/{api.x}/audit").json()
    assert [entry["result"] for entry in entries if entry["verb"] == "respond"] == ["accepted"]


def test_an_answer_that_does_not_fit_leaves_the_link_open(api: One) -> None:
    start(api, "Ask", '{"kind": "early"}')
    link = link_of(api, "early")
    assert api.post(link, b"5").status_code == 422
    assert json(api, link, "fits") == 202


# --- while the instance stands still


def test_a_suspended_instance_takes_one_answer_for_each_wait(api: One) -> None:
    start(api, "Both")
    links = api.status(api.x)["customStatus"]
    verb(api, "suspend")
    assert form(api, links[1], "mine") == 200
    check_closed(api, links[1], MINE)
    assert json(api, links[0], "first") == 202
    verb(api, "resume")
    assert api.ended(api.x)["output"] == ["first", "mine"]


def test_another_link_for_a_wait_that_was_answered_while_suspended_is_refused(api: One) -> None:
    start(api, "Ask", '{"kind": "early"}')
    mine, other = link_of(api, "early"), link_of(api, "asked")
    verb(api, "suspend")
    assert json(api, mine, "mine") == 202
    assert json(api, other, "other") == 410
    verb(api, "resume")
    assert len(words(api)) == 1
    check_closed(api, other, OVER)
    verb(api, "raiseEvent/Word", b'"second"')
    assert api.ended(api.x)["output"] == ["mine", "second"]


def test_an_answer_whose_wait_is_given_up_on_resuming_goes_nowhere(api: One) -> None:
    start(api, "Ask", '{"kind": "early"}')
    link = link_of(api, "early")
    verb(api, "suspend")
    verb(api, "raiseEvent/Other")  # for this, the code will give up the wait
    assert json(api, link, "late") == 202
    verb(api, "resume")
    assert len(words(api)) == 1
    entry = next(each for each in api.get(f"{INSTANCES}/{api.x}/audit").json() if each["result"] == "discarded")
    assert entry["reason"] == "The wait that it was for is over."
    check_closed(api, link, MINE)
    assert json(api, link_of(api, "early"), "right") == 202
    assert api.ended(api.x)["output"] == ["", "right"]
