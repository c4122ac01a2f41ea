"""The API inside another ASGI app."""

from __future__ import annotations

import asyncio
import functools
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount
from starlette.testclient import TestClient

from bide import App, DevelopmentOnlyError, DevelopmentRoute, Instance, OrchestrationContext, Settings
from bide.http.app import DurableApi, create_app
from tests.http.conftest import BASE, INSTANCES, example, serve

HOST = ("127.0.0.1", 50_000)


def seen(http: TestClient, durable: DurableApi, instance_id: str) -> Instance:
    """The instance, asked for in the loop that the app runs in."""
    assert http.portal is not None
    return http.portal.call(durable.client.get, instance_id)


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


def asks_for_a_link() -> App:
    app = App()

    @app.orchestrator
    async def ask(ctx: OrchestrationContext) -> str:
        ctx.set_custom_status(ctx.response_url("Answer"))
        return await ctx.wait_for_external_event("Answer", str)

    return app


@pytest.mark.parametrize("settings", [{}, {"port": 8000}, {"host": "0.0.0.0"}], ids=["none", "port", "host"])
def test_without_an_address_no_link_is_made_and_with_one_the_instance_goes_on(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    db = str(tmp_path / "bide.db")
    mounted = asks_for_a_link().asgi(Settings(db=db, **settings))
    host = Starlette(routes=[Mount("/durable", mounted)], lifespan=mounted.lifespan)
    with TestClient(host, base_url=BASE, client=HOST) as http:
        assert http.portal is not None
        http.portal.call(functools.partial(mounted.client.start, instance_id="a"), "ask", None)
        shown = seen(http, mounted, "a")
        assert shown.held is not None
        assert "Set public_url to that address, with the path it is mounted under" in shown.held
    mounted = asks_for_a_link().asgi(Settings(db=db, public_url="https://a.test/durable/", **settings))
    host = Starlette(routes=[Mount("/durable", mounted)], lifespan=mounted.lifespan)
    with TestClient(host, base_url=BASE, client=HOST) as http:
        shown = seen(http, mounted, "a")
        assert shown.held is None
        assert str(shown.custom_status).startswith("https://a.test/durable/respond/")


def test_a_list_can_be_of_what_is_held_alone(tmp_path: Path) -> None:
    app = asks_for_a_link()

    @app.orchestrator
    async def goes_on(ctx: OrchestrationContext) -> None: ...

    mounted = app.asgi(Settings(db=str(tmp_path / "bide.db")))
    host = Starlette(routes=[Mount("/durable", mounted)], lifespan=mounted.lifespan)
    with TestClient(host, base_url=BASE, client=HOST) as http:
        assert http.portal is not None
        for name in ("ask", "goes_on"):
            http.portal.call(functools.partial(mounted.client.start, instance_id=name), name, None)
        lists = {held: http.get(f"/durable{INSTANCES}?held={held}").json() for held in ("true", "false")}
        counts = http.get(f"/durable{INSTANCES.removesuffix('/instances')}/counts?held=true").json()
    assert [each["instanceId"] for each in lists["true"]] == ["ask"]
    assert {each["instanceId"] for each in lists["false"]} == {"ask", "goes_on"}
    assert sum(counts.values()) == 1


def test_an_app_that_runs_without_being_served_makes_links_to_nowhere_only_if_it_knows_where(
    tmp_path: Path,
) -> None:
    async def seen_after_start(**settings: Any) -> Instance:
        app = asks_for_a_link()
        async with asyncio.timeout(10), app.running(Settings(db=str(tmp_path / "bide.db"), **settings)) as client:
            await client.start("ask", instance_id="a", reuse="replace")
            while True:
                shown = await client.get("a")
                if shown.held is not None or shown.custom_status:
                    return shown
                await asyncio.sleep(0)

    held = asyncio.run(seen_after_start(port=8000)).held
    assert held is not None
    assert "this app is not served" in held
    found = asyncio.run(seen_after_start(public_url="https://a.test"))
    assert str(found.custom_status).startswith("https://a.test/respond/")


def test_code_that_catches_every_exception_does_not_take_the_missing_address(tmp_path: Path) -> None:
    app = App()

    @app.orchestrator
    async def ask(ctx: OrchestrationContext) -> str:
        try:
            return ctx.response_url("Answer")
        except Exception:
            return "no link"

    mounted = app.asgi(Settings(db=":memory:"))
    with TestClient(Starlette(lifespan=mounted.lifespan)) as http:
        assert http.portal is not None
        http.portal.call(functools.partial(mounted.client.start, instance_id="a"), ask, None)
        shown = http.portal.call(mounted.client.get, "a")
        assert (shown.status, shown.held is None) == ("Pending", False)


def test_the_client_is_there_while_the_app_runs() -> None:
    app = example()
    durable = app.asgi(Settings(db=":memory:"))
    with pytest.raises(RuntimeError, match=r"lifespan=durable\.lifespan"):
        _ = durable.client
    with pytest.raises(RuntimeError, match="does not run in this process yet"):
        _ = app.client
    with TestClient(Starlette(lifespan=durable.lifespan)):
        assert app.client is durable.client
    with pytest.raises(RuntimeError, match=r"lifespan=durable\.lifespan"):
        _ = durable.client
    with pytest.raises(RuntimeError, match="does not run in this process yet"):
        _ = app.client


def test_the_documented_app_links_to_itself_and_answers() -> None:
    pytest.importorskip("fastapi")
    page = (Path(__file__).parents[2] / "docs" / "http.md").read_text()
    (code,) = [each for each in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S) if "FastAPI(" in each]
    module = ModuleType("documented")
    sys.modules["documented"] = module
    try:
        exec(compile(code, "docs/http.md", "exec"), vars(module))
    finally:
        del sys.modules["documented"]
    with TestClient(module.web, base_url="http://127.0.0.1:8000", client=HOST) as http:
        ids = [http.post("/expenses?euros=12.5").json()["id"] for _ in range(2)]
        status = f"/durable{INSTANCES}/{{}}?wait=10s"
        link = http.get(f"/durable{INSTANCES}/{ids[0]}").json()["customStatus"]["link"]
        assert link.startswith("http://127.0.0.1:8000/durable/respond/")
        assert http.get(link).status_code == 200
        assert http.post(link, json=True).status_code == 202
        assert http.post(f"/expenses/{ids[1]}/decision?approved=false").status_code == 200
        assert [http.get(status.format(each)).json()["output"] for each in ids] == [True, False]


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
