"""The command line over a database on a server, and what goes wrong with its URL, in words."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bide import App, Settings
from bide.cli import main
from bide.errors import StoreError
from bide.model.clock import SystemClock
from bide.model.instance import PARTITIONS
from bide.model.presence import Presence
from bide.running import Running
from bide.running import run as run_app
from bide.store.postgres import schema as postgres_schema
from tests.postgres.server import PostgresServer
from tests.postgres.test_workers import until

pytestmark = pytest.mark.postgres

PASSWORD = "hush-hush"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("BIDE_", "PG"))]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture(scope="module")
def guarded(installed: None, memory: Path) -> Iterator[PostgresServer]:
    """A server where the role `ann` needs her password."""
    with PostgresServer(memory, fast=True) as server:
        server.query(f"CREATE ROLE ann LOGIN PASSWORD '{PASSWORD}'")
        rules = "('host all ann 127.0.0.1/32 scram-sha-256'), ('host all all 127.0.0.1/32 trust')"
        server.query(f"COPY (VALUES {rules}) TO '{server.query('SHOW hba_file')}'")
        server.query("SELECT pg_reload_conf()")
        yield server


def command(*arguments: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    assert PASSWORD not in result.output
    assert "Traceback" not in result.output
    return result


async def first_sign(hub: Running) -> Presence:
    """The worker, once it owns everything and has said so."""

    async def is_there() -> bool:
        return hub.client.ready and bool(await hub.client.workers())

    await until(is_there)
    return (await hub.client.workers())[0]


def live(url: str) -> str:
    """A worker's whole life; returns its name."""

    async def living() -> str:
        async with run_app(App(), Settings(db=url), SystemClock()) as hub:
            worker = await first_sign(hub)
            return worker.name

    return asyncio.run(living())


# --- db


def test_status(database_url: str) -> None:
    newest = postgres_schema.newest()
    empty = json.loads(command("db", "status", "--db", database_url).stdout)
    assert (empty["schema"], empty["newest_schema"], empty["rows"], empty["workers"]) == (0, newest, {}, {})
    live(database_url)
    shown = json.loads(command("db", "status", "--db", database_url).stdout)
    assert shown["database"] == database_url
    assert int(shown["server"].split(".")[0]) >= 14
    assert shown["schema"] == newest
    assert shown["bytes"] > 1_000_000
    assert shown["rows"].keys() >= {"instances", "history", "timers"}
    assert (shown["workers"], shown["partitions_owned"], shown["partitions_free"]) == ({}, 0, PARTITIONS)


def test_status_while_a_worker_runs(database_url: str) -> None:
    async def running() -> dict[str, Any]:
        async with run_app(App(), Settings(db=database_url), SystemClock()) as hub:
            worker = await first_sign(hub)
            result = await asyncio.to_thread(command, "db", "status", "-o", "json", "--db", database_url)
            table = await asyncio.to_thread(command, "db", "status", "-o", "table", "--db", database_url)
            assert f"{worker.name} {PARTITIONS}" in table.stdout
            shown: dict[str, Any] = json.loads(result.stdout)
            assert shown["workers"] == {worker.name: PARTITIONS}
            return shown

    shown = asyncio.run(running())
    assert (shown["partitions_owned"], shown["partitions_free"]) == (PARTITIONS, 0)


def test_migrate(database_url: str) -> None:
    newest = postgres_schema.newest()
    assert f"from schema 0 to {newest}" in command("db", "migrate", "--db", database_url).stderr
    assert f"has schema {newest} already" in command("db", "migrate", "--db", database_url).stderr
    live(database_url)


def test_a_newer_schema_is_refused(postgres: PostgresServer, database_url: str) -> None:
    command("db", "migrate", "--db", database_url)
    postgres.query("INSERT INTO bide.migrations VALUES (99, now())", database_url.rpartition("/")[2])
    for verb in ("migrate", "status"):
        result = command("db", verb, "--db", database_url, exit_code=9 if verb == "migrate" else 0)
        assert "99" in result.output
    with pytest.raises(StoreError, match="Install the newer version"):
        live(database_url)


