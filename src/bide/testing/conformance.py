"""The exam that every store sits: the contract of `bide.store.protocol`, question by question.

A store's test module says how to make one, and pytest asks the rest:

    class TestMyStore(StoreExam):
        def make(self, directory: Path) -> Store:
            return MyStore(directory / "hub")

`make` is called again with the same directory to look at what an earlier store left there.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from bide.errors import LeaseLostError
from bide.model.batch import Audit, Batch, Message, RemoteVerdict, RequestKey, Timer
from bide.model.clock import SECOND
from bide.model.history import EventRaised, ExecutionStarted, Parent, TaskCompleted, TaskScheduled, TimerCreated
from bide.model.instance import PARTITIONS, RuntimeStatus, Wait, partition_of
from bide.store.protocol import BEFORE_ALL, LONGEST_LEASE, Store
from bide.testing.exam_lists import ListExam
from bide.testing.exam_rows import (
    ALL,
    FOREVER,
    LATER,
    NOW,
    ODD_PAYLOADS,
    Question,
    activity,
    event,
    everything,
    instance,
    nothing_of,
    numbers,
    own_all,
    put,
    step,
)


class StoreExam(ListExam):
    """Subclass it as `Test...`, and write `make`."""

    durable = True
    """Whether what was committed survives closing and opening again."""

    def make(self, directory: Path) -> Store:
        """A store, not yet open, that keeps its data in the directory."""
        raise NotImplementedError

    def ask(self, directory: Path, *questions: Question) -> None:
        """Ask each question of a store that was opened anew over the same data."""

        async def exam() -> None:
            for question in questions:
                store = self.make(directory)
                await store.open()
                try:
                    await question(store)
                finally:
                    await store.close()

        asyncio.run(exam())

    # --- ownership

    def test_acquire_gives_every_free_partition_once(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            taken = await store.acquire("one", NOW, LATER, PARTITIONS)
            assert taken.keys() == set(ALL)
            assert await store.acquire("one", NOW, LATER, PARTITIONS) == {}
            assert await store.acquire("two", NOW, LATER, PARTITIONS) == {}

        self.ask(tmp_path, question)

    def test_acquire_takes_at_most_what_it_may(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            one = await store.acquire("one", NOW, LATER, 100)
            two = await store.acquire("two", NOW, LATER, PARTITIONS)
            assert (len(one), len(two)) == (100, PARTITIONS - 100)
            assert not one.keys() & two.keys()
            assert await store.acquire("three", NOW, LATER, 0) == {}

        self.ask(tmp_path, question)

    def test_a_lease_holds_until_its_end_by_the_time_that_is_given(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            await store.acquire("one", NOW, LATER, PARTITIONS)
            assert await store.acquire("two", LATER, LATER + SECOND, PARTITIONS) == {}
            taken = await store.acquire("two", LATER + 1, LATER + SECOND, PARTITIONS)
            assert len(taken) == PARTITIONS

        self.ask(tmp_path, question)

    def test_a_lease_from_before_the_clock_was_set_back_holds_nobody_off(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            await store.acquire("one", NOW, NOW + LONGEST_LEASE, PARTITIONS)
            assert await store.acquire("two", NOW, LATER, PARTITIONS) == {}
            assert len(await store.acquire("two", NOW - 1, LATER, PARTITIONS)) == PARTITIONS

        self.ask(tmp_path, question)

    def test_epochs_only_grow(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            before = dict.fromkeys(ALL, 0)
            for number in range(4):
                taken = await store.acquire(f"owner {number % 2}", NOW, LATER, PARTITIONS)
                assert all(taken[partition] > before[partition] for partition in ALL)
                await store.release(f"owner {number % 2}", taken)
                before = taken

        self.ask(tmp_path, question)

    def test_renewing_prolongs_a_lease(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            taken = await store.acquire("one", NOW, LATER, PARTITIONS)
            assert await store.renew("one", taken, NOW, LATER + SECOND) == set(ALL)
            assert await store.acquire("two", LATER + 1, FOREVER, PARTITIONS) == {}

        self.ask(tmp_path, question)

    def test_a_lost_lease_is_not_renewed(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            one = await store.acquire("one", NOW, LATER, 10)
            two = await store.acquire("two", LATER + 1, LATER + SECOND, 4)
            lost = one.keys() & two.keys()
            assert await store.renew("one", one, LATER + 1, FOREVER) == one.keys() - lost
            assert await store.renew("two", two, LATER + 1, FOREVER) == two.keys()
            assert await store.renew("one", {}, LATER + 1, FOREVER) == set()

        self.ask(tmp_path, question)

    def test_an_old_epoch_of_the_same_owner_is_not_renewed(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            old = await store.acquire("one", NOW, LATER, PARTITIONS)
            new = await store.acquire("one", LATER + 1, LATER + SECOND, PARTITIONS)
            assert await store.renew("one", old, LATER + 1, FOREVER) == set()
            assert await store.renew("one", new, LATER + 1, FOREVER) == set(ALL)

        self.ask(tmp_path, question)

    def test_a_released_partition_is_free_at_once(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            one = await store.acquire("one", NOW, LATER, PARTITIONS)
            await store.release("one", {3: one[3], 5: one[5]})
            assert (await store.acquire("two", NOW, LATER, PARTITIONS)).keys() == {3, 5}

        self.ask(tmp_path, question)

    def test_only_the_present_owner_can_release(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            old = await store.acquire("one", NOW, LATER, PARTITIONS)
            new = await store.acquire("one", LATER + 1, LATER + SECOND, PARTITIONS)
            await store.release("one", old)
            await store.release("two", new)
            assert await store.acquire("three", LATER + 1, FOREVER, PARTITIONS) == {}

        self.ask(tmp_path, question)

    def test_a_partition_that_was_not_released_was_cut_off(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            one = await store.acquire("one", NOW, LATER, PARTITIONS)
            assert await store.cut_off(ALL) == set()
            await store.release("one", {3: one[3], 5: one[5]})
            two = await store.acquire("two", NOW, LATER + SECOND, PARTITIONS)
            assert await store.cut_off(two) == set()
            rest = await store.acquire("two", LATER + 1, LATER + SECOND, PARTITIONS)
            assert await store.cut_off(rest) == set(ALL) - {3, 5}
            assert await store.cut_off([3, 4]) == {4}
            await store.release("two", two | rest)
            await store.acquire("three", LATER + 2, FOREVER, PARTITIONS)
            assert await store.cut_off(ALL) == set()

        self.ask(tmp_path, question)

    # --- the fence

    def test_a_commit_under_an_old_epoch_leaves_nothing(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            old = await own_all(store, "one")
            await put(store, old, "kept", inbox=[event("kept", 1)])
            (row,) = await store.inbox(ALL, BEFORE_ALL, 10)
            stale = dict(await own_all(store, "two", LATER + 1))
            stale[partition_of("new")] = old[partition_of("new")]
            with pytest.raises(LeaseLostError):
                await store.commit(everything("new", stale, closes=row.inbox_id))
            await nothing_of(store, "new")
            assert numbers(await store.inbox(ALL, BEFORE_ALL, 10)) == [1]

        self.ask(tmp_path, question)

    def test_a_commit_is_judged_by_the_partitions_it_names(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            one = await store.acquire("one", NOW, LATER, PARTITIONS)
            await store.release("one", {7: one[7]})
            await store.acquire("two", NOW, LATER, 1)
            mine = next(name for name in "abcdefgh" if partition_of(name) != 7)
            await put(store, {partition_of(mine): one[partition_of(mine)]}, mine)
            assert await store.instance(mine) is not None
            with pytest.raises(LeaseLostError):
                await put(store, {partition_of(mine): one[partition_of(mine)], 7: one[7]}, "other")
            assert await store.instance("other") is None

        self.ask(tmp_path, question)

    # --- commit: each kind of row

    def test_a_commit_is_all_there(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            ids = await store.commit(everything("a", epochs))
            assert len(ids) == 1
            snapshot = (await store.load(["a"]))["a"]
            assert snapshot.instance == instance("a")
            assert [made.facts for made in snapshot.history] == [(ExecutionStarted("order"),)]
            assert [call.key for call in await store.activities(ALL)] == [("a", 0, 1, "b1")]
            assert [timer.key for timer in await store.timers(ALL, FOREVER)] == [("a", 0, 2, "b1", NOW)]
            assert [wait.id for wait in await store.waits("a")] == [3]
            assert numbers(await store.inbox(ALL, BEFORE_ALL, 10)) == [1, 2]

        self.ask(tmp_path, question)

    def test_every_field_of_a_row_comes_back(self, tmp_path: Path) -> None:
        row = instance(
            status=RuntimeStatus.SUSPENDED,
            updated=NOW + 1,
            input_json=Raw(b"1"),
            output_json=Raw(b"2"),
            custom_status_json=Raw(b"3"),
            generation=4,
            parent=Parent("p", 5, 6, "b0"),
            held="why",
            birth="b1",
            held_by="v1",
        )
        call = activity(generation=1, attempt=2, started=True, scheduled_at=NOW + 3)
        timer = Timer("a", 1, 2, NOW + 4, "b1")
        wait = Wait("a", 3, "Answer", NOW, NOW + 5, Raw(b'{"type":"string"}'), "order")

        async def question(store: Store) -> None:
            epochs = await own_all(store)
            rows: dict[str, Any] = {"instances": {"a": row}, "activities": {call.key: call}}
            await put(store, epochs, **rows, timers={timer.key: timer}, waits={("a", 3): wait})
            assert await store.instance("a") == row
            assert await store.activities(ALL) == [replace(call, held_by="v1")]
            assert await store.timers(ALL, FOREVER) == [timer]
            assert await store.waits("a") == [wait]

        self.ask(tmp_path, question)

    def test_what_is_wanted_for_an_orchestrator_is_taken_by_those_who_have_it(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            given = {partition: epochs[partition] for partition in (3, 4, 5, 6)}
            await store.release("owner", given, {3: "order", 4: "bill"})
            assert await store.wanted(ALL) == {3: "order", 4: "bill"}
            assert await store.wanted([4, 5]) == {4: "bill"}
            until = NOW + 15 * SECOND
            assert (await store.acquire("a", NOW, until, 2, lacking=["order", "bill"])).keys() == {5, 6}
            assert await store.acquire("a", NOW, until, 9, lacking=["order", "bill"]) == {}
            taken = await store.acquire("b", NOW, until, 0, having=["order"])
            assert taken.keys() == {3}, "besides what is its share"
            await store.release("b", taken)
            assert await store.wanted(ALL) == {3: "order", 4: "bill"}, "it stays so until it is said otherwise"
            assert (await store.acquire("c", NOW, until, 1, having=["order"])).keys() == {3, 4}
            await store.release("owner", {3: epochs[3]}, {3: "other"})
            assert (await store.wanted(ALL))[3] == "order", "whoever does not own it says nothing of it"

        self.ask(tmp_path, question)

    def test_what_runs_again_is_counted_until_it_has_ended(self, tmp_path: Path) -> None:
        first, second, other = ("a", 0, 1, "b1"), ("a", 0, -1, ""), ("b", 2, 7, "b2")

        async def question(store: Store) -> None:
            epochs = await own_all(store)
            await put(store, epochs, reruns={first: 1, second: 1, other: 2})
            await put(store, epochs, reruns={first: 2}, reruns_closed=[second])
            assert await store.reruns(ALL) == {first: 2, other: 2}
            assert await store.reruns([partition_of("b")]) == {other: 2}
            await put(store, epochs, reruns={first: 1}, reruns_closed=[first])
            assert await store.reruns(ALL) == {first: 1, other: 2}
            await put(store, epochs, purged=["b"])
            assert await store.reruns(ALL) == {first: 1}

        self.ask(tmp_path, question)

    def test_a_step_takes_the_hold_from_its_instance(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            await put(store, epochs, "a", history=[step("a", 0, ExecutionStarted("order"))])
            held = instance("a", held="why", held_by="v1")
            await store.commit(Batch(NOW, epochs, instances={"a": held}))
            assert await store.instance("a") == held
            for seq, row in enumerate((instance("a"), held), 1):
                batch = Batch(NOW, epochs, instances={"a": row}, history=[step("a", seq, EventRaised("x"))])
                await store.commit(batch)
                assert (await store.load(["a"]))["a"].instance == row

        self.ask(tmp_path, question)

    def test_a_row_is_replaced_by_a_newer_one(self, tmp_path: Path) -> None:
        changed = instance(status=RuntimeStatus.COMPLETED, name="other", output_json=Raw(b"1"), generation=3)

        async def question(store: Store) -> None:
            epochs = await own_all(store)
            held = instance(held="why", custom_status_json=Raw(b"1"))
            for row in (held, changed):
                await store.commit(Batch(NOW, epochs, instances={"a": row}))
                assert await store.instance("a") == row

        self.ask(tmp_path, question)

    def test_history_grows_in_the_order_of_its_steps(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            await put(store, epochs, "a", history=[step("a", 0, ExecutionStarted("order"), TimerCreated(1, NOW))])
            await put(store, epochs, "a", history=[step("a", n, EventRaised("x")) for n in (1, 2)])
            made = await store.history("a")
            assert [(row.seq, row.time) for row in made] == [(0, NOW), (1, NOW + 1), (2, NOW + 2)]
            assert made[0].facts == (ExecutionStarted("order"), TimerCreated(1, NOW))
            assert (await store.load(["a"]))["a"].history == made

        self.ask(tmp_path, question)

    def test_a_forgotten_generation_is_gone_and_the_next_begins(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            await put(store, epochs, "a", "b", history=[step(i, n, EventRaised("x")) for i in "ab" for n in (0, 1)])
            rows = {"a": instance("a", generation=1)}
            last = step("a", 2, EventRaised("last"))  # the step that ended it
            await store.commit(Batch(NOW, epochs, instances=rows, history=[last], forgotten={"a": 1}))
            assert await store.history("a") == []
            assert len(await store.history("b")) == 2
            await put(
                store, epochs, instances=rows, history=[step("a", 0, ExecutionStarted("order"), generation=1)]
            )
            assert [made.facts for made in await store.history("a")] == [(ExecutionStarted("order"),)]

        self.ask(tmp_path, question)

    def test_two_generations_may_end_in_one_commit(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            steps = [step("a", 0, ExecutionStarted("order"), generation=n) for n in (0, 1, 2)]
            rows = {"a": instance("a", generation=2)}
            await store.commit(Batch(NOW, epochs, instances=rows, history=steps, forgotten={"a": 2}))
            assert [made.facts for made in await store.history("a")] == [(ExecutionStarted("order"),)]

        self.ask(tmp_path, question)

    def test_a_started_activity_is_marked(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            calls = {call.key: call for call in (activity("a", 1), activity("a", 2))}
            await put(store, epochs, "a", activities=calls)
            await put(store, epochs, activities_started=[calls["a", 0, 2, "b1"], activity("a", 9)])
            assert [(call.task_id, call.started) for call in await store.activities(ALL)] == [(1, False), (2, True)]

        self.ask(tmp_path, question)

    def test_a_wait_gets_another_deadline(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            wait = Wait("a", 1, "Answer", NOW, None, orchestrator="order")
            await put(store, epochs, "a", waits={("a", 1): wait})
            for deadline in (LATER, None, NOW):
                await put(store, epochs, "a", deadlines={("a", 1): deadline, ("b", 1): deadline})
                assert await store.waits("a") == [replace(wait, due=deadline)]
                assert await store.waits("b") == []

        self.ask(tmp_path, question)

    def test_closed_rows_are_gone_and_the_others_stay(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            timers = [Timer("a", 0, n, NOW + n) for n in (1, 2)]
            waits = [Wait("a", n, "Answer", NOW, orchestrator="order") for n in (3, 4)]
            rows: dict[str, Any] = {"activities": {(call := activity("a", n)).key: call for n in (5, 6)}}
            rows |= {"timers": {timer.key: timer for timer in timers}}
            rows |= {"waits": {("a", wait.id): wait for wait in waits}, "inbox": [event("a", 1), event("a", 2)]}
            first, _ = await put(store, epochs, "a", **rows)
            closed = {
                "activities_closed": [("a", 0, 5, "b1")],
                "timers_closed": [timers[0].key],
                "waits_closed": [("a", 3)],
            }
            for _ in range(2):  # closing what is closed changes nothing
                await put(store, epochs, inbox_closed=[first], **closed)
                assert [call.task_id for call in await store.activities(ALL)] == [6]
                assert await store.timers(ALL, FOREVER) == timers[1:]
                assert await store.waits("a") == waits[1:]
                assert numbers(await store.inbox(ALL, BEFORE_ALL, 10)) == [2]

        self.ask(tmp_path, question)

    def test_the_next_instance_of_an_id_opens_what_the_last_one_closes(self, tmp_path: Path) -> None:
        """The same numbers, in one commit: what is closed is the earlier one's."""

        async def question(store: Store) -> None:
            epochs = await own_all(store)
            await store.commit(everything("a", epochs))
            call, timer = activity("a", 1, birth="b2"), Timer("a", 0, 2, NOW, "b2")
            wait = Wait("a", 3, "Other", NOW + 1, orchestrator="order")
            await put(
                store,
                epochs,
                instances={"a": instance("a", birth="b2")},
                purged=["a"],
                activities={call.key: call},
                activities_closed=[("a", 0, 1, "b1")],
                timers={timer.key: timer},
                timers_closed=[("a", 0, 2, "b1", NOW)],
                waits={("a", 3): wait},
                waits_closed=[("a", 3)],
            )
            late = {"activities_closed": [("a", 0, 1, "b1")], "timers_closed": [("a", 0, 2, "b1", NOW)]}
            await put(store, epochs, activities_started=[activity("a", 1)], **late)
            assert await store.activities(ALL) == [call]
            assert await store.timers(ALL, FOREVER) == [timer]
            assert await store.waits("a") == [wait]

        self.ask(tmp_path, question)

    def test_a_message_says_for_which_instance_of_an_id_it_is(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            plain, judged = event("a", 1, "b1"), event("a", 2)
            _, kept = await put(store, epochs, "a", inbox=[plain, judged])
            await put(store, epochs, inbox_kept=[replace(judged, inbox_id=kept, birth="b1")])
            assert [message.birth for message in await store.inbox(ALL, BEFORE_ALL, 9)] == ["b1", "b1"]
            asked = replace(event("a", 4, "b1"), reply_to="other")  # a worker waits to hear what becomes of it
            await put(store, epochs, inbox=[asked])
            await put(store, epochs, "b", purged=["a"], inbox=[event("a", 3)])
            left = await store.inbox(ALL, BEFORE_ALL, 9)
            assert [(message.birth, message.reply_to) for message in left] == [("b1", "other"), ("", "")]

        self.ask(tmp_path, question)

    def test_what_never_was_can_be_closed(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            closed = {"activities_closed": [("x", 0, 1, "b1")], "waits_closed": [("x", 1)], "inbox_closed": [99]}
            await put(store, epochs, timers_closed=[("x", 0, 1, "", NOW)], **closed)
            await nothing_of(store, "x")

        self.ask(tmp_path, question)

    def test_an_empty_batch_changes_nothing(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            assert await store.commit(Batch(NOW)) == []

        self.ask(tmp_path, question)

    # --- the inbox

    def test_the_inbox_gives_messages_whole_and_in_order(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            answer = Message("b", TaskCompleted(3, Raw(b'"x"')), generation=2)
            ids = await put(store, epochs, inbox=[event("a", 1), answer], parked=[event("a", 3)])
            sent = await store.send([event("c", 4)])
            found = await store.inbox(ALL, BEFORE_ALL, 10)
            assert [message.inbox_id for message in found] == sorted(message.inbox_id for message in found)
            assert [message.inbox_id for message in found[:2]] == ids
            assert found[3].inbox_id == sent[0]
            assert found[1] == Message("b", TaskCompleted(3, Raw(b'"x"')), 2, ids[1])
            assert [message.instance_id for message in found] == ["a", "b", "a", "c"]
            assert found[0].generation is None

        self.ask(tmp_path, question)

    def test_a_start_of_a_child_comes_back_with_its_parent(self, tmp_path: Path) -> None:
        start = ExecutionStarted("order", Raw(b"[1]"), Parent("p", 1, 2))

        async def question(store: Store) -> None:
            await store.send([Message("a", start)])
            assert (await store.inbox(ALL, BEFORE_ALL, 1))[0].fact == start

        self.ask(tmp_path, question)

    def test_a_message_keeps_all_it_says(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            request, audit = RequestKey("key", b"digest", LATER), Audit("start", "ci", "10.0.0.7", "because")
            start = ExecutionStarted("verify", Raw(b"1"), tags={"tenant": "a"})
            sent = [
                Message("a", start, restart=True, request=request, audit=audit, reply_to="one"),
                Message("a", EventRaised("Item", Raw(b"2")), fresh=True, reply_to="two"),
                Message("a", EventRaised("Item", Raw(b"3"))),
            ]
            ids = await store.send(sent)
            expected = [replace(each, inbox_id=inbox_id) for each, inbox_id in zip(sent, ids, strict=True)]
            assert await store.inbox(ALL, BEFORE_ALL, 10) == expected

        self.ask(tmp_path, question)

    def test_a_message_that_is_kept_stays_in_its_place(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            request = RequestKey("key", b"digest", LATER, False, "MisfitError", "no number", "$.a")
            first = Message("a", EventRaised("Item", Raw(b"1")), request=request, reply_to="one")
            ids = await store.send([first, event("a", 2)])
            judged = Message("a", first.fact, 3, ids[0])
            await put(store, epochs, inbox_kept=[judged])
            assert await store.inbox(ALL, BEFORE_ALL, 10) == [judged, replace(event("a", 2), inbox_id=ids[1])]

        self.ask(tmp_path, question)

    def test_each_verdict_is_given_once_to_whom_it_is_for(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            mine = [RemoteVerdict("one", 1), RemoteVerdict("one", 2, "MisfitError", "it does not fit", "$.a")]
            await put(store, await own_all(store), "a", remote_verdicts=[*mine, RemoteVerdict("two", 3)])
            assert await store.verdicts("nobody") == []
            assert sorted(await store.verdicts("one"), key=lambda each: each.inbox_id) == mine
            assert await store.verdicts("one") == []
            assert [each.inbox_id for each in await store.verdicts("two")] == [3]

        self.ask(tmp_path, question)

    def test_rows_of_several_instances_are_read_at_once(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            await put(store, await own_all(store), "a", "b", "c")
            assert {each.id for each in await store.rows(["a", "c", "none"])} == {"a", "c"}
            assert await store.rows([]) == []

        self.ask(tmp_path, question)

    def test_the_secret_stays_the_same(self, tmp_path: Path) -> None:
        found: list[bytes] = []

        async def question(store: Store) -> None:
            found.append(await store.secret())
            assert await store.secret() == found[0]
            assert len(found[0]) == 32

        self.ask(tmp_path, question, question)

    def test_what_an_instance_gives_back_comes_before_all_others(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            await store.send([event("a", 6), event("b", 7)])
            ids = await put(
                store, epochs, returned=[event("a", 3), event("b", 4), event("a", 5)], inbox=[event("a", 8)]
            )
            assert ids == sorted(ids)
            ids += await put(store, epochs, returned=[event("a", 1), event("a", 2)])
            found = await store.inbox(ALL, BEFORE_ALL, 10)
            assert numbers(found) == [1, 2, 3, 4, 5, 6, 7, 8]
            assert [each.inbox_id for each in found if each.inbox_id in ids] == sorted(ids)
            await put(store, epochs, inbox_closed=[each.inbox_id for each in found[:5]])
            (again,) = await put(store, epochs, returned=[event("a", 9)])
            assert again < min(ids)
            assert numbers(await store.inbox(ALL, BEFORE_ALL, 10)) == [9, 6, 7, 8]

        self.ask(tmp_path, question)

    def test_the_inbox_is_read_page_by_page(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            ids = await store.send([event("a", number) for number in range(10)])
            pages = [await store.inbox(ALL, after, 4) for after in (BEFORE_ALL, ids[3], ids[7], ids[9])]
            assert [numbers(page) for page in pages] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], []]

        self.ask(tmp_path, question)

    def test_a_page_is_full_of_what_was_asked_for(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            await store.send([event(name, n) for n in range(20) for name in ("a", "b")])
            page = await store.inbox([partition_of("a")], BEFORE_ALL, 15)
            assert (numbers(page), {message.instance_id for message in page}) == (list(range(15)), {"a"})
            assert await store.inbox([], BEFORE_ALL, 15) == []

        self.ask(tmp_path, question)

    def test_ids_of_messages_are_never_used_twice(self, tmp_path: Path) -> None:
        seen: list[int] = []

        async def question(store: Store) -> None:
            epochs = await own_all(store)
            for _ in range(3):
                ids = await put(store, epochs, inbox=[event(), event()])
                assert ids == sorted(ids)
                assert not seen or ids[0] > max(seen)
                seen.extend(ids)
                await put(store, epochs, inbox_closed=ids)  # the highest is deleted: it is not free for all that
            await store.release("owner", epochs)

        self.ask(tmp_path, *[question] * (2 if self.durable else 1))

    # --- timers, activities, waits

    def test_timers_come_in_the_order_they_are_due(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            timers = [Timer(name, 0, n, NOW + due) for name, n, due in (("b", 1, 5), ("a", 1, 9), ("a", 2, 1))]
            await put(store, epochs, timers={timer.key: timer for timer in timers})
            assert [timer.fire_at - NOW for timer in await store.timers(ALL, FOREVER)] == [1, 5, 9]
            assert [timer.fire_at - NOW for timer in await store.timers(ALL, NOW + 5)] == [1, 5]
            assert await store.timers(ALL, NOW) == []
            assert [timer.fire_at - NOW for timer in await store.timers(ALL, NOW + 9, NOW + 1)] == [5, 9]

        self.ask(tmp_path, question)

    def test_activities_come_oldest_first(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            calls = [activity("a", n, scheduled_at=NOW - n) for n in (1, 3, 2)]
            await put(store, epochs, activities={call.key: call for call in calls})
            assert [call.task_id for call in await store.activities(ALL)] == [3, 2, 1]

        self.ask(tmp_path, question)

    def test_waits_come_oldest_first(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            waits = [
                Wait(name, n, "Answer", NOW + n, orchestrator="order") for name in ("a", "b") for n in (2, 11, 1)
            ]
            for wait in waits:
                await put(store, epochs, waits={(wait.instance_id, wait.id): wait})
            assert [(wait.instance_id, wait.id) for wait in await store.waits("a")] == [
                ("a", 1),
                ("a", 2),
                ("a", 11),
            ]

        self.ask(tmp_path, question)

    def test_each_partition_has_its_own_work(self, tmp_path: Path) -> None:
        assert partition_of("a") != partition_of("b")

        async def question(store: Store) -> None:
            epochs = await own_all(store)
            for name in ("a", "b"):
                await store.commit(everything(name, epochs))
            mine = [partition_of("b")]
            assert {call.instance_id for call in await store.activities(mine)} == {"b"}
            assert {timer.instance_id for timer in await store.timers(mine, FOREVER)} == {"b"}
            assert {message.instance_id for message in await store.inbox(mine, BEFORE_ALL, 10)} == {"b"}

        self.ask(tmp_path, question)

    # --- reading

    def test_what_is_not_there_is_absent(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            await put(store, await own_all(store), "here")
            assert (await store.load(["here", "gone"])).keys() == {"here"}
            assert await store.load([]) == {}
            await nothing_of(store, "gone")

        self.ask(tmp_path, question)

    def test_more_than_a_thousand_instances_are_loaded_at_once(self, tmp_path: Path) -> None:
        ids = [f"i{number}" for number in range(1_200)]

        async def question(store: Store) -> None:
            epochs = await own_all(store)
            await put(store, epochs, *ids, history=[step(i, 0, ExecutionStarted(i)) for i in ids])
            found = await store.load([*ids, "gone"])
            assert found.keys() == set(ids)
            assert all(found[i].history[0].facts == (ExecutionStarted(i),) for i in ids)

        self.ask(tmp_path, question)

    def test_ids_are_told_apart_to_the_last_letter(self, tmp_path: Path) -> None:
        names = ["a", "A", "a ", "ä", "a\N{COMBINING DIAERESIS}", "a%", "a_", "a'"]

        async def question(store: Store) -> None:
            await put(store, await own_all(store), *names)
            assert [(await store.load([name]))[name].instance.id for name in names] == names

        self.ask(tmp_path, question)

    def test_what_was_loaded_does_not_change(self, tmp_path: Path) -> None:
        async def question(store: Store) -> None:
            epochs = await own_all(store)
            await put(store, epochs, "a", history=[step("a", 0, ExecutionStarted("order"))])
            loaded, read = (await store.load(["a"]))["a"], await store.history("a")
            await put(store, epochs, "a", history=[step("a", 1, EventRaised("x"))])
            assert (len(loaded.history), len(read)) == (1, 1)

        self.ask(tmp_path, question)

    @pytest.mark.parametrize("payload", ODD_PAYLOADS.values(), ids=list(ODD_PAYLOADS))
    def test_payloads_come_back_byte_for_byte(self, tmp_path: Path, payload: bytes) -> None:
        raw = Raw(payload)
        row = instance(input_json=raw, output_json=raw, custom_status_json=raw)
        call = activity(input_json=raw)
        wait = Wait("a", 1, "Answer", NOW, None, raw, "order")
        asked = TaskScheduled(1, "send", raw)

        async def question(store: Store) -> None:
            epochs = await own_all(store)
            rows: dict[str, Any] = {
                "instances": {"a": row},
                "history": [step("a", 0, EventRaised("x", raw), asked)],
            }
            rows |= {"activities": {call.key: call}, "waits": {("a", 1): wait}}
            await put(store, epochs, **rows, inbox=[Message("a", EventRaised("x", raw))])
            assert await store.instance("a") == row
            assert (await store.history("a"))[0].facts == (EventRaised("x", raw), asked)
            assert (await store.activities(ALL))[0] == call
            assert (await store.waits("a"))[0] == wait
            assert (await store.inbox(ALL, BEFORE_ALL, 1))[0].fact == EventRaised("x", raw)

        self.ask(tmp_path, question)

    # --- opening again

    def test_what_was_committed_is_there_when_it_is_opened_again(self, tmp_path: Path) -> None:
        if not self.durable:
            pytest.skip("this store forgets")
        epochs: dict[int, int] = {}

        async def write(store: Store) -> None:
            epochs.update(await own_all(store))
            await store.commit(everything("a", epochs))

        async def read(store: Store) -> None:
            taken = await own_all(store, "two", LATER + 1)
            assert all(taken[partition] > epochs[partition] for partition in ALL)
            assert (await store.load(["a"]))["a"].instance == instance("a")
            assert len(await store.history("a")) == len(await store.waits("a")) == 1
            assert len(await store.activities(ALL)) == len(await store.timers(ALL, FOREVER)) == 1
            assert numbers(await store.inbox(ALL, BEFORE_ALL, 10)) == [1, 2]
            with pytest.raises(LeaseLostError):
                await put(store, epochs, "late")

        self.ask(tmp_path, write, read)
