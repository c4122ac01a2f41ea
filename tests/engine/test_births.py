"""What is under way for an instance does not reach the next one of its id.

Both begin with generation 0 and count their tasks from 1: only their birth tells them apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from msgspec import Raw
from msgspec.structs import replace

from bide import App, InstanceNotFoundError, OrchestrationContext, RuntimeStatus
from bide.engine.timers import TimerWindow
from bide.model.batch import Batch, Loaded, Message, Timer
from bide.model.history import (
    EventRaised,
    ExecutionPurged,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    Fact,
    Failure,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TaskFailed,
    TimerFired,
)
from bide.model.instance import ALL_PARTITIONS, Reuse
from bide.model.links import SignedLinks
from bide.model.sealing import SealingKeys
from bide.store.memory import MemoryStore
from bide.store.protocol import BEFORE_ALL, Store
from bide.store.sqlite.store import SqliteStore
from tests.workers import new_dispatcher

SEALER = SealingKeys([bytes(32)])

T = TypeVar("T")

LINKS = SignedLinks(bytes(32), "http://127.0.0.1:7071")


@pytest.fixture
def waiter(app: App) -> App:
    """Waits for everything there is; the tasks are 1 to 4."""

    @app.activity
    def work() -> str:
        return "worked"

    @app.orchestrator
    async def child(ctx: OrchestrationContext) -> str:
        return await ctx.wait_for_external_event("Go", str)

    @app.orchestrator
    async def wait(ctx: OrchestrationContext) -> list[str]:
        tasks = [
            ctx.call_activity(work),
            ctx.create_timer(timedelta(seconds=10)),
            ctx.with_options(instance_id="child").call_sub_orchestrator(child),
            ctx.wait_for_external_event("Go", str),
        ]
        return [str(await task) for task in tasks]

    return app


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


class Hub:
    """A partition and a store, stepped by hand: messages arrive when and as the test says."""

    def __init__(self, app: App, store: Store | None = None) -> None:
        self.dispatcher = new_dispatcher(app)
        self.store = store or MemoryStore()
        self.now = 0
        run(self.store.open())
        self.dispatcher.epochs.update(run(self.store.acquire("me", 0, 10**15, len(ALL_PARTITIONS))))

    def deliver(self) -> None:
        """Hand over what is in the inbox, until nothing is."""
        while left := run(self.store.inbox(ALL_PARTITIONS, BEFORE_ALL, 99)):
            self.step(*left)

    def step(self, *messages: Message) -> Batch:
        self.now += 1
        loaded = run(self.store.load(self.dispatcher.instances.missing(messages)))
        batch = self.dispatcher.step(messages, self.now, Loaded(loaded))
        run(self.store.commit(batch))
        return batch


def start(birth: str) -> Message:
    return Message("a", ExecutionStarted("wait", birth=birth))


def end() -> tuple[Message, Message]:
    return Message("a", ExecutionTerminated("over")), Message("a", ExecutionPurged())


ANSWERS: list[Fact] = [
    TaskCompleted(1, Raw(b'"old"')),
    TaskFailed(1, Failure("ValueError", "old")),
    TimerFired(2, 10_000_001),
    SubOrchestrationInstanceCompleted(3, Raw(b'"old"')),
    SubOrchestrationInstanceFailed(3, Failure("ValueError", "old")),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda fact: type(fact).__name__)
@pytest.mark.parametrize("where", ["in memory", "in the inbox"])
def test_an_answer_to_an_earlier_life_settles_nothing(waiter: App, answer: Fact, where: str) -> None:
    hub = Hub(waiter)
    hub.step(start("one"))
    late = Message("a", answer, 0, birth="one")
    if where == "in the inbox":
        (inbox_id,) = run(hub.store.send([late]))
        late = replace(late, inbox_id=inbox_id)
    hub.step(Message("a", ExecutionTerminated("over")))
    hub.step(Message("a", ExecutionPurged()))
    began = hub.step(start("two"))
    before = run(hub.store.history("a"))
    batch = hub.step(late)
    assert batch.history == []
    assert run(hub.store.history("a")) == before
    assert [call.key for call in run(hub.store.activities(ALL_PARTITIONS))] == [("a", 0, 1, "two")]
    assert len(run(hub.store.timers(ALL_PARTITIONS, 2**62))) == len(began.timers.put) == 1
    left = run(hub.store.inbox(ALL_PARTITIONS, BEFORE_ALL, 9))
    assert late.fact not in [message.fact for message in left]


def test_what_was_accepted_by_an_earlier_life_is_not_for_the_next_one(waiter: App) -> None:
    """An event that a held instance could not take lies in the inbox."""
    hub = Hub(waiter)
    hub.step(start("one"))
    old = Message("a", EventRaised("Go", Raw(b'"old"')), None, birth="one")
    hub.step(*end()[:1])
    hub.step(*end()[1:])
    hub.step(start("two"))
    batch = hub.step(old)
    assert [type(verdict) for verdict in batch.verdicts] == [InstanceNotFoundError]
    assert batch.history == []


def test_a_further_generation_of_an_earlier_life_starts_nothing(waiter: App) -> None:
    hub = Hub(waiter)
    batch = hub.step(Message("a", ExecutionStarted("wait", birth="one"), 3, birth="one"))
    assert batch.instances == {}


def test_a_child_is_ended_with_its_parent_and_no_other_that_has_its_id(waiter: App) -> None:
    hub = Hub(waiter)
    (sent,) = (hub.step(start("one"))).inbox
    hub.step(Message("child", ExecutionStarted("child", birth="stranger")))
    (terminated,) = [
        message
        for message in (hub.step(Message("a", ExecutionTerminated("over", recurse=True)))).inbox
        if isinstance(message.fact, ExecutionTerminated)
    ]
    hub.step(terminated)
    stranger = run(hub.store.instance("child"))
    assert stranger is not None
    assert stranger.status is RuntimeStatus.RUNNING
    assert isinstance(sent.fact, ExecutionStarted)
    assert terminated.birth == sent.fact.birth


def test_a_timer_of_an_earlier_life_does_not_let_the_next_ones_fire_early() -> None:
    """They have the same id, and the earlier one is due earlier."""
    window = TimerWindow()
    window.extend([], 100)
    window.add([Timer("a", 0, 1, 10, "one")])
    window.discard([("a", 0, 1, "one", 10)])
    window.add([Timer("a", 0, 1, 50, "two")])
    assert window.due(49, 9) == []
    assert window.due(50, 9) == [Timer("a", 0, 1, 50, "two")]


# --- one commit


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "hub.db")
    yield store
    run(store.close())


@pytest.fixture
def again(app: App) -> App:
    @app.activity
    def work() -> None: ...

    @app.orchestrator
    async def again(ctx: OrchestrationContext, number: int = 0) -> int:
        ctx.call_activity(work)
        ctx.create_timer(timedelta(seconds=10))
        if await ctx.wait_for_external_event("Go") == "end":
            return number
        ctx.continue_as_new(number + 1)

    return app


def begin(birth: str, reuse: Reuse | None = None) -> Message:
    return Message("a", ExecutionStarted("again", Raw(b"0"), birth=birth), reuse=reuse)


def go(how: str) -> Message:
    return Message("a", EventRaised("Go", Raw(f'"{how}"'.encode())))


@pytest.mark.parametrize("earlier", range(4), ids=["nothing", "started", "answered", "all"])
@pytest.mark.parametrize(
    "messages",
    [
        [begin("one"), go("end"), begin("two", "ended")],
        [begin("one"), begin("two", "replace")],
        [begin("one"), go("on"), begin("two", "replace")],
        [begin("one"), Message("a", ExecutionTerminated("over")), begin("two", "ended")],
        [begin("one"), begin("x", "replace"), go("on"), begin("y", "replace"), begin("two", "replace")],
        [begin("one"), Message("a", ExecutionSuspended()), go("end"), begin("two", "replace")],
    ],
    ids=["ended", "running", "between generations", "terminated", "several", "suspended"],
)
def test_one_commit_may_have_the_end_of_one_and_the_beginning_of_another(
    again: App, store: Store, messages: list[Message], earlier: int
) -> None:
    """However the messages fall into commits, what the store has afterwards is the last one, and it alone."""
    hub = Hub(again, store)
    for message in messages[:earlier]:
        hub.step(message)
        hub.deliver()
    hub.step(*messages[earlier:])
    hub.deliver()
    row = run(store.instance("a"))
    assert row is not None
    assert (row.birth, row.status, row.generation) == ("two", RuntimeStatus.RUNNING, 0)
    assert [call.birth for call in run(store.activities(ALL_PARTITIONS))] == ["two"]
    assert [timer.birth for timer in run(store.timers(ALL_PARTITIONS, 2**62))] == ["two"]
    assert [wait.name for wait in run(store.waits("a"))] == ["Go"]
    assert [step.seq for step in run(store.history("a"))] == [0]
    assert run(store.inbox(ALL_PARTITIONS, BEFORE_ALL, 9)) == []
    hub.dispatcher.forget()
    hub.step(go("end"))
    ended = run(store.instance("a"))
    assert ended is not None
    assert ended.output == 0
