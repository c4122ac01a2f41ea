"""Whoever looks for what is held finds it, also an instance whose row cannot be read."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

from click.testing import CliRunner

from bide import Settings
from bide.app import App
from bide.cli.doctor import doctor
from bide.http.base.urls import NEW_PREFIX
from tests.http.conftest import example, serve

DAMAGED = (
    ("status", "'Canceled'"),
    ("input", "CAST('{' AS BLOB)"),
    ("output", "CAST('nul' AS BLOB)"),
    ("custom_status", "CAST('' AS BLOB)"),
    ("parent", "CAST('[]' AS BLOB)"),
    ("tags", "CAST('[1]' AS BLOB)"),
)


def _damaged(db: Path) -> list[str]:
    """A database with an instance for each column that is damaged, and a healthy one at the end."""

    async def start(app: App) -> list[str]:
        async with app.running(Settings(db=str(db))) as client:
            return [await client.start("Approve") for _ in range(len(DAMAGED) + 1)]

    ids = asyncio.run(start(example()))
    with sqlite3.connect(db) as connection:
        for instance_id, (column, value) in zip(ids, DAMAGED, strict=False):
            connection.execute(f"UPDATE instances SET {column} = {value} WHERE id = ?", [instance_id])
    connection.close()
    return ids


def test_lists_are_json_and_say_why_a_damaged_row_is_held(tmp_path: Path) -> None:
    db = tmp_path / "hub.db"
    *damaged, healthy = _damaged(db)
    with serve(Settings(db=str(db))) as api:
        shown = {each["instanceId"]: each for each in json.loads(api.get(f"{NEW_PREFIX}/instances").content)}
        for instance_id, (column, _) in zip(damaged, DAMAGED, strict=True):
            assert f"cannot read its row: {column} (" in shown[instance_id]["held"]
            assert json.loads(api.get(f"{NEW_PREFIX}/instances/{instance_id}").content)["held"]
    assert "held" not in shown[healthy]


def test_doctor_tells_what_is_held(tmp_path: Path) -> None:
    db = tmp_path / "hub.db"
    ids = _damaged(db)
    with sqlite3.connect(db) as connection:
        connection.execute("UPDATE instances SET held = 'No such function.' WHERE id = ?", [ids[-1]])
    connection.close()
    said = json.loads(CliRunner().invoke(doctor, ["--db", str(db), "-o", "json"]).stdout)
    (held,) = [each for each in said if each["check"] == "held"]
    assert held["state"] == "note"
    assert held["found"].startswith("7 instances are held: ")
    assert "cannot read its row: tags (" in held["found"], "the newest first"
    assert held["found"].endswith("; and 4 more")
    assert "bide ls --held" in held["next"]
