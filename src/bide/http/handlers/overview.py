"""Handlers about what people look at: who works, what is due, what failed lately."""

from __future__ import annotations

from typing import Literal

from starlette.responses import Response

from bide.http.base.paging import page
from bide.http.base.queries import FailuresQuery, Query, ShowQuery, TimersQuery, span_of
from bide.http.base.shapes import (
    BucketObject,
    EndsObject,
    HubObject,
    MetricObject,
    MetricsObject,
    MinuteObject,
    timer_object,
    worker_object,
)
from bide.http.gate.auth import is_open
from bide.http.handlers.endpoint import Call
from bide.http.handlers.showing import status_object
from bide.model.clock import SECOND, to_datetime
from bide.model.instance import RuntimeStatus
from bide.model.metrics import Ends, Series
from bide.model.query import FailureCursor, TimerCursor, failure_cursor, timer_cursor
from bide.version import __version__


async def hub(call: Call[Query]) -> Response:
    """The hub, and who the caller is to it."""
    return call.answer(
        200,
        HubObject(
            version=__version__,
            now=to_datetime(call.now),
            caller=call.caller.name,
            role=call.caller.role,
            open=is_open(call.settings),
            development=call.services.development,
        ),
    )


async def metrics(call: Call[Query]) -> Response:
    """What this process has counted since it started: how long things take, how many instances were started and
    ended, and how many requests came with a key that is not valid."""
    counted = call.client.metrics
    return call.answer(
        200,
        MetricsObject(
            since=to_datetime(counted.since),
            now=to_datetime(call.now),
            metrics=(
                _metric("scheduleToStart", counted.schedule_to_start),
                _metric("responseTime", counted.response_time),
                _metric("timerLateness", counted.timer_lateness),
            ),
            ends=tuple(map(_ends, counted.ends)),
            wrong_keys=call.services.gate.guesses.count,
        ),
    )


def _metric(name: Literal["scheduleToStart", "responseTime", "timerLateness"], series: Series) -> MetricObject:
    total = series.total
    p50, p95, p99 = (_seconds(total.quantile(share)) for share in (0.5, 0.95, 0.99))
    return MetricObject(
        name=name,
        count=total.count,
        p50=p50,
        p95=p95,
        p99=p99,
        max=total.most / SECOND if total.count else None,
        buckets=tuple(BucketObject(up_to=size / SECOND, count=count) for size, count in total.buckets()),
        minutes=tuple(
            MinuteObject(
                at=to_datetime(at),
                count=each.count,
                p50=(each.quantile(0.5) or 0) / SECOND,
                p95=(each.quantile(0.95) or 0) / SECOND,
            )
            for at, each in series.minutes
        ),
    )


def _seconds(micros: int | None) -> float | None:
    return None if micros is None else micros / SECOND


def _ends(ends: Ends) -> EndsObject:
    ended = ends.ended
    return EndsObject(
        at=to_datetime(ends.at),
        started=ends.started,
        completed=ended.get(RuntimeStatus.COMPLETED, 0),
        failed=ended.get(RuntimeStatus.FAILED, 0),
        terminated=ended.get(RuntimeStatus.TERMINATED, 0),
    )


async def workers(call: Call[Query]) -> Response:
    """The workers there are, and the last of those there were; the one that started last first."""
    return call.answer(200, [worker_object(each, call.now) for each in await call.client.workers()])


async def timers(call: Call[TimersQuery]) -> Response:
    """Open timers of all instances, the next one first."""
    query, after = call.query, call.cursor(TimerCursor)
    found = await call.client.open_timers(overdue=query.overdue, after=after, limit=query.top + 1)
    shown, headers = page(found, query.top, timer_cursor)
    return call.answer(200, [timer_object(timer, call.now) for timer in shown], headers)


async def failures(call: Call[FailuresQuery]) -> Response:
    """Instances that failed within the time given, the last one first."""
    query, after = call.query, call.cursor(FailureCursor)
    found = await call.client.failures(span_of(query.since), after=after, limit=query.top + 1)
    shown, headers = page(found, query.top, failure_cursor)
    return call.answer(200, [status_object(call, each, ShowQuery()) for each in shown], headers)
