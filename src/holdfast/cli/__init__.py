"""The command `holdfast`. Data goes to stdout, talk to stderr.

Exit codes: 0 done, 1 failed, 2 wrong usage, 8 the database cannot be used.

Modules of commands import nothing but click at the top, so that `holdfast --help` answers at once.
"""

from __future__ import annotations

import os

import click

import holdfast
from holdfast.cli.demo import demo
from holdfast.cli.dev import dev


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(holdfast.__version__, message="%(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """Durable functions in plain Python, for work that waits on people."""
    if os.environ.get("NO_COLOR"):
        context.color = False


main.add_command(demo)
main.add_command(dev)
