"""uvicorn's protocol over h11, watched. h11 itself limits trailers, and what is around the pieces of a body."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from bide.http.protocol import JoinedWrites, Watch


class WatchedProtocol(H11Protocol):
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

    def connection_lost(self, exc: Exception | None) -> None:
        self.watch.stop()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        super().handle_websocket_upgrade(event)
        self.watch.stop()

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self.watch.head_ends()
            self.cycle.transport = self.answers
        size = self._head_size()
        if size and not self.watch.in_head:
            self.watch.head_begins()
        self.watch.look(size)

    def on_response_complete(self) -> None:
        self.answers.flush()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        self.watch.look(self._head_size())  # a head that is too large is told so
        self.watch.refuse_garbage()

    def _head_size(self) -> int:
        """How many bytes of an incomplete head are there."""
        return len(self.conn.trailing_data[0]) if self.conn.their_state in (h11.IDLE, h11.ERROR) else 0
