"""Knows what will be needed: the bound on what any forecast is worth."""

from __future__ import annotations

import csv
import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from policies.errors import PolicyError
from policies.quiet import Quiet, just_before
from policies.registry import register
from policies.scaling.foresight import DEMAND, capacity_of_unit, decided, lead_of, units_of
from policies.scaling.options import bounded, require, require_bounds
from policies.view import ClusterView, PoolView, Target


def read_series(path: Path) -> tuple[list[float], list[float]]:
    """(times, values) of a CSV file with columns `time_s` and `value`.

    Raises:
        PolicyError: a file that isn't there or isn't such a one, by line and column.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            for column in ("time_s", "value"):
                if column not in (rows.fieldnames or ()):
                    raise PolicyError(f"{path}:1: column {column!r}: is needed")
            times_s: list[float] = []
            values: list[float] = []
            for row in rows:
                for column, numbers in (("time_s", times_s), ("value", values)):
                    try:
                        numbers.append(float(row[column]))
                    except (TypeError, ValueError):
                        where = f"{path}:{rows.line_num}: column {column!r}: {row[column]!r}"
                        raise PolicyError(f"{where}: must be a number") from None
    except OSError as error:
        raise PolicyError(f"oracle: path={path}: {error.strerror}") from None
    return times_s, values


@register("scaling", "oracle")
@dataclass
class Oracle:
    """Orders what the true load takes by the time that units ordered now are there, and keeps what it takes until then.

    The load must be given, so that knowing it can't go unnoticed: by `values` at `times_s`, by a file at `path` with
    columns `time_s` and `value`, or by whoever runs it (`reveal`). A value stands until the next one, the first also
    before it and the last for ever. It is in what `per_unit` counts (None: of a pool, GPUs). `lead_s` is how long
    units take to come (None: as the target says, else 300 s); looking is exact, at every change of the load between now
    and the coming of the next order.
    """

    knows_future: ClassVar[bool] = True

    path: str = ""
    times_s: Sequence[float] = field(default_factory=list)
    values: Sequence[float] = field(default_factory=list)
    per_unit: float | None = None
    lead_s: float | None = None
    min_units: int = 0
    max_units: int | None = None
    period_s: float = 60.0
    _times_s: list[float] = field(default_factory=list, init=False, repr=False, compare=False)
    _loads: np.ndarray = field(default_factory=lambda: np.empty(0), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rules = {
            "path": (self.path, not (self.path and len(self.values)), "must not be given beside values"),
            "per_unit": (self.per_unit, self.per_unit is None or self.per_unit > 0, "must be more than 0"),
            "lead_s": (self.lead_s, self.lead_s is None or self.lead_s >= 0, "must be 0 or more"),
            "period_s": (self.period_s, self.period_s > 0, "must be more than 0"),
        }
        require("oracle", rules)
        require_bounds("oracle", self.min_units, self.max_units)
        if len(self.values) or len(self.times_s):
            self.reveal(self.times_s, self.values)

    def reveal(self, times_s: Sequence[float], values: Sequence[float]) -> None:
        """The whole true load, by ascending time.

        Raises:
            PolicyError: not as many times as values, none, times that don't ascend, numbers that aren't finite.
        """
        loads = np.asarray(values, np.float64)
        if len(times_s) != loads.size or not loads.size:
            raise PolicyError(f"oracle: {len(times_s)} times and {loads.size} values: must be as many, 1 or more")
        if not (np.isfinite(loads).all() and np.isfinite(times_s).all()):
            raise PolicyError("oracle: times_s and values: must be finite")
        if (np.diff(times_s) <= 0).any():
            raise PolicyError("oracle: times_s: must ascend")
        self._times_s, self._loads = list(map(float, times_s)), loads

    def foresees(self, target: Target) -> str:
        """What it has to be told of: the demand of a pool, the requests of a service; nothing where it is told."""
        if self.path or self._times_s:
            return ""
        return DEMAND if isinstance(target, PoolView) else "request_rate_per_s"

    def desired(self, target: Target, view: ClusterView) -> int:
        if self.path and not self._times_s:
            self.reveal(*read_series(Path(self.path)))
        if not self._times_s:
            raise PolicyError("oracle: does not know the load: give path, times_s and values, or call reveal")
        per_unit = capacity_of_unit("oracle", target, None, self.per_unit)
        come_s = view.now_s + lead_of(target, self.lead_s)
        later = units_of(self._most(come_s, come_s + self.period_s), per_unit)
        until_then = units_of(self._most(view.now_s, come_s), per_unit)
        return bounded(decided(target.num_units, later, until_then), target, self.min_units, self.max_units)

    def quiet(self, target: Target, view: ClusterView) -> Quiet | None:
        """As long as the load stays as it is from now until all that could be ordered meanwhile is there."""
        end_s = lead_of(target, self.lead_s) + self.period_s
        now = bisect_right(self._times_s, view.now_s)
        if now != bisect_right(self._times_s, view.now_s + end_s):
            return None
        return Quiet(just_before(self._times_s[now] - end_s) if now < len(self._times_s) else math.inf)

    def _most(self, from_s: float, to_s: float) -> float:
        """The largest load from one time to another, the end excluded unless they are one."""
        first = max(bisect_right(self._times_s, from_s) - 1, 0)
        end = max(bisect_left(self._times_s, to_s), first + 1)
        return float(self._loads[first:end].max())
