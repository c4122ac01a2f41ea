"""The page behind a response link: what it shows, what it takes, and what it never does."""

from __future__ import annotations

import enum
import logging
import re
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from html.parser import HTMLParser
from typing import Annotated, Any

import httpx2
import pytest
from msgspec import Meta

from bide import App, OneTimeCode, OrchestrationContext, Secret, Settings, SystemClock, when_any
from bide.engine.client import Client
from bide.errors import BusyError
from bide.model.tokens import InstanceGrant, ResponseGrant, sign
from bide.store.sqlite.files import hub_secret
from tests.http.conftest import INSTANCES, Api, nearly, serve

Release = Annotated[bool, Meta(title="Release version 2?", description="All <b>tests</b> have passed.")]


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


@dataclass
class Address:
    street: str
    zip: Annotated[str, Meta(pattern=r"^\d{5}$")]


@dataclass
class Trip:
    """May Ada travel?"""

    approved: bool
    amount: Annotated[float, Meta(le=1000, description="In EUR")] = 100.0
    mood: Mood = Mood.GOOD
    address: Address | None = None
    notes: Annotated[str, Meta(max_length=1000)] = ""
    days: list[int] | None = None
    more: dict[str, int] | None = None


def example() -> App:
    app = App()

    @app.orchestrator(name="Ship")
    async def ship(ctx: OrchestrationContext) -> bool:
        return await ctx.wait_for_external_event("Release", Release)

    @app.orchestrator(name="Code")
    async def code(ctx: OrchestrationContext) -> Any:
        answer = ctx.wait_for_external_event("Code", int | str)
        deadline = ctx.create_timer(timedelta(days=3))
        await when_any(answer, deadline)
        deadline.cancel()
        return answer.result

    @app.orchestrator(name="Verify")
    async def verify(ctx: OrchestrationContext, tries: int = 3) -> Any:
        ctx.set_custom_status({"triesLeft": tries, "code": "0042"})
        return await ctx.wait_for_external_event("Code", OneTimeCode, timeout=timedelta(days=1))

    @app.orchestrator(name="Pin")
    async def pin(ctx: OrchestrationContext) -> str:
        ctx.set_custom_status({"triesLeft": "3 & <more>"})
        return await ctx.wait_for_external_event("Pin", Secret[str])

    @app.orchestrator(name="Number")
    async def number(ctx: OrchestrationContext) -> int:
        return await ctx.wait_for_external_event("Pin", Secret[int])

    @app.orchestrator(name="Travel")
    async def travel(ctx: OrchestrationContext) -> Trip:
        return await ctx.wait_for_external_event("Trip", Trip)

    @app.orchestrator(name="Both")
    async def both(ctx: OrchestrationContext) -> list[Any]:
        first = ctx.wait_for_external_event("Answer", bool)
        second = ctx.wait_for_external_event("answer", Mood)
        return [await first, await second]

    @app.orchestrator(name="Many")
    async def many(ctx: OrchestrationContext) -> list[str]:
        return [await ctx.wait_for_external_event("Word", str) for _ in range(3)]

    @app.orchestrator(name="Later")
    async def later(ctx: OrchestrationContext) -> bool:
        ctx.set_custom_status(ctx.response_url("Answer"))
        await ctx.wait_for_external_event("Go")
        return await ctx.wait_for_external_event("Answer", bool)

    return app


@pytest.fixture
def api() -> Iterator[Api]:
    with serve(Settings(db=":memory:"), example()) as served:
        yield served


def link(api: Api, instance_id: str, event: str, **query: Any) -> str:
    made = api.post(f"{INSTANCES}/{instance_id}/responseLinks/{event}", params=query)
    assert made.status_code == 201, made.text
    url: str = made.json()["url"]
    return url


def ask(api: Api, orchestrator: str, event: str, **query: Any) -> tuple[str, str]:
    """A started instance, and a link to answer its event."""
    instance_id = api.start(orchestrator)
    return instance_id, link(api, instance_id, event, **query)


