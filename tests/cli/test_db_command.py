"""`bide db`: looking at the database, migrating it, and backing it up with what belongs to it."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bide import App, OrchestrationContext, Settings
from bide.access.keys import KeyRing, Role
from bide.cli.db import db
from bide.cli.faults import STORE_UNUSABLE
from bide.model.clock import SystemClock
from bide.store.sqlite.files import lock, status

app = App()


@app.orchestrator
async def ask(ctx: OrchestrationContext) -> str:
    return await ctx.wait_for_external_event("Answer", str)


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIDE_DB", raising=False)
    return tmp_path


@pytest.fixture
def database() -> Path:
    """One with an instance that waits."""

    async def make() -> None:
        async with app.running(Settings()) as client:
            await client.start(ask, instance_id="first")

    asyncio.run(make())
    return Path("bide.db")


@pytest.fixture
def in_use(database: Path) -> Iterator[Path]:
    held = lock(database)
    yield database
    held.close()


def run(*arguments: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(db, arguments, catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    assert "Traceback" not in result.stderr
    return result


def test_status(database: Path) -> None:
    newest = status(database).newest_schema
    shown = json.loads(run("status").stdout)
    assert shown["file"] == "bide.db"
    assert shown["schema"] == shown["newest_schema"] == newest
    assert shown["bytes"] > 4096
    assert shown["in_use_by"] is None
    table = run("status", "-o", "table").stdout
    assert ["in_use_by", "nobody"] in [line.split() for line in table.splitlines()]


def test_status_of_one_in_use(in_use: Path) -> None:
    assert json.loads(run("status").stdout)["in_use_by"] == os.getpid()


def test_migrate(database: Path) -> None:
    newest = status(database).newest_schema
    assert "the newest" in run("migrate").stderr
    old = Path("old.db")
    sqlite3.connect(old).close()
    assert f"from schema 0 to {newest}" in run("migrate", "--db", "old.db").stderr
    assert status(old).schema == newest


def test_what_is_in_use_is_not_migrated(in_use: Path) -> None:
    assert f"in use by process {os.getpid()}" in run("migrate", exit_code=STORE_UNUSABLE).stderr


def test_a_backup_is_complete(in_use: Path) -> None:
    KeyRing(Path("bide.db.keys")).create("ci", Role.ADMIN, SystemClock().now())
    result = run("backup", "copy.db")
    assert result.stderr == "Backed up to copy.db, copy.db.secret, copy.db.keys.\n"
    for suffix in (".secret", ".keys"):
        assert Path(f"copy.db{suffix}").read_bytes() == Path(f"bide.db{suffix}").read_bytes()
    for name in ("copy.db", "copy.db.secret", "copy.db.keys"):
        assert stat.S_IMODE(Path(name).stat().st_mode) == 0o600

    async def go_on() -> str | None:
        async with app.running(Settings(db="copy.db")) as client:
            await client.raise_event("first", "Answer", "yes")
            return (await client.wait("first")).output

    assert asyncio.run(go_on()) == "yes"


def test_a_backup_without_keys(database: Path) -> None:
    assert run("backup", "copy.db").stderr == "Backed up to copy.db, copy.db.secret.\n"
    assert not Path("copy.db.keys").exists()


@pytest.mark.parametrize("taken", ["copy.db", "copy.db.secret", "copy.db.keys"])
def test_nothing_is_overwritten(database: Path, taken: str) -> None:
    Path(taken).write_text("mine")
    assert f"{taken} exists already" in run("backup", "copy.db", exit_code=1).stderr
    assert Path(taken).read_text() == "mine"
    assert [path.name for path in Path().glob("copy*")] == [taken]


def test_a_backup_to_nowhere(database: Path) -> None:
    assert "cannot be copied to gone/copy.db" in run("backup", "gone/copy.db", exit_code=STORE_UNUSABLE).stderr


@pytest.mark.parametrize("command", [["status"], ["migrate"], ["backup", "copy.db"]])
def test_there_is_no_database(command: list[str]) -> None:
    result = run(*command, exit_code=STORE_UNUSABLE)
    assert "There is no database bide.db." in result.stderr
    assert list(Path().iterdir()) == []


def test_the_database_of_the_settings_is_meant(database: Path) -> None:
    database.rename("mine.db")
    Path("bide.toml").write_text('db = "mine.db"')
    assert json.loads(run("status").stdout)["file"] == "mine.db"
