"""Draws the structure of the house from its imports, into docs/architecture.md: who stands on whom.

    python scripts/structure.py          # writes it
    python scripts/structure.py --check  # says whether it is as drawn

A room is a folder, or a module that lies in none. An arrow says that something in one room imports something of
another one, inside functions and for type checkers too. What an arrow says that other arrows say together is not
drawn.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "bide"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- structure: made by scripts/structure.py -->\n", "<!-- end of structure -->\n"
OPENED = ("http", "store")
"""Folders whose own folders are rooms."""
WORDS, OUTSIDE = "model", ("errors", "version")
"""Modules that lie outside of the lowest room, because others name them; they belong to it."""


def room_of(module: str) -> str:
    """The room in which a module of the package lies."""
    parts = module.split(".")[1:]
    if not parts or parts == ["__init__"]:
        return "bide"
    if parts[0] in OPENED and len(parts) > 2:
        return f"{parts[0]}/{parts[1]}"
    return WORDS if parts[0] in OUTSIDE else parts[0]


def imports(path: Path) -> Iterator[str]:
    """What a module imports of the package."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "bide":
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if is_module(full) else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "bide")


def is_module(dotted: str) -> bool:
    place = ROOT / "src" / dotted.replace(".", "/")
    return place.is_dir() or place.with_suffix(".py").exists()


def arrows() -> dict[str, set[str]]:
    """Room -> the rooms that it stands on."""
    found: dict[str, set[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        here = room_of(".".join(("bide", *path.relative_to(SOURCE).with_suffix("").parts)))
        there = {room_of(name) for name in imports(path)}
        found.setdefault(here, set()).update(there - {here})
    return found


def floors(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The rooms by floor. Each stands on lower floors only. Raises `SystemExit` for a circle."""
    done: list[list[str]] = []
    left = dict(graph)
    while left:
        below = {room for rooms in done for room in rooms}
        floor = sorted(room for room, others in left.items() if others <= below)
        if not floor:
            raise SystemExit(f"These rooms stand on each other: {', '.join(sorted(left))}")
        done.append(floor)
        left = {room: others for room, others in left.items() if room not in floor}
    return done


def essential(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The arrows that no others say together."""

    def reached(room: str) -> set[str]:
        return {other for each in graph[room] for other in ({each} | reached(each))}

    return {
        room: {each for each in others if not any(each in reached(other) for other in others - {each})}
        for room, others in graph.items()
    }


def drawn() -> str:
    """The structure, the roof first."""
    graph = arrows()
    lines, levels, shown = ["```"], floors(graph), essential(graph)
    for number, rooms in reversed([*enumerate(levels)]):
        for room in rooms:
            lines.append(f"{number:2}  {room:<15} {', '.join(sorted(shown[room]))}".rstrip())
    count = sum(len(others) for others in graph.values())
    lines += ["```", "", f"{len(graph)} rooms, {count} arrows, no circle.", ""]
    return "\n".join(lines)


def main() -> None:
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    made = f"{before}{BEGIN}{drawn()}{END}{after}"
    if "--check" in sys.argv:
        sys.exit(0 if made == text else "docs/architecture.md is not as drawn: run scripts/structure.py")
    PAGE.write_text(made)


if __name__ == "__main__":
    main()
