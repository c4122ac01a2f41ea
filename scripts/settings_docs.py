"""Writes the table in docs/settings.md: every setting with its default, and what its docstring says.

    python scripts/settings_docs.py

A test compares the page with what this makes, so it cannot go stale.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import fields

from bide import config

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
BEGIN, END = "<!-- settings -->\n", "<!-- end -->"


def page(text: str) -> str:
    """The page with a fresh table in it."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


def table() -> str:
    said = dict(docstrings())
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for field in fields(config.Settings):
        default = "empty" if field.default in ("", ()) else f"`{json.dumps(field.default)}`"
        rows.append(f"| `{field.name}` | {default} | {said[field.name]} |")
    return "\n".join(rows) + "\n"


def docstrings() -> Iterator[tuple[str, str]]:
    """Each field of `Settings`, and the text that stands below it."""
    tree = ast.parse(Path(config.__file__).read_text("utf-8"))
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings")
    for field, below in zip(found.body, found.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, " ".join(text.split())
            case _:
                pass


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