def send(api: Api, url: str, whole: str | None = None, **parts: str) -> httpx2.Response:
    """Send the form as a browser does."""
    data = (
        {"$": whole} if whole is not None else {f"$.{key.replace('__', '.')}": text for key, text in parts.items()}
    )
    return api.http.post(
        url, data=data, headers={"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:7071"}
    )


def output(api: Api, instance_id: str) -> Any:
    return api.ended(instance_id)["output"]


def waits(api: Api, instance_id: str) -> list[str]:
    return [wait["name"] for wait in api.status(instance_id)["waits"]]


class Page(HTMLParser):
    """What is on a page: its elements with their attributes, and its text."""

    def __init__(self, answer: httpx2.Response) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.style = ""
        self._inside = ""
        self.feed(answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.style += data
        else:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]

    def one(self, name: str) -> dict[str, str | None]:
        """The input of that name, or the first of several."""
        return next(each for each in self.all("input", "select", "textarea", "button") if each.get("name") == name)


# --- the page


def test_the_page_says_who_asks_what_and_since_when(api: Api) -> None:
    _, url = ask(api, "Ship", "Release")
    answer = api.get(url)
    page = Page(answer)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for words in ("Ship waits for Release", "Release version 2?", "All <b>tests</b> have passed."):
        assert words in page.text
    assert re.search(
        r"Asked\s+[A-Z][a-z]+day, \d+ [A-Z][a-z]+ \d{4}, \d\d:\d\d UTC \((just now|\d+ \w+ ago)\)", page.text
    )
    assert page.all("b") == []
    assert [(each["name"], each["value"]) for each in page.all("button")] == [("$", "true"), ("$", "false")]
    assert "Please answer by" not in page.text


def test_the_page_says_until_when(api: Api) -> None:
    _, url = ask(api, "Code", "Code")
    page = Page(api.get(url))
    assert re.search(
        r"Please answer by\s+[A-Z][a-z]+day, \d+ [A-Z][a-z]+ \d{4}, \d\d:\d\d UTC \(in 2 days\)", page.text
    )
    assert len(page.all("time")) == 2


def test_a_code_is_easy_to_type_on_a_phone(api: Api) -> None:
    _, url = ask(api, "Code", "Code")
    asked = Page(api.get(url)).one("$")
    assert (asked["type"], asked["inputmode"], asked["autocomplete"]) == ("text", "numeric", "one-time-code")
    assert "required" in asked


@pytest.mark.parametrize(
    ("tries", "words"), [(3, "You have 3 tries left. This page takes one of them."), (1, "You have 1 try left.")]
)
def test_the_page_says_how_many_tries_are_left_and_nothing_else_of_the_custom_status(
    api: Api, tries: int, words: str
) -> None:
    instance_id = api.start("Verify", str(tries).encode())
    answer = api.get(link(api, instance_id, "Code"))
    assert f" {words}" in " ".join(Page(answer).text.split())
    assert "0042" not in answer.text


def test_a_secret_number_is_typed_as_dots(api: Api) -> None:
    _, url = ask(api, "Number", "Pin")
    assert Page(api.get(url)).one("$")["type"] == "password"


def test_a_one_time_code_is_one_input_of_digits_and_keeps_its_zeros(api: Api) -> None:
    instance_id, url = ask(api, "Verify", "Code")
    asked = Page(api.get(url)).one("$")
    assert (asked["type"], asked["inputmode"], asked["autocomplete"]) == ("text", "numeric", "one-time-code")
    send(api, url, " 0042 ")
    assert api.ended(instance_id)["output"] == "0042"


def test_a_secret_is_typed_unseen(api: Api) -> None:
    _, url = ask(api, "Pin", "Pin")
    answer = api.get(url)
    asked = Page(answer).one("$")
    assert (asked["type"], asked["autocomplete"]) == ("password", "off")
    assert "tries left" not in answer.text


