"""What goes wrong, in one line, with an exit code that says of which kind it was."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import click

FAILED = 1
STORE_UNUSABLE = 8


class Fault(click.ClickException):
    """A message for the user; the command has failed."""

    exit_code = FAILED


class StoreFault(Fault):
    """The database cannot be used."""

    exit_code = STORE_UNUSABLE


@contextmanager
def plain_errors(debug: bool) -> Generator[None, None, None]:
    """Turn errors into one line. With `debug`, what was not foreseen goes through with its traceback."""
    from holdfast.errors import StoreError

    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except StoreError as error:
        raise StoreFault(str(error)) from error
    except Exception as error:
        if debug:
            raise
        raise Fault(f"{type(error).__name__}: {error}\nRun it again with --debug to see where.") from error
