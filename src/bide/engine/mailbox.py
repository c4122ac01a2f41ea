"""The inbox of the store: what waits there for this worker's instances, and what it leaves for those of others."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection, Iterable, Sequence

from msgspec.structs import replace

from bide.core.dispatcher import Dispatcher
from bide.engine.intake import Entry, Start
from bide.errors import DataRefusedError, LeaseLostError
from bide.model.batch import Batch, Message, Reply
from bide.model.clock import Timestamp
from bide.model.history import EventRaised, Unreadable
from bide.model.instance import partition_of
from bide.model.query import NEVER
from bide.model.sealing import Sealer, sealed_event
from bide.store.protocol import BEFORE_ALL, Store

log = logging.getLogger("bide.worker")


class Mailbox:
    """Implements `Chore`: reads the inbox when there may be something in it."""

    def __init__(self, store: Store, dispatcher: Dispatcher, sealer: Sealer, owner: str, page: int) -> None:
        """`page` is how many messages are read at a time."""
        self._store = store
        self._dispatcher = dispatcher
        self._sealer = sealer
        self._owner = owner
        self._page = page
        self.messages: deque[Message] = deque()
        """In the order of their ids. They come before all others: they were accepted earlier."""
        self._first_left = 0
        """The id of the first message that the present turn left in `messages`, if that was given back, else 0."""
        self._delivered: dict[int, int] = {}
        """Ids of messages taken from the inbox, and their partitions: what is read again is not taken twice."""
        self.asked: dict[int, Reply] = {}
        """Who waits for the verdict on a message, by the message's id in the inbox."""
        self.next_at: Timestamp = NEVER

    def look(self) -> None:
        """There may be something in the inbox, or a verdict."""
        self.next_at = 0

    # --- in

    async def run(self, now: Timestamp) -> bool:
        """Read what is there."""
        self.next_at = NEVER
        if self.asked:
            for each in await self._store.verdicts(self._owner):
                reply = self.asked.pop(each.inbox_id, None)
                if reply is not None:
                    reply(each.verdict)
        after = BEFORE_ALL
        while page := await self._store.inbox(self._dispatcher.epochs.keys(), after, self._page):
            after = page[-1].inbox_id
            self._deliver(message for message in page if message.inbox_id not in self._delivered)
        return False

    def take(self, most: int) -> list[Entry]:
        """Take out the first messages."""
        messages = self.messages
        taken: list[Entry] = [(messages.popleft(), None) for _ in range(min(len(messages), most))]
        self._first_left = min(messages[0].inbox_id, 0) if messages else 0
        return taken

    def given_back(self) -> list[Entry]:
        """Take out what instances gave back in this turn: its ids are lower than all before."""
        messages, found = self.messages, list[Entry]()
        while messages and messages[0].inbox_id < self._first_left:
            found.append((messages.popleft(), None))
        return found

    def written(self, batch: Batch, inbox_ids: Sequence[int]) -> None:
        """The messages of this batch are in the inbox, under these ids. What is closed is there no more."""
        for inbox_id in batch.inbox_closed:
            self._delivered.pop(inbox_id, None)
        if not inbox_ids:
            return
        put = [
            Message(message.instance_id, message.fact, message.generation, inbox_id, birth=message.birth)
            for message, inbox_id in zip((*batch.returned, *batch.inbox), inbox_ids, strict=True)
        ]
        first = len(batch.returned)
        self._deliver(put[first:])
        # What this worker's own instances gave back comes before all others.
        self._note(put[:first])
        self.messages.extendleft(reversed(put[:first]))

    def _deliver(self, messages: Iterable[Message]) -> None:
        """Take messages of the inbox, unless they are another worker's."""
        epochs = self._dispatcher.epochs
        mine = [message for message in messages if partition_of(message.instance_id) in epochs]
        self._note(mine)
        self.messages.extend(mine)

    def _note(self, messages: Iterable[Message]) -> None:
        self._delivered.update((message.inbox_id, partition_of(message.instance_id)) for message in messages)

    # --- out

    async def hand_over(
        self, now: Timestamp, entries: Sequence[Entry], starting: Sequence[Start]
    ) -> tuple[list[Entry], list[Start]]:
        """Leave messages for instances of other workers in the inbox. Returns what is this worker's own."""
        epochs = self._dispatcher.epochs
        foreign = [
            entry
            for entry in entries
            if partition_of(entry[0].instance_id) not in epochs and not entry[0].inbox_id  # else it lies there
            if not isinstance(entry[0].fact, Unreadable)  # its owner sees for itself
        ]
        if foreign:
            await self._send(now, foreign)
        for activity, started in starting:
            if partition_of(activity.instance_id) not in epochs:
                started(LeaseLostError("Another worker owns the instance now."))
        return (
            [entry for entry in entries if partition_of(entry[0].instance_id) in epochs],
            [start for start in starting if partition_of(start[0].instance_id) in epochs],
        )

    async def _send(self, now: Timestamp, foreign: Sequence[Entry]) -> None:
        """Put messages into the inbox. What the database does not take is found as in a step: in parts."""
        try:
            ids = await self._store.send([self._addressed(now, *entry, nth) for nth, entry in enumerate(foreign)])
        except DataRefusedError as refusal:
            if len(foreign) == 1:
                ((message, reply),) = foreign
                log.error(
                    "A message for instance %s is not taken by the database: %s", message.instance_id, refusal
                )
                if reply is not None:  # else it is an activity's result, and the instance's owner runs that again
                    reply(refusal)
                return
            middle = len(foreign) // 2
            await self._send(now, foreign[:middle])
            await self._send(now, foreign[middle:])
            return
        self.asked.update(
            (inbox_id, reply) for inbox_id, (_, reply) in zip(ids, foreign, strict=True) if reply is not None
        )

    def _addressed(self, now: Timestamp, message: Message, reply: Reply | None, nth: int) -> Message:
        """The message as it lies in the inbox, where nobody is to read an event of which nobody knows the type."""
        if isinstance(message.fact, EventRaised):
            nonce = f"{now}-{nth}"
            message = replace(message, fact=sealed_event(self._sealer, message.instance_id, message.fact, nonce))
        return message if reply is None else replace(message, reply_to=self._owner)

    # --- memory

    def clear(self) -> None:
        """Forget all messages: what came from the store will be read again."""
        self.messages.clear()

    def begin(self) -> None:
        """The partitions are about to be taken anew: all that is theirs is to be read."""
        self._delivered.clear()

    def read_again(self, partitions: Collection[int]) -> None:
        """Forget what was read for these partitions, and read it again."""
        self.messages = deque(each for each in self.messages if partition_of(each.instance_id) not in partitions)
        self.forget(partitions)
        self.look()

    def forget(self, partitions: Collection[int]) -> None:
        """These partitions are another worker's."""
        self._delivered = {key: number for key, number in self._delivered.items() if number not in partitions}

    def set_back(self, now: Timestamp) -> None:
        """It does not go by the clock."""
