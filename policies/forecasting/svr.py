"""Support vector regression on lags and the calendar (scikit-learn)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from policies.forecasting.batch import Batch
from policies.forecasting.direct import Predict
from policies.registry import register


@register("forecaster", "svr")
@dataclass
class Svr(Batch):
    """`sklearn.svm.SVR` with a radial kernel of scikit-learn's default width; far from all it has seen, a mean change.

    `c` and `epsilon` (the error that costs nothing) are in standard deviations of the changes learnt from.
    """

    needs: ClassVar[str] = "sklearn"

    c: float = 1.0
    epsilon: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("c", 0 < self.c < math.inf, "must be more than 0")
        self._require("epsilon", 0 <= self.epsilon < math.inf, "must be 0 or more")

    def _learn_from(self, features: np.ndarray, changes: np.ndarray) -> Predict:
        from sklearn.svm import SVR

        predict: Predict = (
            SVR(kernel="rbf", gamma="scale", C=self.c, epsilon=self.epsilon).fit(features, changes).predict
        )
        return predict
