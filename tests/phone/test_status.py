"""Status callbacks: who may tell what became of a message, judged by Twilio's own validator."""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx2
import pytest
from starlette.testclient import TestClient
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from bide import App, Settings
from bide.http.app import create_app
from bide.phone import (
    DevPhone,
    Fault,
    MessageStatus,
    Sms,
    TwilioCarrier,
    carrier_from_settings,
    dev_phone_routes,
    is_signed,
    signature,
    twilio_status_routes,
)
from bide.phone.dev.local_status import Callback, StatusCallbacks
from tests.http.conftest import BASE
from tests.phone.test_phone_http import NOON

ACCOUNT, TOKEN, SENDER = "AC" + "a" * 32, "s3cr3t-t0ken", "+15005550006"
URL = "https://workflows.example.com/twilio/status"
SID = "SM" + "0123456789abcdef" * 2
NUMBER = "+14255550123"
FORM = {
    "AccountSid": ACCOUNT,
    "ApiVersion": "2010-04-01",
    "From": SENDER,
    "MessageSid": SID,
    "MessageStatus": "undelivered",
    "ErrorCode": "30003",
    "SmsSid": SID,
    "SmsStatus": "undelivered",
    "To": NUMBER,
}
SETTINGS = Settings(
    db=":memory:",
    environment="production",
    allowed_hosts=("workflows.example.com",),
    public_url="https://workflows.example.com",
)


def sign(form: dict[str, Any], url: str = URL, token: str = TOKEN) -> str:
    signed: str = RequestValidator(token).compute_signature(url, form)
    return signed


# --- the signature


@pytest.mark.parametrize(
    "form",
    [
        {},
        FORM,
        {"b": "2", "a": "1", "B": "3", "": ""},
        {"Body": "caf\u00e9 \u20ac \U0001f600 & = +"},
        {"ErrorCode": "", "To": NUMBER},
    ],
)
@pytest.mark.parametrize("url", [URL, f"{URL}?tenant=a&x=%2B", "http://127.0.0.1:7071/twilio/status"])
def test_our_signature_is_twilios(form: dict[str, str], url: str) -> None:
    assert signature(TOKEN, url, form.items()) == sign(form, url)
    assert RequestValidator(TOKEN).validate(url, form, signature(TOKEN, url, form.items()))
    assert is_signed(TOKEN, url, form.items(), sign(form, url))


def test_the_signature_is_the_documented_one() -> None:
    """Written out once more: the address, then each name and its value in the order of the names."""
    text = f"{URL}a1b2"
    expected = base64.b64encode(hmac.new(TOKEN.encode(), text.encode(), sha1).digest()).decode()
    assert signature(TOKEN, URL, [("b", "2"), ("a", "1")]) == expected


def test_a_name_that_comes_twice_is_signed_with_each_value() -> None:
    class Several(dict[str, str]):
        def getall(self, name: str) -> list[str]:
            return {"a": ["2", "1", "2"], "b": ["3"]}[name]

    expected = RequestValidator(TOKEN).compute_signature(URL, Several(a="2", b="3"))
    assert signature(TOKEN, URL, [("a", "2"), ("b", "3"), ("a", "1"), ("a", "2")]) == expected


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (URL, "https://workflows.example.com:443/twilio/status"),
        ("https://workflows.example.com:8443/twilio/status", URL),
        ("http://[::1]:7071/twilio/status", "http://[::1]/twilio/status"),
        ("http://[::1]/twilio/status", "http://[::1]:80/twilio/status"),
    ],
)
def test_twilio_signs_with_a_port_or_without_one(ours: str, theirs: str) -> None:
    assert is_signed(TOKEN, ours, FORM.items(), signature(TOKEN, theirs, FORM.items()))


@pytest.mark.parametrize(
    "shown",
    ["", "AAAA", " ", "\u00e9", "\ud800", sign(FORM) + "=", sign(FORM)[:-1], sign(FORM).lower(), f" {sign(FORM)}"],
)
def test_what_is_no_signature(shown: str) -> None:
    assert not is_signed(TOKEN, URL, FORM.items(), shown)


def test_an_empty_token_signs_nothing() -> None:
    assert not is_signed("", URL, FORM.items(), sign(FORM, token=""))


# --- over HTTP


@contextmanager
def serving(told: list[MessageStatus] | None = None) -> Iterator[TestClient]:
    """A server in production, where every other route of the app takes a key."""
    carrier = TwilioCarrier(ACCOUNT, TOKEN, SENDER, status_callback=URL)
    app = App()

    async def keep(status: MessageStatus) -> None:
        assert told is not None
        told.append(status)

    routes = twilio_status_routes(carrier) if told is None else twilio_status_routes(carrier, keep)
    app.mounts += routes
    with TestClient(
        create_app(app, SETTINGS), base_url="https://workflows.example.com", client=("203.0.113.9", 50_000)
    ) as http:
        yield http
    asyncio.run(carrier.close())