def test_a_backup_is_somebody_else_s() -> None:
    url = f"postgresql://ann:{PASSWORD}@db.example:5432/hub?sslmode=require"
    said = command("db", "backup", "my copy", "--db", url, exit_code=2).stderr
    dump = "pg_dump --format=custom --schema=bide --file='my copy'"
    assert f"{dump} 'postgresql://ann@db.example:5432/hub?sslmode=require'" in said


# --- what goes wrong


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def old_server() -> Iterator[str]:
    """Speaks just enough of the protocol to say that it is version 13."""

    def said(kind: bytes, content: bytes) -> bytes:
        return kind + struct.pack("!i", len(content) + 4) + content

    facts = {"server_version": "13.9", "in_hot_standby": "off", "default_transaction_read_only": "off"}
    welcome = said(b"R", struct.pack("!i", 0))
    welcome += b"".join(said(b"S", f"{name}\0{value}\0".encode()) for name, value in facts.items())
    welcome += said(b"K", struct.pack("!ii", 1, 1)) + said(b"Z", b"I")

    def serve(listener: socket.socket) -> None:
        with listener.accept()[0] as caller:
            caller.recv(10_000)
            caller.sendall(welcome)
            while caller.recv(10_000):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield f"postgresql://ann:{PASSWORD}@127.0.0.1:{listener.getsockname()[1]}/hub?sslmode=disable"
        thread.join(10)


def refused(url: str, part: str) -> None:
    """Both who looks and who works hears it, in one line, without the password."""
    said = command("db", "status", "--db", url, exit_code=9).stderr
    assert part in said
    assert said.count("\n") == 1
    with pytest.raises(StoreError) as error:
        live(url)
    assert part in str(error.value)
    assert PASSWORD not in str(error.value)


def test_an_old_server() -> None:
    with old_server() as url:
        said = command("db", "status", "--db", url, exit_code=9).stderr
    assert "is PostgreSQL 13.9. Bide needs 14 or later." in said


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ann:{PASSWORD}/x@127.0.0.1/hub",
        f"postgresql://ann:x@{PASSWORD}@127.0.0.1/hub",
        f"postgresql://ann:{PASSWORD}?x@127.0.0.1/hub",
        "postgresql://ann@127.0.0.1:many/hub",
        "postgresql://ann@127.0.0.1/hub?what",
        "postgresql://ann@[::1/hub",
        "postgresql://ann@127.0.0.1/hub?target_session_attrs=best",
    ],
)
def test_urls_that_are_none(url: str) -> None:
    refused(url, "The database's URL cannot be read.")


def test_nobody_is_there() -> None:
    refused(f"postgresql://ann:{PASSWORD}@127.0.0.1:{free_port()}/hub", "Does the server run there")
    refused(f"postgresql://ann:{PASSWORD}@nowhere.invalid/hub", "Does the server run there")


def test_who_is_not_let_in(guarded: PostgresServer) -> None:
    right = guarded.create_database("guarded").replace("postgres@", f"ann:{PASSWORD}@")
    assert json.loads(command("db", "status", "--db", right).stdout)["schema"] == 0
    refused(right.replace(PASSWORD, "wrong"), 'password authentication failed for user "ann". Correct it')
    refused(right.replace("ann:", "bob:"), 'role "bob" does not exist')
    refused(right.replace("/guarded", "/other"), 'database "other" does not exist. Make it')
    refused(f"{right}?connect_timeout=3", "connect_timeout")
    refused(f"{right}?sslmode=sometimes", "sslmode")
    refused(f"{right}?sslmode=require", "SSL")


