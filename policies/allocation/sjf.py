"""Shortest job first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.plan import Draft
from policies.registry import register
from policies.serving import rank, start_in_order
from policies.view import ClusterView


@register("allocation", "sjf")
@dataclass
class Sjf:
    """Starts the waiting job with the shortest estimated run time first, ties by submit order; never preempts.

    `backfill` says whether jobs behind one that does not fit may start.
    """

    idle_without_pending: ClassVar[bool] = True

    backfill: bool = False

    def allocate(self, view: ClusterView, draft: Draft) -> None:
        if draft.free_gpus > 0:
            jobs = view.jobs
            rows = (jobs.gpus_held == 0).nonzero()[0]
            order = rows[rank(jobs.remaining_s[rows])]
            start_in_order((jobs[row] for row in order.tolist()), draft, self.backfill)
