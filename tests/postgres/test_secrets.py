"""Secrets on PostgreSQL: sealed under a key that is not in the database, also on their way between workers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from bide import Settings
from bide.access.sealing_keys import add, read, use
from bide.errors import StoreError
from bide.model.instance import partition_of
from tests.sealed import NEEDLE, Login, app_with_secrets, secret

pytestmark = pytest.mark.postgres


async def written(url: str) -> list[bytes]:
    """Every text and every byte string of every table."""
    db = await asyncpg.connect(url)
    try:
        tables = await db.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'bide'")
        rows = [row for (table,) in tables for row in await db.fetch(f'SELECT * FROM bide."{table}"')]
    finally:
        await db.close()
    values = [value for row in rows for value in row.values()]
    return iter(
        [each.encode() if isinstance(each, str) else each for each in values if isinstance(each, str | bytes)]
    )


def test_nothing_in_the_database_tells_a_secret_or_opens_one(database_url: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    add(keys)
    use(keys)
    settings = Settings(db=database_url, sealing_keys=str(keys), drain_s=0)

    async def story() -> None:
        app, got = app_with_secrets()
        other, more = app_with_secrets()
        async with app.running(settings) as mine, other.running(settings) as others:
            names = [f"t{number}" for number in range(20)]
            await asyncio.gather(*(mine.start("told", instance_id=name) for name in names))
            await asyncio.gather(*(others.raise_event(name, "Told", secret("first")) for name in names))
            assert not [text for text in await written(database_url) if NEEDLE.encode() in text]
            await asyncio.gather(*(mine.raise_event(name, "Told", Login("a", secret("second"))) for name in names))
            ended = await asyncio.gather(*(others.wait(name) for name in names))
            assert {each.output for each in ended} == {secret("first")}
            assert len({partition_of(name) for name in names}) > 1
        assert len(got) + len(more) == 2 * len(names)
        texts = await written(database_url)
        assert not [text for text in texts if NEEDLE.encode() in text]
        assert not [text for text in texts for each in read(keys) if each.key in text]
        without = app_with_secrets()[0]
        async with without.running(Settings(db=database_url, drain_s=0)) as client:
            assert (await client.get("t0")).output == {"$hidden": "secret"}

    asyncio.run(story())


def test_a_worker_without_its_file_does_not_start(database_url: str, tmp_path: Path) -> None:
    async def start() -> None:
        settings = Settings(db=database_url, sealing_keys=str(tmp_path / "gone"))
        async with app_with_secrets()[0].running(settings):
            raise AssertionError("it runs")

    with pytest.raises(StoreError, match="There is no file"):
        asyncio.run(start())
