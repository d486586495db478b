"""Forecasters that fit something: against plain least squares and against the libraries' own answers."""

from __future__ import annotations

import importlib
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from policies import PolicyError, registry
from policies.forecasting import Forecaster
from policies.forecasting.calendar import calendar
from policies.forecasting.empirical import quantile_of
from policies.forecasting.linear_regression import LinearRegression
from policies.forecasting.moving_quantile import MovingQuantile
from policies.forecasting.oracle_with_noise import OracleWithNoise

STEP_S, SEASON = 60.0, 50
STEPS = np.arange(700)
WAVE = 100.0 + 20.0 * np.sin(2 * np.pi * STEPS / SEASON)
SMALL: dict[str, Any] = {"season_s": STEP_S * SEASON, "train": 150, "refit_every": 50}
LEARNER: dict[str, Any] = {**SMALL, "window": 100}


def feed(forecaster: Forecaster, values: np.ndarray, first: int = 0) -> float:
    """Tells the values from step `first` on, and returns the time of the last."""
    for step, value in enumerate(values.tolist(), first):
        forecaster.observe(STEP_S * step, value)
    return STEP_S * (first + len(values) - 1)


def noise(deviation: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, deviation, len(STEPS))


def covered(forecaster: Forecaster, values: np.ndarray, lead: int, quantile: float, skip: int, every: int = 1) -> float:
    """How often what comes is no more than forecast."""
    hits = []
    for step, value in enumerate(values[:-lead].tolist()):
        forecaster.observe(STEP_S * step, value)
        if step >= skip and step % every == 0:
            said = forecaster.forecast(STEP_S * (step + lead), quantile)
            assert said is not None
            hits.append(values[step + lead] <= said)
    return float(np.mean(hits))


# ---- calendar
def test_calendar() -> None:
    rows = calendar(np.array([0.0, 150.0, 600.0]), 600.0, 1200.0)
    assert rows.shape == (3, 12)
    assert rows[1, :3] == pytest.approx([1.0, 0.0, -1.0])  # a quarter of the first period: sines of three waves
    assert rows[2, 3:6] == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)  # half of the second
    assert rows[2, 9:] == pytest.approx([-1.0, 1.0, -1.0])


# ---- moving quantile
def test_moving_quantile_by_hand() -> None:
    forecaster = MovingQuantile(window_s=300.0, min_samples=3)
    feed(forecaster, np.array([9.0, 1.0]))
    assert forecaster.forecast(120.0, 0.5) is None
    last_s = feed(forecaster, np.array([5.0, 5.0, 2.0, 8.0, 1.0]), first=2)  # 9 and the first 1 are too old
    assert [forecaster.forecast(last_s + 60.0, q) for q in (0.01, 0.5, 0.99)] == [1.0, 5.0, 8.0]
    assert forecaster.forecast(last_s + 6e6, 0.5) == 5.0  # whatever the lead


