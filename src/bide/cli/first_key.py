"""The first key of a hub: made at the first start of a server that needs keys, and given to whoever started it.

A terminal shows it. Where stderr is anything else, it is kept: in a journal, or the log of a container, which
others read and nobody deletes. There the key goes into a file beside the database; where many workers share a
database, a person makes it.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from bide.access.rings import key_ring
from bide.config import Settings
from bide.errors import StoreError
from bide.http.gate.auth import is_open
from bide.model.clock import SystemClock
from bide.store.sqlite import file_access

SHOWN = """\

The first key is made: it is named admin, may do everything, and is not shown again. In another terminal:
  export BIDE_KEY={key}
  curl -H "x-functions-key: $BIDE_KEY" {url}/runtime/webhooks/durabletask/instances
Keys for others: bide keys create NAME --role viewer|operator|admin
"""
WRITTEN = """\
The first key is made: it is named admin, and may do everything. It is in a file that only its owner can read, and
not in this log: {path}. Take it from there, and delete the file.
Keys for others: bide keys create NAME --role viewer|operator|admin
"""
MISSING = """\
Every caller needs a key, and there is none yet. This log is no place for one, so make it yourself, where this runs:
  bide keys create admin --role admin
In a container: docker exec, docker compose exec or kubectl exec, with that command. It is printed there, once.
"""


def first_key_path(db: str) -> Path:
    """The file beside a database that has its first key, if nobody saw it made."""
    return Path(f"{db}.admin-key")


def give_first_key(settings: Settings, url: str) -> None:
    """If callers need a key and there is none: make one, and say where it is. Raises `StoreError`."""
    if is_open(settings):
        return
    ring, now = key_ring(settings), SystemClock().now()
    if sys.stderr.isatty():
        key = ring.ensure_first(now)
        said = "" if key is None else SHOWN.format(key=key, url=url)
    elif settings.on_server:
        said = "" if ring.list() else MISSING
    else:
        path = first_key_path(settings.db)
        said = WRITTEN.format(path=path) if ring.ensure_first(now, partial(_write, path)) else ""
    if said:
        click.echo(said, err=True, nl=False)


def _write(path: Path, key: str) -> None:
    try:
        file_access.replace_whole(path, f"{key}\n".encode())
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}.") from error
