"""Tasks, and the two ways to combine them."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from bide import Task, when_all, when_any
from bide.core.tasks import DurableTimer, ExternalEvent, race, settle


class Nobody:
    def cancel(self, task_id: int) -> None:
        raise AssertionError


def done(value: object = None, error: Exception | None = None) -> Task[object]:
    task: Task[object] = Task()
    settle(task, value, error)
    return task


def test_a_task_has_no_result_before_it_is_done() -> None:
    task: Task[int] = Task()
    assert not task.is_completed
    with pytest.raises(RuntimeError, match="not done yet"):
        _ = task.result
    settle(task, 5)
    assert (task.is_completed, task.is_failed, task.result, task.error) == (True, False, 5, None)


def test_a_failed_task_raises_its_error() -> None:
    task = done(error=ValueError("no"))
    assert task.is_failed
    with pytest.raises(ValueError, match="no"):
        _ = task.result


def test_when_any_is_the_first_to_be_done() -> None:
    one, two = Task[int](), Task[int]()
    either = when_any(one, two)
    assert not either.is_completed
    settle(two, 2)
    settle(one, 1)
    assert either.result is two


def test_when_any_of_several_that_are_done_is_the_first_given() -> None:
    waiting, one, two = Task[object](), done(1), done(2)
    assert when_any(waiting, two, one).result is two


def test_when_any_succeeds_with_a_task_that_failed() -> None:
    task = Task[int]()
    either = when_any(task)
    settle(task, None, ValueError("no"))
    assert not either.is_failed
    assert either.result is task


def test_when_any_needs_a_task() -> None:
    with pytest.raises(ValueError, match="at least one"):
        when_any()


def test_when_all_gives_the_results_in_the_order_given() -> None:
    one, two = Task[int](), Task[int]()
    both = when_all(one, two)
    settle(two, 2)
    assert not both.is_completed
    settle(one, 1)
    assert both.result == (1, 2)
    assert when_all().result == ()
    assert when_all(one, one).result == (1, 1)


def test_when_all_fails_once_all_are_done_with_the_first_error_in_order() -> None:
    one, two, three = Task[int](), Task[int](), Task[int]()
    every = when_all(one, two, three)
    settle(three, None, ValueError("third"))
    settle(one, 1)
    assert not every.is_completed
    settle(two, None, KeyError("second"))
    assert isinstance(every.error, KeyError)


def test_combinations_nest() -> None:
    one, two, three = Task[int](), Task[int](), Task[int]()
    inner = when_any(one, two)
    outer = when_all(inner, three)
    settle(three, 3)
    settle(two, 2)
    assert outer.result == (two, 3)


def test_a_task_given_twice_counts_once() -> None:
    task = Task[int]()
    both = when_all(task, task)
    settle(task, 1)
    assert both.result == (1, 1)


def test_a_race_knows_its_waits_and_their_deadline() -> None:
    wait: ExternalEvent[str] = ExternalEvent(Nobody(), 1, "Answer")
    early, late = DurableTimer(Nobody(), 2, 10), DurableTimer(Nobody(), 3, 20)
    assert race(when_any(late, wait, early)) == ([1], 20)
    assert race(when_any(wait)) == ([1], None)
    assert race(when_all(wait, early)) == ([], None)
    settle(early, None)
    assert race(when_any(wait, late)) == ([1], 20)


@pytest.mark.parametrize("combine", [when_all, when_any])
def test_a_list_of_tasks_is_refused_with_what_to_write(combine: Callable[..., Task[Any]]) -> None:
    with pytest.raises(TypeError, match=re.escape(f"{combine.__name__}(*tasks). This is a list.")):
        combine([Task[int]()])
