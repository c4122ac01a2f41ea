"""What is the same in uvicorn's two protocols: whatever happens on a connection, `Watch` hears of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn import Config
from uvicorn.server import ServerState

from bide.http.server.protocol import Watch

if TYPE_CHECKING:

    class _Protocol(asyncio.Protocol):
        """What both have, and what the mixin extends."""

        def __init__(
            self,
            config: Config,
            server_state: ServerState,
            app_state: dict[str, Any],
            _loop: asyncio.AbstractEventLoop | None = None,
        ) -> None: ...

        transport: asyncio.Transport
        loop: asyncio.AbstractEventLoop
        cycle: Any
        flow: Any

        def _unset_keepalive_if_required(self) -> None: ...

        def on_response_complete(self) -> None: ...

        def shutdown(self) -> None: ...

else:
    _Protocol = object


class Watched(_Protocol):
    """Stands before one of uvicorn's protocols among the bases of a class."""

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
        super().connection_made(transport)
        self.watch.opened()

    def connection_lost(self, exc: Exception | None) -> None:
        self.watch.stop()
        super().connection_lost(exc)

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
