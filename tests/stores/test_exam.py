"""Every store sits the same exam."""

from pathlib import Path

from bide.store.memory import MemoryStore
from bide.store.protocol import Store
from bide.store.sqlite.store import SqliteStore
from bide.testing.conformance import StoreExam


class TestMemoryStore(StoreExam):
    durable = False

    def make(self, directory: Path) -> Store:
        return MemoryStore()


class TestSqliteStore(StoreExam):
    def make(self, directory: Path) -> Store:
        return SqliteStore(directory / "hub.db")


class TestSqliteStoreWithWriterThread(StoreExam):
    def make(self, directory: Path) -> Store:
        return SqliteStore(directory / "hub.db", writer_thread=True)
