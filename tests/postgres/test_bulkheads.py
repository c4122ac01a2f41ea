"""What harms itself only on SQLite (`tests/bulkheads`) does so on PostgreSQL, through a take-over, too."""

from __future__ import annotations

import asyncio
import logging

import pytest

from bide import App
from tests.bulkheads.cases import CASES
from tests.bulkheads.hub import Hub
from tests.bulkheads.test_cases import assert_no_store_is_blamed
from tests.bulkheads.test_many import play_some

pytestmark = pytest.mark.postgres


@pytest.mark.parametrize("name", CASES)
def test_it_harms_itself_only(name: str, database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    app = App()
    story = CASES[name](app)
    hub = Hub(app, database_url, max_payload=999_999)

    async def run() -> None:
        async with hub.running():
            await story(hub)

    with caplog.at_level(logging.INFO):
        asyncio.run(run())
    assert_no_store_is_blamed(caplog)


def test_whatever_is_handed_in_harms_nobody_else(database_url: str) -> None:
    play_some(database_url)