def test_a_password_is_in_no_output(guarded: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    url = guarded.create_database("quiet").replace("postgres@", f"ann:{PASSWORD}@")
    monkeypatch.setenv("BIDE_DB", url)
    for arguments in (["config", "show", "-o", "table"], ["config", "show"], ["db", "status"]):
        assert "postgresql://ann@127.0.0.1" in command(*arguments).stdout
    command("doctor", "-o", "table", exit_code=1)
    command("keys", "create", "ci", "--role", "viewer", exit_code=9)
    command("db", "migrate", exit_code=9)


def test_a_lone_standby(postgres: PostgresServer, memory: Path) -> None:
    with postgres.standby(memory) as standby:
        refused(standby.url(), "It only reads. Name the primary")


# --- doctor


def findings(url: str) -> dict[str, list[tuple[str, str]]]:
    said = CliRunner().invoke(main, ["doctor", "--db", url, "-o", "json"], catch_exceptions=False).stdout
    found: dict[str, list[tuple[str, str]]] = {}
    for each in json.loads(said):
        found.setdefault(each["check"], []).append((each["state"], f"{each['found']} {each.get('next', '')}"))
    return found


def test_doctor(database_url: str) -> None:
    state, said = findings(database_url)["database"][0]
    assert state == "note"
    assert "bide db migrate --db 'postgresql://OWNER@127.0.0.1" in said
    live(database_url)
    found = findings(database_url)
    assert found["database"][0][0] == "ok"
    assert found["sessions"][0][0] == found["rights"][0][0] == found["db clock"][0][0] == "ok"
    assert found["held"] == [("ok", "no instance is held ")]
    # The servers of the tests are fast, and so not safe.
    assert [state for state, _ in found["commits"]] == ["ok", "wrong", "wrong"]
    assert findings(f"{database_url}?synchronous_commit=off")["commits"][0][0] == "wrong"
    assert findings(f"{database_url}?synchronous_commit=local")["commits"][0][0] == "note"


def test_doctor_finds_no_server() -> None:
    ((state, said),) = findings(f"postgresql://ann:{PASSWORD}@127.0.0.1:{free_port()}/hub")["database"]
    assert state == "wrong"
    assert "cannot be used" in said
    assert PASSWORD not in said


# --- what the URL says


def sessions(server: PostgresServer, database: str) -> set[str]:
    return {
        *server.query(f"SELECT application_name FROM pg_stat_activity WHERE datname = '{database}'").split("\n")
    }


@pytest.mark.parametrize("named", [False, True])
def test_sessions_have_the_worker_s_name(postgres: PostgresServer, database_url: str, named: bool) -> None:
    url = f"{database_url}?application_name=mine" if named else database_url

    async def running() -> None:
        async with run_app(App(), Settings(db=url), SystemClock()) as hub:
            worker = await first_sign(hub)
            names = await asyncio.to_thread(sessions, postgres, database_url.rpartition("/")[2])
            assert names == {"mine" if named else worker.name[:63]}

    asyncio.run(running())


def test_tls_as_libpq_has_it(guarded: PostgresServer, directory: Path) -> None:
    openssl = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=db -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*openssl.split(), "-keyout", "key", "-out", "root.crt"], check=True, capture_output=True)
    data = Path(guarded.query("SHOW data_directory"))
    for name, path in (("server.key", "key"), ("server.crt", "root.crt")):
        file = data / name
        file.write_bytes(Path(path).read_bytes())
        file.chmod(0o600)
        os.chown(file, data.stat().st_uid, data.stat().st_gid)
    guarded.query("ALTER SYSTEM SET ssl = on")
    guarded.restart()
    try:
        url = guarded.create_database("tls")
        strict = f"{url}?sslmode=verify-full&sslrootcert={directory}/root.crt"
        assert json.loads(command("db", "status", "--db", strict).stdout)["schema"] == 0
        live(strict)
        refused(f"{strict}x", "sslrootcert")
        refused(f"{url}?sslmode=verify-full&sslrootcert={_other_root(directory)}", "sslmode and sslrootcert")
    finally:
        guarded.query("ALTER SYSTEM RESET ssl")
        guarded.restart()


def _other_root(directory: Path) -> Path:
    openssl = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=other -keyout other.key -out other.crt"
    subprocess.run(openssl.split(), check=True, capture_output=True)
    return directory / "other.crt"