def post(http: TestClient, form: Any, shown: str | None, **headers: str) -> httpx2.Response:
    body = form if isinstance(form, bytes) else urlencode(form).encode()
    signed = {} if shown is None else {"X-Twilio-Signature": shown}
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer: httpx2.Response = http.post("/twilio/status", content=body, headers={**kind, **signed, **headers})
    return answer


def test_a_signed_status_is_taken_without_a_key() -> None:
    told: list[MessageStatus] = []
    with serving(told) as http:
        assert post(http, FORM, sign(FORM)).status_code == 204
    (status,) = told
    assert (status.id, status.to, status.status, status.error_code) == (SID, NUMBER, "undelivered", 30003)
    assert repr(status) == f"MessageStatus(id='{SID}', to=...23, status='undelivered', error_code=30003)"


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({}, None),
        ({}, ""),
        ({}, "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ({}, sign(FORM, token="another")),
        ({}, sign(FORM, url="https://workflows.example.com/twilio/other")),
        ({}, sign(FORM, url="http://workflows.example.com/twilio/status")),
        ({}, sign({})),
        ({"MessageStatus": "delivered"}, sign(FORM)),
        ({"To": "+14255550124"}, sign(FORM)),
        ({"Extra": ""}, sign(FORM)),
    ],
)
def test_what_is_not_signed_for_it_is_a_403_and_told_nobody(change: dict[str, str], shown: str | None) -> None:
    told: list[MessageStatus] = []
    with serving(told) as http:
        answer = post(http, {**FORM, **change}, shown)
    assert (answer.status_code, told) == (403, [])
    assert TOKEN not in answer.text
    assert "TwilioAuthToken" in answer.text


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"%", b"a=%ff", b"&" * 1_000, b"{}", b"MessageSid", b"x=" + b"y" * 60_000]
)
def test_any_body_without_a_signature_is_a_403(body: bytes) -> None:
    with serving([]) as http:
        assert post(http, body, "AAAAAAAAAAAAAAAAAAAAAAAAAAA=").status_code == 403


def test_a_body_that_is_too_long() -> None:
    with serving([]) as http:
        assert post(http, b"x=" + b"y" * 70_000, None).status_code == 413


def test_the_callers_host_and_query_change_nothing() -> None:
    """The signature is judged by the address that Twilio was given, not by what the request says of itself."""
    told: list[MessageStatus] = []
    with serving(told) as http:
        forged = sign(FORM, url="https://evil.example/twilio/status")
        assert post(http, FORM, forged, **{"X-Forwarded-Host": "evil.example"}).status_code == 403
        assert post(http, FORM, sign(FORM), **{"X-Forwarded-Proto": "http"}).status_code == 204
    assert len(told) == 1


@pytest.mark.parametrize("missing", [{"MessageSid": ""}, {"MessageStatus": ""}])
def test_a_signed_form_without_a_message_is_a_400(missing: dict[str, str]) -> None:
    form = {**FORM, **missing}
    with serving([]) as http:
        assert post(http, form, sign(form)).status_code == 400


@pytest.mark.parametrize("code", ["", "0x1", "\u0663", "9" * 5_000])
def test_an_error_code_that_is_none(code: str) -> None:
    told: list[MessageStatus] = []
    form = {**FORM, "ErrorCode": code}
    with serving(told) as http:
        assert post(http, form, sign(form)).status_code == 204
    assert told[0].error_code is None


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_only_posts(method: str) -> None:
    with serving([]) as http:
        assert http.request(method, "/twilio/status").status_code == 405


