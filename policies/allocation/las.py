"""Least attained service: run time need not be known."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from policies.errors import PolicyError
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
    _forgiven: np.ndarray = field(default_factory=lambda: np.zeros(0), init=False, repr=False, compare=False)

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
        jobs = view.jobs
        if not len(jobs):
            return
        held = jobs.gpus_held
        by_time = self.service == "seconds"
        attained = jobs.executed_s if by_time else jobs.attained_service_gpu_s
        seq = jobs.seq
        self._grow(int(seq[-1]))
        if self.promote_factor:
            attained = self._promote(view, attained)
        queue = np.searchsorted(self.limits, attained, "right").astype(np.int8)

        rows = self._order.rows(view)
        moved = queue != self._queue_of[seq]
        if moved.any():
            rows = self._to_the_end(rows, moved, queue, attained, np.ones_like(attained) if by_time else held)
            self._queue_of[seq] = queue
        rows = rows[queue[rows].argsort(kind="stable")]  # 8-bit integers: the stable sort is linear
        serve_in_order(view, draft, rows)

        runs = draft.gpus_column()
        waiting = 2 * queue + (runs == 0)
        self._order.keep(rows[waiting[rows].argsort(kind="stable")])
        demotable = ((runs > 0) & (queue < len(self.limits))).nonzero()[0]
        if demotable.size:
            left = np.asarray(self.limits)[queue[demotable]] - attained[demotable]
            wait_s = float((left if by_time else left / runs[demotable]).min())
            self._wake(view, draft, view.now_s + wait_s)
        if self.promote_factor:
            starving = (runs == 0) & (queue > 0) & (jobs.executed_s > 0)
            since_s = np.where(held > 0, view.now_s, jobs.last_change_s)
            due_s = (since_s + self.promote_factor * jobs.executed_s)[starving]
            if due_s.size:
                self._wake(view, draft, float(due_s.min()))

    @staticmethod
    def _wake(view: ClusterView, draft: Draft, time_s: float) -> None:
        """Asks for a decision then, or where rounding puts that at now, at the next number."""
        draft.wake_at(max(time_s, math.nextafter(view.now_s, math.inf)))

    def _to_the_end(
        self, rows: np.ndarray, moved: np.ndarray, queue: np.ndarray, attained: np.ndarray, speed: np.ndarray
    ) -> np.ndarray:
        """Demoted jobs go behind all others, in the order of the times at which they crossed their limit."""
        demoted = rows[moved[rows]]
        entered = np.concatenate(([0.0], self.limits))[queue[demoted]]
        since_s = (attained[demoted] - entered) / np.maximum(speed[demoted], 1)
        demoted = demoted[(-since_s).argsort(kind="stable")]
        return np.concatenate((rows[~moved[rows]], demoted))

    def _promote(self, view: ClusterView, attained: np.ndarray) -> np.ndarray:
        """Attained service less what starved jobs have been forgiven; shape (J,)."""
        jobs, seq = view.jobs, view.jobs.seq
        waited_s = np.where(jobs.gpus_held == 0, view.now_s - jobs.last_change_s, 0.0)
        starved = (waited_s > 0) & (jobs.executed_s > 0) & (waited_s >= self.promote_factor * jobs.executed_s)
        self._forgiven[seq[starved]] = attained[starved]
        counted: np.ndarray = attained - self._forgiven[seq]
        return counted

    def _grow(self, last: int) -> None:
        if last >= self._queue_of.size:
            for name in ("_queue_of", "_forgiven"):
                old = getattr(self, name)
                new = np.zeros(2 * last + 1024, old.dtype)
                new[: old.size] = old
                setattr(self, name, new)
