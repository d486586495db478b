"""Ridge regression on lags and the calendar."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from policies.forecasting.direct import Direct, Predict
from policies.registry import register


@register("forecaster", "linear_regression")
@dataclass
class LinearRegression(Direct):
    """Least squares on standardised features, with a penalty of `ridge` times the squared weights a pair.

    The normal equations of each block of steps are summed once and kept; a refit adds up those of the last `train`
    steps and solves, so that it needs one new block, however long it has learnt.
    """

    refit_every: int = 120
    ridge: float = 1e-3
    _sums: dict[int, dict[int, np.ndarray]] = field(default_factory=dict, init=False, repr=False)  # by lead, first step

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("ridge", 0 < self.ridge < math.inf, "must be more than 0")

    def _fit(self, lead: int, first: int, last: int) -> Predict:
        gram = self._gram(lead, first, last)
        num = gram[-1, -1]
        means, moments = gram[-1, :-1] / num, gram[:-1, :-1] / num  # of the features and, last, of the change
        spread = moments - np.outer(means, means)  # covariances
        variances, squares = np.diag(spread)[:-1], np.diag(moments)[:-1]
        counts = self._is_known(first, last) & (variances > 1e-12 * squares)
        scale = np.sqrt(np.where(counts, variances, np.inf))  # inf: of no weight
        correlations = spread[:-1, :-1] / np.outer(scale, scale)
        solution = np.linalg.solve(correlations + self.ridge * np.eye(len(scale)), spread[:-1, -1] / scale)
        weights = solution / scale
        base = means[-1] - weights @ means[:-1]
        return partial(_linear, weights, base - float(weights[: self.lags + 2].sum()) * self._origin)

    def _gram(self, lead: int, first: int, last: int) -> np.ndarray:
        """Sums of products of features, change and 1 over steps `first` to `last`; shape (F + 2, F + 2)."""
        every = self.refit_every
        kept = self._sums.get(lead, {})
        whole = range(-(-first // every) * every, last, every)  # first steps of blocks
        sums = {begin: kept[begin] if begin in kept else self._products(lead, begin, begin + every) for begin in whole}
        oldest = first - (self._num_error_blocks + 1) * every
        self._sums[lead] = {begin: block for begin, block in {**kept, **sums}.items() if begin >= oldest}
        self._sums = {other: blocks for other, blocks in self._sums.items() if other in self._leads}
        begun = self._products(lead, first, min(whole.start, last))  # the rest of a block that lies there in part
        return np.sum([begun, *sums.values()], axis=0)

    def _products(self, lead: int, first: int, last: int) -> np.ndarray:
        features, changes = self._features(lead, first, last), self._changes(lead, first, last)
        features[:, : self.lags + 2] -= self._origin
        rows = np.column_stack((features, changes, np.ones(last - first)))
        return rows.T @ rows

    @property
    def _origin(self) -> float:
        """What values of the series are counted from, so that sums of squares lose no digits to a high level."""
        assert self._first is not None
        return self._first[1]


def _linear(weights: np.ndarray, base: float, features: np.ndarray) -> np.ndarray:
    return features @ weights + base
