"""What a dashboard looks at: the hub, functions and their types, workers, what is due, what failed, how long."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import pytest
from msgspec import Meta

from bide import App, OrchestrationContext, Settings, when_any
from bide.access.keys import KeyRing, Role, keys_path
from tests.http.conftest import INSTANCES, Api, serve

BASE = INSTANCES.removesuffix("/instances")


def app_with_calls() -> App:
    app = App()

    @app.activity(once=True)
    async def greet(name: str) -> str:
        return f"Hello {name}"

    @app.activity
    def fail() -> None:
        raise ValueError("no")

    @app.orchestrator
    async def hello(ctx: OrchestrationContext, name: str) -> str:
        greeting = await ctx.call_activity(greet, name)
        patience = ctx.create_timer(timedelta(hours=1))
        answer = ctx.wait_for_external_event("Answer", Annotated[int, Meta(ge=1)])
        await when_any(answer, patience)
        return greeting

    @app.orchestrator
    async def broken(ctx: OrchestrationContext) -> None:
        await ctx.call_activity(fail)

    return app


@pytest.fixture
def calls() -> Iterator[Api]:
    with serve(Settings(db=":memory:"), app_with_calls()) as served:
        yield served


def test_the_hub_says_what_time_it_is_and_who_asks(api: Api) -> None:
    shown = api.get(f"{BASE}/hub").json()
    assert abs(datetime.fromisoformat(shown["now"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert (shown["caller"], shown["role"], shown["open"]) == ("local", "admin", True)


def test_with_keys_the_hub_is_not_open_and_each_caller_has_a_role(tmp_path: Path) -> None:
    settings = Settings(db=str(tmp_path / "a.db"), require_key=True)
    key = KeyRing(keys_path(settings.db)).create("eve", Role.VIEWER, 0)
    with serve(settings) as served:
        shown = served.get(f"{BASE}/hub", headers={"x-functions-key": key}).json()
        assert (shown["caller"], shown["role"], shown["open"]) == ("eve", "viewer", False)
        assert served.get(f"{BASE}/hub").status_code == 401


def test_functions_tell_their_types_and_orchestrators_the_events_they_have_waited_for(calls: Api) -> None:
    before = {each["name"]: each for each in calls.get(f"{BASE}/orchestrators").json()}
    assert before["hello"]["inputSchema"] == before["hello"]["outputSchema"] == {"type": "string"}
    assert before["hello"]["events"] == {}
    waiting(calls, calls.start("hello", b'"Ada"'))
    after = {each["name"]: each for each in calls.get(f"{BASE}/orchestrators").json()}
    assert after["hello"]["events"] == {"Answer": {"type": "integer", "minimum": 1}}
    assert calls.get(f"{BASE}/activities").json() == [
        {"name": "fail", "inputSchema": {}, "outputSchema": {"type": "null"}, "once": False},
        {"name": "greet", "inputSchema": {"type": "string"}, "outputSchema": {"type": "string"}, "once": True},
    ]


def waiting(api: Api, instance_id: str) -> dict[str, object]:
    """The instance's history, once it waits for an answer."""
    while not api.get(f"{INSTANCES}/{instance_id}/waits").json():
        pass
    shown: dict[str, object] = api.get(f"{INSTANCES}/{instance_id}/history").json()
    return shown


def test_history_says_when_an_activitys_body_began(calls: Api) -> None:
    history = waiting(calls, calls.start("hello", b'"Ada"'))
    first, second = history["steps"][:2]  # type: ignore[index]
    (done, *_) = second["facts"]
    assert done["type"] == "TaskCompleted"
    assert first["at"] <= done["started_at"] <= second["at"]


def test_the_process_is_a_worker_that_is_alive(calls: Api) -> None:
    (worker,) = calls.get(f"{BASE}/workers").json()
    assert worker["alive"]
    assert worker["endedAt"] is None
    assert worker["process"] == os.getpid()
    assert worker["orchestrators"] == ["broken", "hello"]
    assert worker["activities"] == ["fail", "greet"]
    assert len(worker["version"]) == 8
    assert worker["partitions"] in (0, 256)  # its first sign of life may come before it owns them


def test_a_worker_that_ended_in_order_says_so_and_is_remembered(tmp_path: Path) -> None:
    settings = Settings(db=str(tmp_path / "a.db"))
    for _ in range(2):
        with serve(settings, app_with_calls()) as served:
            workers = served.get(f"{BASE}/workers").json()
    now, before = workers
    assert now["alive"]
    assert not before["alive"]
    assert before["startedAt"] <= before["endedAt"] <= now["startedAt"]
    assert now["version"] == before["version"]


def test_open_timers_come_in_pages_the_next_one_first(calls: Api) -> None:
    started = {calls.start("hello", b'"Ada"') for _ in range(3)}
    for instance_id in started:
        waiting(calls, instance_id)
    first = calls.get(f"{BASE}/timers?top=2")
    token = first.headers["x-ms-continuation-token"]
    rest = calls.get(f"{BASE}/timers?top=2", headers={"x-ms-continuation-token": token})
    assert "x-ms-continuation-token" not in rest.headers
    timers = [*first.json(), *rest.json()]
    assert {each["instanceId"] for each in timers} == started
    assert [each["fireAt"] for each in timers] == sorted(each["fireAt"] for each in timers)
    assert {(each["orchestrator"], each["overdue"]) for each in timers} == {("hello", False)}
    assert calls.get(f"{BASE}/timers?overdue=true").json() == []


def test_failures_come_the_last_one_first(calls: Api) -> None:
    failed = [calls.start("broken") for _ in range(3)]
    for instance_id in failed:
        calls.ended(instance_id)
    waiting(calls, calls.start("hello", b'"Ada"'))
    first = calls.get(f"{BASE}/failures?since=1h&top=2")
    token = first.headers["x-ms-continuation-token"]
    rest = calls.get(f"{BASE}/failures?since=1h&top=2", headers={"x-ms-continuation-token": token})
    found = [*first.json(), *rest.json()]
    assert {each["instanceId"] for each in found} == set(failed)
    assert all("ValueError: no" in each["output"] for each in found)
    assert calls.get(f"{BASE}/failures?since=0s").json() == []


def test_metrics_count_what_happened(calls: Api) -> None:
    instance_id = calls.start("hello", b'"Ada"')
    waiting(calls, instance_id)
    calls.post(f"{INSTANCES}/{instance_id}/raiseEvent/Answer", b"3")
    calls.ended(instance_id)
    calls.ended(calls.start("broken"))
    shown = calls.get(f"{BASE}/metrics").json()
    metrics = {each["name"]: each for each in shown["metrics"]}
    assert {name: each["count"] for name, each in metrics.items()} == {
        "scheduleToStart": 2,
        "responseTime": 1,
        "timerLateness": 0,
    }
    answered = metrics["responseTime"]
    assert 0 < answered["p50"] <= answered["max"] < 60
    assert sum(bucket["count"] for bucket in answered["buckets"]) == 1
    assert [minute["count"] for minute in answered["minutes"]] == [1]
    assert metrics["timerLateness"]["p50"] is None
    ends = [
        sum(minute[name] for minute in shown["ends"]) for name in ("started", "completed", "failed", "terminated")
    ]
    assert ends == [2, 1, 1, 0]


@pytest.mark.parametrize("span", ["999999999d", "999999999.9d"])
def test_failures_of_longer_than_there_is_time_are_all_failures(calls: Api, span: str) -> None:
    failed = calls.start("broken")
    calls.ended(failed)
    shown = calls.get(f"{BASE}/failures", params={"since": span})
    assert [each["instanceId"] for each in shown.json()] == [failed]
