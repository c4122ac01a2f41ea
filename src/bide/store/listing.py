"""The queries behind lists: each gives its SQL and its parameters.

A page is found in an index; only the rows that are shown are fetched from their table. Question marks stand for
parameters; `numbered` makes them PostgreSQL's.
"""

from __future__ import annotations

import re
from itertools import count
from typing import Any, NamedTuple, TypeAlias

from bide.model.clock import Timestamp, to_timestamp
from bide.model.query import (
    NEVER,
    FailureCursor,
    InstanceCursor,
    InstanceFilter,
    TimerCursor,
    WaitCursor,
    WaitFilter,
)
from bide.store.rows import AUDIT_COLUMNS, INSTANCE_COLUMNS, WAIT_COLUMNS

Query: TypeAlias = tuple[str, list[Any]]

_AFTER_ALL = "\U0010ffff"
"""Follows every character by its bytes, and is in no id."""
_OF_INSTANCES = ", ".join(f"instances.{column.strip()}" for column in INSTANCE_COLUMNS.split(","))


class Dialect(NamedTuple):
    """Where the two databases differ."""

    listed: str
    """The instances, in the order of lists."""
    held: str
    """Those that are held, in the same order."""
    failed: str
    """The instances that failed, in the order of `failed_at` and `failed_id`."""
    failed_at: str
    failed_id: str
    due: str
    """When a wait is due, as the index `waits_due` has it."""
    wait_name: str
    """The name of a wait's event, in lower case."""


SQLITE = Dialect(
    "instances INDEXED BY instances_listed",
    "instances INDEXED BY instances_held",
    "instances INDEXED BY instances_failed",
    "updated_at",
    "id",
    f"ifnull(deadline, {NEVER})",
    "lower_text(waits.name)",
)
POSTGRES = Dialect(
    "instances",
    "instances",
    "failures JOIN instances ON id = instance_id AND updated_at = failed_at",
    "failed_at",
    "instance_id",
    f"coalesce(deadline, {NEVER})",
    "waits.lower_name",
)


def numbered(query: str) -> str:
    """The query with `$1`, `$2` and so on for its question marks."""
    numbers = count(1)
    return re.sub(r"\?", lambda _: f"${next(numbers)}", query)


