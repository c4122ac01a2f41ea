"""`bide sealing`: the keys that seal secrets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bide.cli.faults import plain_errors
from bide.cli.options import db_option, debug_option, output_option, settings_from
from bide.cli.output import print_rows

if TYPE_CHECKING:
    from bide.config import Settings

_FILE = 'No file of keys is set. Say which: sealing_keys = "..." in bide.toml, or BIDE_SEALING_KEYS.'


@click.group()
def sealing() -> None:
    """Keys that seal secrets: list, add, change over.

    Without a file of keys (the setting sealing_keys) they are sealed under a key that comes from the hub's secret.

    \b
    Example:
      BIDE_SEALING_KEYS=/etc/bide/sealing bide sealing add
    """


@sealing.command(name="ls")
@db_option
@output_option("table", "json", "jsonl")
@debug_option
def list_keys(db: str | None, output: str, debug: bool) -> None:
    """List the keys by their ids, and which of them seals.

    \b
    Example:
      bide sealing ls -o json
    """
    with plain_errors(debug):
        from bide.access import sealing_keys

        kept = sealing_keys.read(_file(settings_from({"db": db})))
        now = sealing_keys.sealing(kept)
        found = [
            {"id": each.id, "does": "seals" if each == now else "opens, is next" if each.next else "opens"}
            for each in kept
        ]
        rows = [(each["id"], each["does"]) for each in found]
        nothing = "There are no keys. Make one: bide sealing add"
        print_rows(output, found, ("KEY", "DOES"), rows, nothing)
        if now is None:
            click.echo("The key that comes from the hub's secret seals. Then: bide sealing use", err=True)


@sealing.command()
@debug_option
def add(debug: bool) -> None:
    """Add a new key, which opens and does not seal yet. Print its id.

    Give the file to all workers and start them anew. Then let it seal: bide sealing use

    \b
    Example:
      bide sealing add
    """
    with plain_errors(debug):
        from bide.access import sealing_keys

        path = _file(settings_from({}))
        new = sealing_keys.add(path)
        click.echo(f"{path} has a new key. Once every worker was started with it: bide sealing use", err=True)
        click.echo(new.id)


@sealing.command()
@click.argument("key_id", metavar="[ID]", default="")
@debug_option
def use(key_id: str, debug: bool) -> None:
    """Let the key that was added seal, from the next start of each worker. The others go on opening.

    \b
    Example:
      bide sealing use
    """
    with plain_errors(debug):
        from bide.access import sealing_keys

        path = _file(settings_from({}))
        used = sealing_keys.use(path, key_id)
        click.echo(f"{used.id} seals, once the workers were started again. Keep the others: they open.", err=True)


@sealing.command()
@db_option
@debug_option
def keep(db: str | None, debug: bool) -> None:
    """Put the key of the hub's secret into the file too, as the oldest, before you delete that secret.

    \b
    Example:
      bide sealing keep --db bide.db
    """
    with plain_errors(debug):
        from bide.access import sealing_keys
        from bide.store.sqlite.files import hub_secret

        settings = settings_from({"db": db})
        path = _file(settings)
        if settings.on_server or not Path(f"{settings.db}.secret").is_file():
            raise click.UsageError("Only a database file has its secret beside it. Say which is meant: --db FILE")
        kept = sealing_keys.keep(path, hub_secret(settings.db))
        click.echo(f"{path} has the key {kept.id}, which comes from the hub's secret.", err=True)


def _file(settings: Settings) -> Path:
    """Raises `click.UsageError` if none is set."""
    if not settings.sealing_keys:
        raise click.UsageError(_FILE)
    return Path(settings.sealing_keys)
