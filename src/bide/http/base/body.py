"""Reading a request's body: once, at the edge, so that nothing behind it meets a value it cannot store.

What is let in is JSON that the engine's own parser reads, and its text goes on untouched. Refused, each with what
is wrong and where: what is compressed; more bytes or deeper nesting than the settings allow; text that is not
UTF-8; NaN and infinities; numbers outside a double's range, or many near its ends; halves of surrogate pairs; and
the same key twice in one object, which two parsers could read differently.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from codecs import BOM_UTF8

import msgspec
from msgspec import UNSET, Raw, UnsetType
from starlette.exceptions import HTTPException
from starlette.requests import Request

from bide.config import Settings
from bide.model.history import NULL
from bide.model.payload import ReadJson, is_deeper, skeleton_of

_UNACCEPTABLE = "The body is not acceptable JSON"
_TOO_DEEP = "The JSON is nested more than {} levels deep."
_EXPONENT = re.compile(rb"[eE][+0-9]")
_FAR = re.compile(rb"[eE][+-]?0*[1-9][0-9]{2}")
MAX_FAR_NUMBERS = 1_000
"""Numbers near the ends of a double's range take the parser up to 15 us each, which is 2 s for 1 MiB of them."""
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_LONG = b"0" * 309
"""So many digits has the largest double."""
_LONG_INTEGER = re.compile(rb"(?<![0-9.eE+-])-?[0-9]{309,}(?![0-9.eE])")
_SEARCHED = 65_536
"""Up to so many bytes, a key that is there twice is looked for, to be named."""
_CLOSE = {"Connection": "close"}
"""Sent when the body was not read to its end: what follows on the connection is not a request."""


async def read_payload(request: Request, settings: Settings) -> ReadJson:
    """An event's data as JSON text. An empty body is null, one of type `text/plain` a JSON string.

    Raises as `read_input` does.
    """
    given = await _read(request, settings, as_text=media_type(request) == "text/plain")
    return given if isinstance(given, ReadJson) else ReadJson(NULL)


async def read_input(request: Request, settings: Settings) -> ReadJson | UnsetType:
    """An orchestrator's input as JSON text, `UNSET` if the body is empty.

    As in Durable Functions, it is JSON whatever its content type says.

    Raises `HTTPException`: 400 for what is not acceptable JSON, 408 for a body that takes too long, 413 for one
    that is too large, 415 for one that is compressed.
    """
    try:
        return await _read(request, settings, as_text=False)
    except HTTPException as error:
        if error.status_code != 400 or media_type(request) != "text/plain":
            raise
        advice = "An input is JSON, whatever its content type: put text in double quotes."
        raise HTTPException(400, f"{error.detail} {advice}", error.headers) from error


async def _read(request: Request, settings: Settings, *, as_text: bool) -> ReadJson | UnsetType:
    body = (await read_body(request, settings)).removeprefix(BOM_UTF8)  # as editors and shells of Windows write it
    try:
        if not body.strip():
            return UNSET
        if as_text:
            return ReadJson(Raw(msgspec.json.encode(body.decode())))
        check_json(body, settings.max_json_depth)
    except UnicodeDecodeError as error:
        raise HTTPException(400, f"The body is not UTF-8: byte {error.start} is not allowed there.") from error
    except ValueError as error:
        raise HTTPException(400, str(error)) from error
    return ReadJson(Raw(body))


def media_type(request: Request) -> str:
    """The content type without its parameters, in lower case; empty if the request has none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def check_json(text: bytes, max_depth: int) -> None:
    """Raises `ValueError`, or its kind `UnicodeDecodeError`, for JSON that is not let in.

    The event loop does nothing meanwhile. So the time that it takes grows with the length of the text, and with
    nothing else that stands in it, and objects are made only where they are needed to judge it.
    """
    text.decode()  # msgspec counts bytes from the start of the string it is in, which helps nobody
    try:
        msgspec.json.decode(text, type=Raw)
        skeleton = skeleton_of(text)
        if is_deeper(skeleton, max_depth):
            raise ValueError(_TOO_DEEP.format(max_depth))
        if len(_FAR.findall(skeleton)) > MAX_FAR_NUMBERS:
            raise ValueError(f"The body has more than {MAX_FAR_NUMBERS} numbers with an exponent of three digits.")
        if b":" in skeleton or _EXPONENT.search(skeleton) or _LONG in skeleton.translate(_DIGITS):
            _check_content(text, skeleton)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP.format(max_depth)) from error
    except msgspec.DecodeError as error:
        raise ValueError(f"{_UNACCEPTABLE}: {error}") from error


def _check_content(text: bytes, skeleton: bytes) -> None:
    value = msgspec.json.decode(text)
    if any(math.isinf(float(number)) for number in _LONG_INTEGER.findall(skeleton)):
        raise ValueError(f"{_UNACCEPTABLE}: Number out of range")
    # An object that is written again has each key once, and so fewer colons than one that had a key twice.
    if skeleton.count(b":") != skeleton_of(msgspec.json.encode(value)).count(b":"):
        if len(text) <= _SEARCHED:
            json.loads(text, object_pairs_hook=_refuse_duplicates)
        raise ValueError(f"{_UNACCEPTABLE}: an object has a key twice.")


def _refuse_duplicates(pairs: list[tuple[str, object]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise ValueError(f"{_UNACCEPTABLE}: an object has the key {json.dumps(key)} twice.")
        seen.add(key)


async def read_body(request: Request, settings: Settings) -> bytes:
    """The body as it is. Raises `HTTPException` 408, 413 or 415, and 400 if the caller goes away."""
    encoding = request.headers.get("content-encoding", "").strip()
    if encoding.lower() not in ("", "identity"):
        raise _compressed(encoding)
    limit = settings.max_body_bytes
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and len(declared) < 20 and int(declared) > limit:
        raise _too_large(limit)
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise HTTPException(400, "The caller went away.", _CLOSE)
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError as error:
        late = f"The body did not arrive within {settings.body_timeout_s:g} s."
        raise HTTPException(408, late, _CLOSE) from error
    return bytes(body)


def _compressed(encoding: str) -> HTTPException:
    """Not unpacked: a small body could become a huge one."""
    message = f"The body is encoded ({encoding[:40]}). Send it as it is, without Content-Encoding."
    return HTTPException(415, message, {**_CLOSE, "Accept-Encoding": "identity"})


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"The body is larger than {limit} bytes.", _CLOSE)
