"""The phone sample in virtual time: every way a verification can end."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.json import encode

from bide import ActivityCall, Done, NotDone, RuntimeStatus
from bide.config import Settings, using
from bide.phone import SendUnknownError, Sms
from bide.testing.harness import Durable

SAMPLE = Path(__file__).parents[2] / "examples" / "phone_verification" / "app.py"
NUMBER = "+14255550100"
START, ANSWER = "E4_SmsPhoneVerification", "SmsChallengeResponse"


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The sample's names, with its outbox in the test's own directory."""
    for name in ("TwilioAccountSid", "TwilioAuthToken", "TwilioPhoneNumber"):
        monkeypatch.delenv(name, raising=False)
    with using(Settings(db=str(tmp_path / "sample.db"))):
        return runpy.run_path(str(SAMPLE))


@pytest.fixture
def durable(sample: dict[str, Any]) -> Iterator[Durable]:
    with Durable(sample["app"]) as running:
        yield running


def code_sent(sample: dict[str, Any]) -> str:
    """The code of the last SMS."""
    return sample["carrier"].messages(NUMBER)[-1].body.removeprefix("Your verification code is ")


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 10_000:04d}"


def test_the_right_code_is_true(durable: Durable, sample: dict[str, Any]) -> None:
    verification = durable.start(START, NUMBER)
    durable.assert_waiting_for(verification, ANSWER, until="90s")
    durable.raise_event(verification, ANSWER, code_sent(sample))
    assert durable.output(verification) is True


@pytest.mark.parametrize(
    "form",
    [
        int,
        str,
        lambda code: f" {code} ",
        lambda code: f"{code[:2]} {code[2:]}",
        lambda code: f"{code[:2]}-{code[2:]}",
        lambda code: f"\u200e{code}",
        lambda code: code.translate({ord("0") + n: 0x0660 + n for n in range(10)}),
        lambda code: code.translate({ord("0") + n: 0x0966 + n for n in range(10)}),
        lambda code: code.translate({ord("0") + n: 0xFF10 + n for n in range(10)}),
    ],
)
def test_codes_are_taken_as_people_and_programs_write_them(
    durable: Durable, sample: dict[str, Any], form: Any
) -> None:
    verification = durable.start(START, NUMBER)
    durable.raise_event(verification, ANSWER, form(code_sent(sample)))
    assert durable.output(verification) is True


def test_the_code_is_nowhere_but_in_the_message(durable: Durable, sample: dict[str, Any]) -> None:
    """Who starts a verification, and sees all of it, cannot answer for the person."""
    verification = durable.start(START, NUMBER)
    code = code_sent(sample)
    durable.raise_event(verification, ANSWER, wrong(code))
    durable.raise_event(verification, ANSWER, code)
    assert durable.output(verification) is True
    shown = encode(durable.history(verification)).decode()
    assert shown.count('{"$hidden":"secret"}') == 3
    assert f'"{code}"' not in shown
    assert f'"{wrong(code)}"' not in shown


def test_nobody_answers_within_90_seconds(durable: Durable) -> None:
    verification = durable.start(START, NUMBER)
    durable.advance("89.9s")
    assert durable.status(verification).status is RuntimeStatus.RUNNING
    durable.advance("0.1s")
    assert durable.output(verification) is False
    durable.assert_not_waiting(verification)


def test_four_wrong_codes_are_false_at_once(durable: Durable, sample: dict[str, Any]) -> None:
    verification = durable.start(START, NUMBER)
    for _ in range(4):
        assert durable.status(verification).status is RuntimeStatus.RUNNING
        durable.raise_event(verification, ANSWER, wrong(code_sent(sample)))
    assert durable.output(verification) is False


def test_the_fourth_try_may_be_right(durable: Durable, sample: dict[str, Any]) -> None:
    verification = durable.start(START, NUMBER)
    code = code_sent(sample)
    for answer in (wrong(code), wrong(code), wrong(code), code):
        durable.raise_event(verification, ANSWER, answer)
    assert durable.output(verification) is True


def test_an_answer_before_the_code_was_sent_is_kept(durable: Durable) -> None:
    sms = durable.hold("E4_SendSmsChallenge")
    verification = durable.start(START, NUMBER)
    durable.raise_event(verification, ANSWER, "0042")
    sms.finish("0042")
    assert durable.output(verification) is True


