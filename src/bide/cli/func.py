"""`bide func durable ...`: the verbs and flags of Azure's Core Tools, for those whose fingers know them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

import click

from bide.cli.connection import connect, server_options
from bide.cli.faults import plain_errors
from bide.cli.filters import STATUSES, filter_of, moment
from bide.cli.options import confirm
from bide.cli.output import print_json
from bide.cli.values import read_value

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def func() -> None:
    """Azure's Core Tools as an alias: what `func durable` does there, `bide func durable` does here."""


@func.group()
def durable() -> None:
    """Work with the instances of a server.

    \b
    Example:
      bide func durable get-instances --runtime-status Running
    """


def _options(command: F) -> F:
    """Where the server is; and what Azure needs to find its storage, which is not looked at."""
    for option in (
        server_options,
        click.option("--task-hub-name", expose_value=False, help="Accepted, and not looked at."),
        click.option("--connection-string-setting", expose_value=False, help="Accepted, and not looked at."),
    ):
        command = option(command)
    return command


_id = click.option("--id", "instance_id", metavar="ID", required=True, help="The instance.")
_reason = click.option("--reason", metavar="TEXT", default="", help="Why.")


def _meant(command: F) -> F:
    for option in (
        click.option(
            "--runtime-status", type=click.Choice(STATUSES, case_sensitive=False), multiple=True, help="Only these."
        ),
        click.option("--created-before", metavar="TIME", callback=moment, help="Only older ones."),
        click.option("--created-after", metavar="TIME", callback=moment, help="Only newer ones."),
    ):
        command = option(command)
    return command


@durable.command(name="start-new")
@click.option("--function-name", required=True, help="The orchestrator.")
@click.option("--id", "instance_id", metavar="ID", help="An id of your own.")
@click.option("--input", "value", metavar="JSON", help="The input: JSON, or @file.")
@_options
def start_new(
    function_name: str, instance_id: str | None, value: str | None, url: str | None, key: str | None, debug: bool
) -> None:
    """Start an instance.

    \b
    Example:
      bide func durable start-new --function-name E4_SmsPhoneVerification --input '"+12025550123"'
    """
    from msgspec import UNSET

    with plain_errors(debug), connect(url, key) as client:
        given = UNSET if value is None else read_value(value, {}, as_json=False)
        started = client.start(function_name, given, instance_id=instance_id)
        click.echo(f"Started '{function_name}' with ID '{started}'.", err=True)
        click.echo(started)


@durable.command(name="raise-event")
@_id
@click.option("--event-name", required=True, help="The event.")
@click.option("--event-data", "value", metavar="JSON", help="Its data: JSON, or @file.")
@_options
def raise_event(
    instance_id: str, event_name: str, value: str | None, url: str | None, key: str | None, debug: bool
) -> None:
    """Raise an event of an instance.

    \b
    Example:
      bide func durable raise-event --id my-first --event-name SmsChallengeResponse --event-data '"0042"'
    """
    with plain_errors(debug), connect(url, key) as client:
        client.raise_event(instance_id, event_name, read_value(value, {}, as_json=False))
        click.echo(f"Raised event '{event_name}' to instance '{instance_id}'.", err=True)


@durable.command()
@_id
@_reason
@_options
def terminate(instance_id: str, reason: str, url: str | None, key: str | None, debug: bool) -> None:
    """End an instance.

    \b
    Example:
      bide func durable terminate --id my-first --reason "not needed"
    """
    with plain_errors(debug), connect(url, key) as client:
        client.terminate(instance_id, reason)
        click.echo(f"Terminated '{instance_id}'.", err=True)


@durable.command()
@_id
@_reason
@_options
def rewind(instance_id: str, reason: str, url: str | None, key: str | None, debug: bool) -> None:
    """Let a failed instance go on from where it went wrong.

    \b
    Example:
      bide func durable rewind --id my-first --reason "it is mended"
    """
    with plain_errors(debug), connect(url, key) as client:
        client.rewind(instance_id, reason)
        click.echo(f"Rewound '{instance_id}'.", err=True)


@durable.command(name="get-runtime-status")
@_id
@click.option("--show-input/--no-show-input", default=True, help="Print the input too.")
@click.option("--show-output/--no-show-output", default=True, help="Print the output too.")
@_options
def get_runtime_status(
    instance_id: str, show_input: bool, show_output: bool, url: str | None, key: str | None, debug: bool
) -> None:
    """Print the status of an instance.

    \b
    Example:
      bide func durable get-runtime-status --id my-first
    """
    import msgspec

    with plain_errors(debug), connect(url, key) as client:
        shown: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(client.status(instance_id)))
        wanted = {"input": show_input, "output": show_output}
        print_json({name: value for name, value in shown.items() if wanted.get(name, True)})


@durable.command(name="get-history")
@_id
@_options
def get_history(instance_id: str, url: str | None, key: str | None, debug: bool) -> None:
    """Print what happened in an instance.

    \b
    Example:
      bide func durable get-history --id my-first
    """
    with plain_errors(debug), connect(url, key) as client:
        print_json(client.shown_history(instance_id))


@durable.command(name="get-instances")
@_meant
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="How many at most.")
@_options
def get_instances(
    runtime_status: tuple[str, ...],
    created_after: datetime | None,
    created_before: datetime | None,
    top: int,
    url: str | None,
    key: str | None,
    debug: bool,
) -> None:
    """Print instances, the newest first.

    \b
    Example:
      bide func durable get-instances --runtime-status Failed --top 50
    """
    with plain_errors(debug), connect(url, key) as client:
        where = filter_of(runtime_status, "", "", {}, created_after, created_before)
        print_json(list(islice(client.statuses(where, page=min(top, 1000)), top)))


@durable.command(name="purge-history")
@_meant
@click.option("--yes", is_flag=True, help="Do it without asking.")
@_options
def purge_history(
    runtime_status: tuple[str, ...],
    created_after: datetime | None,
    created_before: datetime | None,
    yes: bool,
    url: str | None,
    key: str | None,
    debug: bool,
) -> None:
    """Delete instances that have ended, with their history.

    \b
    Example:
      bide func durable purge-history --created-before 30d --yes
    """
    with plain_errors(debug), connect(url, key) as client:
        where = filter_of(runtime_status, "", "", {}, created_after, created_before)
        confirm(yes, "This would purge all instances that have ended and are meant.")
        click.echo(f"Purged {client.purge_many(where)} instances.", err=True)
