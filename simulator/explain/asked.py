"""What scaling policies were asked, and what they answered, from the table decisions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from simulator.errors import RunError
from simulator.run import Run
from workloads.options import nearest

Step = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """A scaling policy was asked for one target, and this is what it said."""

    time_s: float
    target: str
    ready: int
    starting: int
    draining: int
    pending: int | None  # of those starting: wait for GPUs; None of a pool
    wanted: int
    count: int  # of what was wanted, within the target's bounds
    steps: Sequence[Step]

    @property
    def num_units(self) -> int:
        """What there was, or was on its way."""
        return self.ready + self.starting

    @property
    def change(self) -> int:
        return self.count - self.num_units

    @property
    def units(self) -> str:
        """What they are called."""
        return "nodes" if self.pending is None else "replicas"

    @property
    def holding(self) -> list[Step]:
        """The steps that kept the count; where it changed, only those that cut what was called for."""
        return [step for step in self.steps if step.get("holds") and (not self.change or "wanted" in step)]


class Explained:
    """All that was asked in a run.

    Raises:
        RunError: the run was not explained.
    """

    def __init__(self, run: Run) -> None:
        table = run.table("decisions")
        if "reasons" not in table.column_names:
            where = f"{run.folder}: " if run.folder else ""
            raise RunError(f"{where}no reasons were recorded: run it again with explain=true")
        self._time_s = table["time_s"].to_numpy()
        self._reasons: pa.ChunkedArray = table["reasons"]
        first = self._first()
        self.targets = [chain["target"] for chain in json.loads(first)] if first else []  # all are asked at first
        self._rows: dict[str, np.ndarray] = {}

    def _first(self) -> str | None:
        """The reasons that were recorded first."""
        rows = pc.is_valid(self._reasons).to_numpy().nonzero()[0]
        return self._reasons[int(rows[0])].as_py() if rows.size else None

    def check(self, target: str) -> None:
        """Raises RunError unless a policy was asked for a target of this name."""
        if target not in self.targets:
            raise RunError(f"target {target!r}: nobody scales it{nearest(target, self.targets)}")

    def at(self, target: str, time_s: float) -> Asked | None:
        """The last time it was asked for, at or before a time; None: not yet."""
        rows = self._rows_of(target)
        i = int(self._time_s[rows].searchsorted(time_s, "right"))
        return self._asked(int(rows[i - 1]), target) if i else None

    def after(self, target: str, time_s: float, until_s: float = np.inf) -> Iterator[Asked]:
        """Every time that it was asked for after a time (exclusive), in order, up to another (inclusive)."""
        rows = self._rows_of(target)
        times_s = self._time_s[rows]
        first, end = times_s.searchsorted(time_s, "right"), times_s.searchsorted(until_s, "right")
        return (self._asked(int(row), target) for row in rows[first:end])

    def _rows_of(self, target: str) -> np.ndarray:
        """The decisions at which it was asked for."""
        if target not in self._rows:
            named = f'{{"target":{json.dumps(target, ensure_ascii=False)},"ready":'
            found = pc.fill_null(pc.match_substring(self._reasons, named), False)
            self._rows[target] = found.to_numpy().nonzero()[0]
        return self._rows[target]

    def _asked(self, row: int, target: str) -> Asked:
        chains = json.loads(self._reasons[row].as_py())
        chain = next(chain for chain in chains if chain["target"] == target)
        return Asked(float(self._time_s[row]), pending=chain.pop("pending", None), **chain)
