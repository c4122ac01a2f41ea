"""Commands that give something to instances: start and raise."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click

from bide.cli.completion import event_names, instance_ids, orchestrator_names
from bide.cli.connection import connect, server_options
from bide.cli.faults import MisuseFault, NotAllowedFault, plain_errors
from bide.cli.filters import tag_option
from bide.cli.options import output_option, to_span
from bide.cli.output import print_json
from bide.cli.values import read_value, wanted

if TYPE_CHECKING:
    from bide.client import Client
    from bide.model.instance import Reuse, Wait

json_option = click.option("--json", "as_json", is_flag=True, help="Take the value as JSON, never as plain text.")


@click.command()
@click.argument("name", metavar="NAME", shell_complete=orchestrator_names)
@click.argument("value", metavar="[INPUT]", required=False)
@click.option("--id", "instance_id", metavar="ID", help="An id of your own; then the same start can be repeated.")
@tag_option
@click.option(
    "--reuse",
    type=click.Choice(["never", "ended", "replace"]),
    help="What becomes of an instance that has the id: none may be there; one that has ended makes way; any does.",
)
@click.option("--wait", metavar="SPAN", callback=to_span, help="Wait so long for the result, and print that.")
@json_option
@output_option("table", "json")
@server_options
def start(
    name: str,
    value: str | None,
    instance_id: str | None,
    tags: dict[str, str],
    reuse: Reuse | None,
    wait: timedelta | None,
    as_json: bool,
    output: str,
    url: str | None,
    key: str | None,
    debug: bool,
) -> None:
    """Start an instance of the orchestrator NAME, and print its id.

    INPUT is JSON, or plain text where a string is wanted; @file and - (stdin) are read.

    \b
    Example:
      bide start E4_SmsPhoneVerification +12025550123 --id my-first
    """
    import msgspec

    from bide.cli.showing import print_result

    with plain_errors(debug), connect(url, key) as client:
        schema = _input_schema(client, name)
        given = msgspec.UNSET if value is None else read_value(value, schema, as_json=as_json)
        with _saying(schema):
            started = client.start(name, given, instance_id=instance_id, tags=tags, reuse=reuse)
        if wait is not None:
            click.echo(f"Started {started}.", err=True)
            print_result(client.wait(started, wait))
        elif output == "json":
            print_json({"id": started})
        else:
            click.echo(started)


@click.command(name="raise")
@click.argument("instance_id", metavar="ID", shell_complete=instance_ids)
@click.argument("event", metavar="EVENT", shell_complete=event_names)
@click.argument("value", metavar="[DATA]", required=False)
@click.option("--early", is_flag=True, help="Raise it although nobody waits for it yet; it is kept.")
@json_option
@server_options
def raise_event(
    instance_id: str,
    event: str,
    value: str | None,
    early: bool,
    as_json: bool,
    url: str | None,
    key: str | None,
    debug: bool,
) -> None:
    """Answer: raise the event EVENT of an instance, with DATA.

    DATA is JSON, or plain text where a string is wanted: 0042 keeps its zeros. @file and - (stdin) are read.
    Without DATA, in a terminal, it is asked for.

    \b
    Example:
      bide raise my-first SmsChallengeResponse 0042
    """
    import msgspec

    with plain_errors(debug), connect(url, key) as client:
        wait = _wait_for(client, instance_id, event)
        if wait is None and not early:
            raise NotAllowedFault(_nobody_waits(client, instance_id, event))
        schema: dict[str, Any] = {} if wait is None else msgspec.json.decode(wait.schema_json)
        if value is None:
            value = _asked(event, schema)
        with _saying(schema):
            client.raise_event(instance_id, event, read_value(value, schema, as_json=as_json))
        click.echo(f"Raised {event}.", err=True)
        _say_if_held(client, instance_id)


def _say_if_held(client: Client, instance_id: str) -> None:
    from bide.errors import InstanceNotFoundError

    try:
        held = client.get(instance_id).held
    except InstanceNotFoundError:  # it ended by the event, and is purged already
        return
    if held is not None:
        click.echo(f"It is kept: the instance is held, and does not go on now. {held}", err=True)


@contextmanager
def _saying(schema: dict[str, Any]) -> Generator[None, None, None]:
    """If the value does not fit, say what would."""
    from bide.errors import MisfitError

    try:
        yield
    except MisfitError as error:
        raise MisuseFault(f"{error}\nIt wants {wanted(schema)}.") from error


def _input_schema(client: Client, name: str) -> dict[str, Any]:
    """What the orchestrator takes; empty if it is not known, so that the server says so."""
    import msgspec

    found = [each for each in client.orchestrators() if each.name.casefold() == name.casefold()]
    return msgspec.json.decode(found[0].input_schema) if found else {}


def _wait_for(client: Client, instance_id: str, event: str) -> Wait | None:
    waits = [wait for wait in client.waits(instance_id) if wait.name.lower() == event.lower()]
    return waits[0] if waits else None


def _nobody_waits(client: Client, instance_id: str, event: str) -> str:
    """Why not, with what was probably meant."""
    instance = client.get(instance_id)
    if instance.status.finished:
        return f"Instance '{instance_id}' has ended: {instance.status}."
    names = sorted({wait.name for wait in client.waits(instance_id)})
    close = get_close_matches(event.lower(), [name.lower() for name in names], 1)
    meant = next((name for name in names if close and name.lower() == close[0]), None)
    if meant:
        return f"Nobody waits for '{event}'. Did you mean '{meant}'?"
    waits = f"It waits for: {', '.join(names)}." if names else "It waits for no event now."
    return f"Nobody waits for '{event}'. {waits} With --early it is kept until somebody does."


def _asked(event: str, schema: dict[str, Any]) -> str | None:
    """The answer of whoever sits there; None where nobody does."""
    if not sys.stdin.isatty():
        return None
    if schema.get("type") == "boolean":
        return "true" if click.confirm(schema.get("title") or event, err=True) else "false"
    choices = [str(choice) for choice in schema.get("enum", [])]
    answer: str = click.prompt(
        schema.get("title") or event, type=click.Choice(choices) if choices else str, err=True
    )
    return answer
