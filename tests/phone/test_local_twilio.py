"""Twilio on this machine, judged by Twilio's own clients; and our carrier against it, over real HTTP."""

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
from typing import Any, TypeVar

import httpx2
import pytest
from twilio.base.exceptions import TwilioRestException  # type: ignore[import-untyped]
from twilio.http.async_http_client import AsyncTwilioHttpClient  # type: ignore[import-untyped]
from twilio.http.http_client import TwilioHttpClient  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from bide.phone import (
    Fault,
    NotSentError,
    Receipt,
    RefusedError,
    SendUnknownError,
    Sms,
    TwilioCarrier,
    challenge_text,
)
from bide.phone.dev.local_twilio import segments

ROOT = Path(__file__).parent.parent.parent
ACCOUNT, TOKEN, SENDER = "AC" + "0" * 32, "secret-token", "+15005550006"
NUMBER = "+14255550123"
SMS = Sms(NUMBER, challenge_text("0042"))
T = TypeVar("T")


PATH = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"


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

    def accepted(self) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def arm(self, fault: Fault) -> None:
        answer = httpx2.post(f"{self.url}/dev/phone/faults", json={"next": fault}, trust_env=False)
        assert answer.status_code == 200

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


def call(standin: StandIn, method: str, **options: Any) -> httpx2.Response:
    return httpx2.request(method, f"{standin.url}{PATH}", auth=(ACCOUNT, TOKEN), trust_env=False, **options)


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
    logged = [line["id"] for line in standin.accepted() if line["to"] == to]
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
    before = standin.accepted()
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
        ({"To": NUMBER, "From": "+1425XXXXXXX", "Body": "x"}, 21212),
        ({"To": NUMBER, "From": SENDER, "Body": "x" * 1_601}, 21617),
        ({"To": NUMBER, "MessagingServiceSid": "MG1", "Body": "x"}, 21705),
        ({"To": NUMBER, "MessagingServiceSid": "", "Body": "x"}, 21603),
        ({"To": NUMBER, "From": "ACME Verifies", "Body": "x"}, 21212),
        ({"To": NUMBER, "From": "1234", "Body": "x"}, 21212),
    ],
)
def test_what_twilio_would_not_take(standin: StandIn, form: dict[str, str], code: int) -> None:
    before = standin.accepted()
    answer = call(standin, "POST", data=form)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["status"]) == (400, code, 400)
    assert problem["more_info"] == f"https://www.twilio.com/docs/errors/{code}"
    assert set(problem) == {"code", "message", "more_info", "status"}
    assert standin.accepted() == before


@pytest.mark.parametrize(
    "sender", [{"From": "Bide"}, {"From": "12345"}, {"MessagingServiceSid": f"MG{'0' * 32}"}, {"From": SENDER}]
)
def test_senders_that_twilio_knows(standin: StandIn, sender: dict[str, str]) -> None:
    form = {"To": "+14255550210", "Body": "x" * 1_600, **sender}
    answer = call(standin, "POST", data=form)
    shown = answer.json()
    assert (answer.status_code, shown["from"], shown["num_segments"]) == (201, sender.get("From"), "11")


@pytest.mark.parametrize(
    ("account", "credentials"),
    [
        (ACCOUNT, None),
        (ACCOUNT, (ACCOUNT, "")),
        (ACCOUNT, ("AC" + "1" * 32, TOKEN)),
        ("AC1", ("AC1", TOKEN)),
        ("SM" + "0" * 32, ("SM" + "0" * 32, TOKEN)),
    ],
)
def test_who_is_not_known(standin: StandIn, account: str, credentials: tuple[str, str] | None) -> None:
    for method, rest in (("GET", ".json"), ("POST", ".json"), ("GET", f"/SM{'0' * 32}.json")):
        url = f"{standin.url}/2010-04-01/Accounts/{account}/Messages{rest}"
        answer = httpx2.request(method, url, auth=credentials, trust_env=False)
        assert (answer.status_code, answer.json()["code"]) == (401, 20003)


@pytest.mark.parametrize("authorization", ["Basic", "Basic ?", "Basic w6k=", "Bearer x", "", "Basic \xff"])
def test_credentials_that_are_none(standin: StandIn, authorization: str) -> None:
    headers = {"Authorization": authorization.encode("latin-1")}
    answer = httpx2.get(f"{standin.url}{PATH}", headers=headers, trust_env=False)  # type: ignore[arg-type]
    assert answer.status_code == 401


