"""POST /orchestrators: the 202 payload, ids, idempotency, waiting."""

from __future__ import annotations

import re
from typing import get_args
from urllib.parse import parse_qs, urlsplit

import pytest

from bide import Settings
from bide.config import TokenVerb
from bide.engine.client import Client
from bide.errors import BusyError, CommitUnknownError
from tests.http.conftest import BASE, INSTANCES, Api, serve


@pytest.mark.parametrize("prefix", ["", "/api", "/API"])
def test_start_answers_with_the_uris(api: Api, prefix: str) -> None:
    answer = api.post(f"{prefix}/orchestrators/Approve/a:1", b'"+12025550123"')
    assert answer.status_code == 202
    uris = answer.json()
    (token,) = parse_qs(urlsplit(uris["statusQueryGetUri"]).query)["code"]
    keys = f"taskHub=default&connection=Storage&code={token}"
    instance = f"{BASE}{INSTANCES}/a%3A1"
    assert list(uris.items()) == [
        ("id", "a:1"),
        ("statusQueryGetUri", f"{instance}?{keys}"),
        ("sendEventPostUri", f"{instance}/raiseEvent/{{eventName}}?{keys}"),
        ("terminatePostUri", f"{instance}/terminate?reason={{text}}&{keys}"),
    ]
    assert answer.headers["location"] == answer.json()["statusQueryGetUri"]
    assert answer.headers["retry-after"] == "10"
    assert answer.headers["content-type"] == "application/json"


def test_the_uris_of_all_that_a_setting_allows() -> None:
    with serve(Settings(db=":memory:", token_verbs=get_args(TokenVerb))) as api:
        uris = api.post("/orchestrators/Approve/a").json()
    (token,) = parse_qs(urlsplit(uris["statusQueryGetUri"]).query)["code"]
    keys = f"taskHub=default&connection=Storage&code={token}"
    instance = f"{BASE}{INSTANCES}/a"
    assert list(uris.items())[4:] == [
        ("purgeHistoryDeleteUri", f"{instance}?{keys}"),
        ("restartPostUri", f"{instance}/restart?restartWithNewInstanceId=false&{keys}"),
        ("suspendPostUri", f"{instance}/suspend?reason={{text}}&{keys}"),
        ("resumePostUri", f"{instance}/resume?reason={{text}}&{keys}"),
        ("rewindPostUri", f"{instance}/rewind?reason={{text}}&{keys}"),
    ]


def test_uris_lead_back(api: Api) -> None:
    uris = api.post("/orchestrators/Approve/a@b:c~d").json()
    event = uris["sendEventPostUri"].replace("{eventName}", "Answer")
    assert api.post(event, b"7").status_code == 202
    assert api.ended("a@b:c~d")["output"] == 7
    assert api.get(uris["statusQueryGetUri"]).json()["output"] == 7


def test_a_generated_id_has_32_hex_digits(api: Api) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", api.start())


def test_uris_carry_the_hub_and_the_host_of_the_request(small_api: Api) -> None:
    answer = small_api.post("/orchestrators/Approve/x", headers={"Host": "localhost:99"})
    uri = answer.json()["statusQueryGetUri"]
    assert uri.startswith(f"http://localhost:99{INSTANCES}/x?taskHub=my+hub&connection=Storage&code=bide.")


def test_failure_as_500_is_kept_in_the_status_uri(api: Api) -> None:
    answer = api.post("/orchestrators/Fail/x?returninternalservererroronfailure=True")
    uri = answer.json()["statusQueryGetUri"]
    assert uri.endswith("&returnInternalServerErrorOnFailure=true")
    assert answer.headers["location"] == uri
    api.ended("x")
    assert api.get(uri).status_code == 500


def test_repeating_a_start_is_safe_and_another_input_is_a_conflict(api: Api) -> None:
    for _ in range(2):
        assert api.post("/orchestrators/Approve/x", b'{"a": 1}').status_code == 202
    conflict = api.post("/orchestrators/Approve/x", b"2")
    assert conflict.status_code == 409
    assert "x" in conflict.json()["Message"]


def test_an_unknown_function_is_a_400_that_names_the_known_ones(api: Api) -> None:
    answer = api.post("/orchestrators/Nothing", b"1")
    assert answer.status_code == 400
    assert "Approve" in answer.json()["Message"]


def test_what_azures_python_client_reads_of_a_400_is_there(api: Api) -> None:
    """Its 1.x versions read nothing but `ExceptionMessage`, and raise a KeyError without it."""
    for answer in (api.post("/orchestrators/Nothing", b"1"), api.post("/orchestrators/Echo", b"{")):
        assert answer.status_code == 400
        assert answer.json()["ExceptionMessage"] == answer.json()["Message"] == answer.json()["detail"]


@pytest.mark.parametrize("name", ["Strict", "strict", "STRICT"])
def test_the_case_of_a_functions_name_does_not_matter(api: Api, name: str) -> None:
    started = api.start(name, b"7")
    assert api.ended(started)["output"] == 7
    assert api.status(started)["name"] == "Strict"


def test_an_input_of_another_type_is_a_422(api: Api) -> None:
    answer = api.post("/orchestrators/Strict/x", b'"many"')
    assert answer.status_code == 422
    assert "Expected `int`, got `str`" in answer.json()["Message"]
    assert api.get(f"{INSTANCES}/x").status_code == 404


