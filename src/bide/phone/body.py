"""Reading a request's body."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request


async def body_of(request: Request, most_bytes: int) -> bytes:
    """The whole body. Raises `HTTPException` 413 for one that is too long."""
    found = b""
    async for part in request.stream():
        found += part
        if len(found) > most_bytes:
            raise HTTPException(413, f"The body may be {most_bytes} bytes long at most.")
    return found
