"""Which setting wins, what is said about a bad one, and where an app's own settings and files are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bide.config import Settings, data_file, is_loopback, load, setting, using


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIDE_DB", raising=False)
    return tmp_path


def test_defaults(tmp_path: Path) -> None:
    assert load({}, {}, tmp_path) == Settings()


def test_flag_before_environment_before_file_before_default(tmp_path: Path) -> None:
    (tmp_path / "bide.toml").write_text('port = 1\nhost = "localhost"\ntask_hub = "file"\ndb = "file.db"')
    environ = {"BIDE_PORT": "2", "BIDE_HOST": "::1", "BIDE_TASK_HUB": "environment"}
    found = load({"port": 3, "host": None}, environ, tmp_path, {"db": "default.db", "drain_s": 1.0})
    assert found == Settings(port=3, host="::1", task_hub="environment", db="file.db", drain_s=1.0)


def test_text_becomes_what_is_wanted(tmp_path: Path) -> None:
    environ = {"BIDE_DRAIN_S": "0.5", "BIDE_ALLOWED_HOSTS": "a.test, b.test"}
    found = load({}, environ, tmp_path)
    assert (found.drain_s, found.allowed_hosts) == (0.5, ("a.test", "b.test"))


def test_the_file_may_have_lists_and_settings_of_the_app(tmp_path: Path) -> None:
    (tmp_path / "bide.toml").write_text('allowed_hosts = ["a.test"]\nTwilioAccountSid = "AC0"\n[table]\nx = 1')
    assert load({}, {}, tmp_path).allowed_hosts == ("a.test",)


@pytest.mark.parametrize(
    ("flags", "environ", "file", "complaint"),
    [
        ({"port": 70_000}, {}, "", "port, set by --port, cannot be 70000: Expected `int` <= 65535."),
        ({"max_body_bytes": 0}, {}, "", "set by --max-body-bytes, cannot be 0: Expected `int` >= 1."),
        ({}, {"BIDE_PORT": "web"}, "", "port, set by the environment variable BIDE_PORT, cannot be 'web'"),
        ({}, {}, 'drain_s = "long"', "drain_s, set by bide.toml, cannot be 'long': Expected `float`"),
        ({}, {}, "db = 5", "db, set by bide.toml, cannot be 5: Expected `str`, got `int`."),
        ({}, {}, "port =", "bide.toml cannot be read as TOML"),
    ],
)
def test_a_bad_setting_says_which_where_and_what(
    tmp_path: Path, flags: dict[str, object], environ: dict[str, str], file: str, complaint: str
) -> None:
    (tmp_path / "bide.toml").write_text(file)
    with pytest.raises(ValueError, match=re.escape(complaint)):
        load(flags, environ, tmp_path)


def test_a_users_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TwilioAccountSid", raising=False)
    assert setting("TwilioAccountSid") is None
    (tmp_path / "bide.toml").write_text('TwilioAccountSid = "file"\nnumber = 5\ntable = {}\nyes = true')
    assert setting("TwilioAccountSid") == "file"
    assert setting("number") == "5"
    monkeypatch.setenv("TwilioAccountSid", "environment")
    assert setting("TwilioAccountSid") == "environment"
    for name in ("table", "yes"):
        with pytest.raises(ValueError, match="should be text"):
            setting(name)


def test_an_apps_file_is_beside_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_file("x.jsonl") == Path("bide.db.x.jsonl")
    monkeypatch.setenv("BIDE_DB", "data/env.db")
    assert data_file("x.jsonl") == Path("data/env.db.x.jsonl")
    with using(Settings(db="postgresql://ann:hush@h/db")):
        assert data_file("x.jsonl") == Path("bide.x.jsonl")
    with using(Settings(db="flag.db")):
        assert data_file("x.jsonl") == Path("flag.db.x.jsonl")
    assert data_file("x.jsonl") == Path("data/env.db.x.jsonl")


def test_with_a_database_in_memory_an_apps_files_go_with_the_process(tmp_path: Path) -> None:
    with using(Settings(db=":memory:")):
        assert data_file("x").parent.is_dir()
        assert data_file("x").parent == data_file("y").parent
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.1", False),
        ("example.com", False),
        ("", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
