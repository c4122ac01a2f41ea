"""`bide doctor`: what is wrong here, and what to do about it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bide.cli.faults import FAILED, plain_errors
from bide.cli.options import db_option, debug_option, output_option, server_url
from bide.cli.output import print_json

if TYPE_CHECKING:
    from bide.cli.checks import Finding
    from bide.store.sqlite.files import SqliteStatus

_COLOURS = {"ok": "green", "note": "yellow", "wrong": "red"}


@click.command()
@click.argument("target", metavar="[FILE.PY[:NAME]]", required=False)
@db_option
@click.option("--port", type=int, metavar="PORT", help="The server's port  [default: 7071]")
@click.option("--url", envvar="BIDE_URL", metavar="URL", help="The server  [default: by host and port]")
@output_option("table", "json")
@debug_option
def doctor(target: str | None, db: str | None, port: int | None, url: str | None, output: str, debug: bool) -> None:
    """Look at Python, settings, database, secrets, keys, port, clock, and at the App in FILE.PY.

    Exits with 1 if something is wrong.

    \b
    Example:
      bide doctor app.py
    """
    with plain_errors(debug):
        found = examine(target, {"db": db, "port": port}, url)
        if output == "json":
            print_json(found)
        else:
            for each in found:
                click.echo(f"{click.style(f'{each.state:6}', _COLOURS[each.state])} {each.check:9} {each.found}")
                if each.next:
                    click.echo(f"{'':17}{each.next}")
        wrong = sum(each.state == "wrong" for each in found)
        if wrong:
            click.echo(f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong.", err=True)
            raise click.exceptions.Exit(FAILED)


def examine(target: str | None, flags: dict[str, object], url: str | None) -> list[Finding]:
    """All findings, in the order of what depends on what."""
    from bide.cli import checks

    settings, about_settings = checks.settings_files(flags, os.environ, Path())
    found = [checks.versions(), *about_settings]
    if settings is None:
        return found
    status: SqliteStatus | None = None
    if settings.on_server:
        from bide.cli.server_checks import database_server

        found += [*database_server(settings.db), *checks.sealing(settings)]
    else:
        status, about_database = checks.database(settings)
        found += [*about_database, *checks.secrets(settings), *checks.sealing(settings)]
    found += checks.server(url or server_url(settings.host, settings.port), status, expected=url is not None)
    if target is not None:
        found.append(checks.app_file(target, settings))
    return found
