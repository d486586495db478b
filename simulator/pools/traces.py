"""Traces of what befalls nodes: when they failed, how many spot machines could be had, and for how much."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simulator.catalogue.rows import read_cells
from workloads.errors import TraceError

_WHETHER: Mapping[str, Mapping[float, float]] = {  # how many machines can be had, where `data` says whether any can
    "preempted": {0.0: math.inf, 1.0: 0.0},
    "launched": {0.0: 0.0, 1.0: math.inf},
}


@dataclass(frozen=True, slots=True)
class FailureTrace:
    """Failures, by time: `node[i]` of the pool's nodes, by age, fails at `time_s[i]`."""

    time_s: Sequence[float]
    node: Sequence[int]


@dataclass(frozen=True, slots=True)
class Market:
    """Stretches of `gap_s` each, from 0 on and over again: machines that can be had, and what one costs an hour."""

    gap_s: float
    available: tuple[float, ...]  # inf: as many as one likes
    usd_per_h: tuple[float, ...] = ()  # empty: the pool's price

    def available_at(self, time_s: float) -> float:
        """How many can be had, by all that hold one together."""
        return self._at(self._stretch(time_s))[0]

    def price_at(self, time_s: float) -> float | None:
        """What a machine costs an hour; None: the pool's price."""
        return self._at(self._stretch(time_s))[1]

    def next_change_s(self, time_s: float) -> float:
        """When the next stretch begins in which another number can be had, or at another price; inf: never."""
        now, size = self._stretch(time_s), len(self.available)
        here = self._at(now)
        ahead = next((k for k in range(1, size + 1) if self._at(now + k) != here), None)
        return math.inf if ahead is None else (now + ahead) * self.gap_s

    def _at(self, stretch: int) -> tuple[float, float | None]:
        place = stretch % len(self.available)
        return self.available[place], self.usd_per_h[place] if self.usd_per_h else None

    def _stretch(self, time_s: float) -> int:
        """Which one a time lies in; that at which one begins is its own, however the quotient is rounded."""
        return int(time_s / self.gap_s + 1e-9)

    def usd(self, start_s: float, end_s: float) -> float:
        """What one machine costs from `start_s` to `end_s`, by the instant: the integral of its price."""
        return self._usd_until(end_s) - self._usd_until(start_s)

    def _usd_until(self, time_s: float) -> float:
        prices = np.asarray(self.usd_per_h)
        stretches, rest_s = divmod(time_s, self.gap_s)
        rounds, index = divmod(int(stretches), prices.size)
        whole_h = (rounds * prices.sum() + prices[:index].sum()) * self.gap_s / 3600.0
        return float(whole_h + prices[index] * rest_s / 3600.0)


def read_failures(path: str) -> FailureTrace:
    """A CSV file with the columns time_s and node.

    Raises:
        TraceError: a file that can't be read, a column that is missing, or a value that can't be.
    """
    times, nodes = [], []
    for line, cells in read_cells(_text(path), path):
        for column in ("time_s", "node"):
            if column not in cells:
                raise TraceError(f"is missing (the file has {', '.join(cells)})", path=path, line=1, column=column)
        times.append(_number(cells["time_s"], "must be a number of seconds, 0 or more", path, line, "time_s"))
        node = _number(cells["node"], rule := "must be a whole number, 0 or more", path, line, "node")
        if node != int(node):
            raise TraceError(rule, path=path, line=line, column="node", value=cells["node"])
        nodes.append(int(node))
    order = np.argsort(times, kind="stable")
    return FailureTrace([times[i] for i in order], [nodes[i] for i in order])


def read_market(path: str, means: str = "available") -> Market:
    """SkyPilot's spot traces: a JSON object of `metadata.gap_seconds`, `data` and perhaps `prices` (USD an hour).

    Args:
        means: of `data`; see `Spot`.

    Raises:
        TraceError: a file that can't be read or isn't of this form.
    """
    try:
        found = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise TraceError(f"is no JSON: {error.msg}", path=path, line=error.lineno) from None
    if not isinstance(found, dict) or not isinstance(found.get("metadata"), dict):
        raise TraceError("must be an object with metadata, data and perhaps prices", path=path)
    gap_s = found["metadata"].get("gap_seconds")
    if isinstance(gap_s, bool) or not isinstance(gap_s, int | float) or not 0 < gap_s < math.inf:
        raise TraceError(
            "must be a number of seconds, more than 0", path=path, column="metadata.gap_seconds", value=gap_s
        )
    data = _numbers(found.get("data"), path, "data")
    if means in _WHETHER:
        for index, value in enumerate(data):
            if value not in _WHETHER[means]:
                rule = f"must be 0 or 1 (1: {means}); with cluster.spot.means=available it may be any number"
                raise TraceError(rule, path=path, column=f"data[{index}]", value=value)
        data = [_WHETHER[means][value] for value in data]
    prices = _numbers(found["prices"], path, "prices") if found.get("prices") is not None else []
    if prices and len(prices) != len(data):
        raise TraceError(
            f"must have as many entries as data: {len(data)}", path=path, column="prices", value=len(prices)
        )
    return Market(float(gap_s), tuple(data), tuple(prices))


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"can't be read: {getattr(error, 'strerror', None) or error}", path=path) from None


def _numbers(values: Any, path: str, column: str) -> list[float]:
    if not isinstance(values, list) or not values:
        raise TraceError("must be a list of numbers, and not empty", path=path, column=column)
    for index, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise TraceError("must be a number, 0 or more", path=path, column=f"{column}[{index}]", value=value)
    return [float(value) for value in values]


def _number(cell: str, rule: str, path: str, line: int, column: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise TraceError(rule, path=path, line=line, column=column, value=cell)
    return value
