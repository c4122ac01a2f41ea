"""What Bide adds: lists by tag and name, open waits, counts, long polls, idempotency keys, links, audit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bide import Settings
from bide.access.keys import KeyRing, Role, keys_path
from bide.http.base.paging import continuation, page, read_cursor
from bide.model.clock import SECOND, to_datetime
from bide.model.query import NEVER, InstanceCursor, WaitCursor
from tests.http.conftest import INSTANCES, Api, example, serve

BASE = INSTANCES.removesuffix("/instances")


def ids(answer: Any) -> list[str]:
    return [shown["instanceId"] for shown in answer.json()]


@pytest.fixture
def filled(api: Api) -> Api:
    for name, instance_id, query in (
        ("Echo", "e1", "tag=team:blue&tag=env:test"),
        ("Approve", "a1", "tag=team:blue"),
        ("Approve", "a2", "tag=team:red"),
        ("YesOrNo", "y1", ""),
    ):
        assert api.post(f"/orchestrators/{name}/{instance_id}?{query}").status_code == 202
    return api


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["y1", "a2", "a1", "e1"]),
        ("tag=team:blue", ["a1", "e1"]),
        ("TAG=team:blue&tag=env:test", ["e1"]),
        ("tag=team:blue&tag=env:production", []),
        ("name=Approve", ["a2", "a1"]),
        ("name=approve", []),
        ("instanceIdPrefix=a", ["a2", "a1"]),
        ("instanceIdPrefix=A", []),
        ("runtimeStatus=completed", ["e1"]),
        ("runtimestatus=Running,Pending&runtimeStatus=Suspended", ["y1", "a2", "a1"]),
        ("runtimeStatus=", ["y1", "a2", "a1", "e1"]),
        ("runtimeStatus=,&runtimeStatus= ", ["y1", "a2", "a1", "e1"]),
        ("runtimeStatus=,Completed,", ["e1"]),
        ("runtimeStatus=Canceled", []),
        ("runtimeStatus=Canceled,Completed", ["e1"]),
        ("createdTimeFrom=2020-01-01", ["y1", "a2", "a1", "e1"]),
        ("createdTimeFrom=2020-01-01T00:00:00%2B02:00&createdTimeTo=2020-01-02T00:00:00+02:00", []),
        ("createdTimeFrom=2020-01-01t00:00:00z", ["y1", "a2", "a1", "e1"]),
        ("createdTimeTo=2020-01-01t00:00:00.5z", []),
        ("top=3", ["y1", "a2", "a1"]),
    ],
)
def test_lists(filled: Api, query: str, expected: list[str]) -> None:
    assert ids(filled.get(f"{INSTANCES}?{query}")) == expected


def test_the_times_that_are_shown_find_what_shows_them(filled: Api) -> None:
    """Times are shown to the second, and compared as they are shown: also where a client writes more zeros."""
    for shown in filled.get(INSTANCES).json():
        at = shown["createdTime"]
        assert re.fullmatch(r"[0-9T:-]+Z", at)
        for written in (at, at.lower(), at.replace("Z", ".000Z"), at.replace("Z", "%2B00:00")):
            query = f"createdTimeFrom={written}&createdTimeTo={written}"
            assert shown["instanceId"] in ids(filled.get(f"{INSTANCES}?{query}")), written


def test_a_purge_with_a_time_that_is_shown_takes_what_shows_it(filled: Api) -> None:
    at = filled.ended("e1")["createdTime"]
    purged = filled.http.delete(f"{INSTANCES}?createdTimeFrom={at}&createdTimeTo={at}&runtimeStatus=")
    assert purged.json() == {"instancesDeleted": 1}


def test_a_fraction_of_a_second_is_compared_as_it_is(filled: Api) -> None:
    """Whoever writes one means that instant."""
    at: int = filled.get(f"{INSTANCES}/e1/history").json()["steps"][0]["at"]
    before, then = (to_datetime(at + each).isoformat().replace("+", "%2B") for each in (-1, 0))
    if at % SECOND in (0, 1):
        pytest.skip("created in the first microsecond of a second")
    assert "e1" not in ids(filled.get(f"{INSTANCES}?createdTimeTo={before}"))
    assert "e1" in ids(filled.get(f"{INSTANCES}?createdTimeTo={then}"))


@pytest.mark.parametrize(
    "query",
    [
        "top=0",
        "top=1001",
        "top=1&top=2",
        "top=",
        "tag=x",
        "createdTimeFrom=&runtimeStatus=Canceled",
        "runtimeStatus=Sleeping",
        "createdTimeTo=soon",
        "showInput=1",
    ],
)
def test_parameters_that_make_no_sense_are_named(filled: Api, query: str) -> None:
    answer = filled.get(f"{INSTANCES}?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["Message"]


def test_tags_are_shown_and_come_along(filled: Api) -> None:
    assert filled.status("e1")["tags"] == {"team": "blue", "env": "test"}
    again = filled.post(f"{INSTANCES}/e1/restart").json()["id"]
    assert filled.status(again)["tags"] == {"team": "blue", "env": "test"}


def test_counts(filled: Api) -> None:
    assert filled.get(f"{BASE}/counts").json() == {"Running": 3, "Completed": 1}
    assert filled.get(f"{BASE}/counts?tag=team:blue").json() == {"Running": 1, "Completed": 1}
    assert filled.get(f"{BASE}/counts?runtimeStatus=Canceled").json() == {}


def test_open_waits(filled: Api) -> None:
    waits = filled.get(f"{BASE}/waits").json()
    assert [(wait["instanceId"], wait["orchestrator"], wait["name"]) for wait in waits] == [
        ("a1", "Approve", "Answer"),
        ("a2", "Approve", "Answer"),
        ("y1", "YesOrNo", "Answer"),
    ]
    assert waits[2]["schema"] == {"type": "boolean"}
    assert (waits[2]["deadline"], waits[2]["overdue"]) == (None, False)
    assert filled.get(f"{INSTANCES}/y1/waits").json() == [waits[2]] == filled.status("y1")["waits"]
    assert filled.get(f"{BASE}/waits?overdue=true").json() == []
    assert filled.get(f"{BASE}/waits?event=ANSWER&top=2").json() == waits[:2]
    assert filled.get(f"{BASE}/waits?name=YesOrNo").json() == waits[2:]
    assert [each["instanceId"] for each in filled.get(f"{BASE}/waits?tag=team:red").json()] == ["a2"]
    assert filled.get(f"{BASE}/waits?tag=team:red&name=YesOrNo").json() == []
    token = filled.get(f"{BASE}/waits?top=2").headers["x-ms-continuation-token"]
    rest = filled.get(f"{BASE}/waits?top=2", headers={"x-ms-continuation-token": token})
    assert rest.json() == waits[2:]
    assert "x-ms-continuation-token" not in rest.headers


def test_pages_stay_as_they_are_while_others_write(filled: Api) -> None:
    first = filled.get(f"{INSTANCES}?top=2")
    filled.start("Echo")
    token = first.headers["x-ms-continuation-token"]
    second = filled.get(f"{INSTANCES}?top=2", headers={"x-ms-continuation-token": token})
    assert ids(first) + ids(second) == ["y1", "a2", "a1", "e1"]


@pytest.mark.parametrize(
    "cursor", [InstanceCursor(17, "a,b c/ü%"), InstanceCursor(0, "x"), WaitCursor(NEVER, "a_b~c", 3)]
)
def test_any_id_fits_into_a_token(cursor: Any) -> None:
    _, headers = page([cursor, cursor], 1, lambda each: each)
    (token,) = headers.values()
    assert token.isascii()
    assert read_cursor(token, type(cursor)) == cursor


@pytest.mark.parametrize("token", ["x", "1", "1,", "-1,a", "1,a b", "1,a,2", "99999999999999999999,a"])
def test_a_token_of_another_form_is_refused(api: Api, token: str) -> None:
    answer = api.get(INSTANCES, headers={"x-ms-continuation-token": token})
    assert answer.status_code == 400
    assert "x-ms-continuation-token" in answer.json()["Message"]
    assert continuation(InstanceCursor).pattern.startswith("^(")


def test_a_time_beyond_all_times_is_a_token_like_any_other(api: Api) -> None:
    assert api.get(INSTANCES, headers={"x-ms-continuation-token": "9999999999999999999,a"}).json() == []


def test_a_long_poll_answers_when_it_has_ended(filled: Api) -> None:
    assert filled.get(f"{INSTANCES}/e1?wait=30s").status_code == 200
    waiting = filled.get(f"{INSTANCES}/a1?wait=1ms")
    assert (waiting.status_code, waiting.json()["runtimeStatus"]) == (202, "Running")


def test_a_start_may_wait_in_one_word(api: Api) -> None:
    assert api.post("/orchestrators/Echo?wait=10s", b"7").json() == 7
    assert api.post("/orchestrators/Approve?wait=1ms").status_code == 202


def test_allowed_actions_follow_the_state(filled: Api) -> None:
    assert filled.status("e1")["allowedActions"] == ["restart", "purge"]
    assert filled.status("a1")["allowedActions"] == ["raiseEvent", "suspend", "terminate", "restart"]
    filled.post(f"{INSTANCES}/a1/suspend")
    assert filled.status("a1")["allowedActions"] == ["raiseEvent", "resume", "terminate", "restart"]
    filled.start("Fail")
    (failed,) = filled.get(f"{INSTANCES}?runtimeStatus=Failed").json()
    assert failed["allowedActions"] == ["rewind", "restart", "purge"]


def test_an_idempotency_key_makes_one_of_many(api: Api) -> None:
    key = {"Idempotency-Key": "order-7"}
    first = api.post("/orchestrators/Approve", b"1", headers=key)
    assert api.post("/orchestrators/Approve", b"1", headers=key).json()["id"] == first.json()["id"]
    assert api.post("/orchestrators/Approve", b"2", headers=key).status_code == 422
    event = f"{INSTANCES}/{first.json()['id']}/raiseEvent/Answer"
    assert api.post(event, b"5", headers=key).status_code == 202
    assert api.post(event, b"5", headers=key).status_code == 202, "although it has ended"
    assert api.post(event, b"6", headers=key).status_code == 422
    assert api.post(event, b"6", headers={"Idempotency-Key": "x" * 256}).status_code == 400


def test_the_audit_has_every_call_that_changes_something(filled: Api) -> None:
    filled.post(f"{INSTANCES}/a1/terminate?reason=enough")
    filled.post(f"{INSTANCES}/a1/terminate?reason=again")
    filled.get(f"{INSTANCES}/a1")
    entries = filled.get(f"{INSTANCES}/a1/audit").json()
    assert [(entry["verb"], entry["reason"], entry["result"]) for entry in entries] == [
        ("terminate", "again", "InstanceFinishedError"),
        ("terminate", "enough", "accepted"),
        ("start", "", "accepted"),
    ]
    assert {(entry["caller"], entry["address"]) for entry in entries} == {("local", "127.0.0.1")}
    first = filled.get(f"{BASE}/audit?top=5")
    rest = filled.get(
        f"{BASE}/audit?top=5", headers={"x-ms-continuation-token": first.headers["x-ms-continuation-token"]}
    )
    assert len(first.json() + rest.json()) == 6


def test_orchestrators_are_listed_with_their_input(api: Api) -> None:
    listed = {each["name"]: each["inputSchema"] for each in api.get(f"{BASE}/orchestrators").json()}
    assert listed["Strict"] == {"type": "integer"}
    assert set(listed) == set(example().registry.orchestrators)


def test_a_link_of_the_api_begins_with_the_public_address() -> None:
    with serve(Settings(db=":memory:", public_url="http://localhost:9/hold/")) as api:
        instance_id = api.start("YesOrNo")
        made = api.post(f"{INSTANCES}/{instance_id}/responseLinks/Answer?validFor=7d")
        assert made.status_code == 201
        assert made.json()["url"].startswith("http://localhost:9/hold/respond/bide.")
        assert api.post(f"{INSTANCES}/{instance_id}/responseLinks/Answer?validFor=999999999d").status_code == 201
        assert api.post(f"{INSTANCES}/nobody/responseLinks/Answer").status_code == 404


def test_who_may_only_look_sees_no_links(tmp_path: Path) -> None:
    db = str(tmp_path / "hub.db")
    app = example()

    @app.orchestrator(name="Ask")
    async def ask(ctx: Any) -> None:
        ctx.set_custom_status(ctx.response_url("Answer"))
        await ctx.wait_for_external_event("Answer")

    with serve(Settings(db=db), app) as api:
        key = KeyRing(keys_path(db)).create("looker", Role.VIEWER, 0)
        instance_id = api.start("Ask")
        link = api.status(instance_id)["customStatus"]
        assert "/respond/bide." in link
        for path in (f"{INSTANCES}/{instance_id}", f"{INSTANCES}/{instance_id}/history"):
            shown = api.get(path, headers={"x-functions-key": key})
            assert link not in shown.text
            assert "/respond/..." in shown.text
