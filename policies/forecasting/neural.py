"""A small neural network on lags and the calendar (torch)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from policies.forecasting.batch import Batch
from policies.forecasting.direct import Predict
from policies.registry import register


@register("forecaster", "neural")
@dataclass
class Neural(Batch):
    """One hidden layer of `hidden` tanh units, trained anew at each refit: Adam, all pairs at once, `epochs` times.

    The first weights come from `seed` alone, sums are in 64 bit and on one thread (several would cost more than they
    bring), and torch's own random state is left alone: the same samples give the same forecasts.
    """

    needs: ClassVar[str] = "torch"

    hidden: int = 16
    epochs: int = 200
    learning_rate: float = 0.02
    weight_decay: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("hidden", "epochs"):
            self._require(name, getattr(self, name) >= 1, "must be 1 or more")
        self._require("learning_rate", 0 < self.learning_rate < math.inf, "must be more than 0")
        self._require("weight_decay", 0 <= self.weight_decay < math.inf, "must be 0 or more")
        self._require("seed", self.seed >= 0, "must be 0 or more")

    def _learn_from(self, features: np.ndarray, changes: np.ndarray) -> Predict:
        import torch

        rng = np.random.default_rng(self.seed)
        num = features.shape[1]
        shapes = ((num, self.hidden), num), ((self.hidden,), 1), ((self.hidden,), self.hidden), ((), 1)
        first = [rng.standard_normal(shape) / math.sqrt(fan_in) for shape, fan_in in shapes]
        weights = [torch.tensor(values, dtype=torch.float64, requires_grad=True) for values in first]
        into, bias, out, base = weights
        inputs, wanted = torch.from_numpy(features), torch.from_numpy(changes)
        optimiser = torch.optim.AdamW(weights, lr=self.learning_rate, weight_decay=self.weight_decay)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for _ in range(self.epochs):
                optimiser.zero_grad()
                loss = ((torch.tanh(inputs @ into + bias) @ out + base - wanted) ** 2).mean()
                loss.backward()
                optimiser.step()
        finally:
            torch.set_num_threads(threads)
        return partial(_network, *(weight.detach().numpy().copy() for weight in weights))


def _network(into: np.ndarray, bias: np.ndarray, out: np.ndarray, base: np.ndarray, features: np.ndarray) -> np.ndarray:
    return np.tanh(features @ into + bias) @ out + base
