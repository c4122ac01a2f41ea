"""Every case on SQLite; `tests/postgres/test_bulkheads.py` has the same on PostgreSQL."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from bide import App
from tests.bulkheads.cases import CASES
from tests.bulkheads.hub import BLAMES_THE_STORE, Hub


@pytest.mark.parametrize("name", CASES)
def test_it_harms_itself_only(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert_it_harms_itself_only(name, str(tmp_path / "hub.db"), caplog)


def assert_it_harms_itself_only(name: str, db: str, caplog: pytest.LogCaptureFixture) -> None:
    """Play a case over that database, beside a second caller. The log must not blame the store."""
    app = App()
    story = CASES[name](app)
    hub = Hub(app, db, max_payload=999_999)

    async def run() -> None:
        async with hub.running():
            await story(hub)

    with caplog.at_level(logging.INFO):
        asyncio.run(run())
    said = [record.getMessage() for record in caplog.records if record.name.startswith("bide")]
    assert not [line for line in said for words in BLAMES_THE_STORE if words in line]
