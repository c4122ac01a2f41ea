"""Twilio's answers, and what they tell about whether the message was sent."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import socket
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlencode

import httpx2
import pytest

from bide.phone import (
    Carrier,
    CarrierError,
    InvalidNumberError,
    NotSentError,
    Receipt,
    RefusedError,
    SendUnknownError,
    Sms,
    TwilioCarrier,
    challenge_text,
)

ACCOUNT, TOKEN, SENDER = "AC" + "a" * 32, "s3cr3t-t0ken", "+15005550006"
NUMBER = "+14255550123"
SERVICE = "MG" + "0123456789abcdef" * 2
NO_SENDERS = [
    "",
    "1234",
    "1234567",
    "+12345",
    "+1425XXXXXXX",
    "+1425XXXXXX",
    "+ACME",
    "ACME Verifies",
    "ACME!",
    "ACME\n",
    "Acm\u00e9",
    "\u0391CME",
    " - ",
    "123 456",
    "MG" + "0" * 31,
    "MG" + "0" * 33,
    "MG" + "g" * 32,
    "mg" + "0" * 32,
    "AC" + "0" * 32,
    SERVICE + "\n",
    "whatsapp:+14255550123",
    "\u0661\u0662\u0663\u0664\u0665",
    "AC\x00ME",
]
SMS = Sms(NUMBER, challenge_text("0042"))
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PATH = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"

T = TypeVar("T")
Handler = (
    Callable[[httpx2.Request], httpx2.Response] | Callable[[httpx2.Request], Coroutine[None, None, httpx2.Response]]
)


def run(use: Callable[[TwilioCarrier], Awaitable[T]], handler: Handler | None = None, **options: Any) -> T:
    """Use a carrier whose requests end at `handler`."""

    async def go() -> T:
        transport = None if handler is None else httpx2.MockTransport(handler)
        carrier = TwilioCarrier(ACCOUNT, TOKEN, SENDER, transport=transport, **options)
        try:
            return await use(carrier)
        finally:
            await carrier.close()

    return asyncio.run(go())


def send(handler: Handler | None = None, message: Sms = SMS, **options: Any) -> Receipt:
    return run(lambda carrier: carrier.send(message), handler, **options)


def find(handler: Handler, message: Sms = SMS, since: datetime = NOON) -> Receipt | None:
    return run(lambda carrier: carrier.find(message, since), handler)


def answering(status: int, body: object = None, **headers: str) -> Handler:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda _: httpx2.Response(status, content=content, headers=headers)


def failing(error: Exception) -> Handler:
    def fail(_: httpx2.Request) -> httpx2.Response:
        raise error

    return fail


def problem(code: int, status: int = 400) -> Handler:
    """Twilio's form of an error. Its message repeats what it was sent, as Twilio's do."""
    message = f"Cannot send '{SMS.body}' to {NUMBER} with {TOKEN}"
    return answering(status, {"code": code, "message": message, "more_info": "https://...", "status": status})


def test_it_is_a_carrier() -> None:
    async def accept(carrier: Carrier) -> None:
        assert carrier

    run(accept)


# --- sending


def test_a_send_is_one_post_in_twilios_form() -> None:
    asked: list[httpx2.Request] = []

    def accept(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(201, json={"sid": "SM1", "status": "queued"})

    assert send(accept) == Receipt("SM1", NUMBER)
    (request,) = asked
    assert (request.method, str(request.url)) == ("POST", f"https://api.twilio.com{PATH}")
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    credentials = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
    assert request.headers["authorization"] == f"Basic {credentials}"
    form = parse_qs(request.content.decode())
    assert form == {"To": [NUMBER], "From": [SENDER], "Body": [SMS.body]}


@pytest.mark.parametrize(
    ("sender", "field"),
    [
        (SENDER, "From"),
        ("+491511234567", "From"),
        ("12345", "From"),
        ("123456", "From"),
        ("ACME", "From"),
        ("a", "From"),
        ("Acme 24", "From"),
        ("A&B_c-d+e 9", "From"),
        ("4you", "From"),
        ("MG4you", "From"),
        (SERVICE, "MessagingServiceSid"),
        ("MG" + "0123456789abcdefABCDEF0123456789", "MessagingServiceSid"),
    ],
)
def test_each_kind_of_sender_goes_into_its_field(sender: str, field: str) -> None:
    asked: list[httpx2.Request] = []

    def accept(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(201, json={"sid": "SM1", "status": "accepted", "from": None})

    async def go() -> None:
        carrier = TwilioCarrier(ACCOUNT, TOKEN, sender, transport=httpx2.MockTransport(accept))
        assert await carrier.send(SMS) == Receipt("SM1", NUMBER)
        assert repr(carrier) == f"TwilioCarrier(sender={sender!r})"
        await carrier.close()

    asyncio.run(go())
    form = parse_qs(asked[0].content.decode())
    assert form == {"To": [NUMBER], field: [sender], "Body": [SMS.body]}


@pytest.mark.parametrize("sender", NO_SENDERS)
def test_what_can_be_no_sender_is_refused_before_anything_is_sent(sender: str) -> None:
    with pytest.raises(ValueError, match="A sender is a phone number"):
        TwilioCarrier(ACCOUNT, TOKEN, sender)


def test_an_account_id_cannot_lead_elsewhere() -> None:
    def accept(request: httpx2.Request) -> httpx2.Response:
        assert request.url.raw_path == b"/2010-04-01/Accounts/AC%2F..%2F%3Fx/Messages.json"
        return httpx2.Response(201, json={"sid": "SM1"})

    async def go() -> None:
        carrier = TwilioCarrier("AC/../?x", TOKEN, SENDER, transport=httpx2.MockTransport(accept))
        await carrier.send(SMS)
        await carrier.close()

    asyncio.run(go())


@pytest.mark.parametrize("number", ["+1425XXXXXXX", "+14255550123\n", ""])
def test_a_bad_number_never_leaves_this_machine(number: str) -> None:
    handler = failing(AssertionError("asked"))
    with pytest.raises(InvalidNumberError):
        send(handler, Sms(number, SMS.body))
    with pytest.raises(InvalidNumberError):
        find(handler, Sms(number, SMS.body))


# --- a definite no


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        (20003, 401, "id or token is wrong"),
        (21211, 400, "does not exist"),
        (21212, 400, "sender is not valid"),
        (21267, 400, "under a name"),
        (21408, 400, "may not send to that country"),
        (21606, 400, "cannot send SMS"),
        (21608, 400, "trial account"),
        (21610, 400, "opted out"),
        (21612, 400, "cannot be reached from this sender"),
        (21614, 400, "not a mobile phone"),
        (21659, 400, "does not belong to the account"),
        (21703, 400, "no number to send from"),
        (21705, 400, "no such messaging service"),
    ],
)
def test_known_refusals_are_permanent_and_in_our_words(code: int, status: int, words: str) -> None:
    with pytest.raises(RefusedError, match=words) as refused:
        send(problem(code, status))
    assert (refused.value.code, refused.value.permanent) == (code, True)


@pytest.mark.parametrize(("code", "words"), [(30003, "handset cannot be reached"), (30005, "handset is unknown")])
def test_some_refusals_may_pass(code: int, words: str) -> None:
    with pytest.raises(RefusedError, match=words) as refused:
        send(problem(code))
    assert (refused.value.code, refused.value.permanent) == (code, False)


@pytest.mark.parametrize(
    ("handler", "code"),
    [
        (problem(99999), 99999),
        (answering(400, {"message": "no code"}), 400),
        (answering(400, {"code": "21211"}), 400),
        (answering(403, b"<html>forbidden</html>"), 403),
        (answering(404, b""), 404),
        (answering(413, b"\xff\xfe"), 413),
    ],
)
def test_an_unknown_refusal_is_a_refusal_that_may_pass(handler: Handler, code: int) -> None:
    with pytest.raises(RefusedError, match="HTTP status 4") as refused:
        send(handler)
    assert (refused.value.code, refused.value.permanent) == (code, False)


# --- certainly not sent


@pytest.mark.parametrize(
    "handler",
    [
        problem(20429, 429),
        problem(20429, 400),
        problem(21611, 400),
        answering(429, b"slow down"),
        failing(httpx2.ConnectError("refused")),
        failing(httpx2.ConnectTimeout("slow")),
        failing(httpx2.PoolTimeout("busy")),
    ],
)
def test_not_sent(handler: Handler) -> None:
    with pytest.raises(NotSentError):
        send(handler)


# --- who knows


@pytest.mark.parametrize(
    "handler",
    [
        failing(httpx2.ReadTimeout("slow")),
        failing(httpx2.WriteTimeout("slow")),
        failing(httpx2.ReadError("reset")),
        failing(httpx2.WriteError("reset")),
        failing(httpx2.CloseError("reset")),
        failing(httpx2.RemoteProtocolError("closed without an answer")),
        failing(httpx2.DecodingError("bad gzip")),
        answering(500),
        answering(502, b"<html>"),
        problem(20429, 503),
        problem(20500, 500),
        answering(408),
        answering(301, location="https://example.com/"),
        answering(307, location="https://example.com/"),
        answering(200, b"not JSON"),
        answering(201, {"sid": ""}),
        answering(201, {"sid": None}),
        answering(201, {"sid": 7}),
        answering(201, []),
        answering(204, b""),
    ],
)
def test_unknown(handler: Handler) -> None:
    with pytest.raises(SendUnknownError):
        send(handler)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 429, 500, 503])
def test_nothing_is_ever_asked_twice(status: int) -> None:
    asked: list[str] = []

    def fail(request: httpx2.Request) -> httpx2.Response:
        asked.append(str(request.url))
        return httpx2.Response(status, headers={"Location": "https://example.com/", "Retry-After": "0"})

    for use in (send, find):
        asked.clear()
        with pytest.raises((SendUnknownError, NotSentError)):
            use(fail)
        assert len(asked) == 1


def test_the_whole_request_has_a_time_limit() -> None:
    async def hang(_: httpx2.Request) -> httpx2.Response:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(SendUnknownError, match="did not answer"):
        send(hang, timeout_s=0.01)


# --- over real sockets: on which side of the first byte does an error fall?


CREATED = b'HTTP/1.1 201 Created\r\nContent-Length: 13\r\n\r\n{"sid":"SM1"}'
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def send_to(serve: Serve, scheme: str = "http", **options: Any) -> Receipt:
    async def go() -> Receipt:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        carrier = TwilioCarrier(ACCOUNT, TOKEN, SENDER, base_url=f"{scheme}://127.0.0.1:{port}", **options)
        try:
            return await carrier.send(SMS)
        finally:
            await carrier.close()
            server.close()

    return asyncio.run(go())


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.close()


def test_a_connection_that_ends_after_the_request_leaves_it_open() -> None:
    with pytest.raises(SendUnknownError):
        send_to(hang_up)


def test_tls_that_does_not_come_about_sends_nothing() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    for serve in (plain, hang_up):
        with pytest.raises(NotSentError):
            send_to(serve, "https")


def test_a_certificate_of_somebody_else_sends_nothing(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "1"]
    try:
        subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("no openssl here")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def go() -> None:
        server = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        carrier = TwilioCarrier(ACCOUNT, TOKEN, SENDER, base_url=f"https://127.0.0.1:{port}")
        try:
            with pytest.raises(NotSentError):
                await carrier.send(SMS)
        finally:
            await carrier.close()
            server.close()

    asyncio.run(go())


def test_nobody_there_sends_nothing() -> None:
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(NotSentError, match="ConnectError"):
            send(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}")


def test_no_such_host_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_found(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nothing_found)
    with pytest.raises(NotSentError):
        send(base_url="http://host.invalid")


def test_a_connection_that_was_closed_at_rest_is_not_used_again() -> None:
    sent: list[Receipt] = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        assert b"connection: keep-alive" in request.lower()
        await reader.readexactly(len(urlencode({"To": NUMBER, "From": SENDER, "Body": SMS.body})))
        writer.write(CREATED)
        writer.close()

    async def go() -> None:
        server = await asyncio.start_server(once, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        carrier = TwilioCarrier(ACCOUNT, TOKEN, SENDER, base_url=url)
        for _ in range(3):
            sent.append(await carrier.send(SMS))
        await carrier.close()
        server.close()

    asyncio.run(go())
    assert len(sent) == 3


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CREATED)
        await writer.drain()
        writer.close()

    assert send_to(accept).id == "SM1"


# --- finding


def listed(sid: str, at: datetime | str | None = NOON, **fields: Any) -> dict[str, Any]:
    when = format_datetime(at) if isinstance(at, datetime) else at
    return {"sid": sid, "to": NUMBER, "body": SMS.body, "status": "sent", "date_created": when, **fields}


def pages(*contents: Iterable[dict[str, Any]], asked: list[httpx2.Request] | None = None) -> Handler:
    """A list of messages in pages. Each page names the next one by its number."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        if asked is not None:
            asked.append(request)
        number = int(request.url.params.get("Page", "0"))
        following = f"{PATH}?To=+14255550123&PageSize=200&Page={number + 1}&PageToken=PASM1"  # + not encoded
        more = number + 1 < len(contents)
        return httpx2.Response(
            200, json={"messages": list(contents[number]), "next_page_uri": following if more else None}
        )

    return answer


