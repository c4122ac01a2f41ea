"""Rows of the tables, and the values they stand for.

Payloads go into the database as `bytearray`: for a parameter that is neither that nor exactly an int, a float or a
str, `sqlite3` looks for an adapter first, which takes longer than to write it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from bide.batch import AuditEntry, Message, RequestKey, ScheduledActivity
from bide.history import Fact, Parent, Step
from bide.instance import Instance, RuntimeStatus, Wait
from bide.presence import Presence

decode_facts = msgspec.json.Decoder(tuple[Fact, ...]).decode
decode_steps = msgspec.json.Decoder(list[Step]).decode
decode_fact = msgspec.json.Decoder(Fact).decode
decode_message = msgspec.json.Decoder(Message).decode
decode_presence = msgspec.json.Decoder(Presence).decode
encode = msgspec.json.Encoder().encode
_decode_parent = msgspec.json.Decoder(Parent).decode
_decode_tags = msgspec.json.Decoder(dict[str, str]).decode

INSTANCE_COLUMNS = (
    "id, name, status, created_at, updated_at, input, output, custom_status, generation, parent, held, tags, birth,"
    " held_by"
)
"""In the order of `instance_row`."""
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
    return Instance(
        id=row[0],
        name=row[1],
        status=RuntimeStatus(row[2]),
        created=row[3],
        updated=row[4],
        input_json=Raw(row[5]),
        output_json=Raw(row[6]),
        custom_status_json=Raw(row[7]),
        generation=row[8],
        parent=None if row[9] is None else _decode_parent(row[9]),
        held=row[10],
        tags={} if row[11] is None else _decode_tags(row[11]),
        birth=row[12],
        held_by=row[13],
    )


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
    return Wait(instance_id, wait_id, name, since, deadline, Raw(schema_json), orchestrator)


def wait_row(wait: Wait) -> tuple[Any, ...]:
    return (wait.instance_id, wait.id, wait.name, wait.opened, wait.due, bytearray(wait.schema_json))


def audit_row(entry: AuditEntry) -> tuple[Any, ...]:
    return (entry.time, entry.verb, entry.caller, entry.address, entry.reason, entry.result, entry.instance_id)


def audit_of(row: Sequence[Any]) -> AuditEntry:
    return AuditEntry(*row)
