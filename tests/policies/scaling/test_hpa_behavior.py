"""The HPA's stabilisation and rate limits, with `behavior` and without."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import PolicyError
from policies.scaling.hpa_behavior import (
    Behavior,
    Changes,
    Normalizer,
    ScalingRules,
    down_limit,
    stabilized,
    up_limit,
)


def play(
    behavior: Behavior | None, current: int, wanted: list[int], most: int = 100, every_s: float = 15.0
) -> list[int]:
    """What is set at each sync."""
    normalizer, told = Normalizer(behavior), []
    for i, wish in enumerate(wanted):
        now_s = every_s * i
        normalizer.start(now_s, current)
        replicas = normalizer.normalized(now_s, current, wish, 1, most)
        normalizer.set(now_s, current, replicas)
        current = replicas
        told.append(current)
    return told


def rules(direction: str, **given: Any) -> Behavior:
    return Behavior(**{direction: given})


def test_the_vectors_of_the_reference() -> None:
    assert play(Behavior(), 1, [100] * 6) == [5, 10, 20, 40, 80, 100]
    assert play(None, 1, [100] * 3) == [4, 8, 16]
    one = {"policies": [{"type": "Percent", "value": 10, "period_s": 60.0}], "window_s": 0.0}
    assert play(rules("scale_down", **one), 15, [1]) == [13]


def test_without_behavior_the_way_down_waits_for_300_s_and_no_rate_limits_it() -> None:
    """What there is at the start counts as recommended: it holds until 300 s, their end included."""
    told = play(None, 50, [3] * 23)
    assert told == [50] * 21 + [3, 3]
    told = play(None, 5, [9, *[3] * 23])
    assert told == [9] * 21 + [3, 3, 3]


def test_windows_are_without_their_beginning() -> None:
    """The recommendation of 0 s no longer counts at 300 s."""
    assert play(Behavior(), 50, [3] * 22) == [50] * 20 + [3, 3]
    slow = rules("scale_up", window_s=60.0)
    assert play(slow, 5, [9] * 6) == [5, 5, 5, 5, 9, 9]


def test_the_way_up_goes_by_the_least_of_its_window() -> None:
    slow = rules("scale_up", window_s=45.0)
    assert play(slow, 5, [9, 7, 8, 9, 9, 9]) == [5, 5, 5, 7, 8, 9]


def test_the_way_down_goes_by_the_most_of_its_window() -> None:
    quick = rules("scale_down", window_s=45.0)
    assert play(quick, 9, [5, 7, 6, 5, 5, 5]) == [9, 9, 9, 7, 6, 5]


def test_recommendations_are_kept_as_they_were_made() -> None:
    """3, 3, then 9 while the way up waits: what was set is not what is remembered."""
    both = Behavior(ScalingRules(window_s=30.0), ScalingRules(window_s=30.0))
    assert play(both, 9, [3, 3, 3, 9, 3, 3, 3]) == [9, 9, 3, 3, 3, 3, 3]


@pytest.mark.parametrize(
    ("current", "wanted", "up", "down", "found"),
    [
        (5, 9, [7, 8], [], 7),
        (5, 9, [3], [], 5),  # no higher than it is, and no lower than the most wanted
        (5, 3, [], [4], 4),
        (5, 3, [], [9], 5),
        (5, 5, [2], [9], 5),
        (5, 4, [9, 9], [], 4),
    ],
)
def test_stabilized(current: int, wanted: int, up: list[int], down: list[int], found: int) -> None:
    assert stabilized(current, wanted, up, down) == found


PODS, PERCENT = ({"type": "Pods", "value": 3, "period_s": 60.0}, {"type": "Percent", "value": 50, "period_s": 60.0})


@pytest.mark.parametrize(
    ("select", "policies", "up", "down"),
    [
        ("Max", [PODS], 13, 7),
        ("Max", [PERCENT], 15, 5),
        ("Max", [PODS, PERCENT], 15, 5),
        ("Min", [PODS, PERCENT], 13, 7),
        ("Disabled", [PODS], 10, 10),
    ],
)
def test_limits_of_ten(select: str, policies: list[Any], up: int, down: int) -> None:
    limits = ScalingRules(0.0, select, policies)
    assert (up_limit(10, limits, Changes(), 0.0), down_limit(10, limits, Changes(), 0.0)) == (up, down)


@pytest.mark.parametrize(
    ("start", "percent", "up", "down"),
    [(15, 10, 17, 13), (1, 10, 2, 0), (10, 10, 11, 9), (3, 50, 5, 1), (7, 100, 14, 0), (10, 200, 30, 0)],
)
def test_percentages_go_up_to_the_next_and_down_to_the_last_whole_pod(
    start: int, percent: int, up: int, down: int
) -> None:
    limits = ScalingRules(0.0, "Max", [{"type": "Percent", "value": percent, "period_s": 60.0}])  # type: ignore[list-item]
    assert up_limit(start, limits, Changes(), 0.0) == up
    assert max(down_limit(start, limits, Changes(), 0.0), 0) == down


def test_a_period_starts_from_what_there_was() -> None:
    limits = ScalingRules(0.0, "Max", [PODS])  # type: ignore[list-item]
    changes = Changes()
    changes.add(0.0, 2)
    changes.add(30.0, -1)
    assert [up_limit(10, limits, changes, now_s) for now_s in (59.0, 60.0, 89.0, 90.0)] == [12, 14, 14, 13]
    assert [down_limit(10, limits, changes, now_s) for now_s in (59.0, 60.0, 90.0)] == [6, 8, 7]


def test_a_limit_never_turns_the_direction() -> None:
    limits = ScalingRules(0.0, "Max", [PODS])  # type: ignore[list-item]
    grown, shrunk = Changes(), Changes()
    grown.add(0.0, 7)
    shrunk.add(0.0, -7)
    assert up_limit(10, limits, grown, 1.0) == 10
    assert down_limit(10, limits, shrunk, 1.0) == 10


def test_three_pods_a_minute() -> None:
    limited = rules("scale_up", policies=[PODS])
    assert play(limited, 1, [20] * 10) == [4, 4, 4, 4, 7, 7, 7, 7, 10, 10]


def test_the_maximum_holds() -> None:
    assert play(Behavior(), 1, [100] * 6, most=30) == [5, 10, 20, 30, 30, 30]


@settings(max_examples=60, deadline=None)
@given(wanted=st.lists(st.integers(0, 40), min_size=1, max_size=60), start=st.integers(1, 20), plain=st.booleans())
def test_bounds_are_kept_and_a_constant_wish_is_reached(wanted: list[int], start: int, plain: bool) -> None:
    told = play(None if plain else Behavior(), start, [*wanted, *[wanted[-1]] * 40], most=20)
    assert all(isinstance(count, int) and 1 <= count <= 20 for count in told)
    assert told[-1] == min(max(wanted[-1], 1), 20)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scale_up": {"window_s": 3601.0}}, "behavior: window_s=3601.0: must lie in 0..3600"),
        ({"scale_up": {"select": "Most"}}, "behavior: select=Most: must be Max, Min or Disabled"),
        ({"scale_up": {"policies": []}}, r"behavior: policies=\[\]: must have one or more"),
        ({"scale_down": {"tolerance": -0.1}}, "behavior: tolerance=-0.1: must be 0 or more"),
        ({"scale_down": {"policies": [{**PODS, "period_s": 1801.0}]}}, "period_s=1801.0: must lie in 0..1800, not 0"),
        ({"scale_down": {"policies": [{**PODS, "value": 0}]}}, "behavior.policies: value=0: must be more than 0"),
        ({"scale_down": {"policies": [{**PODS, "type": "pods"}]}}, "type=pods: must be Pods or Percent"),
        ({"scale_down": {"policys": []}}, "behavior.scale_down: unknown setting 'policys': did you mean policies"),
        ({"scale_down": 3}, "behavior.scale_down=3: must be a mapping of window_s, select, policies, tolerance"),
        ({"scale_down": {"policies": [{"type": "Pods"}]}}, r"policies\[0\]={'type': 'Pods'}: missing 2 required"),
    ],
)
def test_settings(given: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        Behavior(**given)
