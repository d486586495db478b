"""What ARIMA and ETS share: a regression on the calendar, and a model of what it leaves, fitted by statsmodels."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import ClassVar

import numpy as np

from policies.forecasting.calendar import calendar
from policies.forecasting.on_grid import OnGrid
from policies.forecasting.window import Window

_LEAST_STEPS = 50  # to fit a model to


@dataclass(kw_only=True)
class Fitted(OnGrid):
    """Three harmonics of the season by least squares, and a model of the rest; none before a season has been seen.

    Both are fitted every `refit_every` steps to the last `train`; in between the model is only told what came. The
    quantiles are the model's own: a normal distribution that takes its parameters for true, so that it is too narrow
    where they are not, and where errors have heavier tails.
    """

    needs: ClassVar[str] = "statsmodels"

    season_s: float = 86400.0
    train: int = 2016
    refit_every: int = 720
    _season: int = field(default=1, init=False, repr=False)  # steps
    _values: Window = field(default_factory=lambda: Window(1), init=False, repr=False)
    _block: int = field(default=-1, init=False, repr=False)  # at whose begin it was fitted
    _weights: np.ndarray = field(default_factory=lambda: np.zeros(0), init=False, repr=False)  # of the harmonics
    _unit: float = field(default=0.0, init=False, repr=False)  # deviation of the rest; 0: there is none
    _until: int = field(default=0, init=False, repr=False)  # the first step that the model has not been told of
    _said: dict[int, tuple[float, float]] = field(default_factory=dict, init=False, repr=False)  # by lead

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("season_s", 0 < self.season_s < math.inf, "must be more than 0")
        self._require("train", self.train >= _LEAST_STEPS, f"must be {_LEAST_STEPS} or more")
        self._require("refit_every", self.refit_every >= 1, "must be 1 or more")

    @abstractmethod
    def _fit(self, rest: np.ndarray) -> None:
        """Fits the model to the rest, in units of its deviation; shape (train,)."""

    @abstractmethod
    def _tell(self, rest: np.ndarray) -> None:
        """Tells the model what came since."""

    @abstractmethod
    def _ahead(self, lead: int) -> tuple[float, float]:
        """Mean and standard deviation of the rest `lead` steps after the last that it was told."""

    def _begin(self) -> None:
        self._season = self._steps("season_s")
        self._require("train", self.train >= self._season, f"must not be less than season_s has steps, {self._season}")
        self._values = Window(self.train + self.refit_every)

    def _update(self, value: float) -> None:
        self._values.append(value)
        self._said.clear()

    def _quantile(self, lead: int, quantile: float) -> float | None:
        block = (self._step + 1) // self.refit_every
        last = block * self.refit_every
        if last < max(self._season, _LEAST_STEPS):
            return None
        if block != self._block:
            self._refit(max(0, last - self.train), last)
            self._block = block
        if lead not in self._said:
            self._said[lead] = self._mean_and_deviation(lead)
        mean, deviation = self._said[lead]
        return mean + deviation * NormalDist().inv_cdf(quantile)

    def _refit(self, first: int, last: int) -> None:
        values, harmonics = self._past(first, last), self._harmonics(first, last)
        self._weights = np.linalg.lstsq(harmonics, values, rcond=None)[0]
        rest = values - harmonics @ self._weights
        self._unit, self._until = float(rest.std()), last
        if self._unit <= 1e-9 * float(np.abs(values).max()):
            self._unit = 0.0
        else:
            self._fit(rest / self._unit)

    def _mean_and_deviation(self, lead: int) -> tuple[float, float]:
        target = self._step + lead
        mean = float((self._harmonics(target, target + 1) @ self._weights)[0])
        if not self._unit:
            return mean, 0.0
        new = range(self._until, self._step + 1)
        if new:
            rest = self._past(new.start, new.stop) - self._harmonics(new.start, new.stop) @ self._weights
            self._tell(rest / self._unit)
            self._until = new.stop
        ahead, deviation = self._ahead(lead)
        return mean + self._unit * ahead, self._unit * deviation

    def _past(self, first: int, last: int) -> np.ndarray:
        """The values of steps `first` (included) to `last` (excluded)."""
        values = self._values.array()
        oldest = self._step + 1 - len(values)
        return values[first - oldest : last - oldest]

    def _harmonics(self, first: int, last: int) -> np.ndarray:
        assert self._first is not None
        times_s = self._first[0] + self._width_s * np.arange(first, last)
        return np.column_stack((np.ones(last - first), calendar(times_s, self.season_s)))
