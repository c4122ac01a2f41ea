"""What one instance is, and what may name one. How it moves from one status to the next is in `rules`."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Literal, TypeAlias, cast, get_args
from zlib import crc32

from msgspec import Raw, Struct
from msgspec.json import decode

from bide.errors import PayloadError
from bide.model.arguments import kind_of
from bide.model.clock import Timestamp, to_datetime
from bide.model.history import ANYTHING, NULL, Parent
from bide.model.payload import check_text, plain_text

BIRTH_LENGTH = 8
"""So many characters are a birth: enough of chance, and links stay short."""
MAX_ID = 100
"""How many characters an instance's id has at most."""
MAX_NAME = 200
"""How many characters the name of a function or an event has at most."""
MAX_TAGS, MAX_TAG_NAME, MAX_TAG_VALUE = 20, 50, 200
"""How many tags an instance has at most, and how many characters are in the name and the value of one."""
MAX_REASON = 1_000
"""How many characters a reason has at most: it is in the history and in the audit."""
MAX_KEY = 255
"""How many characters an idempotency key has at most."""
PARTITIONS = 256
"""How many partitions a task hub has. Fixed for its life."""
ALL_PARTITIONS = range(PARTITIONS)


class RuntimeStatus(StrEnum):
    """The states of an instance, under Durable Functions' names."""

    PENDING = "Pending"
    """Accepted, not yet run: no worker here has its function."""
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    COMPLETED = "Completed"
    FAILED = "Failed"
    TERMINATED = "Terminated"

    __hash__ = str.__hash__  # Enum's own is written in Python, and every message looks a status up

    @property
    def finished(self) -> bool:
        return self in _FINISHED


_FINISHED = frozenset({RuntimeStatus.COMPLETED, RuntimeStatus.FAILED, RuntimeStatus.TERMINATED})

Reuse: TypeAlias = Literal["never", "ended", "replace"]
"""When a start may have an id that has an instance already: never; if that one has ended; always, by ending it."""
REUSES: tuple[Reuse, ...] = get_args(Reuse)


def check_reuse(reuse: object) -> Reuse | None:
    """The word itself, if it is one of the three, or None. Raises `ValueError`."""
    if reuse is None:
        return None
    word = plain_text(reuse, "") if isinstance(reuse, str) else ""
    if word not in REUSES:
        shown = ascii(word[:20]) if isinstance(reuse, str) else f"a {kind_of(reuse)}"
        raise ValueError(f"What becomes of an id that is taken (reuse) is one of {', '.join(REUSES)}; not {shown}.")
    return word


_TAG_NAME = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_TAG_NAME}}}")
_TAG_VALUE = re.compile(rf"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{{0,{MAX_TAG_VALUE}}}")
_RESERVED = frozenset("/\\#?")


OPERATOR = "operator"
"""Who holds an instance until it is resumed, whatever code there is."""
UNREADABLE = "unreadable"
"""What holds an instance whose row cannot be read, until it can be. This is never written."""


class Instance(Struct, frozen=True, gc=False):
    """What one row shows of an instance.

    `generation` counts the runs between two continue-as-new, from 0. `held` says why the instance does not go
    on although it has messages (G7), or is None; `held_by` who decided that: `OPERATOR`, until it is resumed;
    `UNREADABLE`, if some of the row is damaged or a newer version's, and what is not known has a default; the
    version of the code that is not to try it again, because that would cost everybody; or, empty, a worker that
    found no code that fits, so that the next one that starts tries it again. Payloads
    are JSON text; `input`, `output` and `custom_status` decode them. `tags` were given at the start. `created` and
    `updated` are in microseconds, for the engine; `created_at` and `updated_at` are the same as `datetime`.

    `birth` tells this instance from all others that ever had its id: an id may be used again once its instance is
    purged or replaced. Restarting in place and continue-as-new keep it. Whatever is derived for an instance (ids of
    children, idempotency keys, links, tokens) is derived from it too, and what was meant for an earlier life of the
    id does not reach this one.
    """

    id: str
    name: str
    status: RuntimeStatus
    created: Timestamp
    updated: Timestamp
    input_json: Raw = NULL
    output_json: Raw = NULL
    custom_status_json: Raw = NULL
    generation: int = 0
    parent: Parent | None = None
    held: str | None = None
    tags: dict[str, str] = {}
    birth: str = ""
    held_by: str = ""

    @property
    def created_at(self) -> datetime:
        """When it was started, in UTC."""
        return to_datetime(self.created)

    @property
    def updated_at(self) -> datetime:
        """When it last changed, in UTC."""
        return to_datetime(self.updated)

    @property
    def input(self) -> object:
        return decode(self.input_json)

    @property
    def output(self) -> object:
        """The result; for a failed instance the error's text, for a terminated one the reason."""
        return decode(self.output_json)

    @property
    def custom_status(self) -> object:
        return decode(self.custom_status_json)


