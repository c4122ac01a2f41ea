"""One rule for all doors: what code can name can be named through each of them, or is refused where it is named."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from bide import App, FunctionNotFoundError, InstanceNotFoundError, OrchestrationContext, PayloadError, Settings
from bide.client import AsyncClient, Client
from bide.http.app import create_app
from bide.model.instance import check_event_name, check_instance_id
from tests.cli.test_server_commands import Server
from tests.http.conftest import BASE, INSTANCES

HERE = ("127.0.0.1", 50_000)
EVENTS = [
    *(
        "Event/1",
        "/",
        "a//b",
        "/a/",
        "../x",
        "a b",
        " a ",
        "Müller",
        "Ответ",
        "答え",
        "+1555",
        "100%",
        "%2F",
        "%2f/",
    ),
    *("a?b=c", "a#b", "a;b", "a&b", "{eventName}", "\\", "...", "-x", "it's", '"', "x" * 200, "答" * 200),
]
NAMES = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1, max_size=12)


def asking() -> App:
    app = App()

    @app.orchestrator
    async def ask(ctx: OrchestrationContext, event: str) -> Any:
        return await ctx.wait_for_external_event(event)

    return app


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(Settings(db=":memory:"), asking()) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx2.Client]:
    """A caller over a real connection, who writes paths as they are sent."""
    with httpx2.Client(base_url=server.url) as caller:
        yield caller


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.url) as caller:
        yield caller


@pytest.fixture(scope="module")
def other(server: Server) -> Iterator[tuple[asyncio.Runner, AsyncClient]]:
    """The asynchronous client, and the loop that it lives in."""
    with asyncio.Runner() as runner:
        caller = AsyncClient(server.url)
        runner.run(caller.__aenter__())
        yield runner, caller
        runner.run(caller.__aexit__(None, None, None))


@asynccontextmanager
async def asynchronous() -> AsyncIterator[AsyncClient]:
    api = create_app(asking(), Settings(db=":memory:"))
    async with api.lifespan(), httpx2.AsyncClient(transport=httpx2.ASGITransport(api, client=HERE)) as http:
        yield AsyncClient(BASE, http=http)


def quoted(name: str) -> str:
    return quote(name, safe="")


def asked(http: httpx2.Client, event: str) -> str:
    started: str = http.post("/orchestrators/ask", json=event).json()["id"]
    return started


def ended(http: httpx2.Client, instance_id: str) -> dict[str, Any]:
    shown: dict[str, Any] = http.get(f"{INSTANCES}/{quoted(instance_id)}?wait=10s").json()
    return shown


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_is_raised_under_the_name_that_is_waited_for(http: httpx2.Client, event: str) -> None:
    instance_id = asked(http, event)
    answer = http.post(f"{INSTANCES}/{instance_id}/raiseEvent/{quoted(event)}", json=1)
    assert answer.status_code == 202, answer.text
    assert ended(http, instance_id)["output"] == 1


@pytest.mark.parametrize("event", EVENTS)
def test_links_are_made_for_it_and_take_its_answer(http: httpx2.Client, event: str) -> None:
    instance_id = asked(http, event)
    made = http.post(f"{INSTANCES}/{instance_id}/responseLinks/{quoted(event)}")
    assert made.status_code == 201, made.text
    assert http.get(made.json()["url"]).status_code == 200
    assert http.post(made.json()["url"], json=2).status_code == 202
    assert ended(http, instance_id)["output"] == 2


@pytest.mark.parametrize("event", EVENTS)
def test_the_client_raises_it(client: Client, event: str) -> None:
    instance_id = client.start("ask", event)
    (wait,) = client.waits(instance_id)
    assert wait.name == event
    client.raise_event(instance_id, event, 3)
    assert client.wait(instance_id).output == 3


def test_the_asynchronous_client_raises_it() -> None:
    async def raise_each() -> None:
        async with asynchronous() as client:
            for event in EVENTS:
                instance_id = await client.start("ask", event)
                await client.raise_event(instance_id, event, 4)
                assert (await client.wait(instance_id)).output == 4

    asyncio.run(raise_each())


@pytest.mark.parametrize("event", ["Event/1", "a b", "%2F", "Ответ"])
def test_the_command_line_raises_it(server: Server, client: Client, event: str) -> None:
    instance_id = client.start("ask", event)
    server.ok("raise", instance_id, event, "5")
    assert client.wait(instance_id).output == 5


def test_a_mounted_app_takes_it_too() -> None:
    durable = asking().asgi(Settings(db=":memory:"))
    host = Starlette(routes=[Mount("/my/durable", durable)], lifespan=durable.lifespan)
    with TestClient(host, base_url=BASE, client=HERE) as http:
        uris = http.post("/my/durable/orchestrators/ask", json="Event/1").json()
        assert http.post(uris["sendEventPostUri"].replace("{eventName}", "Event%2F1"), json=6).status_code == 202
        assert http.get(f"{uris['statusQueryGetUri']}&wait=10s").json()["output"] == 6


def test_who_changes_a_path_on_the_way_is_served_by_what_it_was_changed_to() -> None:
    """The raw path is optional in ASGI; and who takes a prefix off the path may leave it in the raw one."""
    durable = asking().asgi(Settings(db=":memory:"))

    async def shortening(scope: Any, receive: Any, send: Any) -> None:
        await durable({**scope, "path": scope["path"].removeprefix("/a/b")}, receive, send)

    async def call() -> None:
        transport = httpx2.ASGITransport(shortening, client=HERE)
        async with durable.lifespan(), httpx2.AsyncClient(transport=transport, base_url=BASE) as http:
            assert (await http.post("/a%2Fb/orchestrators/ask/one", json="x")).status_code == 202
            assert (await http.get(f"{INSTANCES}/one")).status_code == 202

    asyncio.run(call())


@pytest.mark.parametrize("event", [".", "..", "", "a\n", "\u200b", "x" * 201])
def test_what_no_address_can_carry_is_refused_at_the_wait(http: httpx2.Client, event: str) -> None:
    shown = ended(http, asked(http, event))
    assert shown["runtimeStatus"] == "Failed"
    assert "An event's name is" in str(shown["output"])


@pytest.mark.parametrize("event", [".", ".."])
def test_the_clients_refuse_it_and_change_nothing(client: Client, event: str) -> None:
    instance_id = client.start("ask", "x")
    for door in (client.raise_event, client.response_link):
        with pytest.raises(PayloadError, match="An event's name is"):
            door(instance_id, event)
    assert [wait.name for wait in client.waits(instance_id)] == ["x"]


@pytest.fixture(scope="module")
def pattern(http: httpx2.Client) -> str:
    """What the document says of the name of an event that is raised."""
    described = http.get("/openapi.json").json()["paths"][f"{INSTANCES}/{{instanceId}}/raiseEvent/{{eventName}}"]
    (found,) = [
        each["schema"]["pattern"] for each in described["post"]["parameters"] if each["name"] == "eventName"
    ]
    return str(found)


@settings(deadline=None, max_examples=200)
@given(NAMES)
@example("Event/1")
@example(".")
@example("..")
def test_the_documents_pattern_takes_every_name(pattern: str, name: str) -> None:
    assert (re.fullmatch(pattern, name) is None) == (name in (".", ".."))


# --- ids of instances


IDS = [
    *(
        "+1555",
        "a b",
        " a ",
        "Müller",
        "答え",
        "100%",
        "%2F",
        "a&b=c",
        "a;b",
        "...",
        "{id}",
        '"',
        "it's",
        "-x",
        "*",
        "a:1",
    ),
    *("x" * 100, "答" * 100),
]
NO_IDS = [".", "..", "x/y", "x\\y", "x?y", "x#y", "a\nb", "\u200b", "x" * 101]


def replied(http: httpx2.Client, instance_id: str) -> dict[str, Any]:
    """What came of an instance that was started under an id and answered under the URIs of its start."""
    started = http.post(f"/orchestrators/ask/{quoted(instance_id)}", json="x")
    assert started.status_code == 202, started.text
    uris = started.json()
    assert uris["id"] == instance_id
    assert http.post(uris["sendEventPostUri"].replace("{eventName}", "x"), json="yes").status_code == 202
    shown: dict[str, Any] = http.get(f"{uris['statusQueryGetUri']}&wait=10s").json()
    return shown


@pytest.mark.parametrize("instance_id", IDS)
def test_an_id_that_code_may_choose_may_be_chosen_over_http(http: httpx2.Client, instance_id: str) -> None:
    shown = replied(http, instance_id)
    assert (shown["instanceId"], shown["output"]) == (instance_id, "yes")
    listed = http.get(INSTANCES, params={"instanceIdPrefix": instance_id}).json()
    assert instance_id in [each["instanceId"] for each in listed]
    assert http.get(f"/instances/{quoted(instance_id)}").status_code == 200  # the dashboard's page
    assert http.delete(f"{INSTANCES}/{quoted(instance_id)}").status_code == 200


@pytest.mark.parametrize("instance_id", IDS)
def test_the_client_chooses_it(client: Client, instance_id: str) -> None:
    assert client.start("ask", "x", instance_id=instance_id) == instance_id
    client.suspend(instance_id)
    client.resume(instance_id)
    client.raise_event(instance_id, "x", 1)
    assert client.wait(instance_id).output == 1
    client.purge(instance_id)


def test_the_command_line_chooses_it(server: Server, client: Client) -> None:
    for instance_id in ("+1555", "a b", "Müller", "%2F"):
        server.ok("start", "ask", "x", f"--id={instance_id}")
        server.ok("raise", instance_id, "x", "5")
        assert client.wait(instance_id).output == 5
        client.purge(instance_id)


@pytest.mark.parametrize("instance_id", [*NO_IDS, "%FC", "a%C3"])
def test_over_http_another_is_refused_in_the_same_words(http: httpx2.Client, instance_id: str) -> None:
    path = instance_id if instance_id.startswith("%F") or instance_id.endswith("%C3") else quoted(instance_id)
    if path in (".", ".."):
        path = f"%2e{path[1:].replace('.', '%2e')}"
    before = len(http.get(INSTANCES).json())
    answer = http.post(f"/orchestrators/ask/{path}", json="x")
    assert answer.status_code == 400
    assert "instance id is 1 to 100" in answer.json()["Message"] or "not UTF-8" in answer.json()["Message"]
    assert len(http.get(INSTANCES).json()) == before


@pytest.mark.parametrize("instance_id", ["", *NO_IDS])
def test_the_clients_refuse_it_at_the_start_and_know_no_such_instance(client: Client, instance_id: str) -> None:
    with pytest.raises(PayloadError, match="instance id is 1 to 100"):
        client.start("ask", "x", instance_id=instance_id)
    for door in (client.get, client.terminate, client.restart, client.purge, client.waits, client.history):
        with pytest.raises(InstanceNotFoundError):
            door(instance_id)


@settings(deadline=None, max_examples=60)
@given(NAMES, NAMES)
def test_every_id_and_every_event_through_both_clients(
    client: Client, other: tuple[asyncio.Runner, AsyncClient], instance_id: str, event: str
) -> None:
    """What the one check takes, every door takes; what it refuses, every door refuses with the same words."""
    runner, asynchronous = other

    async def through_the_other() -> Any:
        started = await asynchronous.start("ask", event, instance_id=instance_id, reuse="replace")
        await asynchronous.raise_event(started, event, "asynchronous")
        return (await asynchronous.wait(started)).output

    try:
        check_instance_id(instance_id)
        check_event_name(event)
    except PayloadError as refused:
        with pytest.raises(PayloadError, match=re.escape(str(refused))):
            client.raise_event(client.start("ask", "x", instance_id=instance_id, reuse="replace"), event)
        return
    started = client.start("ask", event, instance_id=instance_id, reuse="replace")
    assert started == instance_id
    client.raise_event(started, event, "synchronous")
    assert client.wait(started).output == "synchronous"
    assert runner.run(through_the_other()) == "asynchronous"


# --- names of functions


@pytest.mark.parametrize("name", ["a/b", "Prüfen", "a b", "100%", "{functionName}", "..."])
def test_a_function_of_any_name_is_started_through_every_door(name: str) -> None:
    app = App()

    @app.orchestrator(name=name)
    async def function(ctx: OrchestrationContext) -> str:
        return "done"

    with Server(Settings(db=":memory:"), app) as server, Client(server.url) as client:
        with httpx2.Client(base_url=server.url) as http:
            assert http.post(f"/orchestrators/{quoted(name)}/over-http").status_code == 202
        client.start(name, instance_id="by-client")
        server.ok("start", name, "--id=by-cli")
        for instance_id in ("over-http", "by-client", "by-cli"):
            assert client.wait(instance_id).output == "done"


@pytest.mark.parametrize("name", ["", ".", "..", "../instances", "a\n"])
def test_the_client_knows_no_function_of_an_impossible_name(client: Client, name: str) -> None:
    with pytest.raises(FunctionNotFoundError):
        client.start(name)
    with pytest.raises(FunctionNotFoundError):
        client.start(name, instance_id="x")


@pytest.mark.parametrize(
    ("raw", "query"),
    [(b"/orchestrators/ask/\xb7%2F", b""), (b"/instances/", b"a=\xa7"), (b"/healthz", b"\xc3\xa4")],
)
def test_bytes_that_are_no_text_are_refused_also_where_a_server_lets_them_through(raw: bytes, query: bytes) -> None:
    api = create_app(asking(), Settings(db=":memory:"))
    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": raw.replace(b"%2F", b"/").decode(errors="replace"),
        "raw_path": raw,
        "query_string": query,
        "headers": [(b"host", b"127.0.0.1:7071")],
        "client": HERE,
        "server": ("127.0.0.1", 7071),
    }
    answers: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        answers.append(message)

    async def play() -> None:
        async with api.lifespan():
            await api(scope, receive, send)

    asyncio.run(play())
    assert answers[0]["status"] == 400
