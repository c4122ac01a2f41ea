"""Query parameters and names out of a request. Names of parameters compare case-insensitively.

Everything here raises `HTTPException` 400 for what is not acceptable.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import timedelta

from starlette.exceptions import HTTPException
from starlette.requests import Request

_INSTANCE_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~:@-]{1,100}")  # a URL's path swallows "." and ".."
_NAME_MAX = 200
_WAIT_MAX_S = 600.0
"""A longer wait gains nothing over asking again, and holds a connection that proxies have long cut."""


class Parameters:
    """The query parameters of a request."""

    def __init__(self, request: Request) -> None:
        self._values = {name.lower(): value for name, value in request.query_params.multi_items()}

    def text(self, name: str) -> str:
        """The parameter, or an empty text."""
        return self._values.get(name.lower(), "")

    def flag(self, name: str, default: bool) -> bool:
        """The parameter as true or false."""
        value = self.text(name).lower()
        if value not in ("", "true", "false"):
            raise HTTPException(400, f"The parameter {name} should be true or false.")
        return value == "true" if value else default

    def seconds(self, name: str) -> float | None:
        """The parameter as a span of time, or None."""
        text = self.text(name)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not value >= 0:  # NaN is not
            raise HTTPException(400, f"The parameter {name} should be a number of seconds.")
        return value


@dataclass(frozen=True, slots=True)
class View:
    """How a caller wants to see an instance: parsed as a whole, before anything is changed."""

    wait: timedelta | None
    """How long to wait for the result before answering with the URIs, or None: not at all."""
    show_input: bool
    report_failure: bool
    """Whether a failed instance is a 500."""


def view(request: Request) -> View:
    """What the query says about the answer. Waiting takes both a timeout and an interval, as with Azure."""
    parameters = Parameters(request)
    timeout = parameters.seconds("timeout")
    intervals = [parameters.seconds(name) for name in ("pollingInterval", "retryInterval")]
    waits = timeout is not None and intervals != [None, None]
    return View(
        wait=timedelta(seconds=min(timeout or 0, _WAIT_MAX_S)) if waits else None,
        show_input=parameters.flag("showInput", default=True),
        report_failure=parameters.flag("returnInternalServerErrorOnFailure", default=False),
    )


def new_instance_id(request: Request) -> str | None:
    """The instance id that a start asks for; None: make one up."""
    instance_id: str | None = request.path_params.get("instance_id")
    if instance_id is not None and _INSTANCE_ID.fullmatch(instance_id) is None:
        raise HTTPException(
            400,
            "An instance id has 1 to 100 characters out of letters, digits and . _ ~ : @ - (but not only dots).",
        )
    return instance_id


def function_or_event_name(request: Request) -> str:
    """The name in the path."""
    name: str = request.path_params["name"]
    if len(name) > _NAME_MAX:
        raise HTTPException(400, f"A name has 1 to {_NAME_MAX} characters.")
    return name
