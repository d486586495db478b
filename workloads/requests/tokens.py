"""How long prompts and outputs are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from workloads.generators.require import require


@dataclass(frozen=True, kw_only=True)
class TokenLengths:
    """Log-normal numbers of tokens, rounded and bounded; `sigma` 0: all the same.

    For comparison: the conversations in Microsoft's Azure LLM inference trace of 2023 (Patel et al., Splitwise, ISCA
    2024) have prompts of median 1,020, sigma 0.99 and 2 to 14,050 tokens, and outputs of median 129, sigma 0.86 and 7
    to 1,000; its code completions prompts of median 1,469, sigma 1.36, and outputs of median 13, sigma 0.85.
    """

    median: float
    sigma: float
    min: int = 1
    max: int = 8192

    def __post_init__(self) -> None:
        require(self.median >= 1, "median", self.median, "must be 1 or more")
        require(0 <= self.sigma < math.inf, "sigma", self.sigma, "must be 0 or more")
        require(self.min >= 1, "min", self.min, "must be 1 or more")
        require(self.max >= self.min, "max", self.max, f"must be at least min={self.min}")

    def draw(self, num: int, rng: np.random.Generator) -> np.ndarray:
        """Numbers of tokens; shape (num,)."""
        lengths = self.median * np.exp(self.sigma * rng.standard_normal(num))
        return np.clip(np.rint(lengths), self.min, self.max).astype(np.int64)
