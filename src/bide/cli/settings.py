"""`bide config`: the settings in force."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bide.cli.faults import plain_errors
from bide.cli.options import columns, debug_option, output_option
from bide.cli.output import print_json

if TYPE_CHECKING:
    from bide.config import Explained

_HIDDEN = "(hidden)"
_PASSWORD = re.compile(r"(?<=://)[^/@\s]*@")


@click.group()
def config() -> None:
    """The settings in force, and where they come from.

    \b
    Example:
      bide config show
    """


@config.command()
@output_option("table", "json")
@debug_option
def show(output: str, debug: bool) -> None:
    """Print each setting, its value, and where it comes from.

    A flag goes first, then the environment (BIDE_PORT), bide.toml, [tool.bide] of pyproject.toml, and
    the default. Settings of your own app in bide.toml are listed too, without their values.

    \b
    Example:
      bide config show -o json
    """
    from bide.config import doubts, explain, own_names

    with plain_errors(debug):
        here = Path()
        try:
            found = [_shown(each) for each in explain({}, os.environ, here)]
            found += [_own(name, origin) for name, origin in own_names(os.environ, here)]
            for doubt in doubts(os.environ, here):
                click.echo(f"Warning: {doubt}", err=True)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        if output == "json":
            print_json(found)
        else:
            rows = [(each["name"], _text(each["value"]), each["origin"]) for each in found]
            click.echo(columns(("SETTING", "VALUE", "FROM"), rows))


def _shown(setting: Explained) -> dict[str, Any]:
    from bide.store.postgres.address import safe_url

    value = setting.value
    if setting.name == "db":
        value = safe_url(value)
    elif isinstance(value, str):
        value = _PASSWORD.sub(f"{_HIDDEN}@", value)
    return {"name": setting.name, "value": value, "origin": setting.origin}


def _own(name: str, origin: str) -> dict[str, Any]:
    return {"name": name, "value": _HIDDEN, "origin": origin}


def _text(value: object) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)
