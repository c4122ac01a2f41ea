"""Workers behind a real PgBouncer: in session mode they work, in transaction mode they say why not."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from bide.cli import main
from bide.errors import StoreError
from bide.store.postgres.store import PostgresStore
from tests.postgres.server import PostgresServer
from tests.postgres.test_workers import Workers, foreign_id, play, until, verify, waits

pytestmark = pytest.mark.postgres

NO_PGBOUNCER = "No PgBouncer here: apt-get install pgbouncer, or name the program in BIDE_PGBOUNCER."


def find_pgbouncer() -> str | None:
    return os.environ.get("BIDE_PGBOUNCER") or shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def pooled(url: str, mode: str) -> Iterator[str]:
    """The same database, through a pooler of this mode."""
    program = find_pgbouncer()
    if program is None:
        pytest.skip(NO_PGBOUNCER)
    server, database = url.rsplit("@", 1)[1].split("/")
    host, port = server.split(":")
    own = free_port()
    with tempfile.TemporaryDirectory(prefix="bide-pgbouncer-") as directory:
        conf = Path(directory) / "pgbouncer.ini"
        conf.write_text(
            f"[databases]\n{database} = host={host} port={port} user=postgres\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {own}\nauth_type = any\n"
            f"pool_mode = {mode}\ndefault_pool_size = 30\nunix_socket_dir =\n"
        )
        Path(directory).chmod(0o755)
        who = {"user": "nobody"} if os.geteuid() == 0 else {}
        process = subprocess.Popen([program, "-q", str(conf)], stderr=subprocess.DEVNULL, **who)
        try:
            _wait_for(own, process)
            yield f"postgresql://postgres@127.0.0.1:{own}/{database}"
        finally:
            process.kill()
            process.wait(20)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, "PgBouncer has ended"
            assert time.monotonic() < end, "PgBouncer takes no connections"
            time.sleep(0.02)


def test_workers_behind_it_in_session_mode(database_url: str) -> None:
    with pooled(database_url, "session") as url:

        async def scene(workers: Workers) -> None:
            a, b = await workers.start("a"), await workers.start("b")
            await workers.even()
            instance_id = foreign_id(a)
            await a.client.start(verify, "+1425", instance_id=instance_id)
            await until(lambda: waits(a.client, instance_id))
            await a.client.raise_event(instance_id, "Answer", "0042")
            assert (await b.client.wait(instance_id)).output is True

        play(url, scene)
        said = CliRunner().invoke(main, ["doctor", "--db", url, "-o", "json"]).stdout
        assert [each["state"] for each in json.loads(said) if each["check"] == "sessions"] == ["ok"]


def test_transaction_mode_is_refused(postgres: PostgresServer, database_url: str) -> None:
    with pooled(database_url, "transaction") as url:
        for _ in range(3):
            with pytest.raises(StoreError, match="pool_mode=session"):
                asyncio.run(PostgresStore(url).open())
        said = CliRunner().invoke(main, ["doctor", "--db", url, "-o", "json"]).stdout
        wrong = [each for each in json.loads(said) if each["state"] == "wrong"]
        assert any("pool_mode=session" in each["found"] + each.get("next", "") for each in wrong)
        result = CliRunner().invoke(main, ["db", "migrate", "--db", url])
        assert (result.exit_code, "pool_mode=session" in result.stderr) == (9, True)
    assert postgres.query("SELECT to_regnamespace('bide')", database_url.rpartition("/")[2]) == ""
