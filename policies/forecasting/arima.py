"""ARIMA of what the calendar leaves (statsmodels)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from policies.forecasting.fitted import Fitted
from policies.registry import register


@register("forecaster", "arima")
@dataclass
class Arima(Fitted):
    """ARIMA(p, d, q) by maximum likelihood in a state space, which also gives the deviation at each lead.

    A fit takes about a second, a forecast a few milliseconds.
    """

    p: int = 2
    d: int = 0
    q: int = 1
    _results: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("p", "d", "q"):
            self._require(name, 0 <= getattr(self, name) <= 5, "must lie in 0..5")

    def _fit(self, rest: np.ndarray) -> None:
        from statsmodels.tsa.arima.model import ARIMA

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a start that is not stationary, of steps that end the search early
            fitted = ARIMA(rest, order=(self.p, self.d, self.q), trend="n").fit()
        self._results = fitted

    def _tell(self, rest: np.ndarray) -> None:
        self._results = self._results.extend(rest)

    def _ahead(self, lead: int) -> tuple[float, float]:
        ahead = self._results.get_forecast(lead)
        return float(ahead.predicted_mean[-1]), float(ahead.se_mean[-1])
