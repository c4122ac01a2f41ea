"""The rows of instances that changed last, in memory: whoever started or answered one soon asks how it is."""

from __future__ import annotations

from itertools import islice

from holdfast.batch import Batch
from holdfast.instance import Instance

_SMALL_BYTES = 2_000
"""Rows with larger payloads are not kept: what this costs must not grow with what users store."""


class Recent:
    """Rows as the database has them. For stores that nobody else writes to."""

    __slots__ = ("_most", "_rows")

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: dict[str, Instance] = {}

    def get(self, instance_id: str) -> Instance | None:
        """The row, or None if it is not known here."""
        return self._rows.get(instance_id)

    def note(self, batch: Batch) -> None:
        """Take the rows of a batch that is durable."""
        rows = self._rows
        for instance_id in batch.purged:
            rows.pop(instance_id, None)
        for instance_id, row in batch.instances.items():
            rows.pop(instance_id, None)  # the last to change is last to go
            if len(row.input_json) + len(row.output_json) + len(row.custom_status_json) < _SMALL_BYTES:
                rows[instance_id] = row
        for instance_id in list(islice(rows, max(0, len(rows) - self._most))):
            del rows[instance_id]

    def clear(self) -> None:
        """Forget all."""
        self._rows.clear()