def test_a_crash_changes_neither_code_nor_deadline(durable: Durable, sample: dict[str, Any]) -> None:
    verification = durable.start(START, NUMBER)
    durable.advance("60s")
    durable.crash()
    durable.assert_waiting_for(verification, ANSWER, until="30s")
    durable.raise_event(verification, ANSWER, code_sent(sample))
    assert durable.output(verification) is True
    assert len(sample["carrier"].messages(NUMBER)) == 1
    durable.replay_all()


@pytest.mark.parametrize("number", [None, ""])
def test_a_number_is_required(durable: Durable, number: str | None) -> None:
    instance = durable.status(durable.start(START, number))
    assert (instance.status, instance.output) == (RuntimeStatus.FAILED, "A phone number input is required.")


def test_the_placeholder_texts_nobody(durable: Durable, sample: dict[str, Any]) -> None:
    instance = durable.status(durable.start(START, "+1425XXXXXXX"))
    assert instance.status is RuntimeStatus.FAILED
    assert sample["carrier"].messages("+1425XXXXXXX") == []


NO_CODES = ["not a code", "", "42", "21680", "2l68", "12345678", -42, 10_000, "\u200e"]


def test_what_cannot_be_a_code_burns_no_try_and_says_so(durable: Durable, sample: dict[str, Any]) -> None:
    verification = durable.start(START, NUMBER)
    for answer in NO_CODES:
        durable.raise_event(verification, ANSWER, answer)
        said = durable.status(verification).custom_status
        assert said == {"triesLeft": 4, "hint": "A code is 4 digits. The last answer was none, and cost no try."}
    durable.raise_event(verification, ANSWER, wrong(code_sent(sample)))
    assert durable.status(verification).custom_status == {"triesLeft": 3}
    durable.raise_event(verification, ANSWER, code_sent(sample))
    assert durable.output(verification) is True


def test_no_codes_give_no_more_tries(durable: Durable, sample: dict[str, Any]) -> None:
    verification = durable.start(START, NUMBER)
    for _ in range(4):
        durable.raise_event(verification, ANSWER, "no code")
        durable.raise_event(verification, ANSWER, wrong(code_sent(sample)))
    assert durable.output(verification) is False
    assert durable.status(verification).custom_status == {"triesLeft": 0}


def test_no_codes_move_no_deadline(durable: Durable) -> None:
    verification = durable.start(START, NUMBER)
    durable.advance("60s")
    durable.raise_event(verification, ANSWER, "no code")
    durable.assert_waiting_for(verification, ANSWER, until="30s")
    durable.advance("30s")
    assert durable.output(verification) is False


def test_a_no_code_is_the_same_after_a_crash(durable: Durable, sample: dict[str, Any]) -> None:
    verification = durable.start(START, NUMBER)
    durable.raise_event(verification, ANSWER, "no code")
    durable.crash()
    durable.raise_event(verification, ANSWER, code_sent(sample))
    assert durable.output(verification) is True
    durable.replay_all()


class Lists:
    """A carrier whose list says one thing after the other: a receipt, nothing, or that it cannot be read now."""

    def __init__(self, *said: object) -> None:
        self._said = list(said)

    async def find(self, message: Sms, since: datetime) -> object:
        said = self._said.pop(0)
        if isinstance(said, Exception):
            raise said
        return said


UNREAD, ACCEPTED = SendUnknownError("The list cannot be read."), "the receipt"


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ((ACCEPTED,), Done),
        ((UNREAD, ACCEPTED), Done),
        ((UNREAD, UNREAD, ACCEPTED), Done),
        ((UNREAD, None, None), NotDone),
        ((None, UNREAD, None), NotDone),
        ((None, None, UNREAD), SendUnknownError),
    ],
)
def test_a_list_that_cannot_be_read_once_says_nothing(
    sample: dict[str, Any], monkeypatch: pytest.MonkeyPatch, said: tuple[object, ...], outcome: type
) -> None:
    async def at_once(seconds: float) -> None: ...

    find_sent = sample["find_sent"]
    monkeypatch.setitem(find_sent.__globals__, "carrier", Lists(*said))
    monkeypatch.setattr(asyncio, "sleep", at_once)
    call = ActivityCall("E4_SendSmsChallenge", (NUMBER,), "i", 1, "key", 0, bytes(32))
    if issubclass(outcome, Exception):
        with pytest.raises(outcome):
            asyncio.run(find_sent(call))
    else:
        assert isinstance(asyncio.run(find_sent(call)), outcome)
