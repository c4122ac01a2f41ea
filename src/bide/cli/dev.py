"""`bide dev`: serve a file while it is being written."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from bide.cli.faults import plain_errors, shown_errors
from bide.cli.options import serving_options, settings_from

if TYPE_CHECKING:
    from socket import socket


@click.command()
@click.argument("target", metavar="FILE.PY[:NAME]")
@serving_options
@click.option("--reload/--no-reload", default=True, help="Start again when the code changes.", show_default=True)
def dev(target: str, reload: bool, debug: bool, **flags: object) -> None:
    """Serve the App in FILE.PY, and start again when the code changes.

    NAME says which App, if the file has several. Bound to another address than this machine's own (--host), every
    caller needs a key.

    \b
    Example:
      bide dev app.py --port 7071 --db app.db
    """
    from bide.cli.loading import split_target
    from bide.cli.serving import configure_logging, listen, serve_file

    with plain_errors(debug):
        settings = settings_from(flags)
        path, name = split_target(target)
        run = partial(serve_file, path, name, settings, debug)
        with listen(settings) as listener:
            if not reload:
                run([listener])
                return
            from bide.cli.reload import supervise

            configure_logging()
            sys.exit(supervise(partial(_serve_in_child, run), path.resolve().parent, listener))


def _serve_in_child(run: partial[None], sockets: list[socket] | None = None) -> None:
    """What the reloader's process runs."""
    # Bytecode is matched by the second: an edit right after another would meet what the first one left.
    sys.dont_write_bytecode = True
    with shown_errors(debug=bool(run.args[3])):
        run(sockets)
