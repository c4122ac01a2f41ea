"""Rows of the tables, and the values they stand for.

Payloads go into the database as `bytearray`: for a parameter that is neither that nor exactly an int, a float or a
str, `sqlite3` looks for an adapter first, which takes longer than to write it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from bide.model.batch import AuditEntry, Message, RequestKey, ScheduledActivity
from bide.model.history import NULL, Fact, Parent, Step, Unreadable
from bide.model.instance import UNREADABLE, Instance, RuntimeStatus, Wait
from bide.model.presence import Presence

T = TypeVar("T")

SHORT = 8
"""So many of a history's first steps are in the instance's row, if they are small."""


class _Place(msgspec.Struct, gc=False):
    """A step whose facts were not looked at."""

    seq: int
    at: int
    facts: Raw


decode_steps = msgspec.json.Decoder(list[Step]).decode
_decode_facts = msgspec.json.Decoder(tuple[Fact, ...]).decode
_decode_places = msgspec.json.Decoder(list[_Place]).decode
_decode_fact = msgspec.json.Decoder(Fact).decode
_decode_message = msgspec.json.Decoder(Message).decode
_decode_presence = msgspec.json.Decoder(Presence).decode
_decode_raw = msgspec.json.Decoder(Raw).decode
encode = msgspec.json.Encoder().encode
_decode_parent = msgspec.json.Decoder(Parent).decode
_decode_tags = msgspec.json.Decoder(dict[str, str]).decode

INSTANCE_COLUMNS = (
    "id, name, status, created_at, updated_at, input, output, custom_status, generation, parent, held, tags, birth,"
    " held_by"
)
"""In the order of `instance_row`."""
_COLUMNS = INSTANCE_COLUMNS.split(", ")
_UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, AttributeError, RecursionError)
"""What reading raises: for what is no JSON or has another form, and for a column of another type."""
WAIT_COLUMNS = "waits.instance_id, waits.id, waits.name, since, deadline, schema, coalesce(instances.name, '')"
AUDIT_COLUMNS = "at, verb, caller, address, reason, result, instance_id, id"


def instance_row(instance: Instance) -> tuple[Any, ...]:
    return (
        instance.id,
        instance.name,
        str(instance.status),
        instance.created,
        instance.updated,
        bytearray(instance.input_json),
        bytearray(instance.output_json),
        bytearray(instance.custom_status_json),
        instance.generation,
        None if instance.parent is None else encode(instance.parent),
        instance.held,
        encode(instance.tags) if instance.tags else None,
        instance.birth,
        instance.held_by,
    )


def instance_of(row: Sequence[Any]) -> Instance:
    """A row that cannot be read in full is that of an instance that is held (`UNREADABLE`)."""
    try:
        return Instance(
            id=row[0],
            name=row[1],
            status=RuntimeStatus(row[2]),
            created=row[3],
            updated=row[4],
            input_json=read_json(row[5]),
            output_json=read_json(row[6]),
            custom_status_json=read_json(row[7]),
            generation=row[8],
            parent=_parent_of(row[9]),
            held=row[10],
            tags=_tags_of(row[11]),
            birth=row[12],
            held_by=row[13],
        )
    except _UNREADABLE:
        return _damaged(row)


def _damaged(row: Sequence[Any]) -> Instance:
    """What can be read of a row, and what cannot, in words."""
    wrong: list[str] = []

    def column(number: int, read: Callable[[Any], T], instead: T) -> T:
        try:
            return read(row[number])
        except _UNREADABLE as error:
            wrong.append(f"{_COLUMNS[number]} ({error})")
            return instead

    found = Instance(
        id=row[0],
        name=row[1],
        status=column(2, RuntimeStatus, RuntimeStatus.RUNNING),
        created=row[3],
        updated=row[4],
        input_json=column(5, read_json, NULL),
        output_json=column(6, read_json, NULL),
        custom_status_json=column(7, read_json, NULL),
        generation=row[8],
        parent=column(9, _parent_of, None),
        tags=column(11, _tags_of, {}),
        birth=row[12],
        held_by=UNREADABLE,
    )
    return replace(found, held=cannot_be_read(f"its row: {', '.join(wrong)}"))


def _parent_of(text: bytes | None) -> Parent | None:
    return None if text is None else _decode_parent(text)


def _tags_of(text: bytes | None) -> dict[str, str]:
    return {} if text is None else _decode_tags(text)


def cannot_be_read(what: str) -> str:
    """Why an instance is held, and what to do about it."""
    return (
        f"This version cannot read {what}. A newer version may have written it: run that one again, "
        "or terminate the instance."
    )


def status_of(text: str) -> RuntimeStatus:
    """The status in a row; one that is not known here is shown as running, and held (see `instance_of`)."""
    try:
        return RuntimeStatus(text)
    except ValueError:
        return RuntimeStatus.RUNNING


def counts_of(rows: Iterable[Sequence[Any]]) -> dict[RuntimeStatus, int]:
    counts: dict[RuntimeStatus, int] = {}
    for text, count in rows:
        status = status_of(text)
        counts[status] = counts.get(status, 0) + count
    return counts


def read_json(text: bytes) -> Raw:
    """The text itself, if it is JSON. Raises `ValueError`."""
    text.decode()  # msgspec does not look into strings
    return _decode_raw(text)


def steps_of(text: bytes, length: int) -> list[Step]:
    """The steps in an instance's row, each followed by a comma; `length` is how many the history has in all."""
    try:
        return decode_steps(b"[%b]" % text[:-1])
    except _UNREADABLE as error:
        return _readable_steps(text, length, str(error))


