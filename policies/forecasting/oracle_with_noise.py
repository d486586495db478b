"""The future, with errors of a known size: how good a forecast has to be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from policies.errors import PolicyError
from policies.forecasting.oracle import Oracle
from policies.registry import register


@register("forecaster", "oracle_with_noise")
@dataclass
class OracleWithNoise(Oracle):
    """The oracle's value plus a normal error, and quantiles that know the error's size, so that they are covered.

    `sigma` is the error's standard deviation as a share of the mean size of the series. Each revealed value has one
    error, drawn from the seed: it is the same whenever and however far ahead it is asked for.
    """

    sigma: float = 0.1
    seed: int = 0
    _deviation: float = field(default=0.0, init=False, repr=False)  # in the series' unit

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < math.inf:
            raise PolicyError(f"OracleWithNoise: sigma={self.sigma}: must be 0 or more")
        if self.seed < 0:
            raise PolicyError(f"OracleWithNoise: seed={self.seed}: must be 0 or more")

    def reveal(self, times_s: Sequence[float], values: Sequence[float]) -> None:
        super().reveal(times_s, values)
        self._deviation = self.sigma * float(np.abs(self._values).mean())
        self._values += self._deviation * np.random.default_rng(self.seed).standard_normal(len(self._values))

    def forecast(self, at_s: float, quantile: float) -> float | None:
        median = super().forecast(at_s, quantile)
        return None if median is None else median + self._deviation * NormalDist().inv_cdf(quantile)
