"""What learners share that are fitted to a table of pairs by a library."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial

import numpy as np

from policies.forecasting.direct import Direct, Predict


@dataclass(kw_only=True)
class Batch(Direct):
    """Fitted to `max_pairs` pairs at most, evenly spread over the `train` steps, all columns standardised."""

    refit_every: int = 720
    max_pairs: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("max_pairs", self.max_pairs >= 2, "must be 2 or more")

    @abstractmethod
    def _learn_from(self, features: np.ndarray, changes: np.ndarray) -> Predict:
        """A model of standardised pairs; shapes (N, F) and (N,)."""

    def _fit(self, lead: int, first: int, last: int) -> Predict:
        rows = np.unique(np.linspace(0, last - first - 1, min(self.max_pairs, last - first)).round().astype(int))
        features = self._features(lead, first, last)[rows]
        changes = self._changes(lead, first, last)[rows]
        middle = features.mean(axis=0)
        scale = np.where(self._is_known(first, last), _spread(features), np.inf)  # inf: of no weight
        base, unit = float(changes.mean()), float(_spread(changes))
        if np.ptp(changes) == 0:
            return partial(_always, base)
        predict = self._learn_from((features - middle) / scale, (changes - base) / unit)
        return partial(_standardised, predict, middle, scale, base, unit)


def _standardised(
    predict: Predict, middle: np.ndarray, scale: np.ndarray, base: float, unit: float, features: np.ndarray
) -> np.ndarray:
    return predict((features - middle) / scale) * unit + base


def _always(change: float, features: np.ndarray) -> np.ndarray:
    return np.full(len(features), change)


def _spread(values: np.ndarray) -> np.ndarray:
    """Standard deviation of each column; 1 where it does not vary."""
    spread = values.std(axis=0)
    return np.where(spread > 1e-9 * np.abs(values).max(axis=0, initial=1e-9), spread, 1.0)
