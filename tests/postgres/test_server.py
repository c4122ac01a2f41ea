"""The servers that the other tests here stand on, seen through psql alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest

from tests.kill.conftest import ROOT, eventually
from tests.postgres.server import PostgresError, PostgresServer

pytestmark = [pytest.mark.postgres, pytest.mark.usefixtures("installed")]

WRITE = "CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)"
READ = "SELECT n FROM kept"

RUN = """
import pathlib, sys
from tests.postgres.server import PostgresServer
server = PostgresServer(pathlib.Path(sys.argv[1]), fast=True)
server.start()
print(server.log, flush=True)
input()
"""


@pytest.fixture(scope="module")
def durable(installed: None, memory: Path) -> Iterator[PostgresServer]:
    """One that these tests may stop and kill."""
    with PostgresServer(memory, conf={"work_mem": "1234kB"}) as server:
        yield server


@pytest.fixture
def database(durable: PostgresServer, request: pytest.FixtureRequest) -> Iterator[str]:
    name = request.node.name
    durable.create_database(name)
    yield name
    durable.drop_database(name)


@pytest.fixture
def synchronous(durable: PostgresServer, database: str, memory: Path) -> Iterator[PostgresServer]:
    """A standby that every commit of `durable` waits for."""
    with durable.standby(memory) as standby:
        durable.make_synchronous(standby)
        yield standby
        if not durable.running:
            durable.start()
        durable.make_synchronous(None)


def test_it_is_durable_unless_it_shall_be_fast(durable: PostgresServer, postgres: PostgresServer) -> None:
    settings = "SELECT current_setting('fsync'), current_setting('synchronous_commit'), current_setting('work_mem')"
    assert durable.query(settings) == "on|on|1234kB"
    assert postgres.query(settings) == "off|on|4MB"


def test_each_test_has_an_empty_database_of_its_own(postgres: PostgresServer, database_url: str) -> None:
    mine = urlsplit(database_url).path.removeprefix("/")
    postgres.create_database("other")
    postgres.query(WRITE, "other")
    copy = "a copy, \"quoted\" and 'odd'"
    postgres.create_database(copy, template="other")
    tables = "SELECT count(*) FROM pg_tables WHERE tablename = 'kept'"
    assert [postgres.query(tables, each) for each in (mine, "other", copy)] == ["0", "1", "1"]
    postgres.drop_database(copy)
    postgres.drop_database("other")
    assert postgres.query("SELECT count(*) FROM pg_database WHERE datname ~ '^other|copy'") == "0"


def test_it_keeps_its_data_when_it_is_killed(durable: PostgresServer, database: str) -> None:
    durable.query(WRITE, database)
    durable.kill()
    assert not durable.running
    with pytest.raises(PostgresError, match="Connection refused"):
        durable.query(READ, database)
    durable.start()
    assert durable.query(READ, database) == "7"
    assert "was not properly shut down" in durable.log.read_text()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_it_keeps_its_data_over_a_restart(
    durable: PostgresServer, database: str, mode: Literal["fast", "immediate"]
) -> None:
    before = durable.url(database)
    durable.query(WRITE, database)
    durable.restart(mode)
    assert durable.query(READ, database) == "7"
    assert durable.url(database) == before


def test_a_standby_receives_what_is_committed_and_takes_over(
    durable: PostgresServer, database: str, memory: Path
) -> None:
    with durable.standby(memory) as standby:
        assert (durable.is_primary(), standby.is_primary()) == (True, False)
        durable.query(WRITE, database)
        eventually("the standby has it", lambda: _found(standby, database))
        standby.promote()
        assert standby.is_primary()
        standby.query("UPDATE kept SET n = 8", database)
        assert (durable.query(READ, database), standby.query(READ, database)) == ("7", "8")


def _found(server: PostgresServer, database: str) -> str | None:
    try:
        return server.query(READ, database) or None
    except PostgresError:
        return None  # not even the table is there yet


def test_a_synchronous_standby_has_all_that_was_acknowledged(
    durable: PostgresServer, database: str, synchronous: PostgresServer
) -> None:
    durable.query(WRITE, database)
    durable.kill()
    synchronous.promote()
    assert synchronous.query(READ, database) == "7"


def test_a_commit_waits_for_the_synchronous_standby(
    durable: PostgresServer, database: str, synchronous: PostgresServer
) -> None:
    synchronous.kill()
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    with ThreadPoolExecutor() as threads:
        commit = threads.submit(durable.query, WRITE, database)
        eventually("the commit waits", lambda: durable.query(waits) == "1" or None)
        assert not commit.done()
        synchronous.start()
        commit.result(30)
    assert durable.query(waits) == "0"


def test_a_server_that_cannot_start_shows_its_log(memory: Path) -> None:
    wrong = PostgresServer(memory, fast=True, conf={"shared_buffers": "much"})
    with pytest.raises(PostgresError, match='invalid value for parameter "shared_buffers": "much"'), wrong:
        pass
    assert not wrong.log.parent.exists()


def test_a_statement_that_is_wrong_shows_its_fault(postgres: PostgresServer) -> None:
    with pytest.raises(PostgresError, match='relation "nothing" does not exist'):
        postgres.query("SELECT * FROM nothing")


def test_nothing_of_it_outlives_a_test_run_that_is_killed(memory: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(memory)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        home = Path(run.stdout.readline().strip()).parent
        server = int((home / "data" / "postmaster.pid").read_text().split()[0])
        run.kill()
    # The keeper waits for the server before it removes the directory.
    eventually("its directory is gone", lambda: not home.exists() or None)
    assert not (Path("/proc") / str(server) / "cwd").exists()
