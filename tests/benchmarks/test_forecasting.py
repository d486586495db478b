"""What forecasters cost: an update, and an update with a forecast; and the errors that buys on a made-up demand."""

from __future__ import annotations

import pytest

from policies import registry
from policies.forecasting import Forecaster
from policies.forecasting.backtest import Question, forecasts, score
from policies.forecasting.extras import is_installed
from policies.forecasting.series import synthetic
from tests.benchmarks.measure import cpu_s, slowness

pytestmark = pytest.mark.benchmark_suite
NUM = 2016  # a week of samples every 5 minutes
LEAD_S = 600.0
# At most, in us: an update; an update and a forecast, refits included.
GOALS = {
    "last_value": (2.0, 20.0),
    "seasonal_naive": (2.0, 20.0),
    "moving_quantile": (3.0, 20.0),
    "holt_winters": (2.0, 20.0),
    "linear_regression": (2.0, 100.0),
    "svr": (2.0, 1_000.0),
    "neural": (2.0, 1_000.0),
    "ets": (2.0, 1_000.0),
    "arima": (2.0, 15_000.0),
}


@pytest.mark.parametrize("name", GOALS)
def test_a_forecast_is_cheap(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    needs = getattr(registry.get("forecaster", name), "needs", "")
    if needs and not is_installed(needs):
        pytest.skip(f"{name} needs {needs}, which is not installed")
    series = synthetic()
    samples = list(zip(series.times_s.tolist(), series.values.tolist(), strict=True))
    first, later = samples[:NUM], samples[NUM : 2 * NUM]
    updates = []
    for _ in range(5):
        forecaster = registry.create("forecaster", name, step_s=series.step_s)
        updates.append(cpu_s(lambda forecaster=forecaster: tell(forecaster, first)))
    forecaster.forecast(first[-1][0] + LEAD_S, 0.9)  # learns; loads what it needs
    both_s = cpu_s(lambda: tell(forecaster, later, ask=True))
    question = Question(lead_s=LEAD_S, capacity_per_unit=10.0)
    result = score(forecasts(registry.create("forecaster", name), series, question), series, question)
    slow, (goal_us, goal_both_us) = slowness(), GOALS[name]
    us, both_us = min(updates) / NUM * 1e6, both_s / NUM * 1e6
    with capsys.disabled():
        print(
            f"\n{name}: {us:.2f} us an update (at most {goal_us:g}, times {slow:.2f} for a slow machine), "
            f"{1e6 / us:,.0f} updates/s, {min(updates) * 1e3:.2f} ms for {NUM:,}; {both_us:.1f} us with a forecast "
            f"(at most {goal_both_us:g})\n  pinball loss {result.pinball:.3f}, MASE {result.mase:.2f}, coverage "
            f"{result.coverage_frac:.1%} of 90%, {result.unit_h_over_oracle:.2f}x the oracle's unit-hours, "
            f"{result.served_frac:.2%} served"
        )
    assert us <= goal_us * slow
    assert both_us <= goal_both_us * slow


def tell(forecaster: Forecaster, samples: list[tuple[float, float]], ask: bool = False) -> None:
    for time_s, value in samples:
        forecaster.observe(time_s, value)
        if ask:
            forecaster.forecast(time_s + LEAD_S, 0.9)
