"""ray_serve: the smoothing, and delays since the first of the decisions in a row."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import PolicyError
from policies.scaling.ray_serve import RayServe, smoothed
from tests.policies.scaling.play import cluster_of, every, run, wishes

LOAD = "concurrency"


def serve(**options: Any) -> RayServe:
    return RayServe(**{"period_s": 1.0, "look_back_s": 1.0, **options})


@pytest.mark.parametrize(
    ("current", "raw", "up", "down", "new"),
    [
        (4, 6.2, 1.0, 1.0, 7),
        (4, 6.2, 0.5, 1.0, 6),  # 4 + 1.1
        (4, 6.2, 2.0, 1.0, 9),  # 4 + 4.4
        (10, 5.0, 1.0, 0.6, 7),
        (10, 9.5, 1.0, 0.1, 10),  # 9.95, and 9.5 is not below 10 replicas once rounded up
        (10, 8.9, 1.0, 0.5, 9),  # 9.45 is stuck at 10: one less
        (4, 4.0, 1.0, 1.0, 4),
        (4, 0.0, 1.0, 1.0, 0),
    ],
)
def test_smoothing(current: int, raw: float, up: float, down: float, new: int) -> None:
    assert smoothed(current, raw, up, down) == new


def asked(*times_s: float) -> list[float]:
    return list(times_s)


def test_up_after_the_delay_since_the_first_decision() -> None:
    samples = every(1.0, LOAD, *[16.0] * 100)
    assert wishes(serve(), samples, asked(0, 1, 29, 29.9, 30, 31, 60), service=True) == [4, 4, 4, 4, 8, 8, 8]


def test_down_after_a_longer_one() -> None:
    samples = every(1.0, LOAD, *[2.0] * 700)
    assert wishes(serve(), samples, asked(0, 599, 600, 601), service=True) == [4, 4, 1, 1]


def test_what_is_called_for_at_the_end_counts() -> None:
    samples = every(1.0, LOAD, *[16.0] * 20, *[12.0] * 20)
    assert wishes(serve(), samples, asked(0, 10, 20, 29, 30), service=True) == [4, 4, 4, 4, 6]


@pytest.mark.parametrize("between", [8.0, 4.0])  # as many as there are; fewer
def test_another_direction_starts_it_anew(between: float) -> None:
    samples = [(0.0, {LOAD: 16.0}), (10.0, {LOAD: between}), (11.0, {LOAD: 16.0}), (40.0, {LOAD: 16.0})]
    samples += [(41.0, {LOAD: 16.0})]
    assert wishes(serve(look_back_s=50.0), [], [0.0], service=True) == [4]
    told = wishes(serve(), samples, asked(0, 10, 11, 40, 41), service=True)
    assert told == [4, 4, 4, 4, 8]


def test_after_a_step_it_counts_anew() -> None:
    samples = every(1.0, LOAD, *[16.0] * 31, *[32.0] * 60)
    told = wishes(serve(), samples, asked(0, 30, 31, 60, 61), service=True)
    assert told == [4, 8, 8, 8, 16]


def test_the_mean_of_the_look_back() -> None:
    samples = [(0.0, {LOAD: 100.0}), (10.0, {LOAD: 10.0}), (30.0, {LOAD: 14.0})]
    policy = RayServe(upscale_delay_s=0.0)
    assert wishes(policy, samples, asked(30), service=True) == [6]  # 12 / 2; that of 0 s has left the window


def test_from_none_at_once() -> None:
    samples = [(0.0, {LOAD: 9.0})]
    assert wishes(serve(min_units=0), samples, [0.0], units=0, service=True) == [1]
    assert wishes(serve(min_units=0, upscaling_factor=2.5), samples, [0.0], units=0, service=True) == [3]
    assert wishes(serve(min_units=0), [(0.0, {LOAD: 0.0})], [0.0], units=0, service=True) == [0]
    cluster, chat = cluster_of(0, service=True)
    chat.num_starting = 4
    cluster.measure(0.0, "chat", concurrency=9.0)
    assert serve(min_units=0).desired(chat, cluster.view()) == 4  # none runs yet


def test_to_none_only_from_one() -> None:
    samples = every(1.0, LOAD, *[0.0] * 1300)
    policy = serve(min_units=0, downscale_to_zero_delay_s=60.0)
    told = wishes(policy, samples, asked(0, 599, 600, 601, 660, 661), service=True)
    assert told == [4, 4, 1, 1, 1, 0]
    assert wishes(serve(min_units=0), samples, asked(0, 600, 601, 1200, 1201), service=True) == [4, 1, 1, 1, 0]


def test_nothing_measured_nothing_done() -> None:
    assert wishes(serve(), [(0.0, {LOAD: 99.0})], [1.0, 50.0], service=True) == [4, 4]


@settings(max_examples=40, deadline=None)
@given(
    load=st.just(0.0) | st.floats(0.01, 40.0),
    start=st.integers(0, 12),
    low=st.integers(0, 3),
    factor=st.floats(0.2, 2.0),
)
def test_under_a_constant_load_it_comes_to_rest_within_its_bounds(
    load: float, start: int, low: int, factor: float
) -> None:
    options = {"upscale_delay_s": 2.0, "downscale_delay_s": 2.0, "upscaling_factor": factor, "min_units": low}
    told = run(serve(**options, max_units=15), lambda *_: {LOAD: load}, 300.0, units=start, service=True)
    assert len(set(told[-20:])) == 1
    assert all(isinstance(count, int) and count <= 15 for count in told)
    assert told[-1] >= min(load / 2.0, 15) - 1e-9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "ongoing"}, "ray_serve: unknown metric 'ongoing'"),
        ({"target_ongoing_requests": 0.0}, "ray_serve: target_ongoing_requests=0.0: must be more than 0"),
        ({"look_back_s": 0.0}, "ray_serve: look_back_s=0.0: must lie in 0..3600, not 0"),
        ({"downscale_to_zero_delay_s": -1.0}, "downscale_to_zero_delay_s=-1.0: must be 0 or more"),
        ({"upscaling_factor": 0.0}, "ray_serve: upscaling_factor=0.0: must be more than 0"),
        ({"max_units": 0, "min_units": 0}, "ray_serve: max_units=0: must be min_units, or 1, or more"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        RayServe(**options)
