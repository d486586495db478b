"""Generated streams: rates, order, chunks, and that the same seed gives the same requests."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import Any

import numpy as np
import pytest

from workloads.errors import WorkloadError
from workloads.requests import Requests, build_requests
from workloads.requests.generators import MarketRequests

GENERATED: list[dict[str, Any]] = [
    {"name": "poisson", "rate_per_s": 20.0, "duration_s": 3600.0},
    {"name": "diurnal", "rate_per_s": 20.0, "duration_s": 7200.0},
    {"name": "bursty", "rate_per_s": 20.0, "duration_s": 7200.0},
    {"name": "market", "rate_per_s": 20.0, "duration_s": 86400.0},
    {"name": "sensors", "num_sensors": 13, "rate_hz": 7.0, "jitter_s": 0.4, "duration_s": 500.0},
    {"name": "sensors", "rate_hz": 0.02, "jitter_s": 60.0, "on_hour": 1.0, "off_hour": 23.5, "duration_s": 3 * 86400.0},
    {"name": "superposition", "parts": {
        "a": {"name": "poisson", "duration_s": 500.0}, "b": {"name": "sensors", "duration_s": 300.0},
    }},
]  # fmt: skip


def whole(options: dict[str, Any], seed: int = 0) -> Requests:
    return Requests.concat(list(build_requests(options).chunks(np.random.default_rng(seed))))


@pytest.mark.parametrize("options", GENERATED, ids=lambda options: options["name"])
def test_streams_are_ordered_and_repeatable(options: dict[str, Any]) -> None:
    first, again, other = whole(options), whole(options), whole(options, seed=1)
    assert (np.diff(first.arrival_s) >= 0).all()
    assert first.arrival_s[0] >= 0
    np.testing.assert_array_equal(first.arrival_s, again.arrival_s)
    assert not np.array_equal(first.arrival_s, other.arrival_s)


@pytest.mark.parametrize("name", ["poisson", "diurnal", "market"])
def test_the_mean_rate_over_a_week(name: str) -> None:
    """Within five standard deviations of a Poisson number."""
    num = len(whole({"name": name, "rate_per_s": 1.0, "duration_s": 7 * 86400.0}))
    assert num == pytest.approx(7 * 86400, abs=5 * (7 * 86400) ** 0.5)


def test_bursts_have_the_mean_rate_and_vary_more_than_poisson() -> None:
    arrival_s = whole({"name": "bursty", "rate_per_s": 2.0, "duration_s": 20 * 86400.0}).arrival_s
    counts = np.bincount((arrival_s // 60).astype(int))
    assert counts.mean() == pytest.approx(120, rel=0.05)
    assert counts.var() / counts.mean() > 10.0


def test_a_market_is_busiest_at_open_and_quiet_at_night() -> None:
    market = MarketRequests()
    open_, noon, close, night, sunday = market.relative_rate(
        np.array([9.5, 12.5, 15.99, 3.0, 6 * 24 + 12.0]) * 3600
    ).tolist()
    assert open_ > close > noon > 1.0 > night == sunday == market.off_hours_frac


def test_sensors_send_at_their_rate() -> None:
    arrival_s = whole({"name": "sensors", "num_sensors": 4, "rate_hz": 10.0, "duration_s": 100.0}).arrival_s
    assert len(arrival_s) == 4 * 10 * 100
    assert arrival_s[4:] - arrival_s[:-4] == pytest.approx(0.1)


def test_sensors_may_be_off_at_night() -> None:
    """Two hours a day, each in one piece; the last day ends in the middle of them."""
    options = {"name": "sensors", "num_sensors": 3, "rate_hz": 0.5, "on_hour": 6.5, "off_hour": 8.5}
    arrival_s = whole({**options, "duration_s": 2 * 86400.0 + 7.5 * 3600}).arrival_s
    days, hours = np.divmod(arrival_s / 3600, 24)
    assert np.bincount(days.astype(int)).tolist() == [3 * 3600, 3 * 3600, 3 * 1800]
    assert hours.min() >= 6.5
    assert hours.max() < 8.5
    assert arrival_s[3 * 3600 : 2 * 3 * 3600] - arrival_s[: 3 * 3600] == pytest.approx(86400.0)
    late = whole({**options, "jitter_s": 10.0}).arrival_s
    assert len(late) == 3 * 3600
    assert 8.5 * 3600 < late.max() < 8.5 * 3600 + 10.0


def test_big_streams_come_in_small_chunks() -> None:
    source = build_requests({"name": "poisson", "rate_per_s": 1e5, "duration_s": 86400.0})
    chunks = list(itertools.islice(source.chunks(np.random.default_rng(0)), 3))
    assert [len(chunk) for chunk in chunks] == pytest.approx([2**18] * 3, rel=0.02)
    gaps = np.diff(np.concatenate([chunk.arrival_s for chunk in chunks]))
    assert gaps.mean() == pytest.approx(1e-5, rel=0.01)
    assert gaps.std() == pytest.approx(1e-5, rel=0.01)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "poisson"}, {"name": "diurnal"}, {"name": "bursty"}, {"name": "market"},
        {"name": "sensors", "num_sensors": 1000, "rate_hz": 1.0, "jitter_s": 5.0},
        {"name": "superposition", "parts": {
            "dense": {"name": "poisson", "rate_per_s": 990.0, "duration_s": 8000.0},
            "sparse": {"name": "bursty", "rate_per_s": 10.0, "duration_s": 8000.0},
        }},
    ],
    ids=lambda options: options["name"],
)  # fmt: skip
def test_streams_take_little_memory(options: dict[str, Any]) -> None:
    """Up to eight million requests, 64 MB of times alone, pass by in 30 MB at most."""
    more = {} if options["name"] == "superposition" else {"duration_s": 8000.0}
    if options["name"] not in ("sensors", "superposition"):
        more["rate_per_s"] = 1000.0
    source = build_requests({**options, **more, "limit": 8_000_000})
    tracemalloc.start()
    num = sum(len(chunk) for chunk in source.chunks(np.random.default_rng(0)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num > 500_000
    assert peak < 30e6


def test_window_scale_and_limit() -> None:
    options = {"name": "sensors", "num_sensors": 1, "rate_hz": 1.0, "duration_s": 100.0}
    plain = whole(options).arrival_s
    cut = whole({**options, "from_s": 10.0, "to_s": 20.0, "time_scale": 0.5, "limit": 4}).arrival_s
    assert cut.tolist() == pytest.approx(((plain[10:14] - 10.0) * 0.5).tolist())


def test_tokens() -> None:
    lengths = {"median": 100.0, "sigma": 1.0, "max": 1000}
    got = whole(
        {"name": "poisson", "prompt_tokens": lengths, "output_tokens": {"median": 7.0, "sigma": 0.0}, "limit": 50_000}
    )
    assert got.prompt_tokens is not None
    assert got.output_tokens is not None
    assert np.median(got.prompt_tokens) == pytest.approx(100, rel=0.03)
    assert (got.prompt_tokens.min(), got.prompt_tokens.max()) >= (1, 1000)
    assert set(got.output_tokens.tolist()) == {7}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "requests.name: is needed"),
        ({"name": "poison"}, "requests=poison: unknown source of requests; did you mean poisson"),
        ({"name": "poisson", "rate": 3}, "requests.rate: unknown option"),
        ({"name": "poisson", "rate_per_s": 0}, "rate_per_s=0.0: must be more than 0"),
        ({"name": "poisson", "prompt_tokens": {"median": 5, "sigma": 1}}, "go together"),
        ({"name": "superposition"}, "parts={}: needs one part or more"),
        ({"name": "market", "close_hour": 9}, "close_hour=9.0: must lie in open_hour=9.5..24"),
        ({"name": "sensors", "on_hour": 24}, "on_hour=24.0: must lie in 0..24"),
        ({"name": "sensors", "on_hour": 8, "off_hour": 8}, "off_hour=8.0: must lie in on_hour=8..24"),
        (
            {"name": "sensors", "off_hour": 23.5, "jitter_s": 1801},
            "jitter_s=1801.0: must not be longer than the 1800 s in which sensors are off",
        ),
        ({"name": "bursty", "burst_rates": [1.0]}, "needs two states or more"),
        ({"name": "csv"}, "requests.path: is needed; set requests.path=FILE"),
    ],
)
def test_what_cant_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError) as told:
        whole(options)
    assert message in str(told.value)
