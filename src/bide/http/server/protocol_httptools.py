"""uvicorn's protocol over httptools, watched."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bide.http.server.watched import Watched


class WatchedProtocol(Watched, HttpToolsProtocol):
    """Named by `ServerConfig`."""

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        self.watch.stop()