@pytest.mark.parametrize("prefix", ["", "/api", "/runtime/webhooks/durabletask"])
def test_a_slash_at_the_end_of_a_path_changes_nothing(api: Api, prefix: str) -> None:
    """A redirect would lose the body with callers that do not follow it, as curl."""
    made_up = api.post(f"{prefix}/orchestrators/Strict/", b"7")
    assert made_up.status_code == 202
    assert api.ended(made_up.json()["id"])["output"] == 7
    assert api.post(f"{prefix}/orchestrators/Strict/x/", b"8").json()["id"] == "x"
    assert api.ended("x")["output"] == 8


def test_nor_does_it_for_the_other_operations(api: Api) -> None:
    instance_id = api.start("Approve")
    assert api.get(f"{INSTANCES}/").json() == api.get(INSTANCES).json()
    assert api.get(f"{INSTANCES}/{instance_id}/").status_code == 202
    assert api.post(f"{INSTANCES}/{instance_id}/raiseEvent/Answer/", b"1").status_code == 202
    assert api.ended(instance_id)["output"] == 1
    assert api.http.delete(f"{INSTANCES}/{instance_id}/").status_code == 200


def test_but_a_part_that_is_missing_in_a_path_is_not_passed_over(api: Api) -> None:
    api.start("Approve")
    for path in (f"{INSTANCES}//terminate", f"{INSTANCES}/x/raiseEvent/", "/orchestrators//x"):
        assert api.post(path, b"1").status_code in (404, 405), path
    assert api.http.delete(f"{INSTANCES}/").status_code == 400, "an id that is missing purges nothing"
    assert [each["runtimeStatus"] for each in api.get(INSTANCES).json()] == ["Running"]


@pytest.mark.parametrize("bad", ["a%2Fb", "a%0Ab", "a" * 101, "a%00", "a%3F", "%2e%2e"])
def test_a_bad_instance_id_is_a_400(api: Api, bad: str) -> None:
    answer = api.post(f"/orchestrators/Approve/{bad}")
    assert answer.status_code == 400
    assert "1 to 100 printable characters" in answer.json()["Message"]


def test_a_name_that_is_too_long_is_a_400(api: Api) -> None:
    assert api.post(f"/orchestrators/{'a' * 201}").status_code == 400


def test_waiting_answers_with_the_bare_output(api: Api) -> None:
    answer = api.post("/orchestrators/Echo?timeout=10&pollingInterval=1", b'{"a":[1, 2]}')
    assert answer.status_code == 200
    assert answer.json() == {"a": [1, 2]}


def test_waiting_for_a_failure_answers_with_the_status(api: Api) -> None:
    wait = "timeout=10&retryInterval=1"
    assert api.post(f"/orchestrators/Fail?{wait}").json()["runtimeStatus"] == "Failed"
    assert api.post(f"/orchestrators/Fail?{wait}&returnInternalServerErrorOnFailure=true").status_code == 500


def test_waiting_in_vain_answers_with_the_uris(api: Api) -> None:
    answer = api.post("/orchestrators/Approve?timeout=0&pollingInterval=0")
    assert answer.status_code == 202
    assert answer.headers["location"]


@pytest.mark.parametrize(
    "query",
    [
        "timeout=soon",
        "timeout=-1",
        "timeout=nan",
        "wait=soon",
        "tag=x",
        "timeout=1&pollingInterval=2",
        "timeout=0&retryInterval=0.5",
    ],
)
def test_bad_parameters_start_nothing(api: Api, query: str) -> None:
    assert api.post(f"/orchestrators/Approve/x?{query}").status_code == 400
    assert api.get(f"{INSTANCES}/x").status_code == 404


def test_asking_less_often_than_the_wait_lasts_is_refused_with_both_numbers(api: Api) -> None:
    said = api.post("/orchestrators/Approve/x?timeout=1&pollingInterval=2").json()["Message"]
    assert "pollingInterval (2 s)" in said
    assert "timeout (1 s)" in said
    ended = api.ended(api.start("Echo"))["instanceId"]
    assert api.post(f"{INSTANCES}/{ended}/restart?timeout=1&retryInterval=2").status_code == 400
    assert len(api.get(INSTANCES).json()) == 1


@pytest.mark.parametrize("kind", ["application/json", "text/plain; charset=utf-8", "application/octet-stream", ""])
def test_an_input_is_json_whatever_its_content_type(api: Api, kind: str) -> None:
    """As in Durable Functions: .NET's StringContent sends JSON as text/plain if nobody says otherwise."""
    assert api.post("/orchestrators/Echo/x", b'{"a": "+1555"}', kind).status_code == 202
    assert api.ended("x")["output"] == {"a": "+1555"}


def test_text_as_an_input_is_refused_and_what_to_do_is_said(api: Api) -> None:
    answer = api.post("/orchestrators/Echo/x", b"+12025550123", "text/plain")
    assert answer.status_code == 400
    assert "An input is JSON, whatever its content type: put text in double quotes." in answer.json()["Message"]
    assert api.get(f"{INSTANCES}/x").status_code == 404


@pytest.mark.parametrize("error", [BusyError, CommitUnknownError])
def test_try_again_is_a_503(api: Api, error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(Client, "begin", start)
    answer = api.post("/orchestrators/Approve")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["Message"]
