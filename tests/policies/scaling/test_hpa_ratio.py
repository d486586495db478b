"""The HPA's arithmetic: classes of pods, ratios, tolerance, corrections for pods that are missing or not ready."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import PodSample
from policies.scaling.hpa_ratio import (
    PodClass,
    Tolerance,
    Usage,
    by_average_value,
    by_pods,
    by_value,
    class_of,
    combined,
    milli,
    usage_ratio,
)

T = Tolerance()


def pods(*used: int, requested: int = 1000) -> Usage:
    return Usage(len(used), sum(used), requested * len(used))


NONE = Usage()


@pytest.mark.parametrize(
    ("pod", "of_cpu", "of_others"),
    [
        ({"is_deleting": True}, "ignored", "ignored"),
        ({"phase": "failed"}, "ignored", "ignored"),
        ({"phase": "pending"}, "unready", "unready"),
        ({"phase": "pending", "values": {}}, "unready", "unready"),
        ({"phase": "pending", "is_deleting": True}, "ignored", "ignored"),
        ({"values": {}}, "missing", "missing"),
        ({"values": {}, "is_ready": False}, "missing", "missing"),
        ({"start_s": None}, "unready", "ready"),
        # within 300 s of the start, at 1000: started at 701
        ({"start_s": 701.0, "is_ready": False}, "unready", "ready"),
        ({"start_s": 701.0, "ready_changed_s": 900.0, "measured_s": 959.0, "window_s": 60.0}, "unready", "ready"),
        ({"start_s": 701.0, "ready_changed_s": 900.0, "measured_s": 960.0, "window_s": 60.0}, "ready", "ready"),
        # after it: started at 700, 300 s ago to the second
        ({"start_s": 700.0, "ready_changed_s": 900.0, "measured_s": 0.0, "window_s": 60.0}, "ready", "ready"),
        ({"start_s": 700.0, "is_ready": False, "ready_changed_s": 729.0}, "unready", "ready"),  # was never ready
        ({"start_s": 700.0, "is_ready": False, "ready_changed_s": 730.0}, "ready", "ready"),
        ({"start_s": 100.0}, "ready", "ready"),
    ],
)
def test_classes_of_pods(pod: dict[str, Any], of_cpu: str, of_others: str) -> None:
    sample = PodSample(**{"values": {"cpu_utilisation_frac": 0.5}, "start_s": 0.0, **pod})
    told = [class_of(sample, "cpu_utilisation_frac", 1000.0, is_cpu, 300.0, 30.0) for is_cpu in (True, False)]
    assert told == [PodClass(of_cpu), PodClass(of_others)]


def test_the_vectors_of_the_reference() -> None:
    assert by_pods(50, pods(*[900] * 50), NONE, NONE, 75, True, T) == 60
    assert usage_ratio([Usage(3, 100, 300)], 100, True) == 0.33  # not 0.333…


def test_means_are_in_whole_milli_units() -> None:
    assert usage_ratio([Usage(3, 10_000, 0)], 3333, False) == 1.0  # 3333.3 truncated
    assert (milli(0.57), milli(0.0019), milli(3.0)) == (570, 1, 3000)


@pytest.mark.parametrize(
    ("use", "wanted"), [(0.89, 9), (0.9, 10), (1.0, 10), (1.1, 10), (1.11, 12), (0.899, 9), (1.109, 10)]
)
def test_the_tolerance_is_inclusive(use: float, wanted: int) -> None:
    """Of ten pods at 100%; percentages are whole, so that 0.899 is 89% and 1.109 is 110%."""
    assert by_pods(10, pods(*[milli(use)] * 10), NONE, NONE, 100, True, T) == wanted


def test_each_direction_may_have_its_own_tolerance() -> None:
    narrow = Tolerance(down=0.0, up=0.5)
    assert [by_value(10, 10, value, 100, narrow) for value in (99, 100, 150, 151)] == [10, 10, 10, 16]


@pytest.mark.parametrize(
    ("current", "ready", "unready", "missing", "target", "wanted"),
    [
        # all ready: the ratio times those ready, whatever the current number is
        (4, pods(1000, 1000), NONE, NONE, 50, 4),
        (3, pods(300, 300, 300), NONE, NONE, 60, 2),  # 0.5 · 3
        # unready pods count as idle on the way up ...
        (4, pods(900, 900), pods(0, 0), NONE, 30, 6),  # 3.0 with two, 45% of four: 1.5 · 4
        (3, pods(900, 900), pods(0), NONE, 60, 3),  # 1.5 with two; 60% of three: held
        (4, pods(900), pods(0, 0, 0), NONE, 60, 4),  # 1.5, then 22% of four, below the target: the direction flips
        # ... and not at all on the way down, or within the tolerance
        (4, pods(100, 100), pods(0, 0), NONE, 50, 1),  # 0.2 · 2
        (4, pods(520, 520), pods(0, 0), NONE, 50, 4),
        # missing pods are idle on the way up ...
        (3, pods(900, 900), NONE, pods(0), 50, 4),  # 60% of three: 1.2 · 3
        (3, pods(700, 700), NONE, pods(0), 50, 3),  # 46%: flips
        # ... and at all that they request on the way down, or at the target where that is more
        (4, pods(100, 100), NONE, pods(0, 0), 100, 3),  # 10% and 100%: 55% of four
        (4, pods(300, 300, 300), NONE, pods(0), 50, 4),  # 47%: within the tolerance
        (4, pods(300, 300, 300), NONE, pods(0), 40, 4),  # 47% of 40: flips
        (4, pods(500, 500), NONE, pods(0, 0), 200, 3),  # 50% and 200%: 125% of 200%, · 4
        # both
        (6, pods(900, 900), pods(0, 0), pods(0, 0), 20, 9),  # 30% of six: 1.5 · 6
        # at exactly the target missing pods are left out
        (3, pods(500, 500), NONE, pods(0), 50, 3),
        # the number of pods moves against the direction
        (9, pods(600, 600), NONE, pods(0), 20, 9),  # 40% of three: 2.0 · 3, fewer than the 9 there are
        # nothing to go by
        (3, NONE, pods(0, 0, 0), NONE, 50, None),
        (3, NONE, NONE, pods(0, 0, 0), 50, None),
    ],
)
def test_utilization(
    current: int, ready: Usage, unready: Usage, missing: Usage, target: int, wanted: int | None
) -> None:
    assert by_pods(current, ready, unready, missing, target, True, T) == wanted


@pytest.mark.parametrize(
    ("current", "ready", "unready", "missing", "wanted"),
    [
        (3, pods(6000, 6000, 6000), NONE, NONE, 4),  # mean 6 for a target of 5
        (4, pods(6000, 6000, 6000), NONE, pods(0), 4),  # mean 4.5 of four: flips
        (4, pods(2000, 2000, 2000), NONE, pods(0), 3),  # missing at the target: mean 2.75, · 4 = 2.2
        (4, pods(8000, 8000, 8000), pods(0), NONE, 5),  # mean 6 of four
        (3, pods(5000, 5000), NONE, pods(0), 2),  # at exactly the target missing pods are idle: 3.333 · 3, to 2
    ],
)
def test_plain_values(current: int, ready: Usage, unready: Usage, missing: Usage, wanted: int) -> None:
    assert by_pods(current, ready, unready, missing, 5000, False, T) == wanted


@pytest.mark.parametrize(
    ("current", "ready", "value", "wanted"),
    [(4, 4, 150, 6), (4, 3, 150, 5), (4, 4, 109, 4), (4, 0, 500, 0), (0, 0, 105, 2), (0, 0, 0, 0), (0, 0, 250, 3)],
)
def test_a_value_from_outside(current: int, ready: int, value: int, wanted: int) -> None:
    """Times the ready pods; from 0 by the ratio alone, without tolerance."""
    assert by_value(current, ready, value, 100, T) == wanted


@pytest.mark.parametrize(
    ("current", "value", "wanted"), [(4, 450, 5), (4, 440, 4), (4, 441, 5), (4, 360, 4), (4, 359, 4), (4, 299, 3),
                                     (0, 0, 0), (0, 1, 1), (0, 450, 5), (8, 0, 0)]
)  # fmt: skip
def test_an_average_value_from_outside(current: int, value: int, wanted: int) -> None:
    assert by_average_value(current, value, 100, T) == wanted


@pytest.mark.parametrize(
    ("wishes", "wanted"),
    [([3, 7], 7), ([5, 5], 5), ([None, 7], 7), ([7, None], 7), ([None, 3], None), ([None, 5], 5), ([None, None], None)],
)
def test_several_metrics(wishes: list[int | None], wanted: int | None) -> None:
    """Of five replicas."""
    assert combined(5, wishes) == wanted


@given(
    current=st.integers(1, 50),
    ready=st.integers(1, 50),
    unready=st.integers(0, 9),
    missing=st.integers(0, 9),
    use=st.integers(0, 3000),
    target=st.integers(1, 200),
)
def test_corrections_never_turn_the_direction(
    current: int, ready: int, unready: int, missing: int, use: int, target: int
) -> None:
    """Pods that aren't known make it move less, or not at all."""
    found = by_pods(current, pods(*[use] * ready), pods(*[0] * unready), pods(*[0] * missing), target, True, T)
    ratio = usage_ratio([pods(*[use] * ready)], target, True)
    assert found is not None
    if missing or (unready and ratio > 1):
        assert (found - current) * (ratio - 1.0) >= 0