@pytest.mark.parametrize(
    ("change", "level", "said"),
    [
        ({}, logging.WARNING, f"SMS {SID} to ...23: undelivered, the handset cannot be reached (error 30003)"),
        ({"ErrorCode": "39999"}, logging.WARNING, f"SMS {SID} to ...23: undelivered (error 39999)"),
        ({"MessageStatus": "failed", "ErrorCode": ""}, logging.WARNING, f"SMS {SID} to ...23: failed"),
        ({"MessageStatus": "delivered", "ErrorCode": ""}, logging.INFO, f"SMS {SID} to ...23: delivered"),
        ({"MessageStatus": "x\nforged", "ErrorCode": ""}, logging.INFO, f"SMS {SID} to ...23: 'x\\nforged'"),
    ],
)
def test_by_itself_it_is_a_line_of_the_log_without_the_number(
    change: dict[str, str], level: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    form = {**FORM, **change}
    with caplog.at_level(logging.INFO, "bide.phone"), serving() as http:
        assert post(http, form, sign(form)).status_code == 204
    (record,) = [each for each in caplog.records if each.name == "bide.phone"]
    assert (record.levelno, record.getMessage()) == (level, said)
    assert NUMBER not in caplog.text


def test_other_routes_of_the_app_still_take_a_key() -> None:
    with serving([]) as http:
        assert http.get("/runtime/webhooks/durabletask/instances").status_code == 401


# --- settings and sending


def choose(**settings: str) -> Any:
    given = {"TwilioAccountSid": ACCOUNT, "TwilioAuthToken": TOKEN, "TwilioPhoneNumber": SENDER, **settings}
    return carrier_from_settings(given.get, None, lambda: NOON)


def test_the_address_goes_with_each_message() -> None:
    asked: list[httpx2.Request] = []

    def accept(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(201, json={"sid": SID})

    async def go() -> None:
        transport = httpx2.MockTransport(accept)
        carrier = TwilioCarrier(ACCOUNT, TOKEN, SENDER, status_callback=URL, transport=transport)
        await carrier.send(Sms(NUMBER, "x"))
        await carrier.close()

    asyncio.run(go())
    assert dict(parse_qsl(asked[0].content.decode()))["StatusCallback"] == URL


def test_without_an_address_nothing_is_served_nor_asked_for() -> None:
    carrier = choose()
    assert carrier.status_callback is None
    assert twilio_status_routes(carrier) == []
    assert len(twilio_status_routes(choose(TwilioStatusCallback=URL))) == 1


@pytest.mark.parametrize(
    "url",
    [
        "workflows.example.com/twilio/status",
        "ftp://workflows.example.com/twilio/status",
        "https:///twilio/status",
        "https://workflows.example.com/",
        "https://workflows.example.com/twilio/status/",
        "https://workflows.example.com/twilio/status?x=1",
        "https://workflows.example.com/twilio/status#x",
        "https://a:b@workflows.example.com/twilio/status",
        "https://workflows.example.com:x/twilio/status",
        "https://[/twilio/status",
    ],
)
def test_an_address_that_cannot_be_served(url: str) -> None:
    with pytest.raises(ValueError, match=r"TwilioStatusCallback .*https://workflows\.example\.com/twilio/status"):
        choose(TwilioStatusCallback=url)


def test_a_proxy_may_strip_what_comes_before_the_path() -> None:
    url = "https://example.com/flows/twilio/status"
    assert choose(TwilioStatusCallback=url).status_callback == url


# --- the look-alike tells, too


class Told:
    """Who is told by the look-alike: the bodies of the requests, and their signatures."""

    def __init__(self, status: int = 204) -> None:
        self.posts: list[tuple[dict[str, str], str]] = []
        told, self._came = self, threading.Condition()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                with told._came:
                    told.posts.append((dict(parse_qsl(body)), self.headers["X-Twilio-Signature"]))
                    told._came.notify_all()
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/twilio/status"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def wait_for(self, number: int) -> None:
        with self._came:
            assert self._came.wait_for(lambda: len(self.posts) >= number, 30)

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture
def told() -> Iterator[Told]:
    listening = Told()
    yield listening
    listening.close()


@pytest.fixture
def lookalike(tmp_path: Path) -> Iterator[TestClient]:
    app = App()
    app.mounts += dev_phone_routes(DevPhone(tmp_path / "outbox.jsonl", app.utc_now))
    with TestClient(create_app(app, Settings(db=":memory:")), base_url=BASE, client=("127.0.0.1", 50_000)) as http:
        yield http


def create(http: TestClient, callback: str, fault: Fault | None = None, **more: str) -> httpx2.Response:
    if fault is not None:
        assert http.post("/dev/phone/faults", json={"next": fault}).status_code == 200
    form = {"To": NUMBER, "From": SENDER, "Body": "x", "StatusCallback": callback, **more}
    path = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    answer: httpx2.Response = http.post(path, data=form, auth=(ACCOUNT, TOKEN))
    return answer


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (None, [("sent", None), ("delivered", None)]),
        (30003, [("sent", None), ("undelivered", "30003")]),
    ],
)
def test_the_lookalike_tells_as_twilio_does_and_signs(
    lookalike: TestClient, told: Told, fault: Fault | None, expected: list[tuple[str, str | None]]
) -> None:
    sid = create(lookalike, told.url, fault).json()["sid"]
    told.wait_for(len(expected))
    assert [(form["MessageStatus"], form.get("ErrorCode")) for form, _ in told.posts] == expected
    for form, shown in told.posts:
        assert RequestValidator(TOKEN).validate(told.url, form, shown)
        assert (form["MessageSid"], form["SmsSid"], form["AccountSid"]) == (sid, sid, ACCOUNT)
        assert (form["To"], form["From"], form["SmsStatus"]) == (NUMBER, SENDER, form["MessageStatus"])
        assert "Body" not in form


