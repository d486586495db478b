"""First in, first out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from policies.errors import PolicyError
from policies.job import Job
from policies.plan import Draft
from policies.registry import register
from policies.serving import gpus_on_closed, rank, start_in_order
from policies.view import ClusterView


@register("allocation", "fifo")
@dataclass
class Fifo:
    """Starts jobs whole in submit order, never preempts.

    `backfill` says what happens behind a job that does not fit: `false` stops there; `true` skips it, with no promise
    to it; `easy` (Lifka, "The ANL/IBM SP scheduling system", JSSPP 1995) reserves the earliest time at which it fits
    by the estimates, counting GPUs wherever they are, and starts later jobs only where they don't delay that.
    """

    idle_without_pending: ClassVar[bool] = True

    backfill: str = "false"

    def __post_init__(self) -> None:
        self.backfill = str(self.backfill).lower()
        if self.backfill not in ("false", "true", "easy"):
            raise PolicyError(f"fifo: backfill={self.backfill!r}: must be false, true or easy")

    def allocate(self, view: ClusterView, draft: Draft) -> None:
        if self.backfill != "easy":
            start_in_order(view.pending, draft, skip=self.backfill == "true")
            return
        queue = iter(view.pending)
        for head in queue:
            if not draft.give(head, head.num_gpus):
                self._backfill(head, queue, view, draft)
                return

    @staticmethod
    def _backfill(head: Job, queue: Iterator[Job], view: ClusterView, draft: Draft) -> None:
        """Starts jobs behind `head` that end before its reservation or leave enough GPUs beside it."""
        jobs, now_s = view.jobs, view.now_s
        gpus = draft.gpus_column()
        running = gpus.nonzero()[0]
        end_s = now_s + jobs.remaining_s[running]
        order = rank(end_s)
        frees = gpus[running]
        if view.nodes.closed_held_gpus:  # what ends on draining nodes frees nothing
            frees -= [gpus_on_closed(jobs[row], view) for row in running.tolist()]
        freed = draft.free_gpus + frees[order].cumsum()
        first = int(freed.searchsorted(head.num_gpus))
        if first == freed.size:
            return  # it fits at no time known now: nodes are to come, or it is larger than the cluster
        shadow_s = float(end_s[order[first]])
        spare = int(freed[int(end_s[order].searchsorted(shadow_s, "right")) - 1]) - head.num_gpus
        for job in queue:
            if draft.free_gpus <= 0:
                return
            ends_in_time = now_s + job.remaining_s <= shadow_s
            if (ends_in_time or job.num_gpus <= spare) and draft.give(job, job.num_gpus) and not ends_in_time:
                spare -= job.num_gpus
