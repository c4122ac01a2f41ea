"""URLs of databases are shown without their passwords, however they are written."""

from __future__ import annotations

import asyncio
import sys

import pytest

from bide import App, Settings
from bide.errors import StoreError
from bide.store.postgres.address import owner_url, safe_url


@pytest.mark.parametrize(
    ("db", "shown"),
    [
        ("bide.db", "bide.db"),
        (":memory:", ":memory:"),
        ("postgresql://ann@h/db", "postgresql://ann@h/db"),
        ("postgresql://ann:hush@h:5432/db", "postgresql://ann@h:5432/db"),
        ("postgresql://:hush@h/db", "postgresql://@h/db"),
        ("postgresql://ann:hush@h1:1,h2:2/db?sslmode=require", "postgresql://ann@h1:1,h2:2/db?sslmode=require"),
        ("postgresql://h/db?user=ann&password=hush&sslmode=require", "postgresql://h/db?user=ann&sslmode=require"),
        ("postgresql://h/db?p%61ssword=hush", "postgresql://h/db"),
        ("postgresql://h/db?sslpassword=hush", "postgresql://h/db"),
        ("postgresql://ann:hu@sh@h/db", "postgresql://ann@h/db"),
        ("postgresql://ann:hu/sh@h/db", "postgresql://ann@h/db"),
        ("postgresql://ann:hu?sh@h/db", "postgresql://ann@h/db"),
        ("postgresql://ann:hu#sh@h/db", "postgresql://ann@h/db"),
        ("postgresql://ann:hu\nsh@h/db", "postgresql://ann@h/db"),
    ],
)
def test_what_is_shown(db: str, shown: str) -> None:
    assert safe_url(db) == shown


@pytest.mark.parametrize(
    ("db", "shown"),
    [
        ("postgresql://ann:hush@h/db", "postgresql://OWNER@h/db"),
        ("postgresql://h/db?sslmode=require", "postgresql://OWNER@h/db?sslmode=require"),
    ],
)
def test_what_is_shown_for_the_owner(db: str, shown: str) -> None:
    assert owner_url(db) == shown


def test_the_driver_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with App().running(Settings(db="postgresql://h/db")):
            pass

    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(StoreError, match=r"pip install asyncpg"):
        asyncio.run(work())
