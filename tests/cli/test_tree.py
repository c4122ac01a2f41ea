"""`bide show --tree`: shown as far as anybody reads, in time that grows with what is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from bide import App, OrchestrationContext, Settings, SubOrchestrationFailedError
from bide.cli import tree
from tests.cli.test_server_commands import Server


def family() -> App:
    app = App()

    @app.orchestrator(name="Leaf")
    async def leaf(ctx: OrchestrationContext) -> None:
        """Ends at once."""

    @app.orchestrator(name="Chain")
    async def chain(ctx: OrchestrationContext, left: int) -> None:
        if left:
            await ctx.with_options(instance_id=f"c{left - 1}").call_sub_orchestrator(chain, left - 1)

    @app.orchestrator(name="Fan")
    async def fan(ctx: OrchestrationContext, width: int) -> None:
        for number in range(width):
            await ctx.with_options(instance_id=f"f{number}").call_sub_orchestrator(leaf)

    @app.orchestrator(name="Loop")
    async def loop(ctx: OrchestrationContext) -> None:
        try:
            await ctx.with_options(instance_id="loop").call_sub_orchestrator("Loop")
        except SubOrchestrationFailedError:  # it exists already
            await ctx.with_options(instance_id="kid").call_sub_orchestrator(leaf)

    return app


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(Settings(db=":memory:"), family()) as running:
        running.ok("start", "Chain", "60", "--id", "chain", "--wait", "30s")
        running.ok("start", "Fan", "6", "--id", "fan", "--wait", "10s")
        running.ok("start", "Loop", "--id", "loop", "--wait", "10s")
        yield running


def nodes(found: dict[str, Any]) -> list[str]:
    return [found["instanceId"], *(each for child in found["children"] for each in nodes(child))]


def test_a_deep_tree_ends_where_it_says_so(server: Server) -> None:
    last = f"c{60 - tree.DEEP}"
    for output in ("json", "table"):
        shown = server("show", "chain", "--tree", "-o", output)
        assert shown.exit_code == 0
        assert f"bide show {last} --tree" in shown.stderr
    assert len(nodes(json.loads(server.ok("show", "chain", "--tree", "-o", "json")))) == tree.DEEP + 1
    lines = server.ok("show", "chain", "--tree", "-o", "table").splitlines()
    assert len(lines) == tree.DEEP + 1
    assert lines[-1].endswith(f"└─ {last}  Chain  Completed  (1 more below)")
    below = server("show", "c5", "--tree", "-o", "table")
    assert (len(below.stdout.splitlines()), below.stderr) == (6, "")


def test_a_wide_tree_ends_where_it_says_so(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert nodes(json.loads(server.ok("show", "fan", "--tree", "-o", "json"))) == [
        "fan",
        *(f"f{n}" for n in range(6)),
    ]
    monkeypatch.setattr(tree, "MANY", 4)
    shown = server("show", "fan", "--tree", "-o", "table")
    assert shown.stdout.splitlines() == [
        "fan  Fan  Completed  (3 more below)",
        "├─ f0  Leaf  Completed",
        "├─ f1  Leaf  Completed",
        "└─ f2  Leaf  Completed",
    ]
    assert "bide show fan --tree" in shown.stderr


def test_who_is_nobodys_child_is_not_shown_as_one(server: Server) -> None:
    found = json.loads(server.ok("show", "loop", "--tree", "-o", "json"))
    assert nodes(found) == ["loop", "loop", "kid"]
    assert [each["runtimeStatus"] for each in found["children"]] == ["not there", "Completed"]
    assert "no-such" in server.fails(3, "show", "no-such", "--tree")
