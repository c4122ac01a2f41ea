"""What `bide doctor` looks at when the database is on a server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bide.cli.checks import MOST_DRIFT_S, Finding, held_finding, size_text
from bide.errors import StoreError
from bide.model.clock import SECOND
from bide.store.postgres.address import owner_url, require_driver

if TYPE_CHECKING:
    from bide.store.holding import HeldInstances
    from bide.store.postgres.server import ServerFacts, ServerStatus

_SAFE_COMMITS = ("on", "remote_apply")
_MORE = 4
"""How many missing rights are named."""


def database_server(url: str) -> list[Finding]:
    """All that can be found out by connecting to it."""
    try:
        require_driver()
        return list(_examine(url))
    except StoreError as error:
        return [Finding("database", "wrong", str(error))]


def _examine(url: str) -> Iterator[Finding]:
    from bide.store.postgres.server import examine, held, status

    async def look() -> tuple[ServerFacts, ServerStatus | None, HeldInstances | None]:
        facts = await examine(url)
        if not facts.has_session or any(right.startswith("SELECT") for right in facts.missing_rights):
            return facts, None, None
        found = await status(url)
        return facts, found, await held(url) if found.schema == found.newest_schema else None

    facts, found, held_now = asyncio.run(look())
    if found is not None:
        yield _schema(url, found)
    if held_now is not None:
        yield held_finding(held_now)
    yield _pooler(facts)
    yield from _durability(facts)
    yield _rights(facts)
    yield _drift(facts)


def _schema(url: str, found: ServerStatus) -> Finding:
    shown = f"{found.database}, PostgreSQL {found.server}, schema {found.schema}, {size_text(found.bytes)}"
    if found.schema > found.newest_schema:
        return Finding("database", "wrong", shown, "A newer Bide wrote it: install that one, or a newer one.")
    if found.schema < found.newest_schema:
        todo = f"A worker whose role may brings it to schema {found.newest_schema}. Or: bide db migrate --db "
        return Finding("database", "note", shown, f"{todo}'{owner_url(url)}'")
    owned = f"{found.partitions_owned} partitions owned, {found.partitions_free} free"
    return Finding("database", "ok", f"{shown}, {len(found.workers)} workers alive, {owned}")


def _pooler(facts: ServerFacts) -> Finding:
    if facts.has_session:
        return Finding("sessions", "ok", "a connection is a session of the server")
    from bide.store.postgres.connecting import POOLED

    return Finding("sessions", "wrong", "a connection is not a session of the server", POOLED)


def _durability(facts: ServerFacts) -> Iterator[Finding]:
    """Whether what was acknowledged survives power loss (G1)."""
    commits = f"synchronous_commit is {facts.synchronous_commit}"
    if facts.synchronous_commit == "off":
        lost = "A crash loses the last that was acknowledged: ALTER DATABASE ... SET synchronous_commit = on"
        yield Finding("commits", "wrong", commits, lost)
    elif facts.synchronous_commit not in _SAFE_COMMITS:
        todo = "Commits do not wait for a standby's disk. With a standby to fail over to, set it to on."
        yield Finding("commits", "note", commits, todo)
    else:
        yield Finding("commits", "ok", commits)
    for name, value in (("fsync", facts.fsync), ("full_page_writes", facts.full_page_writes)):
        if value != "on":
            yield Finding(
                "commits", "wrong", f"{name} is {value}", "Power loss may destroy the database: turn it on."
            )
        else:
            yield Finding("commits", "ok", f"{name} is on")


def _rights(facts: ServerFacts) -> Finding:
    missing = facts.missing_rights
    if missing:
        more = f", and {len(missing) - _MORE} more" if len(missing) > _MORE else ""
        shown = f"the role lacks {', '.join(missing[:_MORE])}{more}"
        return Finding("rights", "wrong", shown, "Grant them as docs/deploy.md says.")
    return Finding("rights", "ok", "the role may do all that a worker does")


def _drift(facts: ServerFacts) -> Finding:
    ahead_s = facts.clock_ahead / SECOND
    if abs(ahead_s) > MOST_DRIFT_S:
        shown = f"the database's is {ahead_s:+.0f} s from ours"
        return Finding("db clock", "note", shown, "Workers go by the database's. Set both by NTP.")
    return Finding("db clock", "ok", "the database's agrees with ours")
