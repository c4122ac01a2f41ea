"""`bide keys`: who may call the server."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from bide.cli.faults import plain_errors
from bide.cli.options import confirm, db_option, debug_option, output_option, settings_from, to_span
from bide.cli.output import print_rows

if TYPE_CHECKING:
    from bide.access.keys import Key, KeyRing
    from bide.model.clock import Timestamp

_ROLES = ("viewer", "operator", "admin")


@click.group()
def keys() -> None:
    """Keys of callers: list, make, replace and revoke them.

    They are in a file beside the database. A server that runs there sees every change at once.

    \b
    Example:
      bide keys create ci --role operator --expires 90d
    """


@keys.command(name="ls")
@db_option
@output_option("table", "json", "jsonl")
@debug_option
def list_keys(db: str | None, output: str, debug: bool) -> None:
    """List the keys, by name and role.

    \b
    Example:
      bide keys ls -o json
    """
    with plain_errors(debug):
        now = _now()
        found = [_shown(key, now) for key in _ring(db).list()]
        rows = [(each["name"], each["role"], each["createdAt"], _until(each)) for each in found]
        nothing = "There are no keys. Make one: bide keys create NAME --role operator"
        print_rows(output, found, ("NAME", "ROLE", "CREATED", "VALID UNTIL"), rows, nothing)


@keys.command()
@click.argument("name")
@click.option("--role", type=click.Choice(_ROLES), required=True, help="What the key is good for.")
@click.option(
    "--expires", callback=to_span, metavar="SPAN", help="How long it is good, as 90d. Without it: until revoked."
)
@db_option
@debug_option
def create(name: str, role: str, expires: timedelta | None, db: str | None, debug: bool) -> None:
    """Make a key, and print it. It is kept nowhere, so this is the only time it is shown.

    A viewer reads. An operator also starts, answers and steers instances. An admin also purges, and reads the
    audit.

    \b
    Example:
      bide keys create ci --role operator --expires 90d
    """
    with plain_errors(debug):
        from bide.access.keys import Role
        from bide.model.clock import to_micros

        now = _now()
        text = _ring(db).create(name, Role(role), now, now + to_micros(expires) if expires else None)
        _hand_over(text, f"The key {name} ({role}) is made")


@keys.command()
@click.argument("name")
@click.option(
    "--overlap",
    callback=to_span,
    default="1d",
    show_default=True,
    metavar="SPAN",
    help="How long the old one still counts.",
)
@db_option
@debug_option
def rotate(name: str, overlap: timedelta, db: str | None, debug: bool) -> None:
    """Replace a key by a new one, and print that.

    Name, role and span of life stay as they are.

    \b
    Example:
      bide keys rotate ci --overlap 2h
    """
    with plain_errors(debug):
        from bide.model.clock import to_micros

        now = _now()
        text = _ring(db).rotate(name, now, overlap)
        until = f"counts until {_moment(now + to_micros(overlap))} at the latest" if overlap else "counts no more"
        _hand_over(text, f"The key {name} is replaced; the old one {until}")


@keys.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do it without asking.")
@db_option
@debug_option
def revoke(name: str, yes: bool, db: str | None, debug: bool) -> None:
    """Let a key count no more, at once.

    \b
    Example:
      bide keys revoke ci --yes
    """
    with plain_errors(debug):
        from bide.errors import KeyNotFoundError

        ring = _ring(db)
        if not any(key.name == name for key in ring.list()):
            raise KeyNotFoundError(name)
        confirm(yes, f"Whoever uses the key {name} is refused from now on.")
        ring.revoke(name)
        click.echo(f"The key {name} is revoked.", err=True)


def _ring(db: str | None) -> KeyRing:
    from bide.access.rings import key_ring

    settings = settings_from({"db": db})
    if settings.db == ":memory:":
        raise click.UsageError("A database in memory has no file of keys. Say which is meant: --db bide.db")
    return key_ring(settings)


def _now() -> Timestamp:
    from bide.model.clock import SystemClock

    return SystemClock().now()


def _shown(key: Key, now: Timestamp) -> dict[str, Any]:
    return {
        "name": key.name,
        "role": key.role.value,
        "createdAt": _moment(key.created_at),
        "expiresAt": None if key.expires_at is None else _moment(key.expires_at),
        "expired": not key.valid(now),
    }


def _moment(at: Timestamp) -> str:
    from bide.model.clock import to_datetime

    return to_datetime(at).strftime("%Y-%m-%dT%H:%M:%SZ")


def _until(shown: dict[str, Any]) -> str:
    if shown["expiresAt"] is None:
        return "no end"
    return f"{shown['expiresAt']} (expired)" if shown["expired"] else str(shown["expiresAt"])


def _hand_over(text: str, what: str) -> None:
    click.echo(f"{what}. It is shown only now:", err=True)
    click.echo(text)
