"""An id that is used again is another instance: nothing of the first one is in the second.

Each test purges an instance, starts another one under its id, and looks for what both have in common.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pytest

from bide import App, OrchestrationContext, Settings, current_call
from bide.access.keys import KeyRing, Role, keys_path
from bide.config import TokenVerb
from tests.http.conftest import INSTANCES, Api, serve


@dataclass
class World:
    """What the activities have seen."""

    keys: list[str] = field(default_factory=list[str])
    codes: list[bytes] = field(default_factory=list[bytes])
    runs: int = 0
    failing: bool = False


def example(world: World) -> App:
    app = App()

    @app.activity
    def pay() -> int:
        call = current_call()
        world.keys.append(call.idempotency_key)
        world.codes.append(call.derive("code"))
        world.runs += 1
        if world.failing:
            raise ValueError(f"failed in run {world.runs}")
        return world.runs

    @app.orchestrator(name="Order")
    async def order(ctx: OrchestrationContext) -> list[Any]:
        return [await ctx.call_activity(pay), str(ctx.new_uuid()), ctx.random.random()]

    @app.orchestrator(name="Child")
    async def child(ctx: OrchestrationContext, value: str, waits: bool = False) -> int:
        run = await ctx.call_activity(pay)
        if waits:
            await ctx.wait_for_external_event("Go")
        return run

    @app.orchestrator(name="Parent")
    async def parent(ctx: OrchestrationContext, value: str = "a", waits: bool = False) -> int:
        return await ctx.call_sub_orchestrator(child, value, waits)

    @app.orchestrator(name="Ask")
    async def ask(ctx: OrchestrationContext) -> Any:
        ctx.set_custom_status(ctx.response_url("Answer"))
        first = await ctx.wait_for_external_event("Answer")
        return [first, await ctx.wait_for_external_event("More")]

    return app


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(params=["memory", "sqlite"])
def api(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Iterator[Api]:
    db = ":memory:" if request.param == "memory" else str(tmp_path / "hub.db")
    with serve(Settings(db=db), example(world)) as served:
        yield served


@pytest.fixture
def closed(world: World, tmp_path: Path) -> Iterator[Api]:
    """It demands keys."""
    settings = Settings(db=str(tmp_path / "hub.db"), require_key=True, token_verbs=get_args(TokenVerb))
    with serve(settings, example(world)) as served:
        yield served


@pytest.fixture
def admin(tmp_path: Path) -> dict[str, str]:
    return {"x-functions-key": KeyRing(keys_path(str(tmp_path / "hub.db"))).create("boss", Role.ADMIN, 0)}


def start(api: Api, name: str, body: bytes = b"", **options: Any) -> dict[str, Any]:
    answer = api.post(f"/orchestrators/{name}/x", body, **options)
    assert answer.status_code == 202, answer.text
    uris: dict[str, Any] = answer.json()
    return uris


def purge(api: Api) -> None:
    api.post(f"{INSTANCES}/x/terminate")
    assert api.http.delete(f"{INSTANCES}/x").status_code == 200


def lives(api: Api, name: str, *bodies: bytes) -> list[dict[str, Any]]:
    """What becomes of one instance after the other, all of the same id."""
    ends: list[dict[str, Any]] = []
    for body in bodies or (b"", b""):
        start(api, name, body)
        ends.append(api.ended("x"))
        purge(api)
    return ends


# --- what is derived


def test_the_same_call_of_another_life_has_another_idempotency_key(api: Api, world: World) -> None:
    lives(api, "Order")
    assert len(set(world.keys)) == 2


def test_what_is_derived_from_a_call_is_another_in_another_life(api: Api, world: World) -> None:
    lives(api, "Order")
    assert len(set(world.codes)) == 2


def test_uuids_and_random_numbers_are_others_in_another_life(api: Api) -> None:
    one, other = (end["output"] for end in lives(api, "Order"))
    assert one[1] != other[1]
    assert one[2] != other[2]


# --- children


@pytest.mark.parametrize("second", [b'{"value": "a"}', b'{"value": "b"}'])
def test_a_child_runs_again_in_another_life(api: Api, world: World, second: bytes) -> None:
    ends = lives(api, "Parent", b'{"value": "a"}', second)
    assert [end["output"] for end in ends] == [1, 2]
    assert world.runs == 2


def test_a_child_that_had_failed_runs_again_in_another_life(api: Api, world: World) -> None:
    world.failing = True
    start(api, "Parent")
    assert "failed in run 1" in api.ended("x")["output"]
    purge(api)
    world.failing = False
    start(api, "Parent")
    assert api.ended("x")["output"] == 2


def test_a_child_that_waits_still_is_not_adopted_by_another_life(api: Api) -> None:
    for _ in range(2):
        start(api, "Parent", b'{"waits": true}')
        purge(api)
    children = [each for each in api.get(INSTANCES).json() if each["name"] == "Child"]
    assert len(children) == 2
    assert children[0]["parent"]["instanceId"] == children[1]["parent"]["instanceId"] == "x"


# --- links


def link_of(api: Api) -> str:
    link: str = api.status("x")["customStatus"]
    return link


@pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
def test_a_link_of_an_earlier_life_is_closed(api: Api, used: bool) -> None:
    start(api, "Ask")
    link = link_of(api)
    if used:
        assert api.post(link, b'"mine"').status_code == 202
    purge(api)
    start(api, "Ask")
    assert link_of(api) != link
    assert api.get(link).status_code == 410
    assert api.post(link, b'"intruder"').status_code == 410
    assert api.post(link, b"$=intruder&key=k", "application/x-www-form-urlencoded").status_code == 410
    assert api.status("x")["waits"][0]["name"] == "Answer"
    assert api.post(link_of(api), b'"right"').status_code == 202


def test_a_link_takes_one_answer_in_each_life(api: Api) -> None:
    for _ in range(2):
        start(api, "Ask")
        assert api.post(link_of(api), b'"one"').status_code == 202
        assert api.post(link_of(api), b'"other"').status_code == 410
        purge(api)


def test_a_link_that_was_asked_for_is_of_one_life_too(api: Api) -> None:
    start(api, "Ask")
    link = api.post(f"{INSTANCES}/x/responseLinks/Answer").json()["url"]
    purge(api)
    assert api.post(link, b"1").status_code == 410
    start(api, "Ask")
    assert api.post(link, b"1").status_code == 410


# --- a start that says what becomes of the one before


def test_a_start_may_replace_what_has_ended_or_runs(api: Api) -> None:
    wanted = [("", 202), ("?reuse=never", 409), ("?reuse=ended", 202), ("?reuse=replace", 202), ("?reuse=x", 400)]
    for query, status in wanted:
        assert api.post(f"/orchestrators/Ask/x{query}").status_code == status, query
    assert api.post("/orchestrators/Order/x?reuse=ended").status_code == 409
    api.post(f"{INSTANCES}/x/terminate")
    assert api.post("/orchestrators/Ask/x?reuse=ended").status_code == 202
    assert api.status("x")["runtimeStatus"] == "Running"


@pytest.mark.parametrize("reuse", ["ended", "replace"])
def test_links_and_uris_of_what_was_replaced_find_nothing(closed: Api, admin: dict[str, str], reuse: str) -> None:
    old = start(closed, "Ask", headers=admin)
    link = closed.get(old["statusQueryGetUri"]).json()["customStatus"]
    if reuse == "ended":
        send(closed, old, "terminatePostUri")
    answer = closed.post(f"/orchestrators/Ask/x?reuse={reuse}", headers=admin)
    new = answer.json()
    assert closed.post(link, b"1").status_code == 410
    assert closed.get(old["statusQueryGetUri"]).status_code == 404
    assert closed.get(new["statusQueryGetUri"]).json()["runtimeStatus"] == "Running"
    assert len(closed.get(f"{INSTANCES}/x/audit", headers=admin).json()) >= 2


def test_a_repeated_request_replaces_once(api: Api) -> None:
    start(api, "Order")
    keyed = {"Idempotency-Key": "k"}
    for _ in range(3):
        assert api.post("/orchestrators/Order/x?reuse=replace", headers=keyed).status_code == 202
    assert api.ended("x")["output"][0] == 2
    assert api.post("/orchestrators/Order/x?reuse=ended", headers=keyed).status_code == 422


def test_who_waits_for_the_result_gets_that_of_the_new_one(api: Api) -> None:
    start(api, "Order")
    api.ended("x")
    assert api.post("/orchestrators/Order/x?reuse=replace&wait=10s").json()[0] == 2


# --- management URIs


def test_the_uris_of_an_earlier_life_are_of_no_use(closed: Api, admin: dict[str, str]) -> None:
    old = start(closed, "Ask", headers=admin)
    assert closed.get(old["statusQueryGetUri"]).status_code == 202
    for verb in ("terminatePostUri", "purgeHistoryDeleteUri"):
        send(closed, old, verb)
    assert closed.get(old["statusQueryGetUri"]).status_code == 404  # gone
    new = start(closed, "Ask", headers=admin)
    for verb in old:
        if verb != "id":
            assert send(closed, old, verb) == 404, verb
    for path in ("history", "waits", "events"):
        assert closed.get(f"{INSTANCES}/x/{path}", params={"code": code_in(old)}).status_code == 404
    assert closed.get(f"{INSTANCES}/x?wait=5s", params={"code": code_in(old)}).status_code == 404
    assert closed.get(new["statusQueryGetUri"]).json()["runtimeStatus"] == "Running"
    assert closed.get(new["statusQueryGetUri"]).json()["waits"][0]["name"] == "Answer"
    assert send(closed, new, "sendEventPostUri") == 202


def test_a_repeated_start_gives_uris_of_the_life_that_is_there(closed: Api, admin: dict[str, str]) -> None:
    start(closed, "Ask", headers=admin)
    again = start(closed, "Ask", headers=admin)
    assert closed.get(again["statusQueryGetUri"]).status_code == 202


def test_the_uris_outlive_a_restart_in_place(closed: Api, admin: dict[str, str]) -> None:
    uris = start(closed, "Ask", headers=admin)
    send(closed, uris, "terminatePostUri")
    again = closed.post(f"{INSTANCES}/x/restart?restartWithNewInstanceId=false", headers=admin)
    assert again.status_code == 202
    assert closed.get(uris["statusQueryGetUri"]).status_code == 202
    assert closed.get(again.json()["statusQueryGetUri"]).status_code == 202


def code_in(uris: dict[str, Any]) -> str:
    code: str = uris["statusQueryGetUri"].partition("code=")[2].partition("&")[0]
    return code


def send(api: Api, uris: dict[str, Any], verb: str) -> int:
    """Do what one of the URIs is for."""
    url = uris[verb].replace("{eventName}", "Answer").replace("{text}", "why")
    if verb.endswith("GetUri"):
        return api.get(url).status_code
    if verb.endswith("DeleteUri"):
        return api.http.delete(url).status_code
    return api.post(url, b'"intruder"').status_code
