"""Keys of callers in a database that workers share."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bide import App, Settings
from bide.access.keys import Role
from bide.access.rings import key_ring
from bide.cli.first_key import give_first_key
from bide.errors import NotAllowedError
from bide.model.clock import SystemClock
from tests.http.conftest import INSTANCES, serve
from tests.kill.conftest import eventually

pytestmark = pytest.mark.postgres

NOW = SystemClock().now()
HUB = "/runtime/webhooks/durabletask/hub"


def test_all_see_the_same_keys(database_url: str) -> None:
    settings = Settings(db=database_url)
    text = key_ring(settings).create("ci", Role.OPERATOR, NOW)
    found = key_ring(settings).find(text, NOW)
    assert found is not None
    assert (found.name, found.role) == ("ci", Role.OPERATOR)
    with pytest.raises(NotAllowedError, match="already"):
        key_ring(settings).create("ci", Role.VIEWER, NOW)
    key_ring(settings).revoke("ci")
    assert key_ring(settings).list() == []


def test_nobody_loses_another_s_change(database_url: str) -> None:
    settings = Settings(db=database_url)
    key_ring(settings).list()  # makes the tables
    with ThreadPoolExecutor(6) as threads:
        texts = [*threads.map(lambda n: key_ring(settings).create(f"key-{n}", Role.VIEWER, NOW), range(12))]
    assert len(set(texts)) == len(key_ring(settings).list()) == 12


def test_the_first_key_is_made_once(database_url: str) -> None:
    settings = Settings(db=database_url)
    key_ring(settings).list()
    with ThreadPoolExecutor(4) as threads:
        made = [*threads.map(lambda _: key_ring(settings).ensure_first(NOW), range(4))]
    assert len([each for each in made if each]) == 1


def test_a_worker_without_a_terminal_makes_no_key_and_says_how(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(db=database_url, require_key=True)
    for _ in range(2):
        give_first_key(settings, "http://127.0.0.1:1")
        assert "bide keys create admin --role admin" in capsys.readouterr().err
    assert key_ring(settings).list() == []
    key_ring(settings).create("ci", Role.ADMIN, NOW)
    give_first_key(settings, "http://127.0.0.1:1")
    assert capsys.readouterr().err == ""


def test_a_server_hears_of_new_and_revoked_keys(database_url: str) -> None:
    settings = Settings(db=database_url, require_key=True)
    with serve(settings, App()) as api:
        text = key_ring(settings).create("ci", Role.VIEWER, NOW)

        def answer() -> int:
            return api.get(HUB, headers={"x-functions-key": text}).status_code

        eventually("the key counts", lambda: answer() == 200 or None, 10)
        key_ring(settings).revoke("ci")
        eventually("the key counts no more", lambda: answer() == 401 or None, 10)


def test_a_request_that_waits_ends_with_its_key(database_url: str) -> None:
    settings = Settings(db=database_url, require_key=True)
    key_ring(settings).list()
    text = key_ring(settings).create("ci", Role.OPERATOR, NOW)
    with serve(settings) as api, ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(api.post, "/orchestrators/Approve?wait=1m", b"", headers={"x-functions-key": text})
        counts = INSTANCES.replace("/instances", "/counts")
        headers = {"x-functions-key": text}
        eventually("it is started", lambda: api.get(counts, headers=headers).json().get("Running"))
        assert not waiting.done()
        key_ring(settings).revoke("ci")
        assert waiting.result(20).status_code == 401


def test_the_command_line_works_on_the_same_keys(database_url: str, tmp_path: Path) -> None:
    def keys(*words: str) -> str:
        command = [sys.executable, "-m", "bide.cli", "keys", *words, "--db", database_url]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout

    text = keys("create", "ci", "--role", "operator").strip()
    assert key_ring(Settings(db=database_url)).find(text, SystemClock().now()) is not None
    assert "ci" in keys("ls")
    keys("revoke", "ci", "--yes")
    assert key_ring(Settings(db=database_url)).list() == []
    assert [*tmp_path.iterdir()] == [], "nothing is left beside"
