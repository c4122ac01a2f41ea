"""PostgreSQL servers that tests start for themselves, with data, port and processes of their own.

Linux only: how a server is killed, and how none outlives its test run, is read from /proc.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self, TypedDict
from urllib.parse import quote

NO_POSTGRESQL = "No PostgreSQL here: apt-get install postgresql, or name its directory in BIDE_POSTGRES_BIN."
SUPERUSER = "postgres"
LIMIT_S = 60.0
"""How long anything may take here. Recovery after a kill is the longest."""

_COMMANDS = ("initdb", "postgres", "psql", "pg_basebackup")
_STOP = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_FAST = {"fsync": "off", "full_page_writes": "off", "min_wal_size": "32MB", "max_wal_size": "96MB"}
_DURABLE = {"fsync": "on", "synchronous_commit": "on"}

_KEEPER = """
read _
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
ours() { [ -n "$pid" ] && [ "/proc/$pid/cwd" -ef "$1/data" ]; }
ours "$1" && kill -QUIT "$pid" && kill -CONT "$pid"
while ours "$1"; do sleep 0.05; done
rm -rf "$1"
"""
"""Waits until we close its input, which our death does too, however we die; then stops the server and removes its
directory. The id in the file may be old and another's by now, so it counts only if that process works there."""


class PostgresError(Exception):
    """A server or a command of PostgreSQL failed; the message ends with what the server's log says."""


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def find_binaries() -> Path | None:
    """Where PostgreSQL's commands are: what BIDE_POSTGRES_BIN names, or else the newest that Debian installed,
    or else what is on the path. Raises `PostgresError` if the named place lacks one."""
    if named := os.environ.get("BIDE_POSTGRES_BIN"):
        if not _complete(Path(named)):
            raise PostgresError(f"BIDE_POSTGRES_BIN={named} must hold {', '.join(_COMMANDS)}.")
        return Path(named)
    return next(filter(_complete, _candidates()), None)


def _candidates() -> Iterator[Path]:
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    if pg_config := shutil.which("pg_config"):
        said = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=True)
        yield Path(said.stdout.strip())
    if initdb := shutil.which("initdb"):
        yield Path(initdb).resolve().parent


