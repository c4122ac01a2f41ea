"""`bide serve`: serve a file in production."""

from __future__ import annotations

import click

from bide.cli.faults import plain_errors
from bide.cli.options import serving_options, settings_from


@click.command()
@click.argument("target", metavar="FILE.PY[:NAME]")
@serving_options
def serve(target: str, debug: bool, **flags: object) -> None:
    """Serve the App in FILE.PY until SIGTERM or Ctrl+C.

    NAME says which App, if the file has several. Bound to another address than this machine's own (--host), every
    caller needs a key; the first one is made at the first start, and shown once: on a terminal, otherwise in a file
    beside the database. What is for development (the dev phone) is refused.

    \b
    Example:
      bide serve app.py --host 0.0.0.0 --port 7071 --db app.db
    """
    from bide.cli.loading import split_target
    from bide.cli.serving import listen, serve_file

    with plain_errors(debug):
        settings = settings_from(flags, defaults={"environment": "production"})
        path, name = split_target(target)
        with listen(settings) as listener:
            serve_file(path, name, settings, debug, [listener])
