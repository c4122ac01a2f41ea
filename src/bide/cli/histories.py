"""Histories out of files, and whether code fits them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from bide.core.registry import Registry
from bide.core.replay import check_replay
from bide.core.showing import payload_of, with_payload
from bide.errors import FunctionNotFoundError, NonDeterminismError, SealedStep
from bide.model.history import Fact, Step
from bide.model.sealing import HIDDEN, WithoutKeys


class History(Struct, rename="camel"):
    """One generation of an instance, as the API gives it."""

    name: str
    instance_id: str
    generation: int
    steps: tuple[Step, ...]


def read(text: bytes) -> list[History]:
    """The histories in a text: one, an array of several, or one on each line.

    Raises `ValueError` for what is none, or if there is none.
    """
    try:
        found = [_sealed_again(msgspec.json.decode(_as_stored(each), type=History)) for each in _split(text)]
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
    if not found:
        raise ValueError("there is none in it")
    return found


def _sealed_again(history: History) -> History:
    """Where a history shows that there is a secret, is the secret, which cannot be read here."""
    steps = [replace(step, facts=tuple(map(_sealed_fact, step.facts))) for step in history.steps]
    return replace(history, steps=tuple(steps))


def _sealed_fact(fact: Fact) -> Fact:
    return with_payload(fact, WithoutKeys.SEALED) if payload_of(fact) == HIDDEN else fact


def _as_stored(text: Raw) -> bytes:
    """Written as the engine writes, however it was printed: payloads are compared as they are stored."""
    return msgspec.json.encode(json.loads(bytes(text)))  # json keeps whole numbers of any size


def _split(text: bytes) -> list[Raw]:
    try:
        whole = msgspec.json.decode(text, type=Raw)
    except msgspec.DecodeError:
        return msgspec.json.Decoder(Raw).decode_lines(text)
    if bytes(whole).startswith(b"["):
        return msgspec.json.decode(whole, type=list[Raw])
    return [whole]


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether code fits a history."""

    misfit: str = ""
    """Why it does not. Empty: it does."""
    unseen: str = ""
    """Why only the beginning was judged: what follows depends on a secret. Empty: all of it was."""
    differences: tuple[str, ...] = ()
    """What it asks for in other words than history has, which is taken from history then."""


def judge(
    registry: Registry, history: History, *, strict: bool, on_misfit: Callable[[FrameType], None] | None = None
) -> Judgement:
    """See whether the code fits the history, in all its parts if `strict`.

    `on_misfit` gets the frame of code that does not, while it still stands there.
    """
    place = (history.name, history.instance_id, history.generation)
    try:
        return Judgement(
            differences=tuple(check_replay(registry, *place, history.steps, strict=strict, on_misfit=on_misfit))
        )
    except (NonDeterminismError, FunctionNotFoundError) as error:
        return Judgement(misfit=str(error))
    except SealedStep as step:
        return Judgement(unseen=str(step))
