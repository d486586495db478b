"""How long a replica takes for a request, where that doesn't depend on what else it does."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from workloads.errors import WorkloadError

DISTRIBUTIONS = ("exponential", "constant", "lognormal", "gamma")
WITH_CV = ("lognormal", "gamma")  # the others' is 1, or 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTimes:
    """Independent draws of a mean, and for `lognormal` and `gamma` a coefficient of variation."""

    mean_s: float = 0.1
    distribution: str = "exponential"  # exponential | constant | lognormal | gamma
    cv: float = 1.0

    def __post_init__(self) -> None:
        rules = {
            "mean_s": (0 < self.mean_s < math.inf, "must be more than 0"),
            "distribution": (self.distribution in DISTRIBUTIONS, f"must be one of {', '.join(DISTRIBUTIONS)}"),
            "cv": (0 < self.cv < math.inf, "must be more than 0"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise WorkloadError(f"{name}={getattr(self, name)}: {rule}")
        if self.cv != 1 and self.distribution not in WITH_CV:
            raise WorkloadError(f"cv={self.cv}: is not used with distribution={self.distribution}")

    def draw(self, num: int, rng: np.random.Generator) -> np.ndarray:
        """Seconds; shape (num,)."""
        if self.distribution == "constant":
            return np.full(num, self.mean_s)
        if self.distribution == "exponential":
            return rng.standard_exponential(num) * self.mean_s
        if self.distribution == "gamma":
            shape = 1.0 / self.cv**2
            return rng.standard_gamma(shape, num) * (self.mean_s / shape)
        sigma = math.sqrt(math.log1p(self.cv**2))
        return self.mean_s * np.exp(sigma * rng.standard_normal(num) - 0.5 * sigma * sigma)