def test_a_request_that_is_too_long(standin: StandIn) -> None:
    assert call(standin, "POST", data={"Body": "x" * 70_000}).status_code == 413


# --- listing


def test_lists_are_filtered(standin: StandIn, twilio: Client) -> None:
    to, other = "+14255550220", "+15005550999"
    sids = [twilio.messages.create(to=to, from_=sender, body="x").sid for sender in (SENDER, other)]

    def listed(**filters: Any) -> list[str | None]:
        return [message.sid for message in twilio.messages.list(to=to, **filters)]

    now, day, second = datetime.now(UTC), timedelta(days=1), timedelta(seconds=1)
    assert listed() == sids[::-1]
    assert listed(from_=other) == sids[1:]
    assert listed(from_="+15005550998") == []
    assert listed(date_sent_before=now + second) == sids[::-1]
    assert listed(date_sent_before=now - 60 * second) == []
    assert listed(date_sent_after=now - 60 * second) == sids[::-1]
    assert listed(date_sent_after=now + 60 * second) == []
    dates = {message.date_sent for message in twilio.messages.list(to=to)}
    for at in dates:
        assert at is not None
        midnight = at.replace(hour=0, minute=0, second=0)
        assert listed(date_sent=at) == listed(date_sent=midnight) == sids[::-1]
        assert listed(date_sent_before=midnight + day, date_sent_after=midnight) == sids[::-1]
        bounds = {"To": to, "DateSent<": f"{midnight:%Y-%m-%d}", "DateSent>": f"{midnight:%Y-%m-%d}"}
        assert len(call(standin, "GET", params=bounds).json()["messages"]) == 2
        assert listed(date_sent=at - day) == listed(date_sent_before=at - day) == []


def test_pages_follow_each_other_while_messages_come(standin: StandIn, twilio: Client) -> None:
    to = "+14255550230"

    def create() -> str | None:
        return twilio.messages.create(to=to, from_=SENDER, body="x").sid

    sids = [create() for _ in range(5)]
    page = twilio.messages.page(to=to, page_size=2)
    seen = [[message.sid for message in page]]
    while (following := page.next_page()) is not None:
        create()
        page = following
        seen.append([message.sid for message in page])
    assert seen == [sids[:2:-1], sids[2:0:-1], sids[:1]]
    assert len(twilio.messages.list(to=to, limit=3)) == 3


def test_the_form_of_a_page(standin: StandIn, twilio: Client) -> None:
    for _ in range(3):
        twilio.messages.create(to="+14255550240", from_=SENDER, body="x")
    page = call(standin, "GET", params={"To": "+14255550240", "PageSize": "1", "Page": "1"}).json()
    query = "To=%2B14255550240&PageSize=1"
    sid = page["messages"][0]["sid"]
    assert {name: value for name, value in page.items() if name != "messages"} == {
        "page": 1,
        "page_size": 1,
        "start": 1,
        "end": 1,
        "uri": f"{PATH}?{query}&Page=1",
        "first_page_uri": f"{PATH}?{query}&Page=0",
        "previous_page_uri": f"{PATH}?{query}&Page=0",
        "next_page_uri": f"{PATH}?{query}&Page=2&PageToken=PA{sid}",
    }


@pytest.mark.parametrize(
    ("name", "value"), [("DateSent", "soon"), ("DateSent<", "2026-13-01"), ("PageSize", "0"), ("Page", "-1")]
)
def test_a_list_that_cannot_be(standin: StandIn, name: str, value: str) -> None:
    answer = call(standin, "GET", params={name: value})
    assert (answer.status_code, answer.json()["code"]) == (400, 20001)
    assert name in answer.json()["message"]


def test_one_message(standin: StandIn, twilio: Client) -> None:
    created = twilio.messages.create(to="+14255550250", from_=SENDER, body="4\u20e3")
    assert (created.status, created.date_sent) == ("queued", None)
    fetched = twilio.messages(created.sid).fetch()
    assert (fetched.sid, fetched.to, fetched.from_, fetched.body) == (created.sid, created.to, SENDER, "4\u20e3")
    assert (fetched.status, fetched.error_code, fetched.num_segments) == ("delivered", None, "1")
    assert fetched.date_sent == fetched.date_created == created.date_created
    with pytest.raises(TwilioRestException) as refused:
        twilio.messages(f"SM{'0' * 32}").fetch()
    assert (refused.value.status, refused.value.code) == (404, 20404)


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("", 1),
        ("x" * 160, 1),
        ("x" * 161, 2),
        ("\u20ac" * 80, 1),
        ("\u20ac" * 81, 2),
        ("\u0416" * 70, 1),
        ("\u0416" * 71, 2),
        ("\U0001f600" * 35, 1),
        ("\U0001f600" * 36, 2),
    ],
)
def test_segments(body: str, count: int) -> None:
    assert segments(body) == count


