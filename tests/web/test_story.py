"""What the timeline and the sequence make of real histories."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from bide.model.clock import to_datetime
from tests.http.conftest import INSTANCES
from tests.web.conftest import Office, call

DECISION = b'{"approved": true, "amount": 10, "level": "low"}'


def rows(story: Any) -> list[tuple[str, str, str]]:
    return [(row["kind"], row["label"], row["outcome"]) for row in story["rows"]]


def row(story: Any, kind: str) -> Any:
    [found] = [each for each in story["rows"] if each["kind"] == kind]
    return found


def test_an_open_wait_lasts_until_its_deadline(office: Office) -> None:
    story = office.story(office.waiting("Approval", b'"Ann"'))
    assert rows(story) == [
        ("activity", "notify", "completed"),
        ("timer", "Timer", "open"),
        ("wait", "Approval", "open"),
    ]
    wait = row(story, "wait")
    assert wait["deadline"] - wait["at"] == 12 * 60 * 1_000_000
    assert story["end"] is None


def test_an_answered_wait_ends_with_its_answer_and_its_timer_is_cancelled(office: Office) -> None:
    instance_id = office.waiting("Approval", b'"Ann"')
    office.pass_time(timedelta(seconds=30))
    office.answer(instance_id, "Approval", DECISION)
    office.api.ended(instance_id)
    story = office.story(instance_id)
    assert [outcome for _, _, outcome in rows(story)] == ["completed", "cancelled", "answered"]
    wait = row(story, "wait")
    assert wait["endedAt"] - wait["at"] == 30_000_000
    assert wait["deadline"] == row(story, "timer")["deadline"]
    assert story["end"] - story["start"] == 30_000_000


def test_a_wait_was_to_last_until_its_end_and_not_until_a_reminder(office: Office) -> None:
    instance_id = office.waiting("AskTheBoardForItsVerdict", b"1000")
    office.answer(instance_id, "Verdict", b'{"approved": true}')
    office.api.ended(instance_id)
    wait = row(office.story(instance_id), "wait")
    assert (wait["outcome"], wait["deadline"] - wait["at"]) == ("answered", 1000 * 1_000_000)


def test_a_wait_that_nobody_answered_has_expired(office: Office) -> None:
    instance_id = office.waiting("Approval", b'"Ann"')
    office.pass_time(timedelta(minutes=12))
    office.api.ended(instance_id)
    assert rows(office.story(instance_id))[1:] == [("timer", "Timer", "fired"), ("wait", "Approval", "expired")]


def test_attempts_of_one_call_share_a_row_and_the_pauses_between_them_are_not_rows(office: Office) -> None:
    instance_id = office.api.start("Letter", b"1")
    for _ in range(2):
        while len(office.story(instance_id)["rows"]) < 2:  # the attempt, and the pause before the next one
            pass
        office.pass_time(timedelta(seconds=1))
    office.api.ended(instance_id)
    [only] = office.story(instance_id)["rows"]
    assert [each["outcome"] for each in only["attempts"]] == ["failed", "failed", "completed"]
    assert only["attempts"][0]["message"] == "the printer is on fire"
    assert only["outcome"] == "completed"


def test_an_attempt_was_queued_before_it_ran(office: Office) -> None:
    [attempt] = row(office.story(office.waiting("Approval", b'"Ann"')), "activity")["attempts"]
    assert attempt["at"] <= attempt["startedAt"] <= attempt["endedAt"]


def test_an_event_that_nobody_awaited_is_told_with_the_name_that_may_have_been_meant(office: Office) -> None:
    instance_id = office.waiting("Approval", b'"Ann"')
    office.answer(instance_id, "Aproval", b"1")
    office.answer(instance_id, "Weather", b"2")
    told = office.story(instance_id)["unawaited"]
    assert [(each["name"], each["near"]) for each in told] == [("Aproval", ["Approval"]), ("Weather", [])]


def test_a_suspension_lasts_until_it_is_resumed(office: Office) -> None:
    instance_id = office.waiting("Approval", b'"Ann"')
    for verb in ("suspend", "resume"):
        office.api.post(f"{INSTANCES}/{instance_id}/{verb}", params={"reason": "lunch"})
        office.pass_time(timedelta(seconds=5))
    [mark] = office.story(instance_id)["marks"]
    assert (mark["kind"], mark["to"] - mark["from"]) == ("suspended", 5_000_000)


def worker(start_s: float, seen_s: float, *, ended: bool = False, alive: bool = False) -> dict[str, Any]:
    at = {name: to_datetime(round(s * 1_000_000)).isoformat() for name, s in (("s", start_s), ("e", seen_s))}
    return {"startedAt": at["s"], "seenAt": at["e"], "endedAt": at["e"] if ended else None, "alive": alive}


def outages(now_s: float, *workers: dict[str, Any]) -> list[tuple[float, float, bool]]:
    """Of an instance that began at second 10 and still runs."""
    steps = [{"seq": 1, "at": 10_000_000, "facts": [{"type": "ExecutionStarted"}]}]
    found = call("story", "storyOf", {"steps": steps}, {"workers": workers, "now": now_s * 1000})["outages"]
    return [(each["from"] / 1e6, each["to"] / 1e6, each["killed"]) for each in found]


def test_between_a_killed_worker_and_the_next_there_was_none() -> None:
    assert outages(60, worker(5, 20), worker(30, 60, alive=True)) == [(20, 30, True)]


def test_a_worker_that_missed_a_beat_since_another_started_is_gone() -> None:
    assert outages(24, worker(5, 20, alive=True), worker(21, 23, alive=True)) == [(20, 21, True)]


def test_a_worker_that_ended_in_order_was_not_killed() -> None:
    assert outages(60, worker(5, 20, ended=True), worker(30, 60, alive=True)) == [(20, 30, False)]


def test_while_another_works_nobody_is_missed() -> None:
    assert outages(60, worker(5, 20), worker(8, 60, alive=True), worker(30, 60, alive=True)) == []


def test_an_outage_lasts_until_now_when_nobody_went_on() -> None:
    assert outages(60, worker(5, 20)) == [(20, 60, True)]


def test_an_outage_before_the_instance_began_is_not_its_own() -> None:
    assert outages(60, worker(1, 4), worker(6, 60, alive=True)) == []


def test_long_idle_time_folds_and_busy_time_does_not() -> None:
    steps = [
        {
            "seq": 1,
            "at": 0,
            "facts": [{"type": "ExecutionStarted"}, {"type": "TaskScheduled", "id": 1, "name": "a"}],
        },
        {"seq": 2, "at": 60_000_000, "facts": [{"type": "TaskCompleted", "id": 1}]},
        {"seq": 3, "at": 3_600_000_000, "facts": [{"type": "ExecutionTerminated"}]},
    ]
    story = call("story", "storyOf", {"steps": steps}, {"finished": True, "now": 0})
    scale = call("scale", "scaleOf", story, 0, 600, True)
    assert [(part["start"], part["folded"]) for part in scale["parts"]] == [(0, False), (60_000_000, True)]
    assert scale["parts"][0]["width"] > 500
    assert call("scale", "scaleOf", story, 0, 600, False)["folds"] == []


def test_the_sequence_has_a_lane_for_each_that_took_part(office: Office) -> None:
    instance_id = office.waiting("Approval", b'"Ann"')
    office.answer(instance_id, "Approval", DECISION)
    office.api.ended(instance_id)
    history = office.history(instance_id)
    sequence = call("lanes", "sequenceOf", history)
    assert sequence["lanes"] == ["Client", "Orchestrator", "notify", "Person", "Timer"]
    assert [(each["from"], each["to"]) for each in sequence["arrows"]][:3] == [
        ("Client", "Orchestrator"),
        ("Orchestrator", "notify"),
        ("notify", "Orchestrator"),
    ]
    mermaid = call("lanes", "sequenceMermaid", history).splitlines()
    assert mermaid[0] == "sequenceDiagram"
    assert "  actor L3 as Person" in mermaid
    assert "  L3-->>L1: Approval" in mermaid


def test_no_description_shows_a_payload(office: Office) -> None:
    instance_id = office.waiting("Open", b'{"owner": "Ann", "password": "hunter2"}')
    office.answer(instance_id, "Signature", b'"hunter2"')
    office.api.ended(instance_id)
    for step in office.history(instance_id)["steps"]:
        for fact in step["facts"]:
            told = call("story", "describe", fact)
            assert told["title"] != fact["type"], "every fact has words"
            assert "hunter2" not in str(told)


def step(seq: int, *facts: dict[str, Any]) -> dict[str, Any]:
    return {"seq": seq, "at": seq * 1_000_000, "facts": facts}


def fact(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, **more}


def test_an_answer_to_one_wait_is_none_to_another() -> None:
    waits = [fact("EventAwaited", id=id, name="Vote") for id in (1, 2, 3)]
    steps = [
        step(0, fact("ExecutionStarted", name="vote"), *waits),
        step(1, fact("EventRaised", name="vote", id=2), fact("EventWaitCancelled", id=3)),
        step(2, fact("EventRaised", name="Vote", id=3), fact("EventDiscarded", id=0, name="Vote")),
    ]
    story = call("story", "storyOf", {"steps": steps}, {"finished": False, "now": 9_000})
    assert [outcome for _, _, outcome in rows(story)] == ["open", "answered", "cancelled"]
    assert story["unawaited"] == []
    assert [mark["text"] for mark in story["marks"]] == ["Vote came too late, and was discarded"]


def test_a_discarded_event_answers_nothing() -> None:
    steps = [
        step(0, fact("ExecutionStarted", name="typed"), fact("EventAwaited", id=1, name="Begin")),
        step(1, fact("EventRaised", name="Number", input="x")),
        step(
            2,
            fact("EventRaised", name="Begin"),
            fact("EventDiscarded", id=2, name="Number", reason="no number"),
            fact("EventAwaited", id=2, name="Number"),
        ),
        step(3, fact("EventRaised", name="Number"), fact("EventDiscarded", id=2, name="Number", reason="none")),
    ]
    story = call("story", "storyOf", {"steps": steps}, {"finished": False, "now": 9_000})
    assert rows(story) == [("wait", "Begin", "answered"), ("wait", "Number", "open")]
    assert story["unawaited"] == []
    assert [mark["kind"] for mark in story["marks"]] == ["discarded", "discarded"]
