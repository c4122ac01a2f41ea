"""Who may ask, what callers see of errors, and what the log sees of callers."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bide import Settings
from bide.engine.client import Client
from tests.http.conftest import INSTANCES, Api, example, serve


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


@pytest.fixture
def extended() -> Iterator[Api]:
    async def hello(request: Request) -> JSONResponse:
        return JSONResponse({"path": request.url.path})

    app = example()
    app.mounts.append(Route("/dev/hello", hello))
    with serve(Settings(db=":memory:"), app) as served:
        yield served


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
