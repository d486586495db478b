"""It will be as it has been of late: a quantile of the last hour, and no look at where it is going."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass, field

from policies.forecasting.empirical import quantile_of
from policies.forecasting.on_grid import OnGrid
from policies.registry import register


@register("forecaster", "moving_quantile")
@dataclass
class MovingQuantile(OnGrid):
    """The quantile of the values of the last `window_s` (`min_samples` at least), whatever the lead.

    Its coverage holds for a series that goes nowhere; one that rises it falls behind, by as much as the series rises
    in the lead and half the window. Autopilot's recommenders for Kubernetes-like limits work on such windows (Rzadca
    et al., EuroSys 2020), there with weights that decay.
    """

    window_s: float = 3600.0
    min_samples: int = 10
    _recent: deque[float] = field(default_factory=deque, init=False, repr=False)
    _ascending: list[float] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("window_s", 0 < self.window_s < math.inf, "must be more than 0")
        self._require("min_samples", self.min_samples >= 1, "must be 1 or more")

    def _begin(self) -> None:
        self._recent = deque(maxlen=max(self._steps("window_s"), self.min_samples))

    def _update(self, value: float) -> None:
        if len(self._recent) == self._recent.maxlen:
            del self._ascending[bisect_left(self._ascending, self._recent[0])]
        self._recent.append(value)
        insort(self._ascending, value)

    def _quantile(self, lead: int, quantile: float) -> float | None:
        return quantile_of(self._ascending, quantile) if len(self._ascending) >= self.min_samples else None
