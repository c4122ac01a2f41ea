"""Commands that talk to a server: their options, and the client."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bide.cli.faults import NotFoundFault
from bide.cli.options import debug_option, server_url, settings_from

if TYPE_CHECKING:
    from bide.client import Client

F = TypeVar("F", bound=Callable[..., Any])


def server_options(command: F) -> F:
    """`--url`, `--key` and `--debug`."""
    for option in (
        debug_option,
        click.option(
            "--key",
            metavar="KEY",
            envvar="BIDE_KEY",
            help="A key of the server  [BIDE_KEY; on its own machine mostly none is needed]",
        ),
        click.option(
            "--url",
            metavar="URL",
            envvar="BIDE_URL",
            help="Where the server is  [BIDE_URL; default: http://127.0.0.1:7071]",
        ),
    ):
        command = option(command)
    return command


def connect(url: str | None, key: str | None) -> Client:
    """A client of the server that is meant. Raises `click.UsageError` for a URL that is none."""
    from bide.client import Client

    try:
        return Client(url or default_url(), key=key)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def whole_id(client: Client, begun: str) -> str:
    """The id of the one instance whose id begins so; an id that is whole is meant before all longer ones.

    For commands that only look: one that changes something should never hit another instance than the one named.
    Raises `InstanceNotFoundError`, and `NotFoundFault` if there are several.
    """
    from bide.errors import InstanceNotFoundError
    from bide.model.query import InstanceFilter

    try:
        return client.get(begun).id
    except InstanceNotFoundError:
        found = [shown.instance_id for shown in islice(client.statuses(InstanceFilter(id_prefix=begun), page=4), 4)]
        if len(found) > 1:
            some = ", ".join([*found[:3], *(["..."] if len(found) > 3 else [])])
            raise NotFoundFault(f"There is no instance '{begun}', and several whose id begins so: {some}") from None
        if not found:
            raise
        return found[0]


def default_url() -> str:
    """Where a server would be that was started here, under the same settings."""
    settings = settings_from({})
    return server_url(settings.host, settings.port)


def hub_client() -> Client | None:
    """A client for completing words: short of patience. None if the settings cannot be read."""
    from datetime import timedelta

    from bide.client import Client

    try:
        url = os.environ.get("BIDE_URL") or default_url()
        return Client(url, key=os.environ.get("BIDE_KEY"), timeout=timedelta(seconds=0.5))
    except (click.UsageError, ValueError):
        return None
