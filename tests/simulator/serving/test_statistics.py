"""A service's numbers, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.errors import ConfigError
from simulator.serving.outcome import Counts, Served
from simulator.serving.statistics import Objective, ServiceStatistics

# (number, arrival, first, finish, tokens): latencies 2, 4, 8 s; first tokens after 1, 3, 1 s
ROWS = [(0, 10.0, 11.0, 12.0, 2), (1, 20.0, 23.0, 24.0, 1), (2, 100.0, 101.0, 108.0, 8)]


def test_by_hand() -> None:
    statistics = ServiceStatistics(Objective(latency_s=5.0, ttft_s=2.0, target_frac=0.5), has_tokens=True)
    for row in ROWS:
        statistics.add(Served.of([row]))
    told = statistics.summary(Counts(arrived=3, served=3))
    assert told["latency_mean_s"] == pytest.approx(14 / 3)
    assert told["latency_p50_s"] == pytest.approx(4.0, rel=0.01)
    assert told["latency_p99_s"] == told["latency_max_s"] == pytest.approx(8.0)
    assert told["ttft_p99_s"] == pytest.approx(3.0, rel=0.01)
    assert told["time_per_output_token_mean_s"] == pytest.approx(1.0)
    assert told["slo_attainment_frac"] == pytest.approx(1 / 3)
    assert told["slo_minutes_in_violation"] == 1  # 1 of 2 in the first minute is enough; 0 of 1 in the second is not
    assert statistics.heat.counts.sum(axis=1).tolist() == [2, 1]
    assert [counts.tolist() for counts in statistics.by_minute()] == [[2, 1], [1, 0]]


def test_failures_are_not_in_time() -> None:
    statistics = ServiceStatistics(Objective(), has_tokens=False)
    statistics.add(Served.of(ROWS[:1]))
    counts = Counts(arrived=4, served=1, rejected=1, timed_out=1)
    statistics.book_failures(counts, 130.0)
    statistics.book_failures(counts, 190.0)
    told = statistics.summary(counts)
    assert told["slo_attainment_frac"] == pytest.approx(1 / 3)
    assert told["slo_minutes_in_violation"] == 1
    assert told["num_in_flight"] == 1
    assert "ttft_p99_s" not in told


def test_nothing() -> None:
    told = ServiceStatistics(Objective(), has_tokens=True).summary(Counts())
    assert math.isnan(told["slo_attainment_frac"])
    assert math.isnan(told["ttft_p99_s"])
    assert told["slo_minutes_in_violation"] == 0


def test_an_objective_that_cant_be() -> None:
    with pytest.raises(ConfigError, match=r"service\.slo\.target_frac=1\.5: must be above 0, and 1 at most"):
        Objective(target_frac=1.5)


def test_order_of_answers_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    arrival_s = np.sort(rng.uniform(0, 5000, 500))
    rows = [(k, a, a + 0.5, a + 1.0 + rng.random(), 3) for k, a in enumerate(arrival_s.tolist())]
    summaries = []
    for order in (np.arange(500), rng.permutation(500)):
        statistics = ServiceStatistics(Objective(latency_s=1.7), has_tokens=True)
        for part in np.array_split(order, 9):
            statistics.add(Served.of([rows[k] for k in part.tolist()]))
        told = statistics.summary(Counts(arrived=500, served=500))
        summaries.append({name: pytest.approx(value) for name, value in told.items()})
        assert told == summaries[0]
