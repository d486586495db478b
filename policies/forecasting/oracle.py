"""The future, exactly: the bound on what any forecast is worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from policies.errors import PolicyError
from policies.registry import register


@register("forecaster", "oracle")
@dataclass
class Oracle:
    """The value that will stand at a time, whatever the quantile; None beyond the end of what was revealed.

    It must be given the future by `reveal`, so that its use can't go unnoticed.
    """

    knows_future: ClassVar[bool] = True

    _times_s: np.ndarray = field(default_factory=lambda: np.empty(0), init=False, repr=False, compare=False)
    _values: np.ndarray = field(default_factory=lambda: np.empty(0), init=False, repr=False, compare=False)
    _last_s: float = field(default=-math.inf, init=False, repr=False)

    def reveal(self, times_s: Sequence[float], values: Sequence[float]) -> None:
        self._times_s, self._values = np.array(times_s, np.float64), np.array(values, np.float64)
        if len(self._times_s) != len(self._values) or not len(self._times_s):
            raise PolicyError(f"reveal: {len(times_s)} times and {len(values)} values: must be as many, 1 or more")
        if (np.diff(self._times_s) <= 0).any():
            raise PolicyError("reveal: times_s: must ascend")

    def observe(self, time_s: float, value: float) -> None:
        if not math.isfinite(value):
            raise PolicyError(f"sample at {time_s} s: value={value}: must be finite")
        if not time_s >= self._last_s:
            raise PolicyError(f"sample at {time_s} s: is before the last sample, at {self._last_s} s")
        self._last_s = time_s

    def forecast(self, at_s: float, quantile: float) -> float | None:
        if not 0 < quantile < 1:
            raise PolicyError(f"quantile={quantile}: must lie between 0 and 1, both excluded")
        if not at_s >= self._last_s:
            raise PolicyError(f"at_s={at_s}: is before the last sample, at {self._last_s} s")
        if not len(self._times_s):
            raise PolicyError(f"{type(self).__name__}: has no future to see: call reveal(times_s, values) first")
        row = int(self._times_s.searchsorted(at_s, "right")) - 1
        step_s = self._times_s[-1] - self._times_s[-2] if len(self._times_s) > 1 else math.inf
        if row < 0 or at_s >= self._times_s[-1] + step_s:
            return None
        return float(self._values[row])
