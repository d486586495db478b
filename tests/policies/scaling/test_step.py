"""step: AWS's rounding, its bounds, warming units and cool-downs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import PolicyError
from policies.scaling.step import Step, adjusted, step_at
from tests.policies.scaling.play import cluster_of, every, wishes

USE = "gpu_utilisation_frac"


def test_the_vector_of_the_reference() -> None:
    count, told = 10, []
    for percent in (10.0, 30.0, -10.0, -30.0):
        count = adjusted(count, percent, "percent")
        told.append(count)
    assert told == [11, 14, 13, 10]


@pytest.mark.parametrize(
    ("count", "percent", "after"),
    [
        (127, 10.0, 139),  # 12.7: down
        (67, 10.0, 73),  # 6.7: down
        (10, 6.7, 11),  # 0.67: to 1
        (10, -5.8, 9),  # -0.58: to -1
        (100, -6.67, 94),  # -6.67: towards 0
        (10, 30.0, 13),  # 3.0, however it is rounded
        (10, 0.0, 10),
        (0, 30.0, 0),
    ],
)
def test_percentages_are_rounded_as_aws_does(count: int, percent: float, after: int) -> None:
    assert adjusted(count, percent, "percent") == after


def test_a_percentage_may_be_a_few_units_at_least() -> None:
    assert adjusted(4, 25.0, "percent", min_change=2) == 6
    assert adjusted(4, -25.0, "percent", min_change=2) == 2
    assert adjusted(40, 25.0, "percent", min_change=2) == 50


def test_other_kinds() -> None:
    assert adjusted(4, 3.0, "change") == 7
    assert adjusted(4, -3.0, "change") == 1
    assert adjusted(4, 3.0, "exact") == 3


@pytest.mark.parametrize(
    ("beyond", "above", "step"),
    [
        (0.0, True, 1.0),
        (9.99, True, 1.0),
        (10.0, True, 2.0),  # the lower end is included
        (20.0, True, 3.0),
        (1e9, True, 3.0),
        (-0.1, True, None),
        (0.0, False, -1.0),
        (-9.99, False, -1.0),
        (-10.0, False, -2.0),  # the upper end is included
        (-1e9, False, -2.0),
    ],
)
def test_ends_of_steps(beyond: float, above: bool, step: float | None) -> None:
    steps = {0.0: 1.0, 10.0: 2.0, 20.0: 3.0} if above else {0.0: -1.0, -10.0: -2.0}
    assert step_at(beyond, steps, above) == step


@pytest.mark.parametrize(
    ("use", "wanted"),
    [(0.5, 10), (0.59, 10), (0.6, 11), (0.69, 11), (0.7, 13), (1.0, 13), (0.41, 10), (0.4, 9), (0.31, 9), (0.3, 7)],
)
def test_the_newest_point_chooses_the_step(use: float, wanted: int) -> None:
    assert wishes(Step(), [(60.0, {USE: use})], [60.0], units=10) == [wanted]


def test_all_points_must_breach() -> None:
    samples = every(60.0, USE, 0.5, 0.7, 0.6, 0.9, start_s=60.0)
    assert wishes(Step(points_out=3), samples, [180.0, 240.0], units=10) == [10, 13]
    samples = every(60.0, USE, 0.5, 0.3, 0.4, 0.2, start_s=60.0)
    assert wishes(Step(points_in=3), samples, [180.0, 240.0], units=10) == [10, 7]


def test_a_missing_point_turns_the_alarm_off() -> None:
    samples = [sample for sample in every(60.0, USE, *[0.9] * 8) if sample[0] != 120.0]
    assert wishes(Step(points_out=3), samples, [180.0, 240.0, 300.0], units=10) == [10, 10, 13]
    assert wishes(Step(late_s=60.0), samples, [420.0 + 120.0], units=10) == [10]


def asked(policy: Step, use: float, now_s: float, ready: int, starting: int) -> int:
    cluster, pool = cluster_of(ready, most=40)
    pool.num_starting = starting
    cluster.measure(now_s, **{USE: use})
    cluster.now_s = now_s
    return policy.desired(pool, cluster.view())


def test_warming_units_count_as_capacity() -> None:
    """AWS's own example: 10 units; +10%; the same again while the new one warms up; then +30% of 10."""
    policy = Step(cooldown_out_s=0.0)
    assert asked(policy, 0.6, 60.0, 10, 0) == 11
    assert asked(policy, 0.62, 120.0, 10, 1) == 11
    assert asked(policy, 0.7, 180.0, 10, 1) == 13
    assert asked(policy, 0.7, 600.0, 13, 0) == 16  # 3.9


