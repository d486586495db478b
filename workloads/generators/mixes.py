"""Weighted choices: GPU counts, models, tenants, priorities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workloads.generators.require import require


def draw_codes(name: str, weights: Sequence[float], num_values: int, num: int, rng: np.random.Generator) -> np.ndarray:
    """`num` indices in 0..num_values−1, with chances proportional to `weights`; shape (num,).

    Args:
        name: the option that holds the weights, for messages.
        weights: one a value; empty: all alike.
    """
    given = list(weights)
    require(len(given) in (0, num_values), name, given, f"must have one entry a value ({num_values}), or none at all")
    good = all(0 <= weight < np.inf for weight in given) and (not given or sum(given) > 0)
    require(good, name, given, "must be 0 or more, one of them above 0")
    chance = np.asarray(given or [1.0] * num_values, np.float64)
    return rng.choice(num_values, num, p=chance / chance.sum())


def zipf_weights(num_values: int, exponent: float) -> list[float]:
    """Zipf's law: the k-th value has weight k^−exponent; exponent 0 makes all alike."""
    return [float(k**-exponent) for k in range(1, num_values + 1)]
