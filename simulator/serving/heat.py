"""Latencies by when their requests came: counts in coarse bins, a row a minute."""

from __future__ import annotations

import numpy as np

from simulator.serving.histogram import NUM_BINS, bins_of, middles_s

HEAT_S = 60.0
_COARSE = 8  # bins of the histogram in one of these: 17% wide
HEAT_BINS = -(-NUM_BINS // _COARSE)


class HeatMap:
    """Counts by minute of arrival and bin of latency; grows as time goes on."""

    __slots__ = ("_counts", "_num_rows")

    def __init__(self) -> None:
        self._counts = np.zeros((64, HEAT_BINS), np.int32)
        self._num_rows = 0

    def add(self, arrival_s: np.ndarray, latency_s: np.ndarray) -> None:
        """Takes some in. What comes together came within minutes of each other: only their rows are touched."""
        if not len(arrival_s):
            return
        row = (arrival_s / HEAT_S).astype(np.int64)
        first, end = int(row.min()), int(row.max()) + 1
        if end > len(self._counts):
            more = np.zeros((max(end, 2 * len(self._counts)) - len(self._counts), HEAT_BINS), np.int32)
            self._counts = np.concatenate([self._counts, more])
        cell = (row - first) * HEAT_BINS + bins_of(latency_s) // _COARSE
        counts = np.bincount(cell, minlength=(end - first) * HEAT_BINS)
        self._counts[first:end] += counts.reshape(-1, HEAT_BINS)
        self._num_rows = max(self._num_rows, end)

    @property
    def counts(self) -> np.ndarray:
        """By minute of arrival, and bin; shape (M, HEAT_BINS)."""
        return self._counts[: self._num_rows]


def heat_edges_s() -> np.ndarray:
    """Where each bin begins, and the last ends; seconds, shape (HEAT_BINS + 1,)."""
    middles = middles_s()
    ratio = middles[1] / middles[0]
    return middles[0] * ratio ** (_COARSE * np.arange(HEAT_BINS + 1) - 0.5)


def heat_middles_s() -> np.ndarray:
    """The middle of each bin, seconds; shape (HEAT_BINS,)."""
    edges = heat_edges_s()
    return np.sqrt(edges[:-1] * edges[1:])
