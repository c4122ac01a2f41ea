"""The clients of a URL: the verbs, the values and the errors of the in-process client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from bide import (
    InstanceExistsError,
    InstanceFilter,
    InstanceFinishedError,
    InstanceNotFoundError,
    MisfitError,
    NotAllowedError,
    PayloadError,
    RequestReusedError,
    RuntimeStatus,
    Settings,
)
from bide.client import AsyncClient, Client
from bide.client.wire import EventReader
from bide.errors import (
    AccessDeniedError,
    BusyError,
    FunctionNotFoundError,
    ServerFailedError,
    ServerUnreachableError,
)
from bide.http.app import create_app
from tests.http.conftest import BASE, example

HERE = ("127.0.0.1", 50_000)


@pytest.fixture
def client() -> Iterator[Client]:
    with TestClient(create_app(example(), Settings(db=":memory:")), base_url=BASE, client=HERE) as http:
        yield Client(BASE, http=http)


@asynccontextmanager
async def asynchronous() -> AsyncIterator[AsyncClient]:
    api = create_app(example(), Settings(db=":memory:"))
    async with api.lifespan(), httpx2.AsyncClient(transport=httpx2.ASGITransport(api, client=HERE)) as http:
        yield AsyncClient(BASE, http=http)


def test_from_the_start_to_the_end(client: Client) -> None:
    instance_id = client.start(
        "YesOrNo", instance_id="a/b c".replace("/", ":").replace(" ", "-"), tags={"team": "blue"}
    )
    instance = client.get(instance_id)
    assert (instance.id, instance.name, instance.status) == ("a:b-c", "YesOrNo", RuntimeStatus.RUNNING)
    assert instance.tags == {"team": "blue"}
    (wait,) = client.waits(instance_id)
    assert (wait.name, wait.orchestrator, bytes(wait.schema_json)) == ("Answer", "YesOrNo", b'{"type":"boolean"}')
    client.raise_event(instance_id, "Answer", True)
    assert client.wait(instance_id, timedelta(seconds=10)).output is True
    assert [type(step.facts[0]).__name__ for step in client.history(instance_id)] == [
        "ExecutionStarted",
        "EventRaised",
    ]


def test_every_verb(client: Client) -> None:
    instance_id = client.start("Approve", {"who": "me"})
    client.suspend(instance_id, "lunch")
    assert client.get(instance_id).status is RuntimeStatus.SUSPENDED
    client.resume(instance_id)
    client.terminate(instance_id, "enough", recurse=True)
    assert client.get(instance_id).output == "enough"
    again = client.restart(instance_id)
    assert again != instance_id
    assert client.get(again).input == {"who": "me"}
    assert client.restart(instance_id, new_instance_id=False) == instance_id
    failed = client.start("Fail")
    client.wait(failed)
    client.rewind(failed, "try again")
    client.wait(failed)
    client.purge(failed)
    (wait,) = client.waits(again)
    for chosen in (None, wait.id):
        link = client.response_link(again, "Answer", wait_id=chosen, valid_for=timedelta(days=1))
        assert link.startswith(f"{BASE}/respond/bide.")
    for name, wait_id in (("Other", None), ("Answer", wait.id + 1)):
        with pytest.raises(NotAllowedError, match="one open wait"):
            client.response_link(again, name, wait_id=wait_id)
    verbs = [entry.verb for entry in client.audit(instance_id)]
    assert verbs == ["restart", "terminate", "resume", "suspend", "start"]
    assert {each.name for each in client.orchestrators()} == set(example().registry.orchestrators)


def test_lists_go_over_all_pages(client: Client) -> None:
    ids = [client.start("Echo", number, tags={"n": str(number % 2)}) for number in range(7)]
    assert [shown.instance_id for shown in client.statuses(page=2)] == ids[::-1]
    odd = InstanceFilter(tags={"n": "1"}, statuses=(RuntimeStatus.COMPLETED,), name="Echo")
    assert [instance.output for instance in client.instances(odd)] == [5, 3, 1]
    assert client.counts(odd) == {RuntimeStatus.COMPLETED: 3}
    client.start("Approve")
    assert [wait.orchestrator for wait in client.open_waits()] == ["Approve"]
    assert list(client.open_waits(overdue=True)) == []
    assert len(list(client.open_waits(orchestrator="Approve"))) == 1
    assert list(client.open_waits(orchestrator="Echo")) == []
    assert list(client.open_waits(tags={"team": "nobody's"})) == []
    assert client.purge_many(odd, 2) == 2
    assert client.purge_many(odd) == 1
    assert client.purge_many(odd) == 0


def test_what_is_safe_to_repeat(client: Client) -> None:
    first = client.start("Approve", 1, idempotency_key="k")
    assert client.start("Approve", 1, idempotency_key="k") == first
    with pytest.raises(RequestReusedError):
        client.start("Approve", 2, idempotency_key="k")
    assert client.start("Approve", 1) != client.start("Approve", 1)


def test_an_id_is_used_again_if_the_caller_says_so(client: Client) -> None:
    client.start("Approve", 1, instance_id="a")
    for wanted in ("never", "ended"):
        with pytest.raises(InstanceExistsError, match="'a' already exists"):
            client.start("Approve", 2, instance_id="a", reuse=wanted)
    client.start("Approve", 2, instance_id="a", reuse="replace")
    assert client.get("a").input == 2
    client.terminate("a")
    client.start("Approve", 3, instance_id="a", reuse="ended")
    assert (client.get("a").input, client.get("a").status) == (3, RuntimeStatus.RUNNING)
    for _ in range(2):
        client.start("Approve", 4, instance_id="a", reuse="replace", idempotency_key="k")
    assert [entry.verb for entry in client.audit("a")].count("start") == 7


def test_errors_are_those_of_the_in_process_client(client: Client) -> None:
    for call in (client.get, client.suspend, client.purge, client.history, client.waits):
        with pytest.raises(InstanceNotFoundError, match="nobody"):
            call("nobody")
    with pytest.raises(FunctionNotFoundError, match="Registered: Approve"):
        client.start("Nothing")
    with pytest.raises(MisfitError) as misfit:
        client.start("Strict", {"a": 1})
    assert misfit.value.path == "$"
    client.start("Approve", 1, instance_id="a")
    with pytest.raises(InstanceExistsError):
        client.start("Approve", 2, instance_id="a")
    with pytest.raises(NotAllowedError):
        client.purge("a")
    with pytest.raises(NotAllowedError):
        client.rewind("a")
    with pytest.raises(TimeoutError, match="still Running"):
        client.wait("a", timedelta(0))
    client.terminate("a")
    with pytest.raises(InstanceFinishedError):
        client.raise_event("a", "Answer", 1)
    with pytest.raises(PayloadError):
        client.start("Approve", 1, instance_id="a/b")


def test_a_key_is_sent_and_missed() -> None:
    settings = Settings(db=":memory:", require_key=True)
    with TestClient(create_app(example(), settings), base_url=BASE, client=HERE) as http:
        with pytest.raises(AccessDeniedError):
            Client(BASE, http=http).get("a")
        with pytest.raises(AccessDeniedError):
            Client(BASE, http=http, key="bide_wrong").get("a")


def answering(status: int, body: bytes) -> Client:
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status, content=body))
    return Client("http://elsewhere.test", http=httpx2.Client(transport=transport))


@pytest.mark.parametrize(("status", "body"), [(200, b"<html>"), (502, b"Bad Gateway"), (200, b"[]")])
def test_a_server_that_is_none_of_ours(status: int, body: bytes) -> None:
    with pytest.raises(ServerFailedError, match="Is the URL right"):
        answering(status, body).get("a")


def test_a_busy_server_says_so() -> None:
    body = b'{"type":"urn:bide:BusyError","title":"","status":503,"detail":"as much work","Message":""}'
    with pytest.raises(BusyError, match="as much work"):
        answering(503, body).get("a")


def test_a_broken_connection_is_tried_again_where_that_is_safe() -> None:
    seen: list[httpx2.Request] = []

    def break_twice(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        if len(seen) < 3:
            raise httpx2.ConnectError("refused")
        return httpx2.Response(202, json={"id": "a"})

    client = Client(BASE, http=httpx2.Client(transport=httpx2.MockTransport(break_twice)))
    client._pause = lambda attempt: None  # type: ignore[method-assign]
    assert client.start("Approve") == "a"
    assert len({request.headers["idempotency-key"] for request in seen}) == 1
    seen.clear()
    with pytest.raises(ServerUnreachableError, match=r"No answer from http://127.0.0.1:7071: refused"):
        client.terminate("a")
    assert len(seen) == 1


def test_a_url_is_needed() -> None:
    with pytest.raises(ValueError, match="begins with http"):
        Client("localhost:7071")


def test_the_events_of_an_instance(client: Client) -> None:
    instance_id = client.start("Echo", 7)
    events = list(client.events(instance_id))
    assert [event.kind for event in events] == ["step", "end"]
    assert events[0].id == events[1].id == f"0.0.{events[0].data['facts'][0]['birth']}"
    assert events[1].data["output"] == 7
    with pytest.raises(InstanceNotFoundError):
        next(client.events("nobody"))


def test_lines_make_events() -> None:
    reader = EventReader()
    lines = ["id: 0.1", "event: step", 'data: {"a": 1}', "", ": still here", ""]
    found = [event for line in lines if (event := reader.feed(line))]
    assert [(event.id, event.kind, event.data) for event in found] == [("0.1", "step", {"a": 1})]
    assert reader.last_id == "0.1"


def test_a_stream_whose_key_counts_no_more_is_not_opened_again() -> None:
    reader = EventReader()
    problem = (
        '{"title": "Unauthorized", "status": 401, "detail": "It counts no more.", "Message": "It counts no more."}'
    )
    assert [reader.feed(line) for line in ("id: 0.1", "event: unauthorized")] == [None, None]
    with pytest.raises(AccessDeniedError, match=r"It counts no more\."):
        reader.feed(f"data: {problem}")


def test_the_same_verbs_to_be_awaited() -> None:
    async def main() -> None:
        async with asynchronous() as client:
            instance_id = await client.start("YesOrNo", tags={"team": "blue"})
            assert [wait.name for wait in await client.waits(instance_id)] == ["Answer"]
            await client.raise_event(instance_id, "Answer", True)
            assert (await client.wait(instance_id, timedelta(seconds=10))).output is True
            assert [each.id async for each in client.instances()] == [instance_id]
            assert [event.kind async for event in client.events(instance_id)] == ["step", "step", "end"]
            with pytest.raises(InstanceNotFoundError):
                await client.get("nobody")

    asyncio.run(main())


def test_both_clients_have_the_same_verbs() -> None:
    def verbs(kind: type[Any]) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert verbs(Client) == verbs(AsyncClient)


def test_several_arguments_are_a_dict_here(client: Client) -> None:
    with pytest.raises(TypeError, match="Give several arguments as a dict by their names"):
        client.start("Approve", "a", "b")


async def _refused_asynchronously() -> None:
    async with asynchronous() as client:
        with pytest.raises(TypeError, match="Give several arguments as a dict by their names"):
            await client.start("Approve", "a", "b")


def test_several_arguments_are_a_dict_asynchronously_too() -> None:
    asyncio.run(_refused_asynchronously())
