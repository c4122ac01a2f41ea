"""The house stands as docs/architecture.md draws it. Each check is tried on a planted fault, too."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import holdfast

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "holdfast"

FLOORS = [
    {"history", "instance", "batch", "retry", "errors", "clock", "payload"},
    {"core"},
    {"store"},
    {"engine"},
    {"app", "config", "http", "cli", "__init__"},
]
"""From the ground up. A module imports its own floor or a lower one."""

ABOVE = {"phone", "testing", "_demo"}
"""`phone` imports public names only; `testing` may import everything, and nothing imports it."""

TIME = {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "now", "utcnow", "today"}
TIMEKEEPERS = {"time", "datetime", "date"}
IMPURE = {"asyncio", "sqlite3", "asyncpg", "threading", "socket", "subprocess"}


def modules(source: Path) -> Iterator[tuple[str, ast.Module]]:
    """Every module under its dotted name without the package's."""
    for path in sorted(source.rglob("*.py")):
        name = ".".join(path.relative_to(source).with_suffix("").parts)
        yield name.removesuffix(".__init__"), ast.parse(path.read_text())


def imports(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """Absolute module names and what is taken from them, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, [alias.name for alias in node.names]


def part(name: str) -> str:
    return name.partition(".")[0] or "__init__"


def floor(name: str) -> int | None:
    return next((number for number, parts in enumerate(FLOORS) if part(name) in parts), None)


def own(imported: str) -> str | None:
    """A module of ours without the package's name; the package itself is `__init__`."""
    if imported == "holdfast":
        return "__init__"
    return imported.removeprefix("holdfast.") if imported.startswith("holdfast.") else None


def climbing_imports(source: Path) -> list[str]:
    found: list[str] = []
    for name, tree in modules(source):
        if part(name) in ABOVE:
            continue
        if floor(name) is None:
            found.append(f"{name} is on no floor")
            continue
        for imported, _ in imports(tree):
            target = own(imported)
            if target is None or (name == "errors" and target == "history"):
                continue  # errors names a fact's type in annotations only
            height = floor(target)
            if height is None or height > (floor(name) or 0) or {part(name), part(target)} == {"core", "store"}:
                found.append(f"{name} imports {target}")
    return found


def private_imports_of_phone(source: Path) -> list[str]:
    found: list[str] = []
    for name, tree in modules(source):
        for imported, names in imports(tree) if part(name) == "phone" else ():
            target = own(imported)
            if target is None or part(target) == "phone":
                continue
            if target != "__init__" or not set(names) <= set(holdfast.__all__):
                found.append(f"{name} imports {target}: {names}")
    return found


def imports_of_testing(source: Path) -> list[str]:
    return [
        f"{name} imports {imported}"
        for name, tree in modules(source)
        if part(name) != "testing"
        for imported, _ in imports(tree)
        if part(own(imported) or "") == "testing"
    ]


def readers_of_time(source: Path) -> list[str]:
    return [
        f"{name}:{node.lineno}"
        for name, tree in modules(source)
        if name != "clock"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in TIME
        and isinstance(node.value, ast.Name)
        and node.value.id in TIMEKEEPERS
    ]


def impure_imports(source: Path) -> list[str]:
    return [
        f"{name} imports {imported}"
        for name, tree in modules(source)
        if floor(name) in (0, 1)
        for imported, _ in imports(tree)
        if part(imported) in IMPURE
    ]


def documented_names(page: str) -> list[str]:
    return re.findall(r"^### `(\w+)`$", page, re.M)


def dead_references(page: str, root: Path) -> list[str]:
    """Files named in backticks or links that do not exist."""
    named = re.findall(r"`([\w./*-]+\.(?:py|md|sql))`|\]\(([\w./-]+\.md)\)", page)
    places = (root, root / "docs", root / "src" / "holdfast")
    return [
        name
        for name in (first or second for first, second in named)
        if name not in ("app.py", "conftest.py") and not any(any(place.glob(name)) for place in places)
    ]


def test_imports_go_down() -> None:
    assert climbing_imports(SOURCE) == []


def test_phone_imports_public_names_only() -> None:
    assert private_imports_of_phone(SOURCE) == []


def test_the_product_never_imports_testing() -> None:
    assert imports_of_testing(SOURCE) == []


def test_the_clock_alone_reads_time() -> None:
    assert readers_of_time(SOURCE) == []


def test_the_core_does_no_io() -> None:
    assert impure_imports(SOURCE) == []


def test_public_names_are_the_documented_ones() -> None:
    assert holdfast.__all__ == sorted(holdfast.__all__)
    assert documented_names((ROOT / "docs" / "api.md").read_text()) == holdfast.__all__
    undocumented = [
        name
        for name in holdfast.__all__
        if isinstance(getattr(holdfast, name), type) and not getattr(holdfast, name).__doc__
    ]
    assert undocumented == []


def test_documents_name_files_that_exist() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    assert {page.name: dead for page in pages if (dead := dead_references(page.read_text(), ROOT))} == {}


def test_the_changelog_knows_this_version() -> None:
    top = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[0]
    assert top in ("Unreleased", holdfast.__version__)


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    reasons = (ROOT / "docs" / "architecture.md").read_text()
    names = [re.split(r"[><=\[; ]", requirement)[0] for requirement in project["dependencies"]]
    assert [name for name in names if name not in reasons] == []


def plant(root: Path, module: str, code: str) -> Path:
    path = root / f"{module}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)
    return root


def test_the_checks_bite(tmp_path: Path) -> None:
    assert climbing_imports(plant(tmp_path / "a", "core/x", "import holdfast.engine.worker"))
    assert climbing_imports(plant(tmp_path / "b", "store/x", "from holdfast.core import replay"))
    assert climbing_imports(plant(tmp_path / "c", "newcomer", ""))
    inside = "def f():\n    from holdfast.app import App\n"
    assert climbing_imports(plant(tmp_path / "d", "payload", inside))
    assert private_imports_of_phone(plant(tmp_path / "e", "phone/x", "from holdfast.core import replay"))
    assert private_imports_of_phone(plant(tmp_path / "f", "phone/x", "from holdfast import Nothing"))
    assert imports_of_testing(plant(tmp_path / "g", "engine/x", "import holdfast.testing.clock"))
    assert readers_of_time(plant(tmp_path / "h", "engine/x", "import time\nat = time.monotonic()"))
    assert readers_of_time(plant(tmp_path / "i", "phone/x", "from datetime import datetime\nat = datetime.now()"))
    assert impure_imports(plant(tmp_path / "j", "core/x", "import asyncio"))
    assert documented_names("### `App`\n\ntext\n") == ["App"]
    assert dead_references("`core/nothing.py`", ROOT) == ["core/nothing.py"]
