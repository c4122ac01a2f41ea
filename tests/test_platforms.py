"""Bide where the system is not POSIX: on a stand-in for it (`without_posix`), and as the types of each system say.

What runs on the stand-in are mostly tests of other places: behaviour is the same on every system.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kill
ROOT = Path(__file__).parent.parent
STAND_IN = Path(__file__).parent / "without_posix"

VERIFY = """
import asyncio, runpy, sys
from bide.config import Settings, using

async def main() -> None:
    settings = Settings(db="hub.db")
    with using(settings):
        sample = runpy.run_path(sys.argv[1])
    async with sample["app"].running(settings) as client:
        verification = await client.start("E4_SmsPhoneVerification", "+14255550100")
        while not (sent := sample["carrier"].messages("+14255550100")):
            await asyncio.sleep(0)
        await client.raise_event(verification, "SmsChallengeResponse", sent[-1].body.split()[-1])
        print((await client.wait(verification)).output)

asyncio.run(main())
assert sys.modules["fcntl"] is None
"""


def on_the_stand_in(*arguments: str, cwd: Path = ROOT) -> str:
    """What a Python says that has nothing of POSIX to offer. It must end with exit code 0."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "Twilio"))}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**environ, "PYTHONPATH": str(STAND_IN)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_stand_in_hides_what_it_should_from_bide_alone(tmp_path: Path) -> None:
    (tmp_path / "bide_looks.py").write_text(
        "import os, signal\nsaw = hasattr(os, 'fchown'), hasattr(signal, 'SIGURG')"
    )
    look = "import os, bide_looks; print(bide_looks.saw, hasattr(os, 'fchown'))"
    assert on_the_stand_in("-c", look, cwd=tmp_path) == "(False, False) True\n"


def test_a_phone_is_verified_on_a_database_in_a_file(tmp_path: Path) -> None:
    sample = ROOT / "examples" / "phone_verification" / "app.py"
    assert on_the_stand_in("-c", VERIFY, str(sample), cwd=tmp_path) == "True\n"


@pytest.mark.parametrize("command", ["", "dev", "serve", "demo", "doctor", "keys create", "db backup"])
def test_commands_explain_themselves(command: str) -> None:
    assert "Usage: bide" in on_the_stand_in("-m", "bide.cli", *command.split(), "--help")


IN_ONE_PROCESS = [
    "tests/stores/test_sqlite.py::test_a_second_store_of_the_same_process_is_refused",
    "tests/stores/test_sqlite.py::test_a_refused_store_leaves_the_lock_to_its_owner",
    "tests/stores/test_sqlite.py::test_a_copy_is_made_while_the_store_is_in_use",
    "tests/cli/test_db_command.py::test_status_of_one_in_use",
    "tests/http/test_keys.py::test_changes_of_several_processes_do_not_undo_each_other",
    "tests/engine/test_running.py::test_a_runaway_step_is_reported_and_held_and_the_rest_goes_on[spin]",
    "tests/engine/test_running.py::test_each_of_two_apps_stops_its_own_runaway_steps",
]
IN_SEVERAL = [["tests/cli/test_processes.py"], ["tests/kill/test_demo.py"]]


@pytest.mark.parametrize("tests", [IN_ONE_PROCESS, *IN_SEVERAL])
def test_it_behaves_as_elsewhere(tests: list[str]) -> None:
    said = on_the_stand_in("-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
    assert " passed" in said
    assert "skipped" not in said


def test_modes_that_say_nothing_are_not_judged(tmp_path: Path) -> None:
    make = (
        "from bide.access.keys import KeyRing, Role; from pathlib import Path; ring = KeyRing(Path('hub.db.keys'));"
    )
    on_the_stand_in("-c", f"{make} ring.create('ci', Role.VIEWER, 0)", cwd=tmp_path)
    (tmp_path / "hub.db.keys").chmod(0o666)  # all that Windows ever shows
    assert on_the_stand_in("-c", f"{make} print(ring.list()[0].name)", cwd=tmp_path) == "ci\n"
    said = on_the_stand_in("-m", "bide.cli", "doctor", "--db", "hub.db", cwd=tmp_path)
    assert "is for whoever may read" in said


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_nothing_is_used_that_the_system_has_not(system: str) -> None:
    cache = f".mypy_cache/{system}"
    command = [sys.executable, "-m", "mypy", "--platform", system, "--cache-dir", cache, "src"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
