"""Options that commands share, and what is made of them: settings, spans of time, columns."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bide.cli.faults import Fault

if TYPE_CHECKING:
    from bide.config import Settings

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - whoever sets it means it
"""What a server listens on to be reached under all addresses, and one of these."""

F = TypeVar("F", bound=Callable[..., Any])

debug_option = click.option("--debug", is_flag=True, help="Show tracebacks.")
db_option = click.option(
    "--db", metavar="FILE|URL", help="The database: a file, or postgresql://...  [default: bide.db]"
)


def serving_options(command: F) -> F:
    """`--port`, `--host`, `--db` and `--debug`."""
    for option in (
        debug_option,
        click.option(
            "--db", metavar="FILE|URL", help="The database: a file, or postgresql://...; ':memory:' keeps nothing."
        ),
        click.option("--host", metavar="ADDRESS", help="The address to listen on  [default: 127.0.0.1]"),
        click.option("--port", type=int, metavar="PORT", help="The port to listen on; 0: any  [default: 7071]"),
    ):
        command = option(command)
    return command


def output_option(*kinds: str) -> Callable[[F], F]:
    """`-o`: how data is printed. By default the first kind on a terminal, and the last anywhere else."""

    def choose(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
        return value or (kinds[0] if sys.stdout.isatty() else kinds[-1])

    return click.option(
        "-o",
        "--output",
        type=click.Choice(kinds),
        callback=choose,
        help=f"How to print it  [default: {kinds[0]} on a terminal, else {kinds[-1]}]",
    )


def to_span(context: click.Context, parameter: click.Parameter, value: str | None) -> timedelta | None:
    """The callback of an option that is a span of time: `90s`, `12h`, `30d`."""
    from bide.model.clock import to_span

    try:
        return None if value is None else to_span(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


def settings_from(flags: Mapping[str, object], defaults: Mapping[str, object] | None = None) -> Settings:
    """The settings in force in this directory. Raises `click.UsageError`."""
    from bide.config import load

    try:
        return load(flags, os.environ, Path(), defaults)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def server_url(host: str, port: int) -> str:
    """Where callers on this machine find a server that listens there."""
    host = EVERYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def file_of(db: str | None) -> str:
    """The database file that is meant, by its flag or the settings. Raises `click.UsageError` for one in memory."""
    found = settings_from({"db": db}).db
    if found == ":memory:":
        raise click.UsageError("A database in memory has no file. Say which is meant: --db bide.db")
    return found


def confirm(yes: bool, what: str) -> None:
    """Go on only if that is wanted: by `--yes`, or by an answer in a terminal. Raises `Fault`, `click.Abort`."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Fault(f"{what} If that is wanted, add --yes.")
    click.confirm(f"{what} Go on?", abort=True, err=True)


def columns(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as plain text."""
    lines = [headings, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
