"""Least attained service: run time need not be known."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import ClassVar

import numpy as np

from policies.errors import PolicyError
from policies.job import Job
from policies.plan import Draft
from policies.registry import register
from policies.serving import KeptOrder, serve_in_order
from policies.view import ClusterView


@register("allocation", "las")
@dataclass
class Las:
    """Queues by attained service, served in order, preemptive (Gu et al., "Tiresias", NSDI 2019, section 3.2).

    A job moves to the end of the next queue when the service that it has attained reaches its queue's limit. Inside a
    queue the jobs that ran since the last decision come first, then those that waited, each in their old order. What
    does not fit is skipped.

    `limits`: the queues' upper limits, ascending; the last queue has none. `service`: whether they count `seconds`
    executed or `gpu_seconds` (Tiresias's 2D-LAS). `promote_factor` k (0: never): a job that has waited since its last
    run for k times as long as it has executed goes back to the first queue, its service counted from there
    (Tiresias's starvation guard).
    """

    idle_without_pending: ClassVar[bool] = True

    limits: list[float] = field(default_factory=lambda: [3600.0])
    service: str = "gpu_seconds"
    promote_factor: float = 0.0
    _order: KeptOrder = field(default_factory=KeptOrder, init=False, repr=False, compare=False)
    _queue_of: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int8), init=False, repr=False, compare=False)
    _forgiven: dict[int, float] = field(default_factory=dict, init=False, repr=False, compare=False)  # by seq
    # When running jobs reach their queue's limit: (time_s, seq, since_s of the job, job). Of several for one job the
    # one that `_due_s` has counts.
    _crossings: list[tuple[float, int, float, Job]] = field(default_factory=list, init=False, repr=False, compare=False)
    _due_s: dict[int, float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.limits = [float(limit) for limit in self.limits]
        if any(low >= high for low, high in zip([0.0, *self.limits], self.limits, strict=False)):
            raise PolicyError(f"las: limits={self.limits}: must be more than 0 and ascending")
        if len(self.limits) > 60:
            raise PolicyError(f"las: {len(self.limits)} limits: at most 60")
        if self.service not in ("seconds", "gpu_seconds"):
            raise PolicyError(f"las: service={self.service!r}: must be seconds or gpu_seconds")
        if not self.promote_factor >= 0:
            raise PolicyError(f"las: promote_factor={self.promote_factor}: must be 0 (never) or more")

    def allocate(self, view: ClusterView, draft: Draft) -> None:
        jobs, held = view.jobs, view.jobs.gpus_held
        if not held.size:
            return
        rows = self._order.rows(view)
        self._meet(view, rows[rows.size - self._order.num_new :])
        moved = self._demote(view)
        if self.promote_factor:
            moved += self._promote(view)
        behind = held == 0  # inside its queue: what waited since the last decision, and what has just come to it
        if moved:
            last = np.array([jobs.row(job) for job in moved])
            behind[last] = True
            stays = np.ones(rows.size, bool)
            stays[last] = False
            rows = np.concatenate((rows[stays[rows]], last))
        place = 2 * self._queue_of[jobs.seq] + behind
        rows = rows[place[rows].argsort(kind="stable")]  # of 8-bit integers: linear
        self._order.keep(rows)
        serve_in_order(view, draft, rows)

        for job, gpus in draft.changes():
            if gpus:
                self._expect(job, view.now_s, view.now_s, gpus)
            else:
                self._due_s.pop(job.seq, None)
        while self._crossings and self._is_stale(self._crossings[0], view.now_s):
            heappop(self._crossings)
        if self._crossings:
            self._wake(view, draft, self._crossings[0][0])
        if self.promote_factor:
            self._wake_for_starving(view, draft)

    def _meet(self, view: ClusterView, rows: np.ndarray) -> None:
        """Puts jobs seen for the first time into their queues; usually the first, but they may have run before."""
        for row in rows.tolist():
            job = view.jobs[row]
            if job.seq >= self._queue_of.size:
                self._queue_of = np.concatenate((self._queue_of, np.zeros(job.seq + 1024, np.int8)))
            if job.attained_service_gpu_s:
                self._queue_of[job.seq] = bisect_right(self.limits, self._counted(job))
                if job.gpus_held:
                    self._expect(job, view.now_s, job.since_s, job.gpus_held)

    def _counted(self, job: Job) -> float:
        """The service that a job's queue goes by: what it has attained, less what it has been forgiven."""
        attained = job.executed_s if self.service == "seconds" else job.attained_service_gpu_s
        return attained - self._forgiven.get(job.seq, 0.0)

    def _expect(self, job: Job, now_s: float, since_s: float, gpus: int) -> None:
        """Notes when a job that runs on `gpus` GPUs since `since_s` reaches its queue's limit."""
        queue = int(self._queue_of[job.seq])
        if queue < len(self.limits):
            left = self.limits[queue] - self._counted(job)
            time_s = now_s + (left if self.service == "seconds" else left / gpus)
            heappush(self._crossings, (time_s, job.seq, since_s, job))
            self._due_s[job.seq] = time_s

    def _is_stale(self, crossing: tuple[float, int, float, Job], now_s: float) -> bool:
        """True if another crossing counts for the job, or none: it has left."""
        time_s, seq, since_s, job = crossing
        return self._due_s.get(seq) != time_s or not (job.gpus_held or since_s == now_s)

    def _demote(self, view: ClusterView) -> list[Job]:
        """Moves jobs that have reached their limit down; in the order in which they did."""
        moved, now_s = [], view.now_s
        while self._crossings and self._crossings[0][0] <= now_s:
            time_s, seq, since_s, job = heappop(self._crossings)
            if self._due_s.get(seq) != time_s:
                continue
            del self._due_s[seq]
            if job.gpus_held and job in view.jobs:
                if job.since_s == since_s:
                    self._queue_of[seq] += 1
                    moved.append(job)
                self._expect(job, now_s, job.since_s, job.gpus_held)  # else it started later than planned
        return list(dict.fromkeys(moved))

    def _promote(self, view: ClusterView) -> list[Job]:
        """Moves starved jobs back to the first queue, forgiving what they have attained."""
        jobs = view.jobs
        waited_s = np.where(jobs.gpus_held == 0, view.now_s - jobs.last_change_s, 0.0)
        starved = (waited_s > 0) & (jobs.executed_s > 0) & (waited_s >= self.promote_factor * jobs.executed_s)
        moved = [job for job in (jobs[row] for row in starved.nonzero()[0].tolist()) if self._queue_of[job.seq]]
        for job in moved:
            self._forgiven[job.seq] = self._forgiven.get(job.seq, 0.0) + self._counted(job)
            self._queue_of[job.seq] = 0
        return moved

    def _wake_for_starving(self, view: ClusterView, draft: Draft) -> None:
        jobs, runs = view.jobs, draft.gpus_column()
        starving = (runs == 0) & (self._queue_of[jobs.seq] > 0) & (jobs.executed_s > 0)
        since_s = np.where(jobs.gpus_held > 0, view.now_s, jobs.last_change_s)
        due_s = (since_s + self.promote_factor * jobs.executed_s)[starving]
        if due_s.size:
            self._wake(view, draft, float(due_s.min()))

    @staticmethod
    def _wake(view: ClusterView, draft: Draft, time_s: float) -> None:
        """Asks for a decision then, or where rounding puts that at now, at the next number."""
        draft.wake_at(max(time_s, math.nextafter(view.now_s, math.inf)))