def test_a_form_has_an_input_for_each_part(api: Api) -> None:
    _, url = ask(api, "Travel", "Trip")
    page = Page(api.get(url))
    assert "May Ada travel?" in page.text
    names = {each["name"] for each in page.all("input", "select", "textarea")} - {"key"}
    assert names == {
        f"$.{name}"
        for name in ("approved", "amount", "mood", "address.street", "address.zip", "notes", "days", "more")
    }
    assert page.one("$.amount")["value"] == "100.0"
    assert page.one("$.address.zip")["pattern"] == r".*(?:^\d{5}$).*"
    assert "required" not in page.one("$.address.zip")


def test_a_browser_runs_and_loads_nothing(api: Api) -> None:
    for orchestrator, event in (("Ship", "Release"), ("Code", "Code"), ("Travel", "Trip")):
        _, url = ask(api, orchestrator, event)
        answer = api.get(url)
        page = Page(answer)
        digest = b64encode(sha256(page.style.encode()).digest()).decode()
        assert answer.headers["content-security-policy"] == (
            f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; "
            "frame-ancestors 'none'"
        )
        assert page.all("script", "link", "img", "iframe", "object", "svg", "base") == []
        assert [each for each in page.all("style")] == [{}]
        attributes = {name for _, found in page.elements for name in found}
        assert not {name for name in attributes if name.startswith("on") or name in ("style", "src", "srcdoc")}
        assert all(each["href"].startswith("#") for each in page.all("a") if each["href"])


def test_the_page_is_kept_nowhere_and_its_address_goes_nowhere(api: Api) -> None:
    _, url = ask(api, "Ship", "Release")
    for answer in (api.get(url), api.get(url[:-1]), send(api, url, "true")):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-robots-tag"] == "noindex"


@pytest.mark.parametrize("filled", [False, True], ids=["fresh", "refused"])
def test_the_page_can_be_used_without_seeing_it(api: Api, filled: bool) -> None:
    _, url = ask(api, "Travel", "Trip")
    page = Page(send(api, url, approved="", amount="x", address__street="y") if filled else api.get(url))
    ids = [found["id"] for _, found in page.elements if "id" in found]
    assert len(ids) == len(set(ids))
    described = {name for _, found in page.elements for name in (found.get("aria-describedby") or "").split()}
    assert described <= set(ids)
    assert {each["for"] for each in page.all("label") if "for" in each} <= set(ids)
    labelled = {each["for"] for each in page.all("label") if "for" in each}
    assert all(
        each["id"] in labelled
        for each in page.all("input", "select", "textarea")
        if each.get("type") not in ("radio", "hidden")
    )
    assert len(page.all("legend")) == len(page.all("fieldset")) == 3
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("main")) == len(page.all("h1")) == len(page.all("title")) == 1
    assert {each["href"] for each in page.all("a")} <= {f"#{each}" for each in ids}
    assert bool(page.all("a")) is filled
    assert ("alert" in {found.get("role") for _, found in page.elements}) is filled


# --- looking


def test_looking_changes_nothing_however_often(api: Api) -> None:
    instance_id, url = ask(api, "Ship", "Release")
    before = api.get(f"{INSTANCES}/{instance_id}/history").json()
    for number in range(200):
        assert (api.http.head(url) if number % 10 == 0 else api.get(url)).status_code == 200
    assert api.get(f"{INSTANCES}/{instance_id}/history").json() == before
    assert waits(api, instance_id) == ["Release"]
    assert send(api, url, "false").status_code == 200
    assert output(api, instance_id) is False


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_else_can_be_done_with_a_link(api: Api, method: str) -> None:
    instance_id, url = ask(api, "Ship", "Release")
    answer = api.http.request(method, url, data={"$": "true"})
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
    assert waits(api, instance_id) == ["Release"]


# --- answering


def test_a_button_answers(api: Api) -> None:
    instance_id, url = ask(api, "Ship", "Release")
    answer = send(api, url, "true")
    assert answer.status_code == 200
    assert "Thank you" in Page(answer).text
    assert output(api, instance_id) is True


def test_a_code_keeps_its_zeros(api: Api) -> None:
    instance_id, url = ask(api, "Code", "Code")
    assert send(api, url, " 0042 ").status_code == 200
    assert output(api, instance_id) == "0042"


