"""A reading averaged over the time just past: exact integrals of what held when."""

from __future__ import annotations

import math
from collections import deque

from simulator.readings import AGE_COLUMN, Pools, Reading


class Window:
    """The time-weighted mean of readings over the last `window_s`; at first, over what there has been.

    Each reading holds until the next one; the age of the queue grows meanwhile. Two alike in a row are one, so that
    the mean does not depend on how often it is told the same.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._readings: deque[tuple[float, Reading]] = deque()  # since when each has held

    def add(self, since_s: float, reading: Reading) -> None:
        """From `since_s` on this is how it is; a later one of the same instant takes its place."""
        readings = self._readings
        if readings and readings[-1][0] == since_s:
            readings.pop()
        if not readings or readings[-1][1] != reading:
            readings.append((since_s, reading))

    def mean(self, at_s: float) -> Pools:
        """The values of each pool over the window that ends at `at_s`; time doesn't go back."""
        readings, begin_s = self._readings, at_s - self._window_s
        while len(readings) > 1 and readings[1][0] <= begin_s:
            readings.popleft()
        begin_s = max(begin_s, readings[0][0])
        if begin_s >= at_s:
            return readings[-1][1].at(at_s)
        ends_s = [*[since_s for since_s, _ in readings][1:], at_s]
        sums = [[0.0] * len(values) for values in readings[0][1].pools]
        for (since_s, reading), end_s in zip(readings, ends_s, strict=True):
            from_s = max(since_s, begin_s)
            weight = (end_s - from_s) / (at_s - begin_s)
            age_s = 0.0 if math.isnan(reading.head_s) else 0.5 * (from_s + end_s) - reading.head_s
            for total, values in zip(sums, reading.pools, strict=True):
                for index, value in enumerate(values):
                    total[index] += weight * (age_s if index == AGE_COLUMN else value)
        return tuple(map(tuple, sums))
