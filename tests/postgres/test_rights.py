"""The roles of deploy/: an owner who migrates, and workers who may do what they need, and nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner

from bide.cli import main
from bide.errors import StoreError
from bide.store.postgres.store import PostgresStore
from bide.store.protocol import Store
from bide.testing.conformance import StoreExam
from tests.postgres.server import PostgresError, PostgresServer, find_binaries
from tests.postgres.test_workers import Workers, play, until, verify, waits

pytestmark = pytest.mark.postgres

DEPLOY = Path(__file__).parents[2] / "deploy"
PASSWORDS = {"BIDE_OWNER_PASSWORD": "own-hush", "BIDE_WORKER_PASSWORD": "work-hush"}


class Hub:
    """A server whose database was made as the page says, and which nobody enters without a password."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.owner = self._url("bide_owner", "own-hush")
        self.worker = self._url("bide_worker", "work-hush")

    def _url(self, role: str, password: str) -> str:
        return self.server.url("bide", role).replace("@", f":{password}@")

    def run(self, file: str, url: str) -> None:
        command = ["psql", "--no-psqlrc", "--quiet", f"--file={DEPLOY / file}", url]
        done = subprocess.run(command, env={**os.environ, **PASSWORDS}, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def made(installed: None, memory: Path) -> Iterator[Hub]:
    """Database and roles, and no schema yet."""
    with PostgresServer(memory, fast=True) as server:
        hub = Hub(server)
        hub.run("postgres.sql", server.url())
        rules = "('host all postgres 127.0.0.1/32 trust'), ('host all all 127.0.0.1/32 scram-sha-256')"
        server.query(f"COPY (VALUES {rules}) TO '{server.query('SHOW hba_file')}'")
        server.restart()
        with pytest.raises(
            StoreError, match=r"no schema yet.*bide db migrate --db 'postgresql://OWNER@127"
        ) as error:
            asyncio.run(PostgresStore(hub.worker).open())
        assert "hush" not in str(error.value)
        result = CliRunner().invoke(main, ["db", "migrate", "--db", hub.owner])
        assert result.exit_code == 0, result.output
        hub.run("postgres-rights.sql", hub.owner)
        yield hub


def test_a_worker_verifies_a_phone(made: Hub) -> None:
    async def scene(workers: Workers) -> None:
        a, b = await workers.start("a"), await workers.start("b")
        await workers.even()
        foreign = next(f"order-{n}" for n in range(1_000) if not a.worker.owns(f"order-{n}"))
        for instance_id in (await a.client.start(verify, "+1425"), foreign):
            await a.client.start(verify, "+1425", instance_id=instance_id)
            await until(lambda: waits(a.client, instance_id))  # noqa: B023 - awaited within the turn
            await b.client.raise_event(instance_id, "Answer", "0042")
            assert (await a.client.wait(instance_id)).output is True

    play(made.worker, scene)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE bide.mine (a int)",
        "CREATE TABLE public.mine (a int)",
        "CREATE TEMPORARY TABLE mine (a int)",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION bide.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DROP TABLE bide.instances",
        "TRUNCATE bide.instances",
        "ALTER TABLE bide.instances ADD mine int",
        "DROP FUNCTION bide.put_messages",
        "DELETE FROM bide.migrations",
        "UPDATE bide.migrations SET number = 1",
        "DELETE FROM bide.partitions",
        "DELETE FROM bide.secrets",
        "DELETE FROM bide.documents",
        "CREATE ROLE mine",
        "DROP SCHEMA bide CASCADE",
    ],
)
def test_what_a_worker_may_not(made: Hub, statement: str) -> None:
    async def try_it() -> None:
        connection = await asyncpg.connect(made.worker)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        asyncio.run(try_it())


def test_strangers_see_nothing(made: Hub) -> None:
    made.server.query("CREATE ROLE stranger LOGIN PASSWORD 'hush'")
    url = made.server.url("bide", "stranger").replace("@", ":hush@")
    with pytest.raises(StoreError, match="permission denied for database"):
        asyncio.run(PostgresStore(url).open())


def test_a_worker_s_role_keeps_keys(made: Hub) -> None:
    for arguments in (["create", "ci", "--role", "viewer"], ["ls"], ["rotate", "ci"], ["revoke", "ci", "--yes"]):
        result = CliRunner().invoke(main, ["keys", *arguments, "--db", made.worker])
        assert result.exit_code == 0, result.output
        assert "hush" not in result.output


def rights(url: str) -> tuple[str, str]:
    said = json.loads(CliRunner().invoke(main, ["doctor", "--db", url, "-o", "json"]).stdout)
    (found,) = [each for each in said if each["check"] == "rights"]
    return found["state"], found["found"]


def test_doctor_knows_what_a_worker_needs(made: Hub) -> None:
    assert rights(made.worker)[0] == "ok"
    made.server.query("REVOKE UPDATE ON bide.instances FROM bide_worker", "bide")
    try:
        assert rights(made.worker) == ("wrong", "the role lacks UPDATE on instances")
    finally:
        made.server.query("GRANT UPDATE ON bide.instances TO bide_worker", "bide")


class TestWithAWorkersRights(StoreExam):
    """Every verb of the store works with them."""

    @pytest.fixture(autouse=True)
    def database(self, made: Hub) -> None:
        self.url = made.worker
        tables = made.server.query("SELECT relname FROM pg_stat_user_tables", "bide").split()
        emptied = [f"DELETE FROM bide.{name}" for name in tables if name not in ("migrations", "partitions")]
        emptied.append("UPDATE bide.partitions SET owner = NULL, epoch = 0, lease_until = 0")
        made.server.query("; ".join(emptied), "bide")

    def make(self, directory: Path) -> Store:
        return PostgresStore(self.url)


def test_what_the_page_watches(made: Hub) -> None:
    page = (DEPLOY.parent / "docs" / "deploy.md").read_text()
    (block,) = re.findall(r"^```sql\n(.*?)^```", page, re.M | re.S)
    statements = re.sub(r"^--.*\n", "", block, flags=re.M).split(";\n")
    assert len(statements) > 5
    for statement in statements:
        made.server.query(statement, "bide")


def test_a_restore_by_the_owner_keeps_the_rights(made: Hub, tmp_path: Path) -> None:
    binaries = find_binaries()
    assert binaries is not None
    copy, server = tmp_path / "bide.dump", made.server
    options = ("--format=custom", "--schema=bide", f"--file={copy}", made.owner)
    subprocess.run([binaries / "pg_dump", *options], check=True)
    server.query("CREATE DATABASE again OWNER bide_owner")
    server.query("REVOKE ALL ON DATABASE again FROM PUBLIC", "again")
    server.query("GRANT CONNECT ON DATABASE again TO bide_worker", "again")
    url = made.owner.removesuffix("bide") + "again"
    restore = ("--exit-on-error", "--single-transaction", f"--dbname={url}", str(copy))
    subprocess.run([binaries / "pg_restore", *restore], check=True)
    assert rights(made.worker.removesuffix("bide") + "again")[0] == "ok"
    with pytest.raises(PostgresError, match="permission denied"):
        server.query("SET ROLE bide_worker; DELETE FROM bide.migrations", "again")
