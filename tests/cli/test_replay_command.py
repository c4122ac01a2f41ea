"""`bide replay`: old histories against new code, as CI would run it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from pdb import Pdb
from typing import IO, Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from bide import App, OrchestrationContext, Secret
from bide.cli.replay import replay
from bide.testing.harness import Durable

app = App()


@app.activity
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@app.orchestrator
async def hello(ctx: OrchestrationContext) -> str:
    name = await ctx.wait_for_external_event("Name", str)
    return await ctx.call_activity(greet, name)


OLD = """
from bide import App, OrchestrationContext
app = App()

@app.activity
async def greet(name: str) -> str:
    raise RuntimeError("no activity runs")

@app.orchestrator
async def hello(ctx: OrchestrationContext) -> str:
    name = await ctx.wait_for_external_event("Name", str)
    return await ctx.call_activity(greet, name)
"""
NEW = OLD.replace('"Name", str)', '"Name", str)\n    await ctx.call_activity(greet, name.upper())')
GONE = OLD.replace("def hello", "def goodbye")


@app.orchestrator
async def guarded(ctx: OrchestrationContext) -> str:
    name = await ctx.wait_for_external_event("Name", str)
    await ctx.wait_for_external_event("Pin", Secret[str])
    return await ctx.call_activity(greet, name)


GUARDED = """
from bide import App, OrchestrationContext, Secret
app = App()

@app.activity
async def greet(name: str) -> str: ...

@app.orchestrator
async def guarded(ctx: OrchestrationContext) -> str:
    name = await ctx.wait_for_external_event("Name", str)
    await ctx.wait_for_external_event("Pin", Secret[str])
    return await ctx.call_activity(greet, name)
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "old.py").write_text(OLD)
    (tmp_path / "new.py").write_text(NEW)
    (tmp_path / "gone.py").write_text(GONE)
    return tmp_path


@pytest.fixture
def histories() -> list[dict[str, Any]]:
    """One that waits, and one that has ended, as the API gives them."""
    with Durable(app) as durable:
        for name in ("waiting", "ended"):
            durable.start(hello, instance_id=name)
        durable.raise_event("ended", "Name", "Ada")
        return [
            {
                "name": "hello",
                "instanceId": name,
                "generation": durable.status(name).generation,
                "steps": json.loads(msgspec.json.encode(durable.history(name))),
            }
            for name in ("waiting", "ended")
        ]


def run(*arguments: str, stdin: str | IO[bytes] | None = None) -> Result:
    return CliRunner().invoke(replay, arguments, input=stdin, catch_exceptions=False)


def test_code_that_fits(directory: Path, histories: list[dict[str, Any]]) -> None:
    Path("one.json").write_text(json.dumps(histories[0], indent=2))
    Path("array.json").write_text(json.dumps(histories))
    result = run("one.json", "array.json", "-", "--app", "old.py:app", stdin="\n".join(map(json.dumps, histories)))
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "fits     waiting (hello)",
        *["fits     waiting (hello)", "fits     ended (hello)"] * 2,
    ]
    assert result.stderr == "5 of 5 fit.\n"


def test_code_that_differs(directory: Path, histories: list[dict[str, Any]]) -> None:
    Path("array.json").write_text(json.dumps(histories))
    result = run("array.json", "--app", "new.py")
    assert result.exit_code == 1
    first, second, reason = result.stdout.splitlines()
    assert (first, second) == ("fits     waiting (hello)", "differs  ended (hello)")
    assert "no longer fits the history of instance 'ended'" in reason
    assert "TaskScheduled" in reason
    assert "new.py:" in reason
    assert result.stderr == "1 of 2 fit.\n"


@pytest.mark.parametrize(
    ("change", "exit_code", "said"),
    [
        (("", ""), 0, "What follows depends on its event, which is a secret."),
        (('"Pin"', '"Code"'), 1, "no longer fits"),
        (("str)\n    return", "str)\n    await ctx.call_activity(greet, 'x')\n    return"), 0, "a secret"),
    ],
)
def test_code_is_judged_as_far_as_it_needs_no_secret(
    directory: Path, change: tuple[str, str], exit_code: int, said: str
) -> None:
    with Durable(app) as durable:
        durable.start(guarded, instance_id="i")
        durable.raise_event("i", "Name", "Ada")
        durable.raise_event("i", "Pin", "0702")
        assert durable.output("i") == "Hello, Ada!"
        steps = json.loads(msgspec.json.encode(durable.history("i")))
        durable.replay_all()
    assert "0702" not in json.dumps(steps)
    Path("history.json").write_text(
        json.dumps({"name": "guarded", "instanceId": "i", "generation": 0, "steps": steps})
    )
    Path("guarded.py").write_text(GUARDED.replace(*change))
    result = run("history.json", "--app", "guarded.py")
    assert (result.exit_code, said in result.stdout) == (exit_code, True), result.output


