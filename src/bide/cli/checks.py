"""What `bide doctor` looks at. Each check says what it found, and what to do about it."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import sys
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

import click
from msgspec import Struct

from bide import __version__
from bide.access import sealing_keys
from bide.access.keys import KeyRing, keys_path
from bide.cli.first_key import first_key_path
from bide.cli.loading import load_app, split_target
from bide.config import Settings, doubts, explain, using
from bide.errors import StoreError
from bide.http.gate.auth import is_open
from bide.model.clock import SECOND, SystemClock, to_timestamp
from bide.store.holding import HeldInstances
from bide.store.sqlite.file_access import HAS_MODES, others_may_read
from bide.store.sqlite.files import SqliteStatus, damage, held, log_size, status

State: TypeAlias = Literal["ok", "note", "wrong"]

_SQLITE = (3, 40, 0)
_LONG_LOG = 100_000_000
MOST_DRIFT_S = 5.0
_PATIENCE_S = 3.0


class Finding(Struct, frozen=True, omit_defaults=True):
    """The outcome of one check. `next` says what to do, if there is something to do."""

    check: str
    state: State
    found: str
    next: str = ""


def versions(sqlite: tuple[int, int, int] = sqlite3.sqlite_version_info) -> Finding:
    shown = f"Bide {__version__}, Python {sys.version.split()[0]}, SQLite {'.'.join(map(str, sqlite))}"
    if sqlite < _SQLITE:
        return Finding("versions", "wrong", shown, "Use a Python that comes with SQLite 3.40 or later.")
    return Finding("versions", "ok", shown)


def settings_files(
    flags: Mapping[str, object], environ: Mapping[str, str], directory: Path
) -> tuple[Settings | None, list[Finding]]:
    """The settings, unless they cannot be read."""
    try:
        explained = explain(flags, environ, directory)
        suspects = doubts(environ, directory)
    except ValueError as error:
        return None, [Finding("settings", "wrong", str(error), "Correct it there.")]
    settings = Settings(**{each.name: each.value for each in explained})
    if suspects:
        return settings, [
            Finding("settings", "wrong", each, "Correct the name, or remove it.") for each in suspects
        ]
    changed = ", ".join(each.name for each in explained if each.origin != "default")
    return settings, [Finding("settings", "ok", f"set: {changed}" if changed else "all defaults")]


def database(settings: Settings) -> tuple[SqliteStatus | None, list[Finding]]:
    """What is known of the database, if there is one."""
    if settings.db == ":memory:":
        return None, [
            Finding("database", "note", "in memory", "Nothing survives the server's end. Set db to a file.")
        ]
    path = Path(settings.db)
    if not path.parent.is_dir():
        return None, [Finding("database", "wrong", f"{path.parent} is no directory", f"mkdir -p {path.parent}")]
    room = space(path.parent)
    if not path.exists():
        return None, [Finding("database", "note", f"{path} does not exist", "The first start makes it."), room]
    try:
        found = status(path)
    except StoreError as error:
        return None, [Finding("database", "wrong", str(error)), room]
    return found, [_schema(path, found), *_held(path, found), _pages(path), _journal(path), room]


def _held(path: Path, found: SqliteStatus) -> Iterator[Finding]:
    if found.schema == found.newest_schema:
        try:
            yield held_finding(held(path))
        except StoreError as error:
            yield Finding("held", "wrong", str(error))


def held_finding(held: HeldInstances) -> Finding:
    """How many instances do not go on although they have messages, and why the first of them do not."""
    if not held.count:
        return Finding("held", "ok", "no instance is held")
    told = "; ".join(f"{each.id}: {(each.held or '')[:_REASON]}" for each in held.first)
    more = f"; and {held.count - len(held.first)} more" if held.count > len(held.first) else ""
    many = "1 instance is held" if held.count == 1 else f"{held.count:,} instances are held"
    return Finding("held", "note", f"{many}: {told}{more}", _WHAT_TO_DO)


_REASON = 300
"""So many characters of a reason are shown."""
_WHAT_TO_DO = "Mend what the reason names, or terminate them. All of them: bide ls --held"


def _pages(path: Path) -> Finding:
    wrong = damage(path)
    if wrong is None:
        return Finding("pages", "ok", "no page of the database is damaged")
    todo = "Stop the server, look at the disk, and restore a copy: docs/deploy.md says how."
    return Finding("pages", "wrong", f"the database is damaged: {wrong}", todo)


def _schema(path: Path, found: SqliteStatus) -> Finding:
    owner = "in use by nobody" if found.in_use_by is None else f"in use by process {found.in_use_by}"
    shown = f"{path}, schema {found.schema}, {size_text(found.bytes)}, {owner}"
    if found.schema > found.newest_schema:
        return Finding("database", "wrong", shown, "A newer Bide wrote it: install that one, or a newer one.")
    if found.schema < found.newest_schema:
        todo = f"The next start brings it to schema {found.newest_schema}. Back it up before: bide db backup"
        return Finding("database", "note", shown, todo)
    return Finding("database", "ok", shown)


def _journal(path: Path) -> Finding:
    """The file's header says whether it is in WAL mode (bytes 18 and 19), without opening it as a database."""
    with path.open("rb") as file:
        header = file.read(20)
    if header[18:20] == b"\2\2":
        size = log_size(path)
        if size > _LONG_LOG:
            todo = (
                "Another process goes on reading (a backup tool, the sqlite3 shell): when it ends, the log shrinks."
            )
            return Finding("journal", "note", f"write-ahead log of {size_text(size)}", todo)
        return Finding("journal", "ok", "write-ahead log")
    return Finding(
        "journal", "wrong", "not in WAL mode", "Another tool changed that; the next start sets it again."
    )


