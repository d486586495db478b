"""Where a time lies in a period, as numbers that a linear model can use."""

from __future__ import annotations

import numpy as np

WEEK_S = 604800.0
HARMONICS = 3  # of each period


def calendar(times_s: np.ndarray, *periods_s: float) -> np.ndarray:
    """Sines, then cosines, of `HARMONICS` waves of each period; shape (N, 2 HARMONICS times the number of periods)."""
    per_s = np.concatenate([np.arange(1, HARMONICS + 1) / period_s for period_s in periods_s])
    angles = 2 * np.pi * (np.multiply.outer(times_s, per_s) % 1.0)
    return np.concatenate((np.sin(angles), np.cos(angles)), axis=1)
