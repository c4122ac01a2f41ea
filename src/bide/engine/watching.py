"""Who wants to hear of instances that change: those of this worker at once, those of others when it looks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, TypeAlias

from bide.model.clock import SECOND, Timestamp
from bide.model.instance import Instance
from bide.model.interrupts import from_outside
from bide.model.query import NEVER
from bide.store.protocol import Store

log = logging.getLogger("bide.worker")

LOOK: int = SECOND // 10
"""How often to look at instances of other workers, in microseconds."""

Changed: TypeAlias = Callable[[Instance], None]
Forget: TypeAlias = Callable[[], None]

_Told: TypeAlias = dict[int, Callable[..., None]]
"""Functions by numbers of their own: they may be equal, and their own code may say what equal is."""


class Watchers:
    """Those who watch one instance, all instances of this worker, or what other workers do."""

    def __init__(self) -> None:
        self._of: dict[str | None, _Told] = {}
        self._of_others: _Told = {}
        self._numbers = count()
        self._shown: dict[str, Instance] = {}
        self._changes_of_others = 0

    @property
    def ids(self) -> list[str]:
        """The instances that somebody watches."""
        return [instance_id for instance_id in self._of if instance_id is not None]

    def add(self, instance_id: str | None, changed: Changed) -> Forget:
        """Call `changed` with each new state of the instance, or (None) of all of this worker's."""
        number, watchers = next(self._numbers), self._of.setdefault(instance_id, {})
        watchers[number] = changed

        def forget() -> None:
            _drop(watchers, number)
            if not watchers and self._of.get(instance_id) is watchers:
                del self._of[instance_id]

        return forget

    def add_for_others(self, changed: Callable[[], None]) -> Forget:
        """Call `changed` when other workers have changed something."""
        number = next(self._numbers)
        self._of_others[number] = changed
        return lambda: _drop(self._of_others, number)

    def tell(self, instances: Iterable[Instance]) -> None:
        """These were changed here."""
        if not self._of:
            return
        of, of_all = self._of, None in self._of
        for instance in instances:
            if instance.id in of:
                self._tell(instance.id, instance)
            if of_all:
                self._tell(None, instance)

    def show(self, instances: Iterable[Instance]) -> None:
        """This is how these are now, by whomever they were changed."""
        for instance in instances:
            self._tell(instance.id, instance)

    def show_abroad(self, instances: Iterable[Instance]) -> None:
        """This is how all those of other workers are now. Who was shown that already is not told again."""
        shown, self._shown = self._shown, {instance.id: instance for instance in instances}
        self.show(instance for instance in self._shown.values() if shown.get(instance.id) != instance)

    def others_changed(self, changes: int) -> None:
        """So many changes other workers have made, all in all."""
        if changes != self._changes_of_others:
            self._changes_of_others = changes
            _tell_each(self._of_others)

    def _tell(self, key: str | None, instance: Instance) -> None:
        if watchers := self._of.get(key):
            _tell_each(watchers, instance)


def _tell_each(watchers: _Told, *told: Any) -> None:
    """What one of them raises is its own: it stops neither the others nor the worker. It is not told any more."""
    for number, changed in tuple(watchers.items()):
        try:
            changed(*told)
        except BaseException as error:
            if from_outside(error):
                raise
            _drop(watchers, number)
            log.exception("A function that watches instances failed. It is not called any more.")


def _drop(watchers: _Told, number: int) -> None:
    watchers.pop(number, None)


class Abroad:
    """Implements `Chore`: looks at instances of other workers that somebody here watches."""

    def __init__(self, store: Store, watchers: Watchers, owns: Callable[[str], bool]) -> None:
        """`owns` says whether an instance is this worker's own."""
        self._store = store
        self._watchers = watchers
        self._owns = owns
        self.next_at: Timestamp = NEVER

    def look(self) -> None:
        """Look now."""
        self.next_at = 0

    def look_soon(self, now: Timestamp) -> None:
        """Somebody has begun to watch one of them."""
        self.next_at = min(self.next_at, now + LOOK)

    def others_changed(self, changes: int) -> None:
        """So many changes other workers have made, all in all."""
        self._watchers.others_changed(changes)

    async def show_all(self) -> None:
        """Tell watchers of what was committed without being confirmed."""
        watched = self._watchers.ids
        self._watchers.show(await self._store.rows(watched) if watched else ())

    async def run(self, now: Timestamp) -> bool:
        """Show watchers how the instances of other workers are."""
        abroad = [instance_id for instance_id in self._watchers.ids if not self._owns(instance_id)]
        self.next_at = now + LOOK if abroad else NEVER
        self._watchers.show_abroad(await self._store.rows(abroad) if abroad else ())
        return False

    def set_back(self, now: Timestamp) -> None:
        """The clock was set back to this."""
        self.next_at = min(self.next_at, now + LOOK)