class _Conditions:
    """Conditions and the values in them, joined by AND."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._texts: list[str] = []

    def add(self, text: str, *values: Any) -> None:
        self._texts.append(text)
        self.values += values

    @property
    def where(self) -> str:
        return f"WHERE {' AND '.join(self._texts)}" if self._texts else ""


def instances(where: InstanceFilter, after: InstanceCursor | None, limit: int, dialect: Dialect) -> Query:
    source, conditions = _meant(where, dialect)
    if after is not None:
        conditions.add("(created_at, id) < (?, ?)", after.created_at, after.id)
    query = f"""
        SELECT {_OF_INSTANCES} FROM
            (SELECT created_at, id FROM {source} {conditions.where}
             ORDER BY created_at DESC, id DESC LIMIT ?) AS page
            JOIN instances ON instances.id = page.id
        ORDER BY page.created_at DESC, page.id DESC
    """  # noqa: S608 - names and question marks only
    return query, [*conditions.values, limit]


def counts(where: InstanceFilter, dialect: Dialect) -> Query:
    source, conditions = _meant(where, dialect)
    query = f"SELECT status, count(*) FROM {source} {conditions.where} GROUP BY status"  # noqa: S608 - as above
    return query, conditions.values


def waits(where: WaitFilter, after: WaitCursor | None, limit: int, dialect: Dialect) -> Query:
    conditions, due = _Conditions(), dialect.due
    if where.due_before is not None:
        conditions.add(f"{due} < ?", where.due_before)
    if where.name:
        conditions.add(f"{dialect.wait_name} = ?", where.name.lower())
    if where.orchestrator:
        conditions.add("instances.name = ?", where.orchestrator)
    for tag in where.tags.items():
        conditions.add(
            "EXISTS (SELECT 1 FROM tags WHERE tags.name = ? AND tags.value = ? "
            "AND tags.created_at = instances.created_at AND tags.instance_id = instances.id)",
            *tag,
        )
    if after is not None:
        conditions.add(f"{due} >= ?", after.due)  # this one finds the place in the index
        conditions.add(f"({due}, waits.instance_id, waits.id) > (?, ?, ?)", *after)
    query = f"""
        SELECT {WAIT_COLUMNS} FROM waits LEFT JOIN instances ON instances.id = waits.instance_id
        {conditions.where} ORDER BY {due}, waits.instance_id, waits.id LIMIT ?
    """  # noqa: S608 - as above
    return query, [*conditions.values, limit]


def failures(since: Timestamp, after: FailureCursor | None, limit: int, dialect: Dialect) -> Query:
    conditions, at, failed_id = _Conditions(), dialect.failed_at, dialect.failed_id
    conditions.add("status = 'Failed'")
    conditions.add(f"{at} >= ?", since)
    if after is not None:
        conditions.add(f"({at}, {failed_id}) < (?, ?)", *after)
    query = f"""
        SELECT {_OF_INSTANCES} FROM {dialect.failed} {conditions.where}
        ORDER BY {at} DESC, {failed_id} DESC LIMIT ?
    """  # noqa: S608 - as above
    return query, [*conditions.values, limit]


def timers(due_before: Timestamp, after: TimerCursor | None, limit: int) -> Query:
    conditions = _Conditions()
    conditions.add("fire_at < ?", due_before)
    if after is not None:
        conditions.add("(fire_at, instance_id, timers.generation, task_id) > (?, ?, ?, ?)", *after)
    query = f"""
        SELECT instance_id, timers.generation, task_id, fire_at, timers.birth, coalesce(instances.name, '')
        FROM timers LEFT JOIN instances ON instances.id = timers.instance_id
        {conditions.where} ORDER BY fire_at, instance_id, timers.generation, task_id LIMIT ?
    """  # noqa: S608 - as above
    return query, [*conditions.values, limit]


def audit(instance_id: str | None, before: int | None, limit: int) -> Query:
    conditions = _Conditions()
    if instance_id is not None:
        conditions.add("instance_id = ?", instance_id)
    if before is not None:
        conditions.add("id < ?", before)
    query = f"SELECT {AUDIT_COLUMNS} FROM audit {conditions.where} ORDER BY id DESC LIMIT ?"  # noqa: S608 - as above
    return query, [*conditions.values, limit]


def _meant(where: InstanceFilter, dialect: Dialect) -> tuple[str, _Conditions]:
    """Where the instances are found, and under which conditions."""
    conditions = _Conditions()
    source = dialect.held if where.held else dialect.listed
    if where.held:
        conditions.add("held IS NOT NULL")
    if where.tags:
        source = _tagged(where.tags, conditions)
    if where.created_from is not None:
        conditions.add("created_at >= ?", to_timestamp(where.created_from))
    if where.created_to is not None:
        conditions.add("created_at <= ?", to_timestamp(where.created_to))
    if where.statuses:
        marks = ", ".join("?" * len(where.statuses))
        conditions.add(f"status IN ({marks})", *(status.value for status in where.statuses))
    if where.id_prefix:
        conditions.add("id >= ? AND id < ?", where.id_prefix, f"{where.id_prefix}{_AFTER_ALL}")
    if where.name:
        conditions.add("name = ?", where.name)
    return source, conditions


def _tagged(tags: dict[str, str], conditions: _Conditions) -> str:
    """The instances that have the first tag, in the order of lists; a condition for each of the others."""
    first, *others = tags.items()
    conditions.values += first
    for tag in others:
        conditions.add(
            "EXISTS (SELECT 1 FROM tags WHERE name = ? AND value = ? AND created_at = meant.created_at "
            "AND instance_id = meant.id)",
            *tag,
        )
    return """
        (SELECT tags.created_at, tags.instance_id AS id, instances.status, instances.name, instances.held
         FROM tags JOIN instances ON instances.id = tags.instance_id
         WHERE tags.name = ? AND tags.value = ?) AS meant
    """
