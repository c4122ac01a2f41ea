"""Which instances are held, for whoever looks at a database without working in it.

What a worker has held is written in its row. A row that cannot be read says so only to whoever reads it, so those
of the newest instances are read, as a list would do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from bide.model.instance import UNREADABLE, Instance
from bide.model.query import InstanceFilter
from bide.store import listing
from bide.store.listing import Dialect, Query
from bide.store.rows import instance_of

NAMED = 3
"""So many of them are told with their reason."""
LOOKED_AT = 1_000
"""So many of the newest rows are read."""
_HELD = InstanceFilter(held=True)
_HELD_COLUMN = 10


class HeldInstances(Struct, frozen=True):
    """How many are held, and the first few."""

    count: int
    first: tuple[Instance, ...]


def count_query(dialect: Dialect) -> Query:
    """How many rows say that they are held, by status."""
    return listing.counts(_HELD, dialect)


def first_query(dialect: Dialect) -> Query:
    """The first of those."""
    return listing.instances(_HELD, None, NAMED, dialect)


def newest_query(dialect: Dialect) -> Query:
    """The rows to be read."""
    return listing.instances(InstanceFilter(), None, LOOKED_AT, dialect)


def held_instances(
    counts: Sequence[Sequence[Any]], first: Sequence[Sequence[Any]], newest: Sequence[Sequence[Any]]
) -> HeldInstances:
    """What the answers to the three queries say together."""
    unread = [
        found for row in newest if row[_HELD_COLUMN] is None and (found := instance_of(row)).held_by == UNREADABLE
    ]
    said = [instance_of(row) for row in first]
    return HeldInstances(sum(count for _, count in counts) + len(unread), (*unread, *said)[:NAMED])
