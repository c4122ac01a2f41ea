"""The API inside another ASGI app."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount
from starlette.testclient import TestClient

from bide import App, DevelopmentOnlyError, DevelopmentRoute, Settings
from bide.http.app import create_app
from tests.http.conftest import BASE, INSTANCES, example, serve

HOST = ("127.0.0.1", 50_000)


def test_it_runs_when_its_lifespan_is_entered() -> None:
    durable = example().asgi(Settings(db=":memory:"))
    host = Starlette(routes=[Mount("/durable", durable)], lifespan=durable.lifespan)
    with TestClient(host, base_url=BASE, client=HOST) as http:
        uris = http.post("/durable/orchestrators/Approve", json="in").json()
        assert uris["statusQueryGetUri"].startswith(f"{BASE}/durable{INSTANCES}/")
        shown = http.get(uris["statusQueryGetUri"])
        assert shown.json()["runtimeStatus"] == "Running"
        assert shown.headers["location"] == uris["statusQueryGetUri"]
        assert http.post(uris["sendEventPostUri"].replace("{eventName}", "Answer"), json="yes").status_code == 202
        assert http.get(f"{uris['statusQueryGetUri']}&wait=10s").json()["output"] == "yes"
        assert http.get("/durable/openapi.json").json()["servers"] == [{"url": "/durable"}]


def test_without_its_lifespan_the_first_request_says_what_to_add() -> None:
    durable = create_app(example(), Settings(db=":memory:"))
    with TestClient(Starlette(routes=[Mount("/durable", durable)]), base_url=BASE, client=HOST) as http:
        answer = http.post("/durable/orchestrators/Approve")
        assert answer.status_code == 500
        assert "lifespan=durable.lifespan" in answer.json()["Message"]
        assert "async with durable.lifespan(app):" in answer.json()["Message"]


def test_a_caller_from_elsewhere_needs_a_key_although_the_settings_say_loopback() -> None:
    durable = example().asgi(Settings(db=":memory:"))
    host = Starlette(routes=[Mount("/durable", durable)], lifespan=durable.lifespan)
    with TestClient(host, base_url=BASE, client=("10.0.0.7", 50_000)) as http:
        assert http.get(f"/durable{INSTANCES}").status_code == 401
        assert http.post("/durable/orchestrators/Approve").status_code == 401
        assert http.get("/durable/openapi.json").status_code == 401
        assert http.get("/durable/healthz").status_code == 200


# --- what is for development only


def development(nested: bool = False) -> App:
    app = example()
    route = DevelopmentRoute("/dev/peek", lambda request: JSONResponse("peek"), instead="Look elsewhere.")
    app.mounts.append(Mount("/below", routes=[route]) if nested else route)
    return app


def test_a_development_route_is_served_on_this_machine_alone() -> None:
    with serve(Settings(db=":memory:"), development()) as api:
        assert api.get("/dev/peek").json() == "peek"


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"environment": "production"}, "environment is production"),
        ({"host": "0.0.0.0"}, "others can reach this server"),
        ({"allowed_hosts": ("a.test",)}, "others can reach this server"),
        ({"public_url": "https://a.test"}, "others can reach this server"),
        ({"require_key": True}, "callers need a key"),
    ],
)
def test_elsewhere_an_app_with_one_is_refused_before_anything_runs(
    tmp_path: Path, settings: dict[str, Any], reason: str, nested: bool
) -> None:
    with pytest.raises(DevelopmentOnlyError, match=f"^/dev/peek is for development only, .*{reason}.*elsewhere"):
        development(nested).asgi(Settings(db=str(tmp_path / "a.db"), **settings))
    assert list(tmp_path.iterdir()) == []


def test_an_app_without_one_runs_in_production() -> None:
    with serve(Settings(db=":memory:", environment="production")) as api:
        assert api.get("/readyz").status_code == 200
