"""Commands that change instances, one or many: suspend, resume, terminate, rewind, restart, purge.

Those that can hit many say first what they would do, and want `--yes`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bide.cli.completion import instance_ids
from bide.cli.connection import connect, server_options
from bide.cli.faults import Fault, plain_errors
from bide.cli.filters import filter_of, filter_options
from bide.cli.options import confirm, output_option
from bide.cli.output import print_json

if TYPE_CHECKING:
    from bide.client import Client
    from bide.model.query import InstanceFilter

F = TypeVar("F", bound=Callable[..., Any])

_STEP = 200
"""How many are purged with one request, between two looks at the progress."""
_SHOWN = 5
_FEW = 50
"""So many take no time that anybody would want to see pass."""


def _many(command: F) -> F:
    """Ids, or a filter; `--yes`; where the server is."""
    for option in (
        server_options,
        click.option("--yes", is_flag=True, help="Do it without asking."),
        filter_options,
        click.argument("ids", metavar="[ID...]", nargs=-1, shell_complete=instance_ids),
    ):
        command = option(command)
    return command


reason_option = click.option("--reason", metavar="TEXT", default="", help="Why; it is kept in history and audit.")


@click.command()
@_many
@reason_option
def suspend(ids: tuple[str, ...], reason: str, **options: Any) -> None:
    """Let instances take their messages, but not go on, until they are resumed.

    \b
    Example:
      bide suspend my-first --reason "the bank is closed"
    """
    _change("suspend", ids, ("Running",), lambda client, each: client.suspend(each, reason), **options)


@click.command()
@_many
@reason_option
def resume(ids: tuple[str, ...], reason: str, **options: Any) -> None:
    """Let suspended instances go on, and try held ones again.

    \b
    Example:
      bide resume --name order --yes
      bide resume --held --yes
    """
    possible = ("Pending", "Running", "Suspended") if options["held"] else ("Suspended",)
    _change("resume", ids, possible, lambda client, each: client.resume(each, reason), **options)


@click.command()
@_many
@reason_option
@click.option("--recurse", is_flag=True, help="End their sub-orchestrations too.")
def terminate(ids: tuple[str, ...], reason: str, recurse: bool, **options: Any) -> None:
    """End instances now. They cannot go on afterwards.

    With --recurse, those that have ended can be meant, too, by their ids or --status: what they have left running
    is ended.

    \b
    Example:
      bide terminate --name order --created-before 30d --reason "too old" --yes
      bide terminate my-order --recurse
    """
    ended = ("Failed", "Completed", "Terminated") if recurse and options["statuses"] else ()
    _change(
        "terminate",
        ids,
        ("Pending", "Running", "Suspended", *ended),
        lambda client, each: client.terminate(each, reason, recurse=recurse),
        **options,
    )


@click.command()
@_many
@reason_option
def rewind(ids: tuple[str, ...], reason: str, **options: Any) -> None:
    """Set failed instances back to where they went wrong: what failed runs again.

    \b
    Example:
      bide rewind --created-after 2h --reason "the mail server is back" --yes
    """
    _change("rewind", ids, ("Failed",), lambda client, each: client.rewind(each, reason), **options)


@click.command()
@click.argument("instance_id", metavar="ID", shell_complete=instance_ids)
@click.option(
    "--same-id", is_flag=True, help="As the same instance, which must have ended. Its history is replaced."
)
@output_option("table", "json")
@server_options
def restart(instance_id: str, same_id: bool, output: str, url: str | None, key: str | None, debug: bool) -> None:
    """Start again with the same function and input, and print the id.

    \b
    Example:
      bide restart my-first
    """
    with plain_errors(debug), connect(url, key) as client:
        started = client.restart(instance_id, new_instance_id=not same_id)
        if output == "json":
            print_json({"id": started})
        else:
            click.echo(started)


@click.command()
@_many
def purge(ids: tuple[str, ...], yes: bool, url: str | None, key: str | None, debug: bool, **meant: Any) -> None:
    """Delete instances that have ended, with their history. There is no way back.

    \b
    Example:
      bide purge --status Completed --created-before 30d --yes
    """
    with plain_errors(debug), connect(url, key) as client:
        if ids:
            _on_each(client, "purge", ids, client.purge)
            return
        where = _narrowed(_wanted(meant), ("Completed", "Failed", "Terminated"))
        count = sum(client.counts(where).values())
        _ask(yes, "purge", count)
        deleted = 0
        with click.progressbar(length=count, label="Purging", file=sys.stderr, hidden=count <= _STEP) as progress:
            while step := client.purge_many(where, _STEP):
                deleted += step
                progress.update(step)
        click.echo(f"Purged {_instances(deleted)}.", err=True)


def _change(
    verb: str,
    ids: tuple[str, ...],
    possible: tuple[str, ...],
    act: Callable[[Client, str], None],
    *,
    yes: bool,
    url: str | None,
    key: str | None,
    debug: bool,
    **meant: Any,
) -> None:
    """Do something to the instances with these ids, or to those of these statuses that are meant."""
    with plain_errors(debug), connect(url, key) as client:
        if not ids:
            found = [shown.instance_id for shown in client.statuses(_narrowed(_wanted(meant), possible))]
            _ask(yes, verb, len(found), found)
            ids = tuple(found)
        _on_each(client, verb, ids, lambda instance_id: act(client, instance_id))


def _wanted(meant: dict[str, Any]) -> InstanceFilter:
    """Raises `click.UsageError` if nothing says which are meant."""
    if not any(meant.values()):
        raise click.UsageError("Say which: ids, or --status, --name, --prefix, --tag, --held, --created-before ...")
    return filter_of(**meant)


def _narrowed(where: InstanceFilter, statuses: tuple[str, ...]) -> InstanceFilter:
    """Only those to which it can be done at all."""
    from msgspec.structs import replace

    from bide.model.instance import RuntimeStatus

    possible = [RuntimeStatus(status) for status in statuses]
    chosen = [status for status in where.statuses or possible if status in possible]
    if not chosen:
        raise click.UsageError(f"This can be done to instances that are {' or '.join(statuses)} only.")
    return replace(where, statuses=tuple(chosen))


def _ask(yes: bool, verb: str, count: int, ids: Sequence[str] = ()) -> None:
    """Say what would be done, and go on only if that is wanted."""
    if not count:
        click.echo("There are no such instances.", err=True)
        raise click.exceptions.Exit(0)
    shown = f": {', '.join(ids[:_SHOWN])}{' ...' if len(ids) > _SHOWN else ''}" if ids else ""
    confirm(yes, f"This would {verb} {_instances(count)}{shown}.")


def _on_each(client: Client, verb: str, ids: tuple[str, ...], act: Callable[[str], None]) -> None:
    """Go on over what cannot be done, and say so in the end."""
    from bide.errors import RequestError

    if len(ids) == 1:
        act(ids[0])
        click.echo(f"Done: {verb} {ids[0]}.", err=True)
        return
    refusals: list[str] = []
    with click.progressbar(ids, label=verb.capitalize(), file=sys.stderr, hidden=len(ids) <= _FEW) as progress:
        for instance_id in progress:
            try:
                act(instance_id)
            except RequestError as error:
                refusals.append(str(error))
    click.echo(f"Done: {verb} {_instances(len(ids) - len(refusals))}.", err=True)
    if refusals:
        raise Fault("\n".join(refusals))


def _instances(count: int) -> str:
    return f"{count} instance{'' if count == 1 else 's'}"
