"""Max-min fair shares of GPUs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from policies.plan import Draft
from policies.registry import register
from policies.serving import first_fit, gpus_on_closed
from policies.view import ClusterView


def fill(low: np.ndarray, high: np.ndarray, weight: np.ndarray | None, num_gpus: int) -> np.ndarray:
    """Progressive filling in whole GPUs: from `low` on, each GPU goes to the job whose share would be the smallest.

    A share is GPUs / weight (after the GPU); ties fall to the earlier row; no job gets more than `high`. This is the
    weighted max-min fair division (Bertsekas and Gallager, "Data Networks", 6.5.2) of whole units.

    Args:
        low, high: bounds a job, int64, shape (J,).
        weight: more than 0, shape (J,); None: all equal.
        num_gpus: to divide; at least `low.sum()`.

    Returns:
        GPUs a job, int64, shape (J,).
    """
    if weight is None:
        total = level_totals(low, high)
        share = _at_level(low, high, int(total.searchsorted(num_gpus, "right")) - 1, num_gpus)
        return high.copy() if share is None else share
    num_gpus = min(num_gpus, int(high.sum()))
    below, above = 0.0, float((high / weight).max())
    share = low
    for _ in range(100):
        middle = 0.5 * (below + above)
        trial = np.minimum(np.maximum(np.floor(middle * weight).astype(np.int64), low), high)
        if int(trial.sum()) <= num_gpus:
            below, share = middle, trial
        else:
            above = middle
        if above - below <= 1e-12 * above:
            break
    bid = np.where(share < high, (share + 1) / weight, np.inf)
    share = share.copy()
    for row in bid.argsort(kind="stable")[: num_gpus - int(share.sum())].tolist():
        share[row] += 1
    return share


def level_totals(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The GPUs that all jobs take at each common level: total[L] = sum(clip(L, low, high)), L = 0 .. high.max().

    From L to L + 1 the sum grows by the number of jobs with low <= L < high, so a difference of two histograms gives
    it for all levels at once: two passes over the jobs, whatever the number of levels.
    """
    ends = np.bincount(high)
    growth = np.bincount(low, minlength=ends.size)
    growth -= ends
    total = np.empty(ends.size, np.int64)
    total[0] = np.add.reduce(low)
    total[1:] = growth.cumsum().cumsum()[:-1]
    total[1:] += total[0]
    return total


def _at_level(low: np.ndarray, high: np.ndarray, level: int, num_gpus: int) -> np.ndarray | None:
    """The shares if `level` is the highest whole level that the GPUs allow: every job at it as far as its bounds let
    it, the GPUs left over one each to the earliest jobs that can grow. None if the level is another.
    """
    share = np.maximum(low, level)
    np.minimum(share, high, out=share)
    left = num_gpus - int(np.add.reduce(share))
    if left < 0:
        return None
    growing = ((share == level) & (high > level)).nonzero()[0]
    if left >= growing.size:
        return None
    share[growing[:left]] += 1
    return share


@register("allocation", "fair_share")
@dataclass
class FairShare:
    """Weighted max-min fair shares between each job's bounds, recomputed whenever something changes.

    Running jobs keep at least their minimum. Jobs are admitted in submit order, each with its minimum, skipping those
    whose minimum does not fit beside the others'; what is left is divided by progressive filling (`fill`). A rigid job
    has minimum = maximum, so among rigid jobs this is first-come-first-served with skipping.
    """

    _level: int = field(default=0, init=False, repr=False, compare=False)  # of the last decision: where to look first

    def allocate(self, view: ClusterView, draft: Draft) -> None:
        jobs = view.jobs
        if jobs.is_empty:
            return
        low, high, capacity = self.bounds(view)
        weight = None if jobs.weigh_alike else jobs.weight
        self.give(view, draft, self.shares(jobs.gpus_held, weight, low, high, capacity))

    def bounds(self, view: ClusterView) -> tuple[np.ndarray, np.ndarray, int]:
        """(least, most, in all) that jobs may have; arrays of shape (J,)."""
        if view.nodes.closed_held_gpus or view.free_gpus < 0:
            return self._while_draining(view)
        return view.jobs.min_gpus, view.jobs.max_gpus, view.capacity_gpus

    def give(self, view: ClusterView, draft: Draft, share: np.ndarray) -> None:
        """Writes shares into the draft, as far as places go."""
        if draft.fits_by_count:
            draft.give_all(share)
        else:
            self._by_place(view, draft, share)

    @staticmethod
    def _while_draining(view: ClusterView) -> tuple[np.ndarray, np.ndarray, int]:
        """(low, high, capacity) such that what runs on draining nodes goes on there and takes nothing from others."""
        jobs = view.jobs
        low, high, held = jobs.min_gpus.copy(), jobs.max_gpus.copy(), jobs.gpus_held
        for row in held.nonzero()[0].tolist():
            if gpus_on_closed(jobs[row], view):
                low[row] = high[row] = held[row]
        return low, high, max(view.capacity_gpus + view.nodes.closed_held_gpus, int(low[held > 0].sum()))

    def shares(
        self, held: np.ndarray, weight: np.ndarray | None, low: np.ndarray, high: np.ndarray, capacity: int
    ) -> np.ndarray:
        """GPUs a job, within its bounds; all of shape (J,), in submit order. None: all weigh the same."""
        if int(np.add.reduce(high)) <= capacity:
            return high
        if weight is None:  # from one decision to the next the level seldom moves: try the last one
            share = _at_level(low, high, self._level, capacity)
            if share is not None:
                return share
        total = level_totals(low, high)
        if total[0] <= capacity:
            self._level = int(total.searchsorted(capacity, "right")) - 1
            return fill(low, high, weight, capacity)
        order = (held == 0).argsort(kind="stable")  # running jobs first, then waiting, each in submit order
        admitted = first_fit(order, low, capacity).nonzero()[0]
        share = np.zeros_like(low)
        if not admitted.size:
            return share
        chosen = None if weight is None else weight[admitted]
        share[admitted] = fill(low[admitted], high[admitted], chosen, capacity)
        return share

    @staticmethod
    def _by_place(view: ClusterView, draft: Draft, share: np.ndarray) -> None:
        """Where a gang may not fit although enough GPUs are free: shrinks first, then grows as far as places go."""
        jobs = view.jobs
        more = share - jobs.gpus_held
        for row in more.argsort(kind="stable").tolist():
            job, wanted = jobs[row], int(share[row])
            while wanted != job.gpus_held and not draft.give(job, wanted):
                wanted -= 1
                if wanted < max(job.min_gpus, job.gpus_held + 1):
                    break
