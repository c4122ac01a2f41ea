"""Status, events and the verbs, under both prefixes."""

from __future__ import annotations

import re

import pytest

from tests.http.conftest import BASE, INSTANCES, OLD_INSTANCES, Api

FINISHED = "Instance '{}' has ended"


@pytest.fixture(params=[INSTANCES, OLD_INSTANCES, OLD_INSTANCES.lower()])
def instances(request: pytest.FixtureRequest) -> str:
    prefix: str = request.param
    return prefix


def test_status_while_it_runs(api: Api, instances: str) -> None:
    instance_id = api.start("Approve", b'{"who": "me"}')
    answer = api.get(f"{instances}/{instance_id}?taskHub=h&connection=Storage&code=k")
    assert answer.status_code == 202
    assert answer.headers["location"] == f"{BASE}{instances}/{instance_id}?taskHub=h&connection=Storage"
    assert answer.headers["retry-after"] == "5"
    shown = answer.json()
    assert list(shown) == [
        "name",
        "instanceId",
        "runtimeStatus",
        "input",
        "customStatus",
        "output",
        "createdTime",
        "lastUpdatedTime",
        "allowedActions",
        "tags",
        "waits",
    ]
    assert shown["name"] == "Approve"
    assert shown["instanceId"] == instance_id
    assert shown["runtimeStatus"] == "Running"
    assert shown["input"] == {"who": "me"}
    assert shown["output"] is None
    for time in (shown["createdTime"], shown["lastUpdatedTime"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time)


def test_status_when_it_has_ended(api: Api) -> None:
    instance_id = api.start("Strict", b"3")
    api.ended(instance_id)
    answer = api.get(f"{INSTANCES}/{instance_id}")
    assert answer.status_code == 200
    assert "location" not in answer.headers
    shown = answer.json()
    assert (shown["runtimeStatus"], shown["output"], shown["customStatus"]) == ("Completed", 3, {"count": 3})


def test_status_without_input(api: Api) -> None:
    instance_id = api.start("Approve", b'"secret"')
    assert api.get(f"{INSTANCES}/{instance_id}?SHOWINPUT=false").json()["input"] is None


def test_a_failed_instance_is_a_500_only_if_asked_for(api: Api) -> None:
    instance_id = api.start("Fail")
    shown = api.ended(instance_id)
    assert shown["runtimeStatus"] == "Failed"
    assert "it cannot be" in shown["output"]
    url = f"{INSTANCES}/{instance_id}"
    assert api.get(url).status_code == 200
    assert api.get(f"{url}?returnInternalServerErrorOnFailure=true").status_code == 500


def test_an_event_reaches_its_wait(api: Api, instances: str) -> None:
    instance_id = api.start()
    answer = api.post(f"{instances}/{instance_id}/RAISEEVENT/answer", b'{"ok": true}')
    assert (answer.status_code, answer.content) == (202, b"")
    assert api.ended(instance_id)["output"] == {"ok": True}


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (b"2168", "application/json", 2168),
        (b'"0042"', "application/json; charset=utf-8", "0042"),
        (b"0042", "text/plain", "0042"),
        (b"0042", "Text/Plain;charset=UTF-8", "0042"),
        (b"[1]", "application/vnd.x+json", [1]),
        (b"", "application/json", None),
        (b"", "", None),
        (b"", "text/plain", None),
    ],
)
def test_kinds_of_bodies(api: Api, body: bytes, kind: str, expected: object) -> None:
    instance_id = api.start()
    assert api.post(f"{INSTANCES}/{instance_id}/raiseEvent/Answer", body, kind).status_code == 202
    assert api.ended(instance_id)["output"] == expected


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "application/xml", "multipart/form-data"])
def test_other_content_types_are_refused_for_events(api: Api, kind: str) -> None:
    instance_id = api.start()
    answer = api.post(f"{INSTANCES}/{instance_id}/raiseEvent/Answer", b"1", kind)
    assert answer.status_code == 400
    assert "application/json" in answer.json()["Message"]


def test_an_event_that_does_not_fit_its_wait_is_a_422_and_the_wait_stays(api: Api) -> None:
    instance_id = api.start("YesOrNo")
    url = f"{INSTANCES}/{instance_id}/raiseEvent/Answer"
    refused = api.post(url, b'"maybe"')
    assert refused.status_code == 422
    assert refused.json()["path"] == "$"
    assert "bool" in refused.json()["Message"]
    assert api.post(url, b"true").status_code == 202
    assert api.ended(instance_id)["output"] is True


