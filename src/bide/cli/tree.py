"""`bide show --tree`: an instance, and below it what it has called.

Level by level, and no further than anybody reads: what is left out is said, with how to see it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from bide.cli.output import print_json, status_text

if TYPE_CHECKING:
    from bide.client import Client

Node: TypeAlias = dict[str, Any]

DEEP = 30
"""So many levels are shown. Each is indented by three characters, and JSON is nested as deep."""
MANY = 1_000
"""So many instances are shown. Each is two requests."""


def show_tree(client: Client, instance_id: str, output: str) -> None:
    found, left_out = family(client, instance_id)
    if output == "json":
        print_json(found)
    else:
        for line in branches(found):
            click.echo(line)
    if left_out:
        click.echo(
            f"Not all is shown: {DEEP} levels and {MANY:,} instances at most. Below any of them: "
            f"bide show {left_out} --tree",
            err=True,
        )


def family(client: Client, instance_id: str) -> tuple[Node, str]:
    """The instance with all below it, as far as that is shown; and the first one whose children are not."""
    root = _node(instance_id, "")
    waiting, count, left_out = deque([(root, "", 0)]), 1, ""
    while waiting:
        node, parent, depth = waiting.popleft()
        called = _look(client, node, parent)
        node["children"] = children = called[: MANY - count] if depth < DEEP else []
        if len(children) < len(called):
            node["moreChildren"] = len(called) - len(children)
            left_out = left_out or node["instanceId"]
        count += len(children)
        waiting.extend((child, node["instanceId"], depth + 1) for child in children)
    return root, left_out


def branches(root: Node) -> Iterator[str]:
    """Its lines, with what leads from each to those below it."""
    left = [(root, "", "")]
    while left:
        node, before, below = left.pop()
        more = f"  ({node['moreChildren']:,} more below)" if "moreChildren" in node else ""
        yield f"{before}{node['instanceId']}  {node['name']}  {status_text(node['runtimeStatus'])}{more}"
        children: list[Node] = node.get("children", [])
        lines = [(child, f"{below}├─ ", f"{below}│  ") for child in children[:-1]]
        lines += [(child, f"{below}└─ ", f"{below}   ") for child in children[-1:]]
        left.extend(reversed(lines))


def _look(client: Client, node: Node, parent: str) -> list[Node]:
    """Say in the node how the instance is. Returns what it has called.

    Raises `InstanceNotFoundError` for one that is nobody's child.
    """
    from msgspec import UNSET

    from bide.errors import InstanceNotFoundError
    from bide.model.history import SubOrchestrationInstanceCreated

    try:
        shown = client.status(node["instanceId"])
        steps = client.history(node["instanceId"])
    except InstanceNotFoundError:
        if not parent:
            raise
        return []
    if parent and (shown.parent is UNSET or shown.parent.instance_id != parent):
        return []  # another instance has the id: the call has failed, or it is used again
    node["name"], node["runtimeStatus"] = shown.name, shown.runtime_status.value
    asked = (fact for step in steps for fact in step.facts)
    return [
        _node(fact.instance_id, fact.name) for fact in asked if isinstance(fact, SubOrchestrationInstanceCreated)
    ]


def _node(instance_id: str, name: str) -> Node:
    return {"instanceId": instance_id, "name": name, "runtimeStatus": "not there"}
