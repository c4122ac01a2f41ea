"""The part of the exam about lists, requests, the audit, and what is deleted."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from bide.model.batch import AuditEntry, RequestKey, Timer
from bide.model.clock import SECOND, Timestamp, to_datetime
from bide.model.history import EventRaised, ExecutionStarted
from bide.model.instance import Instance, RuntimeStatus, Wait, partition_of
from bide.model.presence import REMEMBERED, Presence
from bide.model.query import (
    InstanceCursor,
    InstanceFilter,
    WaitFilter,
    failure_cursor,
    instance_cursor,
    timer_cursor,
    wait_cursor,
)
from bide.store.protocol import BEFORE_ALL, Store
from bide.testing.exam_rows import (
    ALL,
    FOREVER,
    NOW,
    Question,
    event,
    everything,
    instance,
    nothing_of,
    numbers,
    own_all,
    put,
    step,
)

FAILED, RUNNING, COMPLETED = RuntimeStatus.FAILED, RuntimeStatus.RUNNING, RuntimeStatus.COMPLETED
TERMINATED = RuntimeStatus.TERMINATED

FILTERS: list[tuple[InstanceFilter, str]] = [
    (InstanceFilter(), "g f e d c b a"),
    (InstanceFilter(statuses=(FAILED,)), "f c"),
    (InstanceFilter(statuses=(FAILED, COMPLETED)), "f e c b"),
    (InstanceFilter(created_from=to_datetime(NOW + 3)), "g f e d"),
    (InstanceFilter(created_to=to_datetime(NOW + 1)), "b a"),
    (InstanceFilter(created_from=to_datetime(NOW + 2), created_to=to_datetime(NOW + 2)), "c"),
    (InstanceFilter(name="pay"), "f d b"),
    (InstanceFilter(name="PAY"), ""),
    (InstanceFilter(id_prefix="a"), "a"),
    (InstanceFilter(id_prefix="A"), ""),
    (InstanceFilter(id_prefix="%"), ""),
    (InstanceFilter(tags={"team": "blue"}), "g e c a"),
    (InstanceFilter(tags={"team": "blue", "env": "test"}), "g a"),
    (InstanceFilter(tags={"team": "BLUE"}), ""),
    (InstanceFilter(held=True), "g d"),
    (InstanceFilter(held=True, name="pay"), "d"),
    (InstanceFilter(held=True, tags={"team": "blue"}, statuses=(RUNNING,), created_from=to_datetime(NOW + 1)), "g"),
    (InstanceFilter(tags={"team": "blue"}, statuses=(FAILED,), name="order", created_to=to_datetime(NOW + 4)), "c"),
]


def rows(*instances: Instance) -> dict[str, Instance]:
    return {each.id: each for each in instances}


def worker(name: str, started_at: Timestamp) -> Presence:
    return Presence(name, "host", 7, "00c0ffee", ("order",), ("pay",), started_at, started_at)


def crowd() -> list[Instance]:
    """Seven instances, a to g, one microsecond after the other."""
    statuses = [RUNNING, COMPLETED, FAILED]
    return [
        instance(
            name,
            created=NOW + number,
            status=statuses[number % 3],
            name="pay" if number % 2 else "order",
            held="Deploy code that fits." if number in (3, 6) else None,
            tags={} if number % 2 else {"team": "blue", **({"env": "test"} if number % 6 == 0 else {})},
        )
        for number, name in enumerate("abcdefg")
    ]


class ListExam:
    """Questions of the exam; `StoreExam` asks them."""

    @abstractmethod
    def ask(self, directory: Path, *questions: Question) -> None:
        """Ask each question of a store that was opened anew over the same data."""

    # --- lists

    @pytest.mark.parametrize(("where", "expected"), FILTERS)
    def test_filters(self, tmp_path: Path, where: InstanceFilter, expected: str) -> None:
        async def question(store: Store) -> None:
            await put(store, await own_all(store), instances={each.id: each for each in crowd()})
            found = await store.instances(where, None, 100)
            assert [each.id for each in found] == expected.split()
            counts = await store.counts(where)
            assert sum(counts.values()) == len(found)
            assert counts == {status: [each.status for each in found].count(status) for status in counts}

        self.ask(tmp_path, question)

    @pytest.mark.parametrize(
        "where", [InstanceFilter(), InstanceFilter(tags={"team": "blue"}), InstanceFilter(name="pay")]
    )
    def test_pages_follow_each_other_while_others_write(self, tmp_path: Path, where: InstanceFilter) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            await put(store, epochs, instances={each.id: each for each in crowd()})
            whole = [each.id for each in await store.instances(where, None, 100)]
            paged: list[str] = []
            after: InstanceCursor | None = None
            while page := await store.instances(where, after, 2):
                paged += [each.id for each in page]
                after = instance_cursor(page[-1])
                new = instance(f"new{len(paged)}", created=NOW + 100, name="pay", tags={"team": "blue"})
                await put(store, epochs, instances={new.id: new})
            assert paged == whole

        self.ask(tmp_path, question)

    def test_instances_of_one_moment_are_in_the_order_of_their_ids(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            await put(store, await own_all(store), "b", "c", "a")
            first = await store.instances(InstanceFilter(), None, 1)
            rest = await store.instances(InstanceFilter(), instance_cursor(first[0]), 10)
            assert [each.id for each in (*first, *rest)] == ["c", "b", "a"]

        self.ask(tmp_path, question)

    def test_a_changed_instance_is_found_as_it_is_now(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            before, after = (
                instance("a", tags={"n": "1"}),
                instance("a", status=FAILED, tags={"n": "1"}, held="why"),
            )
            for row in (before, after):
                await put(store, epochs, instances={"a": row})
            assert await store.instances(InstanceFilter(statuses=(RUNNING,)), None, 9) == []
            assert await store.instances(InstanceFilter(tags={"n": "1"}), None, 9) == [after]
            assert await store.counts(InstanceFilter()) == {FAILED: 1}

        self.ask(tmp_path, question)

    def test_open_waits_come_by_deadline_and_those_without_one_last(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            deadlines = {1: None, 2: NOW + 20, 3: NOW + 10, 4: None, 5: NOW + 10}
            waits = {
                (name, number): Wait(
                    name, number, "Ärger" if number == 5 else "Answer", NOW, deadline, Raw(b"{}"), "order"
                )
                for name in "ab"
                for number, deadline in deadlines.items()
            }
            await put(store, epochs, "a", "b", waits=waits)
            found = await store.open_waits(WaitFilter(), None, 100)
            keys = [(wait.instance_id, wait.id) for wait in found]
            assert keys == [
                ("a", 3),
                ("a", 5),
                ("b", 3),
                ("b", 5),
                ("a", 2),
                ("b", 2),
                ("a", 1),
                ("a", 4),
                ("b", 1),
                ("b", 4),
            ]
            assert found[0] == waits["a", 3]
            paged: list[Wait] = []
            while page := await store.open_waits(WaitFilter(), wait_cursor(paged[-1]) if paged else None, 3):
                paged += page
            assert paged == found
            due = await store.open_waits(WaitFilter(due_before=NOW + 20), None, 100)
            assert due == found[:4]
            assert len(await store.open_waits(WaitFilter(name="äRGER"), None, 100)) == 2

        self.ask(tmp_path, question)

    def test_waits_are_found_by_what_their_instances_are(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            rows = {
                "a": instance("a", name="order", tags={"team": "blue", "city": "Rome"}),
                "b": instance("b", name="order", tags={"team": "red", "city": "Rome"}),
                "c": instance("c", name="other", tags={"team": "blue"}),
            }
            waits = {(name, 1): Wait(name, 1, "Answer", NOW, orchestrator=row.name) for name, row in rows.items()}
            await put(store, epochs, instances=rows, waits=waits)

            async def found(**where: Any) -> list[str]:
                return [wait.instance_id for wait in await store.open_waits(WaitFilter(**where), None, 100)]

            assert await found(orchestrator="order") == ["a", "b"]
            assert await found(tags={"team": "blue"}) == ["a", "c"]
            assert await found(tags={"team": "blue", "city": "Rome"}) == ["a"]
            assert await found(tags={"team": "red"}, orchestrator="other") == []
            assert await found(tags={"city": "Rome"}, name="answer", due_before=NOW) == []

        self.ask(tmp_path, question)

    # --- requests

    def test_ended_ones_come_in_pages_and_only_from_the_partitions_asked_for(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            ended = [
                instance(name, status=status, updated=NOW + at)
                for name, status, at in (
                    ("a", COMPLETED, 3),
                    ("b", FAILED, 1),
                    ("c", TERMINATED, 2),
                    ("d", FAILED, 9),
                )
            ]
            epochs = await own_all(store)
            await put(store, epochs, instances=rows(*ended, instance("e", updated=NOW)))
            assert sorted(await all_ended(store, epochs.keys(), NOW + 9, 10)) == ["a", "b", "c"]
            assert sorted(await all_ended(store, epochs.keys(), NOW + 9, 1)) == ["a", "b", "c"]
            others = epochs.keys() - {partition_of("b")}
            assert await all_ended(store, others, NOW + 3, 10) == ["c"]
            await put(store, epochs, purged=["c"], instances=rows(replace(ended[1], status=RUNNING)))
            assert await all_ended(store, epochs.keys(), NOW + 9, 10) == ["a"]

        self.ask(tmp_path, question)

    def test_failures_come_by_when_they_failed(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            failed = [
                instance(name, status=FAILED, updated=NOW + at)
                for name, at in zip("abcd", (3, 9, 5, 5), strict=True)
            ]
            epochs = await own_all(store)
            await put(store, epochs, instances=rows(*failed, instance("e", updated=NOW + 7)))
            found = await store.failures(NOW + 5, None, 10)
            assert [each.id for each in found] == ["b", "d", "c"]
            first, rest = found[:1], await store.failures(NOW, failure_cursor(found[0]), 2)
            assert [each.id for each in (*first, *rest)] == ["b", "d", "c"]
            assert [each.id for each in await store.failures(NOW, failure_cursor(rest[-1]), 2)] == ["a"]
            await put(store, epochs, instances=rows(replace(failed[1], status=RUNNING)))
            assert [each.id for each in await store.failures(NOW, None, 10)] == ["d", "c", "a"]

        self.ask(tmp_path, question)

    def test_open_timers_come_by_when_they_are_due_with_their_functions_name(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            timers = [
                Timer("a", 0, 1, NOW + 5),
                Timer("b", 0, 1, NOW + 5),
                Timer("a", 0, 2, NOW),
                Timer("b", 0, 3, NOW + 9),
            ]
            named = rows(instance("a"), instance("b", name="pay"))
            await put(store, await own_all(store), instances=named, timers={each.key: each for each in timers})
            found = await store.open_timers(FOREVER, None, 10)
            assert [(each.fire_at - NOW, each.instance_id, each.task_id) for each in found] == [
                (0, "a", 2),
                (5, "a", 1),
                (5, "b", 1),
                (9, "b", 3),
            ]
            assert [each.orchestrator for each in found] == ["order", "order", "pay", "pay"]
            assert await store.open_timers(FOREVER, timer_cursor(found[1]), 1) == found[2:3]
            assert await store.open_timers(NOW + 5, None, 10) == found[:1]

        self.ask(tmp_path, question)

    def test_what_a_worker_says_replaces_what_it_said_before(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            one, other = worker("one", NOW), worker("other", NOW + 1)
            for presence in (one, other, replace(one, seen_at=NOW + 9, queued_messages=3)):
                await store.announce(presence)
            assert await store.workers() == [other, replace(one, seen_at=NOW + 9, queued_messages=3)]

        self.ask(tmp_path, question)

    def test_only_the_last_workers_are_remembered(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            for number in range(REMEMBERED + 3):
                await store.announce(worker(f"w{number}", NOW + number))
            names = [each.name for each in await store.workers()]
            assert (len(names), names[0], names[-1]) == (REMEMBERED, f"w{REMEMBERED + 2}", "w3")

        self.ask(tmp_path, question)

    def test_requests_are_remembered_until_their_time(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            short, long = RequestKey("short", b"1", NOW + 10), RequestKey("long", b"2", FOREVER)
            keys = [("a", "short"), ("a", "long"), ("b", "short"), ("a", "other")]
            await put(store, epochs, "a", requests={("a", "short"): short, ("a", "long"): long})
            assert await store.requests(keys, NOW + 9) == {("a", "short"): short, ("a", "long"): long}
            assert await store.requests(keys, NOW + 10) == {("a", "long"): long}
            assert await store.requests([], NOW) == {}
            again = RequestKey("short", b"3", NOW + 99)
            await put(store, epochs, requests={("a", "short"): again})
            assert await store.requests([("a", "short")], NOW + 50) == {("a", "short"): again}

        self.ask(tmp_path, question)

    # --- audit

    def test_the_audit_comes_newest_first_and_in_pages(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            for number in range(5):
                entry = AuditEntry(NOW + number, "start", "me", "::1", "why", "accepted", "ab"[number % 2])
                await put(store, epochs, audit=[entry])
            await store.note(AuditEntry(NOW + 9, "purge", "me", "", "3 instances"))
            found = await store.audit(None, None, 100)
            assert [entry.time - NOW for entry in found] == [9, 4, 3, 2, 1, 0]
            assert [entry.id for entry in found] == sorted({entry.id for entry in found}, reverse=True)
            assert found[-1] == AuditEntry(NOW, "start", "me", "::1", "why", "accepted", "a", found[-1].id)
            assert await store.audit(None, found[1].id, 2) == found[2:4]
            assert await store.audit("a", None, 100) == [entry for entry in found if entry.instance_id == "a"]
            assert await store.audit("a", None, 1) == [found[1]]

        self.ask(tmp_path, question)

    # --- what is deleted

    def test_a_purged_instance_leaves_nothing_but_its_last_entry_and_what_was_not_for_it_alone(
        self, tmp_path: Path
    ) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            request, entry = RequestKey("k", b"1", FOREVER), AuditEntry(NOW, "start", "me", "", instance_id="a")
            others = await store.commit(everything("a", epochs))
            await put(
                store,
                epochs,
                "b",
                instances={"a": instance("a", status=COMPLETED, tags={"n": "1"})},
                activities_closed=[("a", 0, 1, "b1")],
                timers_closed=[each.key for each in await store.timers(ALL, FOREVER)],
                waits_closed=[("a", 3)],
                requests={("a", "k"): request, ("b", "k"): request},
                audit=[entry],
            )
            last = AuditEntry(NOW + 1, "purge", "me", "", instance_id="a")
            await put(store, epochs, purged=["a"], audit=[last])
            assert numbers(await store.inbox(ALL, BEFORE_ALL, 9)) == [1]  # for whichever instance has the id
            await put(store, epochs, inbox_closed=others)
            await nothing_of(store, "a")
            assert await store.requests([("a", "k"), ("b", "k")], NOW) == {("b", "k"): request}
            assert [each.verb for each in await store.audit("a", None, 9)] == ["purge"]
            assert [each.id for each in await store.instances(InstanceFilter(), None, 9)] == ["b"]
            assert await store.instances(InstanceFilter(tags={"n": "1"}), None, 9) == []

        self.ask(tmp_path, question)

    def test_a_replaced_instance_leaves_its_audit_and_what_outlives_it(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            short, long = RequestKey("short", b"1", FOREVER), RequestKey("long", b"2", FOREVER, outlives=True)
            old = instance("a", status=RuntimeStatus.FAILED, tags={"n": "1"})
            entry = AuditEntry(NOW, "start", "me", "", instance_id="a")
            rows: dict[str, Any] = {"history": [step("a", 0, ExecutionStarted("order"), EventRaised("x"))]}
            rows["requests"] = {("a", "short"): short, ("a", "long"): long}
            await put(store, epochs, instances={"a": old}, audit=[entry], parked=[event("a", 1, "b1")], **rows)
            fresh, new = instance("a", created=NOW + SECOND, birth="b2"), step("a", 0, ExecutionStarted("pay"))
            await put(store, epochs, replaced={"a": old}, instances={"a": fresh}, history=[new])
            assert await store.instance("a") == fresh
            assert [each.facts for each in await store.history("a")] == [(ExecutionStarted("pay"),)]
            assert await store.requests([("a", "short"), ("a", "long")], NOW) == {("a", "long"): long}
            assert [each.verb for each in await store.audit("a", None, 9)] == ["start"]
            assert await store.inbox(ALL, BEFORE_ALL, 9) == []
            assert await store.failures(0, None, 9) == []
            assert await store.instances(InstanceFilter(tags={"n": "1"}), None, 9) == []
            await put(store, epochs, purged=["a"])
            assert await store.requests([("a", "long")], NOW) == {}

        self.ask(tmp_path, question)

    def test_a_purged_id_may_begin_anew_in_the_same_commit(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            rows: dict[str, Any] = {"history": [step("a", 0, ExecutionStarted("order"), EventRaised("x"))]}
            await put(store, epochs, instances={"a": instance("a", tags={"n": "1"})}, **rows)
            fresh = instance("a", created=NOW + SECOND, tags={"n": "2"}, birth="b2")
            new = step("a", 0, ExecutionStarted("pay"))
            await put(store, epochs, purged=["a"], instances={"a": fresh}, history=[new], inbox=[event("a", 7)])
            assert await store.instance("a") == fresh
            assert [each.facts for each in await store.history("a")] == [(ExecutionStarted("pay"),)]
            assert len(await store.inbox(ALL, BEFORE_ALL, 9)) == 1
            assert await store.instances(InstanceFilter(tags={"n": "1"}), None, 9) == []
            assert await store.instances(InstanceFilter(tags={"n": "2"}), None, 9) == [fresh]

        self.ask(tmp_path, question)

    def test_undone_steps_are_gone_before_new_ones_are_written(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            steps = [step(name, seq, EventRaised(f"old{seq}")) for name in "ab" for seq in range(4)]
            await put(store, epochs, "a", "b", history=steps)
            new = step("a", 2, EventRaised("new"))
            await put(store, epochs, "a", undone={"a": (0, 2)}, history=[new])
            names = [
                fact.name
                for each in await store.history("a")
                for fact in each.facts
                if isinstance(fact, EventRaised)
            ]
            assert names == ["old0", "old1", "new"]
            assert len(await store.history("b")) == 4

        self.ask(tmp_path, question)


async def all_ended(store: Store, partitions: Collection[int], before: Timestamp, limit: int) -> list[str]:
    """Page by page."""
    found, after = await store.ended(partitions, before, None, limit)
    while after is not None:
        page, after = await store.ended(partitions, before, after, limit)
        assert len(page) <= limit
        found += page
    return found
