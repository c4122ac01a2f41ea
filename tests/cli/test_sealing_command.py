"""`bide sealing`: keys in a file, changed over without a moment in which somebody cannot open."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bide import App, OrchestrationContext, Secret, Settings
from bide.access.sealing_keys import hub_key, sealing_keys
from bide.cli import main
from bide.cli.checks import sealing as findings
from bide.errors import StoreError
from bide.store.sqlite.files import hub_secret
from tests.sealed import files_with

FILE = "keys"
SETTINGS = Settings(db="bide.db", sealing_keys=FILE, drain_s=0)


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIDE_DB", raising=False)
    monkeypatch.setenv("BIDE_SEALING_KEYS", FILE)
    return tmp_path


def run(*arguments: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["sealing", *arguments], catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result


def listed() -> dict[str, str]:
    found = [json.loads(line) for line in run("ls", "-o", "jsonl").stdout.splitlines()]
    return {each["id"]: each["does"] for each in found}


def of_hub(secret: bytes = bytes(32)) -> str:
    return sealing_keys(Settings(), secret).ids[0]


def test_a_key_opens_before_it_seals() -> None:
    first = run("add").stdout.strip()
    assert sealing_keys(SETTINGS, bytes(32)).ids == (of_hub(), first)
    assert listed() == {first: "opens, is next"}
    assert first in run("use").stderr
    assert sealing_keys(SETTINGS, bytes(32)).ids == (first, of_hub())
    second = run("add").stdout.strip()
    assert listed() == {first: "seals", second: "opens, is next"}
    third = run("add").stdout.strip()
    assert "Say which key" in run("use", exit_code=4).stderr
    run("use", third)
    assert listed() == {first: "opens", second: "opens, is next", third: "seals"}
    keys = sealing_keys(SETTINGS, bytes(32))
    assert keys.ids[0] == third
    assert set(keys.ids) == {first, second, third, of_hub()}
    assert len({bytes(sealing_keys(SETTINGS, secret).digest(b"x")) for secret in (bytes(32), b"s" * 32)}) == 1


def test_the_file_is_its_owners_only_and_tells_no_key_to_the_screen(directory: Path) -> None:
    printed = run("add").output + run("use").output + run("ls", "-o", "table").output
    path = directory / FILE
    assert path.stat().st_mode & 0o077 == 0
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert lines
    assert not any(line.removeprefix("next ") in printed for line in lines)


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (None, 0, "There is no file keys"),
        ("short\n", 0o600, "Line 1 of keys is no key"),
        ("# all is well\n\nnext !!!\n", 0o600, "Line 3 of keys is no key"),
        ("\udcff", 0o600, "cannot be read"),
        ("", 0o604, "everybody can read it"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(directory: Path, text: str | None, mode: int, said: str) -> None:
    if text is not None:
        (directory / FILE).write_bytes(text.encode("utf-8", "surrogateescape"))
        (directory / FILE).chmod(mode)

    async def start() -> None:
        async with App().running(SETTINGS):
            raise AssertionError("it runs")

    with pytest.raises(StoreError, match=said):
        asyncio.run(start())
    assert said in run("ls", exit_code=9).stderr
    assert [(each.state, said in each.found) for each in findings(SETTINGS)] == [("wrong", True)]


def test_without_a_file_the_command_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BIDE_SEALING_KEYS")
    for command in ("ls", "add", "use", "keep"):
        assert "sealing_keys" in run(command, exit_code=2).stderr
    assert list(findings(Settings())) == []
    (finding,) = findings(Settings(db="postgresql://a/b"))
    assert finding.state == "note"


def test_doctor_says_which_key_seals() -> None:
    run("add")
    (finding,) = findings(SETTINGS)
    assert (finding.state, "is next" in finding.found) == ("note", True)
    run("use")
    (finding,) = findings(SETTINGS)
    assert finding.state == "ok"


def test_instances_go_on_while_keys_change_and_the_hubs_secret_goes(directory: Path) -> None:
    secret_file = directory / "bide.db.secret"

    async def once(work: str, **settings: str) -> str | None:
        app = App()

        @app.activity
        async def draw() -> Secret[str]:
            return "needle-07"

        @app.orchestrator
        async def ask(ctx: OrchestrationContext) -> Secret[str]:
            code = await ctx.call_activity(draw)
            return code + await ctx.wait_for_external_event("Answer", Secret[str])

        async with app.running(Settings(db="bide.db", drain_s=0, **settings)) as client:
            if work == "begin":
                for name in ("a", "b", "c"):
                    await client.start(ask, instance_id=name)
                    while not await client.waits(name):  # noqa: ASYNC110 - asks the database
                        await asyncio.sleep(0)
                return None
            await client.raise_event(work, "Answer", "needle-08")
            return str((await client.wait(work)).output)

    both = "needle-07needle-08"
    asyncio.run(once("begin"))
    run("add")
    assert asyncio.run(once("a", sealing_keys=FILE)) == both
    run("use")
    assert asyncio.run(once("b", sealing_keys=FILE)) == both
    kept = hub_secret("bide.db")
    run("keep")
    run("keep")
    assert list(listed().values()) == ["opens", "seals"]
    secret_file.unlink()
    assert asyncio.run(once("c", sealing_keys=FILE)) == both
    assert secret_file.read_bytes() != kept
    assert hub_key(kept) != kept
    assert files_with("needle", directory) == []


def test_only_a_file_has_its_secret_beside_it() -> None:
    assert "--db FILE" in run("keep", exit_code=2).stderr
    assert "--db FILE" in run("keep", "--db", "postgresql://a/b", exit_code=2).stderr