def test_none_goes_while_some_warm_up() -> None:
    assert asked(Step(), 0.1, 60.0, 10, 1) == 11
    assert asked(Step(), 0.1, 60.0, 11, 0) == 8


def test_during_the_cooldown_only_a_larger_step_adds_the_difference() -> None:
    """Ready at once: +2, then +3 during the cool-down comes to one more."""
    policy = Step(adjustment="change", steps_out={0.0: 2.0, 0.1: 3.0}, cooldown_out_s=300.0)
    samples = [(60.0, {USE: 0.6}), (120.0, {USE: 0.65}), (180.0, {USE: 0.7}), (240.0, {USE: 0.7})]
    samples += [(480.0, {USE: 0.6})]
    assert wishes(policy, samples, [60.0, 120.0, 180.0, 240.0, 480.0], units=10) == [12, 12, 13, 13, 15]


def test_cooldown_in() -> None:
    samples = every(60.0, USE, *[0.35] * 20)
    told = wishes(Step(cooldown_in_s=300.0), samples, [60.0, 120.0, 359.0, 360.0, 420.0], units=10)
    assert told == [9, 9, 9, 8, 8]
    samples = [(60.0, {USE: 0.9}), *every(60.0, USE, *[0.35] * 20, start_s=120.0)]
    assert wishes(Step(cooldown_in_s=300.0), samples, [60.0, 120.0, 360.0], units=10) == [13, 13, 12]


def test_exact_numbers() -> None:
    policy = Step(adjustment="exact", steps_out={0.0: 12.0, 0.2: 20.0}, steps_in={0.0: 2.0, -0.3: 0.0})
    assert asked(policy, 0.7, 60.0, 10, 0) == 12
    assert asked(policy, 0.85, 120.0, 10, 2) == 20
    assert asked(policy, 0.3, 900.0, 20, 0) == 2
    assert asked(policy, 0.05, 1500.0, 2, 0) == 0


def test_a_total_is_taken_as_it_is() -> None:
    policy = Step(metric="queue_length", upper=10.0, lower=1.0, steps_out={0.0: 1.0}, adjustment="change", steps_in={})
    assert wishes(policy, [(60.0, {"queue_length": 10.0})], [60.0], units=4) == [5]


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30), start=st.integers(2, 9))
def test_bounds_are_kept(values: list[float], start: int) -> None:
    policy = Step(min_units=2, max_units=9, cooldown_out_s=0.0, cooldown_in_s=0.0)
    told = wishes(policy, every(60.0, USE, *values), [60.0 * i for i in range(len(values))], units=start, most=12)
    assert all(isinstance(count, int) and 2 <= count <= 9 for count in told)
    assert all(now == before for now, before, value in zip(told[1:], told, values[1:], strict=False)
               if 0.4001 < value < 0.5999)  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "gpu"}, "step: unknown metric 'gpu'"),
        ({"lower": 0.6}, "step: lower=0.6: must be less than upper"),
        ({"adjustment": "double"}, "step: adjustment='double': must be one of change, percent, exact"),
        ({"adjustment": "change", "steps_out": {0: 1.5}}, "step: adjustment=change: must be whole numbers of units"),
        ({"steps_out": {-1.0: 10.0}}, r"step: steps_out={-1.0: 10.0}: must begin at 0 or above"),
        ({"steps_in": {1.0: -10.0}}, r"step: steps_in={1.0: -10.0}: must begin at 0 or below"),
        ({"steps_out": {0.0: -10.0}}, r"step: steps_out={0.0: -10.0}: must not take units away"),
        ({"steps_in": {0.0: 10.0}}, r"step: steps_in={0.0: 10.0}: must not add units"),
        ({"steps_in": {0.0: -1.0}, "adjustment": "exact"}, r"step: steps_in={0.0: -1.0}: must be 0 or more"),
        ({"min_change": 0}, "step: min_change=0: must be 1 or more"),
        ({"points_out": 0}, "step: points_out=0: must be 1 or more"),
        ({"cooldown_out_s": -1.0}, "step: cooldown_out_s=-1.0: must be 0 or more"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        Step(**options)