def test_a_window_of_few_steps_has_enough_samples_all_the_same() -> None:
    forecaster = MovingQuantile(window_s=120.0, min_samples=4)
    last_s = feed(forecaster, np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert [forecaster.forecast(last_s + 60.0, q) for q in (0.01, 0.99)] == [2.0, 5.0]


def test_moving_quantile_options() -> None:
    with pytest.raises(PolicyError, match=r"MovingQuantile: min_samples=0: must be 1 or more"):
        MovingQuantile(min_samples=0)
    with pytest.raises(PolicyError, match=r"MovingQuantile: window_s=0.0: must be more than 0"):
        MovingQuantile(window_s=0.0)


# ---- linear regression
def by_hand(values: np.ndarray, lead: int, lags: int, first: int, last: int, ridge: float) -> tuple[np.ndarray, float]:
    """Ridge weights and base from the whole table of pairs: standardised, solved, and scaled back."""
    features = np.array([row(values, lead, lags, target) for target in range(first, last)])
    changes = values[first:last] - values[first - lead : last - lead]
    scale = features.std(axis=0)
    scale[scale < 1e-9] = np.inf
    scale[lags + 2 + 3 : lags + 2 + 6] = scale[lags + 2 + 9 :] = np.inf  # a week has not been seen
    table = (features - features.mean(axis=0)) / scale
    weights = np.linalg.solve(
        table.T @ table / len(table) + ridge * np.eye(table.shape[1]), table.T @ (changes - changes.mean()) / len(table)
    )
    return weights / scale, changes.mean() - (weights / scale) @ features.mean(axis=0)


def row(values: np.ndarray, lead: int, lags: int, target: int) -> np.ndarray:
    now = target - lead
    past = [values[now - lag] for lag in range(lags)] + [values[now - SEASON], values[target - SEASON]]
    return np.concatenate((past, calendar(np.array([STEP_S * target]), STEP_S * SEASON, 604800.0)[0]))


@pytest.mark.parametrize("lead", [1, 7, SEASON])
def test_linear_regression_is_ridge_over_the_last_steps(lead: int) -> None:
    """Weights, errors on each block that a model had not seen, and their quantile; with blocks cut by the window."""
    values = 1e6 + WAVE + noise(5.0)
    forecaster = LinearRegression(**{**SMALL, "train": 170}, lags=3, window=100, ridge=0.01)
    now = 615
    last_s = feed(forecaster, values[: now + 1])
    errors = []
    for begin in (500, 550):
        weights, base = by_hand(values, lead, 3, begin - 170, begin, 0.01)
        for target in range(begin, begin + 50):
            expected = values[target - lead] + row(values, lead, 3, target) @ weights + base
            errors.append(values[target] - expected)
    weights, base = by_hand(values, lead, 3, 600 - 170, 600, 0.01)
    point = values[now] + row(np.append(values[: now + 1], np.zeros(lead)), lead, 3, now + lead) @ weights + base
    for quantile in (0.1, 0.5, 0.9):
        said = forecaster.forecast(last_s + STEP_S * lead, quantile)
        assert said == pytest.approx(point + quantile_of(sorted(errors), quantile), abs=1e-3)


def test_linear_regression_learns_what_is_linear() -> None:
    forecaster = LinearRegression(**SMALL, ridge=1e-9)
    last_s = feed(forecaster, WAVE[:600])
    for lead in (1, 10, 33):
        assert forecaster.forecast(last_s + STEP_S * lead, 0.5) == pytest.approx(WAVE[599 + lead], abs=1e-3)


def test_linear_regression_covers_what_it_says() -> None:
    values = WAVE + noise(5.0, 3)
    share = covered(LinearRegression(**SMALL, ridge=0.1), values, 5, 0.8, 350)
    assert share == pytest.approx(0.8, abs=0.06)


def test_a_lead_longer_than_a_season_is_not_forecast() -> None:
    forecaster = LinearRegression(**SMALL)
    last_s = feed(forecaster, WAVE[:600])
    assert forecaster.forecast(last_s + STEP_S * SEASON, 0.5) is not None
    assert forecaster.forecast(last_s + STEP_S * (SEASON + 1), 0.5) is None


# ---- the other learners
@pytest.mark.parametrize(("name", "module"), [("svr", "sklearn"), ("neural", "torch")])
def test_a_learner_beats_the_last_value_where_there_is_something_to_learn(name: str, module: str) -> None:
    pytest.importorskip(module)
    values, lead = WAVE + noise(1.0), 12
    forecaster = registry.create("forecaster", name, **LEARNER)
    last_value = registry.create("forecaster", "last_value")
    losses = []
    for step, value in enumerate(values[:-lead].tolist()):
        at_s = STEP_S * (step + lead)
        for each in (forecaster, last_value):
            each.observe(STEP_S * step, value)
        if step > 400 and step % 5 == 0:
            said = [each.forecast(at_s, 0.5) for each in (forecaster, last_value)]
            losses.append([abs(each - values[step + lead]) for each in said])
    mine, naive = np.mean(losses, axis=0)
    assert mine < 0.2 * naive


def test_the_network_has_its_own_randomness() -> None:
    torch = pytest.importorskip("torch")

    def told(seed: int) -> tuple[float | None, float]:
        torch.manual_seed(7)
        forecaster = registry.create("forecaster", "neural", **LEARNER, epochs=10, seed=seed)
        last_s = feed(forecaster, (WAVE + noise(2.0))[:400])
        return forecaster.forecast(last_s + 300.0, 0.9), float(torch.rand(1))

    torch.manual_seed(7)
    untouched = float(torch.rand(1))
    assert told(1) == told(1)
    assert told(1)[0] != told(2)[0]
    assert told(1)[1] == untouched


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policies.forecasting.extras.find_spec", lambda module: None)
    with pytest.raises(PolicyError, match=r"Svr: needs scikit-learn: pip install 'elastic-gpu-simulator\[forecast\]'"):
        registry.create("forecaster", "svr")
    with pytest.raises(PolicyError, match=r"Arima: needs statsmodels"):
        registry.create("forecaster", "arima")
    with pytest.raises(PolicyError, match=r"Neural: needs torch: pip install 'elastic-gpu-simulator\[torch\]'"):
        registry.create("forecaster", "neural")


# ---- statsmodels
def rest_of(values: np.ndarray, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """What three waves of the season leave at steps `first` to `last`, and what they say of all steps."""
    waves = np.column_stack((np.ones(len(STEPS)), calendar(STEP_S * STEPS, STEP_S * SEASON)))
    weights = np.linalg.lstsq(waves[first:last], values[first:last], rcond=None)[0]
    return values - waves @ weights, waves @ weights


AUTOREGRESSIVE = WAVE + np.array([(noise(1.0, 9)[: i + 1] * 0.8 ** np.arange(i, -1, -1)).sum() for i in STEPS])


def test_arima_is_statsmodels() -> None:
    pytest.importorskip("statsmodels")
    model = importlib.import_module("statsmodels.tsa.arima.model")
    forecaster = registry.create("forecaster", "arima", **SMALL, p=1, q=0)
    feed(forecaster, AUTOREGRESSIVE[:523])
    forecaster.forecast(STEP_S * 530, 0.5)
    last_s = feed(forecaster, AUTOREGRESSIVE[523:541], first=523)
    rest, waves = rest_of(AUTOREGRESSIVE, 350, 500)
    fitted = model.ARIMA(rest[350:500], order=(1, 0, 0), trend="n").fit()
    whole = fitted.apply(rest[350:541]).get_forecast(6)
    for quantile in (0.1, 0.5, 0.95):
        expected = waves[546] + whole.predicted_mean[-1] + whole.se_mean[-1] * NormalDist().inv_cdf(quantile)
        assert forecaster.forecast(last_s + STEP_S * 6, quantile) == pytest.approx(expected, rel=1e-3)


def test_ets_is_statsmodels() -> None:
    pytest.importorskip("statsmodels")
    pandas = pytest.importorskip("pandas")
    model = importlib.import_module("statsmodels.tsa.exponential_smoothing.ets")
    forecaster = registry.create("forecaster", "ets", **SMALL)
    feed(forecaster, AUTOREGRESSIVE[:523])
    forecaster.forecast(STEP_S * 530, 0.5)
    last_s = feed(forecaster, AUTOREGRESSIVE[523:541], first=523)
    rest, waves = rest_of(AUTOREGRESSIVE, 350, 500)
    fitted = model.ETSModel(rest[350:500] / rest[350:500].std(), error="add", trend="add", damped_trend=True).fit(
        disp=0
    )
    longer = pandas.Series(rest[350:541] / rest[350:500].std())
    whole = model.ETSModel(longer, error="add", trend="add", damped_trend=True).smooth(fitted.params)
    ahead = whole.get_prediction(start=191, end=196)
    mean = waves[546] + rest[350:500].std() * ahead.predicted_mean.iloc[-1]
    assert forecaster.forecast(last_s + STEP_S * 6, 0.5) == pytest.approx(mean, rel=1e-9)
    deviation = rest[350:500].std() * (ahead.forecast_variance[-1] * fitted.scale / whole.scale) ** 0.5
    said = forecaster.forecast(last_s + STEP_S * 6, 0.95)
    assert said == pytest.approx(mean + deviation * NormalDist().inv_cdf(0.95), rel=1e-9)


@pytest.mark.parametrize("name", ["arima", "ets"])
def test_their_own_distribution_covers_what_it_says(name: str) -> None:
    """Of normal errors; wide bounds, as parameters fitted to 150 steps are taken for true."""
    pytest.importorskip("statsmodels")
    options = {**SMALL, "refit_every": 150} | ({"p": 1, "q": 0} if name == "arima" else {})
    share = covered(registry.create("forecaster", name, **options), AUTOREGRESSIVE, 3, 0.8, 300, every=3)
    assert share == pytest.approx(0.8, abs=0.1)


# ---- oracle with noise
def test_the_noisy_oracles_quantiles_are_covered() -> None:
    times_s, values = (STEP_S * STEPS).tolist(), WAVE
    for seed in (0, 1):
        oracle = OracleWithNoise(sigma=0.2, seed=seed)
        oracle.reveal(times_s, values.tolist())
        said = [[oracle.forecast(time_s, q) for time_s in times_s] for q in (0.1, 0.5, 0.9)]
        shares = [np.mean(values <= np.array(each)) for each in said]
        assert shares == pytest.approx([0.1, 0.5, 0.9], abs=0.06)  # 0.9: 5 standard errors are 0.057
        assert np.std(np.array(said[1]) - values) == pytest.approx(20.0, rel=0.1)
    assert oracle.forecast(times_s[5], 0.5) == said[1][5]  # asked again


def test_an_oracle_without_noise_is_an_oracle() -> None:
    oracle = OracleWithNoise(sigma=0.0)
    oracle.reveal([0.0, 1.0], [3.0, 4.0])
    assert oracle.forecast(1.0, 0.9) == 4.0
    with pytest.raises(PolicyError, match=r"OracleWithNoise: sigma=-1: must be 0 or more"):
        OracleWithNoise(sigma=-1)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("linear_regression", {"ridge": 0.0}, "LinearRegression: ridge=0.0: must be more than 0"),
        ("linear_regression", {"train": 10}, "LinearRegression: train=10: must be 50 or more"),
        ("linear_regression", {"lags": 0}, "LinearRegression: lags=0: must be 1 or more"),
        ("linear_regression", {"min_errors": 0}, r"LinearRegression: min_errors=0: must lie in 1..window"),
        ("oracle_with_noise", {"seed": -1}, "OracleWithNoise: seed=-1: must be 0 or more"),
        ("neural", {"epochs": 0}, "Neural: epochs=0: must be 1 or more"),
        ("neural", {"max_pairs": 1}, "Neural: max_pairs=1: must be 2 or more"),
        ("svr", {"c": 0.0}, "Svr: c=0.0: must be more than 0"),
        ("arima", {"p": 9}, r"Arima: p=9: must lie in 0..5"),
        ("ets", {"train": 49}, "Ets: train=49: must be 50 or more"),
    ],
)
def test_options(name: str, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policies.forecasting.on_grid.require_module", lambda module, who: None)
    with pytest.raises(PolicyError, match=message):
        registry.create("forecaster", name, **options)


def test_less_to_learn_from_than_a_season(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policies.forecasting.on_grid.require_module", lambda module, who: None)
    forecaster = registry.create("forecaster", "ets", train=100, season_s=STEP_S * 101)
    with pytest.raises(PolicyError, match="Ets: train=100: must not be less than season_s has steps, 101"):
        feed(forecaster, np.zeros(2))
