"""Jobs arriving: one source streams the whole trace."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from policies import JobsView
from simulator.clock import ARRIVAL, Call, Clock
from simulator.cluster import Cluster
from simulator.progress import SimJob
from workloads import JobTable
from workloads.estimates import Estimator

_CHUNK = 8192


def jobs_of(
    table: JobTable, view: JobsView, estimate_s: np.ndarray | None, skip: frozenset[int], make: type[SimJob] = SimJob
) -> Iterator[SimJob]:
    """The jobs of a trace in submit order, made one at a time, so that a million of them need no memory."""
    for begin in range(0, len(table), _CHUNK):
        rows = slice(begin, begin + _CHUNK)
        columns = [c[rows].tolist() for c in (table.submit_s, table.num_gpus, table.min_gpus, table.max_gpus)]
        duration_s = table.duration_s[rows].tolist()
        known_s = estimate_s[rows].tolist() if estimate_s is not None else [math.nan] * len(duration_s)
        for row, values in enumerate(zip(*columns, known_s, duration_s, strict=True), begin):
            if row not in skip:
                yield make(view, row, *values)


class Arrivals:
    """Submits jobs at their times; those of one instant together, ahead of that instant's decision.

    Args:
        skip: rows that never arrive here (rejected, or done before a restart).
        make: what becomes of a row.
    """

    def __init__(
        self,
        clock: Clock,
        cluster: Cluster,
        table: JobTable,
        view: JobsView,
        estimator: Estimator,
        skip: frozenset[int],
        make: type[SimJob] = SimJob,
    ) -> None:
        self._clock, self._cluster, self._table, self._estimator = clock, cluster, table, estimator
        known_s = estimator.estimate_all(table)
        self.learns = known_s is None
        self._jobs = jobs_of(table, view, known_s, skip, make)
        self._next = next(self._jobs, None)
        self._call = Call(self._arrive)
        self.num_submitted = 0
        self.last_s = 0.0  # when the last one came
        if self._next:
            clock.call_at(self._next.submit_s, self._call, ARRIVAL)

    @property
    def is_over(self) -> bool:
        """True once every job has been submitted."""
        return self._next is None

    def submit_due(self) -> None:
        """Submits all jobs whose time has come."""
        now_s, job, submit = self._clock._now, self._next, self._cluster.submit
        while job is not None and job.submit_s <= now_s:
            if self.learns:
                job.left_at_anchor_s = self._estimator.estimate_s(self._table, job.row)
            submit(job)
            self.num_submitted += 1
            job = next(self._jobs, None)
        self._next, self.last_s = job, now_s

    def _arrive(self) -> None:
        self.submit_due()
        if self._next is not None:
            self._clock.call_at(self._next.submit_s, self._call, ARRIVAL)
        self._cluster.request_decision()
