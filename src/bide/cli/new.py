"""`bide new`: a directory with an app to begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from bide.cli.faults import Fault, plain_errors
from bide.cli.options import debug_option

_TEMPLATES = Path(__file__).parent / "templates"
_SUFFIX = ".txt"
"""So that the files are no modules of ours."""


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--template",
    type=click.Choice(["hello", "approval", "phone"]),
    default="hello",
    show_default=True,
    help="What the app does.",
)
@debug_option
def new(directory: Path, template: str, debug: bool) -> None:
    """Make a directory with an app, its settings, and its tests.

    \b
    Example:
      bide new myapp --template approval
    """
    with plain_errors(debug):
        try:
            _make(directory, template)
        except OSError as error:
            raise Fault(f"{directory} cannot be made: {error.strerror}.") from error
        click.echo(f"{directory} is ready. Next:\n  cd {directory}\n  bide dev app.py", err=True)


def files(template: str) -> Iterator[tuple[Path, str]]:
    """The files of a template: where each belongs, and what is in it."""
    top = _TEMPLATES / template
    for path in sorted(top.rglob(f"*{_SUFFIX}")):
        yield path.relative_to(top).with_suffix(""), path.read_text("utf-8")
    if template == "phone":
        from bide.cli.demo import sample

        text = sample().read_text("utf-8")
        yield Path("app.py"), text.replace("bide dev examples/phone_verification/app.py", "bide dev app.py")


def _make(directory: Path, template: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise Fault(f"{directory} is not empty. Choose another directory.")
    for path, text in files(template):
        target = directory / path
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, "utf-8")
