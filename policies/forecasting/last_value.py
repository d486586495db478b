"""It will be as it is: what every reactive autoscaler believes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from policies.forecasting.empirical import Empirical
from policies.forecasting.window import Window
from policies.registry import register


@register("forecaster", "last_value")
@dataclass
class LastValue(Empirical):
    """The last value; how far the series has moved within the lead before gives the quantiles."""

    _values: Window = field(default_factory=lambda: Window(1), init=False, repr=False)

    def _begin(self) -> None:
        self._values = Window(2 * self.window)  # errors at leads of up to half of it are all there

    def _update(self, value: float) -> None:
        self._values.append(value)

    def _point(self, lead: int) -> float | None:
        return self._value

    def _errors(self, lead: int) -> np.ndarray:
        values = self._values.array()
        return (values[lead:] - values[:-lead])[-self.window :]
