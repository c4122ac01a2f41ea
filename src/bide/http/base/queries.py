"""What may stand in the query of a request: one type for each kind of request.

The same types give the parameters of the OpenAPI document. Names compare case-insensitively; parameters that are
not ours (`taskHub`, `connection`) are left alone.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import cache
from types import UnionType
from typing import Annotated, Any, NamedTuple, TypeAlias, TypeVar, Union, get_args, get_origin

from msgspec import Meta, Struct, ValidationError, convert
from msgspec.structs import fields
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException

from bide.model.arguments import MOST
from bide.model.clock import to_span
from bide.model.instance import MAX_REASON, MAX_TAG_NAME, MAX_TAG_VALUE, MAX_TAGS, Reuse, RuntimeStatus
from bide.model.query import InstanceFilter

Q = TypeVar("Q", bound="Query")

_END = r"$(?!\n)"
"""The end in all dialects of patterns: in Python's, a dollar alone also stands before a last line break."""
_SPAN = rf"^[0-9]{{1,9}}(\.[0-9]{{1,6}})?(ms|s|m|h|d)?{_END}"
_NO_CONTROLS = r"[^\x00-\x1f\x7f-\x9f]"

Span: TypeAlias = Annotated[
    str, Meta(pattern=_SPAN, description="A span of time: `30s`, `1.5h`, `7d`. Without a unit: seconds.")
]
Wait: TypeAlias = Annotated[
    str,
    Meta(
        pattern=_SPAN,
        description="How long to wait until it has ended: `30s`, `5m`. Without a unit: seconds. "
        "The server answers after `max_wait_s` at the latest.",
    ),
]
Every: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^(([1-9][0-9]{2,3}|[1-5][0-9]{4}|60000)ms|"
        rf"(0\.[1-9][0-9]{{0,5}}|([1-9]|[1-5][0-9])(\.[0-9]{{1,6}})?|60)s?|1m){_END}",
        description="How often at most, from `100ms` to `60s` or `1m`. Without a unit: seconds.",
    ),
]
Seconds: TypeAlias = Annotated[
    float,
    Meta(ge=0, le=1e9, description="Seconds. To wait for the result takes both a timeout and an interval."),
]
ReportFailure: TypeAlias = Annotated[bool, Meta(description="Answer 500, not 200, if the instance has failed.")]
ShowInput: TypeAlias = Annotated[bool, Meta(description="Whether inputs are shown.")]
ShowHistory: TypeAlias = Annotated[bool, Meta(description="Show the history, in Durable Functions' form.")]
ShowOutput: TypeAlias = Annotated[bool, Meta(description="In the history, show results too.")]
_TEXT = f"^{_NO_CONTROLS}*{_END}"
Name: TypeAlias = Annotated[
    str, Meta(pattern=_TEXT, description="The orchestrator's name, without control characters.")
]
EventName: TypeAlias = Annotated[
    str, Meta(pattern=_TEXT, description="The event's name, without control characters.")
]
Held: TypeAlias = Annotated[bool, Meta(description="Only those that are held: `held` says why they do not go on.")]
Prefix: TypeAlias = Annotated[
    str, Meta(pattern=_TEXT, description="How the instance's id begins, without control characters.")
]
Instant: TypeAlias = Annotated[
    str,
    Meta(
        description="A moment in ISO 8601. Without a time zone it is UTC.",
        extra_json_schema={"format": "date-time"},
    ),
]
MAX_PAGE = 1_000
"""How many rows one page of a list has at most."""
Top: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many at most.")]
AtMost: TypeAlias = Annotated[int, Meta(ge=1, le=1_000_000_000, description="How many at most with this request.")]
Reason: TypeAlias = Annotated[
    str, Meta(max_length=MAX_REASON, description="Why; it is kept in the history and the audit.")
]
WaitId: TypeAlias = Annotated[
    int, Meta(ge=1, le=MOST, description="Which of several open waits for that event: its `id`.")
]
Tag: TypeAlias = Annotated[
    str,
    Meta(
        pattern=rf"^[A-Za-z0-9._-]{{1,{MAX_TAG_NAME}}}:{_NO_CONTROLS}{{0,{MAX_TAG_VALUE}}}{_END}",
        description="`name:value`.",
    ),
]
Tags: TypeAlias = Annotated[tuple[Tag, ...], Meta(max_length=MAX_TAGS, description="May be repeated.")]
ReuseOfId: TypeAlias = Annotated[
    Reuse,
    Meta(
        description="What becomes of an instance that has the id already. Without it, the same start once more is "
        "a repetition and changes nothing. `never`: refuse the start. `ended`: start anew if it has ended. "
        "`replace`: end it if it runs, and start anew."
    ),
]
AnyStatus: TypeAlias = Annotated[
    str,
    Meta(
        description="May be repeated, or several with commas. Empty: all.",
        extra_json_schema={"enum": [*RuntimeStatus, "Canceled", "ContinuedAsNew"]},
    ),
]
"""Durable Functions' names. The last two are known there, and never occur here."""

