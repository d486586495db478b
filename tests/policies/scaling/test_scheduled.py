"""scheduled: when an action takes effect, what holds at the start, and another policy between the bounds."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import PolicyError
from policies.scaling.scheduled import Scheduled
from tests.policies.scaling.play import wishes

H = 3600.0


def at(hour: float, **what: int) -> dict[str, Any]:
    return {"at_s": hour * H, **what}


def test_an_action_takes_effect_when_next_asked() -> None:
    policy = Scheduled(actions=[at(8, units=10), at(20, units=2)])
    asked = [7 * H, 8 * H - 1, 8 * H, 8 * H + 60, 19 * H, 20 * H + 30, 23 * H, 31 * H, 32 * H, 44 * H]
    assert wishes(policy, [], asked) == [2, 2, 10, 10, 10, 2, 2, 2, 10, 2]


def test_of_those_missed_the_last_counts() -> None:
    policy = Scheduled(actions=[at(8, units=10), at(9, units=7), at(9, max_units=6)])
    assert wishes(policy, [], [0.0, 10 * H]) == [6, 6]
    assert wishes(Scheduled(actions=[at(8, units=10), at(9, units=7)], cycle_s=math.inf), [], [0.0, 10 * H]) == [4, 7]


def test_at_the_start_yesterdays_settings_hold() -> None:
    policy = Scheduled(actions=[at(20, units=2), at(8, units=10)])
    assert wishes(policy, [], [0.0]) == [2]
    assert wishes(Scheduled(actions=[at(20, units=2), at(8, units=10)], offset_s=9 * H), [], [0.0, 11 * H]) == [10, 2]
    assert wishes(Scheduled(actions=[at(8, units=10)], offset_s=8 * H), [], [0.0]) == [10]


def test_between_actions_what_there_is_stays() -> None:
    """Somebody else may change it."""

    def halve(target: Any, view: Any) -> None:
        if view.now_s == 9 * H:
            target.num_ready = 5

    policy = Scheduled(actions=[at(8, units=10)])
    assert wishes(policy, [], [8 * H, 9 * H, 10 * H, 32 * H], before=halve) == [10, 5, 5, 10]


def test_bounds_hold_until_others_are_set() -> None:
    policy = Scheduled(actions=[at(8, min_units=6), at(12, max_units=5), at(18, min_units=0, max_units=20)])
    assert wishes(policy, [], [7 * H, 8 * H, 12 * H, 18 * H]) == [4, 6, 5, 5]


def test_a_policy_decides_between_the_bounds_at_its_own_period() -> None:
    inner = {"name": "queue_depth", "per_unit": 1.0, "counts_busy": False, "period_s": 15.0, "delay_in_s": 0.0}
    policy = Scheduled(actions=[at(8, min_units=6), at(18, min_units=1)], policy=inner)
    assert policy.period_s == 15.0
    samples = [(7 * H, {"queue_length": 2.0}), (8 * H, {"queue_length": 2.0}), (9 * H, {"queue_length": 9.0})]
    samples.append((19 * H, {}))
    assert wishes(policy, samples, [7 * H, 8 * H, 9 * H, 19 * H]) == [2, 6, 9, 1]
    assert Scheduled(policy={"name": "static"}).period_s == 60.0


@given(units=st.lists(st.integers(0, 99), min_size=1, max_size=5), start=st.integers(0, 20), low=st.integers(0, 5))
def test_bounds_of_the_target_are_kept(units: list[int], start: int, low: int) -> None:
    policy = Scheduled(actions=[at(i + 1, units=count) for i, count in enumerate(units)])
    told = wishes(policy, [], [i * H for i in range(8)], units=start, most=20, least=low)
    assert told[1 : len(units) + 1] == [min(max(count, low), 20) for count in units]
    assert all(low <= count <= 20 for count in told)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"actions": [{"at_s": 90000.0, "units": 1}]}, r"scheduled: actions\[0\].at_s=90000.0: must lie in 0..cycle_s"),
        ({"actions": [{"at_s": 0.0}]}, r"scheduled: actions\[0\]=.*: must set one of units, min_units, max_units"),
        ({"actions": [{"at_s": 0.0, "units": -1}]}, r"scheduled: actions\[0\].units=-1: must be 0 or more"),
        ({"actions": [{"units": 1}]}, r"scheduled: actions\[0\]={'units': 1}: missing 1 required .* argument: 'at_s'"),
        ({"actions": [7]}, r"scheduled: actions\[0\]=7: must be a mapping of at_s, units, min_units, max_units"),
        ({"actions": [{"at_s": 0.0, "unit": 1}]}, r"actions\[0\]: unknown setting 'unit': did you mean units"),
        ({"cycle_s": 0.0}, "scheduled: cycle_s=0.0: must be more than 0"),
        ({"offset_s": 90000.0}, "scheduled: offset_s=90000.0: must lie in 0..cycle_s"),
        ({"policy": {"name": "treshold"}}, "unknown scaling policy 'treshold': did you mean threshold"),
        ({"policy": {"name": "threshold", "uper": 1}}, "scaling=threshold has no option 'uper'"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        Scheduled(**options)