def test_of_a_lost_message_nothing_is_told_after_sent(lookalike: TestClient, told: Told) -> None:
    lost = create(lookalike, told.url, "lost").json()["sid"]
    told.wait_for(1)
    create(lookalike, told.url)
    told.wait_for(3)
    assert [form["MessageStatus"] for form, _ in told.posts if form["MessageSid"] == lost] == ["sent"]


def test_of_a_late_message_delivered_is_told_when_it_is_there(told: Told) -> None:
    present = NOON

    async def go() -> None:
        nonlocal present
        phone = DevPhone(None, lambda: present)
        phone.next_fault = "late"
        callbacks, callback = StatusCallbacks(phone), Callback(told.url, ACCOUNT, TOKEN)

        async def told_of(sid: str, number: int) -> list[str]:
            await asyncio.to_thread(told.wait_for, number)
            return [form["MessageStatus"] for form, _ in told.posts if form["MessageSid"] == sid]

        late = phone.accept(Sms(NUMBER, "x"), SENDER)
        callbacks.begin(late, callback)
        assert await told_of(late.id, 1) == ["sent"]
        callbacks.begin(phone.accept(Sms(NUMBER, "another"), SENDER), callback)
        assert await told_of(late.id, 3) == ["sent"]
        present += timedelta(seconds=10)
        phone.accept(Sms(NUMBER, "one more"))  # who waits looks at the clock again
        assert await told_of(late.id, 4) == ["sent", "delivered"]

    asyncio.run(go())


def test_what_the_lookalike_tells_our_server_takes(lookalike: TestClient, told: Told) -> None:
    create(lookalike, told.url, 30003)
    told.wait_for(2)
    heard: list[MessageStatus] = []

    async def keep(status: MessageStatus) -> None:
        heard.append(status)

    app = App()
    carrier = TwilioCarrier(ACCOUNT, TOKEN, SENDER, status_callback=told.url)
    app.mounts += twilio_status_routes(carrier, keep)
    with TestClient(create_app(app, Settings(db=":memory:")), base_url=BASE, client=("127.0.0.1", 50_000)) as http:
        answers = [post(http, form, shown).status_code for form, shown in told.posts]
    asyncio.run(carrier.close())
    assert answers == [204, 204]
    assert [(status.status, status.error_code) for status in heard] == [("sent", None), ("undelivered", 30003)]


def test_a_messaging_service_is_named(lookalike: TestClient, told: Told) -> None:
    service = "MG" + "0" * 32
    create(lookalike, told.url, From="", MessagingServiceSid=service)
    told.wait_for(2)
    assert {form["MessagingServiceSid"] for form, _ in told.posts} == {service}
    assert all("From" not in form for form, _ in told.posts)


@pytest.mark.parametrize("callback", ["soon", "ftp://127.0.0.1/x", "http://", "http://[", "http://127.0.0.1:x/"])
def test_an_address_that_is_none_sends_nothing(lookalike: TestClient, callback: str) -> None:
    answer = create(lookalike, callback)
    assert (answer.status_code, answer.json()["code"]) == (400, 21609)
    assert lookalike.get("/dev/phone/messages").json() == []


def test_only_this_machine_is_told(lookalike: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "bide.phone"):
        assert create(lookalike, "https://user:pass@workflows.example.com/twilio/status").status_code == 201
    (record,) = [each for each in caplog.records if each.name == "bide.phone"]
    assert (
        record.getMessage()
        == "The dev phone tells only this machine what became of a message, not workflows.example.com."
    )


def test_an_address_that_only_the_client_cannot_use_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def go() -> None:
        phone = DevPhone(None, lambda: NOON)
        callback = Callback("http://127.0.0.1:1/\x00", ACCOUNT, TOKEN)
        StatusCallbacks(phone).begin(phone.accept(Sms(NUMBER, "x"), SENDER), callback)
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))  # raises what a task raises

    with caplog.at_level(logging.WARNING, "bide.phone"):
        asyncio.run(go())
    assert {record.getMessage() for record in caplog.records} == {"A status callback was not taken (InvalidURL)."}
    assert TOKEN not in caplog.text


def test_who_does_not_listen_or_refuses_changes_nothing(
    lookalike: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    refusing = Told(status=500)
    with caplog.at_level(logging.WARNING, "bide.phone"):
        assert create(lookalike, refusing.url).status_code == 201
        refusing.wait_for(2)
        refusing.close()
        assert create(lookalike, refusing.url).status_code == 201
        assert [each["body"] for each in lookalike.get("/dev/phone/messages?wait=5s").json()] == ["x", "x"]
