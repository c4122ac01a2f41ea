"""Times of the Python API are moments with a time zone, in process and over HTTP alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from starlette.testclient import TestClient

from bide import App, InstanceFilter, OrchestrationContext, Settings
from bide.client import Client
from bide.http.app import create_app
from bide.testing.harness import Durable
from tests.http.conftest import BASE

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def app() -> App:
    app = App()

    @app.orchestrator
    async def asks(ctx: OrchestrationContext) -> Any:
        await ctx.create_timer(timedelta(minutes=1))
        return await ctx.wait_for_external_event("Answer", timeout=timedelta(hours=1))

    return app


@pytest.fixture
def durable_app(app: App) -> App:
    return app


async def _listed(durable: Durable, where: InstanceFilter) -> list[str]:
    page = await durable.client.instances(where)
    return [each.id for each in page]


def test_an_instance_its_waits_its_history_and_its_audit_tell_moments(app: App, durable: Durable) -> None:
    instance_id = durable.start("asks")
    durable.advance("1m")
    instance, (wait,) = durable.status(instance_id), durable.waiting(instance_id)
    minute = timedelta(minutes=1)
    assert (instance.created_at, instance.updated_at) == (BEGAN, BEGAN + minute)
    assert (wait.since, wait.deadline) == (BEGAN + minute, BEGAN + minute + timedelta(hours=1))
    assert [step.at for step in durable.history(instance_id)] == [BEGAN, BEGAN + minute]
    somebody = durable.client.on_behalf("me", "::1")
    durable.run(somebody.suspend(instance_id))
    (entry,) = durable.run(durable.client.audit(instance_id))
    assert entry.at == BEGAN + minute
    for moment in (instance.created_at, wait.since, wait.deadline, entry.at):
        assert moment is not None
        assert moment.tzinfo is UTC


def test_a_filter_takes_moments_of_any_zone(app: App, durable: Durable) -> None:
    instance_id = durable.start("asks")
    here = BEGAN.astimezone(timezone(timedelta(hours=5, minutes=30)))
    second = timedelta(seconds=1)
    for where, found in (
        (InstanceFilter(created_from=here, created_to=here), True),
        (InstanceFilter(created_from=here + second), False),
        (InstanceFilter(created_to=here - second), False),
    ):
        assert durable.run(_listed(durable, where)) == [instance_id] * found


@pytest.mark.parametrize("name", ["created_from", "created_to"])
@pytest.mark.parametrize(
    ("at", "error", "said"),
    [
        (1_767_225_600_000_000, TypeError, "is a datetime with a time zone, not int"),
        ("2026-01-01", TypeError, "is a datetime with a time zone, not str"),
        (datetime(2026, 1, 1), ValueError, "has no time zone"),
    ],
)
def test_a_filter_refuses_what_is_no_moment(name: str, at: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        InstanceFilter(**{name: at})


def test_a_client_of_a_server_gets_moments_too(app: App) -> None:
    with TestClient(create_app(app, Settings(db=":memory:")), base_url=BASE, client=("127.0.0.1", 1)) as http:
        client = Client(BASE, http=http)
        before = datetime.now(UTC) - timedelta(seconds=2)
        instance_id = client.start("asks")
        instance = client.get(instance_id)
        assert before <= instance.created_at <= instance.updated_at <= datetime.now(UTC)
        assert client.history(instance_id)[0].at >= before
        assert [each.id for each in client.instances(InstanceFilter(created_from=before))] == [instance_id]
        assert not list(client.instances(InstanceFilter(created_to=before)))
        assert client.purge_many(InstanceFilter(created_from=before)) == 0
