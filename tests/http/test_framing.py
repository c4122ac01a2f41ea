"""What is taken for a request and what is refused: one table, which both parsers must follow.

Each row is what a caller sends on one connection, at once and byte by byte, and what comes back.
"""

from __future__ import annotations

import asyncio
import re
from typing import NamedTuple

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from bide.config import Settings
from tests.http.test_protocol import PARSERS, Wire, protocols

SETTINGS = Settings(max_header_bytes=2_000)
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")


class Case(NamedTuple):
    sent: bytes
    answers: list[str]
    """The body of each 200 (method, path with query, length of the request's body), or the status of a refusal."""


def head(*fields: bytes, line: bytes = b"POST /x HTTP/1.1", host: bool = True) -> bytes:
    return b"\r\n".join([line, *([b"Host: a"] if host else []), *fields, b"", b""])


def chunked(body: bytes) -> bytes:
    return head(b"Transfer-Encoding: chunked") + body


GET = head(line=b"GET / HTTP/1.1")
NEXT = "GET / 0"
"""The answer to `GET`, which shows that the connection goes on and where the request before it has ended."""

TAKEN = {
    "plain": Case(head(line=b"GET /a?b=1&c HTTP/1.1"), ["GET /a?b=1&c 0"]),
    "two": Case(GET + GET, [NEXT, NEXT]),
    "empty lines before": Case(b"\r\n\r\n" + GET + b"\r\n" + GET, [NEXT, NEXT]),
    "empty query": Case(head(line=b"GET /a? HTTP/1.1") + GET, ["GET /a 0", NEXT]),
    "two slashes": Case(head(line=b"GET //a/b HTTP/1.1") + GET, ["GET //a/b 0", NEXT]),
    "odd but printable target": Case(head(line=b'GET /a"<>\\^`{|}?"<>? HTTP/1.1'), ['GET /a"<>\\^`{|}?"<>? 0']),
    "percent": Case(head(line=b"GET /%2F%41 HTTP/1.1"), ["GET /%2F%41 0"]),
    "body": Case(head(b"Content-Length: 3") + b"abc" + GET, ["POST /x 3", NEXT]),
    "body of nothing": Case(head(b"Content-Length: 0") + GET, ["POST /x 0", NEXT]),
    "zeros before a length": Case(head(b"Content-Length: 003") + b"abc" + GET, ["POST /x 3", NEXT]),
    "no body": Case(head() + GET, ["POST /x 0", NEXT]),
    "GET with a body": Case(head(b"Content-Length: 3", line=b"GET / HTTP/1.1") + b"abc" + GET, ["GET / 3", NEXT]),
    "names in capitals": Case(head(b"CONTENT-LENGTH:3") + b"abc" + GET, ["POST /x 3", NEXT]),
    "blanks around a value": Case(head(b"Content-Length: \t 3 \t") + b"abc" + GET, ["POST /x 3", NEXT]),
    "empty value": Case(head(b"X:", b"Y: ") + GET, ["POST /x 0", NEXT]),
    "value beyond ASCII": Case(head(b"X: \xc3\xa9\xff\t!") + GET, ["POST /x 0", NEXT]),
    "chunks": Case(chunked(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n") + GET, ["POST /x 5", NEXT]),
    "no chunk": Case(chunked(b"0\r\n\r\n") + GET, ["POST /x 0", NEXT]),
    "capital chunk": Case(chunked(b"A\r\n0123456789\r\n000\r\n\r\n") + GET, ["POST /x 10", NEXT]),
    "zeros before a size": Case(chunked(b"0003\r\nabc\r\n0\r\n\r\n") + GET, ["POST /x 3", NEXT]),
    "extension of a chunk": Case(chunked(b'3;a=b;c="d e"\r\nabc\r\n0;x\r\n\r\n') + GET, ["POST /x 3", NEXT]),
    "trailers": Case(chunked(b"3\r\nabc\r\n0\r\nX: y\r\nZ:\r\n\r\n") + GET, ["POST /x 3", NEXT]),
    "Chunked in capitals": Case(head(b"transfer-encoding: CHUNKED") + b"0\r\n\r\n" + GET, ["POST /x 0", NEXT]),
    "a line's end in a chunk": Case(chunked(b"4\r\n\r\n\r\n\r\n0\r\n\r\n") + GET, ["POST /x 4", NEXT]),
    "HTTP/1.0": Case(head(line=b"GET / HTTP/1.0") + GET, [NEXT]),
    "HTTP/1.0 without a host": Case(head(line=b"GET / HTTP/1.0", host=False), [NEXT]),
    "HTTP/1.0 that would stay": Case(head(b"Connection: keep-alive", line=b"GET / HTTP/1.0") + GET, [NEXT]),
    "close": Case(head(b"Connection: close") + GET, ["POST /x 0"]),
    "close among others": Case(head(b"Connection: x, Close") + GET, ["POST /x 0"]),
    "close after a body": Case(head(b"Connection: close", b"Content-Length: 3") + b"abc" + GET, ["POST /x 3"]),
    "upgrade that nobody wants": Case(head(b"Connection: Upgrade", b"Upgrade: h2c") + GET, ["POST /x 0", NEXT]),
    "upgrade with a body": Case(
        head(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 3") + b"abc" + GET, ["POST /x 3", NEXT]
    ),
    "WebSocket with a body": Case(
        head(b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 3") + b"abc" + GET,
        ["POST /x 3", NEXT],
    ),
    "OPTIONS": Case(head(line=b"OPTIONS /x HTTP/1.1") + GET, ["OPTIONS /x 0", NEXT]),
    "TRACE": Case(head(line=b"TRACE /x HTTP/1.1") + GET, ["TRACE /x 0", NEXT]),
}

REFUSED = {
    "both lengths": (400, head(b"Content-Length: 3", b"Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    "both lengths, the other way": (400, head(b"Transfer-Encoding: chunked", b"Content-Length: 5") + b"0\r\n\r\n"),
    "two lengths": (400, head(b"Content-Length: 3", b"Content-Length: 4") + b"abcd"),
    "twice the same length": (400, head(b"Content-Length: 3", b"Content-Length: 3") + b"abc"),
    "a list of lengths": (400, head(b"Content-Length: 3, 3") + b"abc"),
    "a sign before a length": (400, head(b"Content-Length: +3") + b"abc"),
    "a negative length": (400, head(b"Content-Length: -3") + b"abc"),
    "a hexadecimal length": (400, head(b"Content-Length: 0x3") + b"abc"),
    "an empty length": (400, head(b"Content-Length:") + b"abc"),
    "a broken length": (400, head(b"Content-Length: 3.0") + b"abc"),
    "blanks in a length": (400, head(b"Content-Length: 1 3") + b"abc"),
    "a length beyond all": (400, head(b"Content-Length: " + b"9" * 30)),
    "another coding": (501, head(b"Transfer-Encoding: gzip")),
    "two codings": (501, head(b"Transfer-Encoding: gzip, chunked")),
    "chunked twice": (501, head(b"Transfer-Encoding: chunked, chunked")),
    "identity": (501, head(b"Transfer-Encoding: identity")),
    "nearly chunked": (501, head(b"Transfer-Encoding: xchunked")),
    "chunked in quotes": (501, head(b'Transfer-Encoding: "chunked"')),
    "an empty coding": (501, head(b"Transfer-Encoding:")),
    "two headers with codings": (400, head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")),
    "chunked in HTTP/1.0": (400, head(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0") + b"0\r\n\r\n"),
    "folded": (400, head(b"X: a", b" b")),
    "folded by a tab": (400, head(b"X: a", b"\tb")),
    "folded length": (400, head(b"Content-Length:", b" 3") + b"abc"),
    "folded first header": (400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    "bare LF": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "bare LF in the midst": (400, b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
    "bare LF at the end": (400, b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    "bare CR": (400, b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n"),
    "bare CR in a value": (400, head(b"X: a\rContent-Length: 3")),
    "NUL in a value": (400, head(b"X: a\0b")),
    "a control character": (400, head(b"X: a\x0bb")),
    "DEL": (400, head(b"X: a\x7fb")),
    "a blank before the colon": (400, head(b"Content-Length : 3") + b"abc"),
    "a name with a blank": (400, head(b"Content Length: 3") + b"abc"),
    "no name": (400, head(b": 3")),
    "no colon": (400, head(b"Content-Length")),
    "a name beyond ASCII": (400, head(b"\xc3\xa9: 3")),
    "no host": (400, head(host=False)),
    "two hosts": (400, head(b"Host: b")),
    "HTTP/0.9": (400, b"GET /\r\n"),
    "HTTP/0.9 with a version": (505, head(line=b"GET / HTTP/0.9")),
    "HTTP/1.2": (505, head(line=b"GET / HTTP/1.2")),
    "HTTP/2.0": (505, head(line=b"GET / HTTP/2.0")),
    "HTTP/2 by prior knowledge": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "a version in small letters": (400, head(line=b"GET / http/1.1")),
    "a longer version": (400, head(line=b"GET / HTTP/1.10")),
    "two blanks in the line": (400, head(line=b"GET  / HTTP/1.1")),
    "a tab in the line": (400, head(line=b"GET\t/ HTTP/1.1")),
    "a blank after the line": (400, head(line=b"GET / HTTP/1.1 ")),
    "a blank before the line": (400, head(line=b" GET / HTTP/1.1")),
    "a blank in the target": (400, head(line=b"GET /a b HTTP/1.1")),
    "a target beyond ASCII": (400, head(line=b"GET /\xc3\xa9 HTTP/1.1")),
    "a fragment": (400, head(line=b"GET /a#b HTTP/1.1")),
    "a whole address": (400, head(line=b"GET http://a/b HTTP/1.1")),
    "no path": (400, head(line=b"GET a HTTP/1.1")),
    "a star": (400, head(line=b"OPTIONS * HTTP/1.1")),
    "a tunnel": (501, head(line=b"CONNECT a:80 HTTP/1.1")),
    "another method": (501, head(line=b"BREW / HTTP/1.1")),
    "a method in small letters": (501, head(line=b"get / HTTP/1.1")),
    "TLS": (400, b"\x16\x03\x01 hello\r\n\r\n"),
}
"""Each is answered so, and nothing behind it is looked at."""

BROKEN = {
    "a blank after a chunk's size": chunked(b"3 \r\nabc\r\n0\r\n\r\n"),
    "a blank before a chunk's size": chunked(b" 3\r\nabc\r\n0\r\n\r\n"),
    "a sign before a chunk's size": chunked(b"+3\r\nabc\r\n0\r\n\r\n"),
    "a chunk's size with 0x": chunked(b"0x3\r\nabc\r\n0\r\n\r\n"),
    "a chunk without a size": chunked(b"\r\nabc\r\n0\r\n\r\n"),
    "a chunk's size beyond all": chunked(b"F" * 17 + b"\r\nabc"),
    "a chunk's size that ends with LF": chunked(b"3\nabc\r\n0\r\n\r\n"),
    "a bare CR in an extension": chunked(b"3;a\rb\r\nabc\r\n0\r\n\r\n"),
    "a chunk that is longer than it says": chunked(b"3\r\nabcd\r\n0\r\n\r\n"),
    "a chunk that ends with LF": chunked(b"3\r\nabc\n0\r\n\r\n"),
    "a length in the trailers": chunked(b"3\r\nabc\r\n0\r\nContent-Length: 3\r\n\r\n"),
    "a host in the trailers": chunked(b"3\r\nabc\r\n0\r\nHost: b\r\n\r\n"),
    "folded trailers": chunked(b"3\r\nabc\r\n0\r\nX: a\r\n b\r\n\r\n"),
    "trailers with LF": chunked(b"3\r\nabc\r\n0\r\nX: a\n\r\n"),
    "trailers without a colon": chunked(b"3\r\nabc\r\n0\r\nX\r\n\r\n"),
}
"""The fault is behind a head that was taken, and whoever waits for the body does not get it."""


async def length(request: Request) -> Response:
    query = f"?{request.url.query}" if request.url.query else ""
    path = request.scope["raw_path"].decode()
    return PlainTextResponse(f"{request.method} {path}{query} {len(await request.body())}")


def answers(parser: str, *pieces: bytes) -> list[str]:
    """What comes back, answer by answer, for what is sent piece by piece. The connection must then be closed or at
    rest: nothing of what was sent may be left that could be the beginning of something."""

    async def run() -> list[str]:
        made, state = protocols(parser, SETTINGS, length)
        protocol, wire = made(), Wire()
        protocol.connection_made(wire)
        told = False
        async with asyncio.timeout(20):
            for piece in pieces:
                if not wire.is_closing():
                    protocol.data_received(piece)
            while state.tasks:
                if wire.is_closing() and not told:
                    told = True
                    protocol.connection_lost(None)
                await asyncio.sleep(0)
        if not told:
            protocol.connection_lost(None)
        return [_shown(each) for each in b"".join(wire.written).split(b"HTTP/1.1 ")[1:]]

    return asyncio.run(run())


def _shown(answer: bytes) -> str:
    return answer.partition(b"\r\n\r\n")[2].decode() if answer.startswith(b"200 ") else answer[:3].decode()


def split(sent: bytes) -> list[bytes]:
    return [sent[place : place + 1] for place in range(len(sent))]


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("case", TAKEN.values(), ids=[*TAKEN])
def test_what_is_taken(parser: str, case: Case) -> None:
    assert answers(parser, case.sent) == case.answers
    assert answers(parser, *split(case.sent)) == case.answers


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(("status", "sent"), REFUSED.values(), ids=[*REFUSED])
def test_what_is_refused(parser: str, status: int, sent: bytes) -> None:
    assert answers(parser, sent + GET) == [f"{status}"]
    assert answers(parser, *split(sent + GET)) == [f"{status}"]
    assert answers(parser, GET + sent + GET) == [NEXT, f"{status}"]


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("sent", BROKEN.values(), ids=[*BROKEN])
def test_a_body_that_is_broken(parser: str, sent: bytes) -> None:
    assert answers(parser, sent + GET) == ["400"]
    assert answers(parser, *split(sent + GET)) == ["400"]
