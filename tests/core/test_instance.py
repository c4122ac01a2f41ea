"""The one table of what may happen to an instance, names and ids."""

import msgspec
import pytest

from bide import PayloadError, RuntimeStatus
from bide.history import (
    ContinuedAsNew,
    EventRaised,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionRewound,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    Fact,
    Failure,
    TaskCompleted,
    TimerFired,
)
from bide.instance import PARTITIONS, TRANSITIONS, check_event_name, check_instance_id, ended, partition_of

PENDING, RUNNING, SUSPENDED = RuntimeStatus.PENDING, RuntimeStatus.RUNNING, RuntimeStatus.SUSPENDED


def test_only_a_failed_instance_comes_back_and_only_by_a_rewind() -> None:
    ended = {key: status for key, status in TRANSITIONS.items() if key[0].finished}
    assert ended == {(RuntimeStatus.FAILED, ExecutionRewound): RUNNING}


@pytest.mark.parametrize("status", [PENDING, RUNNING, SUSPENDED])
def test_whatever_has_not_ended_can_be_terminated(status: RuntimeStatus) -> None:
    assert TRANSITIONS[status, ExecutionTerminated] is RuntimeStatus.TERMINATED


@pytest.mark.parametrize("fact", [EventRaised, TaskCompleted, TimerFired])
def test_work_leaves_the_status_as_it_is(fact: type[Fact]) -> None:
    assert TRANSITIONS[RUNNING, fact] is RUNNING
    assert TRANSITIONS[SUSPENDED, fact] is SUSPENDED
    assert (PENDING, fact) not in TRANSITIONS


def test_suspending_and_resuming_go_forth_and_back() -> None:
    assert TRANSITIONS[RUNNING, ExecutionSuspended] is SUSPENDED
    assert TRANSITIONS[SUSPENDED, ExecutionResumed] is RUNNING
    assert (SUSPENDED, ExecutionSuspended) not in TRANSITIONS
    assert (RUNNING, ExecutionResumed) not in TRANSITIONS


def test_a_generation_begins_pending() -> None:
    assert TRANSITIONS[PENDING, ExecutionStarted] is RUNNING
    assert TRANSITIONS[RUNNING, ContinuedAsNew] is PENDING
    assert (RUNNING, ExecutionStarted) not in TRANSITIONS


def test_an_ending_is_a_success_or_a_failure() -> None:
    assert ended(ExecutionCompleted()) is RuntimeStatus.COMPLETED
    assert ended(ExecutionCompleted(failure=Failure("E", "no"))) is RuntimeStatus.FAILED


@pytest.mark.parametrize("instance_id", ["a", "x" * 100, "a b", "é", "a:b@c", "@counter@1"])
def test_an_id_may_be_any_short_text(instance_id: str) -> None:
    assert check_instance_id(instance_id) == instance_id


@pytest.mark.parametrize(
    "instance_id", ["", "x" * 101, "a/b", "a\\b", "a#b", "a?b", "a\0b", "a\nb", "\ud800", "\u200b"]
)
def test_other_ids_are_refused(instance_id: str) -> None:
    with pytest.raises(PayloadError, match="id"):
        check_instance_id(instance_id)


@pytest.mark.parametrize("name", ["", "x" * 201, "a\0", "\ud800"])
def test_impossible_event_names_are_refused(name: str) -> None:
    with pytest.raises(PayloadError, match="event's name"):
        check_event_name(name)


def test_a_partition_is_for_ever() -> None:
    assert [partition_of(name) for name in ("a", "b", "é")] == [67, 249, 62]
    assert {partition_of(str(n)) for n in range(10_000)} == set(range(PARTITIONS))


def test_facts_are_written_under_the_names_of_durable_task() -> None:
    text = msgspec.json.encode(TaskCompleted(3, msgspec.Raw(b"5")))
    assert text == b'{"type":"TaskCompleted","id":3,"result":5}'
    assert msgspec.json.decode(text, type=Fact) == TaskCompleted(3, msgspec.Raw(b"5"))
