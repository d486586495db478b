"""The largest demand first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from policies.plan import Draft
from policies.registry import register
from policies.serving import rank, start_in_order
from policies.view import ClusterView


@register("allocation", "greedy")
@dataclass
class Greedy:
    """Starts the waiting job that asks for the most GPUs first, ties by submit order; never preempts.

    `backfill` says whether jobs behind one that does not fit may start: without it the largest waits for its GPUs
    and everything waits behind it.
    """

    idle_without_pending: ClassVar[bool] = True

    backfill: bool = True

    def allocate(self, view: ClusterView, draft: Draft) -> None:
        if draft.free_gpus > 0:
            jobs = view.jobs
            rows = (jobs.gpus_held == 0).nonzero()[0]
            order = rows[rank(-jobs.num_gpus[rows])]
            start_in_order((jobs[row] for row in order.tolist()), draft, self.backfill)