def test_an_event_that_nobody_waits_for_is_kept_and_the_answer_says_who_is_waited_for(api: Api) -> None:
    """A name that is misspelt would be waited for in vain, and nobody would know."""
    instance_id = api.start()
    url = f"{INSTANCES}/{instance_id}/raiseEvent"
    kept = api.post(f"{url}/Answr", b"1")
    assert (kept.status_code, kept.json()) == (202, {"waitedFor": ["Answer"]})
    taken = api.post(f"{url}/ANSWER", b"2")
    assert (taken.status_code, taken.content) == (202, b"")
    assert api.ended(instance_id)["output"] == 2
    assert api.post(f"{url}/Answr", b"1").status_code == 410
    assert api.post(f"{INSTANCES}/nobody/raiseEvent/Answr", b"1").status_code == 404


def test_whoever_has_a_token_for_an_earlier_instance_hears_nothing_of_the_present_one(api: Api) -> None:
    uris = api.post("/orchestrators/Echo/x", b"1").json()
    api.ended("x")
    assert api.post("/orchestrators/Approve/x?reuse=ended").status_code == 202
    answer = api.post(uris["sendEventPostUri"].replace("{eventName}", "Answr"), b"1")
    assert answer.status_code == 404
    assert "waitedFor" not in answer.text


def test_an_event_name_that_is_too_long_is_a_400(api: Api) -> None:
    assert api.post(f"{INSTANCES}/{api.start()}/raiseEvent/{'a' * 201}").status_code == 400


def test_terminate(api: Api, instances: str) -> None:
    instance_id = api.start()
    assert api.post(f"{instances}/{instance_id}/terminate?reason=not%20needed").status_code == 202
    shown = api.ended(instance_id)
    assert (shown["runtimeStatus"], shown["output"]) == ("Terminated", "not needed")


def test_suspend_and_resume(api: Api, instances: str) -> None:
    instance_id = api.start()
    assert api.post(f"{instances}/{instance_id}/suspend?reason=lunch").status_code == 202
    assert api.status(instance_id)["runtimeStatus"] == "Suspended"
    assert api.get(f"{INSTANCES}/{instance_id}").status_code == 202
    assert api.post(f"{instances}/{instance_id}/resume").status_code == 202
    assert api.status(instance_id)["runtimeStatus"] == "Running"


def test_restart_as_a_new_instance(api: Api, instances: str) -> None:
    instance_id = api.start("Approve", b'"in"')
    answer = api.post(f"{instances}/{instance_id}/restart")
    assert answer.status_code == 202
    again = answer.json()["id"]
    assert again != instance_id
    assert api.status(again)["input"] == "in"


def test_restart_as_the_same_instance(api: Api) -> None:
    instance_id = api.start("Echo", b'"in"')
    api.ended(instance_id)
    answer = api.post(f"{INSTANCES}/{instance_id}/restart?restartWithNewInstanceId=false")
    assert answer.status_code == 202
    assert answer.json()["id"] == instance_id


def test_restarting_a_running_instance_as_itself_is_a_conflict(api: Api) -> None:
    answer = api.post(f"{INSTANCES}/{api.start()}/restart?restartWithNewInstanceId=false")
    assert answer.status_code == 409


def test_an_unknown_instance_is_a_404(api: Api, instances: str) -> None:
    assert api.get(f"{instances}/nobody").status_code == 404
    for operation in ("raiseEvent/Answer", "terminate", "suspend", "resume"):
        answer = api.post(f"{instances}/nobody/{operation}")
        assert answer.status_code == 404, operation
        assert answer.json()["Message"] == answer.json()["detail"] == "There is no instance 'nobody'."
        assert answer.headers["content-type"] == "application/problem+json"
    assert api.post(f"{instances}/nobody/restart").status_code == 400, "as Durable Functions answers"


@pytest.mark.parametrize("operation", ["raiseEvent/Answer", "terminate", "suspend", "resume"])
def test_a_finished_instance_is_a_410(api: Api, operation: str) -> None:
    instance_id = api.start("Echo")
    api.ended(instance_id)
    answer = api.post(f"{INSTANCES}/{instance_id}/{operation}")
    assert answer.status_code == 410
    assert FINISHED.format(instance_id) in answer.json()["Message"]


@pytest.mark.parametrize(
    "path", ["/x", "/instances/x/y/z", f"{INSTANCES}/x/unknown", "/orchestrators", "/healthz/x"]
)
def test_an_unknown_path_is_a_404_in_json(api: Api, path: str) -> None:
    answer = api.post(path)
    assert answer.status_code == 404
    assert answer.json()["Message"]


def test_an_unknown_method_is_a_405_that_names_the_known_ones(api: Api) -> None:
    answer = api.http.put(f"{INSTANCES}/x")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "DELETE"}
    assert answer.json()["Message"]
