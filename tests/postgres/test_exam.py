"""PostgreSQL sits the same exam as the other stores."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from bide.model.clock import SECOND, SyncedClock
from bide.store.postgres.store import PostgresStore
from bide.store.protocol import Store
from bide.testing.conformance import StoreExam

pytestmark = pytest.mark.postgres


class TestPostgresStore(StoreExam):
    @pytest.fixture(autouse=True)
    def database(self, database_url: str) -> None:
        self.url = database_url

    def make(self, directory: Path) -> Store:
        return PostgresStore(self.url)


def test_a_first_word_of_the_time_that_comes_late_is_not_gone_by(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the timers of a worker that stood still as it started would be due too early."""
    ask = asyncpg.Connection.fetchval
    late = [10 * SECOND]

    async def ask_and_stand_still(self: Any, query: str, *args: Any) -> Any:
        shown = await ask(self, query, *args)
        return shown - late.pop() if late and query.startswith("SELECT (extract(epoch") else shown

    async def behind() -> int:
        clock, right = SyncedClock(), SyncedClock()
        for each in (right, clock):
            with monkeypatch.context() as patched:
                if each is clock:
                    patched.setattr(asyncpg.Connection, "fetchval", ask_and_stand_still)
                store = PostgresStore(database_url, each.heard)
                await store.open()
                await store.close()
        return right.now() - clock.now()

    assert asyncio.run(behind()) < SECOND
    assert not late, "one word came late"
