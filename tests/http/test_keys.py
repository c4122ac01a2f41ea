"""Keys and their file: who is let in, what is on the disk, and what another process has changed."""

from __future__ import annotations

import json
import os
import threading
from datetime import timedelta
from hashlib import sha256
from itertools import pairwise, product
from pathlib import Path

import pytest

from bide.access.keys import Key, KeyRing, Role, keys_path
from bide.errors import KeyNotFoundError, NotAllowedError, PayloadError, StoreError
from bide.model.clock import SECOND
from bide.store.sqlite.files import hub_secret

NOW = 1_763_880_000 * SECOND
HOUR = 3_600 * SECOND


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db.keys"


@pytest.fixture(params=["file", "memory"])
def ring(request: pytest.FixtureRequest, path: Path) -> KeyRing:
    return KeyRing(path if request.param == "file" else None)


def name_of(key: Key | None) -> str | None:
    return None if key is None else key.name


# --- roles


def test_roles_compare_by_what_they_may() -> None:
    assert sorted(reversed(Role)) == [Role.VIEWER, Role.OPERATOR, Role.ADMIN]
    for lower, higher in pairwise(Role):
        assert lower < higher
        assert lower <= higher
        assert higher > lower
        assert higher >= lower
    for one, other in product(Role, Role):
        assert (one < other) is not (one >= other)
        assert (one > other) is not (one <= other)


# --- what a ring does


def test_a_key_lets_in_who_has_its_text(ring: KeyRing) -> None:
    text = ring.create("ci", Role.OPERATOR, NOW)
    found = ring.find(text, NOW)
    assert found == Key("ci", Role.OPERATOR, sha256(text.encode()).hexdigest(), NOW)
    assert text.startswith("bide_")
    assert len(text) == 5 + 43  # 256 bits
    assert ring.list() == [found]


def test_anything_else_lets_nobody_in(ring: KeyRing) -> None:
    text = ring.create("ci", Role.OPERATOR, NOW)
    digest = sha256(text.encode()).hexdigest()
    for wrong in ("", text[:-1], text + "x", text.upper(), f" {text}", digest, "ci", "é", "\ud800", "x" * 100_000):
        assert ring.find(wrong, NOW) is None


def test_every_key_is_another(ring: KeyRing) -> None:
    texts = [ring.create(f"key-{number}", Role.VIEWER, NOW) for number in range(20)]
    assert len(set(texts)) == 20
    assert [name_of(ring.find(text, NOW)) for text in texts] == [f"key-{number}" for number in range(20)]


def test_a_key_is_good_until_it_expires(ring: KeyRing) -> None:
    text = ring.create("guest", Role.VIEWER, NOW, expires_at=NOW + HOUR)
    assert name_of(ring.find(text, NOW + HOUR - 1)) == "guest"
    assert ring.find(text, NOW + HOUR) is None


def test_a_name_is_taken_once(ring: KeyRing) -> None:
    text = ring.create("ci", Role.VIEWER, NOW)
    with pytest.raises(NotAllowedError, match="'ci' already"):
        ring.create("ci", Role.ADMIN, NOW)
    assert [(key.name, key.role) for key in ring.list()] == [("ci", Role.VIEWER)]
    assert ring.find(text, NOW) is not None


@pytest.mark.parametrize("name", ["", "a b", "x" * 51, "link:7", "local", "token", "é", "a\n"])
def test_names_that_would_confuse_the_audit_are_refused(ring: KeyRing, name: str) -> None:
    with pytest.raises(PayloadError):
        ring.create(name, Role.ADMIN, NOW)
    assert ring.list() == []


def test_rotating_leaves_time_to_change_over(ring: KeyRing) -> None:
    old = ring.create("ci", Role.OPERATOR, NOW)
    new = ring.rotate("ci", NOW + 5, timedelta(hours=1))
    assert [(key.name, key.role) for key in ring.list()] == [("ci", Role.OPERATOR)] * 2
    assert name_of(ring.find(old, NOW + 5 + HOUR - 1)) == "ci"
    assert ring.find(old, NOW + 5 + HOUR) is None
    assert name_of(ring.find(new, NOW + 100 * HOUR)) == "ci"


