"""`bide doctor`: each check is tried on what is right, and on what is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bide.access.keys import KeyRing, Role
from bide.cli import checks
from bide.cli.doctor import doctor
from bide.model.clock import SECOND, SystemClock
from bide.store.sqlite.files import hub_secret
from bide.store.sqlite.store import SqliteStore
from tests.cli.test_processes import Command
from tests.kill.conftest import eventually, free_port

APP = "from bide import App\napp = App()\n@app.orchestrator\nasync def first(ctx): ...\n"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in [name for name in os.environ if name.startswith("BIDE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BIDE_PORT", str(free_port()))
    return tmp_path


@pytest.fixture
def database() -> Path:
    """One that a server has left behind."""

    async def make() -> None:
        store = SqliteStore(Path("bide.db"))
        await store.open()
        await store.close()

    asyncio.run(make())
    hub_secret("bide.db")
    return Path("bide.db")


@contextmanager
def answering(status: int, body: bytes, drift_s: float = 0) -> Iterator[str]:
    """A server under whose URL that is the answer to everything, with a clock that goes wrong."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(status)
            self.send_header("Date", formatdate(SystemClock().now() / SECOND + drift_s, usegmt=True))
            self.end_headers()
            self.wfile.write(body)

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(doctor, arguments, catch_exceptions=False)


def found(*arguments: str, check: str) -> list[dict[str, Any]]:
    """What was found by one of the checks."""
    return [each for each in json.loads(run(*arguments, "-o", "json").stdout) if each["check"] == check]


def only(*arguments: str, check: str) -> dict[str, Any]:
    (finding,) = found(*arguments, check=check)
    return finding


def test_nothing_is_wrong_in_an_empty_directory() -> None:
    result = run("-o", "json")
    assert result.exit_code == 0, result.output
    assert "wrong" not in {each["state"] for each in json.loads(result.stdout)}
    assert only(check="database") == {
        "check": "database",
        "state": "note",
        "found": "bide.db does not exist",
        "next": "The first start makes it.",
    }
    assert list(Path().iterdir()) == [], "looking changes nothing"


def test_nothing_is_wrong_with_what_a_server_left(database: Path) -> None:
    Path("app.py").write_text(APP)
    result = run("app.py", "-o", "table")
    assert result.exit_code == 0, result.output
    assert {line.split()[0] for line in result.stdout.splitlines()} == {"ok"}
    assert "orchestrators: first" in result.stdout
    assert result.stderr == ""


def test_what_is_wrong_says_what_to_do() -> None:
    Path("bide.toml").write_text("prot = 1")
    result = run("-o", "table")
    assert result.exit_code == 1
    assert "wrong  settings  prot in bide.toml is no setting" in result.stdout
    assert "                 Correct the name, or remove it." in result.stdout
    assert result.stderr == "1 thing is wrong.\n"


@pytest.mark.parametrize("toml", ["port = 'web'", "port ="])
def test_settings_that_cannot_be_read(toml: str) -> None:
    Path("bide.toml").write_text(toml)
    os.environ.pop("BIDE_PORT")
    assert only(check="settings")["state"] == "wrong"
    assert found(check="server") == [], "without settings nothing else can be looked at"


def test_an_old_sqlite() -> None:
    assert checks.versions((3, 39, 9)).state == "wrong"
    assert checks.versions((3, 40, 0)).state == "ok"


# --- the database


def test_a_database_without_a_directory() -> None:
    finding = only("--db", "gone/bide.db", check="database")
    assert (finding["state"], finding["next"]) == ("wrong", "mkdir -p gone")


def test_a_database_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIDE_DB", ":memory:")
    assert only(check="database")["state"] == "note"


def test_a_file_that_is_no_database() -> None:
    Path("bide.db").write_bytes(b"x" * 5000)
    assert only(check="database")["state"] == "wrong"


@pytest.mark.parametrize(("schema", "state"), [(0, "note"), (999, "wrong")])
def test_a_database_of_another_version(database: Path, schema: int, state: str) -> None:
    db = sqlite3.connect(database)
    db.execute(f"PRAGMA user_version = {schema}")
    db.close()
    finding = only(check="database")
    assert finding["state"] == state
    assert f"schema {schema}" in finding["found"]


def test_a_damaged_database(database: Path) -> None:
    assert only(check="pages")["state"] == "ok"
    size = database.stat().st_size
    with database.open("r+b") as file:
        for place in range(4096, size, 4096):  # the first page says that it is a database
            file.seek(place)
            file.write(b"\xff" * 64)
    finding = only(check="pages")
    assert finding["state"] == "wrong"
    assert finding["found"].startswith("the database is damaged: ")
    assert "restore a copy" in finding["next"]


