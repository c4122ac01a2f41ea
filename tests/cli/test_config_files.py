"""`[tool.bide]`, misspelt settings, and what is told of where a setting comes from."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from bide.config import Explained, Settings, doubts, explain, load


def write(directory: Path, toml: str = "", project: str = "") -> None:
    (directory / "bide.toml").write_text(toml)
    (directory / "pyproject.toml").write_text(project)


def test_both_files_count_key_by_key(tmp_path: Path) -> None:
    write(tmp_path, 'task_hub = "toml"', '[tool.bide]\ntask_hub = "project"\nport = 1\n[tool.other]\nx = 1')
    found = load({}, {"BIDE_DB": "environment.db"}, tmp_path)
    assert found == Settings(task_hub="toml", port=1, db="environment.db")


@pytest.mark.parametrize(
    ("project", "complaint"),
    [
        ("[tool.bide]\nprot = 1", r"prot, set by \[tool.bide\] in pyproject.toml, .* Did you mean port\?"),
        (
            "[tool.bide]\nTwilioAccountSid = 'x'",
            "no setting of Bide. Settings of your app go into bide",
        ),
        ("[tool.bide]\nport = 'web'", r"port, set by \[tool.bide\] in pyproject.toml, cannot be 'web'"),
        (
            "[tool]\nbide = 1",
            r"\[tool.bide\] in pyproject.toml cannot be read: Expected `object`, got `int`",
        ),
        ("[tool", "pyproject.toml cannot be read as TOML"),
    ],
)
def test_a_bad_table_in_the_project(tmp_path: Path, project: str, complaint: str) -> None:
    write(tmp_path, project=project)
    with pytest.raises(ValueError, match=complaint):
        load({}, {}, tmp_path)


@pytest.mark.parametrize(
    ("toml", "environ", "expected"),
    [
        ("prot = 1", {}, "prot in bide.toml is no setting of Bide. Did you mean port?"),
        ("Port = 1", {}, "Port in bide.toml is no setting of Bide. Did you mean port?"),
        ("max-body-bytes = 1", {}, "max-body-bytes in bide.toml is no setting of Bide. Did you mean max_"),
        (
            "",
            {"BIDE_PUBLIC_ULR": "x"},
            "BIDE_PUBLIC_ULR is no setting of Bide. Did you mean BIDE_PU",
        ),
        ("[bide]\nport = 1", {}, "The table [bide] in bide.toml is not read"),
    ],
)
def test_a_near_miss_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, toml: str, environ: dict[str, str], expected: str
) -> None:
    write(tmp_path, toml)
    (doubt,) = doubts(environ, tmp_path)
    assert doubt.startswith(expected)
    assert load({}, environ, tmp_path) == Settings()
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(logging.WARNING, doubt)]


def test_names_of_others_are_no_near_miss(tmp_path: Path) -> None:
    write(tmp_path, 'TwilioAccountSid = "AC"\nport = 1\nsender = "x"')
    assert doubts({"BIDE_PORT": "1", "BIDE_URL": "x", "BIDE_KEY": "x", "PROT": "1"}, tmp_path) == []


def test_each_setting_says_where_it_comes_from(tmp_path: Path) -> None:
    write(tmp_path, 'task_hub = "toml"', "[tool.bide]\nport = 1")
    found = explain({"host": "::1", "db": None}, {"BIDE_MAX_HEADERS": "5"}, tmp_path, {"db": "demo.db"})
    assert [each.name for each in found] == list(Settings.__struct_fields__)
    assert {each for each in found if each.origin != "default" or each.name == "db"} == {
        Explained("db", "demo.db", "default"),
        Explained("host", "::1", "--host"),
        Explained("task_hub", "toml", "bide.toml"),
        Explained("port", 1, "[tool.bide] in pyproject.toml"),
        Explained("max_headers", 5, "the environment variable BIDE_MAX_HEADERS"),
    }
