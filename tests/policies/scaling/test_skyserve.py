"""skyserve: decisions in a row, and spot with on-demand nodes to fall back on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import PolicyError, PoolView
from policies.scaling.skyserve import SkyServe, mixed
from tests.policies.scaling.play import cluster_of, every, run, wishes

RATE = "request_rate_per_s"


@pytest.mark.parametrize(
    ("total", "base", "ready", "falls_back", "mix"),
    [
        (10, 2, 8, True, (8, 2)),
        (10, 2, 5, True, (8, 5)),
        (10, 2, 0, True, (8, 10)),
        (10, 0, 0, True, (10, 10)),
        (10, 2, 0, False, (8, 2)),
        (10, 2, 9, True, (8, 2)),  # more spot than needed
        (1, 2, 0, True, (0, 1)),  # never more than in all
        (0, 2, 0, True, (0, 0)),
    ],
)
def test_spot_and_on_demand(total: int, base: int, ready: int, falls_back: bool, mix: tuple[int, int]) -> None:
    assert mixed(total, base, ready, falls_back) == mix


def asked(until_s: float) -> list[float]:
    return [20.0 * i for i in range(int(until_s / 20) + 1)]


def test_up_after_fifteen_decisions_in_a_row() -> None:
    samples = every(20.0, RATE, *[7.5] * 30)
    assert wishes(SkyServe(), samples, asked(320), service=True) == [4] * 14 + [8] * 3


def test_down_after_sixty() -> None:
    samples = every(20.0, RATE, *[1.5] * 70)
    assert wishes(SkyServe(), samples, asked(1240), service=True) == [4] * 59 + [2] * 4


@pytest.mark.parametrize("between", [4.0, 3.0])
def test_one_decision_otherwise_starts_it_anew(between: float) -> None:
    samples = every(20.0, RATE, *[7.5] * 10, between, *[7.5] * 30)
    assert wishes(SkyServe(window_s=20.0), samples, asked(520), service=True) == [4] * 25 + [8] * 2


def test_what_is_called_for_at_the_end_counts() -> None:
    samples = every(20.0, RATE, *[7.5] * 14, *[5.5] * 9)
    assert wishes(SkyServe(window_s=20.0), samples, asked(300), service=True)[13:] == [4, 6, 6]


def test_rates_are_means_of_a_minute() -> None:
    samples = every(20.0, RATE, 90.0, 3.0, 6.0, 9.0)
    assert wishes(SkyServe(upscale_delay_s=20.0), samples, [60.0], service=True) == [6]


def test_from_none_at_once() -> None:
    assert wishes(SkyServe(min_units=0), [(0.0, {RATE: 2.5})], [0.0], units=0, service=True) == [3]


def test_nothing_measured_nothing_counted() -> None:
    assert wishes(SkyServe(upscale_delay_s=40.0), [], asked(200), service=True) == [4] * 11


def pools(now_s: float, rate: float, spot_ready: int) -> Any:
    """A service on two pools, seen at a time."""
    cluster, _ = cluster_of(2, service=True)
    view = cluster.view()
    view.pools = {
        name: PoolView(name=name, gpus_per_unit=8, min_units=0, max_units=20, num_ready=ready)
        for name, ready in (("spot", spot_ready), ("od", 1))
    }
    cluster.measure(now_s, "chat", request_rate_per_s=rate)
    cluster.now_s = now_s
    return cluster.view()


def test_two_pools_each_with_a_policy() -> None:
    """Ten units, two of them on demand always; five of the eight on spot are ready."""
    common: dict[str, Any] = {"service": "chat", "base_on_demand": 2, "upscale_delay_s": 20.0}
    spot, on_demand = SkyServe(role="spot", **common), SkyServe(role="on_demand", spot_pool="spot", **common)
    view = pools(60.0, 9.5, 5)
    assert spot.desired(view.pools["spot"], view) == 8
    assert on_demand.desired(view.pools["od"], view) == 5
    view = pools(80.0, 9.5, 8)
    assert on_demand.desired(view.pools["od"], view) == 2


@settings(max_examples=40, deadline=None)
@given(rate=st.floats(0.0, 30.0), start=st.integers(0, 12), low=st.integers(0, 3))
def test_under_a_constant_rate_it_comes_to_rest_within_its_bounds(rate: float, start: int, low: int) -> None:
    told = run(SkyServe(min_units=low, max_units=9), lambda *_: {RATE: rate}, 1600.0, units=start, service=True)
    assert len(set(told[-10:])) == 1
    assert all(isinstance(count, int) and low <= count <= 9 for count in told)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "qps"}, "skyserve: unknown metric 'qps'"),
        ({"qps_per_unit": 0.0}, "skyserve: qps_per_unit=0.0: must be more than 0"),
        ({"role": "both"}, "skyserve: role='both': must be one of all, spot, on_demand"),
        ({"role": "on_demand"}, "skyserve: spot_pool=None: is needed with role=on_demand"),
        ({"base_on_demand": -1}, "skyserve: base_on_demand=-1: must be 0 or more"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        SkyServe(**options)


def test_an_unknown_spot_pool() -> None:
    view = pools(0.0, 1.0, 1)
    with pytest.raises(PolicyError, match="skyserve: unknown spot_pool 'spott': did you mean spot"):
        SkyServe(role="on_demand", spot_pool="spott").desired(view.pools["od"], view)
