"""PostgreSQL sits the same exam as the other stores."""

from pathlib import Path

import pytest

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
