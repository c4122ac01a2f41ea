"""How often Python searches for cycles.

An engine holds the code of up to `max_live` instances, some thirty objects each, and makes many short-lived ones.
By default Python looks for cycles after every 700 new objects, and now and then through everything: that is half of
the time of a start when 10,000 instances wait in memory. The engine itself leaves no cycles behind.
"""

from __future__ import annotations

import gc

_NEW_OBJECTS = 20_000


def search_less_often() -> None:
    """Let Python look for cycles after more new objects, unless it was told to already, or not to look at all."""
    young, middle, old = gc.get_threshold()
    if 0 < young < _NEW_OBJECTS:
        gc.set_threshold(_NEW_OBJECTS, middle, old)


def set_aside() -> None:
    """Leave everything that is there now out of the search, for good: a server's own modules are never garbage."""
    gc.collect()
    gc.freeze()
