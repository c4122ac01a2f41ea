"""Who wants to hear of instances that change: those of this worker at once, those of others when it looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from bide.instance import Instance

Changed: TypeAlias = Callable[[Instance], None]
Forget: TypeAlias = Callable[[], None]


class Watchers:
    """Those who watch one instance, all instances of this worker, or what other workers do."""

    def __init__(self) -> None:
        self._of: dict[str | None, list[Changed]] = {}
        self._of_others: list[Callable[[], None]] = []
        self._shown: dict[str, Instance] = {}
        self._changes_of_others = 0

    @property
    def ids(self) -> list[str]:
        """The instances that somebody watches."""
        return [instance_id for instance_id in self._of if instance_id is not None]

    def add(self, instance_id: str | None, changed: Changed) -> Forget:
        """Call `changed` with each new state of the instance, or (None) of all of this worker's."""
        watchers = self._of.setdefault(instance_id, [])
        watchers.append(changed)

        def forget() -> None:
            watchers.remove(changed)
            if not watchers:
                del self._of[instance_id]

        return forget

    def add_for_others(self, changed: Callable[[], None]) -> Forget:
        """Call `changed` when other workers have changed something."""
        self._of_others.append(changed)
        return lambda: self._of_others.remove(changed)

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
            for changed in tuple(self._of_others):
                changed()

    def _tell(self, key: str | None, instance: Instance) -> None:
        for changed in tuple(self._of.get(key, ())):
            changed(instance)
