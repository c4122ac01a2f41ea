"""`bide config show`: values and origins, and no secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bide.cli.settings import config
from bide.config import Settings


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def show(*arguments: str, exit_code: int = 0, **environ: str) -> Result:
    result = CliRunner(env=environ).invoke(config, ["show", *arguments], catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result


def shown(**environ: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in json.loads(show("-o", "json", **environ).stdout)}


def test_values_and_origins() -> None:
    Path("bide.toml").write_text('allowed_hosts = ["a.test", "b.test"]')
    Path("pyproject.toml").write_text("[tool.bide]\nport = 80")
    found = shown(BIDE_DRAIN_S="3")
    assert list(found) == list(Settings.__struct_fields__)
    assert found["allowed_hosts"] == {
        "name": "allowed_hosts",
        "value": ["a.test", "b.test"],
        "origin": "bide.toml",
    }
    assert (found["port"]["value"], found["port"]["origin"]) == (80, "[tool.bide] in pyproject.toml")
    assert found["drain_s"]["origin"] == "the environment variable BIDE_DRAIN_S"
    assert found["db"]["origin"] == "default"


def test_a_table_for_people() -> None:
    lines = show("-o", "table").stdout.splitlines()
    assert lines[0].split() == ["SETTING", "VALUE", "FROM"]
    assert ["db", "bide.db", "default"] in [line.split() for line in lines]
    assert ["public_url", '""', "default"] in [line.split() for line in lines]


@pytest.mark.parametrize("kind", ["table", "json"])
def test_no_secret_is_shown(kind: str) -> None:
    Path("bide.toml").write_text('TwilioAuthToken = "hush"\npublic_url = "https://me:hush@a.test/"')
    result = show("-o", kind, TwilioAccountSid="hush")
    assert "hush" not in result.output
    assert "TwilioAuthToken" in result.stdout
    assert "https://(hidden)@a.test/" in result.stdout


def test_an_apps_own_setting_may_come_from_the_environment() -> None:
    Path("bide.toml").write_text('TwilioAuthToken = "file"')
    assert shown()["TwilioAuthToken"]["origin"] == "bide.toml"
    assert shown(TwilioAuthToken="x")["TwilioAuthToken"]["origin"] == "the environment variable TwilioAuthToken"


def test_near_misses_are_told_beside_it() -> None:
    result = show("-o", "json", BIDE_PROT="1")
    assert result.stderr == "Warning: BIDE_PROT is no setting of Bide. Did you mean BIDE_PORT?\n"
    assert isinstance(json.loads(result.stdout), list)


def test_settings_that_cannot_be_read() -> None:
    Path("bide.toml").write_text("port = 'web'")
    assert "port, set by bide.toml, cannot be 'web'" in show(exit_code=2).stderr
