"""keda: activation, cool-downs, errors, and the HPA between."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import PolicyError
from policies.scaling.keda import Keda, Poll, polled
from tests.policies.scaling.play import every, run, wishes

QUEUE = "queue_length"


def poll(current: int, active: bool, error: bool = False, over: bool = False, fewest: int = 0, idle: int | None = None):  # type: ignore[no-untyped-def]
    return polled(current, Poll(active, error, over), fewest, idle)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (poll(0, True), (1, True)),
        (poll(0, True, fewest=3), (3, True)),
        (poll(0, True, error=True), (1, True)),  # from 0 it is activity all the same
        (poll(4, True), (4, True)),
        (poll(4, True, error=True), (4, False)),
        (poll(1, True, fewest=3), (1, True)),  # the HPA's to mend
        (poll(1, True, fewest=3, idle=1), (3, True)),
        (poll(4, False, error=True, over=True), (4, False)),
        (poll(1, False, error=True, fewest=3), (1, False)),
        (poll(4, False), (4, False)),
        (poll(4, False, over=True), (0, False)),
        (poll(4, False, over=True, fewest=3), (4, False)),
        (poll(4, False, over=True, fewest=3, idle=1), (1, False)),
        (poll(4, False, fewest=3, idle=1), (4, False)),
        (poll(1, False, over=True, fewest=3), (3, False)),
        (poll(1, False, over=True, fewest=3, idle=1), (3, False)),  # not above idle, but below the minimum
        (poll(0, False, over=True), (0, False)),
    ],
)
def test_what_keda_itself_sets(found: tuple[int, bool], wanted: tuple[int, bool]) -> None:
    assert found == wanted


def asked(until_s: float, every_s: float = 15.0) -> list[float]:
    return [every_s * i for i in range(int(until_s / every_s) + 1)]


def test_from_zero_to_one_and_then_by_the_hpa() -> None:
    """Looked at every 30 s; the generated HPA 15 s later goes by 40 requests at 5 a replica, at most 4 at first."""
    samples = [(0.0, {QUEUE: 0.0}), (10.0, {QUEUE: 40.0})]
    assert wishes(Keda(), samples, asked(90), units=0, service=True) == [0, 0, 1, 4, 8, 8, 8]


def test_activation_is_strict() -> None:
    policy = Keda(triggers=[{"activation_threshold": 3.0}])  # type: ignore[list-item]
    assert wishes(policy, [(0.0, {QUEUE: 3.0}), (50.0, {QUEUE: 3.1})], asked(60), units=0, service=True)[-2:] == [0, 1]


def test_any_trigger_is_enough() -> None:
    policy = Keda(triggers=[{}, {"metric": "request_rate_per_s", "threshold": 2.0}])  # type: ignore[list-item]
    samples = [(0.0, {"request_rate_per_s": 0.5})]
    assert wishes(policy, samples, [0.0], units=0, service=True) == [1]


def test_to_zero_once_the_cooldown_is_over() -> None:
    """The last activity is seen at 30 s; at 330 s it isn't over, being strict. The HPA leaves 1 meanwhile."""
    samples = [(0.0, {QUEUE: 5.0}), (40.0, {QUEUE: 0.0})]
    told = dict(zip(asked(400), wishes(Keda(), samples, asked(400), units=1, service=True), strict=True))
    assert [told[time_s] for time_s in (300.0, 330.0, 345.0, 360.0)] == [1, 1, 1, 0]


def test_to_zero_past_the_hpas_behavior() -> None:
    frozen: Any = {"scale_down": {"select": "Disabled"}}
    samples = [(0.0, {QUEUE: 40.0}), (40.0, {QUEUE: 0.0})]
    told = wishes(Keda(behavior=frozen, cooldown_s=60.0), samples, asked(120), units=8, service=True)
    assert told == [8] * 8 + [0]


def test_never_active() -> None:
    samples = [(0.0, {QUEUE: 0.0})]
    assert wishes(Keda(), samples, asked(60), units=3, service=True)[0] == 0
    assert wishes(Keda(initial_cooldown_s=60.0), samples, asked(60), units=1, service=True) == [1, 1, 1, 1, 0]


def test_idle_units() -> None:
    policy = Keda(min_units=2, idle_units=0, cooldown_s=60.0)
    samples = [(0.0, {QUEUE: 9.0}), (40.0, {QUEUE: 0.0}), (130.0, {QUEUE: 1.0})]
    told = wishes(policy, samples, asked(150), units=2, service=True)
    assert told == [2, 2, 2, 2, 2, 2, 2, 2, 0, 0, 2]


def test_an_error_keeps_what_there_is() -> None:
    """At 60 s and later the trigger can't be read: nothing goes to 0, and what is active isn't activity."""
    samples = [(0.0, {QUEUE: 5.0}), (45.0, {QUEUE: math.nan})]
    assert wishes(Keda(cooldown_s=30.0), samples, asked(300), units=1, service=True) == [1] * 21
    assert wishes(Keda(cooldown_s=30.0, stale_s=60.0), samples[:1], asked(300), units=1, service=True) == [1] * 21
    assert wishes(Keda(), [], asked(60), units=3, service=True) == [3] * 5


def test_the_fallback_after_so_many_failures() -> None:
    """Read at 0 s; failed at 15, 30, 45 and, for the fourth time, at 60 s."""
    samples = [(0.0, {QUEUE: 5.0}), (10.0, {QUEUE: math.nan})]
    told = wishes(Keda(fallback_units=6, fallback_failures=3), samples, asked(90), units=1, service=True)
    assert told == [1, 1, 1, 1, 4, 6, 6]


def test_below_its_minimum() -> None:
    assert wishes(Keda(min_units=3), [(0.0, {})], [0.0], units=1, service=True) == [3]
    assert wishes(Keda(max_units=2), [(0.0, {QUEUE: 1.0})], [0.0], units=4, service=True) == [2]


def test_nodes_for_jobs_that_wait() -> None:
    policy = Keda(triggers=[{"metric": "pending_gpus", "threshold": 8.0}])  # type: ignore[list-item]
    assert wishes(policy, every(15.0, "pending_gpus", 24.0, 24.0, 24.0), asked(30), units=0) == [1, 3, 3]


@settings(max_examples=40, deadline=None)
@given(queue=st.floats(0.0, 90.0), start=st.integers(0, 12), low=st.integers(0, 3))
def test_under_a_constant_load_it_comes_to_rest_within_its_bounds(queue: float, start: int, low: int) -> None:
    told = run(Keda(min_units=low, max_units=9), lambda *_: {QUEUE: queue}, 1200.0, units=start, service=True)
    assert len(set(told[-30:])) == 1
    assert all(isinstance(count, int) and (i == 0 or low <= count <= 9) for i, count in enumerate(told[2:]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"triggers": []}, r"keda: triggers=\[\]: must have one or more"),
        ({"triggers": [{"metric": "queue"}]}, "unknown metric 'queue'"),
        ({"triggers": [{"metric_type": "Utilization"}]}, "metrics.target_type=Utilization: must be Value or Average"),
        ({"triggers": [{"treshold": 1}]}, r"keda: triggers\[0\]: unknown setting 'treshold': did you mean threshold"),
        ({"idle_units": 2, "min_units": 2}, "keda: idle_units=2: must be 0 or more and less than min_units"),
        ({"max_units": 0}, "keda: max_units=0: must be min_units, or 1, or more"),
        ({"cooldown_s": -1.0}, "keda: cooldown_s=-1.0: must be 0 or more"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        Keda(**options)
