"""The house stands as docs/architecture.md draws it. Each check is tried on a planted fault, too."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from typing import NamedTuple

import pytest

import bide

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "bide"

FLOORS = [
    {"model", "errors", "version"},
    {"core"},
    {"store"},
    {"engine"},
    {"config"},
    {"access"},
    {"running"},
    {"http", "web"},
    {"app"},
    {"client", "__init__"},
    {"cli"},
]
"""From the ground up. A module imports its own floor or a lower one."""

ROOMS = [
    {"base"},
    {"gate"},
    {"handlers"},
    {"document", "respond"},
    {"server"},
    {"app"},
]
"""The same within `http`."""

ABOVE = {"phone", "testing"}
"""`phone` imports public names only; `testing` may import everything, and nothing imports it."""

IMPURE = {"asyncio", "sqlite3", "asyncpg", "threading", "socket", "subprocess"}
NOW = {"datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"}
WAITERS = {"engine", "testing"}
"""May ask the event loop for its time, to wait for a while; no instant that is kept comes from it."""

USERS_FILES = {"app.py", "conftest.py"}
"""Files the documents name that belong to the reader."""


class Module(NamedTuple):
    name: str
    part: str
    tree: ast.Module
    imports: list[str]


def modules(source: Path) -> Iterator[Module]:
    for path in sorted(source.rglob("*.py")):
        yield read(("bide", *path.relative_to(source).with_suffix("").parts), path.read_text())


@cache
def read(names: tuple[str, ...], text: str) -> Module:
    tree = ast.parse(text)
    return Module(".".join(names), names[1], tree, list(imports(tree, package=".".join(names[:-1]))))


def imports(tree: ast.Module, package: str) -> Iterator[str]:
    """The full dotted names of what is imported, inside functions too.

    Imports for type checkers count as well: whoever reads a module needs what its annotations mean.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def floor(part: str) -> int | None:
    return next((number for number, parts in enumerate(FLOORS) if part in parts), None)


def part_of(imported: str) -> str | None:
    """The part of the house that an import names. A public name is the package's own; a foreign one is None."""
    package, *rest = imported.split(".")
    if package != "bide":
        return None
    return rest[0] if rest and (floor(rest[0]) is not None or rest[0] in ABOVE) else "__init__"


def climbing_imports(source: Path) -> list[str]:
    found: list[str] = []
    for module in modules(source):
        if module.part in ABOVE:
            continue
        here = floor(module.part)
        if here is None:
            found.append(f"{module.name} is on no floor")
            continue
        for imported in module.imports:
            part = part_of(imported)
            if part is None:
                continue
            there = floor(part)
            if there is None or there > here or {module.part, part} == {"core", "store"}:
                found.append(f"{module.name} imports {imported}")
    return found


def climbing_in_http(source: Path) -> list[str]:
    """The rooms of `http` are in an order, too."""

    def room(dotted: str) -> int | None:
        parts = dotted.split(".")
        if parts[:2] != ["bide", "http"] or len(parts) < 3:
            return None
        return next((number for number, rooms in enumerate(ROOMS) if parts[2] in rooms), None)

    return [
        f"{module.name} imports {imported}"
        for module in modules(source)
        if (here := room(module.name)) is not None
        for imported in module.imports
        if (there := room(imported)) is not None and there > here
    ]


def circles(source: Path) -> list[str]:
    """Modules that import each other, in whatever way: inside functions and for type checkers, too."""
    found = {module.name: module for module in modules(source)}

    def known(imported: str) -> str | None:
        name = imported if imported in found else imported.rpartition(".")[0]
        return name if name in found else None

    graph = {
        name: {target for each in module.imports if (target := known(each)) not in (None, name)}
        for name, module in found.items()
    }
    return [f"{name} is in a circle" for name in sorted(graph) if name in _reached(graph, name)]


def _reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    left = [*graph[start]]
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            left += graph[name]
    return seen


def private_imports_of_phone(source: Path) -> list[str]:
    public = {f"bide.{name}" for name in bide.__all__}
    return [
        f"{module.name} imports {imported}"
        for module in modules(source)
        if module.part == "phone"
        for imported in module.imports
        if part_of(imported) not in (None, "phone") and imported not in public
    ]


def imports_of_testing(source: Path) -> list[str]:
    return [
        f"{module.name} imports {imported}"
        for module in modules(source)
        if module.part != "testing"
        for imported in module.imports
        if part_of(imported) == "testing"
    ]