def space(directory: Path, least: int = 200_000_000) -> Finding:
    """Whether there is room: `least` bytes."""
    free = shutil.disk_usage(directory).free
    shown = f"{size_text(free)} free in {directory.resolve()}"
    if free < least:
        return Finding("disk", "wrong", shown, "Make room: without it nothing can be committed.")
    return Finding("disk", "ok", shown)


def secrets(settings: Settings) -> Iterator[Finding]:
    """Files that only their owner should read."""
    keys = keys_path(settings.db)
    if keys is None:
        return
    first_key = first_key_path(settings.db)
    for path in (Path(settings.db), Path(f"{settings.db}.secret"), keys, first_key):
        if path.exists():
            yield _readers(path)
    if first_key.exists():
        yield Finding(
            "keys", "note", f"{first_key} has the first key in clear text", f"Once you have it: rm {first_key}"
        )
    if Path(settings.db).exists() and not Path(f"{settings.db}.secret").exists():
        yield Finding(
            "files", "wrong", f"{settings.db}.secret is missing", "Restore it: links and URIs given out need it."
        )
    yield _keys(settings, keys)


def sealing(settings: Settings) -> Iterator[Finding]:
    """The keys that seal secrets, if they are in a file of their own."""
    if not settings.sealing_keys:
        if settings.on_server:
            found = "secrets are sealed under a key that the database has, too"
            yield Finding("sealing", "note", found, "Keep one elsewhere: docs/security.md, Keys that seal.")
        return
    try:
        kept = sealing_keys.read(Path(settings.sealing_keys))
    except StoreError as error:
        yield Finding("sealing", "wrong", str(error))
        return
    seals = sealing_keys.sealing(kept)
    waiting = [each.id for each in kept if each.next]
    found = f"{'the hub' if seals is None else seals.id} seals; {len(kept)} keys of {settings.sealing_keys} open"
    if waiting:
        todo = "Once every worker was started with it: bide sealing use"
        yield Finding("sealing", "note", f"{found}; {', '.join(waiting)} is next", todo)
    else:
        yield Finding("sealing", "ok", found)


def _readers(path: Path) -> Finding:
    if not HAS_MODES:
        return Finding(
            "files", "note", f"{path} is for whoever may read {path.resolve().parent}", "Look who that is."
        )
    status = path.stat()
    if others_may_read(status):
        return Finding("files", "wrong", f"{path} has mode {stat.S_IMODE(status.st_mode):04o}", f"chmod 600 {path}")
    return Finding("files", "ok", f"{path} is its owner's only")


def _keys(settings: Settings, path: Path) -> Finding:
    try:
        now = SystemClock().now()
        valid = [key.name for key in KeyRing(path).list() if key.valid(now)]
    except StoreError as error:
        return Finding("keys", "wrong", str(error))
    if is_open(settings):
        return Finding("keys", "ok", "callers on this machine need none, and others cannot reach the server")
    if not valid:
        return Finding("keys", "note", "callers need one, and there is none", "The next start makes one.")
    return Finding("keys", "ok", f"callers need one; valid: {', '.join(valid)}")


def server(url: str, database: SqliteStatus | None, *, expected: bool) -> Iterator[Finding]:
    """Who answers under the URL, and what time it is there. `expected`: somebody should."""
    try:
        code, date = _readiness(url)
    except ConnectionRefusedError:
        yield _nobody(url, database, expected)
        return
    except (OSError, HTTPException) as error:
        yield Finding("server", "wrong", f"{url} does not answer: {error or type(error).__name__}", _OTHER)
        return
    if code is None:
        yield Finding("server", "wrong", f"what answers under {url} is not Bide", _OTHER)
        return
    if code != 200:
        yield Finding("server", "wrong", f"Bide answers under {url}, and is not ready", "Look at its log.")
    else:
        yield Finding("server", "ok", f"Bide answers under {url}, and is ready")
    if date:
        yield _clock(date)


_OTHER = "Serve on another port (--port), or end what listens there."


def _nobody(url: str, database: SqliteStatus | None, expected: bool) -> Finding:
    if expected:
        return Finding("server", "wrong", f"nobody listens on {url}", "Start it: bide serve FILE.PY")
    if database is not None and database.in_use_by is not None:
        shown = f"nobody listens on {url}, and process {database.in_use_by} has the database"
        return Finding("server", "note", shown, "It serves elsewhere. Say where: --url http://...")
    return Finding("server", "ok", f"nobody listens on {url}: it is free")


def _readiness(url: str) -> tuple[int | None, str]:
    """The status of /readyz (None: it is not Bide that answers), and the header Date."""
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.netloc, timeout=_PATIENCE_S)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/readyz")
        answer = connection.getresponse()
        known = answer.read(1000).startswith(b'{"ready":')
        return (answer.status if known else None), answer.getheader("Date", "")
    finally:
        connection.close()


def _clock(date: str) -> Finding:
    drift_s = (to_timestamp(parsedate_to_datetime(date)) - SystemClock().now()) / SECOND
    if abs(drift_s) > MOST_DRIFT_S:
        return Finding(
            "clock",
            "wrong",
            f"the server's is {drift_s:+.0f} s from ours",
            "Set both by NTP: deadlines depend on it.",
        )
    return Finding("clock", "ok", "the server's agrees with ours")


def app_file(target: str, settings: Settings) -> Finding:
    try:
        path, name = split_target(target)
        with using(settings):
            registry = load_app(path, name).registry
    except click.ClickException as error:
        return Finding("app", "wrong", error.message)
    names = ", ".join(sorted(registry.orchestrators)) or "none yet"
    return Finding("app", "ok", f"{target} loads; orchestrators: {names}")


def size_text(size: int) -> str:
    for unit, each in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if size >= each:
            return f"{size / each:.1f} {unit}"
    return f"{size} bytes"
