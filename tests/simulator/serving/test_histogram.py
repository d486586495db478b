"""Percentiles from bins are within 1% of those of the values themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.serving.histogram import LatencyHistogram


@pytest.mark.parametrize("sigma", [0.1, 1.0, 3.0])
def test_percentiles_within_one_per_cent(sigma: float) -> None:
    values = np.exp(sigma * np.random.default_rng(0).standard_normal(50_000))
    histogram = LatencyHistogram()
    for part in np.array_split(values, 7):
        histogram.add(part)
    for share in (0.01, 0.5, 0.99, 0.999, 1.0):
        exact_s = np.quantile(values, share, method="inverted_cdf")
        assert histogram.quantile_s(share) == pytest.approx(exact_s, rel=0.0101)
    assert histogram.mean_s == pytest.approx(values.mean())
    assert histogram.max_s == values.max()
    assert histogram.share_within(1.0) == pytest.approx(0.5, abs=0.02 + 0.1 * (sigma < 0.5))


def test_nothing_and_zero() -> None:
    histogram = LatencyHistogram()
    assert math.isnan(histogram.mean_s)
    assert math.isnan(histogram.quantile_s(0.5))
    histogram.add(np.array([0.0, 0.0]))
    assert histogram.quantile_s(0.99) == 0.0
    assert histogram.share_within(0.0) == 1.0


def test_merging_is_adding() -> None:
    a, b, both = LatencyHistogram(), LatencyHistogram(), LatencyHistogram()
    a.add(np.array([1.0, 2.0]))
    b.add(np.array([3.0]))
    both.add(np.array([1.0, 2.0, 3.0]))
    a.merge(b)
    assert a.quantile_s(0.5) == both.quantile_s(0.5)
    assert (a.num, a.total_s, a.max_s) == (both.num, both.total_s, both.max_s)
