"""What becomes of output that nobody reads, and of words that are nearly right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from bide import App, OrchestrationContext, Settings
from bide.cli import main
from tests.cli.test_server_commands import Server

_BIDE = [sys.executable, "-m", "bide.cli"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(Settings(db=":memory:")) as running:
        running.ok("start", "Approve", "--id", "alpha")
        running.ok("start", "Echo", "1", "--id", "beta", "--wait", "10s")
        yield running


PRINTING = [
    ["--help"],
    ["ls"],
]
"""Each is a process of its own, so two are enough for every day, and the others run with the tests of kills."""
PRINTING_TOO = [
    ["--version"],
    ["ls", "--help"],
    ["ls", "-o", "json"],
    ["ls", "-o", "table"],
    ["show", "alpha"],
    ["show", "beta", "--follow"],
    ["show", "beta", "--follow", "-o", "table"],
    ["show", "alpha", "--tree"],
    ["history", "alpha"],
    ["history", "alpha", "-o", "table"],
    ["wait", "beta"],
    ["waiting"],
    ["workers"],
    ["start", "Echo", "2"],
    ["restart", "beta"],
    ["config", "show"],
    ["doctor"],
    ["completion", "bash"],
    ["keys", "create", "ci", "--role", "viewer"],
    ["keys", "ls", "-o", "json"],
    ["func", "durable", "get-instances"],
]


@pytest.mark.parametrize(
    "arguments", [*PRINTING, *(pytest.param(each, marks=pytest.mark.kill) for each in PRINTING_TOO)], ids=" ".join
)
def test_a_reader_that_has_gone_ends_a_command_without_a_word(
    server: Server, tmp_path: Path, arguments: list[str]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*_BIDE, *arguments],
            stdout=writing,
            stderr=subprocess.PIPE,
            env={**os.environ, "BIDE_URL": server.url},
            cwd=tmp_path,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
    said = [line for line in done.stderr.decode().splitlines() if "shown only now" not in line]
    assert (done.returncode, said) == (141, [])


@pytest.mark.parametrize(
    "arguments",
    [
        ["ls"],
        *(
            pytest.param(each, marks=pytest.mark.kill)
            for each in (["--help"], ["show", "alpha"], ["config", "show"])
        ),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-"])
def test_a_stream_that_is_closed_is_no_error(
    server: Server, tmp_path: Path, arguments: list[str], closed: str
) -> None:
    command = f'exec "$@" {closed}'
    done = subprocess.run(
        ["sh", "-c", command, "sh", *_BIDE, *arguments],
        capture_output=True,
        env={**os.environ, "BIDE_URL": server.url},
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("typed", "meant"), [("strt", "start"), ("Start", "start"), ("hisotry", "history"), ("wating", "waiting")]
)
def test_a_misspelt_command(typed: str, meant: str) -> None:
    result = CliRunner().invoke(main, [typed])
    assert result.exit_code == 2
    assert f"No such command '{typed}'. Did you mean '{meant}'?" in result.stderr


def test_a_command_that_is_like_none() -> None:
    result = CliRunner().invoke(main, ["xyzzy"])
    assert result.exit_code == 2
    assert result.stderr.endswith("No such command 'xyzzy'.\n")


@pytest.mark.parametrize("command", [["show"], ["show", "--tree"], ["show", "--follow"], ["history"]], ids=" ".join)
def test_looking_takes_the_beginning_of_an_id(server: Server, command: list[str]) -> None:
    server("start", "Echo", "1", "--id", "order-7", "--wait", "10s")
    assert server.ok(*command, "order") == server.ok(*command, "order-7") != ""


def test_a_whole_id_is_meant_before_longer_ones_and_a_beginning_of_several_is_refused(server: Server) -> None:
    for instance_id in ("case-1", "case-12", "case-13"):
        server.ok("start", "Echo", "1", "--id", instance_id, "--wait", "10s")
    assert '"case-1"' in server.ok("show", "case-1")
    said = server.fails(3, "show", "case")
    assert "several whose id begins so: case-13, case-12, case-1" in said
    assert "no-such" in server.fails(3, "show", "no-such")


@pytest.mark.parametrize(
    "command", [["terminate"], ["suspend"], ["purge"], ["restart"], ["raise"], ["wait"]], ids=" ".join
)
def test_a_change_is_made_to_nothing_but_the_id_that_was_named(server: Server, command: list[str]) -> None:
    event = ["Answer", "true"] if command == ["raise"] else []
    server.fails(3, *command, "alph", *event)


def one_wait(before: str) -> App:
    app = App()

    @app.orchestrator
    async def ask(ctx: OrchestrationContext) -> None:
        await ctx.wait_for_external_event(before)
        await ctx.wait_for_external_event("Answer")

    return app


def test_an_instance_that_is_held_is_listed_so_and_whoever_answers_it_is_told(tmp_path: Path) -> None:
    settings = Settings(db=str(tmp_path / "bide.db"))
    with Server(settings, one_wait("Answer")) as server:
        server.ok("start", "ask", "--id", "a")
        assert "  Running  " in server.ok("ls", "-o", "table")
        assert server("raise", "a", "Answer", "1").stderr == "Raised Answer.\n"
    with Server(settings, one_wait("Question")) as server:
        said = server("raise", "a", "Answer", "2").stderr
        assert said.startswith(
            "Raised Answer.\nIt is kept: the instance is held, and does not go on now. The code of"
        )
        assert "  Running (held)  " in server.ok("ls", "-o", "table")
        server.ok("start", "ask", "--id", "b")
        assert [json.loads(line)["instanceId"] for line in server.ok("ls", "--held").splitlines()] == ["a"]
        assert "This would resume 1 instance: a" in server.fails(1, "resume", "--held")
        assert server("resume", "--held", "--yes").stderr == "Done: resume a.\n"


def test_the_columns_of_what_is_followed_are_in_line(server: Server) -> None:
    lines = [
        line for line in server.ok("show", "beta", "--follow", "-o", "table").splitlines() if "Execution" in line
    ]
    assert {line.index("Echo") for line in lines if "Echo" in line} == {62}


def test_names_of_orchestrators_are_completed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from bide.cli.completion import orchestrator_names

    monkeypatch.setenv("BIDE_URL", server.url)
    start = main.get_command(None, "start")  # type: ignore[arg-type]
    assert start is not None
    context = start.make_context("start", ["Echo"])
    assert [item.value for item in start.params[0].shell_complete(context, "ec")] == ["Echo"]
    monkeypatch.setenv("BIDE_URL", "http://127.0.0.1:1")
    assert orchestrator_names(context, start.params[0], "ec") == []
