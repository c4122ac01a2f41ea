"""`bide serve`: who is let in, what is cut, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from bide import App
from bide.access.keys import KeyRing, Role
from bide.cli.demo import sample
from bide.cli.dev import dev
from bide.cli.first_key import give_first_key
from bide.cli.options import server_url
from bide.cli.serve import serve
from bide.cli.serving import banner
from bide.config import Settings
from bide.errors import StoreError
from bide.model.clock import SystemClock
from tests.cli.test_processes import Command
from tests.kill.conftest import eventually

APP = """
from bide import App, OrchestrationContext

app = App()

@app.orchestrator
async def ask(ctx: OrchestrationContext) -> str:
    ctx.set_custom_status(ctx.response_url("Answer"))
    return await ctx.wait_for_external_event("Answer", str)
"""
BASE = "/runtime/webhooks/durabletask"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in [name for name in os.environ if name.startswith("BIDE_")]:
        monkeypatch.delenv(name)
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def started() -> Iterator[list[Command]]:
    commands: list[Command] = []
    yield commands
    for command in commands:
        if command.process.poll() is None:
            command.stop(signal.SIGKILL)


def start(started: list[Command], directory: Path, *options: str, **environ: str) -> Command:
    started.append(Command(directory, "serve", "app.py", "--port", "0", *options, **environ))
    return started[-1]


def call(method: str, url: str, key: str = "") -> tuple[int, Any]:
    asked = urllib.request.Request(url, b"" if method == "POST" else None, method=method)
    if key:
        asked.add_header("x-functions-key", key)
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


# --- who is let in


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        (Settings(db="a.db"), False),
        (Settings(db="a.db", host="0.0.0.0"), True),
        (Settings(db="a.db", require_key=True), True),
        (Settings(db="a.db", allowed_hosts=("a.test",)), True),
    ],
)
def test_a_terminal_shows_the_first_key_where_one_is_needed(
    directory: Path,
    settings: Settings,
    needed: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    give_first_key(settings, "http://127.0.0.1:1")
    said = capsys.readouterr().err
    keys = re.findall(r"export BIDE_KEY=(bide_\S+)$", said, re.M)
    assert len(keys) == needed
    if needed:
        found = KeyRing(Path("a.db.keys")).find(keys[0], SystemClock().now())
        assert found is not None
        assert (found.name, found.role) == ("admin", Role.ADMIN)
        assert "http://127.0.0.1:1/runtime" in said
    assert not Path("a.db.admin-key").exists()
    give_first_key(settings, "")
    assert capsys.readouterr().err == "", "it is made once"


def test_a_log_does_not_get_the_first_key(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(db="a.db", host="0.0.0.0")
    give_first_key(settings, "http://127.0.0.1:1")
    said, path = capsys.readouterr().err, Path("a.db.admin-key")
    assert "a.db.admin-key" in said
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = path.read_text().strip()
    assert key not in said
    assert KeyRing(Path("a.db.keys")).find(key, SystemClock().now()) is not None
    path.unlink()
    give_first_key(settings, "")
    assert (capsys.readouterr().err, path.exists()) == ("", False), "it is made once"


def test_no_key_is_made_that_nobody_has(directory: Path) -> None:
    """As with a disk that is full."""
    Path("a.db.admin-key.new").mkdir()
    with pytest.raises(StoreError, match=r"a\.db\.admin-key cannot be written"):
        give_first_key(Settings(db="a.db", host="0.0.0.0"), "")
    assert KeyRing(Path("a.db.keys")).list() == []


@pytest.mark.parametrize("command", [["serve"], ["dev"], ["dev", "--no-reload"]])
def test_a_database_in_memory_has_no_place_for_keys(directory: Path, command: list[str]) -> None:
    commands = {"serve": serve, "dev": dev}
    options = ["app.py", "--db", ":memory:", "--host", "0.0.0.0", "--port", "0"]
    result = CliRunner().invoke(commands[command[0]], [*command[1:], *options])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: Callers need a key, and a database in memory has no place for keys.")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("10.0.0.1", "http://10.0.0.1:80"),
    ],
)
def test_the_url_is_one_that_can_be_called(host: str, url: str) -> None:
    assert server_url(host, 80) == url


def test_the_banner_says_what_is_served() -> None:
    app = App()
    app.orchestrator(name="first")(lambda context: None)
    plain = banner(Path("app.py"), app, Settings(db="a.db"), "http://127.0.0.1:1")
    assert plain.startswith("Serving app.py on http://127.0.0.1:1\n")
    for part in ("a.db", "first", "http://127.0.0.1:1/docs"):
        assert part in plain
    assert "keys" not in plain
    assert "all of this machine" not in plain
    public = Settings(db="a.db", host="0.0.0.0", public_url="https://a.test")
    full = banner(Path("app.py"), app, public, "http://127.0.0.1:1")
    for part in ("https://a.test", "all of this machine", "every caller needs one (a.db.keys)"):
        assert part in full
    assert "links to people work on this machine only" in banner(Path("app.py"), app, Settings(host="::"), "")


def test_serve_takes_the_same_targets_as_dev(directory: Path) -> None:
    result = CliRunner().invoke(serve, ["nothing.py"])
    assert result.exit_code == 2
    assert "There is no file nothing.py." in result.stderr


@pytest.mark.parametrize(
    ("command", "options"), [(serve, []), (dev, ["--no-reload", "--host", "0.0.0.0"]), (dev, ["--no-reload"])]
)
def test_the_dev_phone_is_refused_where_it_would_harm(
    directory: Path, monkeypatch: pytest.MonkeyPatch, command: click.Command, options: list[str]
) -> None:
    if options == ["--no-reload"]:
        monkeypatch.setenv("BIDE_ENVIRONMENT", "production")
    result = CliRunner().invoke(command, [str(sample()), "--port", "0", *options])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: /dev/phone is for development only, and ")
    assert "TwilioAccountSid" in result.stderr
    assert "bide dev" in result.stderr
    assert not Path("bide.db").exists()


@pytest.mark.parametrize(
    ("environ", "environment"), [({}, "production"), ({"BIDE_ENVIRONMENT": "development"}, "development")]
)
def test_serve_is_for_production_unless_told_otherwise(
    directory: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], environment: str
) -> None:
    served: list[Settings] = []
    monkeypatch.setattr("bide.cli.serving.serve_file", lambda *arguments: served.append(arguments[2]))
    assert CliRunner().invoke(serve, ["app.py", "--port", "0"], env=environ).exit_code == 0
    assert [settings.environment for settings in served] == [environment]


@pytest.mark.kill
def test_others_need_a_key(directory: Path, started: list[Command]) -> None:
    server = start(started, directory, "--host", "0.0.0.0")
    url = f"{server.base}{BASE}/orchestrators"
    kept = eventually("the key is made", lambda: re.search(r"(bide\.db\.admin-key)\. Take it", server.said))[1]
    key = (directory / kept).read_text().strip()
    assert key not in server.said
    for wrong in ("", "bide_x", key[:-1]):
        assert call("GET", url, wrong)[0] == 401
    assert call("GET", url, key)[0] == 200

    ring = KeyRing(Path("bide.db.keys"))
    viewer = ring.create("viewer", Role.VIEWER, SystemClock().now())
    assert call("GET", url, viewer)[0] == 200, "the server sees what the command line makes"
    assert call("POST", f"{server.base}/orchestrators/ask", viewer)[0] == 403
    ring.revoke("viewer")
    assert call("GET", url, viewer)[0] == 401
    assert server.stop() == 0

    again = start(started, directory, "--host", "0.0.0.0")
    assert call("GET", f"{again.base}{BASE}/orchestrators", key)[0] == 200
    assert "admin-key" not in again.said


@pytest.mark.kill
def test_links_have_the_port_that_was_found(directory: Path, started: list[Command]) -> None:
    server = start(started, directory)
    assert call("POST", f"{server.base}/orchestrators/ask/x")[0] == 202
    status = call("GET", f"{server.base}{BASE}/instances/x")[1]
    assert status["customStatus"].startswith(f"{server.base}/respond/")


# --- what is cut


def said(server: Command, sent: bytes) -> bytes:
    """What the server says until it closes the connection."""
    host, port = server.base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as caller:
        caller.sendall(sent)
        return b"".join(iter(lambda: caller.recv(4096), b""))


@pytest.mark.kill
def test_heads_that_are_too_slow_or_too_large(directory: Path, started: list[Command]) -> None:
    server = start(started, directory, BIDE_HEADER_TIMEOUT_S="0.2", BIDE_MAX_HEADER_BYTES="2000")
    line = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    for slow in (b"", b"GET", line):
        assert said(server, slow).startswith(b"HTTP/1.1 408 ")
    for large in (
        line + b"X: " + b"x" * 2000,
        line + b"X: " + b"x" * 2000 + b"\r\n\r\n",
        line + b"X: y\r\n" * 101 + b"\r\n",
    ):
        answer = said(server, large)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert b"connection: close" in answer.lower()
    assert said(server, line + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 200 ")


# --- how it ends


@pytest.mark.kill
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_streams_end_at_once(directory: Path, started: list[Command], how: signal.Signals) -> None:
    server = start(started, directory, BIDE_DRAIN_S="600")
    call("POST", f"{server.base}/orchestrators/ask/x")
    streams = [
        urllib.request.urlopen(f"{server.base}{BASE}/{path}", timeout=20)
        for path in ("events", "instances/x/events")
    ]
    for stream in streams:
        assert stream.status == 200
    assert server.stop(how) == 0
    for stream in streams:
        with stream:
            stream.read()
    assert "Traceback" not in server.said


@pytest.mark.kill
def test_long_polls_are_answered_at_once(directory: Path, started: list[Command]) -> None:
    server = start(started, directory, BIDE_DRAIN_S="600")
    polls = (("GET", f"{BASE}/instances/x?wait=60s"), ("POST", "/orchestrators/ask/y?wait=60s"))
    call("POST", f"{server.base}/orchestrators/ask/x")
    with ThreadPoolExecutor() as threads:
        asked = [threads.submit(call, method, f"{server.base}{path}") for method, path in polls]
        eventually("y has begun", lambda: call("GET", f"{server.base}{BASE}/instances/y")[0] == 202 or None)
        assert server.stop() == 0
        assert [each.result(10)[0] for each in asked] == [202, 202]
    assert "Traceback" not in server.said
