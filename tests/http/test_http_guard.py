"""Who may ask, what callers see of errors, and what the log sees of callers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import WebSocketDenialResponse
from starlette.types import Message
from starlette.websockets import WebSocket

from bide import Settings
from bide.access.keys import KeyRing, Role, keys_path
from bide.engine.client import Client
from bide.http.gate import listening
from bide.http.server.guard import PROXY_HEADERS, Guard
from tests.http.conftest import INSTANCES, Api, example, serve


@pytest.fixture
def extended() -> Iterator[Api]:
    async def hello(request: Request) -> JSONResponse:
        return JSONResponse({"path": request.url.path})

    app = example()
    app.mounts.append(Route("/dev/hello", hello))
    with serve(Settings(db=":memory:"), app) as served:
        yield served


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:7071", "127.0.0.1", "127.1.2.3:80", "[::1]:7071", "my.test"]
)
def test_known_hosts(host: str) -> None:
    with serve(Settings(db=":memory:", allowed_hosts=("my.test",))) as api:
        assert api.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.test", "127.0.0.1.evil.test", "localhost@evil.test", "a b", "[evil]", ":7071", ""]
)
def test_foreign_hosts_are_refused(api: Api, host: str) -> None:
    answer = api.get("/healthz", headers={"Host": host})
    assert answer.status_code == 400
    assert "allowed_hosts" in answer.json()["Message"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
    ],
)
def test_pages_of_other_sites_change_nothing(api: Api, headers: dict[str, str]) -> None:
    assert api.post("/orchestrators/Approve/x", b"1", "text/plain", headers=headers).status_code == 403
    assert api.get(f"{INSTANCES}/x", headers=headers).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": "http://127.0.0.1:7071"}],
)
def test_own_pages_and_tools_may(api: Api, headers: dict[str, str]) -> None:
    assert api.post("/orchestrators/Approve/x", headers=headers).status_code == 202


# --- behind a proxy


def test_what_a_proxy_passes_on_is_refused_where_no_key_is_needed(extended: Api) -> None:
    paths = (INSTANCES, "/healthz", "/", "/dev/hello", "/respond/x")
    for header, path in product(PROXY_HEADERS, paths):
        for sent in (header, header.upper()):
            answer = extended.get(path, headers={sent: "127.0.0.1"})
            assert answer.status_code == 400
            told = answer.json()["Message"]
            assert f"({header})" in told
            assert "allowed_hosts" in told
            assert "require_key" in told
    assert extended.get("/dev/hello").status_code == 200


@pytest.mark.parametrize("settings", [{"require_key": True}, {"allowed_hosts": ("my.test",)}])
def test_where_callers_need_a_key_proxies_say_what_they_like(settings: dict[str, Any], tmp_path: Path) -> None:
    ring = KeyRing(keys_path(str(tmp_path / "hub.db")))
    key = {"x-functions-key": ring.create("ci", Role.VIEWER, 0)}
    with serve(Settings(db=str(tmp_path / "hub.db"), **settings)) as api:
        for header in PROXY_HEADERS:
            assert api.get(INSTANCES, headers={header: "10.0.0.1", **key}).status_code == 200
            assert api.get(INSTANCES, headers={header: "127.0.0.1"}).status_code == 401


# --- WebSockets, which an app's own routes may serve


@contextmanager
def talking(settings: Settings) -> Iterator[Api]:
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        async for text in socket.iter_text():
            await socket.send_text(text.upper())

    app = example()
    app.mounts.append(WebSocketRoute("/talk", talk))
    with serve(settings, app) as served:
        yield served


def says(api: Api, text: str, **headers: str) -> str:
    with api.http.websocket_connect("ws://127.0.0.1:7071/talk", headers=headers) as socket:
        socket.send_text(text)
        return socket.receive_text()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.test"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "evil.test"}, 400),
        ({"X-Forwarded-For": "127.0.0.1"}, 400),
        ({"X-Large": "x" * 40_000}, 431),
    ],
)
def test_a_websocket_is_judged_as_a_request_is(headers: dict[str, str], status: int) -> None:
    with talking(Settings(db=":memory:")) as api:
        assert says(api, "hello") == "HELLO"
        assert says(api, "hello", Origin="http://127.0.0.1:7071") == "HELLO"
        with pytest.raises(WebSocketDenialResponse) as caught:
            says(api, "hello", **headers)
        assert caught.value.status_code == status


def test_a_websocket_takes_a_key_and_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "LOOK_S", 0)
    ring = KeyRing(keys_path(str(tmp_path / "hub.db")))
    key = ring.create("ci", Role.OPERATOR, 0)
    looker = ring.create("looker", Role.VIEWER, 0)
    with talking(Settings(db=str(tmp_path / "hub.db"), require_key=True)) as api:
        for headers, status in (({}, 401), ({"x-functions-key": "guess"}, 401), ({"x-functions-key": looker}, 403)):
            with pytest.raises(WebSocketDenialResponse) as caught:
                says(api, "hello", **headers)
            assert caught.value.status_code == status
        with api.http.websocket_connect("/talk", headers={"x-functions-key": key}) as socket:
            socket.send_text("hello")
            assert socket.receive_text() == "HELLO"
            ring.revoke("ci")
            assert socket.receive() == {"type": "websocket.close", "code": 1008}


def test_a_server_that_cannot_answer_a_websocket_closes_it() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError

    async def app(*_: object) -> None:
        raise AssertionError

    headers = [(b"host", b"evil.test")]
    scope = {"type": "websocket", "path": "/", "query_string": b"", "headers": headers}
    asyncio.run(Guard(app, Settings())(scope, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


# --- errors


def test_an_unexpected_error_shows_no_internals(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def get(*_: object) -> None:
        raise RuntimeError("the inside")

    monkeypatch.setattr(Client, "get", get)
    answer = api.get(f"{INSTANCES}/x%0Ay?code=a-secret-key")
    assert answer.status_code == 500
    assert list(answer.json()) == ["title", "status", "detail", "Message", "ExceptionMessage"]
    assert "inside" not in answer.text
    (record,) = [record for record in caplog.records if record.name == "bide.http"]
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert record.getMessage() == f"GET {INSTANCES}/x%0Ay failed"
    assert "a-secret-key" not in caplog.text


def test_the_apps_own_routes_are_served(extended: Api) -> None:
    assert extended.get("/dev/hello").json() == {"path": "/dev/hello"}


def test_answers_are_not_kept_or_guessed_at(api: Api) -> None:
    for path in ("/healthz", "/nothing", f"{INSTANCES}/x"):
        headers = api.get(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"


def test_health(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert api.get("/healthz").json() == {"status": "ok"}
    monkeypatch.setattr(Client, "ready", property(lambda _: True))
    assert (api.get("/readyz").status_code, api.get("/readyz").json()) == (200, {"ready": True})
    monkeypatch.setattr(Client, "ready", property(lambda _: False))
    assert (api.get("/readyz").status_code, api.get("/readyz").json()) == (503, {"ready": False})
    assert api.get("/healthz").status_code == 200