def test_the_message_is_found_by_number_and_body() -> None:
    others = [
        listed("SM1", body=challenge_text("0043")),
        listed("SM2", to="+14255550124"),
        listed("SM3", body=None),
    ]
    asked: list[httpx2.Request] = []
    assert find(pages([*others, listed("SM4")], asked=asked)) == Receipt("SM4", NUMBER)
    assert find(pages(others)) is None
    assert find(pages([])) is None
    (request,) = asked
    assert (request.method, request.url.path) == ("GET", PATH)
    assert dict(request.url.params) == {"To": NUMBER, "PageSize": "200"}


@pytest.mark.parametrize("status", ["accepted", "queued", "delivered", "undelivered", "failed", "canceled"])
def test_what_was_accepted_counts_whatever_became_of_it(status: str) -> None:
    assert find(pages([listed("SM1", status=status)])) is not None


def test_a_trial_accounts_prefix_does_not_hide_a_message() -> None:
    body = f"Sent from your Twilio trial account - {SMS.body}"
    assert find(pages([listed("SM1", body=body)])) is not None
    assert find(pages([listed("SM1", body=f"Something else - {SMS.body}")])) is None


def test_only_messages_since_then_count() -> None:
    assert find(pages([listed("SM1", NOON - timedelta(seconds=60))])) is not None
    assert find(pages([listed("SM1", NOON - timedelta(seconds=61))])) is None


