"""Options that the serving commands share, and the settings they make."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from holdfast.config import Settings

F = TypeVar("F", bound=Callable[..., Any])


def serving_options(command: F) -> F:
    """`--port`, `--host`, `--db` and `--debug`."""
    for option in (
        click.option("--debug", is_flag=True, help="Show tracebacks."),
        click.option("--db", metavar="FILE", help="The database file; ':memory:' keeps nothing."),
        click.option("--host", metavar="ADDRESS", help="The address to listen on  [default: 127.0.0.1]"),
        click.option("--port", type=int, metavar="PORT", help="The port to listen on; 0: any  [default: 7071]"),
    ):
        command = option(command)
    return command


def settings_from(flags: Mapping[str, object], defaults: Mapping[str, object] | None = None) -> Settings:
    """The settings in force in this directory. Raises `click.UsageError`."""
    from holdfast.config import is_loopback, load

    try:
        settings = load(flags, os.environ, Path(), defaults)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if not is_loopback(settings.host):
        raise click.UsageError(
            f"Holdfast does not listen on {settings.host} yet: callers have no keys, so whoever reaches it could "
            "do everything. Use 127.0.0.1, ::1 or localhost."
        )
    return settings