def test_a_form_answers(api: Api) -> None:
    instance_id, url = ask(api, "Travel", "Trip")
    answer = send(
        api,
        url,
        approved="true",
        amount="99.5",
        mood='"bad"',
        address__street="Rue Ä",
        address__zip="01234",
        notes="one\r\ntwo",
        days="1\r\n2\r\n",
        more='{"a": 1}',
    )
    assert answer.status_code == 200
    assert output(api, instance_id) == {
        "approved": True,
        "amount": 99.5,
        "mood": "bad",
        "address": {"street": "Rue Ä", "zip": "01234"},
        "notes": "one\ntwo",
        "days": [1, 2],
        "more": {"a": 1},
    }


def test_whoever_has_answered_reads_what_was_taken(api: Api) -> None:
    _, url = ask(api, "Travel", "Trip")
    answer = send(api, url, approved="false", amount="12,5", mood='"bad"', days="1\r\n2")
    said = Page(answer).text
    for words in ("Thank you", "Approved", "No", "Amount", "12.5", "Mood", "bad", "Days", "1\n2"):
        assert words in said


@pytest.mark.parametrize(("orchestrator", "event", "secret"), [("Pin", "Pin", "4711"), ("Code", "Code", "0042")])
def test_a_secret_that_was_answered_is_not_shown_again(
    api: Api, orchestrator: str, event: str, secret: str
) -> None:
    _, url = ask(api, orchestrator, event)
    answer = send(api, url, secret)
    assert answer.status_code == 200
    assert secret not in answer.text


def test_what_does_not_fit_is_shown_next_to_its_input_and_nothing_is_lost(api: Api) -> None:
    instance_id, url = ask(api, "Travel", "Trip")
    filled = {"approved": "true", "mood": '"bad"', "address__street": '<i>"&', "address__zip": "12"}
    answer = send(api, url, **filled, amount="100")
    page = Page(answer)
    assert answer.status_code == 422
    assert "Zip: This does not fit. 5 digits." in page.text
    assert page.one("$.address.zip")["aria-invalid"] == "true"
    assert "$.address.zip:problem" in (page.one("$.address.zip")["aria-describedby"] or "")
    assert [each["href"] for each in page.all("a")] == ["#$.address.zip"]
    assert "aria-invalid" not in page.one("$.amount")
    assert page.one("$.address.street")["value"] == '<i>"&'
    assert {each["value"] for each in page.all("input") if "checked" in each} == {"true", '"bad"'}
    assert waits(api, instance_id) == ["Trip"]
    assert send(api, url, **{**filled, "address__zip": "01234"}, amount="100").status_code == 200
    assert output(api, instance_id)["address"] == {"street": '<i>"&', "zip": "01234"}


def test_all_that_is_missing_is_said_at_once(api: Api) -> None:
    instance_id, url = ask(api, "Travel", "Trip")
    answer = send(api, url, amount="a lot", address__street="x")
    assert answer.status_code == 422
    hrefs = {each["href"] for each in Page(answer).all("a")}
    assert hrefs == {"#$.approved", "#$.amount", "#$.mood", "#$.address.zip"}
    assert waits(api, instance_id) == ["Trip"]


@pytest.mark.parametrize("value", ["", "maybe", "1", "null"])
def test_a_button_that_is_not_there_is_refused(api: Api, value: str) -> None:
    instance_id, url = ask(api, "Ship", "Release")
    answer = send(api, url, value)
    assert answer.status_code == 422
    assert len(Page(answer).all("button")) == 2
    assert waits(api, instance_id) == ["Release"]


@pytest.mark.parametrize(
    "body", [b"%24=%ff", b"&".join(b"%d=x" % number for number in range(501)), b"\xff", "ä".encode("latin-1")]
)
def test_what_no_browser_sends_is_refused(api: Api, body: bytes) -> None:
    instance_id, url = ask(api, "Code", "Code")
    assert api.post(url, body, "application/x-www-form-urlencoded").status_code == 400
    assert waits(api, instance_id) == ["Code"]


