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
    app = App()
    story = CASES[name](app)
    hub = Hub(app, str(tmp_path / "hub.db"), max_payload=999_999)

    async def run() -> None:
        async with hub.running():
            await story(hub)

    with caplog.at_level(logging.INFO):
        asyncio.run(run())
    assert_no_store_is_blamed(caplog)


def assert_no_store_is_blamed(caplog: pytest.LogCaptureFixture) -> None:
    said = [record.getMessage() for record in caplog.records if record.name.startswith("bide")]
    assert not [line for line in said for words in BLAMES_THE_STORE if words in line]
