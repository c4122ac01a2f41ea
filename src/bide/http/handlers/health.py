"""What a supervisor or load balancer asks. It takes no key, and tells nothing else."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bide.http.base.answers import json_answer
from bide.http.base.shapes import Health
from bide.http.handlers.endpoint import Services

PATHS = frozenset({b"/healthz", b"/readyz"})
"""For these there is room when there is none for anything else."""


async def healthz(request: Request) -> Response:
    """The process lives."""
    return json_answer(200, b'{"status":"ok"}')


async def readyz(request: Request) -> Response:
    """The worker has its partitions, the database confirms its commits, and it is not about to leave."""
    services: Services = request.app.state.services
    ready = services.client.ready and not request.app.leaving
    return json_answer(200 if ready else 503, msgspec.json.encode(Health(ready=ready)))


def routes() -> list[Route]:
    return [Route("/healthz", healthz), Route("/readyz", readyz)]
