"""It will be as it was a season before."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from policies.forecasting.empirical import Empirical
from policies.forecasting.window import Window
from policies.registry import register


@register("forecaster", "seasonal_naive")
@dataclass
class SeasonalNaive(Empirical):
    """The value of a season before, a day by default; how far the series differs from that gives the quantiles.

    For leads of more than a season it is the value of as many whole seasons before as are needed, and the errors are
    those of the last `window` steps that have it.
    """

    season_s: float = 86400.0
    _values: Window = field(default_factory=lambda: Window(1), init=False, repr=False)
    _season: int = field(default=1, init=False, repr=False)  # steps

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("season_s", 0 < self.season_s < math.inf, "must be more than 0")

    def _begin(self) -> None:
        self._season = self._steps("season_s")
        self._values = Window(self.window + self._season)

    def _update(self, value: float) -> None:
        self._values.append(value)

    def _point(self, lead: int) -> float | None:
        back = -lead % self._season  # from now
        return float(self._values.array()[-1 - back]) if len(self._values) > back else None

    def _errors(self, lead: int) -> np.ndarray:
        values, back = self._values.array(), -(-lead // self._season) * self._season
        return values[back:] - values[:-back]
