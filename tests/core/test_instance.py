"""Names and ids."""

import msgspec
import pytest

from bide import PayloadError
from bide.model.history import Fact, TaskCompleted
from bide.model.instance import PARTITIONS, check_event_name, check_instance_id, partition_of


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
