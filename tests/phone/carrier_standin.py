"""A stand-in for Twilio's Messages API, as a process of its own. Its log of accepted messages is the oracle.

    python -m tests.phone.carrier_standin --port 8099 --log accepted.jsonl [--delay-ms 60]

Every accepted message is a line of the log, synced before anything is answered, and read again at the
next start. With `--delay-ms` the answer then waits for a random time, so that whoever asked can die between the
carrier's acceptance and its word.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import re
import secrets
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

REQUIRED = {
    "To": (21604, "A 'To' phone number is required."),
    "From": (21603, "A 'From' phone number is required."),
    "Body": (21602, "Message body is required."),
}
MAGIC_TO = {
    "+15005550001": (21211, "Invalid 'To' Phone Number"),
    "+15005550002": (21612, "The number cannot be reached"),
    "+15005550003": (21408, "Permission to send to that region is off"),
    "+15005550004": (21610, "Attempt to send to unsubscribed recipient"),
    "+15005550009": (21614, "'To' number is not a valid mobile number"),
}
MAGIC_FROM = {
    "+15005550001": (21212, "Invalid 'From' Phone Number"),
    "+15005550007": (21606, "The 'From' number cannot send SMS"),
    "+15005550008": (21611, "The 'From' number's queue is full"),
}


class Log:
    """Accepted messages, in memory and on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        os.truncate(path, len(whole))  # a line that a kill has torn was not accepted
        self.messages: list[dict[str, str]] = [json.loads(line) for line in whole.splitlines()]

    def accept(self, to: str, sender: str, body: str) -> dict[str, str]:
        at = format_datetime(datetime.now(UTC))
        message = {"sid": "SM" + secrets.token_hex(16), "to": to, "from": sender, "body": body, "at": at}
        with self._path.open("a") as file:
            file.write(json.dumps(message) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.messages.append(message)
        return message


def error(status: int, code: int, message: str) -> JSONResponse:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return JSONResponse({"code": code, "message": message, "more_info": more, "status": status}, status)


def refused(form: dict[str, str]) -> tuple[int, str] | None:
    """Code and message, if Twilio would not take this."""
    for name, refusal in REQUIRED.items():
        if not form.get(name):
            return refusal
    if not re.fullmatch(r"\+[1-9][0-9]{6,14}", form["To"]):
        return 21211, "Invalid 'To' Phone Number"
    return MAGIC_TO.get(form["To"]) or MAGIC_FROM.get(form["From"])


def shown(account: str, message: dict[str, str]) -> dict[str, Any]:
    """A message as Twilio shows it."""
    return {
        "sid": message["sid"],
        "account_sid": account,
        "to": message["to"],
        "from": message["from"],
        "body": message["body"],
        "status": "queued",
        "direction": "outbound-api",
        "num_segments": "1",
        "num_media": "0",
        "error_code": None,
        "error_message": None,
        "messaging_service_sid": None,
        "price": None,
        "price_unit": "USD",
        "date_created": message["at"],
        "date_updated": message["at"],
        "date_sent": None,
        "api_version": "2010-04-01",
        "uri": f"/2010-04-01/Accounts/{account}/Messages/{message['sid']}.json",
        "subresource_uris": {},
    }


def create_app(log: Log, delay_ms: int = 0, token: str = "secret-token") -> Starlette:
    def authorised(request: Request) -> bool:
        expected = base64.b64encode(f"{request.path_params['account']}:{token}".encode()).decode()
        return request.headers.get("authorization") == f"Basic {expected}"

    async def create(request: Request) -> JSONResponse:
        if not authorised(request):
            return error(401, 20003, "Authenticate")
        form = dict(parse_qsl((await request.body()).decode()))
        if refusal := refused(form):
            return error(400, *refusal)
        to, sender, body = form["To"], form["From"], form["Body"]
        message = log.accept(to, sender, body)
        await asyncio.sleep(random.uniform(0, delay_ms) / 1000)
        return JSONResponse(shown(request.path_params["account"], message), 201)

    async def index(request: Request) -> JSONResponse:
        if not authorised(request):
            return error(401, 20003, "Authenticate")
        to = request.query_params.get("To")
        size = min(1000, max(1, int(request.query_params.get("PageSize", "50"))))
        page = int(request.query_params.get("Page", "0"))
        matching = [message for message in reversed(log.messages) if to in (None, message["to"])]
        account, begin = request.path_params["account"], page * size
        following = request.url.include_query_params(Page=page + 1)
        more = len(matching) > begin + size
        return JSONResponse(
            {
                "messages": [shown(account, message) for message in matching[begin : begin + size]],
                "page": page,
                "page_size": size,
                "next_page_uri": f"{following.path}?{following.query}" if more else None,
            }
        )

    path = "/2010-04-01/Accounts/{account}/Messages.json"
    return Starlette(routes=[Route(path, create, methods=["POST"]), Route(path, index, methods=["GET"])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--delay-ms", type=int, default=0)
    options = parser.parse_args()
    app = create_app(Log(options.log), options.delay_ms)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
