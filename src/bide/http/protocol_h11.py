"""uvicorn's protocol over h11, watched."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from bide.http.protocol import Watch


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

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        self.watch.opened()

    def connection_lost(self, exc: Exception | None) -> None:
        self.watch.stop()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        super().handle_websocket_upgrade(event)
        self.watch.stop()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self.watch.receive(data)

    def parse(self, data: bytes) -> None:
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        self.watch.refuse_garbage()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.watch.paused()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.watch.resumed()

    def on_response_complete(self) -> None:
        self.watch.flush()
        super().on_response_complete()
        self.watch.answered()
