"""The API over an app in memory, called in process."""

from __future__ import annotations

import string
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from bide import App, OrchestrationContext, Settings
from bide.engine.client import Client
from bide.http.app import create_app

BASE = "http://127.0.0.1:7071"
INSTANCES = "/runtime/webhooks/durabletask/instances"
OLD_INSTANCES = "/admin/extensions/DurableTaskExtension/instances"
BASE64 = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
"""The alphabet of tokens, in the order of its bits."""


def example() -> App:
    app = App()

    @app.orchestrator(name="Echo")
    async def echo(ctx: OrchestrationContext, value: Any = None) -> Any:
        return value

    @app.orchestrator(name="Approve")
    async def approve(ctx: OrchestrationContext, request: Any = None) -> Any:
        return await ctx.wait_for_external_event("Answer")

    @app.orchestrator(name="YesOrNo")
    async def yes_or_no(ctx: OrchestrationContext) -> bool:
        return await ctx.wait_for_external_event("Answer", bool)

    @app.orchestrator(name="Fail")
    async def fail(ctx: OrchestrationContext) -> None:
        raise ValueError("it cannot be")

    @app.orchestrator(name="Strict")
    async def strict(ctx: OrchestrationContext, count: int) -> int:
        ctx.set_custom_status({"count": count})
        return count

    return app


def nearly(token: str) -> Iterator[str]:
    """The token with one character changed, at each place: into its neighbour, whose bits differ least, or none.

    A decoder that overlooks bits (the last character of base64 has some to spare) takes the neighbour for the same.
    """
    for place, old in enumerate(token):
        neighbour = BASE64[BASE64.index(old) ^ 1] if old in BASE64 else "A"
        for other in {neighbour, "."} - {old}:
            yield token[:place] + other + token[place + 1 :]


class Api:
    """The API as a caller sees it, with a few shorthands."""

    def __init__(self, http: TestClient) -> None:
        self.http = http

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return self.http.get(path, **options)

    def post(self, path: str, body: bytes = b"", kind: str = "application/json", **options: Any) -> httpx2.Response:
        headers = {"Content-Type": kind} if kind else {}
        return self.http.post(path, content=body, headers=headers | options.pop("headers", {}), **options)

    def start(self, name: str = "Approve", body: bytes = b"") -> str:
        answer = self.post(f"/orchestrators/{name}", body)
        assert answer.status_code == 202, answer.text
        started: str = answer.json()["id"]
        return started

    def status(self, instance_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.get(f"{INSTANCES}/{instance_id}").json()
        return shown

    def ended(self, instance_id: str) -> dict[str, Any]:
        """The status, once the instance has ended."""
        client: Client = self.http.app.client  # type: ignore[attr-defined]
        assert self.http.portal is not None
        self.http.portal.call(partial(client.wait, instance_id, timedelta(seconds=10)))
        return self.status(instance_id)


@contextmanager
def serve(settings: Settings, app: App | None = None) -> Iterator[Api]:
    api = create_app(app or example(), settings)
    with TestClient(api, base_url=BASE, follow_redirects=False, client=("127.0.0.1", 50_000)) as http:
        yield Api(http)


@pytest.fixture
def api() -> Iterator[Api]:
    with serve(Settings(db=":memory:")) as served:
        yield served


@pytest.fixture
def small_api() -> Iterator[Api]:
    """With limits that a test reaches easily."""
    with serve(Settings(db=":memory:", max_body_bytes=20, max_json_depth=2, task_hub="my hub")) as served:
        yield served