def readers_of_time(source: Path) -> list[str]:
    """Outside of clock.py: the module `time`, `datetime.now` and its like, and the event loop's time."""
    found: list[str] = []
    for module in modules(source):
        if module.name == "bide.model.clock":
            continue
        found += [f"{module.name} imports {name}" for name in module.imports if name.split(".")[0] == "time"]
        bound = names_of_datetime(module.tree)
        for node in ast.walk(module.tree):
            match node:
                case ast.Call(func=ast.Attribute(attr="time"), args=[]) if module.part not in WAITERS:
                    found.append(f"{module.name} reads {ast.unparse(node)}")
                case ast.Attribute():
                    first, _, rest = ast.unparse(node).partition(".")
                    if f"{bound.get(first)}.{rest}" in NOW:
                        found.append(f"{module.name} reads {ast.unparse(node)}")
    return found


def names_of_datetime(tree: ast.Module) -> dict[str, str]:
    """What the module calls `datetime` and its classes."""
    bound: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            bound |= {alias.asname or alias.name: "datetime" for alias in node.names if alias.name == "datetime"}
        elif isinstance(node, ast.ImportFrom) and node.module == "datetime":
            bound |= {alias.asname or alias.name: f"datetime.{alias.name}" for alias in node.names}
    return bound


def impure_imports(source: Path) -> list[str]:
    return [
        f"{module.name} imports {imported}"
        for module in modules(source)
        if floor(module.part) in (0, 1)
        for imported in module.imports
        if imported.split(".")[0] in IMPURE
    ]


def documented_names(page: str) -> list[str]:
    return re.findall(r"^### `(\w+)`$", page, re.M)


def without_docstring(public: Mapping[str, object]) -> list[str]:
    """Classes and functions that say nothing of themselves. A dataclass gets its signature as docstring."""
    return [
        name
        for name, value in public.items()
        if inspect.isclass(value) or inspect.isfunction(value)
        if not value.__doc__ or value.__doc__.startswith(f"{name}(")
    ]


def dead_references(page: Path, root: Path) -> list[str]:
    """Files that a page names in backticks, or links to, and that do not exist."""
    text = page.read_text()
    named = re.findall(r"`(?:[^`\n]* )?([\w./*-]+\.(?:py|md|sql))`", text)
    linked = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    places = (root, root / "docs", root / "src" / "bide")
    dead = [name for name in named if not any(any(place.glob(name)) for place in places)]
    dead += [link for link in linked if not (page.parent / link).exists()]
    return [name for name in dead if name not in USERS_FILES]


def top_of_changelog(changelog: str) -> str:
    return re.findall(r"^## \[?([^\]\s]+)", changelog, re.M)[0]


def test_imports_go_down() -> None:
    assert climbing_imports(SOURCE) == []


def test_imports_go_down_in_http() -> None:
    assert climbing_in_http(SOURCE) == []


def test_no_modules_import_each_other() -> None:
    assert circles(SOURCE) == []


def test_phone_imports_public_names_only() -> None:
    assert private_imports_of_phone(SOURCE) == []


def test_the_product_never_imports_testing() -> None:
    assert imports_of_testing(SOURCE) == []


def test_the_clock_alone_reads_time() -> None:
    assert readers_of_time(SOURCE) == []


def test_the_core_does_no_io() -> None:
    assert impure_imports(SOURCE) == []


def test_public_names_are_the_documented_ones() -> None:
    assert bide.__all__ == sorted(bide.__all__)
    assert documented_names((ROOT / "docs" / "api.md").read_text()) == bide.__all__
    assert without_docstring({name: getattr(bide, name) for name in bide.__all__}) == []


def test_documents_name_files_that_exist() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    assert {page.name: dead for page in pages if (dead := dead_references(page, ROOT))} == {}


def test_the_changelog_knows_this_version() -> None:
    top = top_of_changelog((ROOT / "CHANGELOG.md").read_text())
    assert top in ("Unreleased", bide.__version__)


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    reasons = (ROOT / "docs" / "architecture.md").read_text()
    names = [re.split(r"[><=\[; ]", requirement)[0] for requirement in project["dependencies"]]
    assert [name for name in names if name not in reasons] == []


