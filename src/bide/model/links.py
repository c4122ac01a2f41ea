"""Links under which people answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from bide.errors import UnknownAddressStep, WaitClosedError
from bide.model.history import EventAwaited, ResponseLinkCreated, Step
from bide.model.tokens import ResponseGrant, sign


@dataclass(frozen=True, slots=True)
class SignedLinks:
    """Links that carry a signed permission to answer one wait, and need no table.

    Implements `bide.core.context.ResponseLinks`.
    """

    secret: bytes = field(repr=False)
    base_url: str
    """Scheme, host and path under which the API is served, without a slash at the end."""

    def url(self, grant: ResponseGrant) -> str:
        return f"{self.base_url}/respond/{sign(self.secret, grant)}"


class LinksToNowhere:
    """Where the address is not known: a wrong link would stand in the history for ever.

    Implements `bide.core.context.ResponseLinks`.
    """

    def url(self, grant: ResponseGrant) -> str:
        """Raises `UnknownAddressStep`: the instance is held until the address is known."""
        raise UnknownAddressStep


def wait_meant(grant: ResponseGrant, history: Iterable[Step]) -> int | None:
    """The id of the wait that a link is for, in the history of its generation. None: it has not been opened yet.

    Raises `WaitClosedError` if the history does not have what the link was made for: a rewind has undone that.
    """
    found = False
    for step in history:
        for fact in step.facts[1:]:
            if not isinstance(fact, EventAwaited | ResponseLinkCreated):
                continue
            found = found or (fact.id == grant.task_id and step.time == grant.asked_at)
            if found and isinstance(fact, EventAwaited) and fact.name.lower() == grant.event.lower():
                return fact.id
    if not found:
        raise WaitClosedError
    return None
