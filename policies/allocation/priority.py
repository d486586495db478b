"""Strict priority."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from policies.plan import Draft
from policies.registry import register
from policies.serving import rank, serve_in_order, start_in_order
from policies.view import ClusterView


@register("allocation", "priority")
@dataclass
class Priority:
    """The highest priority first, ties by submit order; whole gangs.

    With `preemptive` a job takes GPUs from running jobs of lower priority (only of lower priority: among equals who
    runs stays). `backfill` says whether jobs behind one that does not fit may start.
    """

    idle_without_pending: ClassVar[bool] = True

    preemptive: bool = True
    backfill: bool = False

    def allocate(self, view: ClusterView, draft: Draft) -> None:
        jobs = view.jobs
        if not self.preemptive:
            rows = (jobs.gpus_held == 0).nonzero()[0]
            order = rows[rank(-jobs.priority[rows])]
            start_in_order((jobs[row] for row in order.tolist()), draft, self.backfill)
            return
        waiting = jobs.gpus_held == 0
        serve_in_order(view, draft, np.lexsort((waiting, -jobs.priority)), self.backfill)