def test_a_body_that_is_too_large_is_refused() -> None:
    with serve(Settings(db=":memory:", max_body_bytes=100), example()) as api:
        instance_id, url = ask(api, "Code", "Code")
        assert send(api, url, "x" * 100).status_code == 413
        assert waits(api, instance_id) == ["Code"]


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "text/html", ""])
def test_other_kinds_of_bodies_are_refused(api: Api, kind: str) -> None:
    instance_id, url = ask(api, "Code", "Code")
    assert api.post(url, b"1234", kind).status_code == 415
    assert waits(api, instance_id) == ["Code"]


def test_the_oldest_of_two_waits_is_asked_first(api: Api) -> None:
    instance_id, url = ask(api, "Both", "ANSWER")
    assert [each["value"] for each in Page(api.get(url)).all("button")] == ["true", "false"]
    assert send(api, url, "true").status_code == 200
    url = link(api, instance_id, "answer")
    assert [each["value"] for each in Page(api.get(url)).all("button")] == ['"bad"', '"good"']
    assert send(api, url, '"good"').status_code == 200
    assert output(api, instance_id) == [True, "good"]


def test_a_suspended_instance_takes_an_answer(api: Api) -> None:
    instance_id, url = ask(api, "Ship", "Release")
    api.post(f"{INSTANCES}/{instance_id}/suspend")
    assert send(api, url, "true").status_code == 200
    api.post(f"{INSTANCES}/{instance_id}/resume")
    assert output(api, instance_id) is True


def test_an_answer_is_in_the_audit_under_its_link(api: Api) -> None:
    instance_id, url = ask(api, "Ship", "Release")
    send(api, url, "true")
    entry = api.get(f"{INSTANCES}/{instance_id}/audit").json()[0]
    assert (entry["verb"], entry["address"]) == ("respond", "127.0.0.1")
    assert re.fullmatch("link:[0-9a-f]{16}", entry["caller"])
    assert url.rpartition("/")[2] not in str(entry)


# --- questions that are not open


def test_before_the_question_there_is_nothing_to_answer(api: Api) -> None:
    instance_id = api.start("Later")
    url = api.status(instance_id)["customStatus"]
    answer = api.get(url)
    assert answer.status_code == 200
    assert "This question is not open yet" in Page(answer).text
    assert Page(answer).all("form") == []
    assert send(api, url, "true").status_code == 409
    assert api.post(f"{INSTANCES}/{instance_id}/raiseEvent/Go").status_code == 202
    assert len(Page(api.get(url)).all("button")) == 2
    assert send(api, url, "false").status_code == 200
    assert output(api, instance_id) is False


def test_after_the_end_the_question_is_closed(api: Api) -> None:
    instance_id, url = ask(api, "Ship", "Release")
    send(api, url, "true")
    api.ended(instance_id)
    for answer in (api.get(url), send(api, url, "false"), send(api, url, "true")):
        assert answer.status_code == 410
        assert "This question is closed" in Page(answer).text
        assert "You have answered it, and your answer was kept" in Page(answer).text
    assert api.http.delete(f"{INSTANCES}/{instance_id}").status_code == 200
    for answer in (api.get(url), send(api, url, "true")):
        assert answer.status_code == 410


def test_who_was_not_needed_is_not_told_that_an_answer_was_kept(api: Api) -> None:
    instance_id, url = ask(api, "Ship", "Release")
    other = link(api, instance_id, "Release")
    assert send(api, other, "true").status_code == 200
    api.ended(instance_id)
    for answer in (api.get(url), send(api, url, "false")):
        assert answer.status_code == 410
        assert "It ended before an answer came through this link" in Page(answer).text
        assert "kept" not in Page(answer).text


def test_whoever_has_answered_is_told_so_while_the_instance_goes_on(api: Api) -> None:
    instance_id = api.start("Later")
    mine, other = link(api, instance_id, "Go"), link(api, instance_id, "Go")
    assert send(api, mine, '"x"').status_code == 200
    assert "You have answered it, and your answer was kept" in Page(api.get(mine)).text
    assert "somebody else has answered it" in Page(api.get(other)).text


