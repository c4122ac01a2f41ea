"""Finding the `App` in a user's file."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import click

from bide.cli.faults import Fault

if TYPE_CHECKING:
    from bide.app import App


def split_target(target: str) -> tuple[Path, str | None]:
    """`app.py` or `app.py:name` as the file and the name. Raises `click.UsageError` if there is no such file."""
    path, name = Path(target), None
    if not path.exists() and ":" in target:
        file, _, name = target.rpartition(":")
        path = Path(file)
    if not path.is_file():
        raise click.UsageError(f"There is no file {path}.")
    if path.suffix != ".py":
        raise click.UsageError(f"{path} is not a Python file.")
    return path, name


def load_app(path: Path, name: str | None = None, *, debug: bool = False) -> App:
    """Run the file, and return its only `App`, or the one under that name.

    Raises `click.UsageError` if there is none, or more than one; `Fault` if the file raises (with `debug`, the
    error itself).
    """
    module = _run(path, debug)
    return _only_app(module, path) if name is None else _named_app(module, path, name)


def _run(path: Path, debug: bool) -> ModuleType:
    path = path.resolve()
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # so that it finds its neighbours, as under `python app.py`
    module_name = path.stem if path.stem not in sys.modules else f"bide_app_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and type hints look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        if debug:
            raise
        raise Fault(
            f"{path.name} cannot be loaded: {type(error).__name__}: {error}{_where(error, path)}"
        ) from error
    return module


def _where(error: Exception, path: Path) -> str:
    """The line of the user's file that the error came through."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f" (line {lines[-1]})" if lines else ""


def _only_app(module: ModuleType, path: Path) -> App:
    from bide.app import App

    found = {id(value): name for name, value in vars(module).items() if isinstance(value, App)}
    match sorted(found.values()):
        case []:
            raise click.UsageError(f"{path} has no App. Write for example: app = App()")
        case [name]:
            return _named_app(module, path, name)
        case names:
            raise click.UsageError(f"{path} has several Apps. Say which: {path}:{f' or {path}:'.join(names)}")


def _named_app(module: ModuleType, path: Path, name: str) -> App:
    from bide.app import App

    value = getattr(module, name, None)
    if not isinstance(value, App):
        raise click.UsageError(f"{path} has no App named {name}.")
    return value
