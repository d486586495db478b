"""Level, trend and season, each smoothed exponentially, updated with every sample."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field

import numpy as np

from policies.forecasting.empirical import Empirical
from policies.forecasting.window import Window
from policies.registry import register


@register("forecaster", "holt_winters")
@dataclass
class HoltWinters(Empirical):
    """Additive Holt–Winters with a damped trend, online: an update is a handful of sums, nothing is ever refitted.

    The first season sets the level (its mean) and the season (what is left); only then are there forecasts. Source:
    Holt (1957), Winters (1960), the trend damped after Gardner and McKenzie (1985); equations as in Hyndman and
    Athanasopoulos, "Forecasting: principles and practice", 3rd ed., 8.3. The rates are given, not fitted: the level
    forgets in a few steps, the season in a few seasons.
    """

    season_s: float = 86400.0
    alpha: float = 0.5  # rate of the level, a step
    beta: float = 0.02  # of the trend, a step
    gamma: float = 0.2  # of the season, a season
    phi: float = 0.9  # what a step leaves of the trend; 1: it goes on for ever
    _season: int = field(default=1, init=False, repr=False)  # steps
    _level: float = field(default=math.nan, init=False, repr=False)
    _trend: float = field(default=0.0, init=False, repr=False)
    _seasonal: array[float] = field(default_factory=lambda: array("d"), init=False, repr=False)  # by step in the season
    _past: tuple[Window, ...] = field(default=(), init=False, repr=False)  # value, level, trend, seasonal

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("season_s", 0 < self.season_s < math.inf, "must be more than 0")
        for name in ("alpha", "beta", "gamma", "phi"):
            self._require(name, 0 <= getattr(self, name) <= 1, "must lie in 0..1")

    def _begin(self) -> None:
        self._season = self._steps("season_s")
        self._past = tuple(Window(self.window + self._season) for _ in range(4))

    def _update(self, value: float) -> None:
        if self._step < self._season:
            self._seasonal.append(value)
            if self._step == self._season - 1:
                self._initialise()
            return
        place = self._step % self._season
        seasonal, trend = self._seasonal[place], self.phi * self._trend
        expected = self._level + trend
        level = expected + self.alpha * (value - seasonal - expected)
        trend += self.beta * (level - expected)
        seasonal += self.gamma * (value - level - seasonal)
        self._level, self._trend, self._seasonal[place] = level, trend, seasonal
        values, levels, trends, seasonals = self._past
        values.append(value)
        levels.append(level)
        trends.append(trend)
        seasonals.append(seasonal)

    def _initialise(self) -> None:
        self._level = sum(self._seasonal) / self._season
        for place, value in enumerate(self._seasonal):
            self._seasonal[place] = value - self._level
            last = self._level if place == self._season - 1 else math.nan
            for past, number in zip(self._past, (value, last, 0.0, value - self._level), strict=True):
                past.append(number)

    def _point(self, lead: int) -> float | None:
        if self._step < self._season - 1:
            return None
        return self._level + self._reach(lead) * self._trend + self._seasonal[(self._step + lead) % self._season]

    def _errors(self, lead: int) -> np.ndarray:
        values, levels, trends, seasonals = (past.array() for past in self._past)
        back = -(-lead // self._season) * self._season  # whose seasonal term was the last known then
        came, known = values[back:], seasonals[:-back]
        first = back - lead
        errors = came - levels[first:-lead] - self._reach(lead) * trends[first:-lead] - known
        return errors[~np.isnan(errors)][-self.window :]

    def _reach(self, lead: int) -> float:
        """How many trends the level moves in `lead` steps: phi + phi^2 + … + phi^lead."""
        return float(lead) if self.phi == 1 else self.phi * (1 - self.phi**lead) / (1 - self.phi)