def test_rotating_without_overlap_ends_the_old_key_at_once(ring: KeyRing) -> None:
    old = ring.create("ci", Role.OPERATOR, NOW)
    new = ring.rotate("ci", NOW + 5, timedelta())
    assert ring.find(old, NOW + 5) is None
    assert [key.created_at for key in ring.list()] == [NOW + 5]
    assert name_of(ring.find(new, NOW + 5)) == "ci"


def test_rotating_twice_prolongs_nothing(ring: KeyRing) -> None:
    first = ring.create("ci", Role.OPERATOR, NOW)
    second = ring.rotate("ci", NOW, timedelta(hours=1))
    ring.rotate("ci", NOW + HOUR // 2, timedelta(hours=10))
    assert ring.find(first, NOW + HOUR - 1) is not None
    assert ring.find(first, NOW + HOUR) is None
    assert ring.find(second, NOW + 10 * HOUR) is not None
    ring.rotate("ci", NOW + 2 * HOUR, timedelta())
    assert len(ring.list()) == 1  # what had ended is gone


def test_a_rotated_key_lives_as_long_as_the_first(ring: KeyRing) -> None:
    ring.create("guest", Role.VIEWER, NOW, expires_at=NOW + 2 * HOUR)
    new = ring.rotate("guest", NOW + HOUR, timedelta(hours=9))
    assert [key.expires_at for key in ring.list()] == [NOW + 2 * HOUR, NOW + 3 * HOUR]
    assert ring.find(new, NOW + 3 * HOUR - 1) is not None


def test_revoking_ends_every_key_of_that_name(ring: KeyRing) -> None:
    old = ring.create("ci", Role.OPERATOR, NOW)
    other = ring.create("dashboard", Role.VIEWER, NOW)
    new = ring.rotate("ci", NOW, timedelta(days=1))
    ring.revoke("ci")
    assert ring.find(old, NOW) is None
    assert ring.find(new, NOW) is None
    assert name_of(ring.find(other, NOW)) == "dashboard"
    assert ring.create("ci", Role.VIEWER, NOW) not in (old, new)


def test_an_unknown_name_is_an_error(ring: KeyRing) -> None:
    ring.create("ci", Role.OPERATOR, NOW)
    with pytest.raises(KeyNotFoundError, match="'cd'"):
        ring.rotate("cd", NOW, timedelta())
    with pytest.raises(KeyNotFoundError, match="'cd'"):
        ring.revoke("cd")
    assert len(ring.list()) == 1


def test_the_first_key_is_made_once(ring: KeyRing) -> None:
    text = ring.ensure_first(NOW)
    assert text is not None
    found = ring.find(text, NOW)
    assert found is not None
    assert (found.name, found.role, found.expires_at) == ("admin", Role.ADMIN, None)
    assert ring.ensure_first(NOW) is None


def test_no_first_key_beside_others(ring: KeyRing) -> None:
    ring.create("ci", Role.VIEWER, NOW)
    assert ring.ensure_first(NOW) is None
    assert [key.name for key in ring.list()] == ["ci"]


# --- the file


def test_the_file_holds_no_key_and_only_its_owner_can_read_it(path: Path) -> None:
    old_mask = os.umask(0)
    try:
        text = KeyRing(path).create("ci", Role.OPERATOR, NOW)
    finally:
        os.umask(old_mask)
    assert path.stat().st_mode & 0o777 == 0o600
    assert text not in path.read_text()
    assert text.removeprefix("bide_") not in path.read_text()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_keys_outlive_the_process(path: Path) -> None:
    text = KeyRing(path).create("ci", Role.OPERATOR, NOW, NOW + HOUR)
    assert KeyRing(path).find(text, NOW) == KeyRing(path).list()[0]


def test_a_server_sees_what_the_command_line_did(path: Path) -> None:
    server, command_line = KeyRing(path), KeyRing(path)
    assert server.list() == []
    first = command_line.create("ci", Role.OPERATOR, NOW)
    assert name_of(server.find(first, NOW)) == "ci"
    second = command_line.rotate("ci", NOW, timedelta())
    assert server.find(first, NOW) is None
    assert name_of(server.find(second, NOW)) == "ci"
    command_line.revoke("ci")
    assert server.find(second, NOW) is None
    third = command_line.create("ci", Role.OPERATOR, NOW)
    path.unlink()
    assert server.find(third, NOW) is None


def test_changes_of_several_processes_do_not_undo_each_other(path: Path) -> None:
    def create(number: int) -> None:
        KeyRing(path).create(f"key-{number}", Role.VIEWER, NOW)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.name for key in KeyRing(path).list()} == {f"key-{number}" for number in range(16)}


