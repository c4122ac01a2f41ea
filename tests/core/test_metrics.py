"""Histograms are nearly right, and stay small."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bide.model.clock import SECOND
from bide.model.instance import RuntimeStatus
from bide.model.metrics import KEPT_MINUTES, MINUTE, Histogram, Metrics, Series, bucket_of, upper_end


@given(st.integers(0, 2**62))
def test_a_bucket_holds_what_is_put_into_it(value: int) -> None:
    bucket = bucket_of(value)
    assert upper_end(bucket - 1) < value <= upper_end(bucket) if bucket else value == 0
    assert upper_end(bucket) - value <= value / 4


@pytest.mark.parametrize("share", [0.01, 0.5, 0.95, 0.99, 1.0])
def test_a_quantile_is_close_to_the_true_one(share: float) -> None:
    rng = random.Random(7)
    values = sorted(int(rng.lognormvariate(9, 2)) for _ in range(5_000))
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    true = values[min(len(values) - 1, int(share * len(values)))]
    assert histogram.quantile(share) == pytest.approx(true, rel=0.26)
    assert sum(count for _, count in histogram.buckets()) == histogram.count == 5_000
    assert len(histogram.counts) < 120


def test_without_values_there_is_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None


def test_a_series_keeps_the_last_minutes_and_all_in_all() -> None:
    series = Series()
    for minute in range(KEPT_MINUTES + 5):
        series.add(minute * MINUTE + SECOND, minute)
    assert series.total.count == KEPT_MINUTES + 5
    assert [at // MINUTE for at, _ in series.minutes][:2] == [5, 6]
    assert all(histogram.count == 1 for _, histogram in series.minutes)


def test_starts_and_ends_are_counted_by_the_minute() -> None:
    metrics = Metrics(0)
    for at in (0, SECOND, MINUTE):
        metrics.ends_of(at).started += 1
    metrics.ends_of(MINUTE).count(RuntimeStatus.FAILED)
    metrics.ends_of(MINUTE + 1).count(RuntimeStatus.FAILED)
    assert [(each.at, each.started, dict(each.ended)) for each in metrics.ends] == [
        (0, 2, {}),
        (MINUTE, 1, {RuntimeStatus.FAILED: 2}),
    ]
