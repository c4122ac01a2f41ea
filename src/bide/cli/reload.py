"""Serving a file in a process of its own, which is replaced when a file beside it changes."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import click
import uvicorn
from uvicorn.supervisors.basereload import BaseReload

from bide.cli.faults import STORE_UNUSABLE


def supervise(
    target: Callable[[list[socket.socket] | None], None], directory: Path, listener: socket.socket
) -> int:
    """Run `target` (a picklable function) again and again, until SIGINT or SIGTERM. Returns the exit code."""
    config = uvicorn.Config(
        "bide.cli.reload:supervise",  # never loaded, but without an import string uvicorn does not reload
        reload=True,
        reload_dirs=[str(directory)],
        reload_delay=0.5,
        log_config=None,
    )
    reloader = _Reloader(config, target, listener)
    reloader.run()
    return STORE_UNUSABLE if reloader.process.exitcode == STORE_UNUSABLE else 0


class _Reloader(BaseReload):
    """uvicorn's supervisor, with an eye on the files.

    What the files look like is noted before the process that reads them is started, so that no change slips
    through between the two. Where no change of the code can help, it does not wait for one.
    """

    def __init__(
        self, config: uvicorn.Config, target: Callable[[list[socket.socket] | None], None], listener: socket.socket
    ) -> None:
        super().__init__(config, target, [listener])
        self.reloader_name = "Bide"
        self._seen = self._look()
        self._told = False

    def should_restart(self) -> list[Path] | None:
        self._look_after_process()
        self.pause()
        seen, self._seen = self._seen, self._look()
        return sorted({path for path, _ in seen ^ self._seen}) or None

    def restart(self) -> None:
        super().restart()
        self._told = False

    def _look(self) -> set[tuple[Path, int]]:
        return {(path, changed) for top in self.config.reload_dirs for path, changed in python_files(top)}

    def _look_after_process(self) -> None:
        """Raises `StopIteration`, which ends `run`, if the process has ended for good."""
        ended = self.process.exitcode
        if ended in (0, STORE_UNUSABLE):
            raise StopIteration
        if ended is not None and not self._told:
            self._told = True
            click.echo("Waiting for a change of the code.", err=True)


def python_files(directory: Path) -> Iterator[tuple[Path, int]]:
    """The Python files below a directory, each with the time of its last change.

    Hidden directories, environments and caches are left out.
    """
    for root, directories, files in os.walk(directory):
        directories[:] = [name for name in directories if not _is_foreign(Path(root, name))]
        for path in (Path(root, name) for name in files if name.endswith(".py")):
            with suppress(OSError):  # gone between the two calls
                yield path, path.stat().st_mtime_ns


def _is_foreign(directory: Path) -> bool:
    return directory.name.startswith((".", "__pycache__")) or (directory / "pyvenv.cfg").exists()
