"""The rows of instances that changed last, in memory: whoever started or answered one soon asks how it is."""

from __future__ import annotations

from bide.model.batch import Batch
from bide.model.instance import Instance

_SMALL_BYTES = 2_000
"""Rows with larger payloads are not kept: what this costs must not grow with what users store."""


class Recent:
    """Rows as the database has them. For stores that nobody else writes to.

    There are two shelves. A full one becomes the old one, whose rows are then forgotten all at once: so nobody
    has to know which row is the oldest.
    """

    __slots__ = ("_most", "_new", "_old")

    def __init__(self, most: int) -> None:
        """`most` is how many rows a shelf takes; one batch may have more."""
        self._most = most
        self._new: dict[str, Instance] = {}
        self._old: dict[str, Instance] = {}

    def get(self, instance_id: str) -> Instance | None:
        """The row, or None if it is not known here."""
        return self._new.get(instance_id) or self._old.get(instance_id)

    def note(self, batch: Batch) -> None:
        """Take the rows of a batch that is durable."""
        for instance_id in (*batch.purged, *batch.replaced):
            self._forget(instance_id)
        rows = self._new
        for instance_id, row in batch.instances.items():
            if len(row.input_json) + len(row.output_json) + len(row.custom_status_json) < _SMALL_BYTES:
                rows[instance_id] = row
            else:
                self._forget(instance_id)
        if len(rows) > self._most:
            self._old, self._new = rows, {}

    def _forget(self, instance_id: str) -> None:
        self._new.pop(instance_id, None)
        self._old.pop(instance_id, None)

    def clear(self) -> None:
        """Forget all."""
        self._new, self._old = {}, {}
