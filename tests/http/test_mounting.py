"""The API inside another ASGI app."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from holdfast import Settings
from holdfast.http.app import create_app
from tests.http.conftest import BASE, INSTANCES, example

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
