"""Every registered forecaster keeps to the contract: nothing of the future, the same again, ordered quantiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import pytest

from policies import registry
from policies.forecasting import Forecaster
from policies.forecasting.extras import is_installed
from policies.testing import ForecasterContract

# Small enough for the contract's series; taken where a forecaster has such an option.
SMALL = {
    "step_s": 60.0,
    "season_s": 2400.0,
    "window": 100,
    "train": 120,
    "refit_every": 30,
    "max_pairs": 100,
    "epochs": 20,
}
OPTIONS = {"arima": {"p": 1, "q": 0, "refit_every": 120}}


def small(name: str) -> dict[str, Any]:
    """Options under which a forecaster learns fast."""
    known = {option.name for option in fields(registry.get("forecaster", name)) if option.init}
    return {option: value for option, value in SMALL.items() if option in known} | OPTIONS.get(name, {})


class TestForecasters(ForecasterContract):
    @pytest.fixture(params=registry.names("forecaster"))
    def make(self, request: pytest.FixtureRequest) -> Callable[[], Forecaster]:
        name, module = request.param, getattr(registry.get("forecaster", request.param), "needs", "")
        if module and not is_installed(module):
            pytest.skip(f"{name} needs {module}, which is not installed")
        options = small(name)
        return lambda: registry.create("forecaster", name, **options)


@dataclass
class Peeking:
    """Claims to be fed with the past only, and looks ahead in a list that it shares with whoever feeds it."""

    knows_future: ClassVar[bool] = False

    series: list[tuple[float, float]] = field(default_factory=list)
    told: int = 0

    def observe(self, time_s: float, value: float) -> None:
        self.told += 1

    def forecast(self, at_s: float, quantile: float) -> float | None:
        return self.series[min(self.told + 4, len(self.series) - 1)][1]


def test_the_contract_finds_who_peeks() -> None:
    shared: list[tuple[float, float]] = []

    class Caught(ForecasterContract):
        def told(self, forecaster: Forecaster, samples: list[tuple[float, float]], *args: Any) -> list[float | None]:
            shared[:] = samples
            return super().told(forecaster, samples, *args)

    with pytest.raises(AssertionError):
        Caught().test_the_future_does_not_matter(lambda: Peeking(shared))
