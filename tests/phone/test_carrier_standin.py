"""The stand-in, judged by Twilio's own client; and our carrier against the stand-in, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import httpx2
import pytest
from twilio.base.exceptions import TwilioRestException  # type: ignore[import-untyped]
from twilio.http.http_client import TwilioHttpClient  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from holdfast.phone import (
    NotSentError,
    Receipt,
    RefusedError,
    SendUnknownError,
    Sms,
    TwilioCarrier,
    challenge_text,
)

ROOT = Path(__file__).parent.parent.parent
ACCOUNT, TOKEN, SENDER = "AC" + "0" * 32, "secret-token", "+15005550006"
NUMBER = "+14255550123"
SMS = Sms(NUMBER, challenge_text("0042"))
T = TypeVar("T")


def eventually(happens: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.01)


class StandIn:
    """The process, its address and its log."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "accepted.jsonl"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self, delay_ms: int = 0) -> Generator[None, None, None]:
        """Runs it, and ends it with SIGKILL."""
        command = [sys.executable, "-m", "tests.phone.carrier_standin", "--port", str(self.port)]
        command += ["--log", str(self.log), "--delay-ms", str(delay_ms)]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)
        try:
            eventually(self._answers)
            yield
        finally:
            process.kill()
            process.wait()

    def wait_for_acceptance(self) -> None:
        eventually(lambda: bool(self.accepted()))

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def accepted(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def use(self, use: Callable[[TwilioCarrier], Awaitable[T]], token: str = TOKEN, sender: str = SENDER) -> T:
        async def go() -> T:
            carrier = TwilioCarrier(ACCOUNT, token, sender, base_url=self.url)
            try:
                return await use(carrier)
            finally:
                await carrier.close()

        return asyncio.run(go())

    def send(self, message: Sms, token: str = TOKEN, sender: str = SENDER) -> Receipt:
        return self.use(lambda carrier: carrier.send(message), token, sender)

    def find(self, message: Sms, token: str = TOKEN) -> Receipt | None:
        return self.use(lambda carrier: carrier.find(message, datetime.now(UTC)), token)


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    running = StandIn(tmp_path_factory.mktemp("carrier"))
    with running.running():
        yield running


@pytest.fixture
def twilio(standin: StandIn) -> Iterator[Client]:
    """Twilio's own client, pointed at the stand-in."""
    http = TwilioHttpClient(timeout=10)
    client = Client(ACCOUNT, TOKEN, http_client=http)
    client.api.base_url = standin.url
    yield client
    assert http.session is not None
    http.session.close()


def test_twilios_client_creates_and_lists(standin: StandIn, twilio: Client) -> None:
    to = "+14255550200"
    created = [twilio.messages.create(to=to, from_=SENDER, body=f"message {n}") for n in range(5)]
    first = created[0]
    assert first.sid is not None
    assert first.sid.startswith("SM")
    assert (first.to, first.from_, first.body, first.status) == (to, SENDER, "message 0", "queued")
    assert first.date_created is not None
    assert abs(first.date_created - datetime.now(UTC)) < timedelta(minutes=1)
    newest_first = [message.sid for message in reversed(created)]
    assert [message.sid for message in twilio.messages.list(to=to)] == newest_first
    assert [message.sid for message in twilio.messages.list(to=to, page_size=2)] == newest_first
    assert twilio.messages.list(to="+14255550299") == []
    logged = [line["sid"] for line in standin.accepted() if line["to"] == to]
    assert logged == [message.sid for message in created]


@pytest.mark.parametrize(
    ("to", "sender", "code"),
    [
        ("+15005550001", SENDER, 21211),
        ("+15005550002", SENDER, 21612),
        ("+15005550003", SENDER, 21408),
        ("+15005550004", SENDER, 21610),
        ("+15005550009", SENDER, 21614),
        (NUMBER, "+15005550001", 21212),
        (NUMBER, "+15005550007", 21606),
    ],
)
def test_magic_numbers(standin: StandIn, twilio: Client, to: str, sender: str, code: int) -> None:
    before = standin.accepted() if standin.log.exists() else []
    with pytest.raises(TwilioRestException) as refused:
        twilio.messages.create(to=to, from_=sender, body="hello")
    assert refused.value.code == code
    with pytest.raises(RefusedError) as refused_us:
        standin.send(Sms(to, "hello"), sender=sender)
    assert (refused_us.value.code, refused_us.value.permanent) == (code, True)
    assert standin.accepted() == before


def test_a_full_queue_takes_nothing(standin: StandIn) -> None:
    with pytest.raises(NotSentError, match="queue is full"):
        standin.send(SMS, sender="+15005550008")


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"From": SENDER, "Body": "x"}, 21604),
        ({"To": NUMBER, "Body": "x"}, 21603),
        ({"To": NUMBER, "From": SENDER}, 21602),
        ({"To": "+1425XXXXXXX", "From": SENDER, "Body": "x"}, 21211),
    ],
)
def test_what_twilio_would_not_take(standin: StandIn, form: dict[str, str], code: int) -> None:
    url = f"{standin.url}/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    answer = httpx2.post(url, data=form, auth=(ACCOUNT, TOKEN), trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_a_wrong_token(standin: StandIn) -> None:
    with pytest.raises(RefusedError, match="token is wrong") as refused:
        standin.send(SMS, token="wrong")
    assert refused.value.code == 20003
    with pytest.raises(SendUnknownError, match="token is wrong"):
        standin.find(SMS, token="wrong")


def test_our_carrier_sends_and_finds(standin: StandIn, twilio: Client) -> None:
    message = Sms("+14255550300", challenge_text("0007"))
    assert standin.find(message) is None
    receipt = standin.send(message)
    assert receipt.to == message.to
    assert standin.find(message) == receipt
    assert standin.find(Sms(message.to, challenge_text("0008"))) is None
    (shown,) = twilio.messages.list(to=message.to)
    assert (shown.sid, shown.body) == (receipt.id, message.body)


def test_a_message_is_found_behind_many_others(standin: StandIn) -> None:
    to = "+14255550400"

    async def fill(carrier: TwilioCarrier) -> Receipt:
        first = await carrier.send(Sms(to, "the first"))
        for begin in range(0, 250, 50):
            await asyncio.gather(*(carrier.send(Sms(to, f"other {begin + n}")) for n in range(50)))
        return first

    assert standin.use(fill) == standin.find(Sms(to, "the first"))


def test_the_log_is_read_again_even_with_a_torn_line(tmp_path: Path) -> None:
    standin = StandIn(tmp_path)
    with standin.running():
        receipt = standin.send(SMS)
    with standin.log.open("a") as log:
        log.write('{"sid": "SM1", "to": "+1425')
    with standin.running():
        assert standin.find(SMS) == receipt
        standin.send(Sms(NUMBER, "another"))
    assert [line["body"] for line in standin.accepted()] == [SMS.body, "another"]


def test_a_kill_can_fall_between_acceptance_and_answer(tmp_path: Path) -> None:
    standin = StandIn(tmp_path)

    async def send_and_kill(carrier: TwilioCarrier) -> None:
        sending = asyncio.create_task(carrier.send(SMS))
        await asyncio.to_thread(standin.wait_for_acceptance)
        assert not sending.done(), "the answer waits"
        sending.cancel()

    with standin.running(delay_ms=10_000_000):
        standin.use(send_and_kill)
    with standin.running():
        found = standin.find(SMS)
    assert found is not None
    assert [line["sid"] for line in standin.accepted()] == [found.id]
