"""Every door there is, asked by everybody there is: none of them shows a secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner

from bide import Settings
from bide.access.keys import KeyRing, Role
from bide.cli import main
from bide.http.handlers.api import MANAGEMENT
from bide.http.handlers.endpoint import Endpoint
from bide.model.clock import SystemClock
from tests.cli.test_server_commands import Server
from tests.http.conftest import INSTANCES
from tests.sealed import NEEDLE, app_with_secrets, files_with, secret

PREFIX = INSTANCES.removesuffix("/instances")
SHOW_ALL = "showInput=true&showHistory=true&showHistoryOutput=true&fetchInput=true"
COMMANDS = (
    ("ls", "-o", "json"),
    ("show", "parent", "-o", "json"),
    ("show", "parent", "-o", "table"),
    ("show", "parent", "--tree", "-o", "json"),
    ("history", "parent", "-o", "json"),
    ("history", "parent", "-o", "table"),
    ("waiting", "-o", "json"),
    ("func", "durable", "get-runtime-status", "--id", "parent", "--show-input", "--show-output"),
    ("func", "durable", "get-history", "--id", "parent"),
    ("func", "durable", "get-instances"),
)
ONCE_ENDED = (("show", "parent", "--follow", "-o", "json"), ("show", "told", "--follow"), ("wait", "parent"))


def changes(endpoint: Endpoint[object]) -> bool:
    """Whether asking it would end what is looked at."""
    return endpoint.method != "GET" and endpoint.verb not in ("responseLink", "raiseEvent", "start")


def urls(endpoint: Endpoint[object]) -> Iterator[str]:
    yield PREFIX + endpoint.path.format(instanceId="parent", eventName="Open")


class Asker:
    """Somebody with a key, a token or nothing, who asks everything."""

    def __init__(self, http: httpx2.Client, code: str) -> None:
        self._http = http
        self._code = code

    def answers(self) -> Iterator[tuple[str, int, str]]:
        for endpoint in MANAGEMENT:
            if not changes(endpoint) and endpoint.verb not in ("raiseEvent", "start"):
                for url in urls(endpoint):
                    yield self.ask(
                        endpoint.method, f"{url}?{SHOW_ALL}" if endpoint.verb in ("status", "list") else url
                    )
        yield self.ask("GET", "/openapi.json")
        yield self.ask("GET", "/")

    def ask(self, method: str, url: str) -> tuple[str, int, str]:
        code = f"{'&' if '?' in url else '?'}code={self._code}" if self._code else ""
        read = ""
        patience_s = 0.05 if url.endswith("/events") else 10  # a stream goes on
        with self._http.stream(method, url + code, timeout=httpx2.Timeout(10, read=patience_s)) as answer:
            try:
                for piece in answer.iter_text():
                    read += piece
            except httpx2.ReadTimeout:
                assert "event-stream" in answer.headers["content-type"], url
        return url, answer.status_code, read


def look_everywhere(
    server: Server, http: httpx2.Client, codes: dict[str, str], commands: tuple[tuple[str, ...], ...]
) -> int:
    """How many answers there were that showed something. None has a secret in it."""
    shown = 0
    for who, code in codes.items():
        asker = Asker(http, code)
        for url, status, text in asker.answers():
            assert NEEDLE not in text, f"{who}: {url}"
            assert status in (200, 201, 202, 401, 403, 404, 410), f"{who}: {url}: {status} {text}"
            shown += status < 300
    for command in commands:
        result = server(*command, BIDE_KEY=codes["admin"])
        assert result.exit_code == 0, f"{command}: {result.output}"
        assert NEEDLE not in result.output, command
    return shown


def until_it_waits(http: httpx2.Client, key: str, name: str) -> None:
    for _ in range(500):
        waits = http.get(f"{INSTANCES}/parent/waits?code={key}").json()
        if name in [wait["name"] for wait in waits]:
            return
    raise AssertionError(f"it never waited for {name}")


def test_nobody_is_shown_a_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for chatty in ("httpcore2", "httpx2"):  # those of the test itself
        logging.getLogger(chatty).setLevel(logging.WARNING)
    app, got = app_with_secrets()
    db = tmp_path / "bide.db"
    settings = Settings(
        db=str(db),
        require_key=True,
        token_verbs=(
            "waits",
            "raiseEvent",
            "terminate",
            "suspend",
            "resume",
            "rewind",
            "restart",
            "history",
            "events",
        ),
    )
    ring = KeyRing(Path(f"{db}.keys"))
    now = SystemClock().now()
    codes = {role: ring.create(role, Role[role.upper()], now) for role in ("viewer", "operator", "admin")}
    with Server(settings, app) as server, httpx2.Client(base_url=server.url, timeout=10) as http:
        key = codes["operator"]

        def post(path: str, body: object) -> httpx2.Response:
            answer = http.post(f"{path}{'&' if '?' in path else '?'}code={key}", json=body)
            assert answer.status_code in (200, 202), answer.text
            assert NEEDLE not in answer.text
            return answer

        post("/orchestrators/told/told", None)
        uris = post("/orchestrators/parent/parent", {"user": "first", "pin": secret("input")}).json()
        codes["the 202 answer's token"] = uris["statusQueryGetUri"].rpartition("code=")[2].partition("&")[0]
        codes["nobody"] = ""
        post(f"{INSTANCES}/parent/raiseEvent/Early", secret("early"))
        until_it_waits(http, key, "Open")
        assert look_everywhere(server, http, codes, COMMANDS) > 50
        link = http.post(f"{INSTANCES}/parent/responseLinks/Open?code={key}").json()["url"]
        page = http.get(link[link.index("/respond/") :])
        assert (page.status_code, NEEDLE in page.text) == (200, False)
        refused = http.post(f"{INSTANCES}/parent/raiseEvent/Open?code={key}", json=secret("wrong"))
        assert (refused.status_code, NEEDLE in refused.text) == (422, False)
        post(f"{INSTANCES}/parent/raiseEvent/Open", {"user": "x", "pin": secret("open")})
        post(f"{INSTANCES}/parent/raiseEvent/Early", secret("early"))
        post(f"{INSTANCES}/parent/raiseEvent/Open", {"user": "x", "pin": secret("open")})
        ended = post("/orchestrators/child?wait=10s", {"user": "x", "pin": secret("waited")})
        assert ended.json() == {"$hidden": "secret"}
        assert server("wait", "parent", BIDE_KEY=key).stdout == json.dumps({"$hidden": "secret"}, indent=2) + "\n"
        assert look_everywhere(server, http, codes, COMMANDS + ONCE_ENDED) > 50
        assert files_with(NEEDLE, tmp_path) == []
        copy = CliRunner().invoke(main, ["db", "backup", str(tmp_path / "copy.db"), "--db", str(db)])
        assert copy.exit_code == 0, copy.output
    assert secret("open") in got
    assert files_with(NEEDLE, tmp_path) == []
    assert NEEDLE not in caplog.text
