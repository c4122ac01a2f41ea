"""An instance as people see it: what is sealed is hidden. Every door shows it so; only the code gets more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from msgspec import Raw
from msgspec.structs import replace

from bide.core.openwork import OpenWork
from bide.errors import SealedStep
from bide.model.history import (
    NULL,
    ContinuedAsNew,
    EventAwaited,
    EventRaised,
    EventSent,
    ExecutionCompleted,
    ExecutionStarted,
    Fact,
    Step,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceCreated,
    TaskCompleted,
    TaskScheduled,
    Unreadable,
)
from bide.model.instance import Instance
from bide.model.sealing import (
    HIDDEN,
    SHORTEST,
    Sealer,
    event_place,
    input_place,
    is_declared,
    is_sealed,
    output_place,
    shown,
    status_place,
)

_WithInput: TypeAlias = (
    ExecutionStarted | ContinuedAsNew | TaskScheduled | EventRaised | EventSent | SubOrchestrationInstanceCreated
)
_WithResult: TypeAlias = ExecutionCompleted | TaskCompleted | SubOrchestrationInstanceCompleted


def payload_of(fact: Fact) -> Raw:
    """The JSON text that a fact carries; null if it carries none."""
    if isinstance(fact, _WithInput):
        return fact.input
    return fact.result if isinstance(fact, _WithResult) else NULL


def with_payload(fact: Fact, text: Raw) -> Fact:
    """The fact with another payload in place of its own."""
    if isinstance(fact, _WithInput):
        return replace(fact, input=text)
    return replace(fact, result=text) if isinstance(fact, _WithResult) else fact


def shown_instance(instance: Instance) -> Instance:
    """The row with each sealed payload hidden."""
    sealed = _sealed(instance)
    return replace(instance, **dict.fromkeys(sealed, HIDDEN)) if sealed else instance


def opened_instance(sealer: Sealer, instance: Instance) -> Instance:
    """The row as the code sees it. What cannot be opened is hidden."""
    found: dict[str, Any] = {
        name: _opened(sealer, text, _PLACES[name](instance.id, instance.birth))
        for name, text in _sealed(instance).items()
    }
    return replace(instance, **found) if found else instance


_PLACES = {"input_json": input_place, "output_json": output_place, "custom_status_json": status_place}


def _sealed(instance: Instance) -> dict[str, Raw]:
    """The payloads of a row that are sealed, by the names of their fields."""
    texts = (instance.input_json, instance.output_json, instance.custom_status_json)
    if sum(map(len, texts)) < SHORTEST:
        return {}
    return {name: text for name, text in zip(_PLACES, texts, strict=True) if is_sealed(text)}


def _opened(sealer: Sealer, text: Raw, place: str) -> Raw:
    """What was sealed for that place, or what is shown in its place if it cannot be opened."""
    try:
        return sealer.open(text, place)
    except SealedStep:
        return HIDDEN


def shown_steps(instance_id: str, steps: Sequence[Step], sealer: Sealer) -> list[Step]:
    """A history with each sealed payload hidden.

    An event that came before anybody waited for it was sealed because nobody knew what it is. It is shown if a wait
    has taken it, unless a wait of that name has a secret.
    """
    if not any(is_sealed(payload_of(fact)) for step in steps for fact in step.facts):
        return list(steps)
    known = _Known(instance_id, steps, sealer)
    return [replace(step, facts=tuple(map(known.shown, step.facts))) for step in steps]


class _Known:
    """What a history tells of its events."""

    def __init__(self, instance_id: str, steps: Sequence[Step], sealer: Sealer) -> None:
        self._instance_id = instance_id
        self._sealer = sealer
        facts = [fact for step in steps for fact in step.facts]
        self._readable = not any(isinstance(fact, Unreadable) for fact in facts)
        self._secret = {fact.name.lower() for fact in facts if isinstance(fact, EventAwaited) and fact.secret}
        self._kept = set(map(id, OpenWork.of(steps).kept_events())) if self._readable else set[int]()

    def shown(self, fact: Fact) -> Fact:
        text = payload_of(fact)
        if not is_sealed(text):
            return fact
        if isinstance(fact, EventRaised) and self._is_public(fact):
            return with_payload(fact, _opened(self._sealer, text, event_place(self._instance_id, fact.name)))
        return with_payload(fact, shown(text))

    def _is_public(self, event: EventRaised) -> bool:
        if not self._readable or is_declared(event.input):
            return False
        return event.name.lower() not in self._secret and id(event) not in self._kept
