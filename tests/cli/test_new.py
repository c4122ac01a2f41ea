"""`bide new`: what it makes works, and passes its own tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bide.cli.new import new

pytest_plugins = ["pytester"]

TEMPLATES = ("hello", "approval", "phone")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(new, arguments, catch_exceptions=False)


@pytest.mark.parametrize("template", TEMPLATES)
def test_its_own_tests_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester, template: str
) -> None:
    directory = tmp_path / "deep" / "myapp"
    assert run(str(directory), "--template", template).exit_code == 0
    monkeypatch.chdir(directory)
    monkeypatch.delitem(sys.modules, "app", raising=False)  # another test's
    tests = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", "-W", "error")
    assert tests.ret == 0
    assert tests.parseoutcomes().keys() == {"passed"}
    assert 3 <= tests.parseoutcomes()["passed"] <= 9


@pytest.mark.parametrize("template", TEMPLATES)
def test_everything_is_there(tmp_path: Path, template: str) -> None:
    run(str(tmp_path / "x"), "--template", template)
    found = {str(path.relative_to(tmp_path / "x")) for path in (tmp_path / "x").rglob("*") if path.is_file()}
    assert found == {".gitignore", "README.md", "app.py", "conftest.py", "bide.toml", "tests/test_app.py"}
    assert "bide dev app.py" in (tmp_path / "x" / "app.py").read_text()


def test_it_says_what_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("myapp")
    assert result.stdout == ""
    assert result.stderr.splitlines()[1:] == ["  cd myapp", "  bide dev app.py"]
    assert "async def hello" in Path("myapp/app.py").read_text()


def test_an_empty_directory_will_do(tmp_path: Path) -> None:
    assert run(str(tmp_path)).exit_code == 0
    assert (tmp_path / "app.py").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".hidden").touch()
    result = run(str(tmp_path))
    assert result.exit_code == 1
    assert result.stderr == f"Error: {tmp_path} is not empty. Choose another directory.\n"
    assert [path.name for path in tmp_path.iterdir()] == [".hidden"]


def test_a_place_where_nothing_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in ("file", "file/myapp"):
        result = run(str(tmp_path / place))
        assert result.exit_code == 1
        assert "cannot be made" in result.stderr


def test_the_readme_starts_what_the_app_has(tmp_path: Path) -> None:
    for template in TEMPLATES:
        run(str(tmp_path / template), "--template", template)
    code = (
        "from pathlib import Path; from bide.cli.loading import load_app\n"
        f"for template in {TEMPLATES}: print(*load_app(Path(template, 'app.py')).registry.orchestrators)"
    )
    names = subprocess.check_output([sys.executable, "-c", code], cwd=tmp_path, text=True).splitlines()
    for template, name in zip(TEMPLATES, names, strict=True):
        assert f"/orchestrators/{name}/first" in (tmp_path / template / "README.md").read_text()
