"""What an instance waits for, found without running its code (G4, G9)."""

from bide.core.openwork import OpenWork
from bide.model.history import (
    EventAwaited,
    EventDiscarded,
    EventRaised,
    EventWaitCancelled,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    Fact,
    Failure,
    Step,
    SubOrchestrationInstanceCreated,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCancelled,
    TimerCreated,
    TimerFired,
)

FAILURE = Failure("E", "no")


def after(*steps: tuple[Fact, ...]) -> OpenWork:
    return OpenWork.of(Step(seq, seq, facts) for seq, facts in enumerate(steps))


def test_what_was_asked_for_is_open_until_it_is_answered() -> None:
    asked = (TaskScheduled(1, "a"), TimerCreated(2, 5), SubOrchestrationInstanceCreated(3, "c", "child"))
    start = (ExecutionStarted("o"), *asked, EventAwaited(4, "X"))
    assert list(after(start).requests) == [1, 2, 3, 4]
    answers: list[Fact] = [
        TaskFailed(1, FAILURE),
        TimerFired(2, 5),
        SubOrchestrationInstanceFailed(3, FAILURE),
        EventRaised("x"),
    ]
    assert after(start, *[(answer,) for answer in answers]).requests == {}
    assert list(after(start, (answers[0],)).requests) == [2, 3, 4]


def test_what_was_given_up_is_not_open() -> None:
    work = after((ExecutionStarted("o"), TimerCreated(1, 5), EventAwaited(2, "x")))
    work.ask(TimerCancelled(1, 5))
    work.ask(EventWaitCancelled(2))
    assert work.requests == {}
    assert work.next_wait("x") is None


def test_events_go_to_the_oldest_wait_of_their_name() -> None:
    work = after((ExecutionStarted("o"), EventAwaited(1, "x"), EventAwaited(2, "Y"), EventAwaited(3, "X")))
    assert work.next_wait("X") == 1
    assert [work.settle(EventRaised(name)) for name in ("X", "x", "y", "x")] == [1, 3, 2, None]
    assert work.kept_events() == [EventRaised("x")]


def test_an_event_for_one_wait_goes_there_or_nowhere() -> None:
    waits = (ExecutionStarted("o"), EventAwaited(1, "x"), EventAwaited(2, "X"), TimerCreated(3, 9))
    work = after(waits)
    assert [work.taker(EventRaised("x", id=wait_id)) for wait_id in (0, 1, 2, 3, 4)] == [1, 1, 2, None, None]
    assert work.taker(EventRaised("y", id=2)) is None
    assert work.settle(EventRaised("x", id=2)) == 2
    assert not work.expects(EventRaised("x", id=2))
    assert work.settle(EventRaised("x", id=2)) is None
    assert work.settle(EventRaised("x", id=3)) is None
    assert list(work.requests) == [1, 3]
    assert work.kept_events() == []
    assert work.next_wait("x") == 1


def test_what_was_for_one_wait_and_is_discarded_leaves_the_order_as_it_was() -> None:
    waits = (ExecutionStarted("o"), EventAwaited(1, "x"), EventAwaited(2, "x"))
    assert after(waits, (EventRaised("x", id=2), EventDiscarded(2, "x"))).next_wait("x") == 1
    late = after(waits, (EventRaised("y"), EventWaitCancelled(2)), (ExecutionResumed(), EventDiscarded(0, "x")))
    assert list(late.requests) == [1]


def test_while_suspended_one_answer_for_a_wait_is_expected() -> None:
    waits = (ExecutionStarted("o"), EventAwaited(1, "x"), EventAwaited(2, "x"))
    parked = (EventRaised("x", id=2), EventRaised("x"))
    work = after(waits, (ExecutionSuspended(),), *[(each,) for each in parked])
    assert [work.expects(EventRaised("x", id=wait_id)) for wait_id in (0, 1, 2)] == [True, True, False]
    assert work.kept_events() == [EventRaised("x")]


def test_kept_events_go_to_new_waits_in_order() -> None:
    work = OpenWork()
    first, second = EventRaised("x", input=b"1"), EventRaised("X", input=b"2")  # type: ignore[arg-type]
    for event in (first, second, EventRaised("y")):
        assert work.settle(event) is None
    assert work.ask(EventAwaited(1, "X")) is first
    assert work.kept_events() == [second, EventRaised("y")]
    assert work.ask(EventAwaited(2, "x")) is second
    assert work.ask(EventAwaited(3, "x")) is None
    assert list(work.requests) == [3]


def test_a_wait_that_was_given_up_takes_no_event() -> None:
    work = after((ExecutionStarted("o"), EventAwaited(1, "x"), EventAwaited(2, "x")))
    work.ask(EventWaitCancelled(1))
    assert work.settle(EventRaised("x")) == 2


def test_answers_nobody_waits_for_are_not_expected() -> None:
    work = after((ExecutionStarted("o"), TaskScheduled(1, "a"), TimerCreated(2, 5)))
    assert work.expects(TaskCompleted(1))
    assert not work.expects(TaskCompleted(2))  # that is a timer
    assert not work.expects(TaskCompleted(9))
    work.settle(TaskCompleted(1))
    assert not work.expects(TaskCompleted(1))
    assert work.expects(EventRaised("anything"))


def test_what_came_while_suspended_is_settled_on_resume() -> None:
    start = (ExecutionStarted("o"), TaskScheduled(1, "a"), EventAwaited(2, "x"))
    suspended: list[tuple[Fact, ...]] = [(ExecutionSuspended(),), (TaskCompleted(1),), (EventRaised("x"),)]
    work = after(start, *suspended)
    assert list(work.requests) == [1, 2]
    assert not work.expects(TaskCompleted(1))  # it came already
    assert work.kept_events() == [EventRaised("x")]
    assert after(start, *suspended, (ExecutionResumed(),)).requests == {}