@pytest.mark.parametrize(
    ("date", "counts"),
    [
        ("Thu, 01 Jan 2026 12:00:00 +0000", True),
        ("Thu, 01 Jan 2026 12:00:00 -0000", True),
        ("Thu, 01 Jan 2026 12:00:00", True),
        ("Thu, 01 Jan 2026 12:30:00 +0100", False),
        (None, True),
        ("", True),
        ("soon", True),
    ],
)
def test_dates(date: str | None, counts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")  # a date without a zone is UTC, wherever this machine is
    time.tzset()
    try:
        assert (find(pages([listed("SM1", date)])) is not None) == counts
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_search_goes_on_over_pages() -> None:
    asked: list[httpx2.Request] = []
    other = [listed("SM1", body="other")]
    assert find(pages(other, [], other, [listed("SM2")], asked=asked)) == Receipt("SM2", NUMBER)
    assert [request.url.params.get("Page") for request in asked] == [None, "1", "2", "3"]
    assert asked[1].url.params["To"] == NUMBER
    assert asked[1].url.params["PageToken"] == "PASM1"


def test_the_search_ends_where_messages_are_older() -> None:
    asked: list[httpx2.Request] = []
    old = [listed("SM1", NOON - timedelta(days=1))]
    assert find(pages(old, [listed("SM2")], asked=asked)) is None
    assert len(asked) == 1


def test_one_old_message_does_not_end_it() -> None:
    page = [listed("SM1", NOON - timedelta(days=1)), listed("SM2", body="other")]
    assert find(pages(page, [listed("SM3")])) is not None


def test_more_than_can_be_read_is_no_proof_of_absence() -> None:
    with pytest.raises(SendUnknownError, match="more than 5 pages"):
        find(pages(*([listed("SM1", body="other")] for _ in range(6))))


def test_the_next_page_leads_to_no_other_host() -> None:
    asked: list[httpx2.Request] = []

    def elsewhere(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        following = "https://example.com/steal?Page=1" if len(asked) == 1 else None
        return httpx2.Response(200, json={"messages": [listed("SM1", body="other")], "next_page_uri": following})

    assert find(elsewhere) is None
    assert {request.url.host for request in asked} == {"api.twilio.com"}
    assert {request.url.path for request in asked} == {PATH}


@pytest.mark.parametrize(
    "handler",
    [
        failing(httpx2.ConnectError("refused")),
        failing(httpx2.ReadTimeout("slow")),
        problem(20003, 401),
        problem(20429, 429),
        answering(500),
        answering(302, location="https://example.com/"),
        answering(204, b""),
        answering(200, b"not JSON"),
        answering(200, b"\xff"),
        answering(200, {}),
        answering(200, []),
        answering(200, {"messages": None}),
        answering(200, {"messages": ["SM1"]}),
        answering(200, {"messages": [{"sid": 1}]}),
    ],
)
def test_a_list_that_cannot_be_read_leaves_it_open(handler: Handler) -> None:
    with pytest.raises(SendUnknownError, match=r"cannot be read|did not answer"):
        find(handler)


# --- what is never shown


def secrets_in(text: str) -> list[str]:
    return [secret for secret in ("0042", TOKEN, SMS.body, NUMBER) if secret in text]


@pytest.mark.parametrize(
    "handler",
    [
        problem(21211),
        problem(99999),
        problem(20003, 401),
        problem(20429, 429),
        problem(20500, 500),
        answering(201, {"sid": None, "body": SMS.body}),
        failing(httpx2.ConnectError(f"{SMS.body} {TOKEN}")),
        failing(httpx2.ReadError(f"{SMS.body} {TOKEN}")),
    ],
)
def test_no_error_shows_or_holds_the_code_or_the_token(handler: Handler) -> None:
    for use in (send, find):
        with pytest.raises(CarrierError) as raised:
            use(handler)
        error: BaseException | None = raised.value
        while error is not None:
            assert isinstance(error, CarrierError), "it would hold the request, and so the code and the token"
            assert secrets_in(f"{error} {error!r} {vars(error)}") == []
            error = error.__context__


def test_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "httpx2")  # as `bide dev` sets it: at INFO it logs whole URLs
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "httpcore2")  # whatever other tests set it to
    send(answering(201, {"sid": "SM1", "body": SMS.body}))
    find(pages([listed("SM1")]))
    with pytest.raises(RefusedError):
        send(problem(21211))

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CREATED)
        writer.close()

    send_to(accept)  # a real connection: the transport has much to say at DEBUG
    assert any(record.name.startswith("httpcore2") for record in caplog.records)
    assert secrets_in(caplog.text) == []


def test_a_carrier_shows_no_token() -> None:
    async def look(carrier: TwilioCarrier) -> None:
        assert secrets_in(f"{carrier} {carrier!r}") == []
        assert ACCOUNT not in repr(carrier)

    run(look)
