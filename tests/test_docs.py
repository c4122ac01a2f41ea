"""What the documents say is true: their code runs, and the reference is what the docstrings say."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for page in PAGES:
        for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S), 1):
            found.append((f"{page.name}-{number}", code))
    return found


@pytest.mark.parametrize(("name", "code"), blocks(), ids=[name for name, _ in blocks()])
def test_code_in_documents_runs(name: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "fastapi" in code:
        pytest.importorskip("fastapi")
    module = ModuleType(re.sub(r"\W", "_", name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, name, "exec"), vars(module))


def test_the_reference_is_what_the_docstrings_say() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "api_docs.py"))
    assert script["page"]() == (ROOT / "docs" / "api.md").read_text(), "run: python scripts/api_docs.py"
