"""How things are printed: tables for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import TypeVar

import click

from bide.cli.options import columns

T = TypeVar("T")

_COLORS = {
    "Running": "blue",
    "Pending": "blue",
    "Suspended": "yellow",
    "Completed": "green",
    "Failed": "red",
    "Terminated": "red",
}
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def print_json(value: object) -> None:
    """One thing, indented."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_rows(
    output: str, items: Sequence[object], headings: Sequence[str], rows: Iterable[Sequence[str]], nothing: str
) -> None:
    """Several things: as a table, an array, or a line each. `nothing` is said if there are none."""
    import msgspec

    if output == "json":
        print_json(items)
    elif output == "jsonl":
        for item in items:
            click.echo(msgspec.json.encode(item))
    elif items:
        click.echo(colored(columns(headings, rows)))
    else:
        click.echo(nothing, err=True)


def colored(table: str) -> str:
    """A table with its statuses in colour. click takes the colour away where there is no terminal."""
    lines = table.split("\n")
    for number, line in enumerate(lines[1:], 1):
        for status, color in _COLORS.items():
            line = line.replace(f" {status} ", f" {click.style(status, fg=color)} ", 1)
        lines[number] = line
    return "\n".join([click.style(lines[0], bold=True), *lines[1:]])


def status_text(status: str) -> str:
    return click.style(status, fg=_COLORS.get(status))


def when(at: datetime, now: datetime) -> str:
    """A moment as people say it: '3 min ago', 'in 1 d'."""
    seconds = (at - now).total_seconds()
    size = abs(seconds)
    if size < 1:
        return "now"
    length, unit = next((length, unit) for length, unit in _UNITS if size >= 0.95 * length)
    span = f"{round(size / length)} {unit}"
    return f"in {span}" if seconds > 0 else f"{span} ago"


def short(value: object, width: int = 60) -> str:
    """A payload in one line; dots for a secret."""
    import msgspec

    from bide.core.hiding import DOTS
    from bide.model.sealing import HIDDEN

    encoded = msgspec.json.encode(value)
    if encoded == bytes(HIDDEN):
        return DOTS
    text = encoded.decode()
    return text if len(text) <= width else f"{text[: width - 3]}..."


def first(items: Iterable[T], limit: int) -> list[T]:
    """The first of a list, and a word on stderr if there are more."""
    found = list(islice(items, limit + 1))
    if len(found) > limit:
        click.echo(f"There are more. --limit shows more than {limit}.", err=True)
    return found[:limit]


def is_terminal() -> bool:
    return sys.stdout.isatty()
