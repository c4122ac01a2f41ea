"""Commands that talk to a server: their options, and the client."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from holdfast.cli.options import debug_option, server_url, settings_from

if TYPE_CHECKING:
    from holdfast.client import Client

F = TypeVar("F", bound=Callable[..., Any])


def server_options(command: F) -> F:
    """`--url`, `--key` and `--debug`."""
    for option in (
        debug_option,
        click.option(
            "--key",
            metavar="KEY",
            envvar="HOLDFAST_KEY",
            help="A key of the server  [HOLDFAST_KEY; on its own machine mostly none is needed]",
        ),
        click.option(
            "--url",
            metavar="URL",
            envvar="HOLDFAST_URL",
            help="Where the server is  [HOLDFAST_URL; default: http://127.0.0.1:7071]",
        ),
    ):
        command = option(command)
    return command


def connect(url: str | None, key: str | None) -> Client:
    """A client of the server that is meant. Raises `click.UsageError` for a URL that is none."""
    from holdfast.client import Client

    try:
        return Client(url or default_url(), key=key)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def default_url() -> str:
    """Where a server would be that was started here, under the same settings."""
    settings = settings_from({})
    return server_url(settings.host, settings.port)


def hub_client() -> Client | None:
    """A client for completing words: short of patience. None if the settings cannot be read."""
    from datetime import timedelta

    from holdfast.client import Client

    try:
        url = os.environ.get("HOLDFAST_URL") or default_url()
        return Client(url, key=os.environ.get("HOLDFAST_KEY"), timeout=timedelta(seconds=0.5))
    except (click.UsageError, ValueError):
        return None
