"""Exponential smoothing, fitted, of what the calendar leaves (statsmodels)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np

from policies.forecasting.fitted import Fitted
from policies.registry import register


@register("forecaster", "ets")
@dataclass
class Ets(Fitted):
    """ETS(A, Ad, N): level and damped trend with additive errors, its rates by maximum likelihood.

    Source of the variance: Hyndman, Koehler, Ord and Snyder, "Forecasting with exponential smoothing" (2008), table
    6.1. Between fits the two states are carried on by their recursions.
    """

    _rates: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0), init=False, repr=False)  # alpha, beta, phi
    _states: tuple[float, float] = field(default=(0.0, 0.0), init=False, repr=False)  # level, trend
    _deviation: float = field(default=0.0, init=False, repr=False)  # of an error one step ahead

    def _fit(self, rest: np.ndarray) -> None:
        from statsmodels.tsa.exponential_smoothing.ets import ETSModel

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a search that ends early
            fitted = ETSModel(rest, error="add", trend="add", damped_trend=True).fit(disp=False)
        self._rates = (float(fitted.smoothing_level), float(fitted.smoothing_trend), float(fitted.damping_trend))
        self._states = float(fitted.level[-1]), float(fitted.slope[-1])
        self._deviation = float(np.sqrt(fitted.scale))

    def _tell(self, rest: np.ndarray) -> None:
        (alpha, beta, phi), (level, trend) = self._rates, self._states
        for value in rest.tolist():
            expected = level + phi * trend
            level, trend = expected + alpha * (value - expected), phi * trend + beta * (value - expected)
        self._states = level, trend

    def _ahead(self, lead: int) -> tuple[float, float]:
        (alpha, beta, phi), (level, trend) = self._rates, self._states
        reach = np.cumsum(phi ** np.arange(1, lead + 1))  # phi + … + phi^j, j = 1..lead
        variance = 1.0 + float(((alpha + beta * reach[:-1]) ** 2).sum())
        return level + float(reach[-1]) * trend, self._deviation * variance**0.5
