"""Repeating a request safely, purging, tags, and who did what."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from bide import (
    App,
    BideError,
    InstanceFinishedError,
    InstanceNotFoundError,
    MisfitError,
    NotAllowedError,
    OrchestrationContext,
    PayloadError,
    RequestReusedError,
    RuntimeStatus,
)
from bide.model.query import InstanceFilter
from bide.testing.harness import Durable


@pytest.fixture
def adder(app: App) -> App:
    @app.orchestrator
    async def add(ctx: OrchestrationContext, count: int = 2) -> int:
        return sum([await ctx.wait_for_external_event("Number", int) for _ in range(count)])

    @app.orchestrator
    async def echo(ctx: OrchestrationContext, value: int = 0) -> int:
        return value

    return app


# --- idempotency keys


def test_a_start_with_a_key_gives_the_same_instance(adder: App, durable: Durable) -> None:
    first = durable.start("add", 3, idempotency_key="order 7")
    durable.crash()
    assert durable.start("add", 3, idempotency_key="order 7") == first
    assert durable.start("add", 3, idempotency_key="order 8") != first
    assert durable.start("add", 3) != first


@pytest.mark.parametrize(("name", "count"), [("add", 4), ("echo", 3)])
def test_a_key_is_good_for_one_start(adder: App, durable: Durable, name: str, count: int) -> None:
    durable.start("add", 3, idempotency_key="order 7")
    with pytest.raises(RequestReusedError):
        durable.start(name, count, idempotency_key="order 7")


def test_an_event_with_a_key_counts_once(adder: App, durable: Durable) -> None:
    instance_id = durable.start("add")
    for _ in range(3):
        durable.run(durable.client.raise_event(instance_id, "Number", 5, idempotency_key="a"))
        durable.crash()
    with pytest.raises(RequestReusedError):
        durable.run(durable.client.raise_event(instance_id, "Number", 6, idempotency_key="a"))
    assert durable.status(instance_id).status is RuntimeStatus.RUNNING
    durable.run(durable.client.raise_event(instance_id, "Number", 6, idempotency_key="b"))
    assert durable.output(instance_id) == 11
    durable.run(durable.client.raise_event(instance_id, "Number", 6, idempotency_key="b"))


def test_a_repetition_is_told_what_the_first_was_told(adder: App, durable: Durable) -> None:
    """Also when the instance would judge it in another way by now."""
    instance_id = durable.start("add", 1)

    async def answer(value: object, key: str) -> None:
        await durable.client.raise_event(instance_id, "Number", value, idempotency_key=key)

    for _ in range(2):
        with pytest.raises(MisfitError, match="Expected `int`, got `str`") as refused:
            durable.run(answer("x", "wrong"))
        assert refused.value.path == "$"
        durable.crash()
    durable.run(answer(5, "right"))
    assert durable.output(instance_id) == 5
    durable.run(answer(5, "right"))
    with pytest.raises(MisfitError):
        durable.run(answer("x", "wrong"))
    with pytest.raises(InstanceFinishedError):
        durable.run(answer(5, "late"))
    durable.advance("25h")
    with pytest.raises(InstanceFinishedError):
        durable.run(answer("x", "wrong"))


def test_two_with_one_key_in_one_step_are_told_the_same(adder: App, durable: Durable) -> None:
    instance_id = durable.start("add", 1)

    async def twice() -> list[object]:
        raising = [
            durable.client.raise_event(instance_id, "Number", "x", idempotency_key="a"),
            durable.client.raise_event(instance_id, "Number", "x", idempotency_key="a"),
        ]
        return list(await asyncio.gather(*raising, return_exceptions=True))

    first, second = durable.run(twice())
    assert type(first) is type(second) is MisfitError
    assert str(first) == str(second)


def test_what_found_no_instance_is_judged_anew(adder: App, durable: Durable) -> None:
    async def answer() -> None:
        await durable.client.raise_event("later", "Number", 5, idempotency_key="a")

    with pytest.raises(InstanceNotFoundError):
        durable.run(answer())
    durable.start("add", 1, instance_id="later")
    durable.run(answer())
    assert durable.output("later") == 5


@pytest.mark.parametrize("by", ["purge", "replace"])
def test_a_key_is_free_again_when_its_instance_makes_way_in_the_same_step(
    adder: App, durable: Durable, by: str
) -> None:
    """What the first one was told says nothing of the one that has the id now."""
    durable.start("add", 0, instance_id="a")
    assert durable.output("a") == 0

    async def at_once() -> list[object]:
        client = durable.client
        making_way = [client.purge("a")] if by == "purge" else []
        return await asyncio.gather(
            client.raise_event("a", "Number", 5, idempotency_key="key"),
            *making_way,
            client.start("add", 1, instance_id="a", reuse="ended"),
            client.raise_event("a", "Number", 5, idempotency_key="key"),
            return_exceptions=True,
        )

    told = durable.run(at_once())
    assert isinstance(told[0], InstanceFinishedError)
    assert told[-1] is None
    assert durable.output("a") == 5


def test_two_events_with_one_key_at_once_count_once(adder: App, durable: Durable) -> None:
    instance_id = durable.start("add")

    async def twice() -> None:
        import asyncio

        raising = [durable.client.raise_event(instance_id, "Number", 5, idempotency_key="a") for _ in range(2)]
        await asyncio.gather(*raising)

    durable.run(twice())
    assert len(durable.waiting(instance_id)) == 1


def test_a_key_is_remembered_for_a_day(adder: App, durable: Durable) -> None:
    instance_id = durable.start("add", 2)
    durable.run(durable.client.raise_event(instance_id, "Number", 5, idempotency_key="a"))
    durable.advance("23h")
    durable.run(durable.client.raise_event(instance_id, "Number", 5, idempotency_key="a"))
    assert durable.status(instance_id).status is RuntimeStatus.RUNNING
    durable.advance("2h")
    durable.run(durable.client.raise_event(instance_id, "Number", 5, idempotency_key="a"))
    assert durable.output(instance_id) == 10


def test_a_refused_event_does_not_use_up_its_key(adder: App, durable: Durable) -> None:
    instance_id = durable.start("add", 1)
    with pytest.raises(MisfitError) as refused:
        durable.run(durable.client.raise_event(instance_id, "Number", {"a": ["x"]}, idempotency_key="a"))
    assert refused.value.path == "$"
    durable.run(durable.client.raise_event(instance_id, "Number", 5, idempotency_key="a"))
    assert durable.output(instance_id) == 5


def test_keys_of_different_callers_are_different(adder: App, durable: Durable) -> None:
    one, two = durable.client.on_behalf("one", ""), durable.client.on_behalf("two", "")
    first = durable.run(one.start("add", idempotency_key="a"))
    assert durable.run(two.start("add", idempotency_key="a")) != first


# --- purging


def test_a_purged_instance_is_gone_and_its_id_is_free(adder: App, durable: Durable) -> None:
    durable.start("echo", 1, instance_id="a")
    durable.purge("a")
    with pytest.raises(InstanceNotFoundError):
        durable.status("a")
    with pytest.raises(InstanceNotFoundError):
        durable.purge("a")
    assert durable.start("echo", 2, instance_id="a") == "a"
    assert durable.output("a") == 2


def test_only_what_has_ended_can_be_purged(adder: App, durable: Durable) -> None:
    durable.start("add", instance_id="a")
    with pytest.raises(NotAllowedError, match="Running"):
        durable.purge("a")
    durable.terminate("a")
    durable.purge("a")


def test_purging_many_leaves_what_runs_and_what_is_not_meant(adder: App, durable: Durable) -> None:
    for number in range(5):
        durable.start("echo", number, instance_id=f"old-{number}")
    durable.start("add", instance_id="old-running")
    durable.start("echo", 9, instance_id="new")
    client = durable.client.on_behalf("me", "127.0.0.1")
    assert durable.run(client.purge_many(InstanceFilter(id_prefix="old-"), 3)) == 3
    assert durable.run(client.purge_many(InstanceFilter(id_prefix="old-"))) == 2
    assert durable.run(client.purge_many(InstanceFilter(id_prefix="old-"))) == 0
    running = InstanceFilter(statuses=(RuntimeStatus.RUNNING,))
    assert durable.run(client.purge_many(running)) == 0
    left = durable.run(client.instances())
    assert {instance.id for instance in left} == {"new", "old-running"}
    entries = durable.run(client.audit())
    assert [(entry.verb, entry.reason) for entry in entries] == [
        ("purge", "2 instances"),
        ("purge", "3 instances"),
    ]


# --- tags and lists


def test_instances_are_found_by_their_tags(adder: App, durable: Durable) -> None:
    durable.start("echo", 1, instance_id="a", tags={"team": "blue", "env": "test"})
    durable.advance("1s")
    durable.start("add", 1, instance_id="b", tags={"team": "blue"})
    durable.advance("1s")
    durable.start("echo", 1, instance_id="c")

    def found(**tags: str) -> list[str]:
        return [instance.id for instance in durable.run(durable.client.instances(InstanceFilter(tags=tags)))]

    assert found(team="blue") == ["b", "a"]
    assert found(team="blue", env="test") == ["a"]
    assert found(team="red") == []
    assert found() == ["c", "b", "a"]
    assert durable.status("a").tags == {"team": "blue", "env": "test"}
    again = durable.restart("a")
    assert durable.status(again).tags == {"team": "blue", "env": "test"}


@pytest.mark.parametrize("tags", [{"": "x"}, {"a b": "x"}, {"a": "line\nbreak"}, {"a": "x" * 201}])
def test_tags_that_cannot_be_are_refused(adder: App, durable: Durable, tags: dict[str, str]) -> None:
    with pytest.raises(PayloadError):
        durable.start("echo", 1, instance_id="a", tags=tags)
    with pytest.raises(InstanceNotFoundError):
        durable.status("a")


def test_counts_and_open_waits(adder: App, app: App, durable: Durable) -> None:
    @app.orchestrator
    async def urgent(ctx: OrchestrationContext, minutes: int) -> int:
        return await ctx.wait_for_external_event("Number", int, timeout=timedelta(minutes=minutes))

    durable.start("add", instance_id="patient")
    durable.start(urgent, 5, instance_id="soon")
    durable.start(urgent, 1, instance_id="sooner")
    durable.start("echo", instance_id="done")
    assert durable.run(durable.client.counts()) == {RuntimeStatus.RUNNING: 3, RuntimeStatus.COMPLETED: 1}
    waits = durable.run(durable.client.open_waits())
    assert [(wait.instance_id, wait.orchestrator) for wait in waits] == [
        ("sooner", "urgent"),
        ("soon", "urgent"),
        ("patient", "add"),
    ]
    assert durable.run(durable.client.open_waits(overdue=True)) == []
    durable.suspend("sooner")
    durable.advance("2m")  # its timer is due, but it does not go on
    (late,) = durable.run(durable.client.open_waits(overdue=True))
    assert late.instance_id == "sooner"


# --- audit


def test_every_change_by_a_caller_is_kept_with_its_result(adder: App, durable: Durable) -> None:
    client = durable.client.on_behalf("alice", "10.0.0.7")
    durable.run(client.start("add", 1, instance_id="a", idempotency_key="k"))
    durable.run(client.start("add", 1, instance_id="a", idempotency_key="k"))
    durable.run(client.suspend("a", "lunch"))
    for number, expected in (("x", MisfitError), (1, None)):
        durable.resume("a")  # by the app itself: that is no management call
        if expected is None:
            durable.run(client.raise_event("a", "Number", number))
        else:
            with pytest.raises(expected):
                durable.run(client.raise_event("a", "Number", number))
    with pytest.raises(InstanceFinishedError):
        durable.run(client.terminate("a", "too late"))
    entries = durable.run(durable.client.audit("a"))
    assert [(entry.verb, entry.reason, entry.result) for entry in reversed(entries)] == [
        ("start", "", "accepted"),
        ("start", "", "repeated"),
        ("suspend", "lunch", "accepted"),
        ("raiseEvent", "", "MisfitError"),
        ("raiseEvent", "", "accepted"),
        ("terminate", "too late", "InstanceFinishedError"),
    ]
    assert {(entry.caller, entry.address, entry.instance_id) for entry in entries} == {("alice", "10.0.0.7", "a")}
    assert all(entry.at for entry in entries)


def test_the_audit_of_a_purged_instance_says_who_purged_it(adder: App, durable: Durable) -> None:
    client = durable.client.on_behalf("alice", "")
    durable.run(client.start("echo", 1, instance_id="a"))
    durable.run(client.purge("a"))
    assert [entry.verb for entry in durable.run(client.audit("a"))] == ["purge"]


def test_what_is_refused_before_it_reaches_an_instance_is_kept_nowhere(adder: App, durable: Durable) -> None:
    client = durable.client.on_behalf("alice", "")
    with pytest.raises(BideError):
        durable.run(client.start("nothing"))
    assert durable.run(client.audit()) == []


@pytest.mark.parametrize("with_company", [False, True])
def test_a_key_is_remembered_whether_or_not_others_share_its_commit(
    adder: App, durable: Durable, with_company: bool
) -> None:
    instance_id = durable.start("add", 3, instance_id="a")

    async def repeat() -> None:
        starts = [durable.client.start("add", 3, instance_id="a", idempotency_key="second")]
        if with_company:
            starts.append(durable.client.start("echo", 1))
        await asyncio.gather(*starts)

    durable.run(repeat())
    durable.crash()
    with pytest.raises(RequestReusedError):
        durable.start("add", 4, instance_id=instance_id, idempotency_key="second")
