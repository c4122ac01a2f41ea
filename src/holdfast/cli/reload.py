"""Serving a file in a process of its own, which is replaced when a file beside it changes."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import uvicorn
from uvicorn.supervisors.statreload import StatReload

from holdfast.cli.faults import STORE_UNUSABLE


def supervise(
    target: Callable[[list[socket.socket] | None], None], directory: Path, listener: socket.socket
) -> int:
    """Run `target` (a picklable function) again and again, until SIGINT or SIGTERM. Returns the exit code."""
    config = uvicorn.Config(
        "holdfast.cli.reload:supervise",  # never loaded, but without an import string uvicorn does not reload
        reload=True,
        reload_dirs=[str(directory)],
        reload_delay=0.5,
        log_config=None,
    )
    reloader = _Reloader(config, target, [listener])
    reloader.run()
    return STORE_UNUSABLE if reloader.process.exitcode == STORE_UNUSABLE else 0


class _Reloader(StatReload):
    """uvicorn's, but it leaves virtual environments out, and does not wait where no change of code helps."""

    _told = False

    def should_restart(self) -> list[Path] | None:
        ended = self.process.exitcode
        if ended == STORE_UNUSABLE or (ended == 0 and not self._told):
            raise StopIteration
        if ended is not None and not self._told:
            self._told = True
            click.echo("Waiting for a change of the code.", err=True)
        return super().should_restart()

    def restart(self) -> None:
        super().restart()
        self._told = False

    def iter_py_files(self) -> Iterator[Path]:
        for directory in self.config.reload_dirs:
            yield from python_files(directory)


def python_files(directory: Path) -> Iterator[Path]:
    """The Python files below a directory, without hidden directories, environments and caches."""
    for root, directories, files in os.walk(directory):
        directories[:] = [name for name in directories if not _is_foreign(Path(root, name))]
        yield from (Path(root, name) for name in files if name.endswith(".py"))


def _is_foreign(directory: Path) -> bool:
    return directory.name.startswith((".", "__pycache__")) or (directory / "pyvenv.cfg").exists()
