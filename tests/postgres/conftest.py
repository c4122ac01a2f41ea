"""A PostgreSQL for the tests of this run, and a database for each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.postgres.server import NO_POSTGRESQL, PostgresServer, find_binaries

_MEMORY = Path("/dev/shm")
_ROOM = 1 << 30
"""Bytes that a server may need; containers often have far less of `_MEMORY`."""
_numbers = count(1)


@pytest.fixture(scope="session")
def installed() -> None:
    """Skips what needs PostgreSQL where there is none."""
    if find_binaries() is None:
        pytest.skip(NO_POSTGRESQL)


@pytest.fixture(scope="session")
def memory() -> Path:
    """The fastest place for data: in memory, where that has room."""
    servers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    roomy = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > servers * _ROOM
    return _MEMORY if roomy else Path("/tmp")


@pytest.fixture(scope="session")
def postgres(installed: None, memory: Path) -> Iterator[PostgresServer]:
    """One server for each process of the test run. It is fast, and forgets all when the machine stops."""
    with PostgresServer(memory, fast=True) as server:
        yield server


@pytest.fixture
def database_url(postgres: PostgresServer) -> Iterator[str]:
    """A new, empty database."""
    name = f"test_{next(_numbers)}"
    yield postgres.create_database(name)
    postgres.drop_database(name)
