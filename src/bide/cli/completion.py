"""`bide completion`, and the words that are completed: ids and names that the server knows."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem, get_completion_class

_MOST = 50


def instance_ids(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of instances that begin so, the newest first."""
    from itertools import islice

    from bide.cli.connection import hub_client
    from bide.errors import BideError
    from bide.model.query import InstanceFilter

    client = hub_client()
    if client is None:
        return []
    try:
        with client:
            found = list(islice(client.statuses(InstanceFilter(id_prefix=incomplete), page=_MOST), _MOST))
    except BideError:  # without a server nothing can be completed, and nothing should be said
        return []
    return [CompletionItem(shown.instance_id, help=f"{shown.name}, {shown.runtime_status}") for shown in found]


def event_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What the instance that is named before waits for."""
    from bide.cli.connection import hub_client
    from bide.errors import BideError

    client = hub_client()
    if client is None:
        return []
    try:
        with client:
            waits = client.waits(context.params["instance_id"])
    except BideError:
        return []
    names = {wait.name for wait in waits if wait.name.lower().startswith(incomplete.lower())}
    return [CompletionItem(name) for name in sorted(names)]


def orchestrator_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What the server can start."""
    from bide.cli.connection import hub_client
    from bide.errors import BideError

    client = hub_client()
    if client is None:
        return []
    try:
        with client:
            names = [each.name for each in client.orchestrators()]
    except BideError:
        return []
    return [CompletionItem(name) for name in sorted(names) if name.lower().startswith(incomplete.lower())]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes your shell complete commands, ids of instances, and names of orchestrators and events.

    \b
    Example, in ~/.bashrc:
      source <(bide completion bash)
    """
    from bide.cli import main

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(main, {}, "bide", "_BIDE_COMPLETE").source())
