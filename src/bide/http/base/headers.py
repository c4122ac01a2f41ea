"""Headers of requests: what is checked of them, and what the OpenAPI document says."""

from __future__ import annotations

from typing import NamedTuple

from bide.http.base.shapes import IDEMPOTENCY_KEY, LAST_EVENT_ID
from bide.model.instance import MAX_KEY


class Header(NamedTuple):
    """One header that an operation reads."""

    name: str
    description: str
    most: int = MAX_KEY
    """How many characters it has at most."""
    pattern: str = ""
    """What it looks like; who reads it checks that. Empty: as it likes."""


KEY = Header(IDEMPOTENCY_KEY, "Makes it safe to send the request again within 24 hours.")
LAST_CHANGE = Header(LAST_EVENT_ID, "The last event that was read.")
STEP_ID = r"([0-9]{1,9})\.([0-9]{1,9})\.([A-Za-z0-9_-]{0,40})"
"""The id of an event in an instance's stream: `generation.seq.birth`."""
LAST_STEP = Header(LAST_EVENT_ID, "The last event that was read.", pattern=f"^({STEP_ID})?$")
