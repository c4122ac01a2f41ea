"""`holdfast db`: the database file."""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli.faults import Fault, StoreFault, plain_errors
from holdfast.cli.options import columns, db_option, debug_option, file_of, output_option
from holdfast.cli.output import print_json


@click.group()
def db() -> None:
    """The database file: look at it, migrate it, back it up.

    \b
    Example:
      holdfast db backup /var/backups/holdfast.db
    """


@db.command()
@db_option
@output_option("table", "json")
@debug_option
def status(db: str | None, output: str, debug: bool) -> None:
    """Print its schema, its size, and which process has it.

    \b
    Example:
      holdfast db status --db app.db
    """
    with plain_errors(debug):
        import msgspec

        from holdfast.store.files import status

        path = _existing(db)
        shown = {"file": str(path), **msgspec.to_builtins(status(path))}
        if output == "json":
            print_json(shown)
        else:
            rows = [(name, "nobody" if value is None else str(value)) for name, value in shown.items()]
            click.echo(columns(("WHAT", "VALUE"), rows))


@db.command()
@db_option
@debug_option
def migrate(db: str | None, debug: bool) -> None:
    """Bring it to the schema of this version, while no server has it.

    A server does that by itself when it starts. There is no way back but a backup.

    \b
    Example:
      holdfast db migrate --db app.db
    """
    with plain_errors(debug):
        from holdfast.store.files import migrate

        path = _existing(db)
        before, after = migrate(path)
        if before == after:
            click.echo(f"{path} has schema {after} already, the newest.", err=True)
        else:
            click.echo(f"{path} is migrated from schema {before} to {after}.", err=True)


@db.command()
@click.argument("to", type=click.Path(path_type=Path))
@db_option
@debug_option
def backup(to: Path, db: str | None, debug: bool) -> None:
    """Copy it to the file TO, also while a server runs; and the hub's secret and keys, to files beside TO.

    \b
    Example:
      holdfast db backup /var/backups/holdfast.db
    """
    with plain_errors(debug):
        from holdfast.store.files import backup

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


def _copy_secret(source: Path, target: Path) -> None:
    """A copy that only its owner can read, from its first byte on."""
    try:
        target.touch(0o600, exist_ok=False)
        target.write_bytes(source.read_bytes())
    except OSError as error:
        raise Fault(f"{target} cannot be written: {error.strerror}.") from error


def _existing(db: str | None) -> Path:
    path = Path(file_of(db))
    if not path.is_file():
        raise StoreFault(f"There is no database {path}. The first start makes it; or say which is meant: --db FILE")
    return path
