"""`bide db`: the database, in a file or on a server."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bide.cli.changing import reason_option
from bide.cli.faults import Fault, MisuseFault, StoreFault, plain_errors
from bide.cli.options import columns, db_option, debug_option, file_of, output_option, settings_from
from bide.cli.output import print_json

if TYPE_CHECKING:
    from bide.model.clock import Clock
    from bide.store.protocol import Store

instance_argument = click.argument("instance_id", metavar="ID")


@click.group()
def db() -> None:
    """The database, in a file or on a server: look at it, migrate it, back it up, end what ends every server.

    \b
    Example:
      bide db backup /var/backups/bide.db
    """


@db.command()
@db_option
@output_option("table", "json")
@debug_option
def status(db: str | None, output: str, debug: bool) -> None:
    """Print its schema, its size, and which process has it; of one on a server also its rows (about), the workers
    that are alive, and how many partitions have an owner.

    \b
    Example:
      bide db status --db app.db
    """
    with plain_errors(debug):
        url = _server(db)
        shown = _status_of_file(_existing(db)) if url is None else _status_of_server(url)
        if output == "json":
            print_json(shown)
        else:
            click.echo(columns(("WHAT", "VALUE"), [(name, _in_words(value)) for name, value in shown.items()]))


def _status_of_file(path: Path) -> dict[str, Any]:
    import msgspec

    from bide.store.sqlite.files import status

    return {"file": str(path), **msgspec.to_builtins(status(path))}


def _status_of_server(url: str) -> dict[str, Any]:
    import asyncio

    import msgspec

    from bide.store.postgres.server import status

    return dict[str, Any](msgspec.to_builtins(asyncio.run(status(url))))


def _in_words(value: str | int | dict[str, int] | None) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items()) or "none"
    return "nobody" if value is None else str(value)


@db.command()
@db_option
@debug_option
def migrate(db: str | None, debug: bool) -> None:
    """Bring it to the schema of this version: a file while no server has it, one on a server at any time.

    A server does that by itself when it starts, if its role may. There is no way back but a backup.

    \b
    Example:
      bide db migrate --db app.db
    """
    with plain_errors(debug):
        from bide.store.postgres.address import safe_url

        url = _server(db)
        before, after = _migrate_file(_existing(db)) if url is None else _migrate_server(url)
        shown = file_of(db) if url is None else safe_url(url)
        if before == after:
            click.echo(f"{shown} has schema {after} already, the newest.", err=True)
        else:
            click.echo(f"{shown} is migrated from schema {before} to {after}.", err=True)


def _migrate_file(path: Path) -> tuple[int, int]:
    from bide.store.sqlite.files import migrate

    return migrate(path)


def _migrate_server(url: str) -> tuple[int, int]:
    import asyncio

    from bide.store.postgres.server import migrate

    return asyncio.run(migrate(url))


@db.command()
@click.argument("to", type=click.Path(path_type=Path))
@db_option
@debug_option
def backup(to: Path, db: str | None, debug: bool) -> None:
    """Copy it to the file TO, also while a server runs; and the hub's secret and keys, to files beside TO.

    One on a server is backed up by PostgreSQL's own pg_dump; this says how.

    \b
    Example:
      bide db backup /var/backups/bide.db
    """
    with plain_errors(debug):
        from bide.store.sqlite.files import backup

        if (url := _server(db)) is not None:
            raise MisuseFault(_how_to_dump(url, to))
        path = _existing(db)
        copies = [(Path(f"{path}{suffix}"), Path(f"{to}{suffix}")) for suffix in (".secret", ".keys")]
        for target in (to, *(target for _, target in copies)):
            if target.exists():
                raise Fault(f"{target} exists already. Choose another file.")
        backup(path, to)
        made = [to, *(target for source, target in copies if source.exists())]
        for source, target in copies:
            if source.exists():
                _copy_secret(source, target)
        click.echo(f"Backed up to {', '.join(map(str, made))}.", err=True)


@db.command()
@instance_argument
@reason_option
@db_option
@debug_option
def hold(instance_id: str, reason: str, db: str | None, debug: bool) -> None:
    """Keep an instance from running until it is resumed (bide resume), while no server runs.

    For an instance that ends every process that runs it. Its messages and timers are kept.

    \b
    Example:
      bide db hold order-17 --reason "it runs out of memory"
    """
    from bide.engine import offline

    with plain_errors(debug):
        _change(db, lambda store, clock: offline.hold(store, clock, instance_id, reason))
        click.echo(f"Held: {instance_id}. With a server, bide resume {instance_id} lets it go on.", err=True)


@db.command()
@instance_argument
@reason_option
@click.option("--recurse", is_flag=True, help="End its sub-orchestrations too, as soon as a server runs.")
@db_option
@debug_option
def terminate(instance_id: str, reason: str, recurse: bool, db: str | None, debug: bool) -> None:
    """End an instance while no server runs. Its code does not run any more.

    \b
    Example:
      bide db terminate order-17 --reason "it ends every process"
    """
    from bide.engine import offline

    with plain_errors(debug):
        _change(db, lambda store, clock: offline.terminate(store, clock, instance_id, reason, recurse=recurse))
        click.echo(f"Terminated: {instance_id}.", err=True)


@db.command()
@instance_argument
@db_option
@debug_option
def purge(instance_id: str, db: str | None, debug: bool) -> None:
    """Delete an instance that has ended, with its history, while no server runs.

    \b
    Example:
      bide db purge order-17
    """
    from bide.engine import offline

    with plain_errors(debug):
        _change(db, lambda store, clock: offline.purge(store, clock, instance_id))
        click.echo(f"Purged: {instance_id}.", err=True)


def _change(db: str | None, change: Callable[[Store, Clock], Coroutine[Any, Any, None]]) -> None:
    """Do something to the database that only its owner may do. Raises `StoreError` if it has one."""
    import asyncio

    from bide.model.clock import SystemClock
    from bide.running import open_store

    if _server(db) is None:
        _existing(db)

    async def run() -> None:
        async with open_store(settings_from({"db": db}), SystemClock(), "bide db") as (store, clock):
            await change(store, clock)

    asyncio.run(run())


def _how_to_dump(url: str, to: Path) -> str:
    from shlex import quote

    from bide.store.postgres.address import safe_url

    return (
        "A database on a server is backed up by PostgreSQL's own tool, also while workers run. It takes the "
        "password from PGPASSWORD or ~/.pgpass:\n"
        f"  pg_dump --format=custom --schema=bide --file={quote(str(to))} {quote(safe_url(url))}"
    )


def _copy_secret(source: Path, target: Path) -> None:
    """A copy that only its owner can read, from its first byte on."""
    from bide.store.sqlite.file_access import replace_whole

    try:
        replace_whole(target, source.read_bytes())
    except OSError as error:
        raise Fault(f"{target} cannot be written: {error.strerror}.") from error


def _server(db: str | None) -> str | None:
    """The URL of the database, if it is on a server. Raises `StoreError` if the driver for it is missing."""
    settings = settings_from({"db": db})
    if not settings.on_server:
        return None
    from bide.store.postgres.address import require_driver

    require_driver()
    return settings.db


def _existing(db: str | None) -> Path:
    path = Path(file_of(db))
    if not path.is_file():
        raise StoreFault(f"There is no database {path}. The first start makes it; or say which is meant: --db FILE")
    return path
