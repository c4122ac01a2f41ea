"""Where each request on a connection begins and ends: decided here, before any parser sees it.

uvicorn has two parsers, and each lets pass what the other refuses. Where a proxy in front understands a request in
one way and the server behind it in another, the rest of one request becomes the beginning of the next, with the
rights of somebody else. So what two readers could understand differently is refused, and what is left is handed on
in one spelling: the head as it came, but for an `Upgrade` that nobody here can follow, a body in pieces, chunks
without extensions, and no trailers.

Nothing is refused that RFC 9112 asks of a sender. Of what it asks of a recipient, these are left out: targets other
than a path, methods beyond RFC 9110's and PATCH, codings other than `chunked`, and blanks around a chunk's size.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"PATCH"})
_LINE = re.compile(rb"([!-~]+) ([!-~]+) HTTP/([0-9])\.([0-9])\r\n")
_FIELDS = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n)*\r\n")
_TOLD = re.compile(
    rb"\r\n(host|content-length|transfer-encoding|connection|upgrade):[ \t]*(.*?)[ \t]*(?=\r\n)", re.I
)
"""The fields that say how a request is framed."""
_UPGRADE = re.compile(rb"\r\nupgrade:[^\r]*(?=\r\n)", re.I)
_BARE = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")
"""The end of a line for some readers, and for others none."""
_LENGTH = re.compile(rb"[0-9]{1,18}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t -~\x80-\xff]*)?")
_MOST_LINE = 1_024
"""Bytes of the line before a chunk."""


class RefusedError(Exception):
    """What has come is no request that can be taken. Nothing behind it on the connection is one, either."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Framing:
    """What has come on one connection and is not handed on yet."""

    __slots__ = ("_is_last", "_left", "_most", "_next", "_searched", "_websockets", "held", "in_message", "path")

    def __init__(self, most: int, *, websockets: bool = False) -> None:
        """`most`: bytes of a head, and of trailers. `websockets`: whether a request may become one."""
        self._most = most
        self._websockets = websockets
        self.held = bytearray()
        """What is not handed on."""
        self._searched = 0
        self._next: Callable[[], bytes | None] = self._read_head
        """Reads what comes next: the piece, or None if it has not come yet."""
        self._left = 0
        """Bytes of the body, or of its present chunk, that are to come."""
        self._is_last = False
        self.in_message = False
        """Whether a head was read, and the end of its message was not."""
        self.path = b""
        """Of the last head that was read, without the query."""

    def feed(self, data: bytes) -> None:
        """These bytes have come. What comes behind a last request is dropped."""
        if self.in_message or not self._is_last:
            self.held += data

    def read(self) -> bytes:
        """What can be handed on, up to the end of the present message. Raises `RefusedError`."""
        begun = self._next()
        if begun is None or not self.in_message:
            return begun or b""
        pieces = [begun]
        while self.in_message and (piece := self._next()) is not None:
            pieces.append(piece)
        return b"".join(pieces)

    def _read_head(self) -> bytes | None:
        while self.held.startswith(b"\r\n"):  # an empty line before a request is none
            del self.held[:2]
            self._searched = 0
        searched = self._searched
        head = self._section()
        if head is None:
            # What is no request is not waited for: HTTP/0.9 has nothing after its line.
            if self.held.find(b"\r\n", max(0, searched - 1)) == self.held.find(b"\r\n") >= 0:
                _line(self.held)
            return None
        return self._judge(head)

    def _judge(self, head: bytes) -> bytes:
        """Find out how the message behind this head is framed. The head as it goes on."""
        line = _line(head)
        target, minor = line[2], line[4]
        if not _FIELDS.fullmatch(head, line.end()):
            raise RefusedError(400, "A header is not written as `name: value`, on one line that ends with CR LF.")
        told: dict[bytes, list[bytes]] = {}
        for name, value in _TOLD.findall(head, line.end() - 2):
            told.setdefault(name.lower(), []).append(value)
        hosts = len(told.get(b"host", ()))
        if hosts > 1 or (not hosts and minor == b"1"):
            raise RefusedError(400, "A request should have one Host header.")
        self._expect(told.get(b"content-length"), told.get(b"transfer-encoding"), minor)
        self._is_last = minor == b"0"
        for value in told.get(b"connection", ()):
            self._is_last |= b"close" in [option.strip().lower() for option in value.split(b",")]
        self.path = target.partition(b"?")[0]
        if not self.in_message:
            self._end()
        upgrades = told.get(b"upgrade")
        if upgrades and not (self._websockets and line[1] == b"GET" and upgrades == [b"websocket"]):
            return _UPGRADE.sub(b"", head)  # the parsers would expect other bytes than HTTP behind it
        return head

    def _expect(self, lengths: list[bytes] | None, codings: list[bytes] | None, minor: bytes) -> None:
        if codings is not None:
            if lengths is not None or len(codings) > 1 or minor == b"0":
                raise RefusedError(400, "A body has one Content-Length, or one Transfer-Encoding in HTTP/1.1.")
            if codings[0].lower() != b"chunked":
                raise RefusedError(501, "The only Transfer-Encoding that is known here is chunked.")
            self.in_message, self._next = True, self._read_chunk_size
        elif lengths is not None:
            if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
                raise RefusedError(400, "A body has one Content-Length, which is a number.")
            self._left = int(lengths[0])
            self.in_message, self._next = self._left > 0, self._read_body

    def _read_body(self) -> bytes | None:
        piece = self._data()
        if not self._left:
            self._end()
        return piece

    def _read_chunk(self) -> bytes | None:
        piece = self._data()
        if not self._left:
            self._next = self._read_chunk_end
        return piece

    def _data(self) -> bytes | None:
        piece = bytes(self.held[: self._left])
        del self.held[: self._left]
        self._left -= len(piece)
        return piece or None

    def _read_chunk_size(self) -> bytes | None:
        end = self.held.find(b"\r\n", 0, _MOST_LINE)
        found = _CHUNK.fullmatch(self.held, 0, end) if end >= 0 else None
        if end < 0 and len(self.held) < _MOST_LINE and b"\n" not in self.held:
            return None
        if found is None:
            raise RefusedError(400, "The size of a chunk cannot be read.")
        self._left = int(bytes(found[1]), 16)
        del found, self.held[: end + 2]
        if not self._left:
            self._next = self._read_trailers
            return b""
        self._next = self._read_chunk
        return b"%x\r\n" % self._left

    def _read_chunk_end(self) -> bytes | None:
        end = bytes(self.held[:2])
        if not b"\r\n".startswith(end):
            raise RefusedError(400, "A chunk is not as long as it says.")
        if len(end) < 2:
            return None
        del self.held[:2]
        self._next = self._read_chunk_size
        return end

    def _read_trailers(self) -> bytes | None:
        if self.held.startswith(b"\r\n"):
            del self.held[:2]
            self._searched = 0
        else:
            trailers = self._section()
            if trailers is None:
                return None
            if not _FIELDS.fullmatch(trailers) or _TOLD.search(b"\r\n" + trailers):
                raise RefusedError(400, "What comes after a body is not allowed there.")
        self._end()
        return b"0\r\n\r\n"

    def _end(self) -> None:
        """The message is whole."""
        self.in_message, self._next = False, self._read_head
        if self._is_last:
            self.held.clear()

    def _section(self) -> bytes | None:
        """All up to an empty line; None if that has not come."""
        end = self.held.find(b"\r\n\r\n", max(0, self._searched - 3))
        size = len(self.held) if end < 0 else end + 4
        if size > self._most:
            raise RefusedError(431, f"The request has more than {self._most} bytes of headers.")
        if end >= 0:
            section = bytes(self.held[:size])
            del self.held[:size]
            self._searched = 0
            return section
        if _BARE.search(self.held, max(0, self._searched - 1)):
            raise RefusedError(400, "Lines end with CR LF.")
        self._searched = size
        return None


def _line(head: bytes | bytearray) -> re.Match[bytes]:
    """The first line of a head. Raises `RefusedError` if it is none that is taken."""
    line = _LINE.match(head)
    if line is None:
        raise RefusedError(400, "This is not an HTTP request that can be read.")
    method, target, major, minor = line.groups()
    if major != b"1" or minor not in (b"0", b"1"):
        raise RefusedError(505, "The versions of HTTP that are spoken here are 1.1 and 1.0.")
    if method not in _METHODS:
        raise RefusedError(501, "This method is not known here.")
    if not target.startswith(b"/") or b"#" in target:
        raise RefusedError(400, "The target of a request is a path.")
    return line
