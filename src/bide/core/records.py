"""The base of what the core keeps in memory only."""

from __future__ import annotations

from msgspec import Struct


class Record(Struct, eq=False):
    """A mutable record, compared by identity, and made faster than a class with `__init__`.

    Its `repr` shows nothing of what is in it: payloads and secrets do not belong into tracebacks.
    """

    __repr__ = object.__repr__
