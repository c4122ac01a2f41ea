"""What goes wrong, in one or two lines, with an exit code that says of which kind it was."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TextIO

import click

FAILED = 1
USAGE = 2
NOT_FOUND = 3
NOT_ALLOWED = 4
TIMED_OUT = 5
ORCHESTRATION_FAILED = 6
ACCESS_DENIED = 7
UNREACHABLE = 8
STORE_UNUSABLE = 9
READER_GONE = 141
"""As of a program that SIGPIPE ends: 128 + 13."""

_KEY = "Give a key that may: --key, or BIDE_KEY. On the server's machine `bide keys ls` lists them."
_SERVER = "Start one with `bide dev app.py`, or say where it is: --url, or BIDE_URL."


class Fault(click.ClickException):
    """A message for the user; the command has failed."""

    exit_code = FAILED


class MisuseFault(Fault):
    """What was given cannot be used so."""

    exit_code = USAGE


class NotFoundFault(Fault):
    """What is meant is not there."""

    exit_code = NOT_FOUND


class NotAllowedFault(Fault):
    """It cannot be done in this state."""

    exit_code = NOT_ALLOWED


class TimedOutFault(Fault):
    """The time is over."""

    exit_code = TIMED_OUT


class OrchestrationFault(Fault):
    """The instance has not come to a good end."""

    exit_code = ORCHESTRATION_FAILED


class AccessFault(Fault):
    """The key is missing, wrong or not sufficient."""

    exit_code = ACCESS_DENIED


class UnreachableFault(Fault):
    """The server does not answer."""

    exit_code = UNREACHABLE


class StoreFault(Fault):
    """The database cannot be used."""

    exit_code = STORE_UNUSABLE


@contextmanager
def plain_errors(debug: bool) -> Generator[None, None, None]:
    """Turn errors into one line or two. With `debug`, what was not foreseen goes through with its traceback."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise
    except Exception as error:
        known = _known(error)
        if known is not None:
            raise known from error
        if debug:
            raise
        raise Fault(f"{type(error).__name__}: {error}\nRun it again with --debug to see where.") from error


@contextmanager
def shown_errors(debug: bool) -> Generator[None, None, None]:
    """As `plain_errors`, in a process where click is not around to show them: it ends with their exit code."""
    try:
        with quiet_without_reader(), plain_errors(debug):
            yield
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # a second Ctrl+C, while the first one lets what runs come to its end
        click.echo("Aborted!", err=True)
        sys.exit(FAILED)


@contextmanager
def quiet_without_reader() -> Generator[None, None, None]:
    """End without a word when whoever read the output has gone: `bide ls | head -5`."""
    try:
        yield
    except BrokenPipeError:
        for stream in (sys.stdout, sys.stderr):
            _let_go(stream)
        sys.exit(READER_GONE)


def _let_go(stream: TextIO) -> None:
    """If nobody reads it any more, let nobody read what is left in it: Python writes that when it ends."""
    try:
        stream.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def with_all_streams() -> None:
    """Python has no stream where one was closed (`bide ls >&-`): what is said there is said to nobody."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - until the end


def _known(error: Exception) -> Fault | None:
    """An error of Bide as a fault, with what to do next."""
    from bide import errors

    match error:
        case errors.StoreError():
            return StoreFault(str(error))
        case errors.InstanceNotFoundError() | errors.FunctionNotFoundError() | errors.KeyNotFoundError():
            return NotFoundFault(str(error))
        case errors.AccessDeniedError():
            return AccessFault(f"{error}\n{_KEY}")
        case errors.ServerUnreachableError():
            return UnreachableFault(f"{error}\n{_SERVER}")
        case errors.PayloadError() | errors.DevelopmentOnlyError():
            return MisuseFault(str(error))
        case errors.RequestError():
            return NotAllowedFault(str(error))
        case errors.BideError():
            return Fault(str(error))
        case TimeoutError():
            return TimedOutFault(str(error))
        case _:
            return None
