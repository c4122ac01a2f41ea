"""An id that is used again, before real processes: what a caller with nothing but HTTP sees."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kill.conftest import Server, eventually, request

pytestmark = pytest.mark.kill

NUMBER = "+12025550123"


@pytest.fixture
def phone(tmp_path: Path) -> Iterator[Server]:
    """The sample with the dev phone: no carrier, codes are in its list of messages."""
    server = Server(tmp_path)
    server.start()
    server.wait_ready()
    yield server
    server.process.kill_if_running()


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[Server]:
    """What has ended is kept for a second."""
    server = Server(tmp_path, BIDE_RETENTION_DAYS="0.00001")
    server.start()
    server.wait_ready()
    yield server
    server.process.kill_if_running()


def birth_of(server: Server) -> str:
    first = request("GET", server.url("n1", "/history"))[1]["steps"][0]["facts"][0]
    birth: str = first["birth"]
    return birth


def codes(server: Server) -> list[str]:
    """The texts that the number got."""
    to = urllib.parse.quote(NUMBER)
    status, body = request("GET", f"{server.base}/dev/phone/messages?to={to}")
    assert status == 200, body
    return [message["body"] for message in body]


def got(server: Server, count: int) -> list[str]:
    def look() -> list[str] | None:
        found = codes(server)
        return found if len(found) >= count else None

    return eventually(f"{count} texts arrive", look)


def end(server: Server) -> None:
    assert request("POST", server.url("n1", "/terminate"))[0] == 202
    eventually("it has ended", lambda: request("GET", server.url("n1"))[0] == 200 or None)


@pytest.mark.parametrize("how", ["purge", "ended", "replace"])
def test_each_life_of_an_id_has_a_code_of_its_own(phone: Server, how: str) -> None:
    start = f"{phone.base}/orchestrators/E4_SmsPhoneVerification/n1"
    for life in range(1, 5):
        query = "" if how == "purge" else f"?reuse={how}"
        assert request("POST", start + query, json.dumps(NUMBER).encode())[0] == 202
        got(phone, life)
        if how != "replace":
            end(phone)
        if how == "purge":
            assert request("DELETE", phone.url("n1"))[0] == 200
    # Two of four codes of four digits are the same once in 1,700 times; all four never.
    assert len(set(codes(phone))) >= 3


def test_retention_alone_makes_room_for_a_new_life(forgetful: Server) -> None:
    start = f"{forgetful.base}/orchestrators/E4_SmsPhoneVerification/n1"
    status, old = request("POST", start, json.dumps(NUMBER).encode())
    assert status == 202
    got(forgetful, 1)
    birth = birth_of(forgetful)
    end(forgetful)
    eventually("it is deleted", lambda: request("GET", forgetful.url("n1"))[0] == 404 or None, 60)
    assert request("POST", start, json.dumps(NUMBER).encode())[0] == 202
    got(forgetful, 2)
    assert birth_of(forgetful) != birth
    assert request("GET", old["statusQueryGetUri"])[0] == 404
    assert request("POST", old["terminatePostUri"].replace("{text}", "x"))[0] == 404
    assert request("GET", forgetful.url("n1"))[1]["runtimeStatus"] == "Running"


def test_a_request_that_replaces_does_so_once_however_often_the_server_is_killed(phone: Server) -> None:
    phone.begin("n1", NUMBER)
    got(phone, 1)
    start = f"{phone.base}/orchestrators/E4_SmsPhoneVerification/n1?reuse=replace"
    births = {birth_of(phone)}
    for _ in range(4):
        answer = request("POST", start, json.dumps(NUMBER).encode(), key="k")
        assert answer[0] == 202
        phone.process.kill()
        phone.start()
        phone.wait_ready()
        births.add(birth_of(phone))
    assert len(births) == 2
    assert phone.status("n1")["runtimeStatus"] == "Running"