def test_what_a_crash_left_is_no_hindrance(path: Path) -> None:
    path.with_name(f"{path.name}.new").write_bytes(b"half a fi")
    text = KeyRing(path).create("ci", Role.VIEWER, NOW)
    assert name_of(KeyRing(path).find(text, NOW)) == "ci"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change whose file it is")
def test_root_changes_the_keys_of_a_server_without_locking_it_out(path: Path) -> None:
    ring = KeyRing(path)
    ring.create("ci", Role.VIEWER, NOW)
    os.chown(path, 12_345, 23_456)
    ring.rotate("ci", NOW, timedelta())
    assert (path.stat().st_uid, path.stat().st_gid) == (12_345, 23_456)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_file_that_others_can_read_is_refused(path: Path, mode: int) -> None:
    text = KeyRing(path).create("ci", Role.VIEWER, NOW)
    path.chmod(mode)
    for use in (lambda ring: ring.find(text, NOW), lambda ring: ring.list(), lambda ring: ring.ensure_first(NOW)):
        with pytest.raises(StoreError, match="chmod 600"):
            use(KeyRing(path))
    path.chmod(0o600)
    assert KeyRing(path).find(text, NOW) is not None


def test_a_file_that_is_opened_to_others_while_it_is_used_is_refused(path: Path) -> None:
    ring = KeyRing(path)
    text = ring.create("ci", Role.VIEWER, NOW)
    assert ring.find(text, NOW) is not None
    path.chmod(0o644)
    with pytest.raises(StoreError, match="chmod 600"):
        ring.find(text, NOW)
    path.chmod(0o600)
    assert ring.find(text, NOW) is not None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"version": 1}',
        b'{"version": 1, "keys": [{"name": "a", "role": "root", "digest": "", "createdAt": 0}]}',
        b'{"version": 1, "keys": [{"name": "a", "role": "admin", "digest": "\xc3\xa9", "createdAt": 0}]}',
        b'{"version": 1, "keys": [], "more": 1}',
    ],
)
def test_a_broken_file_is_an_error_and_is_left_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    for use in (
        lambda ring: ring.find("x", NOW),
        lambda ring: ring.ensure_first(NOW),
        lambda ring: ring.create("ci", Role.ADMIN, NOW),
        lambda ring: ring.revoke("ci"),
    ):
        with pytest.raises(StoreError, match="is broken"):
            use(KeyRing(path))
    assert path.read_bytes() == content


def test_a_file_of_a_newer_version_is_refused(path: Path) -> None:
    path.write_text(json.dumps({"version": 2, "keys": []}))
    path.chmod(0o600)
    with pytest.raises(StoreError, match="another version"):
        KeyRing(path).list()


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "nowhere" / "hub.db.keys")
    with pytest.raises(StoreError, match="cannot be changed"):
        ring.create("ci", Role.ADMIN, NOW)


def test_a_file_that_cannot_be_replaced_is_an_error(path: Path) -> None:
    path.with_name(f"{path.name}.new").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        KeyRing(path).create("ci", Role.ADMIN, NOW)
    assert KeyRing(path).list() == []


# --- where they are


def test_keys_are_kept_beside_the_database() -> None:
    assert keys_path("some/hub.db") == Path("some/hub.db.keys")
    assert keys_path(":memory:") is None


def test_the_secret_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    db = str(tmp_path / "hub.db")
    secret = hub_secret(db)
    file = Path(f"{db}.secret")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_bytes() == secret == hub_secret(db)
    assert hub_secret(str(tmp_path / "other.db")) != secret


def test_a_secret_of_another_length_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hub.db.secret").write_bytes(b"short")
    with pytest.raises(StoreError, match="32 bytes, and has 5"):
        hub_secret(str(tmp_path / "hub.db"))


def test_a_hub_in_memory_has_one_secret_and_writes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert hub_secret(":memory:") == hub_secret(":memory:")
    assert len(hub_secret(":memory:")) == 32
    assert list(tmp_path.iterdir()) == []
