"""Links under which people answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from bide.clock import Timestamp
from bide.errors import UnknownAddressStep
from bide.tokens import ResponseGrant, sign


@dataclass(frozen=True, slots=True)
class SignedLinks:
    """Links that carry a signed permission to answer one event of one instance, and need no table.

    Implements `bide.core.context.ResponseLinks`.
    """

    secret: bytes = field(repr=False)
    base_url: str
    """Scheme, host and path under which the API is served, without a slash at the end."""

    def url(
        self, instance_id: str, birth: str, event: str, link_id: str, once: bool, expires_at: Timestamp | None
    ) -> str:
        """`link_id` tells the links of one instance apart."""
        token = sign(self.secret, ResponseGrant(instance_id, birth, event, link_id, once, expires_at))
        return f"{self.base_url}/respond/{token}"


class LinksToNowhere:
    """Where the address is not known: a wrong link would stand in the history for ever.

    Implements `bide.core.context.ResponseLinks`.
    """

    def url(
        self, instance_id: str, birth: str, event: str, link_id: str, once: bool, expires_at: Timestamp | None
    ) -> str:
        """Raises `UnknownAddressStep`: the instance is held until the address is known."""
        raise UnknownAddressStep
