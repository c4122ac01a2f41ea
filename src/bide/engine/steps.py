"""One step and its commit, and those of its messages that are stepped by themselves."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from bide.core.dispatcher import Dispatcher
from bide.engine.bulkheads import Bulkheads
from bide.engine.effects import Effects
from bide.engine.intake import Entry, Start
from bide.engine.mailbox import Mailbox
from bide.engine.reruns import MOST_STEPS, close_notes, message_key
from bide.engine.underway import UnderWay, why_held
from bide.errors import DataRefusedError, StepFailedError
from bide.model.batch import Batch, Loaded, TaskKey
from bide.model.clock import Timestamp
from bide.model.instance import PARTITIONS
from bide.store.protocol import Store


class Steps:
    """Steps messages, and commits what comes of them."""

    def __init__(
        self, store: Store, dispatcher: Dispatcher, mailbox: Mailbox, under_way: UnderWay, effects: Effects
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._mailbox = mailbox
        self._under_way = under_way
        self._effects = effects
        self._bulkheads = Bulkheads(store, dispatcher, effects, self.together)

    async def step(self, now: Timestamp, entries: Sequence[Entry], starting: Sequence[Start]) -> None:
        """Step these messages, and mark these once-activities as started."""
        if len(self._dispatcher.epochs) < PARTITIONS:
            entries, starting = await self._mailbox.hand_over(now, entries, starting)
        wary = self._under_way.reruns.wary_of((message for message, _ in entries), now)
        if not wary:
            return await self.together(now, entries, starting, ())
        if any(wary.values()):
            entries = await self._step_suspects(now, entries, wary)
        fresh = wary.keys() & {message_key(message) for message, _ in entries}
        await self._under_way.note(now, dict.fromkeys(fresh, 1))
        return await self.together(now, entries, starting, fresh)

    async def _step_suspects(
        self, now: Timestamp, entries: Sequence[Entry], wary: Mapping[TaskKey, int]
    ) -> list[Entry]:
        """Step one by one what an instance is told that was stepped when a worker was cut off. Returns the others.

        Whatever was about to be told it when so many processes ended, it is not told: it is held.
        """
        suspects = {key[0] for key, times in wary.items() if times}
        for entry in entries:
            message = entry[0]
            if message.instance_id not in suspects:
                continue
            noted = wary.keys() & {message_key(message)}
            accused = any(wary[each] >= MOST_STEPS - 1 for each in noted)
            if not accused:
                await self._under_way.note(now, {each: wary[each] + 1 for each in noted})
            await self.together(now, [entry], (), noted, accused=[message.instance_id] if accused else ())
        return [entry for entry in entries if entry[0].instance_id not in suspects]

    async def together(
        self,
        now: Timestamp,
        entries: Sequence[Entry],
        starting: Sequence[Start],
        noted: Collection[TaskKey],
        *,
        accused: Collection[str] = (),
    ) -> None:
        """One step and its commit, with which the notes of the messages go. Instances that are `accused` are held.

        What was given back by another part of the same turn comes first: it was there before these messages.
        """
        given_back = self._mailbox.given_back()
        if given_back:
            entries = [*given_back, *entries]
        try:
            batch = await self._stepped(now, entries, starting, accused)
            close_notes(batch, noted, self._dispatcher.epochs)
            await self._effects.commit(batch, entries, starting)
        except (StepFailedError, DataRefusedError) as fault:
            await self._bulkheads.step_in_parts(now, entries, starting, noted, fault)

    async def _stepped(
        self, now: Timestamp, entries: Sequence[Entry], starting: Sequence[Start], accused: Collection[str]
    ) -> Batch:
        messages = [message for message, _ in entries]
        missing = self._dispatcher.instances.missing(messages)
        loaded = await self._store.load(missing) if missing else {}
        keys = {(message.instance_id, message.request.key) for message in messages if message.request}
        remembered = await self._store.requests(keys, now) if keys else {}
        held = dict.fromkeys(accused, why_held("Its code", MOST_STEPS)) if accused else {}
        begun = [activity for activity, _ in starting]
        batch = self._dispatcher.step(messages, now, Loaded(loaded, remembered), begun, held)
        batch.reruns.closed += self._under_way.reruns.closed_by(batch)
        return batch
