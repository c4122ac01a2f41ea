"""What a starter may do with its instance, by the URIs of the 202 answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args
from urllib.parse import parse_qs, urlsplit

import pytest

from bide import Settings
from bide.access.keys import KeyRing, Role, keys_path
from bide.config import TokenVerb, load
from bide.model.tokens import InstanceGrant, read, sign
from bide.store.sqlite.files import hub_secret
from tests.http.conftest import INSTANCES, Api, serve

CALLS = {
    "status": ("GET", f"{INSTANCES}/a"),
    "waits": ("GET", f"{INSTANCES}/a/waits"),
    "history": ("GET", f"{INSTANCES}/a/history"),
    "events": ("GET", f"{INSTANCES}/a/events"),
    "raiseEvent": ("POST", f"{INSTANCES}/a/raiseEvent/Answer"),
    "suspend": ("POST", f"{INSTANCES}/a/suspend"),
    "resume": ("POST", f"{INSTANCES}/a/resume"),
    "terminate": ("POST", f"{INSTANCES}/a/terminate"),
    "rewind": ("POST", f"{INSTANCES}/a/rewind"),
    "restart": ("POST", f"{INSTANCES}/a/restart?restartWithNewInstanceId=false"),
    "purge": ("DELETE", f"{INSTANCES}/a"),
}
URIS = {
    "raiseEvent": "sendEventPostUri",
    "terminate": "terminatePostUri",
    "purge": "purgeHistoryDeleteUri",
    "restart": "restartPostUri",
    "suspend": "suspendPostUri",
    "resume": "resumePostUri",
    "rewind": "rewindPostUri",
}
ALL = get_args(TokenVerb)


@pytest.fixture
def db(tmp_path: Path) -> str:
    return str(tmp_path / "hub.db")


@pytest.fixture
def admin(db: str) -> dict[str, str]:
    return {"x-functions-key": KeyRing(keys_path(db)).create("boss", Role.ADMIN, 0)}


def closed(db: str, **settings: Any) -> Any:
    return serve(Settings(db=db, require_key=True, **settings))


def started(api: Api, admin: dict[str, str], path: str = "Approve/a") -> dict[str, str]:
    answer = api.post(f"/orchestrators/{path}", headers=admin)
    assert answer.status_code == 202
    uris: dict[str, str] = answer.json()
    return uris


def code_in(uris: dict[str, str]) -> str:
    (code,) = parse_qs(urlsplit(uris["statusQueryGetUri"]).query)["code"]
    return code


def how_many(api: Api, admin: dict[str, str]) -> int:
    return len(api.get(INSTANCES, headers=admin).json())


# --- which verbs


def test_a_starter_may_watch_answer_and_end_and_nothing_else(db: str, admin: dict[str, str]) -> None:
    with closed(db) as api:
        uris = started(api, admin)
        code = {"x-functions-key": code_in(uris)}
        assert list(uris) == ["id", "statusQueryGetUri", "sendEventPostUri", "terminatePostUri"]
        refused = {verb for verb, call in CALLS.items() if api.http.request(*call, headers=code).status_code == 403}
        assert refused == {"history", "events", "suspend", "resume", "rewind", "restart", "purge"}


@pytest.mark.parametrize("verb", sorted(set(ALL) - {"events"}))  # a stream would not end
def test_a_setting_says_what_a_starter_may(db: str, admin: dict[str, str], verb: Any) -> None:
    with closed(db, token_verbs=(verb,)) as api:
        uris = started(api, admin)
        code = {"x-functions-key": code_in(uris)}
        assert list(uris) == ["id", "statusQueryGetUri", *([URIS[verb]] if verb in URIS else [])]
        for each, call in CALLS.items():
            may = each in ("status", verb)
            if each != "events" or not may:
                assert (api.http.request(*call, headers=code).status_code != 403) is may, each


def test_whatever_uri_is_given_does_what_it_says(db: str, admin: dict[str, str]) -> None:
    with closed(db, token_verbs=ALL) as api:
        uris = started(api, admin)
        assert list(uris) == ["id", "statusQueryGetUri", *URIS.values()]
        for verb in ("suspend", "resume", "terminate"):
            assert api.post(uris[URIS[verb]].replace("{text}", "why")).status_code == 202, verb
        assert api.post(uris["restartPostUri"]).status_code == 202
        assert api.post(uris["sendEventPostUri"].replace("{eventName}", "Answer"), b"1").status_code == 202
        assert api.get(f"{uris['statusQueryGetUri']}&wait=10s").json()["output"] == 1
        assert api.http.delete(uris["purgeHistoryDeleteUri"]).status_code == 200


def test_what_a_starter_may_not_is_said_in_a_sentence(db: str, admin: dict[str, str]) -> None:
    with closed(db) as api:
        uris = started(api, admin)
        started(api, admin, "Approve/b")
        answers = [
            api.post(f"{INSTANCES}/{name}/suspend", headers={"x-functions-key": code_in(uris)}) for name in "abc"
        ]
        assert {answer.status_code for answer in answers} == {403}
        (said,) = {answer.json()["Message"] for answer in answers}
        assert said == (
            "This token is for one instance, and good for status, waits, raiseEvent, terminate. "
            "Anything else takes a key."
        )


def test_the_status_shows_history_to_those_who_may_see_it(db: str, admin: dict[str, str]) -> None:
    with closed(db) as api:
        uris = started(api, admin)
        shown = f"{uris['statusQueryGetUri']}&showHistory=true&showHistoryOutput=true"
        assert api.get(shown).status_code == 403
        assert "historyEvents" in api.get(f"{INSTANCES}/a?showHistory=true", headers=admin).json()
    with closed(db, token_verbs=("history",)) as api:
        assert "historyEvents" in api.get(f"{started(api, admin)['statusQueryGetUri']}&showHistory=true").json()


@pytest.mark.parametrize(
    ("value", "said"), [("waits, start", "start"), ("Waits", "Waits"), ("audit", "audit"), ("list", "list")]
)
def test_what_no_starter_may_ever_is_no_value_of_the_setting(tmp_path: Path, value: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"token_verbs, set by .*BIDE_TOKEN_VERBS.*'{said}'"):
        load({}, {"BIDE_TOKEN_VERBS": value}, tmp_path)


def test_the_setting_is_read_as_a_list(tmp_path: Path) -> None:
    assert load({}, {"BIDE_TOKEN_VERBS": "waits, purge"}, tmp_path).token_verbs == ("waits", "purge")
    (tmp_path / "bide.toml").write_text("token_verbs = []")
    assert load({}, {}, tmp_path).token_verbs == ()


# --- one life of one instance


@pytest.mark.parametrize("query", ["", "?restartWithNewInstanceId=true", "?restartWithNewInstanceId=TRUE&x=1"])
def test_a_token_makes_no_other_instance(db: str, admin: dict[str, str], query: str) -> None:
    with closed(db, token_verbs=ALL) as api:
        uris = started(api, admin, "Echo/a")
        api.ended("a")
        answer = api.post(f"{INSTANCES}/a/restart{query}", headers={"x-functions-key": code_in(uris)})
        assert answer.status_code == 403
        assert "makes no other" in answer.json()["Message"]
        assert how_many(api, admin) == 1
        assert api.post(f"{INSTANCES}/a/restart{query}", headers=admin).status_code == 202
        assert how_many(api, admin) == 2


def test_who_restarts_by_a_token_gets_no_other_token(db: str, admin: dict[str, str]) -> None:
    with closed(db, token_verbs=ALL, token_days=7.0) as api:
        wide = started(api, admin, "Echo/a")
        api.ended("a")
        secret, whole = hub_secret(db), code_in(wide)
        grant = read(secret, whole)
        assert isinstance(grant, InstanceGrant)
        narrow = sign(secret, InstanceGrant("a", grant.birth, ("status", "restart"), 1.0))
        for code in (narrow, whole):
            again = api.post(f"{INSTANCES}/a/restart?restartWithNewInstanceId=false&code={code}")
            assert again.status_code == 202
            assert code_in(again.json()) == code
            assert ("purgeHistoryDeleteUri" in again.json()) is (code == whole)
            api.ended("a")


def test_who_restarts_by_a_key_is_a_starter(db: str, admin: dict[str, str]) -> None:
    with closed(db) as api:
        first = started(api, admin, "Echo/a")
        api.ended("a")
        again = api.post(f"{INSTANCES}/a/restart?restartWithNewInstanceId=false", headers=admin).json()
        assert again == first  # the same life of the same instance


# --- where to ask again


@pytest.mark.parametrize("name", ["code", "CODE", "c%6Fde"])
@pytest.mark.parametrize("place", ["?{code}", "?{code}&showInput=false", "?showInput=false&{code}&{code}"])
def test_no_answer_repeats_a_key(db: str, admin: dict[str, str], name: str, place: str) -> None:
    key = admin["x-functions-key"]
    with closed(db) as api:
        query = place.replace("{code}", f"{name}={key}")
        answer = api.get(f"{INSTANCES}/a", headers=admin)
        assert answer.status_code == 404
        first = api.post(f"/orchestrators/Approve/a?{name}={key}")
        again = api.get(f"{INSTANCES}/a{query}")
        assert [first.status_code, again.status_code] == [202, 202]
        for each in (first, again):
            assert key not in str(each.headers) + each.text
        location = again.headers["location"]
        assert ("showInput=false" in location) is ("showInput" in place)
        assert "code" not in location.lower()


def test_the_address_to_ask_again_keeps_a_token(db: str, admin: dict[str, str]) -> None:
    with closed(db) as api:
        uri = started(api, admin)["statusQueryGetUri"]
        assert api.get(uri).headers["location"] == uri
        assert api.get(api.get(uri).headers["location"]).status_code == 202
