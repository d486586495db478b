"""No jobs: a cluster that only serves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workloads.source import WorkloadSource
from workloads.trace import JobTable, ReadReport, Trace


@dataclass(kw_only=True)
class Nothing(WorkloadSource):
    """Nobody submits anything."""

    def read(self, rng: np.random.Generator) -> Trace:
        return Trace(JobTable.none(), ReadReport("no jobs"))

    def load(self, rng: np.random.Generator) -> Trace:
        """`read`: there is nothing to reshape."""
        return self.read(rng)
