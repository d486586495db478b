"""What a policy may know of a job's run time before the job has finished.

A run has one estimator, chosen by name in its configuration, so that the use of an oracle is visible.

| kind    | says                                                        | learns |
|---------|-------------------------------------------------------------|--------|
| none    | nothing (nan)                                               | no     |
| user    | what the user said; a job without: an error or another kind | no     |
| noisy   | the truth times a log-normal error                          | no     |
| history | the mean or median of like jobs that have finished          | yes    |
| learned | a regression on what is known when a job is submitted       | yes    |
| oracle  | the truth                                                   | no     |

All times are seconds on the `num_gpus` that a job asks for, as `duration_s` is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any, Protocol

import numpy as np

from workloads.errors import WorkloadError
from workloads.learned import Learned
from workloads.options import build, nearest
from workloads.trace import JobTable


class Estimator(Protocol):
    """Estimates run times. It belongs to one run: a learning one must not be shared between runs."""

    def estimate_s(self, jobs: JobTable, row: int) -> float:
        """How long job `row` will run; asked once, when it arrives, in submit order. nan: no idea."""
        ...

    def observe(self, jobs: JobTable, row: int, duration_s: float) -> None:
        """Job `row` has finished and was `duration_s` long (as stated on the GPUs it asked for)."""
        ...

    def estimate_all(self, jobs: JobTable) -> np.ndarray | None:
        """`estimate_s` of every row, where nothing is learnt; shape (J,). None: ask row by row."""
        ...


@dataclass(frozen=True, slots=True)
class NoEstimate:
    """Knows nothing."""

    def estimate_s(self, jobs: JobTable, row: int) -> float:
        return math.nan

    def observe(self, jobs: JobTable, row: int, duration_s: float) -> None:
        pass

    def estimate_all(self, jobs: JobTable) -> np.ndarray | None:
        return np.full(len(jobs), np.nan)


@dataclass(frozen=True, slots=True)
class Oracle:
    """Knows the truth: an upper bound on what any prediction can bring, and out of reach of a real cluster."""

    def estimate_s(self, jobs: JobTable, row: int) -> float:
        return float(jobs.duration_s[row])

    def observe(self, jobs: JobTable, row: int, duration_s: float) -> None:
        pass

    def estimate_all(self, jobs: JobTable) -> np.ndarray | None:
        return jobs.duration_s


@dataclass(frozen=True, slots=True)
class User:
    """Believes the user.

    Raises:
        WorkloadError: a job without a `user_estimate_s`, when there is no `fallback`.
    """

    fallback: Estimator | None = None

    def estimate_s(self, jobs: JobTable, row: int) -> float:
        said_s = float(jobs.user_estimate_s[row])
        if not math.isnan(said_s):
            return said_s
        if self.fallback is None:
            raise self._nothing_said(jobs, row)
        return self.fallback.estimate_s(jobs, row)

    def observe(self, jobs: JobTable, row: int, duration_s: float) -> None:
        if self.fallback is not None:
            self.fallback.observe(jobs, row, duration_s)

    def estimate_all(self, jobs: JobTable) -> np.ndarray | None:
        silent = np.isnan(jobs.user_estimate_s)
        if not silent.any():
            return jobs.user_estimate_s
        if self.fallback is None:
            raise self._nothing_said(jobs, int(silent.argmax()))
        instead_s = self.fallback.estimate_all(jobs)
        return None if instead_s is None else np.where(silent, instead_s, jobs.user_estimate_s)

    @staticmethod
    def _nothing_said(jobs: JobTable, row: int) -> WorkloadError:
        return WorkloadError(
            f"job {jobs.job_id[row]} (row {row} of {len(jobs):,}): user_estimate_s is missing, and estimates=user "
            f"needs it; set fallback to another kind, such as history"
        )


@dataclass(frozen=True, slots=True)
class Noisy:
    """The truth times bias·exp(sigma·Z), Z standard normal: `bias` is the median of estimate/truth.

    The error of a row depends on the seed and the row alone, not on which rows are asked for, when, or how many there
    are; so every policy of a comparison is told the same.
    """

    rng: np.random.Generator = field(repr=False)
    sigma: float = 0.5
    bias: float = 1.0
    _drawn: list[np.ndarray] = field(default_factory=lambda: [np.empty(0)], init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < math.inf:
            raise WorkloadError(f"sigma={self.sigma}: must be 0 or more")
        if not 0 < self.bias < math.inf:
            raise WorkloadError(f"bias={self.bias}: must be more than 0")

    def estimate_s(self, jobs: JobTable, row: int) -> float:
        return float(jobs.duration_s[row] * self._errors(len(jobs))[row])

    def observe(self, jobs: JobTable, row: int, duration_s: float) -> None:
        pass

    def estimate_all(self, jobs: JobTable) -> np.ndarray | None:
        return jobs.duration_s * self._errors(len(jobs))

    def _errors(self, num: int) -> np.ndarray:
        """The errors of at least the first `num` rows."""
        have = self._drawn[0]
        if len(have) < num:
            new = self.bias * np.exp(self.sigma * self.rng.standard_normal(num - len(have)))
            self._drawn[0] = have = np.concatenate([have, new])
        return have


@dataclass(frozen=True, slots=True)
class History:
    """The mean (or median) of finished jobs of the same tenant, model and GPU count.

    A group without `min_jobs` finished jobs gives way to the next coarser one: (tenant, model, GPUs), (tenant, model),
    (tenant), (GPUs), all jobs, and at last `default_s`. It learns from finished jobs only, so that early in a run,
    while the long ones still go, it errs to the short side, as it would in production.
    After the rolling estimator of QSSF (Hu et al., "Characterization and prediction of deep learning workloads in
    large-scale GPU datacenters", SC 2021), which weighs recent jobs more and matches similar job names.
    """

    default_s: float = 3600.0
    statistic: str = "mean"  # mean | median
    last: int = 64  # of a group's finished jobs, how many count
    min_jobs: int = 1
    _finished: dict[Hashable, deque[float]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.default_s < math.inf:
            raise WorkloadError(f"default_s={self.default_s}: must be more than 0 s")
        if self.statistic not in _STATISTICS:
            raise WorkloadError(f"statistic={self.statistic}: must be one of {', '.join(_STATISTICS)}")
        for name, value in (("last", self.last), ("min_jobs", self.min_jobs)):
            if value < 1:
                raise WorkloadError(f"{name}={value}: must be 1 or more")
        if self.min_jobs > self.last:
            raise WorkloadError(f"min_jobs={self.min_jobs}: must not be more than last, {self.last}")

    def estimate_s(self, jobs: JobTable, row: int) -> float:
        for group in self._groups(jobs, row):
            seen_s = self._finished.get(group, ())
            if len(seen_s) >= self.min_jobs:
                return float(_STATISTICS[self.statistic](seen_s))
        return self.default_s

    def observe(self, jobs: JobTable, row: int, duration_s: float) -> None:
        for group in self._groups(jobs, row):
            self._finished.setdefault(group, deque(maxlen=self.last)).append(float(duration_s))

    def estimate_all(self, jobs: JobTable) -> np.ndarray | None:
        return None

    @staticmethod
    def _groups(jobs: JobTable, row: int) -> tuple[Hashable, ...]:
        """The groups that a job belongs to, finest first; the first item keeps the levels apart."""
        tenant, model, num_gpus = int(jobs.tenant.codes[row]), int(jobs.model.codes[row]), int(jobs.num_gpus[row])
        return (4, tenant, model, num_gpus), (3, tenant, model), (2, tenant), (1, num_gpus), (0,)


_STATISTICS: dict[str, Callable[[Any], float]] = {"mean": fmean, "median": median}
_CLASSES: dict[str, Callable[..., Estimator]] = {
    "none": NoEstimate,
    "user": User,
    "noisy": Noisy,
    "history": History,
    "learned": Learned,
    "oracle": Oracle,
}
KINDS = tuple(_CLASSES)


def make_estimator(kind: str, rng: np.random.Generator, /, **options: Any) -> Estimator:
    """A fresh estimator for one run.

    Args:
        kind: one of `KINDS`.
        rng: its own stream; only `noisy` draws from it.
        options: the fields of the kind's class. `user` takes `fallback`: another kind for the jobs whose users said
            nothing (`error`, the default: none), and hands the other options on to it.

    Raises:
        WorkloadError: an unknown kind or option, with the nearest names, or a value that breaks its rule.
    """
    if kind not in _CLASSES:
        raise WorkloadError(f"estimates={kind}: unknown kind{nearest(str(kind), KINDS)}")
    prefix = "estimates."
    if kind == "user":
        fallback = options.pop("fallback", None)
        if fallback in (None, "error"):
            return build(User, options, prefix=prefix)
        if fallback == "user" or fallback not in _CLASSES:
            known = ["error", *(other for other in KINDS if other != "user")]
            raise WorkloadError(f"{prefix}fallback={fallback}: unknown kind{nearest(str(fallback), known)}")
        return User(make_estimator(fallback, rng, **options))
    cls: Any = _CLASSES[kind]
    try:
        made: Estimator = build(cls, options, prefix=prefix, **({"rng": rng} if kind == "noisy" else {}))
    except WorkloadError as error:  # a class speaks of its own fields
        message = str(error)
        raise WorkloadError(message if message.startswith(prefix) else prefix + message) from None
    return made
