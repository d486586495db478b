"""queue_depth: backlog a unit, what is at work on top, and its slow way in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import PolicyError
from policies.scaling.queue_depth import QueueDepth
from tests.policies.scaling.play import cluster_of, every, run, wishes

BARE: dict[str, Any] = {"counts_busy": False, "delay_in_s": 0.0}


@pytest.mark.parametrize(
    ("queue", "wanted"), [(0.0, 0), (0.1, 1), (4.0, 1), (4.1, 2), (16.0, 4), (17.0, 5), (1000.0, 20)]
)
def test_backlog_a_unit(queue: float, wanted: int) -> None:
    assert wishes(QueueDepth(per_unit=4.0, **BARE), [(60.0, {"queue_length": queue})], [60.0]) == [wanted]


def test_the_source_s_example() -> None:
    """1500 messages, 0.1 s each, 10 s of latency: 100 a unit, so 15 units for 10 that there are."""
    policy = QueueDepth(per_unit=10.0 / 0.1, **BARE)
    assert wishes(policy, [(60.0, {"queue_length": 1500.0})], [60.0], units=10) == [15]


def test_what_is_at_work_comes_on_top() -> None:
    values = {"gpu_allocation_frac": 0.75, "pending_gpus": 12.0}
    policy = QueueDepth(metric="pending_gpus", per_unit=8.0, delay_in_s=0.0)
    assert wishes(policy, [(60.0, values)], [60.0]) == [5]  # 3 + 1.5
    values = {"gpu_utilisation_frac": 0.5, "queue_length": 5.0}
    assert wishes(QueueDepth(delay_in_s=0.0), [(60.0, values)], [60.0], service=True) == [4]  # 2 + 1.25


def test_windows_are_averaged_without_their_beginning() -> None:
    samples = every(30.0, "queue_length", 100.0, 4.0, 12.0)
    assert wishes(QueueDepth(per_unit=4.0, window_s=60.0, **BARE), samples, [60.0, 89.0, 119.0, 120.0]) == [2, 2, 3, 3]


def test_in_to_the_largest_of_the_window() -> None:
    samples = every(60.0, "queue_length", 32.0, 20.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0)
    policy = QueueDepth(per_unit=4.0, counts_busy=False, delay_in_s=180.0)
    told = wishes(policy, samples, [60.0 * i for i in range(9)])
    assert told == [8, 8, 8, 5, 2, 2, 2, 2, 2]  # 8 until 180 s, exclusive; then 5 until 240 s


def test_units_on_the_way_are_not_ordered_again() -> None:
    cluster, pool = cluster_of(2)
    pool.num_starting = 3
    cluster.measure(60.0, queue_length=20.0)
    cluster.now_s = 60.0
    assert QueueDepth(per_unit=4.0, **BARE).desired(pool, cluster.view()) == 5


def test_nothing_measured_nothing_done() -> None:
    assert wishes(QueueDepth(), [(60.0, {"queue_length": 99.0})], [0.0, 120.0]) == [4, 4]


@settings(max_examples=40, deadline=None)
@given(queue=st.floats(0, 200), start=st.integers(0, 12), low=st.integers(0, 3))
def test_under_a_constant_queue_it_comes_to_rest_within_its_bounds(queue: float, start: int, low: int) -> None:
    told = run(
        QueueDepth(counts_busy=False), lambda *_: {"queue_length": queue}, 900.0, units=start, most=12, least=low
    )
    assert all(isinstance(count, int) and low <= count <= 12 for count in told)
    assert len(set(told[6:])) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "queue"}, "queue_depth: unknown metric 'queue': did you mean queue_"),
        ({"per_unit": 0.0}, "queue_depth: per_unit=0.0: must be more than 0"),
        ({"window_s": 4000.0}, "queue_depth: window_s=4000.0: must lie in 0..3600"),
        ({"delay_in_s": -1.0}, "queue_depth: delay_in_s=-1.0: must be 0 or more"),
        ({"max_units": -1}, "queue_depth: max_units=-1: must not be less than min_units"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        QueueDepth(**options)
