"""`bide keys`: on the file beside the database, whoever uses it meanwhile."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bide.access.keys import KeyRing, Role
from bide.cli.keys import keys
from bide.model.clock import SystemClock, to_micros


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIDE_DB", raising=False)
    return tmp_path


def run(*arguments: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(keys, arguments, catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    assert "Traceback" not in result.stderr
    return result


def listed() -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("ls").stdout.splitlines()]


def test_a_key_that_is_made_is_known_to_a_server() -> None:
    ring = KeyRing(Path("bide.db.keys"))  # a server's
    assert ring.list() == []
    made = run("create", "ci", "--role", "operator")
    text = made.stdout.strip()
    assert made.stderr == "The key ci (operator) is made. It is shown only now:\n"
    found = ring.find(text, SystemClock().now())
    assert found is not None
    assert (found.name, found.role, found.expires_at) == ("ci", Role.OPERATOR, None)
    run("revoke", "ci", "--yes")
    assert ring.find(text, SystemClock().now()) is None


def test_a_key_may_expire() -> None:
    run("create", "ci", "--role", "viewer", "--expires", "30d")
    (key,) = KeyRing(Path("bide.db.keys")).list()
    assert key.expires_at == key.created_at + to_micros(timedelta(days=30))


def test_a_key_without_an_end_does_not_look_revoked() -> None:
    run("create", "ci", "--role", "admin")
    row = run("ls", "-o", "table").stdout.splitlines()[1]
    assert row.endswith("  no end")
    assert "revoked" not in row


def test_the_list_has_names_and_no_keys() -> None:
    assert "There are no keys" in run("ls", "-o", "table").stderr
    assert run("ls", "-o", "json").stdout == "[]\n"
    text = run("create", "ci", "--role", "viewer", "--expires", "1w").stdout.strip()
    (key,) = listed()
    assert (key["name"], key["role"], key["expired"]) == ("ci", "viewer", False)
    assert json.loads(run("ls", "-o", "json").stdout) == [key]
    headings, row = run("ls", "-o", "table").stdout.splitlines()
    assert headings.split() == ["NAME", "ROLE", "CREATED", "VALID", "UNTIL"]
    assert row.split() == ["ci", "viewer", key["createdAt"], key["expiresAt"]]
    for kind in ("table", "json", "jsonl"):
        shown = run("ls", "-o", kind).stdout
        assert text not in shown
        assert KeyRing(Path("bide.db.keys")).list()[0].digest not in shown


def test_a_rotated_key_counts_a_while_beside_its_successor() -> None:
    first = run("create", "ci", "--role", "admin").stdout.strip()
    result = run("rotate", "ci", "--overlap", "2h")
    ring, now = KeyRing(Path("bide.db.keys")), SystemClock().now()
    for text in (first, result.stdout.strip()):
        assert ring.find(text, now) is not None
    assert ring.find(first, now + to_micros(timedelta(hours=2))) is None
    assert "the old one counts until" in result.stderr
    last = run("rotate", "ci", "--overlap", "0s")
    assert "the old one counts no more" in last.stderr
    assert ring.find(result.stdout.strip(), SystemClock().now()) is None


@pytest.mark.parametrize("verb", [["rotate"], ["revoke", "--yes"], ["revoke"]])
def test_an_unknown_key(verb: list[str]) -> None:
    result = run(*verb, "nobody", exit_code=3)
    assert result.stderr == "Error: There is no key named 'nobody'.\n"


def test_a_name_that_is_taken() -> None:
    run("create", "ci", "--role", "admin")
    assert "already" in run("create", "ci", "--role", "viewer", exit_code=4).stderr


def test_nothing_is_revoked_without_a_yes() -> None:
    run("create", "ci", "--role", "admin")
    result = run("revoke", "ci", exit_code=1)
    assert "is refused from now on. If that is wanted, add --yes." in result.stderr
    assert [key["name"] for key in listed()] == ["ci"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["create", "a b", "--role", "admin"], "A key's name is 1 to 50 letters"),
        (["create", "ci"], "Missing option '--role'"),
        (["create", "ci", "--role", "owner"], "'owner' is not one of"),
        (["create", "ci", "--role", "admin", "--expires", "soon"], "'soon' is no span of time"),
        (["ls", "--db", ":memory:"], "A database in memory has no file of keys"),
    ],
)
def test_wrong_usage(arguments: list[str], complaint: str) -> None:
    assert complaint in run(*arguments, exit_code=2).stderr
    assert not Path("bide.db.keys").exists()


def test_the_database_of_the_settings_is_meant() -> None:
    Path("bide.toml").write_text('db = "mine.db"')
    run("create", "ci", "--role", "admin")
    assert Path("mine.db.keys").exists()
    run("create", "ci", "--role", "admin", "--db", "other.db")
    assert Path("other.db.keys").exists()
