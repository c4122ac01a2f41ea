"""Wrong calls are rejected by mypy and by pyright: an error on each marked line, and on no other."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kill
ROOT = Path(__file__).parent.parent

WRONG = """
from datetime import timedelta
from bide import App, OrchestrationContext, when_any

app = App()

@app.activity
async def send(number: str) -> int:
    return len(number)

@app.orchestrator
async def child(ctx: OrchestrationContext, number: int) -> bool:
    return number > 0

@app.orchestrator
async def wrong(ctx: OrchestrationContext) -> None:
    ctx.call_activity(send, 1)  # wrong
    ctx.call_activity(send)  # wrong
    ctx.call_activity(send, "a", "b")  # wrong
    ctx.call_activity(send, nmber="a")  # wrong
    text: str = await ctx.call_activity(send, "a")  # wrong
    ctx.call_sub_orchestrator(child, "a")  # wrong
    ctx.create_timer(90)  # wrong
    ctx.with_options(retry=3)  # wrong
    answer = ctx.wait_for_external_event("Answer", str)
    number: int = await answer  # wrong
    winner = await when_any(answer, ctx.create_timer(timedelta(seconds=1)))
    winner.nothing  # wrong
    app.activity(once="yes")  # wrong
    print(text, number)
"""


def mypy(path: Path) -> set[int]:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(path)]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return {int(line) for line in re.findall(rf"{path.name}:(\d+): error", output, re.M)}


def pyright(path: Path) -> set[int]:
    (path.parent / "pyrightconfig.json").write_text('{"typeCheckingMode": "standard"}')
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", str(path)]
    output = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False).stdout
    found = json.loads(output)["generalDiagnostics"]
    return {one["range"]["start"]["line"] + 1 for one in found if one["severity"] == "error"}


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_wrong_calls_are_rejected(checker: object, tmp_path: Path) -> None:
    assert callable(checker)
    path = tmp_path / "wrong.py"
    path.write_text(WRONG)
    marked = {number for number, line in enumerate(WRONG.splitlines(), 1) if "# wrong" in line}
    assert checker(path) == marked
