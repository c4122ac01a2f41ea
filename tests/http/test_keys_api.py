"""Keys and tokens at the API's door: no call gets by them, and no refusal says what is behind."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from bide import Settings
from bide.access.keys import KeyRing, Role, keys_path
from tests.http.conftest import INSTANCES, Api, nearly, serve

READS = [
    ("GET", "/runtime/webhooks/durabletask/instances"),
    ("GET", "/runtime/webhooks/durabletask/counts"),
    ("GET", "/runtime/webhooks/durabletask/waits"),
    ("GET", "/runtime/webhooks/durabletask/orchestrators"),
    ("GET", "/openapi.json"),
    ("GET", f"{INSTANCES}/a"),
    ("GET", f"{INSTANCES}/a/history"),
    ("GET", f"{INSTANCES}/a/waits"),
]
ACTS = [
    ("POST", "/orchestrators/Echo"),
    ("POST", f"{INSTANCES}/a/raiseEvent/Nothing"),
    ("POST", f"{INSTANCES}/a/suspend"),
    ("POST", f"{INSTANCES}/a/resume"),
    ("POST", f"{INSTANCES}/a/rewind"),
    ("POST", f"{INSTANCES}/a/restart"),
    ("POST", f"{INSTANCES}/a/terminate"),
    ("POST", f"{INSTANCES}/a/responseLinks/Answer"),
]
RULES = [
    ("GET", "/runtime/webhooks/durabletask/audit"),
    ("GET", f"{INSTANCES}/a/audit"),
    ("DELETE", f"{INSTANCES}/a"),
    ("DELETE", INSTANCES),
    ("POST", "/runtime/webhooks/durabletask/makeprimary"),
]
MAY = {"viewer": READS, "operator": READS + ACTS, "admin": READS + ACTS + RULES}


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing(keys_path(str(tmp_path / "hub.db")))


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serve(Settings(db=str(tmp_path / "hub.db"), require_key=True)) as served:
        yield served


@pytest.fixture
def admin(ring: KeyRing) -> dict[str, str]:
    return {"x-functions-key": ring.create("boss", Role.ADMIN, 0)}


@pytest.mark.parametrize(("method", "path"), READS + ACTS + RULES)
def test_nothing_goes_without_a_key(api: Api, admin: dict[str, str], method: str, path: str) -> None:
    assert api.post("/orchestrators/Approve/a", headers=admin).status_code == 202
    for tried in (path, path.replace("/instances/a", "/instances/not-there")):
        refused = [
            api.http.request(method, tried),
            api.http.request(method, f"{tried}?code=guess"),
            api.http.request(method, tried, headers={"Authorization": "Bearer bide.a.b"}),
            api.http.request(method, f"{tried}?code=other", headers=admin),
        ]
        assert [answer.status_code for answer in refused] == [401] * 4
        assert all(answer.headers["www-authenticate"] == "Bearer" for answer in refused)
        assert all("guess" not in answer.text for answer in refused)
    assert api.http.get(f"{INSTANCES}/a", headers=admin).json()["runtimeStatus"] == "Running"


@pytest.mark.parametrize("role", Role)
def test_a_role_may_what_it_may_and_no_more(api: Api, ring: KeyRing, admin: dict[str, str], role: Role) -> None:
    assert api.post("/orchestrators/Approve/a", headers=admin).status_code == 202
    key = {"Authorization": f"Bearer {ring.create('someone', role, 0)}"}
    refused = {call for call in READS + ACTS + RULES if api.http.request(*call, headers=key).status_code == 403}
    assert refused == set(READS + ACTS + RULES) - set(MAY[role])


def test_a_refusal_does_not_say_whether_an_instance_exists(api: Api, ring: KeyRing, admin: dict[str, str]) -> None:
    started = api.post("/orchestrators/Approve/a", headers=admin).json()
    code = parse_qs(urlsplit(started["statusQueryGetUri"]).query)["code"][0]
    api.post("/orchestrators/Approve/b", headers=admin)
    viewer = ring.create("guest", Role.VIEWER, 0)
    for key, status in ((code, 403), (viewer, 403), ("guess", 401)):
        headers = {"x-functions-key": key}
        there, not_there = (api.post(f"{INSTANCES}/{name}/terminate", headers=headers) for name in ("b", "c"))
        assert (there.status_code, not_there.status_code) == (status, status)
        assert there.content == not_there.content


def test_the_uris_of_an_instance_carry_no_key_of_the_hub(api: Api, admin: dict[str, str]) -> None:
    answer = api.post("/orchestrators/Approve/a", headers=admin)
    assert admin["x-functions-key"] not in answer.text
    uris = answer.json()
    assert api.get(uris["statusQueryGetUri"]).status_code == 202
    assert api.post(uris["sendEventPostUri"].replace("{eventName}", "Answer"), b"1").status_code == 202


def test_a_token_is_refused_elsewhere(api: Api, admin: dict[str, str]) -> None:
    started = api.post("/orchestrators/Approve/a", headers=admin).json()
    code = parse_qs(urlsplit(started["statusQueryGetUri"]).query)["code"][0]
    api.post("/orchestrators/Approve/b", headers=admin)
    for method, path in READS + ACTS + RULES:
        if "/instances/a" not in path:
            assert api.http.request(method, path, params={"code": code}).status_code == 403
        other = path.replace("/instances/a", "/instances/b")
        assert api.http.request(method, other, params={"code": code}).status_code == 403


def test_a_change_of_any_character_of_a_token_is_refused(api: Api, admin: dict[str, str]) -> None:
    started = api.post("/orchestrators/Approve/a", headers=admin).json()
    code = parse_qs(urlsplit(started["statusQueryGetUri"]).query)["code"][0]
    for changed in nearly(code):
        assert api.get(f"{INSTANCES}/a", params={"code": changed}).status_code in (401, 429)


def test_a_server_that_is_open_here_judges_what_it_is_shown(tmp_path: Path, ring: KeyRing) -> None:
    viewer = ring.create("guest", Role.VIEWER, 0)
    with serve(Settings(db=str(tmp_path / "hub.db"))) as api:
        started = api.post("/orchestrators/Approve/a").json()
        code = parse_qs(urlsplit(started["statusQueryGetUri"]).query)["code"][0]
        for shown, status in (("XXX", 202), ("", 202), (viewer, 403), (code, 202), (code[:-1] + "!", 401)):
            answer = api.post(f"{INSTANCES}/a/raiseEvent/Other", params={"code": shown})
            assert answer.status_code == status


def test_a_revoked_key_ends_with_the_next_request(api: Api, ring: KeyRing, admin: dict[str, str]) -> None:
    path = "/runtime/webhooks/durabletask/orchestrators"
    key = {"x-functions-key": ring.create("guest", Role.VIEWER, 0)}
    assert api.get(path, headers=key).status_code == 200
    ring.revoke("guest")
    assert api.get(path, headers=key).status_code == 401


def test_keys_that_cannot_be_read_let_nobody_in_and_the_log_says_why_in_few_lines(
    api: Api, tmp_path: Path, admin: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bide.http")
    keys = keys_path(str(tmp_path / "hub.db"))
    assert keys is not None
    path = "/runtime/webhooks/durabletask/orchestrators"
    assert api.get(path, headers=admin).status_code == 200
    for mode, content in ((0o644, None), (0o600, "{")):
        good = keys.read_text()
        if content is not None:
            keys.write_text(content)
        keys.chmod(mode)
        caplog.clear()
        answers = [api.get(path, headers=admin) for _ in range(16)]
        assert {(answer.status_code, answer.headers["retry-after"]) for answer in answers} == {(503, "10")}
        assert all("hub.db" not in answer.text for answer in answers)
        assert api.get(path).status_code == 401
        assert len(caplog.records) == 5  # 1, 2, 4, 8, 16
        assert all(str(keys) in each.getMessage() and each.exc_info is None for each in caplog.records)
        keys.write_text(good)
        keys.chmod(0o600)
        assert api.get(path, headers=admin).status_code == 200
        assert caplog.messages[-1] == "The keys can be read again"