# --- links that do not work


def links_that_do_not_work(instance_id: str) -> Iterator[str]:
    secret, now = hub_secret(":memory:"), SystemClock().now()
    good = ResponseGrant(instance_id, "b1", 0, "Release", 1, now, "0.1")
    yield sign(bytes(32), good)
    yield sign(secret, ResponseGrant(instance_id, "b1", 0, "Release", 1, now, "0.1", now - 1))
    yield sign(secret, InstanceGrant(instance_id, "b1", ("raiseEvent", "responseLink"), 7.0))
    yield "bide.a.b"
    yield "x"


def test_a_link_that_does_not_work_shows_and_takes_nothing(api: Api) -> None:
    instance_id = api.start("Ship")
    for token in links_that_do_not_work(instance_id):
        for answer in (api.get(f"/respond/{token}"), send(api, f"/respond/{token}", "true")):
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "This link does not work" in Page(answer).text
            assert "Release" not in answer.text
    assert waits(api, instance_id) == ["Release"]


def test_a_change_of_any_character_of_a_link_is_refused(api: Api) -> None:
    instance_id, url = ask(api, "Ship", "Release")
    base, _, token = url.rpartition("/")
    for changed in nearly(token):
        assert send(api, f"{base}/{changed}", "true").status_code == 401
    assert waits(api, instance_id) == ["Release"]
    assert send(api, url, "true").status_code == 200


def test_a_link_answers_its_own_instance_and_event_only(api: Api) -> None:
    mine, url = ask(api, "Ship", "Release")
    other, _ = ask(api, "Ship", "Release")
    token = url.rpartition("/")[2]
    assert send(api, url, "true").status_code == 200
    assert waits(api, other) == ["Release"]
    assert output(api, mine) is True
    for path in (f"{INSTANCES}/{other}", f"{INSTANCES}/{mine}", f"{INSTANCES}/{other}/raiseEvent/Release"):
        assert api.get(path, params={"code": token}).status_code in (401, 405)
        assert api.post(path, b"true", params={"code": token}).status_code in (401, 405)


def test_a_link_works_where_keys_are_demanded() -> None:
    with serve(Settings(db=":memory:", require_key=True), example()) as api:
        token = sign(hub_secret(":memory:"), ResponseGrant("a", "b1", 0, "Release", 1, 1, "0.1"))
        assert api.get(f"{INSTANCES}/a").status_code == 401
        assert api.get(f"/respond/{token}").status_code == 410  # known as a link; there is no such instance


# --- one answer


@pytest.mark.parametrize("words", [("one", "one"), ("one", "two")])
def test_a_form_that_is_sent_twice_answers_once(api: Api, words: tuple[str, str]) -> None:
    """As an impatient second click does, or sending again what may not have arrived."""
    instance_id, url = ask(api, "Many", "Word")
    assert send(api, url, words[0]).status_code == 200
    again = send(api, url, words[1])
    assert again.status_code == 410
    assert "You have answered it, and your answer was kept" in Page(again).text
    for word in ("three", "four"):
        assert send(api, link(api, instance_id, "Word"), word).status_code == 200
    assert output(api, instance_id) == ["one", "three", "four"]


def test_of_answers_at_the_same_time_one_is_taken(api: Api) -> None:
    instance_id, url = ask(api, "Many", "Word")
    with ThreadPoolExecutor(10) as people:
        found = list(people.map(lambda word: send(api, url, f"word {word}").status_code, range(30)))
    assert sorted(found) == [200] + [410] * 29
    assert waits(api, instance_id) == ["Word"]
    raised = [step["facts"][0] for step in api.get(f"{INSTANCES}/{instance_id}/history").json()["steps"][1:]]
    assert [fact["input"] for fact in raised] == [f"word {found.index(200)}"]


def test_an_answer_that_does_not_fit_does_not_use_up_the_link(api: Api) -> None:
    instance_id, url = ask(api, "Travel", "Trip")
    filled = {"approved": "true", "mood": '"bad"'}
    assert send(api, url, **filled, amount="9999").status_code == 422
    assert send(api, url, **filled, amount="9").status_code == 200
    assert output(api, instance_id)["amount"] == 9