def test_one_can_look_around_where_code_differs(
    directory: Path, histories: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("array.json").write_text(json.dumps(histories))
    typed, shown = io.StringIO("p ctx.instance_id, name\ncontinue\n"), io.StringIO()

    class AtTheTerminal(Pdb):
        def __init__(self, **given: Any) -> None:  # Click's runner gives it streams of its own
            super().__init__(stdin=typed, stdout=shown, readrc=False)

    monkeypatch.setattr("pdb.Pdb", AtTheTerminal)
    result = run("array.json", "--app", "new.py", "--pdb")
    place, line, answer, *_ = shown.getvalue().splitlines()
    assert place.endswith("new.py(13)hello()")
    assert line == "-> return await ctx.call_activity(greet, name)"
    assert answer == "(Pdb) ('ended', 'Ada')"
    assert (result.exit_code, result.stderr) == (1, "1 of 2 fit.\n")
    assert "no longer fits the history of instance 'ended'" in result.stdout


def test_who_looks_around_types_on_stdin(directory: Path, histories: list[dict[str, Any]]) -> None:
    class Stdin(io.BytesIO):
        name = "<stdin>"

    result = run("-", "--app", "new.py", "--pdb", stdin=Stdin(json.dumps(histories[1]).encode()))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "With --pdb you type on stdin, so no history can come from there. Give a file." in result.stderr


def test_code_that_is_gone(directory: Path, histories: list[dict[str, Any]]) -> None:
    result = run("-", "--app", "gone.py", stdin=json.dumps(histories[0]))
    assert result.exit_code == 1
    assert "There is no orchestrator 'hello'. Registered: goodbye." in result.stdout


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "there is none in it"),
        ("[]", "there is none in it"),
        ("{", "truncated"),
        ("{}", "missing required field `name`"),
        ('{"name": "x", "instanceId": "y", "generation": 0, "steps": [{"seq": 0}]}', "missing required field `at`"),
    ],
)
def test_what_is_no_history(directory: Path, text: str, complaint: str) -> None:
    Path("x.json").write_text(text)
    result = run("x.json", "--app", "old.py")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: x.json has no histories that can be read" in result.stderr
    assert complaint in result.stderr


def test_a_missing_file_and_a_missing_app(directory: Path) -> None:
    assert "No such file" in run("nothing.json", "--app", "old.py").stderr
    assert "There is no file nothing.py" in run("old.py", "--app", "nothing.py").stderr


SEVERAL = """
from typing import Any
from bide import App, OrchestrationContext

app = App()


@app.activity
async def mail(to: str, text: str, more: Any = None) -> str:
    return text


@app.orchestrator
async def ask(ctx: OrchestrationContext, name: str) -> str:
    await ctx.call_activity(mail, name, "Schr\u00f6dinger \\n says \\"hi\\"", {"a": [1, 2.5, 10**30, {}]})
    return await ctx.wait_for_external_event("Go", str)
"""


def _history_of_several() -> dict[str, Any]:
    space: dict[str, Any] = {}
    exec(SEVERAL, space)  # the very text that the command loads
    with Durable(space["app"]) as durable:
        instance = durable.start("ask", "grace")
        steps = json.loads(msgspec.json.encode(durable.history(instance)))
    return {"name": "ask", "instanceId": instance, "generation": 0, "steps": steps}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("strict", [[], ["--strict"]])
def test_unchanged_code_fits_however_its_history_is_printed(
    directory: Path, indent: int | None, strict: list[str]
) -> None:
    Path("several.py").write_text(SEVERAL)
    result = run("-", "--app", "several.py", *strict, stdin=json.dumps(_history_of_several(), indent=indent))
    assert (result.exit_code, result.stdout[:4]) == (0, "fits"), result.output
    assert "differ" not in result.stdout


def test_a_corrected_word_is_shown_and_fits(directory: Path) -> None:
    Path("several.py").write_text(SEVERAL.replace("says", "said"))
    history = _history_of_several()
    result = run("-", "--app", "several.py", stdin=json.dumps(history))
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"fits     {history['instanceId']} (ask), 1 input differs",
        "         another input: TaskScheduled(id=1, name='mail')",
    ]
    strict = run("-", "--app", "several.py", "--strict", stdin=json.dumps(history))
    assert (strict.exit_code, "with another input" in strict.stdout) == (1, True)
