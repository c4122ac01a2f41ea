"""The wheel and the sdist: what is in them, and that what they install works.

They are built and installed as users would do it, with what the package index has. Without an index, all of it is
skipped.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.kill.demo import Demo

pytestmark = pytest.mark.package

ROOT = Path(__file__).parent.parent.parent
DEMO = "bide/_demo/phone_verification.py"
DATA = [
    "bide/py.typed",
    "bide/store/schema/sqlite/0001_initial.sql",
    "bide/store/schema/postgres/0001_initial.sql",
    "bide/http/pages/question.html",
    "bide/web/shell.html",
    "bide/web/assets/app.js",
    "bide/web/assets/icon.svg",
    "bide/web/assets/style.css",
    "bide/web/assets/vendor/LICENSES.txt",
    "bide/cli/templates/hello/app.py.txt",
    "bide/cli/templates/hello/.gitignore.txt",
    DEMO,
]
"""One of each kind that is no module, and would be missed only when somebody needs it."""


def run(*command: str | Path) -> str:
    """What the command printed. Fails with all it said if it failed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips all of it where no package index answers."""
    place = tmp_path_factory.mktemp("index")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--retries", "1", "--timeout", "15"]
    done = subprocess.run([*command, "--dest", place, "hatchling"], capture_output=True, check=False, timeout=300)
    if done.returncode != 0:
        pytest.skip("no package index answers, so nothing can be built or installed as users do it")


@pytest.fixture(scope="module")
def sdist(index: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("sdist"), "--sdist", ROOT)


@pytest.fixture(scope="module")
def wheel(index: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"), "--wheel", ROOT)


def build(place: Path, what: str, source: Path) -> Path:
    run(sys.executable, "-m", "build", what, "--outdir", place, source)
    (made,) = place.iterdir()
    return made


def files_of(wheel: Path) -> set[str]:
    """The files of the package. What describes it (`.dist-info`) is the builder's."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if name.startswith("bide/")}


def test_both_would_be_taken_by_the_index(wheel: Path, sdist: Path) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)


def test_the_wheel_has_all_files_and_no_others(wheel: Path) -> None:
    source = ROOT / "src"
    ours = {
        str(path.relative_to(source))
        for path in (source / "bide").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files_of(wheel) == ours | {DEMO}
    assert files_of(wheel) >= set(DATA)


def test_the_sdist_makes_the_same_wheel(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    assert {"README.md", "LICENSE", "CHANGELOG.md", "docs", "examples"} <= {
        each.name for each in unpacked.iterdir()
    }
    again = build(tmp_path / "again", "--wheel", unpacked)
    assert again.name == wheel.name
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        assert {name: first.read(name) for name in first.namelist()} == {
            name: second.read(name) for name in second.namelist()
        }


class Environment:
    """A virtual environment with nothing in it but what is installed here."""

    def __init__(self, place: Path) -> None:
        venv.create(place, with_pip=True)
        self._bin = place / "bin"
        self.bide = self._bin / "bide"

    def install(self, what: str) -> None:
        run(self._bin / "python", "-m", "pip", "install", "--quiet", what)

    def python(self, code: str, modules: Sequence[str] = ()) -> str:
        """What the code prints, away from the checkout."""
        return run(self._bin / "python", "-I", "-c", code, *modules).strip()


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    environment = Environment(tmp_path_factory.mktemp("clean"))
    environment.install(f"{wheel}[fast,postgres]")
    return environment


def test_the_installed_package_is_the_one_of_the_wheel(clean: Environment) -> None:
    where = clean.python("import bide, pathlib; print(pathlib.Path(bide.__file__).resolve())")
    assert not Path(where).is_relative_to(ROOT)
    assert clean.python("import uvloop, httptools, asyncpg, bide.phone, bide.client") == ""
    assert clean.python("import bide; print(bide.__version__)") in run(clean.bide, "--version")


def test_the_installed_demo_answers_the_samples_three_requests(clean: Environment, tmp_path: Path) -> None:
    demo = Demo(tmp_path, [str(clean.bide)])
    try:
        assert demo.answer("first", demo.start("first")) == 202
        assert demo.output("first") is True
    finally:
        demo.stop()


def test_a_new_app_of_the_installed_package_passes_its_own_tests(clean: Environment, tmp_path: Path) -> None:
    clean.install("pytest>=8.2")
    for template in ("hello", "approval", "phone"):
        app = tmp_path / template
        run(clean.bide, "new", app, "--template", template)
        clean.python("import os, sys, pytest; os.chdir(sys.argv[1]); sys.exit(pytest.main(['-q']))", [str(app)])


def test_a_checkout_is_installed_as_the_readme_says(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "environment")
    environment.install(str(ROOT))
    demo = Demo(tmp_path, [str(environment.bide)])
    try:
        assert demo.answer("first", demo.start("first")) == 202
        assert demo.output("first") is True
    finally:
        demo.stop()