# --- programs


def test_a_program_answers_with_json(api: Api) -> None:
    instance_id, url = ask(api, "Code", "Code")
    answer = api.post(url, b'"0042"', "application/json; charset=utf-8")
    assert (answer.status_code, answer.content) == (202, b"")
    assert output(api, instance_id) == "0042"


def test_a_program_reads_in_json_what_is_wrong(api: Api) -> None:
    instance_id, url = ask(api, "Travel", "Trip")
    for body, status in (
        (b'{"approved": true, "days": [1, "x"]}', 422),
        (b"{", 400),
    ):
        answer = api.post(url, body)
        assert answer.status_code == status
        assert answer.json()["status"] == status
    assert api.post(url, b'{"approved": true, "days": [1, "x"]}').json()["path"] == "$.days[1]"
    broken = api.post(url[:-1] + "!", b"{}")
    assert (broken.status_code, broken.json()["status"]) == (401, 401)
    assert waits(api, instance_id) == ["Trip"]
    assert api.post(url, b'{"approved": true}').status_code == 202
    api.ended(instance_id)
    assert (api.post(url, b"{}").status_code, api.post(url, b"{}").json()["status"]) == (410, 410)


def test_a_program_learns_that_nobody_asks_or_that_the_link_was_used(api: Api) -> None:
    url = api.status(api.start("Later"))["customStatus"]
    answer = api.post(url, b"true")
    assert (answer.status_code, answer.json()["status"]) == (409, 409)
    _, url = ask(api, "Many", "Word")
    assert api.post(url, b'"one"').status_code == 202
    for word in (b'"one"', b'"two"'):
        answer = api.post(url, word)
        assert (answer.status_code, answer.json()["status"]) == (410, 410)


# --- other sites, and trouble


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
    ],
)
def test_the_form_of_another_site_is_refused(api: Api, headers: dict[str, str]) -> None:
    instance_id, url = ask(api, "Ship", "Release")
    assert api.http.post(url, data={"$": "true"}, headers=headers).status_code == 403
    assert waits(api, instance_id) == ["Release"]
    assert api.get(url, headers=headers).status_code == 200  # a link may stand anywhere


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://127.0.0.1:7071"}, {"Sec-Fetch-Site": "same-origin"}])
def test_our_own_form_is_taken_from_old_browsers_too(api: Api, headers: dict[str, str]) -> None:
    _, url = ask(api, "Ship", "Release")
    assert api.http.post(url, data={"$": "true"}, headers=headers).status_code == 200


def test_an_answer_that_may_not_have_arrived_can_be_sent_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    instance_id, url = ask(api, "Code", "Code")

    async def busy(*_: object, **__: object) -> None:
        raise BusyError

    with monkeypatch.context() as trouble:
        trouble.setattr(Client, "respond", busy)
        answer = send(api, url, "0042")
        program = api.post(url, b'"0042"')
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert Page(answer).one("$")["value"] == "0042"
    assert "send it again" in Page(answer).text
    assert (program.status_code, program.headers["retry-after"]) == (503, "1")
    assert send(api, url, "0042").status_code == 200
    assert output(api, instance_id) == "0042"


def test_what_goes_wrong_is_logged_without_the_link(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, url = ask(api, "Code", "Code")

    async def broken(*_: object) -> None:
        raise RuntimeError("the inside")

    monkeypatch.setattr(Client, "waits", broken)
    with caplog.at_level(logging.ERROR):
        answers = [api.get(url), send(api, url, "0042"), api.post(url, b'"0042"')]
    assert [answer.status_code for answer in answers] == [500, 500, 500]
    assert "Something went wrong" in Page(answers[0]).text
    assert answers[2].json()["status"] == 500
    assert all("inside" not in answer.text for answer in answers)
    assert len([record for record in caplog.records if record.exc_info]) == 3
    assert url.rpartition(".")[2] not in caplog.text
    assert "0042" not in caplog.text
