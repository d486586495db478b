"""Latencies by minute: nothing is lost as the map grows, and a bin is where its latencies are."""

from __future__ import annotations

import numpy as np

from simulator.serving.heat import HEAT_S, HeatMap, heat_edges_s, heat_middles_s


def test_counts_by_minute_and_bin_whatever_the_order() -> None:
    rng = np.random.default_rng(0)
    arrival_s, latency_s = rng.uniform(0, 20_000, 3_000), np.exp(2.0 * rng.standard_normal(3_000))
    heat = HeatMap()
    heat.add(np.zeros(0), np.zeros(0))
    assert len(heat.counts) == 0
    for part in np.array_split(np.argsort(latency_s), 11):  # any order: minutes long ago, and far ahead
        heat.add(arrival_s[part], latency_s[part])
    edges_s = heat_edges_s()
    expected, *_ = np.histogram2d(arrival_s, latency_s, [HEAT_S * np.arange(len(heat.counts) + 1), edges_s])
    np.testing.assert_array_equal(heat.counts, expected)
    assert heat.counts.sum() == 3_000


def test_a_bin_is_17_per_cent_wide() -> None:
    edges_s, middles_s = heat_edges_s(), heat_middles_s()
    np.testing.assert_allclose(edges_s[1:] / edges_s[:-1], 1.02**8)
    np.testing.assert_allclose(middles_s / edges_s[:-1], 1.02**4)
    assert len(edges_s) == len(middles_s) + 1
