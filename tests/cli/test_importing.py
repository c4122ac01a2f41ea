"""The package loads what is asked for, when it is asked for; to type checkers it looks as if all were there."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import bide


def loaded_by(code: str) -> set[str]:
    """The modules that are there after the code ran in a process of its own."""
    show = "; import sys; print(*sys.modules)"
    return set(subprocess.check_output([sys.executable, "-c", code + show], text=True).split())


def seen_by_checkers() -> dict[str, str]:
    """Public name -> its module, as the imports under TYPE_CHECKING say."""
    tree = ast.parse(Path(bide.__file__).read_text())
    (block,) = (
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def test_the_package_alone_loads_nothing_of_itself() -> None:
    assert [name for name in loaded_by("import bide") if name.startswith("bide.")] == ["bide.version"]
    assert "starlette" not in loaded_by("from bide import RetryPolicy")


def test_names_are_those_that_checkers_see() -> None:
    assert sorted(seen_by_checkers()) == bide.__all__
    for name, module in seen_by_checkers().items():
        assert getattr(bide, name) is getattr(import_module(module), name)


def test_all_names_are_listed() -> None:
    assert set(bide.__all__) <= set(dir(bide))
    assert "__version__" in dir(bide)


def test_a_misspelt_name_is_told() -> None:
    with pytest.raises(AttributeError, match="module 'bide' has no attribute 'Ap'"):
        bide.Ap  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Ap'"):
        exec("from bide import Ap")