_STATUSES = {status.lower(): status for status in RuntimeStatus}
_FOREIGN_STATUSES = {"canceled", "continuedasnew"}


class Query(Struct, frozen=True, kw_only=True, rename="camel"):
    """A request without parameters of its own."""


class OutcomeQuery(Query, frozen=True, kw_only=True):
    """Whether to wait for the result, and for how long."""

    wait: Wait | None = None
    timeout: Seconds | None = None
    polling_interval: Seconds | None = None
    retry_interval: Seconds | None = None
    return_internal_server_error_on_failure: ReportFailure = False

    @property
    def waiting_time(self) -> timedelta | None:
        """How long to wait for the result before answering with the URIs, or None: not at all."""
        if self.wait is not None:
            return span_of(self.wait)
        if self.timeout is None or not self._intervals:
            return None  # as with Azure, waiting takes both
        return timedelta(seconds=self.timeout)

    def __post_init__(self) -> None:
        """Raises `ValueError` for an interval that is longer than the wait: as with Azure, it makes no sense."""
        for name, interval in self._intervals.items():
            if self.timeout is not None and interval > self.timeout:
                raise ValueError(
                    f"The {name} ({interval:g} s) is longer than the timeout ({self.timeout:g} s). "
                    "Make it shorter, or wait longer."
                )

    @property
    def _intervals(self) -> dict[str, float]:
        given = {"pollingInterval": self.polling_interval, "retryInterval": self.retry_interval}
        return {name: interval for name, interval in given.items() if interval is not None}


class StartQuery(OutcomeQuery, frozen=True, kw_only=True):
    tag: Tags = ()
    reuse: ReuseOfId | None = None


class RestartQuery(OutcomeQuery, frozen=True, kw_only=True):
    restart_with_new_instance_id: Annotated[
        bool, Meta(description="Or again as the same, which must have ended.")
    ] = True


class ShowQuery(Query, frozen=True, kw_only=True):
    show_input: ShowInput = True
    show_history: ShowHistory = False
    show_history_output: ShowOutput = False


class StatusQuery(ShowQuery, frozen=True, kw_only=True):
    return_internal_server_error_on_failure: ReportFailure = False
    wait: Wait | None = None


class _MeantQuery(Query, frozen=True, kw_only=True):
    created_time_to: Instant | None = None
    runtime_status: tuple[AnyStatus, ...] = ()
    instance_id_prefix: Prefix = ""
    name: Name = ""
    tag: Tags = ()
    held: Held = False


class FilterQuery(_MeantQuery, frozen=True, kw_only=True):
    created_time_from: Instant | None = None


class ListQuery(FilterQuery, frozen=True, kw_only=True):
    show_input: ShowInput = True
    show_history: ShowHistory = False
    show_history_output: ShowOutput = False
    top: Top = 100

    @property
    def view(self) -> ShowQuery:
        """How each instance is shown. (A Struct cannot have two bases with fields.)"""
        return ShowQuery(
            show_input=self.show_input,
            show_history=self.show_history,
            show_history_output=self.show_history_output,
        )


class PurgeQuery(_MeantQuery, frozen=True, kw_only=True):
    created_time_from: Instant
    top: AtMost | None = None


class WaitsQuery(Query, frozen=True, kw_only=True):
    overdue: Annotated[bool, Meta(description="Only those whose deadline has passed.")] = False
    event: EventName = ""
    name: Name = ""
    tag: Tags = ()
    top: Top = 100


class EventsQuery(Query, frozen=True, kw_only=True):
    every: Every | None = None


class TimersQuery(Query, frozen=True, kw_only=True):
    overdue: Annotated[bool, Meta(description="Only those that should have fired.")] = False
    top: Top = 100


class FailuresQuery(Query, frozen=True, kw_only=True):
    since: Span = "24h"
    top: Top = 100


class PageQuery(Query, frozen=True, kw_only=True):
    top: Top = 100


class ReasonQuery(Query, frozen=True, kw_only=True):
    reason: Reason = ""


class TerminateQuery(ReasonQuery, frozen=True, kw_only=True):
    recurse: Annotated[bool, Meta(description="End its sub-orchestrations too, also if it has ended itself.")] = (
        False
    )


class LinkQuery(Query, frozen=True, kw_only=True):
    wait_id: WaitId | None = None
    valid_for: Span | None = None