@pytest.mark.parametrize(
    ("check", "module", "code"),
    [
        (climbing_imports, "core/x", "import bide.engine.worker"),
        (climbing_imports, "core/x", "from ..engine import worker"),
        (climbing_imports, "core/__init__", "from .. import app"),
        (climbing_imports, "core/x", "from bide import App"),
        (climbing_imports, "core/x", "from bide.store import memory"),
        (climbing_imports, "store/x", "from bide.core import replay"),
        (climbing_imports, "model/x", "def f():\n    from bide.app import App"),
        (climbing_imports, "model/x", "if TYPE_CHECKING:\n    from bide.app import App"),
        (climbing_imports, "app", "from bide import phone"),
        (climbing_imports, "newcomer", ""),
        (climbing_imports, "access/x", "from bide.http import app"),
        (climbing_in_http, "http/base/x", "def f():\n    from bide.http.gate import auth"),
        (climbing_in_http, "http/gate/x", "import bide.http.app"),
        (private_imports_of_phone, "phone/x", "from bide.core import replay"),
        (private_imports_of_phone, "phone/x", "from ..core import replay"),
        (private_imports_of_phone, "phone/x", "from bide import Nothing"),
        (private_imports_of_phone, "phone/x", "from bide import *"),
        (private_imports_of_phone, "phone/x", "import bide"),
        (imports_of_testing, "engine/x", "import bide.testing.clock"),
        (imports_of_testing, "engine/x", "from bide import testing"),
        (readers_of_time, "engine/x", "import time"),
        (readers_of_time, "engine/x", "from time import monotonic"),
        (readers_of_time, "phone/x", "from datetime import datetime\nat = datetime.now()"),
        (readers_of_time, "testing/x", "from datetime import date as day\nat = day.today()"),
        (readers_of_time, "store/x", "import datetime as dt\nat = dt.datetime.utcnow()"),
        (readers_of_time, "http/x", "at = asyncio.get_running_loop().time()"),
        (impure_imports, "core/x", "import asyncio"),
        (impure_imports, "model/x", "def f():\n    from threading import Lock"),
    ],
)
def test_a_planted_fault_is_found(
    check: Callable[[Path], list[str]], module: str, code: str, tmp_path: Path
) -> None:
    path = tmp_path / f"{module}.py"
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(code)
    (found,) = check(tmp_path)
    assert found.startswith(f"bide.{module.replace('/', '.')} ")


def test_modules_that_import_each_other_are_found(tmp_path: Path) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "x.py").write_text("def f():\n    from bide.core import y")
    (tmp_path / "core" / "y.py").write_text("from bide.core.z import g")
    (tmp_path / "core" / "z.py").write_text("if TYPE_CHECKING:\n    import bide.core.x")
    (tmp_path / "core" / "w.py").write_text("import bide.core.x")
    assert circles(tmp_path) == [f"bide.core.{name} is in a circle" for name in "xyz"]


def test_what_is_allowed_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "phone").mkdir()
    (tmp_path / "phone" / "x.py").write_text("from bide import App\nfrom bide.phone import carrier\nimport re")
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "x.py").write_text("from bide.core import tasks\nlimit = loop.time() + clock.now()")
    for check in (climbing_imports, private_imports_of_phone, imports_of_testing, readers_of_time, impure_imports):
        assert check(tmp_path) == []


def test_a_missing_docstring_is_found() -> None:
    class Silent: ...

    assert without_docstring({"Silent": Silent, "App": bide.App}) == ["Silent"]
    assert without_docstring({"silent": lambda: None}) == ["silent"]


def test_headings_are_the_documented_names() -> None:
    assert documented_names("### `App`\n\ntext\n\n#### `Not`\n### Nor\n") == ["App"]


def test_a_dead_reference_is_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "page.md"
    page.write_text(
        "`core/gone.py`, `python gone.py`, `docs/page.md`, [a](page.md#part), [b](gone.md), [c](http://x.y)"
    )
    assert dead_references(page, tmp_path) == ["core/gone.py", "gone.py", "gone.md"]


def test_the_top_of_a_changelog() -> None:
    assert top_of_changelog("# Changelog\n\n## [1.2.0] - 2026-11-23\n\n## 1.1.0\n") == "1.2.0"


@pytest.mark.parametrize("script", ["structure", "sync_client"])
def test_what_scripts_make_is_as_they_make_it(script: str) -> None:
    """The structure in docs/architecture.md, and the synchronous client."""
    done = subprocess.run(
        [sys.executable, f"scripts/{script}.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
