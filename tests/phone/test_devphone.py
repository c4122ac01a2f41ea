"""The dev phone: an outbox that is kept over crashes, and what goes wrong when it is asked to."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import chain, count
from pathlib import Path
from typing import Any

import pytest

from bide.phone import (
    DevMessage,
    DevPhone,
    Fault,
    InvalidNumberError,
    NotSentError,
    RefusedError,
    SendUnknownError,
    Sms,
    challenge_text,
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
from bide.phone import DevPhone, Sms
phone = DevPhone(Path(sys.argv[1]), lambda: datetime.now(UTC))
asyncio.run(phone.send(Sms(sys.argv[2], sys.argv[3])))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_message_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "outbox.jsonl"
    ended = subprocess.run([sys.executable, "-c", SENDER, str(path), SMS.to, SMS.body], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert [message.body for message in phone_at(path).messages(NUMBER)] == [SMS.body]


def test_the_lines_of_older_versions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "outbox.jsonl"
    path.write_text('\n{"id":"a1","to":"+14255550123","body":"old","at":"2026-01-01T12:00:00Z"}\n')
    (message,) = phone_at(path, lambda: NOON).arrived()
    assert (message.id, message.body, message.due, message.status) == ("a1", "old", NOON, "delivered")
    assert (message.error_code, message.from_, message.code) == (None, None, None)


def test_a_file_that_was_replaced_is_read_from_its_begin(tmp_path: Path) -> None:
    path = tmp_path / "outbox.jsonl"
    phone = phone_at(path)
    for body in ("one", "two"):
        asyncio.run(phone.send(Sms(NUMBER, body)))
    path.unlink()
    assert phone.messages() == []
    asyncio.run(phone_at(path).send(Sms(NUMBER, "three")))
    assert [message.body for message in phone.messages()] == ["three"]


# --- what goes wrong


class Hand:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        return self.at


def bodies(messages: list[DevMessage]) -> list[str]:
    return [message.body for message in messages]


def sent(phone: DevPhone, body: str, fault: Fault | None = None) -> str:
    phone.next_fault = fault
    return asyncio.run(phone.send(Sms(NUMBER, body))).id


def test_a_fault_happens_once(phone: DevPhone) -> None:
    phone.next_fault = "lost"
    for body in ("one", "two"):
        asyncio.run(phone.send(Sms(NUMBER, body)))
    assert phone.next_fault is None
    assert [message.status for message in phone.messages()] == ["lost", "delivered"]


def test_a_bad_number_uses_no_fault_up(phone: DevPhone) -> None:
    phone.next_fault = "lost"
    with pytest.raises(InvalidNumberError):
        asyncio.run(phone.send(Sms("nobody", "x")))
    assert phone.next_fault == "lost"


def test_a_late_message_arrives_after_ten_seconds(tmp_path: Path) -> None:
    clock = Hand()
    phone = phone_at(tmp_path / "outbox.jsonl", clock)
    late, other = sent(phone, "late", "late"), sent(phone, "other")
    assert bodies(phone.arrived()) == ["other"]
    clock.at += timedelta(seconds=9.9)
    assert bodies(phone.arrived()) == ["other"]
    clock.at += timedelta(seconds=0.1)
    for reader in (phone, phone_at(tmp_path / "outbox.jsonl", clock)):
        assert bodies(reader.arrived()) == ["other", "late"], "in the order of arrival"
        assert bodies(reader.arrived(after=other)) == ["late"]
        assert reader.arrived(after=late) == []


def test_a_lost_message_is_accepted_and_never_arrives() -> None:
    clock = Hand()
    phone = phone_at(None, clock)
    sent(phone, SMS.body, "lost")
    clock.at += timedelta(days=1)
    assert phone.arrived() == []
    assert asyncio.run(phone.find(SMS, NOON)) is not None


def test_a_refused_message_is_nowhere(phone: DevPhone) -> None:
    with pytest.raises(RefusedError, match="does not exist") as refused:
        sent(phone, SMS.body, 21211)
    assert (refused.value.code, refused.value.permanent) == (21211, True)
    assert phone.messages() == []
    assert asyncio.run(phone.find(SMS, NOON)) is None


def test_an_undelivered_message_is_accepted_and_has_its_error(phone: DevPhone) -> None:
    sent(phone, SMS.body, 30003)
    (message,) = phone.arrived()
    assert (message.status, message.error_code) == ("undelivered", 30003)
    assert asyncio.run(phone.find(SMS, NOON)) is not None


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (challenge_text("0042"), "0042"),
        ("123456 is your code.\n\n@example.com #123456", "123456"),
        ("Call +14255550123", None),
        ("Room 12 at 7", None),
        ("", None),
    ],
)
def test_the_code_in_a_message(body: str, code: str | None) -> None:
    phone = phone_at(None)
    sent(phone, body)
    assert phone.arrived()[0].code == code


# --- waiting


async def waits(phone: DevPhone, **options: Any) -> asyncio.Task[list[DevMessage]]:
    """Somebody who waits for a message, and has looked once."""
    waiting = asyncio.create_task(phone.arrivals(**options))
    await asyncio.sleep(0)
    return waiting


def test_those_who_wait_hear_of_a_message_at_once(phone: DevPhone) -> None:
    async def go() -> list[list[DevMessage]]:
        all_of_them, others = await waits(phone), await waits(phone, to=OTHER)
        await phone.send(Sms(NUMBER, "one"))
        first = await all_of_them
        assert not others.done()
        after = await waits(phone, after=first[0].id)
        await phone.send(Sms(OTHER, "two"))
        return [first, await others, await after]

    assert list(map(bodies, asyncio.run(go()))) == [["one"], ["two"], ["two"]]


def test_those_who_wait_hear_of_a_late_one_when_it_is_due() -> None:
    nearly = (NOON + timedelta(seconds=9.99, milliseconds=n) for n in count())
    moments = chain([NOON], nearly)
    phone = phone_at(None, lambda: next(moments))
    sent(phone, "late", "late")
    assert bodies(asyncio.run(phone.arrivals())) == ["late"]


def test_what_another_process_writes_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "outbox.jsonl"

    async def go() -> list[DevMessage]:
        waiting = await waits(phone_at(path))
        await phone_at(path).send(SMS)
        return await waiting

    assert bodies(asyncio.run(go())) == [SMS.body]


def test_a_wait_ends(phone: DevPhone) -> None:
    assert asyncio.run(phone.arrivals(wait_s=0)) == []
    assert asyncio.run(phone.arrivals(wait_s=0.001)) == []
