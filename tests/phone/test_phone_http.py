"""The dev phone over HTTP: messages, waiting, events, faults."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bide import App, Settings
from bide.http.app import DurableApi, create_app
from bide.phone import (
    DevPhone,
    RefusedError,
    SendUnknownError,
    Sms,
    TwilioCarrier,
    challenge_text,
    dev_phone_routes,
)
from tests.http.conftest import BASE
from tests.http.test_streams import Stream

NUMBER, OTHER = "+14255550123", "+14255550124"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def phone() -> DevPhone:
    numbers, seconds = count(1), count()
    return DevPhone(None, lambda: NOON + timedelta(seconds=next(seconds)), lambda: f"m{next(numbers)}")


def asked(
    phone: DevPhone, ask: Callable[[httpx2.AsyncClient], Coroutine[Any, Any, httpx2.Response]]
) -> httpx2.Response:
    async def go() -> httpx2.Response:
        async with served(phone) as api:
            transport = httpx2.ASGITransport(api)
            async with httpx2.AsyncClient(transport=transport, base_url=BASE) as client:
                return await ask(client)

    answer = asyncio.run(go())
    if answer.status_code in (200, 400):
        assert answer.headers["cache-control"] == "no-store"
    return answer


def get(phone: DevPhone, path: str) -> tuple[int, Any]:
    answer = asked(phone, lambda client: client.get(f"/dev/phone/{path}"))
    return answer.status_code, answer.json()


def post(phone: DevPhone, body: bytes) -> tuple[int, Any]:
    answer = asked(phone, lambda client: client.post("/dev/phone/faults", content=body))
    return answer.status_code, answer.json()


def send(phone: DevPhone, body: str, to: str = NUMBER) -> None:
    asyncio.run(phone.send(Sms(to, body)))


def ids(answer: tuple[int, Any]) -> list[str]:
    status, messages = answer
    assert status == 200
    return [message["id"] for message in messages]


# --- messages


@pytest.mark.parametrize("to", ["%2B14255550123", "+14255550123", "%2014255550123", "%20%2B14255550123"])
def test_messages_to_a_number(phone: DevPhone, to: str) -> None:
    send(phone, challenge_text("0042"))
    send(phone, "two", OTHER)
    status, messages = get(phone, f"messages?to={to}")
    assert status == 200
    assert messages == [
        {
            "id": "m1",
            "to": NUMBER,
            "body": "Your verification code is 0042",
            "code": "0042",
            "at": "2026-01-01T12:00:00Z",
            "deliverAt": "2026-01-01T12:00:00Z",
            "status": "delivered",
            "errorCode": None,
        }
    ]


def test_without_a_number_there_are_the_last_messages_to_all(phone: DevPhone) -> None:
    for n in range(201):
        send(phone, f"{n}", f"+1425555{n:04d}")
    assert ids(get(phone, "messages")) == [f"m{n}" for n in range(2, 202)]
    assert ids(get(phone, "messages?after=m199")) == ["m200", "m201"]
    assert ids(get(phone, "messages?after=m201")) == []
    assert ids(get(phone, "messages?after=of-another-outbox&to=%2B14255550000")) == ["m1"]


def test_a_number_without_messages(phone: DevPhone) -> None:
    assert get(phone, "messages?to=%2B14255550199") == (200, [])


def test_what_did_not_arrive_is_not_told(phone: DevPhone) -> None:
    for fault in ("lost", "late", 30003):
        phone.next_fault = fault  # type: ignore[assignment]
        send(phone, challenge_text("0042"))
    _, (undelivered,) = get(phone, "messages")
    assert (undelivered["id"], undelivered["status"], undelivered["errorCode"]) == ("m3", "undelivered", 30003)
    assert (undelivered["body"], undelivered["code"]) == ("", None)


def test_a_wait_is_answered_as_soon_as_there_is_a_message() -> None:
    looked = threading.Event()

    def noon() -> datetime:
        looked.set()
        return NOON

    phone = DevPhone(None, noon)

    async def ask(client: httpx2.AsyncClient) -> httpx2.Response:
        waiting = asyncio.create_task(client.get("/dev/phone/messages?wait=60s"))
        await asyncio.to_thread(looked.wait, 10)
        await phone.send(Sms(NUMBER, "one"))
        return await waiting

    assert [message["body"] for message in asked(phone, ask).json()] == ["one"]


def test_a_wait_ends_without_a_message(phone: DevPhone) -> None:
    assert get(phone, "messages?wait=1ms") == (200, [])


def test_a_wait_does_not_keep_the_server_from_stopping() -> None:
    async def go() -> None:
        looks: asyncio.Queue[None] = asyncio.Queue()

        def noon() -> datetime:
            looks.put_nowait(None)
            return NOON

        async with served(DevPhone(None, noon)) as api:
            waiting = Stream(api, "/dev/phone/messages?wait=60s")
            for _ in range(3):  # before it waits, when it begins to, and for how long
                await looks.get()
            api.state.streams.close()
            assert await waiting.status() == 200
            await waiting.ends()

    asyncio.run(go())


@pytest.mark.parametrize("to", ["", "%20", "14255550123", "%2B1425XXXXXXX", "nobody"])
def test_what_is_no_number_gets_the_rule(phone: DevPhone, to: str) -> None:
    status, body = get(phone, f"messages?to={to}")
    assert status == 400
    assert "7 to 15 digits" in body["Message"]


@pytest.mark.parametrize(("wait", "said"), [("soon", "no span"), ("-1s", "no span"), ("61s", "60s at most")])
def test_what_is_no_wait_is_refused(phone: DevPhone, wait: str, said: str) -> None:
    status, body = get(phone, f"messages?wait={wait}")
    assert status == 400
    assert said in body["Message"]


# --- faults


def test_the_state_says_what_comes_next_and_whom_answers_are_for(phone: DevPhone) -> None:
    state = {"next": None, "orchestrator": "Verify", "event": "Answer"}
    assert get(phone, "state") == (200, state)
    for fault in ("late", "lost", 21211, 30003, None):
        armed = {**state, "next": fault}
        assert post(phone, json.dumps({"next": fault}).encode()) == (200, armed)
        assert get(phone, "state") == (200, armed)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b'"late"',
        b'{"next": "never"}',
        b'{"next": 1}',
        b'{"next": true}',
        b'{"next": "late", "x": 1}',
        b"\xff",
    ],
)
def test_what_is_no_fault_is_refused_and_changes_nothing(phone: DevPhone, body: bytes) -> None:
    phone.next_fault = "lost"
    status, answer = post(phone, body)
    assert status == 400
    assert '{"next": "late"}' in answer["Message"]
    assert phone.next_fault == "lost"


def test_a_body_that_is_too_long(phone: DevPhone) -> None:
    answer = asked(phone, lambda client: client.post("/dev/phone/faults", content=b" " * 1_001))
    assert answer.status_code == 413


# --- events


@asynccontextmanager
async def served(phone: DevPhone, **settings: Any) -> AsyncIterator[DurableApi]:
    app = App()
    app.mounts += dev_phone_routes(phone, orchestrator="Verify", event="Answer")
    api = create_app(app, Settings(db=":memory:", **settings))
    async with api.lifespan():
        yield api


async def opened(api: DurableApi, last_id: str = "") -> Stream:
    stream = Stream(api, "/dev/phone/events", last_id)
    assert await stream.status() == 200
    return stream


def test_events_tell_what_arrives_from_now_on(phone: DevPhone) -> None:
    send(phone, "before")

    async def go() -> None:
        async with served(phone) as api:
            stream = await opened(api)
            for n in (2, 3):
                await phone.send(Sms(NUMBER, challenge_text(f"000{n}")))
                event = await stream.event()
                assert (event.id, event.kind, event.data["code"]) == (f"m{n}", "message", f"000{n}")
            await stream.leave()
            again = await opened(api, "m1")
            assert [(await again.event()).id for _ in range(2)] == ["m2", "m3"]
            await again.leave()

    asyncio.run(go())


def test_streams_end_when_the_server_stops_and_are_not_too_many(phone: DevPhone) -> None:
    async def go() -> None:
        async with served(phone, max_streams=1) as api:
            stream = await opened(api)
            await asyncio.sleep(0)
            refused = Stream(api, "/dev/phone/events")
            assert await refused.status() == 503
            await refused.ends()
            api.state.streams.close()
            await stream.ends()

    asyncio.run(go())


# --- beside the management API


def test_our_carrier_sends_through_the_telephone_as_through_twilio(phone: DevPhone) -> None:
    account, sms = "AC" + "0" * 32, Sms(NUMBER, challenge_text("0042"))

    async def go() -> None:
        async with served(phone) as api:
            carrier = TwilioCarrier(
                account, "any token", "+15005550006", base_url=BASE, transport=httpx2.ASGITransport(api)
            )
            assert await carrier.find(sms, NOON) is None
            receipt = await carrier.send(sms)
            assert await carrier.find(sms, NOON) == receipt
            phone.next_fault = 21211
            with pytest.raises(RefusedError, match="does not exist"):
                await carrier.send(sms)
            phone.next_fault = "lost"
            lost = await carrier.send(Sms(OTHER, "x"))
            assert await carrier.find(Sms(OTHER, "x"), NOON) == lost
            await carrier.close()

    asyncio.run(go())
    assert [message.id for message in phone.arrived()] == ["m1"]


def test_an_outbox_that_cannot_be_written_took_nothing(tmp_path: Path) -> None:
    async def go() -> None:
        async with served(DevPhone(tmp_path / "missing" / "outbox", lambda: NOON)) as api:
            carrier = TwilioCarrier(
                "AC" + "0" * 32, "x", "+15005550006", base_url=BASE, transport=httpx2.ASGITransport(api)
            )
            with pytest.raises(SendUnknownError):
                await carrier.send(Sms(NUMBER, "x"))
            await carrier.close()

    asyncio.run(go())
