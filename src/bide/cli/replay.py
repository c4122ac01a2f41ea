"""`bide replay`: does the code still fit the histories of instances?"""

from __future__ import annotations

from types import FrameType
from typing import IO, TYPE_CHECKING

import click

from bide.cli.faults import FAILED, plain_errors
from bide.cli.options import debug_option, settings_from

if TYPE_CHECKING:
    from bide.cli.histories import Judgement


@click.command()
@click.argument("files", metavar="HISTORY...", type=click.File("rb"), nargs=-1, required=True)
@click.option("--app", "target", metavar="FILE.PY[:NAME]", required=True, help="The code.")
@click.option("--strict", is_flag=True, help="Inputs, instants and texts must be the same, too.")
@click.option("--pdb", "inspect", is_flag=True, help="Look with pdb where code stands that does not fit.")
@debug_option
def replay(files: tuple[IO[bytes], ...], target: str, strict: bool, inspect: bool, debug: bool) -> None:
    """See whether code fits the histories of instances. Nothing is changed, and no activity runs.

    HISTORY is a file with what `bide history ID -o json` gives, or GET .../instances/ID/history; with an array
    of such; or with several, one on each line. A dash is stdin. Exits with 1 if a history does not fit.

    A secret is not in what the API gives. Code that needs one is judged up to there.

    What the code asks for in other words (another input, a longer timeout) is shown and fits: instances that wait
    go on, with what is in their histories.

    \b
    Example:
      bide history my-first -o json | bide replay - --app app.py
    """
    from bide.cli.histories import judge, read
    from bide.cli.loading import load_app, split_target
    from bide.config import using

    if inspect and any(file.name == "<stdin>" for file in files):
        raise click.UsageError("With --pdb you type on stdin, so no history can come from there. Give a file.")
    with plain_errors(debug):
        with using(settings_from({})):
            registry = load_app(*split_target(target), debug=debug).registry
        failed = total = 0
        for file in files:
            try:
                histories = read(file.read())
            except ValueError as error:
                raise click.UsageError(f"{file.name} has no histories that can be read: {error}.") from error
            for history in histories:
                shown = f"{history.instance_id} ({history.name})"
                found = judge(registry, history, strict=strict, on_misfit=_look_around if inspect else None)
                click.echo(_in_words(shown, found))
                total += 1
                failed += bool(found.misfit)
        click.echo(f"{total - failed} of {total} fit.", err=True)
        if failed:
            raise click.exceptions.Exit(FAILED)


def _look_around(frame: FrameType) -> None:
    """Let a person look at suspended code, until they leave it: there is nothing to go on with."""
    from pdb import Pdb

    debugger = Pdb()
    debugger.reset()
    debugger.interaction(frame, None)


def _in_words(shown: str, found: Judgement) -> str:
    if found.misfit:
        return f"differs  {shown}\n         {found.misfit}"
    if found.unseen:
        return f"fits     {shown}, as far as it can be seen\n         {found.unseen}"
    if not found.differences:
        return f"fits     {shown}"
    count = len(found.differences)
    places = "".join(f"\n         another input: {place}" for place in found.differences)
    return f"fits     {shown}, {count} input{'s differ' if count > 1 else ' differs'}{places}"
