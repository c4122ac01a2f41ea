"""Which version of the users' code runs: a digest, the same wherever the code is the same.

It covers the functions that are declared, with what they are compiled to, and the files that they and the modules
beside them are written in. Installed packages are not covered: what has changed there only, looks the same.
"""

from __future__ import annotations

import inspect
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from types import CodeType

from bide.core.registry import Function, Registry

_INSTALLED = ("site-packages", "dist-packages")
_PYTHON = Path(sysconfig.get_path("stdlib"))


def code_version(registry: Registry, *, files: bool = True) -> str:
    """Eight hexadecimal digits. Without `files`, only what the functions are compiled to counts."""
    functions = [inspect.unwrap(each.function) for each in registry.orchestrators.values()]
    functions += [inspect.unwrap(each.function) for each in registry.activities.values()]
    digest = blake2b(digest_size=4)
    for function in sorted(functions, key=lambda each: each.__qualname__):
        digest.update(function.__qualname__.encode())
        for code in _codes(getattr(function, "__code__", None)):
            digest.update(code.co_code)
            digest.update(repr((code.co_names, [each for each in code.co_consts if _is_plain(each)])).encode())
    for text in sorted(_texts(functions)) if files else ():
        digest.update(text)
    return digest.hexdigest()


def _codes(code: CodeType | None) -> Iterator[CodeType]:
    """A function's code, and that of the functions within it."""
    if code is not None:
        yield code
        for each in code.co_consts:
            if isinstance(each, CodeType):
                yield from _codes(each)


def _is_plain(constant: object) -> bool:
    """Whether its text is the same in every process."""
    return isinstance(constant, str | bytes | int | float | complex | tuple | None)


def _texts(functions: Iterable[Function]) -> set[bytes]:
    """What is in the files that the functions are written in, and in loaded modules below their folders."""
    files = {Path(file) for each in functions if (file := inspect.getsourcefile(each))}
    folders = {file.parent for file in files if not _is_installed(file)}
    modules = [getattr(each, "__file__", None) for each in sys.modules.values()]
    beside = [Path(file) for file in modules if isinstance(file, str)]
    files.update(file for file in beside if not _is_installed(file) and not folders.isdisjoint(file.parents))
    return {text for file in files if (text := _read(file)) is not None}


def _is_installed(file: Path) -> bool:
    return not set(_INSTALLED).isdisjoint(file.parts) or _PYTHON in file.parents


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:  # typed in at a prompt, or gone since
        return None