class Wait(Struct, frozen=True, gc=False):
    """An open wait for an external event (G9): who waits for what, since when, until when, for which answer.

    `schema_json` is the JSON Schema of the answer's declared type; `deadline` is its timeout, or the last timer
    raced against it; `orchestrator` is the name of the instance's function.
    """

    instance_id: str
    id: int
    name: str
    opened: Timestamp
    due: Timestamp | None = None
    schema_json: Raw = ANYTHING
    orchestrator: str = ""

    @property
    def since(self) -> datetime:
        """When it was opened, in UTC."""
        return to_datetime(self.opened)

    @property
    def deadline(self) -> datetime | None:
        """Until when it waits, in UTC. None: for ever."""
        return None if self.due is None else to_datetime(self.due)


def birth_of_child(parent: Parent) -> str:
    """The birth of the child that this very call starts. A rewound parent asks for it again, and so finds it."""
    text = f"{parent.instance_id}/{parent.birth}/{parent.generation}/{parent.task_id}"
    return birth_of(blake2b(text.encode(), digest_size=6, person=b"birth").digest())


def birth_of(chance: bytes) -> str:
    """A birth out of 6 bytes of chance: of all instances that ever have one id, no two have the same."""
    return urlsafe_b64encode(chance).decode()


def check_instance_id(instance_id: object) -> str:
    """The id itself, if it can be one: 1 to 100 printable characters, none of `/ \\ # ?`, and not `.` or `..`.

    Raises `PayloadError`.
    """
    instance_id = plain_text(instance_id, "An instance id")
    if not can_name(instance_id, MAX_ID) or not _RESERVED.isdisjoint(instance_id):
        raise PayloadError(
            f"An instance id is 1 to {MAX_ID} printable characters, none of them / \\ # or ?, and not . or ..; "
            f"this one is {instance_id[:100]!a}."
        )
    return instance_id


def check_event_name(name: object) -> str:
    """The name itself, if it can be one: 1 to 200 printable characters, not `.` or `..`. Raises `PayloadError`."""
    return _checked_event_name(plain_text(name, "An event's name"))


@lru_cache(1024)
def _checked_event_name(name: str) -> str:
    if not can_name(name, MAX_NAME):
        raise PayloadError(
            f"An event's name is 1 to {MAX_NAME} printable characters, and not . or ..; this one is {name[:100]!a}."
        )
    return name


def can_name(text: str, longest: int) -> bool:
    """Whether a text can name something under every address: `.` and `..` are taken out of addresses on the way."""
    return 0 < len(text) <= longest and text.isprintable() and text not in (".", "..")


def check_tags(tags: object) -> dict[str, str]:
    """The tags themselves, if they can be. Raises `PayloadError`.

    There are up to 20. A name is 1 to 50 out of `A-Z a-z 0-9 . _ -`; a value is up to 200 characters, none of them
    a control character.
    """
    if not isinstance(tags, Mapping):
        raise PayloadError(f"Tags are a mapping of names to values; this is a {type(tags).__qualname__}.")
    found = {
        check_text(name, "A tag's name"): check_text(value, "A tag's value")
        for name, value in cast("Mapping[object, object]", tags).items()
    }
    if len(found) > MAX_TAGS:
        raise PayloadError(f"An instance has up to {MAX_TAGS} tags; these are {len(found)}.")
    for name, value in found.items():
        if _TAG_NAME.fullmatch(name) is None:
            raise PayloadError(
                f"A tag's name is 1 to {MAX_TAG_NAME} letters, digits and . _ or -; this one is {name[:100]!a}."
            )
        if _TAG_VALUE.fullmatch(value) is None:
            raise PayloadError(
                f"The value of the tag '{name}' should be up to {MAX_TAG_VALUE} characters without line breaks."
            )
    return found


def check_reason(reason: object) -> str:
    """The reason itself, if it can be one: up to 1,000 characters, or none at all. Raises `PayloadError`."""
    return _up_to(MAX_REASON, check_text(reason, "A reason"), "A reason")


def check_key(key: object) -> str:
    """The idempotency key itself, if it can be one: up to 255 characters. Raises `PayloadError`."""
    return _up_to(MAX_KEY, check_text(key, "An idempotency key"), "An idempotency key")


def _up_to(most: int, text: str, what: str) -> str:
    if len(text) > most:
        raise PayloadError(f"{what} has up to {most:,} characters; this one has {len(text):,}.")
    return text


def partition_of(instance_id: str) -> int:
    """The partition an instance belongs to, for ever: a stable hash of its id."""
    return crc32(instance_id.encode()) % PARTITIONS
