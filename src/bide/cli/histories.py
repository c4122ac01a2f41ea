"""Histories out of files, and whether code fits them."""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from bide.core.registry import Registry
from bide.core.replay import check_replay
from bide.errors import FunctionNotFoundError, NonDeterminismError
from bide.history import Step


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
        found = [msgspec.json.decode(each, type=History) for each in _split(text)]
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
    if not found:
        raise ValueError("there is none in it")
    return found


def _split(text: bytes) -> list[Raw]:
    try:
        whole = msgspec.json.decode(text, type=Raw)
    except msgspec.DecodeError:
        return msgspec.json.Decoder(Raw).decode_lines(text)
    if bytes(whole).startswith(b"["):
        return msgspec.json.decode(whole, type=list[Raw])
    return [whole]


def misfit(registry: Registry, history: History) -> str | None:
    """Why the code does not fit the history, or None if it does."""
    try:
        check_replay(registry, history.name, history.instance_id, history.generation, history.steps)
    except (NonDeterminismError, FunctionNotFoundError) as error:
        return str(error)
    return None