def _readable_steps(text: bytes, length: int, error: str) -> list[Step]:
    """Each step by itself; if not even that can be done, there is nothing in any."""
    try:
        places = _decode_places(b"[%b]" % text[:-1])
    except _UNREADABLE:
        return [Step(seq, 0, (_unreadable(seq, error),)) for seq in range(min(length, SHORT))]
    return [Step(each.seq, each.at, facts_of(each.facts, each.seq)) for each in places]


def facts_of(text: bytes | Raw, seq: int) -> tuple[Fact, ...]:
    """The facts of step number `seq`; in place of those that cannot be read, one that says so."""
    try:
        return _decode_facts(text)
    except _UNREADABLE as error:
        return (_unreadable(seq, str(error)),)


def _unreadable(seq: int, error: str) -> Unreadable:
    return Unreadable(cannot_be_read(f"step {seq} of its history ({error})"))


def message_of(inbox_id: int, instance_id: str, text: bytes) -> Message:
    """A message as it was put into the inbox; in place of one that cannot be read, one that says so."""
    try:
        return replace(_decode_message(text), inbox_id=inbox_id)
    except _UNREADABLE as error:
        return _unreadable_message(inbox_id, instance_id, error)


def fact_of(inbox_id: int, instance_id: str, generation: int | None, birth: str, text: bytes) -> Message:
    """A message of which only the fact was put into the inbox."""
    try:
        return Message(instance_id, _decode_fact(text), generation, inbox_id, birth=birth)
    except _UNREADABLE as error:
        return _unreadable_message(inbox_id, instance_id, error)


def _unreadable_message(inbox_id: int, instance_id: str, error: BaseException) -> Message:
    fact = Unreadable(cannot_be_read(f"message {inbox_id} of its inbox ({error})"))
    return Message(instance_id, fact, inbox_id=inbox_id)


def presences(texts: Iterable[bytes]) -> list[Presence]:
    """What workers say of themselves; those of other versions that say it in other words are left out."""
    found: list[Presence] = []
    for text in texts:
        with suppress(*_UNREADABLE):
            found.append(_decode_presence(text))
    return found


def tag_rows(instance: Instance) -> list[tuple[Any, ...]]:
    return [(name, value, instance.created, instance.id) for name, value in instance.tags.items()]


def activity_row(call: ScheduledActivity) -> tuple[Any, ...]:
    return (
        call.instance_id,
        call.generation,
        call.task_id,
        call.name,
        bytearray(call.input_json),
        call.attempt,
        call.call_id,
        call.scheduled_at,
        call.started,
        call.birth,
    )


def activity_of(row: Sequence[Any]) -> ScheduledActivity:
    instance_id, generation, task_id, name, input_json, attempt, call_id, scheduled_at, started, birth, held_by = (
        row
    )
    return ScheduledActivity(
        instance_id,
        generation,
        task_id,
        name,
        Raw(input_json),
        attempt,
        call_id,
        scheduled_at,
        bool(started),
        birth,
        held_by or "",
    )


def request_row(key: tuple[str, str], request: RequestKey) -> tuple[Any, ...]:
    row = (*key, request.digest, request.expires_at, request.outlives)
    return (*row, request.error, request.text, request.path)


def wait_of(row: Sequence[Any]) -> Wait:
    instance_id, wait_id, name, since, deadline, schema_json, orchestrator = row
    try:
        schema = read_json(schema_json)
    except _UNREADABLE:
        schema = Raw(b"{}")
    return Wait(instance_id, wait_id, name, since, deadline, schema, orchestrator)


def wait_row(wait: Wait) -> tuple[Any, ...]:
    return (wait.instance_id, wait.id, wait.name, wait.opened, wait.due, bytearray(wait.schema_json))


def audit_row(entry: AuditEntry) -> tuple[Any, ...]:
    return (entry.time, entry.verb, entry.caller, entry.address, entry.reason, entry.result, entry.instance_id)


def audit_of(row: Sequence[Any]) -> AuditEntry:
    return AuditEntry(*row)
