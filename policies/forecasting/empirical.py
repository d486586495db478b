"""Quantiles from a forecaster's own errors: what it would have said at each step before, held against what came."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from policies.forecasting.on_grid import OnGrid

_MOST_LEADS = 64  # whose errors are kept sorted


@dataclass(kw_only=True)
class Empirical(OnGrid):
    """A point forecast plus a quantile of its last errors at the same lead; none before there are `min_errors`.

    If the next error is exchangeable with the last n, it stays below their q(n+1)-th smallest with probability q; so
    coverage is off by how errors change over time, not by what distribution they have. The errors are brought up to
    date in strides of about a 64th of them.
    """

    window: int = 2016  # how many of the last errors count
    min_errors: int = 20
    _sorted: dict[int, tuple[int, list[float]]] = field(default_factory=dict, init=False, repr=False)  # by lead

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("window", self.window >= 1, "must be 1 or more")
        self._require("min_errors", 1 <= self.min_errors <= self.window, f"must lie in 1..window, {self.window}")

    @abstractmethod
    def _point(self, lead: int) -> float | None:
        """The point forecast for `lead` steps from now."""

    @abstractmethod
    def _errors(self, lead: int) -> np.ndarray:
        """What came less what would have been forecast `lead` steps before, for the last `window` steps or fewer."""

    def _quantile(self, lead: int, quantile: float) -> float | None:
        point = self._point(lead)
        if point is None:
            return None
        errors = self._sorted_errors(lead)
        return point + quantile_of(errors, quantile) if len(errors) >= self.min_errors else None

    def _sorted_errors(self, lead: int) -> list[float]:
        late = self._step % max(1, min(self._step, self.window) // 64)  # steps whose errors don't count yet
        then, errors = self._sorted.get(lead, (-1, []))
        if then != self._step - late:
            current = self._errors(lead)
            errors = np.sort(current[: len(current) - late]).tolist()
            self._sorted.pop(lead, None)
            if len(self._sorted) >= _MOST_LEADS:
                del self._sorted[next(iter(self._sorted))]
            self._sorted[lead] = (self._step - late, errors)
        return errors


def quantile_of(ascending: Sequence[float], quantile: float) -> float:
    """The q(n+1)-th smallest of n numbers, in between by a straight line, at the ends the least and the largest."""
    place = min(max(quantile * (len(ascending) + 1) - 1.0, 0.0), len(ascending) - 1.0)
    low = int(place)
    high = min(low + 1, len(ascending) - 1)
    return ascending[low] + (place - low) * (ascending[high] - ascending[low])
