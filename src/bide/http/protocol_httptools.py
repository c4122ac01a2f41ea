"""uvicorn's protocol over httptools, watched."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from bide.http.protocol import JoinedWrites, Watch

_FRAMING = 16
"""What a piece of a chunked body may have around it: its length, and the ends of lines."""


class WatchedProtocol(HttpToolsProtocol):
    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.watch = Watch(self, config)
        self.answers = JoinedWrites(self)
        self.in_message = False
        self.size = 0
        """Bytes that have come since the head began, or ended, and are not body: trailers count like headers."""

    def connection_lost(self, exc: Exception | None) -> None:
        self.watch.stop()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        self.watch.stop()

    def data_received(self, data: bytes) -> None:
        if not self.in_message and not self.watch.in_head:
            self._head_begins()
        self.size += len(data)
        super().data_received(data)
        self.watch.look(self.size)

    def send_400_response(self, msg: str) -> None:
        self.watch.refuse_garbage()

    def on_message_begin(self) -> None:
        self.in_message = True
        if not self.watch.in_head:  # behind another request, in the same piece of data
            self._head_begins()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self.size = 0
        self.watch.head_ends()
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self.cycle.transport = self.answers

    def on_response_complete(self) -> None:
        self.answers.flush()
        super().on_response_complete()

    def on_body(self, body: bytes) -> None:
        self.size = max(0, self.size - len(body) - _FRAMING)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.in_message = False
        self.size = 0
        super().on_message_complete()

    def _head_begins(self) -> None:
        self.size = 0
        self.watch.head_begins()
