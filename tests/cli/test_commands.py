"""The commands in process: their manners, and their errors in one line."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import bide
from bide.cli import main
from bide.cli.demo import banner, sample
from bide.cli.reload import python_files
from bide.config import Settings

APP = "from bide import App\napp = App()\n"


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in [name for name in os.environ if name.startswith("BIDE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What would have been served."""
    calls: list[dict[str, Any]] = []

    def serve(app: object, settings: Settings, listener: socket.socket, ready: Any) -> None:
        ready()
        calls.append({"app": app, "settings": settings})
        listener.close()

    monkeypatch.setattr("bide.cli.serving.serve", serve)
    return calls


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def dev(target: str, *options: str) -> Result:
    return run("dev", target, "--no-reload", "--port", "0", *options)


def in_one_line(result: Result, exit_code: int, *parts: str) -> None:
    """The command failed, and said so on stderr, without a traceback."""
    assert result.exit_code == exit_code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    for part in parts:
        assert part in error


def test_version() -> None:
    assert run("--version").stdout == f"{bide.__version__}\n"


def test_help_ends_with_an_example() -> None:
    assert "demo" in run("--help").stdout
    for command in ("dev", "demo"):
        assert f"Example:\n    bide {command}" in run(command, "--help").stdout


def test_dev_serves_the_only_app(served: list[dict[str, Any]]) -> None:
    Path("app.py").write_text(APP + "same = app\n@app.orchestrator\nasync def first(ctx): ...\n")
    result = dev("app.py", "--db", "my.db")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "Serving app.py on http://127.0.0.1:" in result.stderr
    assert "my.db" in result.stderr
    assert "first" in result.stderr
    assert served[0]["settings"].db == "my.db"


def test_dev_serves_the_named_app(served: list[dict[str, Any]]) -> None:
    Path("several.py").write_text(APP + "other = App()\n@other.orchestrator\nasync def mine(ctx): ...\n")
    assert "mine" in dev("several.py:other").stderr
    assert len(served) == 1


def test_dev_finds_neighbours_and_own_files(served: list[dict[str, Any]]) -> None:
    Path("sub").mkdir()
    Path("sub/neighbour_of_app.py").write_text(APP)
    Path("sub/with_neighbour.py").write_text(
        "from neighbour_of_app import app\nfrom bide.config import data_file\nprint(data_file('x'))\n"
    )
    assert dev("sub/with_neighbour.py", "--db", "own.db").stdout == "own.db.x\n"
    assert len(served) == 1


def test_settings_come_from_the_directory_too(served: list[dict[str, Any]]) -> None:
    Path("app.py").write_text(APP)
    Path("bide.toml").write_text('task_hub = "mine"')
    dev("app.py")
    assert served[0]["settings"].task_hub == "mine"


@pytest.mark.parametrize(
    ("code", "target", "exit_code", "parts"),
    [
        (None, "app.py", 2, ["There is no file app.py."]),
        (None, "app.py:app", 2, ["There is no file app.py."]),
        ("", "app.py", 2, ["app.py has no App", "app = App()"]),
        (APP + "b = App()", "app.py", 2, ["several Apps", "app.py:app or app.py:b"]),
        (APP, "app.py:other", 2, ["app.py has no App named other"]),
        ("x = 1\nboom()", "app.py", 1, ["app.py cannot be loaded: NameError", "'boom'", "(line 2)"]),
        ("def x(:", "app.py", 1, ["app.py cannot be loaded: SyntaxError", "line 1"]),
    ],
)
def test_a_file_that_cannot_be_served(
    code: str | None, target: str, exit_code: int, parts: list[str], served: list[dict[str, Any]]
) -> None:
    if code is not None:
        Path("app.py").write_text(code)
    in_one_line(dev(target), exit_code, *parts)
    assert served == []


def test_a_file_of_another_kind() -> None:
    Path("app.txt").write_text(APP)
    in_one_line(dev("app.txt"), 2, "not a Python file")


def test_debug_shows_the_traceback() -> None:
    Path("app.py").write_text("boom()")
    with pytest.raises(NameError):
        dev("app.py", "--debug")


@pytest.mark.parametrize("command", [["dev", "app.py"], ["demo"]])
def test_a_taken_port(command: list[str]) -> None:
    Path("app.py").write_text(APP)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        in_one_line(run(*command, "--port", str(port)), 1, f"Port {port} on 127.0.0.1", f"--port {port + 1}")


def test_a_bad_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIDE_PORT", "web")
    in_one_line(run("demo"), 2, "port, set by the environment variable BIDE_PORT, cannot be 'web'")
    in_one_line(run("demo", "--port", "70000"), 2, "port, set by --port, cannot be 70000")


def test_what_was_not_foreseen_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(*_: object) -> None:
        raise RuntimeError("odd")

    Path("app.py").write_text(APP)
    monkeypatch.setattr("bide.cli.serving.serve", serve)
    result = dev("app.py")
    in_one_line(result, 1, "RuntimeError: odd")
    assert "--debug" in result.stderr
    with pytest.raises(RuntimeError):
        dev("app.py", "--debug")


def test_the_sample_is_found() -> None:
    assert "E4_SmsPhoneVerification" in sample().read_text()


def test_the_banner_has_three_lines_to_paste() -> None:
    first, second = (banner("http://[::1]:80", Settings(db=db), True) for db in ("a.db", ":memory:"))
    lines = [line for line in first.splitlines() if line.startswith("  curl ")]
    assert len(lines) == 3
    assert "/orchestrators/E4_SmsPhoneVerification/" in lines[0]
    assert "/dev/phone/messages?to=%2B1" in lines[1]
    assert "/raiseEvent/SmsChallengeResponse" in lines[2]
    assert "a.db" in first
    assert "in memory" in second


def test_the_banner_begins_with_what_to_open() -> None:
    first, dashboard, phone, *_ = banner("http://127.0.0.1:80", Settings(), True).splitlines()
    assert first.endswith(" on http://127.0.0.1:80")
    assert dashboard == "  dashboard: http://127.0.0.1:80/"
    assert phone.startswith("  dev phone: http://127.0.0.1:80/dev/phone ")


def test_the_banner_shows_no_dev_phone_where_a_carrier_sends() -> None:
    text = banner("http://127.0.0.1:7071", Settings(), False)
    assert "/dev/phone" not in text
    assert "+1202555" not in text, "a number of fiction would cost an SMS"


def test_reload_leaves_environments_out(tmp_path: Path) -> None:
    for name in ("app.py", "sub/part.py", ".venv/x.py", ".hidden/x.py", "env/lib/x.py", "sub/__pycache__/x.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "env" / "pyvenv.cfg").touch()
    (tmp_path / "data.txt").touch()
    assert {str(path.relative_to(tmp_path)) for path, _ in python_files(tmp_path)} == {"app.py", "sub/part.py"}
