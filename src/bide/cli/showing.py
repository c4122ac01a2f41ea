"""Commands that look: ls, show, history, wait, waiting, workers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from bide.cli.completion import instance_ids
from bide.cli.connection import connect, server_options, whole_id
from bide.cli.faults import OrchestrationFault, plain_errors
from bide.cli.filters import filter_of, filter_options, limit_option, name_option, only_tag_option
from bide.cli.options import output_option, to_span
from bide.cli.output import first, print_json, print_rows, short, status_text, when
from bide.cli.tree import show_tree
from bide.cli.values import wanted

if TYPE_CHECKING:
    from bide.client import Client
    from bide.http.base.shapes import StatusObject, WorkerObject
    from bide.model.history import Fact, Step
    from bide.model.instance import Instance

instance_argument = click.argument("instance_id", metavar="ID", shell_complete=instance_ids)


@click.command()
@filter_options
@limit_option(50)
@output_option("table", "json", "jsonl")
@server_options
def ls(limit: int, output: str, url: str | None, key: str | None, debug: bool, **meant: Any) -> None:
    """List instances, the newest first.

    \b
    Example:
      bide ls --status Running --tag team=blue
    """
    with plain_errors(debug), connect(url, key) as client:
        found = first(client.statuses(filter_of(**meant), page=min(limit + 1, 1000)), limit)
        now = _now()
        rows = (
            (
                shown.instance_id,
                shown.name,
                _state(shown),
                when(shown.created_time, now),
                when(shown.last_updated_time, now),
            )
            for shown in found
        )
        print_rows(
            output, found, ("ID", "NAME", "STATUS", "CREATED", "UPDATED"), rows, "There are no such instances."
        )


@click.command()
@instance_argument
@click.option("--follow", is_flag=True, help="Go on showing what happens, until it has ended.")
@click.option("--tree", is_flag=True, help="Show its sub-orchestrations too.")
@output_option("table", "json")
@server_options
def show(
    instance_id: str, follow: bool, tree: bool, output: str, url: str | None, key: str | None, debug: bool
) -> None:
    """Show an instance: its state, what it waits for, and what may be done.

    The beginning of an ID will do, if only one instance has it.

    \b
    Example:
      bide show my-first --follow
    """
    with plain_errors(debug), connect(url, key) as client:
        instance_id = whole_id(client, instance_id)
        if tree:
            show_tree(client, instance_id, output)
        elif follow:
            _follow(client, instance_id, output)
        elif output == "json":
            print_json(client.status(instance_id))
        else:
            _print_status(client.status(instance_id))


@click.command()
@instance_argument
@output_option("table", "json")
@server_options
def history(instance_id: str, output: str, url: str | None, key: str | None, debug: bool) -> None:
    """Show what happened in an instance. The JSON of it is what `bide replay` reads.

    The beginning of an ID will do, if only one instance has it.

    \b
    Example:
      bide history my-first -o json > history.json
    """
    with plain_errors(debug), connect(url, key) as client:
        found = client.shown_history(whole_id(client, instance_id))
        if output == "json":
            print_json(found)
            return
        rows = [row for step in found.steps for row in _step_rows(step)]
        print_rows(output, found.steps, ("TIME (UTC)", "EVENT", "DETAILS"), rows, "Nothing has happened yet.")


@click.command()
@instance_argument
@click.option("--timeout", metavar="SPAN", callback=to_span, help="How long at most: 30s, 5m. Without: for ever.")
@server_options
def wait(instance_id: str, timeout: timedelta | None, url: str | None, key: str | None, debug: bool) -> None:
    """Wait until an instance has ended, and print its output as JSON.

    Exits with 5 if the time is over before that, and with 6 if the instance failed or was terminated.

    \b
    Example:
      bide wait my-first --timeout 90s
    """
    with plain_errors(debug), connect(url, key) as client:
        if sys.stderr.isatty():
            _say_what_it_waits_for(client, instance_id)
        print_result(client.wait(instance_id, timeout))


@click.command()
@click.option("--overdue", is_flag=True, help="Only those whose deadline has passed.")
@click.option("--event", metavar="NAME", default="", help="Only for this event.")
@name_option
@only_tag_option
@limit_option(50)
@output_option("table", "json", "jsonl")
@server_options
def waiting(
    overdue: bool,
    event: str,
    name: str,
    tags: dict[str, str],
    limit: int,
    output: str,
    url: str | None,
    key: str | None,
    debug: bool,
) -> None:
    """Show who waits for what, the most urgent first.

    \b
    Example:
      bide waiting --overdue --tag team=blue
    """
    with plain_errors(debug), connect(url, key) as client:
        found = first(client.shown_waits(overdue=overdue, name=event, orchestrator=name, tags=tags), limit)
        now = _now()
        rows = (
            (
                shown.instance_id,
                shown.orchestrator,
                shown.name,
                when(shown.since, now),
                "never" if shown.deadline is None else when(shown.deadline, now),
            )
            for shown in found
        )
        headings = ("ID", "NAME", "WAITS FOR", "SINCE", "DUE")
        print_rows(output, found, headings, rows, "Nobody waits for anything.")


@click.command()
@click.option("--gone", is_flag=True, help="Those that ended or were killed, too.")
@output_option("table", "json", "jsonl")
@server_options
def workers(gone: bool, output: str, url: str | None, key: str | None, debug: bool) -> None:
    """Show who works, and how many of the hub's 256 partitions each has.

    \b
    Example:
      bide workers --gone
    """
    with plain_errors(debug), connect(url, key) as client:
        found = [each for each in client.workers() if each.alive or gone]
        now = _now()
        rows = (
            (
                each.name,
                "alive" if each.alive else "ended" if each.ended_at else "killed, or cut off",
                str(each.partitions),
                f"{each.live_instances:,}",
                _running(each),
                each.version,
                when(each.started_at, now),
                when(each.ended_at or each.seen_at, now),
            )
            for each in found
        )
        headings = ("WORKER", "IS", "PARTITIONS", "IN MEMORY", "ACTIVITIES", "VERSION", "STARTED", "SEEN")
        print_rows(output, found, headings, rows, "No worker is alive. Nothing goes on until one is started.")


def _running(worker: WorkerObject) -> str:
    outlived = f" ({worker.outlived_activities:,} outlived)" if worker.outlived_activities else ""
    return f"{worker.running_activities:,}{outlived}"


def print_result(instance: Instance) -> None:
    """The output on stdout. Raises `Fault` for an instance that has not completed."""
    from bide.model.instance import RuntimeStatus

    if instance.status is not RuntimeStatus.COMPLETED:
        raise OrchestrationFault(f"Instance '{instance.id}' is {instance.status}: {instance.output}")
    print_json(instance.output)


# --- one instance


def _say_what_it_waits_for(client: Client, instance_id: str) -> None:
    """Whoever sits there wants to know why nothing happens."""
    now = _now()
    for shown in client.status(instance_id).waits or ():
        due = "for ever" if shown.deadline is None else f"due {when(shown.deadline, now)}"
        click.echo(f"It waits for {shown.name}, {due}. Ctrl+C stops waiting; the instance goes on.", err=True)


def _print_status(shown: StatusObject) -> None:
    from msgspec import UNSET
    from msgspec.json import decode

    now = _now()
    lines = [
        ("ID", shown.instance_id),
        ("Name", shown.name),
        ("Status", status_text(shown.runtime_status.value)),
        ("Created", f"{shown.created_time:%Y-%m-%d %H:%M:%S} UTC, {when(shown.created_time, now)}"),
        ("Updated", f"{shown.last_updated_time:%Y-%m-%d %H:%M:%S} UTC, {when(shown.last_updated_time, now)}"),
        ("Input", short(shown.input)),
        ("Status text", short(shown.custom_status)),
        ("Output", short(shown.output)),
        ("Tags", ", ".join(f"{name}={value}" for name, value in shown.tags.items())),
        ("Parent", "" if shown.parent is UNSET else shown.parent.instance_id),
        ("Held", "" if shown.held is UNSET else shown.held),
    ]
    for each in () if shown.waits is UNSET else shown.waits:
        due = "for ever" if each.deadline is None else f"due {when(each.deadline, now)}"
        lines.append(("Waits for", f"{each.name} since {each.since:%H:%M:%S} UTC, {due}"))
        lines.append(("", f"it wants {wanted(decode(each.schema))}"))
    lines.append(("You may", ", ".join(shown.allowed_actions)))
    for name, text in lines:
        if text and text != "null":
            click.echo(f"{name + ':' if name else '':<13}{text}")


def _state(shown: StatusObject) -> str:
    """The status, and that the instance does not go on, if so."""
    from msgspec import UNSET

    return shown.runtime_status.value + ("" if shown.held is UNSET else " (held)")


def _follow(client: Client, instance_id: str, output: str) -> None:
    from typing import get_args

    from msgspec.json import decode

    from bide.http.base.shapes import StatusObject
    from bide.model.history import Fact, Step

    width = 2 + max(len(kind.__name__) for kind in get_args(Fact))
    for event in client.events(instance_id):
        if output == "json":
            print_json(event.data)
        elif event.kind == "step":
            for at, kind, details in _step_rows(decode(event.data_json, type=Step)):
                click.echo(f"{at:<23}  {kind:<{width}}  {details}".rstrip())
        else:
            click.echo()
            _print_status(decode(event.data_json, type=StatusObject))


# --- histories


def _step_rows(step: Step) -> Iterator[tuple[str, str, str]]:
    """A row for each fact; what was asked for in answer is indented."""

    at = f"{step.at:%Y-%m-%d %H:%M:%S.%f}"[:-3]
    for number, fact in enumerate(step.facts):
        yield at if number == 0 else "", ("  " if number else "") + type(fact).__name__, _details(fact)


def _details(fact: Fact) -> str:
    from bide.model.clock import to_datetime

    parts = [str(getattr(fact, name)) for name in ("name", "instance_id", "reason") if getattr(fact, name, "")]
    fire_at: int | None = getattr(fact, "fire_at", None)
    if fire_at is not None:
        parts.append(f"due {to_datetime(fire_at):%Y-%m-%d %H:%M:%S}")
    parts += [short(getattr(fact, name)) for name in ("input", "result") if hasattr(fact, name)]
    failure = getattr(fact, "failure", None)
    if failure is not None:
        parts.append(f"{failure.type}: {failure.message}")
    parts += getattr(fact, "unawaited", ())
    return "  ".join(part for part in parts if part != "null")


def _now() -> datetime:
    from bide.model.clock import SystemClock

    return SystemClock().utc_now()
