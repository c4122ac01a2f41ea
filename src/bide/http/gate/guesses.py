"""Wrong keys leave a trace: they are counted, told in few lines of the log, and refused at a pace.

Nobody is locked out. A key is 256 random bits, so no pace of guessing finds one, and behind one address there may
be many callers. A right key always counts; an address from which many wrong ones have come is told with each
further one how long to wait. What is kept is bounded, and so are the lines, however many addresses there are.
"""

from __future__ import annotations

import ipaddress
import logging
import math
from collections import OrderedDict

from bide.http.gate.addresses import ip_of
from bide.model.clock import SECOND, Timestamp
from bide.model.metrics import doubled

log = logging.getLogger("bide.http")

BURST = 20
EVERY_S = 3
"""So many wrong keys of one address are answered with 401, and then one in that time. Others are told to wait."""
QUIET_S = 600
"""When none has come from an address for so long, the next one is told of as the first."""
MOST_ADDRESSES = 4_096
"""Those from which one came last are kept."""
LINES = 20
LINE_EVERY_S = 60
"""So many lines of the log are written, and then one in that time."""


class Allowance:
    """So many at once, and then one in each span. Spans are in seconds."""

    __slots__ = ("_at", "_every", "_left", "_most")

    def __init__(self, most: int, every_s: int, now: Timestamp) -> None:
        self._most = most
        self._every = every_s * SECOND
        self._left = float(most)
        self._at = now

    def take(self, now: Timestamp) -> int:
        """Take one. 0: there was one; otherwise, in how many seconds there will be."""
        self._left = min(self._most, self._left + max(0, now - self._at) / self._every)
        self._at = now
        if self._left >= 1:
            self._left -= 1
            return 0
        return math.ceil((1 - self._left) * self._every / SECOND)


class _Address:
    """What came from one address."""

    __slots__ = ("allowance", "count", "last")

    def __init__(self, now: Timestamp) -> None:
        self.allowance = Allowance(BURST, EVERY_S, now)
        self.count = 0
        """Wrong keys since it was quiet."""
        self.last = now


class Guesses:
    """The wrong keys that this process was shown."""

    def __init__(self, now: Timestamp) -> None:
        self.count = 0
        """All of them."""
        self._addresses: OrderedDict[str, _Address] = OrderedDict()
        self._lines = Allowance(LINES, LINE_EVERY_S, now)
        self._left_out = 0

    def add(self, address: str, now: Timestamp) -> int:
        """One more, from there. 0, or for how many seconds that address should not show another one."""
        self.count += 1
        place = _place(address)
        found = self._addresses.setdefault(place, _Address(now))
        self._addresses.move_to_end(place)
        if len(self._addresses) > MOST_ADDRESSES:
            self._addresses.popitem(last=False)
        if now - found.last > QUIET_S * SECOND:
            found.count = 0
        found.last = now
        found.count += 1
        if doubled(found.count):
            self._tell(place, found.count, now)
        return found.allowance.take(now)

    def _tell(self, place: str, count: int, now: Timestamp) -> None:
        if self._lines.take(now):
            self._left_out += 1
            return
        others = f" ({self._left_out} lines like this one were left out)" if self._left_out else ""
        self._left_out = 0
        log.warning("A key that is not valid came from %s: %d so far%s", place, count, others)


def _place(address: str) -> str:
    """Whoever has an IPv6 address has as many as they like: the first half of one says whose it is."""
    ip = ip_of(address.partition("%")[0])
    if ip is None:  # a socket file; or what a proxy has said
        return "an unknown address"
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    return f"{ipaddress.ip_network((int(ip), 64), strict=False)}"
