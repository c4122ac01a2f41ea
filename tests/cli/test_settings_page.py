"""docs/settings.md has every setting, with its default and meaning."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from bide.config import Settings

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "settings_docs.py"))


def test_every_setting_is_explained(script: dict[str, Any]) -> None:
    assert [name for name, _ in script["docstrings"]()] == list(Settings.__struct_fields__)


def test_the_page_is_what_the_docstrings_say(script: dict[str, Any]) -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    assert text == script["page"](text), "run: python scripts/settings_docs.py"
    assert "| `port` | `7071` |" in text