def _version(bindir: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", bindir.parent.name)]


def _complete(bindir: Path) -> bool:
    return all(os.access(bindir / command, os.X_OK) for command in _COMMANDS)


def _unprivileged() -> _Identity:
    """PostgreSQL refuses to run as root. Then it runs as the user that Debian made for it, or else as nobody."""
    if os.geteuid() != 0:
        return {}
    import pwd  # POSIX has it, and these tests run there only

    users = {user.pw_name: user for user in pwd.getpwall()}
    user = users.get("postgres") or users["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _free_port() -> int:
    """A port below those that the kernel gives to connections: nobody takes it while its server is down."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _process_state(pid: int) -> str:
    """Its letter in /proc: R, S, T (stopped), Z (dead, not yet collected); empty if there is no such process."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    return ""


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _string(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class PostgresServer:
    """One server on 127.0.0.1, its data in a new directory `below` one that every user may enter.

    `with` starts it, and in the end removes all of it. A commit survives power loss, as PostgreSQL's own settings
    have it; with `fast`, it lasts only as long as the machine runs.
    """

    def __init__(
        self,
        below: Path = Path("/tmp"),
        *,
        conf: Mapping[str, str] | None = None,
        fast: bool = False,
        primary: PostgresServer | None = None,
    ) -> None:
        bindir = find_binaries()
        if bindir is None:
            raise PostgresError(NO_POSTGRESQL)
        self._bin = bindir
        self._fast = fast
        self._given = dict(conf or {})
        self._synchronous_on = ""
        self._primary = primary
        self._identity = _unprivileged()
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        self._environ["LC_ALL"] = "C"
        self._home = Path(tempfile.mkdtemp(prefix="bide-postgres-", dir=below))
        os.chown(self._home, self._identity.get("user", -1), self._identity.get("group", -1))
        self._data = self._home / "data"
        self._conf_file = self._home / "postgresql.conf"
        self.log = self._home / "server.log"
        self.port = _free_port()
        self.name = f"server_{self.port}"
        """Its application name when it follows a primary."""
        self._process: subprocess.Popen[bytes] | None = None
        # In a session of its own, as the server is: Ctrl+C in a terminal is for the tests, which then stop both.
        self._keeper = subprocess.Popen(
            ["sh", "-c", _KEEPER, "keeper", str(self._home)], stdin=subprocess.PIPE, start_new_session=True, cwd="/"
        )

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- its life

    def start(self) -> None:
        """Start it, and wait until it takes connections. The first makes its data; one after a crash recovers."""
        assert not self.running, f"{self.name} runs"
        if not self._data.exists():
            self._make_data()
        self._write_conf()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, "-c", f"config_file={self._conf_file}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._home,
                env=self._environ,
                start_new_session=True,
                **self._identity,
            )
        self._wait("it takes connections", self._is_ready)

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """`fast` ends all sessions and writes everything down; after `immediate` the next start must recover."""
        process = self._postmaster()
        process.send_signal(_STOP[mode])
        self._wait("it stops", lambda: process.poll() is not None)

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """SIGKILL for the postmaster and every process of its own. Nothing of it runs when this returns.

        What it handed to the operating system stays; only a power cut takes that.
        """
        process = self._postmaster()
        process.send_signal(signal.SIGSTOP)  # so that no child appears after we have looked
        self._wait("it halts", lambda: _process_state(process.pid) == "T")
        family = [process.pid, *_children(process.pid)]
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(LIMIT_S)
        # The shared memory is free once each is dead; who collects the orphans, and when, does not matter.
        self._wait("all of it is dead", lambda: all(_process_state(pid) in ("", "Z") for pid in family))

    def close(self) -> None:
        """Stop it if it runs, and remove its directory. It cannot be started again."""
        if self.running:
            self.stop("immediate")
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait(LIMIT_S)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    # -- what is in it

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        return self._postmaster().pid

    def url(self, database: str = "postgres", user: str = SUPERUSER) -> str:
        return f"postgresql://{quote(user, safe='')}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def query(self, sql: str, database: str = "postgres") -> str:
        """What `psql -At` prints: a line for each row, its columns divided by `|`."""
        options = ("--no-psqlrc", "--no-align", "--tuples-only", "--quiet", "--set=ON_ERROR_STOP=1")
        return self._run("psql", *options, f"--dbname={self.url(database)}", f"--command={sql}").rstrip("\n")

    def create_database(self, name: str, template: str = "template1") -> str:
        """A copy of `template`, and its URL. Nobody may be connected to the template meanwhile."""
        self.query(f"CREATE DATABASE {_name(name)} TEMPLATE {_name(template)}")
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Remove it, and end whoever is still connected."""
        self.query(f"DROP DATABASE {_name(name)} WITH (FORCE)")

    # -- replication

    def standby(self, below: Path = Path("/tmp")) -> PostgresServer:
        """A server, not yet started, whose first start copies this one. It then follows it, and answers reads."""
        return PostgresServer(below, conf=self._given, fast=self._fast, primary=self)

    def make_synchronous(self, standby: PostgresServer | None) -> None:
        """From now on a commit waits until `standby`, which must run, has it on disk; with None, for no other."""
        self._synchronous_on = _name(standby.name) if standby else ""
        self._write_conf()
        self._postmaster().send_signal(signal.SIGHUP)
        self._wait("it reads its settings", self._knows_whom_to_wait_for)
        # The checkpointer is who makes commits wait, and it reads the settings before it writes a checkpoint.
        self.query("CHECKPOINT")
        if standby:
            self._wait(f"{standby.name} is synchronous", lambda: self._sync_state(standby) == "sync")

    def promote(self) -> None:
        """Make a standby a primary. The former primary is not told."""
        if self.query(f"SELECT pg_promote(true, {LIMIT_S:.0f})") != "t":
            raise self._error(f"{self.name} was not promoted within {LIMIT_S:g} s")

    def is_primary(self) -> bool:
        return self.query("SELECT NOT pg_is_in_recovery()") == "t"

    def _knows_whom_to_wait_for(self) -> bool:
        return self.query("SHOW synchronous_standby_names") == self._synchronous_on

    def _sync_state(self, standby: PostgresServer) -> str:
        name = _string(standby.name)
        return self.query(f"SELECT sync_state FROM pg_stat_replication WHERE application_name = {name}")

    # -- how

    def _make_data(self) -> None:
        if self._primary is None:
            self._run(
                "initdb",
                f"--pgdata={self._data}",
                f"--username={SUPERUSER}",
                "--auth=trust",
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C",
            )
            return
        source = f"{self._primary.url()}?application_name={self.name}"
        options = ("--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync")
        self._run("pg_basebackup", f"--pgdata={self._data}", f"--dbname={source}", *options)

    def _write_conf(self) -> None:
        """Ours stands outside the data, so that a standby does not copy it."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self._home),
            "dynamic_shared_memory_type": "mmap",  # files among the data, so that none is left of a killed server
            "log_line_prefix": "%m [%p] ",
            **(_FAST if self._fast else _DURABLE),
            **self._given,
            "synchronous_standby_names": self._synchronous_on,
        }
        lines = [f"{name} = {_string(value)}\n" for name, value in settings.items()]
        self._conf_file.write_text("".join(lines))

    def _postmaster(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise self._error(f"{self.name} does not run")
        return self._process

    def _is_ready(self) -> bool:
        """The eighth line of the postmaster's own file says so. After a kill the file is still the old one's."""
        process = self._postmaster()
        with suppress(FileNotFoundError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return len(lines) > 7 and lines[0] == str(process.pid) and lines[7].strip() in ("ready", "standby")
        return False

    def _wait(self, what: str, attempt: Callable[[], bool]) -> None:
        end = time.monotonic() + LIMIT_S
        while not attempt():
            if time.monotonic() > end:
                raise self._error(f"{self.name}: {what}: not within {LIMIT_S:g} s")
            time.sleep(0.01)

    def _run(self, command: str, *args: str) -> str:
        done = subprocess.run(
            [self._bin / command, *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            cwd=self._home,
            env=self._environ,
            timeout=LIMIT_S,
            check=False,
            **self._identity,
        )
        if done.returncode:
            raise self._error(f"{command} of {self.name}: {done.stderr.strip()}")
        return done.stdout

    def _error(self, what: str) -> PostgresError:
        said = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return PostgresError("\n".join([what, "The end of its log:", *(said[-20:] or ["(empty)"])]))
