"""What the plain forecasters say, by hand; times and steps; and that quantiles are covered as often as they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import PolicyError, registry
from policies.forecasting import Forecaster
from policies.forecasting.empirical import quantile_of
from policies.forecasting.holt_winters import HoltWinters
from policies.forecasting.last_value import LastValue
from policies.forecasting.oracle import Oracle
from policies.forecasting.seasonal_naive import SeasonalNaive
from policies.forecasting.window import Window


def feed(forecaster: Forecaster, values: Any, step_s: float = 60.0, start_s: float = 0.0) -> float:
    """Tells the values, and returns the time of the last."""
    for i, value in enumerate(values):
        forecaster.observe(start_s + i * step_s, float(value))
    return start_s + (len(values) - 1) * step_s


def covered(forecaster: Forecaster, values: np.ndarray, lead: int, quantile: float, skip: int) -> float:
    """How often what comes is no more than forecast."""
    hits = []
    for i, value in enumerate(values[:-lead].tolist()):
        forecaster.observe(60.0 * i, value)
        if i >= skip:
            said = forecaster.forecast(60.0 * (i + lead), quantile)
            assert said is not None
            hits.append(values[i + lead] <= said)
    return float(np.mean(hits))


# ---- window
@given(st.lists(st.floats(-1e9, 1e9), max_size=50), st.integers(1, 7))
def test_a_window_is_the_end_of_what_was_appended(values: list[float], size: int) -> None:
    window = Window(size)
    for i, value in enumerate(values, 1):
        window.append(value)
        assert window.array().tolist() == values[:i][-size:]
        assert len(window) == min(i, size)


# ---- quantiles
def test_quantile_of() -> None:
    assert [quantile_of([1.0, 2.0, 3.0, 4.0], q) for q in (0.2, 0.4, 0.5, 0.8)] == pytest.approx([1.0, 2.0, 2.5, 4.0])
    assert [quantile_of([1.0, 2.0, 3.0, 4.0], q) for q in (0.01, 0.99)] == [1.0, 4.0]  # nothing lies beyond
    assert quantile_of([5.0], 0.5) == 5.0


# ---- last value
def test_last_value_by_hand() -> None:
    forecaster = LastValue(min_errors=3)
    last_s = feed(forecaster, [0, 1, 3, 6, 10, 15])  # moves by 1, 2, 3, 4, 5 in a step; 3, 5, 7, 9 in two
    assert forecaster.forecast(last_s + 60.0, 0.5) == 15.0 + 3.0
    assert forecaster.forecast(last_s + 120.0, 0.5) == 15.0 + 6.0
    assert forecaster.forecast(last_s + 61.0, 0.5) == 15.0 + 6.0  # a lead rounds up
    assert forecaster.forecast(last_s + 240.0, 0.5) is None  # two errors are too few
    assert forecaster.forecast(last_s, 0.9) == 15.0  # what is known is not forecast


def test_only_the_last_errors_count() -> None:
    forecaster = LastValue(min_errors=1, window=2)
    last_s = feed(forecaster, [0, 100, 200, 201, 202])
    assert forecaster.forecast(last_s + 60.0, 0.99) == 203.0


# ---- times
def test_a_step_is_as_long_as_the_first() -> None:
    forecaster = LastValue(min_errors=1)
    forecaster.observe(100.0, 1.0)
    assert forecaster.forecast(110.0, 0.5) is None
    forecaster.observe(100.0, 2.0)  # the same instant again is no step, and the first counts
    forecaster.observe(110.0, 3.0)
    assert forecaster.forecast(120.0, 0.5) == 5.0


def test_samples_count_for_the_nearest_step() -> None:
    on_time, jittered = LastValue(min_errors=1, step_s=60.0), LastValue(min_errors=1, step_s=60.0)
    values = [1.0, 5.0, 2.0, 9.0]
    feed(on_time, values)
    for i, value in enumerate(values):
        jittered.observe(60.0 * i + (29.0 if i % 2 else 0.0), value)
        jittered.observe(60.0 * i + (29.0 if i % 2 else 20.0), -1.0)  # a second one in a step is not counted
    for quantile in (0.1, 0.5, 0.9):
        assert jittered.forecast(60.0 * 3 + 29.0 + 60.0, quantile) == on_time.forecast(60.0 * 4, quantile)


def test_a_missing_sample_repeats_the_one_before() -> None:
    whole, holed = LastValue(min_errors=1), LastValue(min_errors=1)
    feed(whole, [1, 2, 2, 2, 7])
    for time_s, value in ((0.0, 1.0), (60.0, 2.0), (240.0, 7.0)):
        holed.observe(time_s, value)
    assert [holed.forecast(300.0, q) for q in (0.2, 0.9)] == [whole.forecast(300.0, q) for q in (0.2, 0.9)]


def test_a_step_that_is_far_too_short() -> None:
    forecaster = LastValue(step_s=0.01)
    forecaster.observe(0.0, 1.0)
    with pytest.raises(PolicyError, match=r"step_s=0.01: is too short: 359,999 steps have no sample"):
        forecaster.observe(3600.0, 1.0)


# ---- seasonal naive
def test_seasonal_naive_by_hand() -> None:
    forecaster = SeasonalNaive(season_s=240.0, min_errors=2)
    last_s = feed(forecaster, [10, 20, 30, 40, 11, 22])
    assert [forecaster.forecast(last_s + 60.0 * lead, 0.5) for lead in (1, 2, 3, 4)] == [31.5, 41.5, 12.5, 23.5]
    last_s = feed(forecaster, [30, 40, 12, 23, 30, 40], start_s=last_s + 60.0)
    assert forecaster.forecast(last_s + 5 * 60.0, 0.5) == 12.0 + 1.0  # two seasons on: moved by 2, 3, 0, 0 in two


def test_seasonal_naive_covers_what_it_says() -> None:
    steps = np.arange(3000)
    values = 50 * np.sin(steps / 8.0) + np.random.default_rng(5).gamma(2.0, 5.0, 3000)
    season_s = 60.0 * 2 * np.pi * 8.0 * 7  # 352 steps, near enough to a whole number
    share = covered(SeasonalNaive(season_s=season_s, window=1000), values, 10, 0.9, 800)
    assert share == pytest.approx(0.9, abs=0.03)


# ---- Holt–Winters
def textbook(values: list[float], season: int, rates: tuple[float, float, float, float], lead: int) -> float:
    """Hyndman and Athanasopoulos, 8.3 and 8.4, component form, written out."""
    alpha, beta, gamma, phi = rates
    level = sum(values[:season]) / season
    trend = 0.0
    seasonal = [value - level for value in values[:season]]
    for t in range(season, len(values)):
        before, level = level, alpha * (values[t] - seasonal[t - season]) + (1 - alpha) * (level + phi * trend)
        seasonal.append(gamma * (values[t] - level) + (1 - gamma) * seasonal[t - season])
        trend = beta * (level - before) + (1 - beta) * phi * trend
    reach = sum(phi**k for k in range(1, lead + 1))
    return level + reach * trend + seasonal[len(values) - season + (lead - 1) % season]


@pytest.mark.parametrize("phi", [0.9, 1.0])
def test_holt_winters_is_the_textbooks(phi: float) -> None:
    season, rates = 7, (0.3, 0.1, 0.2, phi)
    values = (np.random.default_rng(1).normal(0, 3, 100) + 0.2 * np.arange(100)).tolist()
    forecaster = HoltWinters(season_s=60.0 * season, alpha=0.3, beta=0.1, gamma=0.2, phi=phi, min_errors=1)
    last_s = feed(forecaster, values)
    for lead in (1, 3, 7, 8, 20):
        assert forecaster._point(lead) == pytest.approx(textbook(values, season, rates, lead), rel=1e-12)
        errors = [
            values[t] - textbook(values[: t - lead + 1], season, rates, lead)
            for t in range(season - 1 + lead, len(values))
        ]
        assert forecaster._errors(lead) == pytest.approx(errors, rel=1e-9)
        median = textbook(values, season, rates, lead) + quantile_of(sorted(errors[: len(errors)]), 0.5)
        assert forecaster.forecast(last_s + 60.0 * lead, 0.5) == pytest.approx(median, rel=1e-9)


def test_holt_winters_covers_what_it_says() -> None:
    steps = np.arange(3000)
    values = 100 + 50 * np.sin(2 * np.pi * steps / 100) + np.random.default_rng(5).standard_t(4, 3000) * 4
    assert covered(HoltWinters(season_s=6000.0), values, 10, 0.9, 800) == pytest.approx(0.9, abs=0.03)
    assert covered(HoltWinters(season_s=6000.0), values, 10, 0.2, 800) == pytest.approx(0.2, abs=0.03)


# ---- oracle
def test_oracle_says_what_will_stand() -> None:
    oracle = Oracle()
    oracle.reveal([0.0, 60.0, 120.0], [1.0, 5.0, 3.0])
    oracle.observe(0.0, 1.0)
    said = [oracle.forecast(at_s, 0.9) for at_s in (0.0, 59.0, 60.0, 119.0, 120.0, 179.0, 180.0)]
    assert said == [1.0, 1.0, 5.0, 5.0, 3.0, 3.0, None]


def test_an_oracle_must_be_given_the_future() -> None:
    with pytest.raises(PolicyError, match=r"Oracle: has no future to see: call reveal\(times_s, values\) first"):
        Oracle().forecast(0.0, 0.5)
    for times_s, values, message in (
        ([0.0, 1.0], [1.0], "reveal: 2 times and 1 values: must be as many, 1 or more"),
        ([], [], "reveal: 0 times"),
        ([0.0, 0.0], [1.0, 1.0], "reveal: times_s: must ascend"),
    ):
        with pytest.raises(PolicyError, match=message):
            Oracle().reveal(times_s, values)


# ---- options
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("last_value", {"step_s": 0.0}, "LastValue: step_s=0.0: must be more than 0, or null"),
        ("last_value", {"window": 0}, "LastValue: window=0: must be 1 or more"),
        ("last_value", {"min_errors": 9, "window": 8}, r"LastValue: min_errors=9: must lie in 1..window, 8"),
        ("last_value", {"sesson_s": 1.0}, "forecaster=last_value has no option 'sesson_s'"),
        ("seasonal_naive", {"season_s": 0.0}, "SeasonalNaive: season_s=0.0: must be more than 0"),
        ("holt_winters", {"alpha": 1.5}, r"HoltWinters: alpha=1.5: must lie in 0..1"),
        ("holt_winter", {}, "unknown forecaster policy 'holt_winter': did you mean holt_winters"),
    ],
)
def test_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        registry.create("forecaster", name, **options)


def test_a_season_shorter_than_a_step() -> None:
    forecaster = SeasonalNaive(season_s=20.0, step_s=60.0)
    with pytest.raises(PolicyError, match=r"SeasonalNaive: season_s=20.0: must not be less than step_s, 60"):
        forecaster.observe(0.0, 1.0)