def test_a_log_that_does_not_shrink(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Path("bide.db-wal")
    with log.open("wb") as file:
        file.truncate(100_000_001)
    assert only(check="journal")["state"] == "note"
    log.unlink()
    assert only(check="journal")["state"] == "ok"


def test_a_database_without_its_log(database: Path) -> None:
    db = sqlite3.connect(database)
    db.execute("PRAGMA journal_mode = DELETE")
    db.close()
    assert only(check="journal")["state"] == "wrong"


def test_a_full_disk(tmp_path: Path) -> None:
    assert checks.space(tmp_path, least=2**62).state == "wrong"
    assert checks.space(tmp_path, least=1).state == "ok"


# --- secrets and keys


@pytest.mark.parametrize("name", ["bide.db", "bide.db.secret"])
def test_secrets_that_others_can_read(database: Path, name: str) -> None:
    Path(name).chmod(0o640)
    (finding,) = [each for each in found(check="files") if each["state"] == "wrong"]
    assert (finding["found"], finding["next"]) == (f"{name} has mode 0640", f"chmod 600 {name}")


def test_keys_that_others_can_read(database: Path) -> None:
    KeyRing(Path("bide.db.keys")).create("ci", Role.ADMIN, SystemClock().now())
    Path("bide.db.keys").chmod(0o604)
    assert only(check="keys")["state"] == "wrong"
    assert "chmod 600 bide.db.keys" in run("-o", "table").stdout


def test_a_database_without_its_secret(database: Path) -> None:
    Path("bide.db.secret").unlink()
    assert "bide.db.secret is missing" in [each["found"] for each in found(check="files")]


def test_who_needs_which_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "need none" in only(check="keys")["found"]
    monkeypatch.setenv("BIDE_REQUIRE_KEY", "true")
    assert only(check="keys")["state"] == "note"
    now = SystemClock().now()
    ring = KeyRing(Path("bide.db.keys"))
    ring.create("old", Role.ADMIN, now - 2, now - 1)
    assert only(check="keys")["state"] == "note"
    text = ring.create("ci", Role.ADMIN, now)
    assert only(check="keys")["found"] == "callers need one; valid: ci"
    assert text not in run("-o", "json").output


def test_a_first_key_that_nobody_took(database: Path) -> None:
    Path("bide.db.admin-key").write_text("bide_a-key\n")
    Path("bide.db.admin-key").chmod(0o600)
    (finding,) = [each for each in found(check="keys") if each["state"] == "note"]
    assert finding["next"] == "Once you have it: rm bide.db.admin-key"
    Path("bide.db.admin-key").chmod(0o644)
    assert "bide.db.admin-key has mode 0644" in [each["found"] for each in found(check="files")]
    assert "bide_a-key" not in run("-o", "json").output


# --- the server


@pytest.mark.parametrize(
    ("status", "body", "state", "part"),
    [
        (200, b'{"ready":true}', "ok", "is ready"),
        (503, b'{"ready":false}', "wrong", "is not ready"),
        (200, b"hello", "wrong", "is not Bide"),
        (404, b"{}", "wrong", "is not Bide"),
    ],
)
def test_who_answers(status: int, body: bytes, state: str, part: str) -> None:
    with answering(status, body) as url:
        finding = only("--url", url, check="server")
    assert finding["state"] == state
    assert part in finding["found"]


def test_the_port_of_the_settings_is_asked() -> None:
    with answering(200, b"hello") as url:
        assert "is not Bide" in only("--port", url.rpartition(":")[2], check="server")["found"]


def test_what_answers_without_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: server.accept()[0].close())
        thread.start()
        finding = only("--url", f"http://127.0.0.1:{server.getsockname()[1]}", check="server")
        thread.join()
    assert finding["state"] == "wrong"
    assert "does not answer" in finding["found"]


def test_nobody_answers() -> None:
    assert "it is free" in only(check="server")["found"]
    assert only("--url", f"http://127.0.0.1:{free_port()}", check="server")["state"] == "wrong"


@pytest.mark.parametrize(("drift_s", "state"), [(0, "ok"), (-60, "wrong"), (60, "wrong")])
def test_the_servers_clock(drift_s: float, state: str) -> None:
    with answering(200, b'{"ready":true}', drift_s) as url:
        assert only("--url", url, check="clock")["state"] == state


@pytest.mark.kill
def test_a_real_server(directory: Path, database: Path) -> None:
    Path("app.py").write_text(APP)
    server = Command(directory, "dev", "app.py", "--no-reload", "--port", "0")
    try:
        assert "is ready" in only("--url", server.base, check="server")["found"]
        assert f"process {server.process.pid}" in only(check="database")["found"]
        assert "It serves elsewhere" in only(check="server")["next"]
    finally:
        server.stop(signal.SIGKILL)
    eventually("it is free", lambda: "by nobody" in only(check="database")["found"] or None)


# --- the app


@pytest.mark.parametrize(
    ("code", "part"), [("boom()", "NameError"), ("", "has no App"), (APP + "b = App()", "several Apps")]
)
def test_an_app_that_does_not_load(code: str, part: str) -> None:
    Path("app.py").write_text(code)
    finding = only("app.py", check="app")
    assert finding["state"] == "wrong"
    assert part in finding["found"]
