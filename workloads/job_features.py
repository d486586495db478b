"""What is known of a job when it is submitted, as numbers to learn from."""

from __future__ import annotations

import math
from collections.abc import Hashable

import numpy as np

from workloads.trace import JobTable

TARGETS = ("duration_s", "num_gpus", "memory_gib_per_gpu")
# Columns that a prediction of a target must not look at: itself, and what nobody knows who doesn't know it.
_HIDDEN: dict[str, tuple[str, ...]] = {
    "duration_s": (),
    "num_gpus": ("num_gpus", "cpus_per_gpu", "memory_gib_per_gpu"),
    "memory_gib_per_gpu": ("memory_gib_per_gpu",),
}
_COLUMNS = (
    *("num_gpus", "batch_size", "num_parameters", "num_samples"),
    *("memory_gib_per_gpu", "cpus_per_gpu", "user_estimate_s"),
)
_PRIOR = 2.0  # jobs' worth of the coarser mean, in a mean of a group


class JobFeatures:
    """Logarithms of the columns, whether each is known, and mean logarithms of the target among like finished jobs.

    Like jobs are those of the same model, of the same tenant, of both, and of both with as many GPUs. Each mean is
    drawn towards the next coarser one, at last that of all jobs. A finished job's own features are to be taken before
    it is told, so that what is learnt from never holds its own answer.
    """

    def __init__(self, target: str) -> None:
        self._columns = [name for name in _COLUMNS if name not in _HIDDEN[target]]
        self._by_gpus = "num_gpus" not in _HIDDEN[target]
        self._groups: dict[Hashable, tuple[float, int]] = {}  # sum of logarithms, jobs

    def of(self, jobs: JobTable, row: int) -> np.ndarray:
        """The features of a job, by what has been told so far; shape (F,)."""
        found: list[float] = []
        for name in self._columns:
            value = float(getattr(jobs, name)[row])
            is_known = value > 0  # and no nan
            found += (math.log(value), 1.0) if is_known else (0.0, 0.0)
        everything, model, tenant, both, size = self._like(jobs, row)
        base = self._mean(everything, 0.0)
        of_model, of_tenant = self._mean(model, base), self._mean(tenant, base)
        of_both = self._mean(both, of_model)
        return np.array([*found, of_model, of_tenant, of_both, self._mean(size, of_both)])

    def tell(self, jobs: JobTable, row: int, logarithm: float) -> None:
        """A job has finished, and this was the logarithm of its target."""
        for group in set(self._like(jobs, row)):
            total, count = self._groups.get(group, (0.0, 0))
            self._groups[group] = (total + logarithm, count + 1)

    def _mean(self, group: Hashable, coarser: float) -> float:
        total, count = self._groups.get(group, (0.0, 0))
        return (total + _PRIOR * coarser) / (count + _PRIOR)

    def _like(self, jobs: JobTable, row: int) -> tuple[Hashable, ...]:
        model, tenant = jobs.model[row], jobs.tenant[row]
        size = int(jobs.num_gpus[row]) if self._by_gpus else 0
        return (0,), (1, model), (2, tenant), (3, model, tenant), (4, model, tenant, size)
