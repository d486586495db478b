"""predictive: what it orders for when, what it keeps, its plan; with a forecaster that says what a test told it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import PolicyError
from policies.scaling.foresight import decided, effective_max, units_of
from policies.scaling.predictive import Predictive
from tests.policies.scaling.play import cluster_of, every, run, wishes

PENDING = "pending_gpus"


class Told:
    """Forecasts by time as told, and remembers what it was fed with and asked for."""

    knows_future = False

    def __init__(self, loads: dict[float, float]) -> None:
        self.loads, self.seen, self.asked = loads, [], []

    def observe(self, time_s: float, value: float) -> None:
        self.seen.append((time_s, value))

    def forecast(self, at_s: float, quantile: float) -> float | None:
        self.asked.append((at_s, quantile))
        return self.loads.get(at_s)


def predictive(loads: dict[float, float] | None = None, **options: Any) -> tuple[Predictive, Told]:
    """By the requests in flight of a service, 1 a unit, with units that take 100 s to come and a period of 20 s."""
    defaults = {"per_unit": 1.0, "lead_s": 100.0, "period_s": 20.0}
    policy, told = Predictive(**{**defaults, **options}), Told(loads or {})
    policy._forecaster = told
    return policy, told


def at(now_s: float, load: float, policy: Predictive, units: int = 4) -> int:
    return wishes(policy, [(now_s, {"concurrency": load})], [now_s], units=units, service=True)[0]


def test_the_vector_of_the_reference() -> None:
    assert effective_max(40, 50, 0.1) == 55
    assert [effective_max(40, 50, None), effective_max(40, 40, 0.1), effective_max(40, 41, 0.0)] == [40, 40, 41]


@pytest.mark.parametrize(
    ("count", "later", "until_then", "wanted"),
    [(4, 6, 9, 6), (4, 4, 9, 4), (4, 2, 3, 3), (4, 2, 9, 4), (4, 2, 1, 2), (0, 0, 0, 0)],
)
def test_out_for_later_in_for_all_until_then(count: int, later: int, until_then: int, wanted: int) -> None:
    assert decided(count, later, until_then) == wanted


def test_loads_take_whole_units() -> None:
    assert [units_of(load, 0.7) for load in (-3.0, 0.0, 0.1, 7.0, 7.1)] == [0, 0, 1, 10, 11]


def test_orders_for_when_units_come_at_a_quantile() -> None:
    policy, told = predictive({1100.0: 6.2, 1120.0: 7.5}, quantile=0.95)
    assert at(1000.0, 1.0, policy) == 8
    assert told.seen == [(1000.0, 1.0)]
    assert told.asked == [(1100.0, 0.95), (1120.0, 0.95)]


def test_a_peak_before_units_would_come_is_not_ordered_for() -> None:
    policy, _ = predictive({1000.0: 1.0, 1025.0: 99.0, 1050.0: 99.0, 1075.0: 99.0, 1100.0: 4.0, 1120.0: 4.0})
    assert at(1000.0, 1.0, policy) == 4


def test_what_is_needed_until_then_stays() -> None:
    loads = {1000.0: 1.0, 1025.0: 1.0, 1050.0: 2.5, 1075.0: 1.0, 1100.0: 1.0, 1120.0: 1.0}
    policy, told = predictive(loads)
    assert at(1000.0, 1.0, policy) == 3
    assert [time_s for time_s, _ in told.asked] == [1100.0, 1120.0, 1000.0, 1025.0, 1050.0, 1075.0]
    assert at(1000.0, 1.0, predictive(loads, scales_in=False)[0]) == 4


def test_the_load_as_it_is() -> None:
    quiet = dict.fromkeys((1000.0, 1025.0, 1050.0, 1075.0, 1100.0, 1120.0), 1.0)
    assert at(1000.0, 6.0, predictive(quiet)[0]) == 6
    assert at(1000.0, 6.0, predictive(quiet, at_least_now=False)[0]) == 1
    assert at(1000.0, 6.0, predictive()[0]) == 6  # no forecast
    assert at(1000.0, 6.0, predictive(at_least_now=False)[0]) == 4
    assert wishes(predictive()[0], [], [0.0], service=True) == [4]  # nothing measured


def test_each_sample_is_fed_once() -> None:
    policy, told = predictive()
    wishes(policy, every(10.0, "concurrency", 1.0, 2.0, 3.0, 4.0), [0.0, 20.0, 25.0, 30.0], service=True)
    assert told.seen == [(0.0, 1.0), (10.0, 2.0), (20.0, 3.0), (30.0, 4.0)]


def test_averages_are_fed_as_the_load_of_all_units() -> None:
    policy, told = predictive(metric="gpu_utilisation_frac", per_unit=0.7)
    told_units = wishes(policy, [(0.0, {"gpu_utilisation_frac": 0.9})], [0.0], service=True)
    assert (told.seen, told_units) == ([(0.0, pytest.approx(3.6))], [6])


def test_the_demand_of_a_pool_is_what_is_held_and_waited_for() -> None:
    policy, told = predictive({1100.0: 50.0, 1120.0: 40.0}, per_unit=None)
    samples = [(1000.0, {"gpu_allocation_frac": 0.5, PENDING: 12.0})]
    assert wishes(policy, samples, [1000.0]) == [7]
    assert told.seen == [(1000.0, 28.0)]


def test_a_service_needs_to_say_what_a_unit_takes() -> None:
    with pytest.raises(PolicyError, match="predictive: per_unit: is needed to scale 'chat', as the load that one unit"):
        at(0.0, 1.0, predictive(per_unit=None)[0])


def test_a_plan_is_made_now_and_then() -> None:
    """Every 6 h, hourly for two days: at 23:55 the hour that begins in 5 minutes counts."""
    loads = {3600.0 * hour: float(hour) for hour in range(100)} | {21300.0: 77.0}
    policy, told = predictive(loads, refresh_s=21600.0, lead_s=300.0, period_s=60.0, at_least_now=False)
    asked = [0.0, 3240.0, 3300.0, 21000.0, 21600.0]
    samples = [(0.0, {"concurrency": 1.0})]
    assert wishes(policy, samples, asked, units=0, service=True) == [0, 1, 1, 5, 6]
    made = [time_s for time_s, _ in told.asked]
    assert made == [3600.0 * hour for hour in (*range(49), *range(6, 55))]


def test_no_forecast_is_trusted_before_there_is_some_history() -> None:
    loads = {60.0 * i: 9.0 for i in range(200)}
    policy, _ = predictive(loads, min_history_s=600.0, at_least_now=False, lead_s=60.0, period_s=60.0)
    assert wishes(policy, [(0.0, {})], [0.0, 540.0, 600.0], service=True) == [4, 4, 9]


def test_a_forecast_may_raise_the_maximum() -> None:
    loads = {1100.0: 50.0, 1120.0: 50.0}
    for buffer, wanted in ((None, 40), (0.1, 50)):
        policy, _ = predictive(loads, max_units=40, max_buffer_frac=buffer)
        assert wishes(policy, [(1000.0, {})], [1000.0], service=True, most=60) == [wanted]
    policy, _ = predictive(loads, max_units=40, max_buffer_frac=0.1)
    assert wishes(policy, [(1000.0, {"concurrency": 99.0})], [1000.0], service=True, most=60) == [55]


def test_with_a_real_forecaster_it_is_there_before_the_load() -> None:
    """A square wave of 10 minutes: 2 and 8 requests by turns; units are ordered a minute ahead."""
    policy = Predictive(
        forecaster={"name": "seasonal_naive", "season_s": 1200.0}, per_unit=1.0, lead_s=60.0, quantile=0.5
    )

    def load(now_s: float, _: Any) -> dict[str, float]:
        return {"concurrency": 8.0 if now_s % 1200.0 >= 600.0 else 2.0}

    told = run(policy, load, 6000.0, service=True)  # at 0, 60, … s
    assert told[10 + 60] == told[9 + 60] == 8  # 10 is when it rises; 9 is a minute earlier
    assert told[8 + 60] == 8  # and the order after next would come too late
    assert told[7 + 60] == 2
    assert told[2 + 80] == 2


def test_a_clairvoyant_forecaster_is_told_the_future() -> None:
    policy = Predictive(forecaster={"name": "oracle"}, per_unit=1.0, lead_s=60.0)
    assert policy.knows_future
    policy.reveal([0.0, 100.0, 200.0], [2.0, 9.0, 3.0])
    assert wishes(policy, [(0.0, {"concurrency": 2.0})], [0.0], service=True) == [9]
    assert not Predictive().knows_future
    with pytest.raises(PolicyError, match="sees no future: there is nothing to reveal"):
        Predictive().reveal([0.0], [1.0])


@settings(max_examples=30, deadline=None)
@given(load=st.floats(0.0, 30.0), start=st.integers(0, 12), low=st.integers(0, 3))
def test_under_a_constant_load_it_comes_to_rest_within_its_bounds(load: float, start: int, low: int) -> None:
    policy = Predictive(forecaster={"name": "last_value"}, per_unit=2.0, min_units=low, max_units=12)
    told = run(policy, lambda *_: {"concurrency": load}, 3600.0, units=start, service=True)
    assert all(isinstance(count, int) and low <= count <= 12 for count in told)
    assert set(told[5:]) == {min(max(units_of(load, 2.0), low), 12)}


@settings(max_examples=20, deadline=None)
@given(loads=st.lists(st.floats(0.0, 99.0), min_size=2, max_size=40), low=st.integers(0, 3))
def test_bounds_are_kept(loads: list[float], low: int) -> None:
    policy = Predictive(per_unit=2.0, min_units=low, max_units=9, max_buffer_frac=0.5)
    told = wishes(policy, every(60.0, "concurrency", *loads), [60.0 * i for i in range(len(loads))], service=True)
    assert all(isinstance(count, int) and low <= count <= 20 for count in told)  # 20 are the target's


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "load"}, "predictive: unknown metric 'load'"),
        ({"forecaster": {"season_s": 3600.0}}, "predictive: forecaster={'season_s': 3600.0}: its name is needed"),
        ({"forecaster": {"name": "prophet"}}, "unknown forecaster policy 'prophet'"),
        ({"forecaster": {"name": "holt_winters", "seson_s": 1.0}}, "forecaster=holt_winters has no option 'seson_s'"),
        ({"quantile": 1.0}, "predictive: quantile=1.0: must lie between 0 and 1, both excluded"),
        ({"lead_s": math.inf}, "predictive: lead_s=inf: must be 0 or more"),
        ({"per_unit": 0.0}, "predictive: per_unit=0.0: must be more than 0"),
        ({"horizon_s": 100.0}, "predictive: horizon_s=100.0: must not be less than lead_s and refresh_s together"),
        ({"max_buffer_frac": -0.1}, "predictive: max_buffer_frac=-0.1: must be 0 or more"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        Predictive(**options)


def test_pools_and_services_in_one() -> None:
    """One instance scales one target; its load is that target's alone."""
    cluster, chat = cluster_of(2, service=True)
    cluster.measure(0.0, "chat", concurrency=7.0)
    cluster.measure(0.0, "default", gpu_allocation_frac=1.0, pending_gpus=80.0)
    assert predictive()[0].desired(chat, cluster.view()) == 7
