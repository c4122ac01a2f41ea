"""The outbox: kept over crashes, readable by its owner only, and served over HTTP."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from holdfast.phone import (
    DevPhone,
    InvalidNumberError,
    NotSentError,
    SendUnknownError,
    Sms,
    challenge_text,
    dev_phone_routes,
)

NUMBER, OTHER = "+14255550123", "+14255550124"
SMS = Sms(NUMBER, challenge_text("0042"))
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
Clock = Callable[[], datetime]


def ticking() -> Clock:
    """A clock that moves by a second each time it is read."""
    seconds = count()
    return lambda: NOON + timedelta(seconds=next(seconds))


def phone_at(path: Path | None, clock: Clock | None = None) -> DevPhone:
    numbers = count(1)
    return DevPhone(path, clock or ticking(), lambda: f"m{next(numbers)}")


@pytest.fixture(params=["file", "memory"])
def phone(request: pytest.FixtureRequest, tmp_path: Path) -> DevPhone:
    return phone_at(tmp_path / "outbox.jsonl" if request.param == "file" else None)


# --- sending and finding


def test_messages_are_kept_in_order_for_each_number(phone: DevPhone) -> None:
    for to, body in ((NUMBER, "one"), (OTHER, "two"), (NUMBER, "three")):
        receipt = asyncio.run(phone.send(Sms(to, body)))
        assert receipt.to == to
    found = phone.messages(NUMBER)
    assert [(message.id, message.body) for message in found] == [("m1", "one"), ("m3", "three")]
    assert [message.at for message in found] == [NOON, NOON + timedelta(seconds=2)]
    assert phone.messages("+14255550125") == []


def test_find_wants_exactly_this_message(phone: DevPhone) -> None:
    receipt = asyncio.run(phone.send(SMS))
    assert asyncio.run(phone.find(SMS, NOON)) == receipt
    assert asyncio.run(phone.find(Sms(OTHER, SMS.body), NOON)) is None
    assert asyncio.run(phone.find(Sms(NUMBER, challenge_text("0043")), NOON)) is None
    assert asyncio.run(phone.find(Sms(NUMBER, challenge_text("004")), NOON)) is None


def test_find_looks_back_as_far_as_clocks_may_differ(phone: DevPhone) -> None:
    asyncio.run(phone.send(SMS))
    assert asyncio.run(phone.find(SMS, NOON + timedelta(seconds=60))) is not None
    assert asyncio.run(phone.find(SMS, NOON + timedelta(seconds=61))) is None


def test_a_bad_number_is_refused_before_anything_is_kept(phone: DevPhone) -> None:
    with pytest.raises(InvalidNumberError):
        asyncio.run(phone.send(Sms("+1425XXXXXXX", SMS.body)))
    assert phone.messages("+1425XXXXXXX") == []


def test_closing_keeps_the_messages(phone: DevPhone) -> None:
    asyncio.run(phone.send(SMS))
    asyncio.run(phone.close())
    assert len(phone.messages(NUMBER)) == 1


# --- the file


def test_the_file_is_made_with_the_first_message_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "outbox.jsonl"
    phone = phone_at(path)
    assert phone.messages(NUMBER) == []
    assert asyncio.run(phone.find(SMS, NOON)) is None
    assert not path.exists()
    asyncio.run(phone.send(SMS))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_another_phone_on_the_same_file_sees_the_messages(tmp_path: Path) -> None:
    path = tmp_path / "outbox.jsonl"
    receipt = asyncio.run(phone_at(path).send(SMS))
    assert asyncio.run(phone_at(path).find(SMS, NOON)) == receipt


@pytest.mark.parametrize(
    "torn", [b'{"id":"x","to":"+14255550123","bo', b"\xc3", b"{", b'{"id":1}', b'{"id":"x","body":"\xc3'], ids=repr
)
def test_a_torn_last_line_is_forgotten_and_harms_no_other(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "outbox.jsonl"
    asyncio.run(phone_at(path).send(SMS))
    with path.open("ab") as file:
        file.write(torn)
    assert len(phone_at(path).messages(NUMBER)) == 1
    asyncio.run(phone_at(path).send(Sms(NUMBER, "after")))
    assert [message.body for message in phone_at(path).messages(NUMBER)] == [SMS.body, "after"]


@pytest.mark.parametrize("cut", [1, 2, 30])
def test_a_message_that_lost_its_end_was_not_sent(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "outbox.jsonl"
    asyncio.run(phone_at(path).send(SMS))
    os.truncate(path, path.stat().st_size - cut - 1)
    assert asyncio.run(phone_at(path).find(SMS, NOON)) is None


@pytest.mark.parametrize("body", ["line\nbreak", "\u2028\x85\x0b\x1c", "4\u20e3 ünïcode", ""])
def test_bodies_may_hold_anything(phone: DevPhone, body: str) -> None:
    asyncio.run(phone.send(Sms(NUMBER, body)))
    assert [message.body for message in phone.messages(NUMBER)] == [body]


def test_an_outbox_that_cannot_be_written_or_read(tmp_path: Path) -> None:
    with pytest.raises(NotSentError, match=r"outbox\.jsonl cannot be written: No such file"):
        asyncio.run(phone_at(tmp_path / "missing" / "outbox.jsonl").send(SMS))
    with pytest.raises(SendUnknownError, match="cannot be read: Is a directory"):
        asyncio.run(phone_at(tmp_path).find(SMS, NOON))


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_disk_is_a_definite_no() -> None:
    with pytest.raises(NotSentError, match="No space left") as refused:
        asyncio.run(phone_at(FULL).send(SMS))
    assert "0042" not in repr(refused.value)


SENDER = """
import asyncio, os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from holdfast.phone import DevPhone, Sms
phone = DevPhone(Path(sys.argv[1]), lambda: datetime.now(UTC))
asyncio.run(phone.send(Sms(sys.argv[2], sys.argv[3])))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_message_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "outbox.jsonl"
    ended = subprocess.run([sys.executable, "-c", SENDER, str(path), SMS.to, SMS.body], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert [message.body for message in phone_at(path).messages(NUMBER)] == [SMS.body]


# --- over HTTP


def get(phone: DevPhone, query: str) -> tuple[int, Any]:
    async def ask() -> httpx2.Response:
        transport = httpx2.ASGITransport(Starlette(routes=dev_phone_routes(phone)))
        async with httpx2.AsyncClient(transport=transport, base_url="http://phone") as client:
            return await client.get(f"/dev/phone/messages{query}")

    answer = asyncio.run(ask())
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, answer.json()


@pytest.mark.parametrize("to", ["%2B14255550123", "+14255550123", "%2014255550123", "%20%2B14255550123"])
def test_messages_over_http(phone: DevPhone, to: str) -> None:
    for body in ("one", "two"):
        asyncio.run(phone.send(Sms(NUMBER, body)))
    status, messages = get(phone, f"?to={to}")
    assert status == 200
    assert messages == [
        {"id": "m1", "to": NUMBER, "body": "one", "at": "2026-01-01T12:00:00Z"},
        {"id": "m2", "to": NUMBER, "body": "two", "at": "2026-01-01T12:00:01Z"},
    ]


def test_a_number_without_messages(phone: DevPhone) -> None:
    assert get(phone, "?to=%2B14255550199") == (200, [])


@pytest.mark.parametrize("query", ["", "?", "?to=", "?to=%20", "?TO=%2B14255550123"])
def test_without_a_number_it_says_what_is_missing(phone: DevPhone, query: str) -> None:
    status, body = get(phone, query)
    assert status == 400
    assert "?to=+12025550123" in body["Message"]


@pytest.mark.parametrize("to", ["14255550123", "%2B1425XXXXXXX", "nobody"])
def test_what_is_no_number_gets_the_rule(phone: DevPhone, to: str) -> None:
    status, body = get(phone, f"?to={to}")
    assert status == 400
    assert "7 to 15 digits" in body["Message"]
