"""How many nodes a run had: what its scaling policy came to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simulator.run import Run
from simulator.timeline import Steps


@dataclass(frozen=True)
class NodeCounts:
    """Nodes of one run.

    Args:
        first: there from second 0 on.
        ordered: beside those.
        mean: ready or draining, over the time from 0 to the end; nan of a run that took none.
        most: the same, at once.
        took_s: from the order of a node until it was ready, a mean over those that were ordered and came; nan of none.
    """

    first: int
    ordered: int
    mean: float
    most: int
    took_s: float

    @classmethod
    def of(cls, run: Run) -> NodeCounts:
        """From the table nodes."""
        nodes, end_s = run.columns("nodes", "ordered_s", "ready_s", "terminated_s"), float(run.facts["end_s"])
        is_first = (nodes["ordered_s"] == 0) & (nodes["ready_s"] == 0)
        came = nodes["ready_s"] < nodes["terminated_s"]
        ones = np.ones(int(came.sum()))
        times_s = np.concatenate([nodes["ready_s"][came], nodes["terminated_s"][came]])
        there = Steps.of(times_s, np.concatenate([ones, -ones]))
        mean = there.integral(0.0, end_s) / end_s if end_s else math.nan
        took_s = (nodes["ready_s"] - nodes["ordered_s"])[came & ~is_first]
        return cls(
            int(is_first.sum()),
            int((~is_first).sum()),
            mean,
            int(there.max(math.inf)),
            float(took_s.mean()) if took_s.size else math.nan,
        )
