"""knative_kpa: windows with gaps, rates, panic, and the last replica."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import PolicyError
from policies.scaling.knative_kpa import KnativeKpa, clamped, window_average
from tests.policies.scaling.play import every, run, wishes

LOAD = "concurrency"


def kpa(**options: Any) -> KnativeKpa:
    """One request a replica, unless said otherwise."""
    return KnativeKpa(**{"target": 1.0, "target_utilization": 1.0, **options})


def test_the_vector_of_the_reference() -> None:
    assert clamped(3.0, 1.0, 2.0, 1.1, 2.0) == 3
    policy = kpa(max_up_rate=1.1)
    assert wishes(policy, [(0.0, {LOAD: 3.0})], [0.0], units=2, service=True) == [3]


@pytest.mark.parametrize(
    ("average", "ready", "reachable", "wanted"),
    [
        (0.0, 9, True, 4),  # no lower than the floor of 9 / 2
        (0.0, 1, True, 0),
        (0.0, 9, False, 0),
        (50.0, 3, True, 30),  # ten times what is ready
        (7.01, 7, True, 8),
    ],
)
def test_rates(average: float, ready: float, reachable: bool, wanted: int) -> None:
    assert clamped(average, 1.0, ready, 10.0, 2.0, reachable) == wanted


@pytest.mark.parametrize(
    ("samples", "now_s", "window_s", "average"),
    [
        ([(0, 4.0), (1, 2.0)], 1.0, 60.0, 3.0),  # from the first written one on, not the whole window
        ([(0, 4.0), (2, 2.0)], 2.0, 60.0, 2.0),  # a gap between counts as 0
        ([(0, 4.0), (1, 2.0)], 5.0, 60.0, 3.0),  # what has not been written yet does not
        ([(0, 9.0), (1, 9.0), (2, 9.0), (3, 1.0), (4, 2.0), (5, 3.0)], 5.0, 3.0, 2.0),
        ([(0, 9.0), (5, 3.0)], 6.0, 6.0, 0.6),  # buckets 1 to 5
        ([(0, 9.0)], 5.9, 6.0, 9.0),
        ([(0, 9.0)], 6.0, 6.0, 0.0),  # nothing in the whole window
        ([(0, 1.0), (1, 1.0), (2, 0.0)], 2.0, 60.0, 0.666667),
        ([(0, 1.0), (0.5, 3.0)], 0.5, 60.0, 2.0),  # two in a bucket
    ],
)
def test_windows(samples: list[tuple[float, float]], now_s: float, window_s: float, average: float) -> None:
    assert window_average(samples, now_s, window_s, 1.0) == average


def test_defaults_are_seventy_requests_a_replica() -> None:
    assert wishes(KnativeKpa(), [(0.0, {LOAD: 141.0})], [0.0], units=1, service=True) == [3]
    assert wishes(KnativeKpa(), [(0.0, {LOAD: 140.0})], [0.0], units=1, service=True) == [2]


def test_the_least_target() -> None:
    assert wishes(kpa(target=1e-6), [(0.0, {LOAD: 0.05})], [0.0], units=1, service=True) == [5]


def seconds(*loads: tuple[int, float]) -> list[Any]:
    """Samples every second: (for how long, which load)."""
    return every(1.0, LOAD, *[load for length, load in loads for _ in range(length)])


def test_a_surge_panics_and_nothing_goes_down_until_it_has_been_over_for_the_stable_window() -> None:
    """One replica; 10 requests from 60 s to 70 s. The panic window reaches twice the one replica at 61 s already."""
    samples = seconds((60, 1.0), (10, 10.0), (120, 1.0))
    asked = [float(s) for s in range(58, 180, 2)]
    told = dict(zip(asked, wishes(kpa(), samples, asked, units=1, service=True), strict=True))
    assert told[58.0] == 1
    assert told[60.0] == 3  # (5 · 1 + 10) / 6 = 2.5
    assert told[66.0] == told[70.0] == told[120.0] == 10
    last = max(s for s in asked if told[s] == 10)
    assert (told[last + 2], last) == (5, 122.0)  # last over at 62: leaves after 122; 10 / 2, though 1 is enough


def test_it_is_over_at_the_threshold_and_leaves_strictly_after_the_window() -> None:
    policy = kpa()
    assert policy._decided(0.0, 1.0, 2.0, 1) == 2  # 2 / 1 reaches 200%
    assert policy._decided(60.0, 1.0, 1.0, 2) == 2
    assert policy._decided(60.1, 1.0, 1.0, 2) == 1
    assert kpa()._decided(0.0, 3.0, 3.9, 2) == 4  # ceil(3.9) / 2
    assert kpa()._decided(0.0, 3.0, 3.9, 3) == 3  # 4 / 3: the stable window alone


def test_panic_goes_by_what_is_asked_for_and_not_by_what_the_rate_allows() -> None:
    policy = kpa(max_up_rate=1.5)
    assert policy._decided(0.0, 1.0, 8.0, 2) == 3
    assert policy._panic_s == 0.0


def test_begins_in_panic_with_more_than_one() -> None:
    samples = seconds((200, 1.0))
    told = wishes(kpa(), samples, [0.0, 60.0, 62.0, 64.0], units=5, service=True)
    assert told == [5, 5, 2, 1]
    assert wishes(kpa(), samples, [0.0, 2.0], units=1, service=True) == [1, 1]


def test_no_data_no_decision() -> None:
    assert wishes(kpa(), [], [0.0, 100.0], units=7, service=True) == [7, 7]
    assert wishes(kpa(), [(0.0, {LOAD: 3.0})], [59.0], units=4, service=True) == [4]  # begins in panic
    assert wishes(kpa(), [(0.0, {LOAD: 3.0})], [59.0, 61.0], units=1, service=True) == [3, 3]
    assert wishes(kpa(), [(0.0, {LOAD: 3.0})], [61.0], units=1, service=True) == [1]


def test_the_last_replica_goes_after_the_grace() -> None:
    samples = seconds((1, 1.0), (200, 0.0))
    asked = [float(s) for s in range(0, 120, 2)]
    told = wishes(kpa(grace_s=30.0), samples, asked, units=1, service=True)
    assert told.index(0) == 45  # 90 s: the one request has left the window at 60 s
    assert wishes(kpa(grace_s=0.0), samples, asked, units=1, service=True).index(0) == 30
    assert wishes(kpa(min_units=1), samples, asked, units=1, service=True)[-1] == 1


def test_from_zero() -> None:
    assert wishes(kpa(), [(0.0, {LOAD: 0.0}), (2.0, {LOAD: 4.0})], [0.0, 2.0], units=0, service=True) == [0, 2]
    assert wishes(kpa(activation_scale=3), [(0.0, {LOAD: 1.0})], [0.0], units=0, service=True) == [3]
    assert wishes(kpa(activation_scale=3), [(0.0, {LOAD: 0.0})], [0.0], units=0, service=True) == [0]


def test_the_way_down_may_be_delayed() -> None:
    samples = seconds((10, 4.0), (200, 1.0))
    quick, slow = (
        wishes(kpa(down_delay_s=delay_s), samples, [9.0, 100.0, 108.0, 110.0], units=1, service=True)
        for delay_s in (0.0, 100.0)
    )
    assert (quick, slow) == ([4, 2, 1, 1], [4, 4, 4, 2])


def test_slow_monitoring_makes_the_buckets_wide() -> None:
    """Every 15 s: two samples of 15 s buckets, and what lies between is no gap."""
    samples = every(15.0, LOAD, 6.0, 6.0, 6.0)
    assert wishes(kpa(), samples, [30.0, 32.0, 44.0], units=1, service=True) == [6, 6, 6]


@settings(max_examples=30, deadline=None)
@given(load=st.floats(0.0, 30.0), start=st.integers(0, 9), low=st.integers(0, 2))
def test_under_a_constant_load_it_comes_to_rest_within_its_bounds(load: float, start: int, low: int) -> None:
    policy = kpa(min_units=low, max_units=12)
    told = run(policy, lambda *_: {LOAD: load}, 300.0, units=start, service=True)
    assert len(set(told[-20:])) == 1
    assert all(isinstance(count, int) and low <= count <= 12 for count in told)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "rps"}, "knative_kpa: unknown metric 'rps'"),
        ({"target": 0.0}, "knative_kpa: target=0.0: must be more than 0"),
        ({"target_utilization": 70.0}, "knative_kpa: target_utilization=70.0: must lie in 0..1, not 0"),
        ({"stable_window_s": 5.0}, "knative_kpa: stable_window_s=5.0: must lie in 6..3600"),
        ({"panic_window_frac": 0.0}, "knative_kpa: panic_window_frac=0.0: must lie in 0..1, not 0"),
        ({"max_down_rate": 1.0}, "knative_kpa: max_down_rate=1.0: must be more than 1"),
        ({"grace_s": -1.0}, "knative_kpa: grace_s=-1.0: must be 0 or more"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        KnativeKpa(**options)
