"""target_tracking: its two alarms, cool-downs, warming units, missing points; and as proportional control."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import PolicyError
from policies.scaling.load import ceil
from policies.scaling.target_tracking import TargetTracking
from tests.policies.scaling.play import cluster_of, every, run, wishes

USE = "gpu_allocation_frac"
QUICK: dict[str, Any] = {"points_out": 1, "points_in": 1, "scale_in_frac": 1.0, "late_s": 0.0} | dict.fromkeys(
    ("cooldown_out_s", "cooldown_in_s"), 0.0
)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([0.5, 1.0, 1.0], 4),  # two of three
        ([0.5, 1.0, 1.0, 1.0], 8),  # 4 · 1.0 / 0.5
        ([1.0, 1.0, 0.5, 1.0], 4),  # 0.5 is not above 0.5
        ([1.0, 1.0, 0.8], 7),  # the newest point says how many: 4 · 0.8 / 0.5 = 6.4
        ([0.500001, 0.500001, 0.500001], 5),  # 4 · 1.000002, rounded up
        ([0.1] * 14, 4),  # 14 of 15
        ([0.1] * 15, 1),
        ([0.1] * 5 + [0.45] + [0.1] * 14, 4),  # 0.45 is not below 0.9 · 0.5
        ([0.3] + [0.1] * 14, 3),  # the highest point counts: 4 · 0.3 / 0.5 = 2.4
        ([0.44] * 15, 4),  # below, yet three are too few: 4 · 0.44 / 0.5 = 3.52
        ([0.0] * 15, 0),
    ],
)
def test_alarms(values: list[float], wanted: int) -> None:
    samples = every(60.0, USE, *values, start_s=60.0)
    assert wishes(TargetTracking(target=0.5), samples, [60.0 * len(values)]) == [wanted]


def test_a_point_is_the_mean_of_its_minute() -> None:
    """Samples every 30 s; the points are 0.45, then 0.55 three times."""
    samples = every(30.0, USE, 0.2, *[0.7, 0.4] * 3, 0.7, start_s=30.0)
    assert wishes(TargetTracking(target=0.5), samples, [180.0, 239.0, 240.0]) == [4, 4, 5]
    assert wishes(TargetTracking(target=0.5, points_out=2), samples, [179.0, 180.0]) == [4, 5]


def test_a_missing_point_is_no_breach() -> None:
    samples = [sample for sample in every(60.0, USE, *[1.0] * 10) if sample[0] != 120.0]
    assert wishes(TargetTracking(target=0.5), samples, [180.0, 240.0, 300.0]) == [4, 4, 8]
    samples = [sample for sample in every(60.0, USE, *[0.1] * 30) if sample[0] != 300.0]
    assert wishes(TargetTracking(target=0.5), samples, [900.0, 1140.0, 1200.0]) == [4, 4, 1]


def test_where_monitoring_stops_scaling_does() -> None:
    samples = every(60.0, USE, *[1.0] * 5)
    assert wishes(TargetTracking(target=0.5, late_s=120.0), samples, [240.0 + 180.0]) == [4]
    assert wishes(TargetTracking(target=0.5, late_s=180.0), samples, [240.0 + 180.0]) == [8]
    assert wishes(TargetTracking(target=0.5), [], [0.0, 600.0]) == [4, 4]


def test_cooldown_out() -> None:
    samples = every(60.0, USE, *[1.0] * 20)
    asked = [180.0, 240.0, 420.0, 479.0, 480.0]
    assert wishes(TargetTracking(target=0.5, cooldown_out_s=300.0), samples, asked) == [8, 8, 8, 8, 16]


def test_cooldown_in_counts_from_any_step() -> None:
    samples = every(60.0, USE, *[1.0] * 4, *[0.3] * 40)
    policy = TargetTracking(target=0.5, points_in=3, cooldown_in_s=600.0)
    assert wishes(policy, samples, [180.0, 360.0, 720.0, 780.0, 840.0, 1380.0]) == [8, 8, 8, 5, 5, 3]


def test_units_on_the_way_are_capacity_and_no_part_of_the_metric() -> None:
    cluster, pool = cluster_of(4)
    pool.num_starting = 4  # 4 · 1.0 / 0.5 = 8 are there or on the way
    for minute in range(4):
        cluster.measure(60.0 * minute, **{USE: 1.0})
    cluster.now_s = 180.0
    assert TargetTracking(target=0.5).desired(pool, cluster.view()) == 8
    assert TargetTracking(target=0.25).desired(pool, cluster.view()) == 16


def test_none_goes_while_some_are_on_the_way() -> None:
    cluster, pool = cluster_of(4)
    for minute in range(16):
        cluster.measure(60.0 * minute, **{USE: 0.1})
    cluster.now_s, pool.num_starting = 900.0, 1
    assert TargetTracking(target=0.5).desired(pool, cluster.view()) == 5
    pool.num_starting = 0
    assert TargetTracking(target=0.5).desired(pool, cluster.view()) == 1


def test_draining_nodes_carry_load_too() -> None:
    cluster, pool = cluster_of(9)
    pool.num_draining = 1
    cluster.measure(60.0, **{USE: 0.6})
    cluster.now_s = 60.0
    assert TargetTracking(target=0.7, **QUICK).desired(pool, cluster.view()) == 9  # 6 nodes' worth / 0.7 = 8.6


def test_steps_in_may_be_small_or_none() -> None:
    samples = every(60.0, USE, *[0.1] * 30)
    assert wishes(TargetTracking(target=0.5, max_step_in=2), samples, [900.0, 1200.0]) == [2, 1]
    assert wishes(TargetTracking(target=0.5, disable_scale_in=True), samples, [900.0, 1200.0]) == [4, 4]


@pytest.mark.parametrize(
    ("use", "pending", "wanted"),
    [
        (0.9, 0.0, 8),  # the first wants 4 · 0.9 / 0.5 = 7.2, the other none
        (0.9, 64.0, 12),  # the other wants 4 + 63.5 / 8 = 11.9
        (0.3, 0.6, 5),  # one waits, however little: out if any wants out
        (0.3, 0.5, 4),  # at its target: not below, so not all want in
        (0.3, 0.0, 3),  # both want in: 4 · 0.3 / 0.5 = 2.4, and 4 · 0.3 = 1.2 held
    ],
)
def test_several_metrics_out_if_any_in_if_all_the_largest(use: float, pending: float, wanted: int) -> None:
    samples = [(60.0, {USE: use, "pending_gpus": pending})]
    assert wishes(TargetTracking(target=0.5, also={"pending_gpus": 0.5}, **QUICK), samples, [60.0]) == [wanted]


@pytest.mark.parametrize(
    ("metric", "goal", "value", "wanted"),
    [
        ("concurrency_per_replica", 2.0, 3.0, 6),
        ("concurrency", 2.0, 17.0, 9),  # a total
        ("request_rate_per_replica_per_s", 10.0, 25.0, 10),
        ("request_rate_per_s", 10.0, 25.0, 3),
        ("gpu_utilisation_frac", 0.5, 0.6, 5),
        ("ttft_p99_s", 1.0, 1.3, 6),
    ],
)
def test_replicas_at_their_own_pace(metric: str, goal: float, value: float, wanted: int) -> None:
    policy = TargetTracking(metric=metric, target=goal, point_s=5.0, period_s=5.0, **QUICK)
    assert wishes(policy, [(5.0, {metric: value})], [5.0], service=True) == [wanted]


def test_from_no_replica_all_load_is_that_of_one() -> None:
    policy = TargetTracking(metric="concurrency_per_replica", target=2.0, **QUICK)
    for load, wanted in ((0.0, 0), (0.1, 1), (5.0, 3)):
        samples = [(60.0, {"concurrency_per_replica": load})]
        assert wishes(policy, samples, [60.0], units=0, service=True) == [wanted]


def test_of_a_pool_s_fullness_what_waits_counts_too() -> None:
    """A job for more GPUs than there are leaves them idle: how full the pool is says nothing of it."""
    empty_and_wanted = every(60.0, USE, *[0.0] * 3, start_s=60.0)
    for _, values in empty_and_wanted:
        values["pending_gpus"] = 64.0  # type: ignore[index]
    assert wishes(TargetTracking(), empty_and_wanted, [180.0]) == [12]  # 4 + 63.5 / 8
    assert wishes(TargetTracking(also={}), empty_and_wanted, [180.0]) == [4]
    in_flight = every(60.0, "concurrency_per_replica", *[0.7] * 3, start_s=60.0)
    assert wishes(TargetTracking(metric="concurrency_per_replica"), in_flight, [180.0], service=True) == [4]


@settings(max_examples=60, deadline=None)
@given(load=st.floats(0.0, 40.0), start=st.integers(0, 12), goal=st.floats(0.1, 3.0))
def test_under_a_constant_load_it_comes_to_rest(load: float, start: int, goal: float) -> None:
    """Proportional control goes to load / target in one step, and stays."""
    policy = TargetTracking(metric="concurrency_per_replica", target=goal, **QUICK)
    told = run(
        policy,
        lambda _, target: {"concurrency_per_replica": load / max(target.num_ready, 1)},
        600.0,
        start_s=60.0,
        units=start,
        service=True,
    )
    assert set(told[2:]) == {min(ceil(load / goal), 20)} or abs(load / goal - round(load / goal)) < 1e-6
    assert all(isinstance(count, int) and 0 <= count <= 20 for count in told)


@settings(max_examples=30, deadline=None)
@given(units=st.integers(1, 9), goal=st.floats(0.05, 1.0))
def test_at_its_target_nothing_moves(units: int, goal: float) -> None:
    assert set(run(TargetTracking(target=goal), lambda *_: {USE: goal}, 1800.0, units=units)) == {units}


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.floats(0.0, 9.0), min_size=1, max_size=40), low=st.integers(0, 5), high=st.integers(5, 9))
def test_bounds_are_kept(values: list[float], low: int, high: int) -> None:
    policy = TargetTracking(target=0.5, min_units=low, max_units=high, **QUICK)
    told = wishes(policy, every(60.0, USE, *values), [60.0 * i for i in range(len(values))], units=low, most=12)
    assert all(low <= count <= high for count in told)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "gpu"}, "target_tracking: unknown metric 'gpu'"),
        ({"also": {USE: 1.0}}, "also={.*}: must not have gpu_allocation_frac, which is the metric itself"),
        ({"also": {"gpu": 1.0}}, "target_tracking: unknown metric 'gpu'"),
        ({"metric": "slo_attainment_frac"}, "metric=slo_attainment_frac: falls while load rises"),
        ({"target": 0.0}, "target_tracking: target=0.0: must be more than 0"),
        ({"also": {"pending_gpus": -1.0}}, "target_tracking: also.pending_gpus=-1.0: must be more than 0"),
        ({"scale_in_frac": 1.1}, "target_tracking: scale_in_frac=1.1: must lie in 0..1"),
        ({"points_in": 0}, "target_tracking: points_in=0: must be 1 or more"),
        (
            {"points_in": 60},
            r"point_s=60.0: with points_out, points_in and late_s takes 3780 s: samples are kept for 3",
        ),
        ({"max_step_in": 0}, "target_tracking: max_step_in=0: must be 1 or more"),
        ({"min_units": 3, "max_units": 2}, "target_tracking: max_units=2: must not be less than min_units"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        TargetTracking(**options)


def test_what_replicas_wait_for_is_not_their_load() -> None:
    with pytest.raises(PolicyError, match="metric 'pending_gpus' of 'chat' does not say how many units it takes"):
        wishes(TargetTracking(metric="pending_gpus", **QUICK), [(60.0, {"pending_gpus": 3.0})], [60.0], service=True)
