"""A carrier for tests, as a process of its own: the dev phone, which answers as Twilio. Its outbox is the oracle.

    python -m tests.phone.carrier_standin --port 8099 --log accepted.jsonl [--delay-ms 60]

Every accepted message is a line of the outbox before anything is answered. With `--delay-ms` the answer then waits
for a random time, so that whoever asked can die between the carrier's acceptance and its word.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bide import SystemClock
from bide.phone import DevPhone, dev_phone_routes


class Delay:
    """Lets whoever has sent a message wait for its answer."""

    def __init__(self, app: ASGIApp, most_ms: int) -> None:
        self._app = app
        self._most_ms = most_ms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def later(message: Message) -> None:
            if scope["method"] == "POST" and message["type"] == "http.response.start":
                await asyncio.sleep(random.uniform(0, self._most_ms) / 1000)
            await send(message)

        await self._app(scope, receive, send if scope["type"] != "http" else later)


def create_app(log: Path, delay_ms: int = 0) -> Starlette:
    phone = DevPhone(log, SystemClock().utc_now)
    return Starlette(routes=dev_phone_routes(phone), middleware=[Middleware(Delay, most_ms=delay_ms)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--delay-ms", type=int, default=0)
    options = parser.parse_args()
    uvicorn.run(create_app(options.log, options.delay_ms), host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
