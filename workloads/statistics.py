"""What one wants to know of a workload before simulating it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workloads.job_spec import Elasticity
from workloads.trace import JobTable, Labels

HOUR_S, DAY_S = 3600.0, 86_400.0


@dataclass(frozen=True, slots=True)
class Demand:
    """GPUs that are wanted over time if every job started when it is submitted, on the GPUs it asks for.

    A step function: `num_gpus[i]` from `time_s[i]` to `time_s[i + 1]`; the last entry is 0.
    """

    time_s: np.ndarray  # ascending, without repeats
    num_gpus: np.ndarray

    @property
    def peak_gpus(self) -> int:
        return int(self.num_gpus.max())

    def mean_gpus(self, edges_s: np.ndarray) -> np.ndarray:
        """The mean over time between each two neighbours of `edges_s`; shape (len(edges_s) − 1,)."""
        return np.diff(np.interp(edges_s, self.time_s, self._done_gpu_s())) / np.diff(edges_s)

    def time_when_done_s(self, work_frac: float) -> float:
        """The first step of the function by which this share of the work is done."""
        done_gpu_s = self._done_gpu_s()
        return float(self.time_s[done_gpu_s.searchsorted(work_frac * done_gpu_s[-1])])

    def _done_gpu_s(self) -> np.ndarray:
        return np.concatenate([[0.0], (np.diff(self.time_s) * self.num_gpus[:-1]).cumsum()])


def demand(jobs: JobTable) -> Demand:
    """The demand of `jobs`."""
    time_s = np.concatenate([jobs.submit_s, jobs.submit_s + jobs.duration_s])
    change = np.concatenate([jobs.num_gpus, -jobs.num_gpus])
    times_s, at = np.unique(time_s, return_inverse=True)
    # whole numbers below 2^53, so the sums of floats are exact
    net = np.bincount(at, change.astype(np.float64), len(times_s))
    return Demand(times_s, net.cumsum().astype(np.int64))


def span_s(jobs: JobTable) -> float:
    """From the first submission to the last."""
    return float(jobs.submit_s[-1] - jobs.submit_s[0])


def table(jobs: JobTable, wanted: Demand) -> list[tuple[str, str]]:
    """(what, how much) in the order to print them; `wanted` is `demand(jobs)`."""
    num, span = len(jobs), span_s(jobs)
    median_s, p95_s, p99_s = np.percentile(jobs.duration_s, [50, 95, 99])
    rigid, moldable, malleable = np.bincount(jobs.elasticity, minlength=3) / num
    assert Elasticity.MALLEABLE == 2
    rows = [
        ("jobs", f"{num:,}"),
        ("submitted over", spell_s(span)),
        ("arrival rate", f"{(num - 1) / span * HOUR_S:,.4g} jobs/h" if span else "all at once"),
        ("GPUs a job", _gpu_mix(jobs)),
        ("duration, median", spell_s(median_s)),
        ("duration, mean", spell_s(float(jobs.duration_s.mean()))),
        ("duration, p95", spell_s(p95_s)),
        ("duration, p99", spell_s(p99_s)),
        ("duration, max", spell_s(float(jobs.duration_s.max()))),
        ("work", f"{float(jobs.gpu_s.sum()) / HOUR_S:,.0f} GPU·h"),
        ("mean demand while jobs arrive", f"{float(jobs.gpu_s.sum()) / span:,.1f} GPUs" if span else "–"),
        ("peak demand if nothing waits", f"{wanted.peak_gpus:,} GPUs"),
        ("models", _shares(jobs.model, num)),
        ("tenants", _shares(jobs.tenant, num)),
        ("elastic", f"{malleable:.1%} malleable, {moldable:.1%} moldable, {rigid:.1%} rigid"),
    ]
    with_deadline = float(np.isfinite(jobs.deadline_s).mean())
    with_estimate = float((~np.isnan(jobs.user_estimate_s)).mean())
    return [*rows, ("with a deadline", f"{with_deadline:.1%}"), ("with a user's estimate", f"{with_estimate:.1%}")]


def spell_s(seconds: float) -> str:
    """A duration in the unit that a person would use."""
    for unit_s, unit in ((DAY_S, "days"), (HOUR_S, "h"), (60.0, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:,.1f} {unit}"
    return f"{seconds:,.3g} s"


def _gpu_mix(jobs: JobTable, most: int = 8) -> str:
    sizes, counts = np.unique(jobs.num_gpus, return_counts=True)
    shown = np.sort(counts.argsort(kind="stable")[::-1][:most])
    parts = [f"{sizes[i]}: {counts[i] / len(jobs):.2%}" for i in shown]
    return ", ".join(parts) + (f" and {len(sizes) - most} other sizes" if len(sizes) > most else "")


def _shares(labels: Labels, num: int, most: int = 3) -> str:
    counts = np.bincount(labels.codes, minlength=len(labels.names))
    used = [i for i in counts.argsort(kind="stable")[::-1] if counts[i]]
    if [labels.names[i] for i in used] == [""]:
        return "not given"
    parts = [f"{labels.names[i] or '(none)'} {counts[i] / num:.0%}" for i in used[:most]]
    return f"{len(used):,}: " + ", ".join(parts) + (", …" if len(used) > most else "")
