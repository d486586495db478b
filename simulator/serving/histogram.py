"""Latencies as counts in bins 2% wide: percentiles of any number of requests in a few kilobytes."""

from __future__ import annotations

import math

import numpy as np

_RATIO = 1.02
_LEAST_S, _MOST_S = 1e-6, 1e7  # what is less, or more, counts as that
_SCALE = 1.0 / math.log(_RATIO)
NUM_BINS = math.ceil(math.log(_MOST_S / _LEAST_S) * _SCALE) + 1


class LatencyHistogram:
    """Counts by bin; bin k holds what lies within 1% of `_LEAST_S` · 1.02ᵏ, so that a percentile is off by 1% at most.

    Mean, least and most are exact.
    """

    __slots__ = ("counts", "max_s", "num", "total_s")

    def __init__(self) -> None:
        self.counts = np.zeros(NUM_BINS, np.int64)
        self.num = 0
        self.total_s = 0.0
        self.max_s = 0.0

    def add(self, latency_s: np.ndarray) -> None:
        """Takes some in; seconds, 0 or more."""
        if not len(latency_s):
            return
        self.counts += np.bincount(bins_of(latency_s), minlength=NUM_BINS)
        self.num += len(latency_s)
        self.total_s += float(latency_s.sum())
        self.max_s = max(self.max_s, float(latency_s.max()))

    def merge(self, other: LatencyHistogram) -> None:
        """Takes in all that another has."""
        self.counts += other.counts
        self.num += other.num
        self.total_s += other.total_s
        self.max_s = max(self.max_s, other.max_s)

    @property
    def mean_s(self) -> float:
        """nan of nothing."""
        return self.total_s / self.num if self.num else math.nan

    def quantile_s(self, share: float) -> float:
        """What this share of all lies at or below, within 1%; nan of nothing."""
        if not self.num:
            return math.nan
        rank = max(1, math.ceil(share * self.num))
        return min(float(middles_s()[int(np.searchsorted(self.counts.cumsum(), rank))]), self.max_s)

    def share_within(self, limit_s: float) -> float:
        """The share of all that takes at most so long, to one bin; nan of nothing."""
        if not self.num:
            return math.nan
        if limit_s >= self.max_s:
            return 1.0
        return float(self.counts[: int(bins_of(np.array([limit_s]))[0]) + 1].sum()) / self.num


def bins_of(latency_s: np.ndarray) -> np.ndarray:
    """The bin of each; same shape."""
    clipped = np.clip(latency_s, _LEAST_S, _MOST_S)
    return np.rint(np.log(clipped / _LEAST_S) * _SCALE).astype(np.int64)


def middles_s() -> np.ndarray:
    """The middle of each bin, seconds; shape (NUM_BINS,)."""
    return _LEAST_S * np.exp(np.arange(NUM_BINS) / _SCALE)
