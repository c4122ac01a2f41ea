"""uvicorn's protocol over h11, watched."""

from __future__ import annotations

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from bide.http.server.watched import Watched


class WatchedProtocol(Watched, H11Protocol):
    """Named by `ServerConfig`."""

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        super().handle_websocket_upgrade(event)
        self.watch.stop()