def parse(wanted: type[Q], given: QueryParams) -> Q:
    """The query as a value of the type. Raises `HTTPException` 400 that names the parameter."""
    if not given and not _needs_any(wanted):
        return wanted()
    texts: dict[str, list[str]] = {}
    for name, text in given.multi_items():
        texts.setdefault(name.lower(), []).append(text)
    values: dict[str, Any] = {}
    for parameter in _parameters(wanted):
        found = texts.get(parameter.shown.lower())
        if found:
            values[parameter.name] = _value(parameter, found)
        elif parameter.required:
            raise HTTPException(400, f"The parameter {parameter.shown} is missing.")
    try:
        return wanted(**values)
    except ValueError as error:
        raise HTTPException(400, str(error)) from error


def meant_by(query: FilterQuery | PurgeQuery) -> InstanceFilter | None:
    """The instances that are meant; None if only such are meant as never occur. Raises `HTTPException` 400."""
    where = InstanceFilter(
        created_from=_instant("createdTimeFrom", query.created_time_from),
        created_to=_last_shown(_instant("createdTimeTo", query.created_time_to)),
        statuses=_statuses(query.runtime_status),
        id_prefix=query.instance_id_prefix,
        name=query.name,
        tags=tags_of(query.tag),
        held=query.held,
    )
    return where if where.statuses or not query.runtime_status else None


def span_of(text: str) -> timedelta:
    """A `Span` as a `timedelta`; one that is too long for that as the longest there is."""
    try:
        return timedelta(seconds=float(text)) if text[-1].isdigit() else to_span(text)
    except OverflowError:
        return timedelta.max


def tags_of(texts: tuple[str, ...]) -> dict[str, str]:
    """`Tag`s as tags. Of several with one name, the last counts."""
    return dict(text.split(":", 1) for text in texts)


class _Parameter(NamedTuple):
    """A field of a query type, looked at once."""

    name: str
    shown: str
    type: Any
    required: bool
    is_list: bool
    is_bool: bool
    words: str
    """What a text is that has a pattern."""


@cache
def _needs_any(wanted: type[Query]) -> bool:
    return any(parameter.required for parameter in _parameters(wanted))


@cache
def _parameters(wanted: type[Query]) -> tuple[_Parameter, ...]:
    found: list[_Parameter] = []
    for field in fields(wanted):
        kind = _given(field.type)
        bare = kind.__origin__ if get_origin(kind) is Annotated else kind
        is_list = get_origin(bare) is tuple
        words = _words(bare if is_list else kind)
        found.append(_Parameter(field.name, field.encode_name, kind, field.required, is_list, bare is bool, words))
    return tuple(found)


def _given(wanted: Any) -> Any:
    """The type of a parameter that is there: the text `null` is no way to leave it out."""
    if get_origin(wanted) in (Union, UnionType):
        return get_args(wanted)[0]
    return wanted


def _words(kind: Any) -> str:
    """What the type's description says, if it has a pattern; for a list, that of its members."""
    text = get_args(kind)[0] if get_origin(kind) is tuple else kind
    return next((meta.description for meta in getattr(text, "__metadata__", ()) if meta.pattern is not None), "")


def _value(parameter: _Parameter, texts: list[str]) -> Any:
    name = parameter.shown
    if parameter.is_list and name == "runtimeStatus":
        texts = [part.strip() for text in texts for part in text.split(",") if part.strip()]
    elif not parameter.is_list and len(texts) > 1:
        raise HTTPException(400, f"The parameter {name} is given {len(texts)} times.")
    if parameter.is_bool and texts[0].lower() not in ("true", "false"):
        raise HTTPException(400, f"The parameter {name} should be true or false.")
    try:
        return convert(texts if parameter.is_list else texts[0], parameter.type, strict=False)
    except ValidationError as error:
        wrong = f". {parameter.words}" if "regex" in str(error) else f": {error}."
        raise HTTPException(400, f"The parameter {name} is not acceptable{wrong}") from error


def _statuses(names: tuple[str, ...]) -> tuple[RuntimeStatus, ...]:
    known = {name.lower() for name in names} - _FOREIGN_STATUSES
    unknown = sorted(known - _STATUSES.keys())
    if unknown:
        raise HTTPException(
            400, f"There is no runtimeStatus {unknown[0]!a}. There are: {', '.join(RuntimeStatus)}."
        )
    return tuple(_STATUSES[name] for name in sorted(known))


def _last_shown(at: datetime | None) -> datetime | None:
    """The last instant that is shown as this one: instances show whole seconds, so a whole second is all of it."""
    return at + _ALL_OF_IT if at is not None and at.microsecond == 0 else at


_ALL_OF_IT = timedelta(microseconds=999_999)


def _instant(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        # A plus that nobody encoded arrives as a space.
        at = datetime.fromisoformat(re.sub(r" (?=\d\d:?\d\d$)", "+", text.strip().upper()))
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        message = f"The parameter {name} should be a time like 2026-11-23T06:00:00Z, not {text[:40]!a}."
        raise HTTPException(400, message) from error
