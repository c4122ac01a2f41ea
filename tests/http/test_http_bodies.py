"""What is let in as JSON, and what is not."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from codecs import BOM_UTF8
from collections.abc import Callable

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from bide import Settings
from bide.http.base.body import check_json, read_payload
from tests.http.conftest import INSTANCES, Api

PLAIN = Settings()


@pytest.mark.parametrize(
    "text",
    [
        b"null",
        b" 1 ",
        b"-0.5e3",
        b"123456789012345678901234567890",
        b"[1" + b"0" * 308 + b", -1" + b"0" * 308 + b"]",
        b"0." + b"1" * 400,
        b"1e-400",
        b"[1e0" + b",5e-324" * 1000 + b"]",
        b"1e-" + b"0" * 400 + b"1",
        b'"' + b"9" * 400 + b'"',
        b'{"a":":{[","b\\\\":"\\",:","b":"\\\\"}',
        b'"\\u0000"',
        b'"\\ud83d\\ude00"',
        '"žluť 😀"'.encode(),
        b"[" * 64 + b"]" * 64,
        b'{"a":{"a":1},"b":[{"a":1},{"a":2}]}',
        b'"[[[[' + b"[" * 100 + b'"',
    ],
)
def test_good_json(text: bytes) -> None:
    check_json(text, 64)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"{", "truncated"),
        (b"nul", "truncated"),
        (b"NaN", "byte 0"),
        (b"[1, Infinity]", "byte 4"),
        (b"1e400", "out of range"),
        (b"9" * 5000, "out of range"),
        (b"9" * 309, "out of range"),
        (b"[1, -" + b"9" * 310 + b"]", "out of range"),
        (b"9" * 300 + b"e9", "out of range"),
        (b"9" * 250 + b".5E+99", "out of range"),
        (b'{"a":}', "byte 5"),
        (b"1 2", "trailing"),
        (b'"\\ud800xxxxxx"', "escape"),
        (b'"\\udc00"', "surrogate"),
        (b'"a\nb"', "byte 2"),
        (b"\xef\xbb\xbf1", "byte 0"),
        (b"[1E0" + b",1e-0123" * 1001 + b"]", "1000 numbers"),
        (b"[" * 65 + b"]" * 65, "64 levels"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "64 levels"),
        (b"[" * 100_000 + b"]" * 100_000, "64 levels"),
        (b"[" * 64 + b'"]", []' + b"]" * 64, "64 levels"),
        (b'{"a":1,"b":2,"a":3}', '"a" twice'),
        (b'{"a\\\\":1,"a\\\\":3}', "twice"),
        (b'{"a":"' + b"x" * 70_000 + b'","a":3}', "a key twice"),
        (b'[{"b":{"\\u0061":1,"a":3}}]', '"a" twice'),
    ],
)
def test_bad_json(text: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        check_json(text, 64)


LONG = 200_000


@pytest.mark.parametrize(
    "part",
    [b"[]", b"{}", b'{"a":1}', b'""', b"1e99", b"[" * 60 + b"]" * 60, b'{"a":' * 60 + b"1" + b"}" * 60, b"9" * 308],
)
def test_no_body_holds_the_loop_for_long(part: bytes) -> None:
    """Measured against the time in which Python reads the same text, whatever the machine."""
    text = b"[" + b",".join([part] * (LONG // (len(part) + 1))) + b"]"
    took = min(_cpu_s(lambda: check_json(text, 64)) for _ in range(2))
    read = min(_cpu_s(lambda: json.loads(text)) for _ in range(2))
    assert took < 2 * read + 0.05


def _cpu_s(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


@pytest.mark.parametrize(("depth", "fits"), [(1, True), (2, True), (3, False)])
def test_depth_counts_containers(depth: int, fits: bool) -> None:
    text = b"[" * depth + b"[]" + b"]" * depth
    if fits:
        check_json(text, 3)
    else:
        with pytest.raises(ValueError, match="3 levels"):
            check_json(text, 3)


def test_payloads_go_on_byte_for_byte(api: Api) -> None:
    text = b'{ "z" : 1.50, "a":"\\u00e9" }'
    instance_id = api.start("Approve", text)
    assert text in api.get(f"{INSTANCES}/{instance_id}").content


@pytest.mark.parametrize("path", ["/orchestrators/Approve/x", f"{INSTANCES}/there/raiseEvent/Answer"])
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "application/json"),
        (b'"\xff"', "application/json"),
        (b"\xff", "text/plain"),
        (b"[[[1]]]", "a/b+json"),
    ],
)
def test_a_bad_body_is_a_400_and_changes_nothing(small_api: Api, path: str, body: bytes, kind: str) -> None:
    small_api.post("/orchestrators/Approve/there")
    answer = small_api.post(path, body, kind)
    assert answer.status_code == 400
    assert answer.json()["Message"]
    assert small_api.get(f"{INSTANCES}/x").status_code == 404
    assert small_api.status("there")["runtimeStatus"] == "Running"


_DOORS = ["/orchestrators/Approve/x", f"{INSTANCES}/there/raiseEvent/Answer"]


@pytest.mark.parametrize("path", _DOORS)
@pytest.mark.parametrize("encoding", ["gzip", "br", "x-mine", "GZIP", "identity, gzip"])
def test_a_compressed_body_is_a_415_that_says_what_to_send(api: Api, path: str, encoding: str) -> None:
    api.post("/orchestrators/Approve/there")
    answer = api.post(path, gzip.compress(b'"yes"'), headers={"Content-Encoding": encoding})
    assert answer.status_code == 415
    assert "Send it as it is, without Content-Encoding" in answer.json()["Message"]
    assert answer.headers["accept-encoding"] == "identity"
    assert answer.headers["connection"] == "close"
    assert api.get(f"{INSTANCES}/x").status_code == 404
    assert api.status("there")["runtimeStatus"] == "Running"


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
def test_a_body_that_says_that_it_is_as_it_is_is_read(api: Api, encoding: str) -> None:
    assert api.post("/orchestrators/Echo/x", b'"yes"', headers={"Content-Encoding": encoding}).status_code == 202
    assert api.ended("x")["output"] == "yes"


@pytest.mark.parametrize(
    ("body", "kind", "means"),
    [(b'{"a":1}', "application/json", {"a": 1}), (b"yes", "text/plain", "yes"), (b"", "application/json", None)],
)
def test_a_byte_order_mark_before_a_body_is_no_part_of_it(api: Api, body: bytes, kind: str, means: object) -> None:
    """Editors and shells of Windows write one."""
    instance_id = api.start("Approve")
    assert api.post(f"{INSTANCES}/{instance_id}/raiseEvent/Answer", BOM_UTF8 + body, kind).status_code == 202
    assert api.ended(instance_id)["output"] == means


def test_an_input_may_have_a_byte_order_mark_too(api: Api) -> None:
    assert api.ended(api.start("Echo", BOM_UTF8 + b"[1]"))["output"] == [1]


def test_a_body_in_another_unicode_encoding_is_a_400_that_says_so(api: Api) -> None:
    answer = api.post("/orchestrators/Echo", '"yes"'.encode("utf-16"))
    assert answer.status_code == 400
    assert "not UTF-8" in answer.json()["Message"]


def test_the_offending_byte_is_named(api: Api) -> None:
    assert "byte 4" in api.post("/orchestrators/Approve", b'"abc\xff"').json()["Message"]


def test_a_body_that_is_too_large_is_a_413(small_api: Api) -> None:
    assert small_api.post("/orchestrators/Approve", b'"' + b"a" * 18 + b'"').status_code == 202
    answer = small_api.post("/orchestrators/Approve", b'"' + b"a" * 19 + b'"')
    assert answer.status_code == 413
    assert "20 bytes" in answer.json()["Message"]
    assert answer.headers["connection"] == "close"


def request(*parts: bytes, last: bool = True, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Request:
    """A request whose body comes in parts; without the last one, it never ends."""
    messages: list[Message] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if last:
        messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Message:
        return messages.pop(0) if messages else await asyncio.Future()

    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


def refused(of: Request, settings: Settings) -> HTTPException:
    with pytest.raises(HTTPException) as found:
        asyncio.run(read_payload(of, settings))
    return found.value


def test_a_body_in_parts_is_put_together() -> None:
    assert bytes(asyncio.run(read_payload(request(b'"a', b'b"'), PLAIN)).text) == b'"ab"'


def test_a_body_without_a_length_is_cut_when_it_is_too_large() -> None:
    error = refused(request(b"[" * 8, b"[" * 8, last=False), Settings(max_body_bytes=15))
    assert error.status_code == 413


def test_a_declared_length_is_believed_when_it_is_too_large() -> None:
    error = refused(request(last=False, headers=((b"content-length", b"16"),)), Settings(max_body_bytes=15))
    assert error.status_code == 413


def test_a_body_that_does_not_end_is_a_408() -> None:
    error = refused(request(b'"half', last=False), Settings(body_timeout_s=0.001))
    assert error.status_code == 408
    assert error.headers == {"Connection": "close"}


def test_a_caller_that_goes_away_is_no_server_error() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    error = refused(Request({"type": "http", "method": "POST", "headers": ()}, receive), PLAIN)
    assert error.status_code == 400


def test_text_is_kept_as_it_is() -> None:
    plain = request(b' say "0042"\n', headers=((b"content-type", b"text/plain"),))
    assert json.loads(bytes(asyncio.run(read_payload(plain, PLAIN)).text)) == ' say "0042"\n'
