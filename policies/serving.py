"""Serving jobs in an order: what the queue policies share.

Each published scheduler sorts, walks and places gangs whole; they differ in the key, in what ties do, and in whether
the walk skips a job that does not fit or stops at it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from policies.job import Job
from policies.plan import Draft
from policies.view import ClusterView


def rank(key: np.ndarray) -> np.ndarray:
    """Rows by ascending key, ties in row order; shape (J,).

    The quick sort is not stable, and its ties differ between processors: a stable one follows where keys tie.
    """
    order = key.argsort()
    ranked = key[order]
    return order if (ranked[1:] > ranked[:-1]).all() else key.argsort(kind="stable")


def is_sorted(values: np.ndarray) -> bool:
    """True if no value is less than the one before it."""
    return not np.count_nonzero(values[1:] < values[:-1])


class KeptOrder:
    """An order of the active jobs that lasts from decision to decision.

    Jobs that left are gone from it, new ones stand at its end in submit order. Sorting it stably by a key makes ties
    keep their previous order, as in schedulers that keep one list and sort it in place.
    """

    def __init__(self) -> None:
        self._rows: np.ndarray = np.zeros(0, np.int64)  # in order
        self._seen = 0  # departures that `_rows` knows of
        self.num_new = 0  # jobs at the end that the last call of `rows` met for the first time

    def rows(self, view: ClusterView) -> np.ndarray:
        """The rows of the active jobs in the kept order; shape (J,)."""
        jobs, rows = view.jobs, self._rows
        departures = jobs.departures()
        for row in departures[self._seen :]:
            if row < rows.size:  # else it came and went since
                place = int((rows == row).argmax())
                rows[place:-1] = rows[place + 1 :]
                rows = rows[:-1]
                rows -= rows > row
        self._seen = len(departures)
        self.num_new = len(jobs) - rows.size
        if self.num_new:
            rows = np.concatenate((rows, np.arange(rows.size, len(jobs))))
        self._rows = rows
        return rows

    def keep(self, rows: np.ndarray) -> None:
        """Makes these rows, all of them in a new order, the kept order."""
        self._rows = rows

    def sort(self, view: ClusterView, key: np.ndarray) -> np.ndarray:
        """Sorts the kept order by a key (J,), ties as they were; returns its rows."""
        rows = self.rows(view)
        ordered = key[rows]
        if not is_sorted(ordered):
            rows = self._rows = rows[ordered.argsort(kind="stable")]
        return rows


def first_fit(order: np.ndarray, want: np.ndarray, capacity: int) -> np.ndarray:
    """Grants `want` whole, in `order`, skipping what does not fit; shape (J,).

    The readable form is a loop `if want <= capacity: grant; capacity -= want`; here a cumulative sum grants all of a
    stretch that fits at once.
    """
    grant = np.zeros(want.size, np.int64)
    wanted = want[order]
    while order.size:
        total = wanted.cumsum()
        fits = int(total.searchsorted(capacity, "right"))
        if fits:
            grant[order[:fits]] = wanted[:fits]
            capacity -= int(total[fits - 1])
        if capacity <= 0:
            break
        rest = (wanted[fits:] <= capacity).nonzero()[0]
        if not rest.size:
            break
        order, wanted = order[fits:][rest], wanted[fits:][rest]
    return grant


def start_in_order(jobs: Iterable[Job], draft: Draft, skip: bool) -> None:
    """Starts waiting jobs whole, in order; at one that can't be placed it skips or stops."""
    for job in jobs:
        if not draft.give(job, job.num_gpus) and (not skip or draft.free_gpus <= 0):
            return


def serve_in_order(view: ClusterView, draft: Draft, order: np.ndarray, skip: bool = True) -> None:
    """Preemptive: the jobs first in `order` (rows) run, each whole; a job that runs already keeps its GPUs if served.

    A job that does not fit is skipped; without `skip` nothing that waits may start behind it, while running jobs
    there go on in what is left. What runs on draining nodes takes nothing from the others and goes on.
    """
    jobs = view.jobs
    if not draft.fits_by_count or view.nodes.closed_held_gpus or view.free_gpus < 0:
        _serve_by_place([jobs[row] for row in order.tolist()], view, draft, skip)
        return
    held, want = jobs.gpus_held, jobs.num_gpus
    if not jobs.are_rigid:
        want = np.where(held > 0, held, want)
    if skip:
        draft.give_all(first_fit(order, want, view.capacity_gpus))
        return
    served = int(want[order].cumsum().searchsorted(view.capacity_gpus, "right"))
    grant = np.zeros(want.size, np.int64)
    grant[order[:served]] = want[order[:served]]
    behind = order[served:]
    grant += first_fit(behind[held[behind] > 0], want, view.capacity_gpus - int(grant.sum()))
    draft.give_all(grant)


def _serve_by_place(queue: list[Job], view: ClusterView, draft: Draft, skip: bool) -> None:
    """The same where GPUs are not all alike (a gang needs one node, nodes drain): evicts from the end until it fits."""
    frees = {i: job.gpus_held - gpus_on_closed(job, view) for i, job in enumerate(queue) if job.is_running}
    victims = [i for i, gpus in frees.items() if gpus]  # may yet be evicted, ascending
    behind = sum(frees.values())  # GPUs that they hold
    for i, job in enumerate(queue):
        while victims and victims[0] <= i:
            behind -= frees[victims.pop(0)]
        if job.is_running and (draft.gpus(job) or draft.keep(job)):
            continue
        want = job.gpus_held or job.num_gpus
        if want <= draft.free_gpus + behind and _evict_for(job, want, [queue[k] for k in victims], draft):
            victims = [k for k in victims if draft.gpus(queue[k])]
            behind = sum(frees[k] for k in victims)
        elif not skip:
            for other in queue[i + 1 :]:
                draft.keep(other)
            return


def gpus_on_closed(job: Job, view: ClusterView) -> int:
    """How many GPUs a job holds that nobody can have after it: those of draining nodes."""
    if not view.nodes.closed_held_gpus or not job.nodes:
        return 0
    return job.gpus_held - view.nodes.open_gpus(job.nodes)


def _evict_for(job: Job, want: int, victims: list[Job], draft: Draft) -> bool:
    """Gives `job` its GPUs, preempting the last of `victims` first; all as before if even that is not enough."""
    if draft.give(job, want):
        return True
    evicted: list[Job] = []
    while victims:
        other = victims.pop()
        draft.give(other, 0)
        evicted.append(other)
        if draft.give(job, want):
            return True
    for other in reversed(evicted):
        draft.keep(other)
    return False
