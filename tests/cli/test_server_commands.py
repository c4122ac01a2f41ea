"""The commands that talk to a server, against one over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from click.testing import CliRunner, Result

from bide import App, Settings
from bide.cli import COMMANDS, main
from bide.cli.output import when
from bide.cli.values import read_value, wanted
from bide.http.app import create_app
from tests.http.conftest import example


class Server:
    """A server in a thread, and the command line that calls it."""

    def __init__(self, settings: Settings, app: App | None = None) -> None:
        config = uvicorn.Config(
            create_app(app or example(), settings), port=0, log_config=None, timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._up = threading.Event()
        startup = self._server.startup

        async def begin(*arguments: Any, **keywords: Any) -> None:
            await startup(*arguments, **keywords)
            self._up.set()

        self._server.startup = begin  # type: ignore[method-assign]

    def __enter__(self) -> Server:
        self._thread.start()
        assert self._up.wait(10)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)

    def __call__(self, *arguments: str, input: str | None = None, **environ: str) -> Result:
        return CliRunner().invoke(main, arguments, input=input, env={"BIDE_URL": self.url, **environ})

    def ok(self, *arguments: str, **options: Any) -> str:
        result = self(*arguments, **options)
        assert result.exit_code == 0, result.output
        return result.stdout

    def fails(self, code: int, *arguments: str, **options: Any) -> str:
        result = self(*arguments, **options)
        assert result.exit_code == code, result.output
        assert result.stdout == ""
        assert "Traceback" not in result.output
        return result.stderr


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(Settings(db=":memory:")) as running:
        yield running


def test_start_show_raise_and_wait(server: Server) -> None:
    assert json.loads(server.ok("start", "YesOrNo", "--id", "a", "--tag", "team=blue")) == {"id": "a"}
    shown = json.loads(server.ok("show", "a"))
    assert (shown["runtimeStatus"], shown["tags"]) == ("Running", {"team": "blue"})
    assert "Waits for:" in server.ok("show", "a", "-o", "table")
    assert "It wants boolean." in server.fails(2, "raise", "a", "Answer", "maybe")
    server.ok("raise", "a", "Answer", "true")
    assert server.ok("wait", "a") == "true\n"
    assert "ended" in server.fails(4, "raise", "a", "Answer", "true")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["7"], 7),
        (["{}"], {}),
        (["plain text"], "plain text"),
        (['"7"'], "7"),
        ([], None),
        (["--json", "[1]"], [1]),
    ],
)
def test_values_are_json_or_text(server: Server, typed: list[str], expected: object) -> None:
    assert json.loads(server.ok("start", "Echo", *typed, "--wait", "10s")) == expected


def test_a_string_keeps_its_zeros_where_one_is_wanted(tmp_path: Path) -> None:
    wanted = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert read_value("0042", wanted, as_json=False) == "0042"
    assert read_value('"0042"', wanted, as_json=False) == "0042"
    assert read_value("0042", {"type": "integer"}, as_json=False) == "0042", "it is no JSON"
    file = tmp_path / "value.json"
    file.write_text('{"a": 1}\n')
    assert read_value(f"@{file}", {}, as_json=True) == {"a": 1}


def test_lists_as_table_json_and_lines(server: Server) -> None:
    for number in range(3):
        server.ok("start", "Echo", str(number), "--id", f"e{number}", "--wait", "10s")
    server.ok("start", "Approve", "--id", "a")
    assert [json.loads(line)["instanceId"] for line in server.ok("ls").splitlines()] == ["a", "e2", "e1", "e0"]
    assert len(json.loads(server.ok("ls", "-o", "json", "--status", "completed"))) == 3
    table = server.ok("ls", "-o", "table", "--prefix", "e", "-n", "2").splitlines()
    assert table[0].split() == ["ID", "NAME", "STATUS", "CREATED", "UPDATED"]
    assert [line.split()[:3] for line in table[1:]] == [["e2", "Echo", "Completed"], ["e1", "Echo", "Completed"]]
    assert "There are more" in server("ls", "-n", "2").stderr
    assert server.ok("ls", "--created-before", "2h") == ""
    assert [json.loads(line)["name"] for line in server.ok("waiting").splitlines()] == ["Answer"]
    assert server.ok("waiting", "--overdue") == ""


def test_workers_are_shown_with_their_share(server: Server) -> None:
    (worker,) = [json.loads(line) for line in server.ok("workers").splitlines()]
    assert worker["alive"]
    assert worker["name"] in server.ok("workers", "--gone", "-o", "table")


def test_histories_are_what_replay_reads(server: Server, tmp_path: Path) -> None:
    server.ok("start", "Echo", "1", "--id", "e", "--wait", "10s")
    history = json.loads(server.ok("history", "e"))
    assert [step["seq"] for step in history["steps"]] == [0]
    assert history["name"] == "Echo"
    assert "ExecutionStarted" in server.ok("history", "e", "-o", "table")


def test_following_ends_with_the_instance(server: Server) -> None:
    server.ok("start", "Echo", "1", "--id", "e", "--wait", "10s")
    said = server.ok("show", "e", "--follow", "-o", "table")
    assert said.index("ExecutionStarted") < said.index("Completed")


def test_changing_many_asks_first(server: Server) -> None:
    for number in range(3):
        server.ok("start", "Approve", "--id", f"a{number}")
    assert "Say which" in server.fails(2, "suspend")
    assert "This would suspend 3 instances" in server.fails(1, "suspend", "--name", "Approve")
    server.ok("suspend", "--name", "Approve", "--yes")
    assert {json.loads(line)["runtimeStatus"] for line in server.ok("ls").splitlines()} == {"Suspended"}
    server.ok("resume", "a0", "a1", "--reason", "back")
    refused = server.fails(1, "purge", "a0", "nobody", "a2")
    assert refused.count("Instance") >= 2
    server.ok("terminate", "--status", "running", "--yes")
    server.ok("terminate", "a2")
    assert "only" in server.fails(2, "terminate", "--status", "Completed", "--yes")
    server.ok("purge", "--prefix", "a", "--yes")
    assert "no such" in server("purge", "--prefix", "a", "--yes").stderr
    assert server.ok("ls") == ""


def test_the_case_of_a_functions_name_does_not_matter(server: Server) -> None:
    server.ok("start", "ECHO", "0042", "--id=case")
    assert json.loads(server.ok("show", "case", "-o", "json"))["name"] == "Echo"


def test_rewind_and_restart(server: Server) -> None:
    server.fails(6, "start", "Fail", "--id", "f", "--wait", "10s")
    server.ok("rewind", "f", "--reason", "once more")
    again = json.loads(server.ok("restart", "f"))["id"]
    assert again != "f"
    server.fails(6, "wait", "f")
    assert json.loads(server.ok("restart", "f", "--same-id")) == {"id": "f"}


def test_exit_codes(server: Server) -> None:
    assert "no instance 'nobody'" in server.fails(3, "show", "nobody")
    assert "Registered: Approve" in server.fails(3, "start", "Nothing")
    server.ok("start", "Approve", "--id", "a")
    assert "Did you mean 'Answer'?" in server.fails(4, "raise", "a", "Anser", "1")
    assert "It waits for: Answer" in server.fails(4, "raise", "a", "Zebra", "1")
    server.ok("raise", "a", "Zebra", "1", "--early")
    assert "still Running" in server.fails(5, "wait", "a", "--timeout", "0s")
    assert "It wants integer." in server.fails(2, "start", "Strict", "many")
    assert "bide dev" in server.fails(8, "ls", BIDE_URL="http://127.0.0.1:1")
    assert "begins with http" in server.fails(2, "ls", "--url", "localhost")


def test_a_key_that_is_missing_or_wrong() -> None:
    with Server(Settings(db=":memory:", require_key=True)) as server:
        assert "--key" in server.fails(7, "ls")
        assert "--key" in server.fails(7, "ls", BIDE_KEY="bide_wrong")


def test_the_alias_of_azures_core_tools(server: Server) -> None:
    durable = ("func", "durable")
    started = server.ok(*durable, "start-new", "--function-name", "Approve", "--id", "a", "--input", '{"x":1}')
    assert started == "a\n"
    server.ok(*durable, "raise-event", "--id", "a", "--event-name", "Answer", "--event-data", '"yes"')
    server.ok("wait", "a")
    shown = json.loads(server.ok(*durable, "get-runtime-status", "--id", "a", "--no-show-input"))
    assert (shown["output"], "input" in shown) == ("yes", False)
    assert json.loads(server.ok(*durable, "get-history", "--id", "a"))["name"] == "Approve"
    found = json.loads(server.ok(*durable, "get-instances", "--runtime-status", "Completed", "--top", "5"))
    assert [each["instanceId"] for each in found] == ["a"]
    assert "Purged 1" in server(*durable, "purge-history", "--yes", "--task-hub-name", "x").stderr
    server.fails(3, *durable, "terminate", "--id", "a", "--reason", "x")
    server.fails(3, *durable, "rewind", "--id", "a")


def test_words_are_completed_from_the_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from bide.cli.completion import event_names, instance_ids

    server.ok("start", "Approve", "--id", "alpha")
    monkeypatch.setenv("BIDE_URL", server.url)
    show = main.get_command(None, "show")  # type: ignore[arg-type]
    assert show is not None
    context = show.make_context("show", ["alpha"])
    assert [item.value for item in instance_ids(context, show.params[0], "al")] == ["alpha"]
    assert [item.value for item in event_names(context, show.params[0], "an")] == ["Answer"]
    monkeypatch.setenv("BIDE_URL", "http://127.0.0.1:1")
    assert instance_ids(context, show.params[0], "al") == []
    assert "_BIDE_COMPLETE" in server.ok("completion", "bash")


def test_every_command_has_help_that_ends_with_an_example() -> None:
    def check(command: Any, path: tuple[str, ...]) -> None:
        said = CliRunner().invoke(main, [*path, "--help"]).stdout
        assert "Example" in said or path == ("func",), path
        for name, child in getattr(command, "commands", {}).items():
            check(child, (*path, name))

    for name in COMMANDS:
        check(main.get_command(None, name), (name,))  # type: ignore[arg-type]


def test_every_command_is_in_the_documents_session() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    for name in COMMANDS:
        assert f"`{name}" in page or f"bide {name}" in page, name


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "boolean"}, "boolean"),
        ({}, "anything"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string or null"),
        ({"enum": ["s", "m"]}, '"s" or "m"'),
        ({"type": "array", "items": {"type": "integer"}}, "an array of integer"),
        (
            {
                "$ref": "#/$defs/Decision",
                "$defs": {
                    "Decision": {
                        "type": "object",
                        "properties": {"approved": {"type": "boolean"}, "note": {"type": "string"}},
                        "required": ["approved"],
                    }
                },
            },
            "an object with approved (boolean), note (string, may be left out)",
        ),
    ],
)
def test_a_type_in_words(schema: dict[str, Any], words: str) -> None:
    assert wanted(schema) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "now"),
        (-2, "2 s ago"),
        (59, "in 1 min"),
        (90, "in 2 min"),
        (3_599, "in 1 h"),
        (86_398, "in 1 d"),
        (-7200, "2 h ago"),
    ],
)
def test_a_moment_as_people_say_it(seconds: int, words: str) -> None:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    assert when(now + timedelta(seconds=seconds), now) == words


def test_a_start_says_what_becomes_of_the_one_before(server: Server) -> None:
    server.ok("start", "Approve", "1", "--id", "a")
    server.fails(4, "start", "Approve", "1", "--id", "a", "--reuse", "never")
    server.ok("start", "Approve", "2", "--id", "a", "--reuse", "replace")
    assert json.loads(server.ok("show", "a"))["input"] == 2
    server.fails(2, "start", "Approve", "--id", "a", "--reuse", "always")