@pytest.mark.parametrize("sender", ["+15005550006", "12345", "ACME", "MG" + "0123456789abcdef" * 2])
def test_every_kind_of_sender_sends_and_is_found(standin: StandIn, twilio: Client, sender: str) -> None:
    message = Sms("+14255550290", challenge_text(f"{len(sender):04d}"))
    receipt = standin.send(message, sender=sender)
    assert standin.find(message) == receipt
    shown = twilio.messages(receipt.id).fetch()
    service = sender if sender.startswith("MG") else None
    assert (shown.from_, shown.messaging_service_sid) == (None if service else sender, service)


def test_twilios_client_sends_by_a_messaging_service(standin: StandIn, twilio: Client) -> None:
    service = "MG" + "0" * 32
    sent = twilio.messages.create(to="+14255550291", messaging_service_sid=service, body="x")
    assert (sent.status, sent.from_, sent.messaging_service_sid) == ("accepted", None, service)
    assert twilio.messages(sent.sid).fetch().status == "delivered"


# --- on the telephone


def test_what_is_sent_arrives_on_the_telephone(standin: StandIn, twilio: Client) -> None:
    to = "+14255550260"
    sent = twilio.messages.create(to=to, from_=SENDER, body=challenge_text("0042"))
    answer = httpx2.get(f"{standin.url}/dev/phone/messages", params={"to": to}, trust_env=False)
    (message,) = answer.json()
    assert (message["id"], message["code"]) == (sent.sid, "0042")


@pytest.mark.parametrize(
    ("fault", "status", "error"), [("late", "sent", None), ("lost", "sent", None), (30003, "undelivered", 30003)]
)
def test_a_fault_comes_after_acceptance(
    standin: StandIn, twilio: Client, fault: Fault, status: str, error: int | None
) -> None:
    standin.arm(fault)
    sent = twilio.messages.create(to="+14255550270", from_=SENDER, body="x")
    assert (sent.status, sent.error_code, sent.error_message) == ("queued", None, None)
    (listed,) = twilio.messages.list(to="+14255550270", limit=1)
    assert (listed.sid, listed.status, listed.error_code) == (sent.sid, status, error)
    assert listed.error_message == ("Unreachable destination handset" if error else None)


def test_an_armed_refusal(standin: StandIn, twilio: Client) -> None:
    standin.arm(21211)
    with pytest.raises(TwilioRestException) as refused:
        twilio.messages.create(to=NUMBER, from_=SENDER, body="x")
    assert refused.value.code == 21211
    standin.arm(21211)
    with pytest.raises(RefusedError) as refused_us:
        standin.send(SMS)
    assert (refused_us.value.code, refused_us.value.permanent) == (21211, True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Twilio's own use of aiohttp
def test_twilios_asynchronous_client(standin: StandIn) -> None:
    async def go() -> None:
        http = AsyncTwilioHttpClient(timeout=10)
        async with http:
            client = Client(ACCOUNT, TOKEN, http_client=http)
            client.api.base_url = standin.url
            to = "+14255550280"
            sids = [(await client.messages.create_async(to=to, from_=SENDER, body=f"{n}")).sid for n in range(3)]
            listed = await client.messages.list_async(to=to, page_size=2)
            assert [message.sid for message in listed] == sids[::-1]
            assert (await client.messages(sids[0]).fetch_async()).body == "0"
            with pytest.raises(TwilioRestException) as refused:
                await client.messages.create_async(to="+15005550004", from_=SENDER, body="x")
            assert refused.value.code == 21610

    asyncio.run(go())


# --- our carrier


def test_without_a_token(standin: StandIn) -> None:
    with pytest.raises(RefusedError, match="token is wrong") as refused:
        standin.send(SMS, token="")
    assert refused.value.code == 20003
    with pytest.raises(SendUnknownError, match="token is wrong"):
        standin.find(SMS, token="")


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
        log.write('{"id": "SM1", "to": "+1425')
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
    assert [line["id"] for line in standin.accepted()] == [found.id]
