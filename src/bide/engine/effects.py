"""What a batch brings about once it is durable: nothing of it leaves before (G1)."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from bide.core.dispatcher import Dispatcher
from bide.engine.activities import Activities
from bide.engine.intake import Entry, Start
from bide.engine.mailbox import Mailbox
from bide.engine.reruns import Reruns
from bide.engine.timers import TimerWindow
from bide.engine.watching import Watchers
from bide.model.batch import Batch
from bide.model.clock import Clock
from bide.model.metrics import Metrics
from bide.store.protocol import Store

log = logging.getLogger("bide.worker")

_UNAWAITED = "Instance %s (%s) returned without awaiting all that it asked for. %s"
_LONG = (
    "Instance %s (%s) has %d steps in its history, all of which are repeated whenever it comes back into memory. "
    "Code that goes on for ever should end a run now and then: ctx.continue_as_new(...)."
)


class Effects:
    """Commits batches, and lets out what they bring about."""

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        clock: Clock,
        activities: Activities,
        timers: TimerWindow,
        reruns: Reruns,
        mailbox: Mailbox,
        watchers: Watchers,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._clock = clock
        self._activities = activities
        self._timers = timers
        self._reruns = reruns
        self._mailbox = mailbox
        self._watchers = watchers
        self.metrics = metrics
        self.rows_written = 0
        """How many rows of instances were written since this worker started."""

    async def commit(self, batch: Batch, entries: Sequence[Entry] = (), starting: Sequence[Start] = ()) -> None:
        """Make a batch durable, if there is anything in it, and let its effects out: of these messages and starts.

        Raises what the store does. Then nothing has left.
        """
        inbox_ids: Sequence[int] = ()
        if not batch.empty:
            inbox_ids = await self._store.commit(batch)
        elif not entries and not starting:
            return
        self.release(batch, inbox_ids, entries, starting)

    def release(
        self, batch: Batch, inbox_ids: Sequence[int], entries: Sequence[Entry], starting: Sequence[Start]
    ) -> None:
        """The batch is durable: let its effects out."""
        self._timers.discard(batch.timers.closed)
        self._timers.add(batch.timers.put.values())
        self._activities.cancel(batch.activities.closed)
        self._reruns.drop(batch.activities.closed)
        self._reruns.ended(batch.reruns.closed)
        self._reruns.noted(batch.reruns.put)
        house = self._dispatcher.house
        house.catching_up.update(batch.let_go)
        house.wanted.update(batch.wanted)
        for activity in batch.activities.put.values():
            self._activities.run(activity)
        for _, started in starting:
            started(None)
        self._mailbox.written(batch, inbox_ids)
        for (_, reply), verdict in zip(entries, batch.verdicts, strict=True):
            if reply is not None:
                reply(verdict)
        self._count(batch)
        self._say(batch)
        if batch.replaced:
            self._watchers.tell(batch.replaced.values())
        self._watchers.tell(batch.instances.values())

    def _say(self, batch: Batch) -> None:
        for instance_id, steps in batch.long.items():
            log.warning(_LONG, instance_id, batch.instances[instance_id].name, steps)
        for instance_id, sentences in batch.unawaited.items():
            log.warning(_UNAWAITED, instance_id, batch.instances[instance_id].name, " ".join(sentences))
        for instance in batch.held:
            log.warning("Instance %s is held: %s", instance.id, instance.held)

    def _count(self, batch: Batch) -> None:
        metrics, now = self.metrics, batch.at
        self.rows_written += len(batch.instances)
        if batch.fired:
            durable_at = max(now, self._clock.now())
            for due in batch.fired:
                metrics.timer_lateness.add(durable_at, durable_at - due)
        for waited in batch.answered:
            metrics.response_time.add(now, waited)
        for instance in batch.replaced.values():
            if instance.updated >= now:  # it had not ended
                metrics.ends_of(now).count(instance.status)
        for instance in batch.instances.values():
            if instance.created == now:
                metrics.ends_of(now).started += 1
            if instance.status.finished:
                metrics.ends_of(now).count(instance.status)
