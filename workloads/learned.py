"""What a job will need, learnt from jobs that have finished: how long, how many GPUs, how much memory."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from workloads.errors import WorkloadError
from workloads.job_features import TARGETS, JobFeatures
from workloads.options import nearest
from workloads.regression import Predict, fit, require_method
from workloads.trace import JobTable

_LEAST_JOBS = 20  # finished ones, for `predict_demand`


class DemandModel:
    """A regression of the logarithm of `target` on what is known of a job when it is submitted.

    Args:
        target: one of `TARGETS`, columns of a `JobTable`.
        method: linear (ridge) | svr (scikit-learn) | neural (one hidden layer).
        min_jobs: it says nothing before so many have been told.
        refit_every: it is fitted then, and anew after so many more.
        last: to how many of the last told it is fitted.

    Raises:
        WorkloadError: an unknown target or method; a method whose package is missing.
    """

    def __init__(
        self, target: str, method: str, *, min_jobs: int = 50, refit_every: int = 200, last: int = 4000
    ) -> None:
        if target not in TARGETS:
            raise WorkloadError(f"target={target}: can't be predicted{nearest(str(target), TARGETS)}")
        require_method(method)
        for name, value in (("min_jobs", min_jobs), ("refit_every", refit_every), ("last", last)):
            if value < 1:
                raise WorkloadError(f"{name}={value}: must be 1 or more")
        if min_jobs > last:
            raise WorkloadError(f"min_jobs={min_jobs}: must not be more than last, {last}")
        self._method, self._min_jobs, self._refit_every = method, min_jobs, refit_every
        self._features = JobFeatures(target)
        self._told: deque[tuple[np.ndarray, float]] = deque(maxlen=last)
        self._num_since_fit = 0
        self._predict: Predict | None = None

    def tell(self, jobs: JobTable, row: int, value: float) -> None:
        """Job `row` has finished, and this was its target, more than 0."""
        logarithm = math.log(value)
        self._told.append((self._features.of(jobs, row), logarithm))
        self._features.tell(jobs, row, logarithm)
        self._num_since_fit += 1

    def predict(self, jobs: JobTable, row: int) -> float | None:
        """The target of job `row`: the exponential of the mean logarithm, and so a median; None: too few told."""
        if len(self._told) < self._min_jobs:
            return None
        if self._predict is None or self._num_since_fit >= self._refit_every:
            features, logarithms = zip(*self._told, strict=True)
            self._predict, self._num_since_fit = fit(self._method, np.array(features), np.array(logarithms)), 0
        return math.exp(float(self._predict(self._features.of(jobs, row)[None])[0]))


@dataclass(slots=True)
class Learned:
    """Predicts the run time from GPUs, model, tenant, and batch size, parameters, samples and the rest where known.

    It says `default_s` until `min_jobs` have finished, and learns from finished jobs only; so early in a run, while
    the long ones still go, it errs to the short side, as it would in production.
    """

    method: str = "linear"  # linear | svr | neural
    default_s: float = 3600.0
    min_jobs: int = 50
    refit_every: int = 200  # finished jobs
    last: int = 4000  # finished jobs that count
    _model: DemandModel = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.default_s < math.inf:
            raise WorkloadError(f"default_s={self.default_s}: must be more than 0 s")
        self._model = DemandModel(
            "duration_s", self.method, min_jobs=self.min_jobs, refit_every=self.refit_every, last=self.last
        )

    def estimate_s(self, jobs: JobTable, row: int) -> float:
        predicted_s = self._model.predict(jobs, row)
        return self.default_s if predicted_s is None else predicted_s

    def observe(self, jobs: JobTable, row: int, duration_s: float) -> None:
        self._model.tell(jobs, row, duration_s)

    def estimate_all(self, jobs: JobTable) -> np.ndarray | None:
        return None


def predict_demand(target: str, finished: JobTable, new: JobTable, method: str = "linear") -> np.ndarray:
    """What new jobs will need, learnt from finished ones.

        gpus = predict_demand("num_gpus", finished, new)
        memory_gib = predict_demand("memory_gib_per_gpu", finished, new, method="neural")

    Finished jobs count in the order of their rows; those whose target is 0, not known, are left out.

    Args:
        target: duration_s | num_gpus (of which no size, memory or CPUs of the new jobs are looked at; whole numbers)
            | memory_gib_per_gpu (of which no memory is).
        finished: at least 20 whose target is known.
        new: their target is not looked at.
        method: linear | svr | neural.

    Returns:
        Medians, one a row of `new`; shape (J,).

    Raises:
        WorkloadError: an unknown target or method; too few finished jobs.
    """
    model = DemandModel(target, method, min_jobs=_LEAST_JOBS, last=max(_LEAST_JOBS, len(finished)))
    known = np.flatnonzero(getattr(finished, target) > 0)
    if len(known) < _LEAST_JOBS:
        raise WorkloadError(
            f"target={target}: is known of {len(known)} finished jobs; {_LEAST_JOBS} or more are needed"
        )
    for row in known.tolist():
        model.tell(finished, row, float(getattr(finished, target)[row]))
    predicted = np.array([model.predict(new, row) for row in range(len(new))], np.float64)
    return np.maximum(1.0, predicted.round()) if target == "num_gpus" else predicted
