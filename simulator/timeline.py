"""What was held, ready and waiting at every moment of a run: exact step functions, made from its records afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from simulator.moves import Moves, job_changes
from simulator.run import Run

MAX_BUCKETS = 1000  # of a curve in a figure: more can't be seen


@dataclass(frozen=True)
class Steps:
    """A step function: `value[i]` from `time_s[i]` until `time_s[i + 1]`, 0 before the first, the last for ever."""

    time_s: np.ndarray  # ascending, without repeats, shape (K,)
    value: np.ndarray  # shape (K,)

    @classmethod
    def of(cls, time_s: np.ndarray, change: np.ndarray) -> Steps:
        """From changes at times in any order; those of one instant are one step."""
        if not len(time_s):
            return cls(np.zeros(1), np.zeros(1))
        if (time_s[1:] < time_s[:-1]).any():
            order = time_s.argsort(kind="stable")
            time_s, change = time_s[order], change[order]
        is_last = np.append(time_s[1:] != time_s[:-1], True)
        return cls(time_s[is_last], change.cumsum(dtype=np.float64)[is_last])  # sums of whole numbers: exact

    @cached_property
    def _integral(self) -> np.ndarray:
        """Up to each of `time_s`."""
        return np.concatenate([[0.0], (np.diff(self.time_s) * self.value[:-1]).cumsum()])

    def integral_to(self, time_s: np.ndarray | float) -> np.ndarray:
        """The area under the function up to these times."""
        beyond = np.maximum(np.asarray(time_s) - self.time_s[-1], 0.0) * self.value[-1]
        return np.interp(time_s, self.time_s, self._integral) + beyond

    def integral(self, from_s: float, to_s: float) -> float:
        """The area under the function between two times."""
        return float(self.integral_to(to_s) - self.integral_to(from_s))

    def at(self, time_s: np.ndarray) -> np.ndarray:
        """The value at these times (after what happens then)."""
        i = self.time_s.searchsorted(time_s, side="right")
        return np.where(i > 0, self.value[i - 1], 0.0)

    def means(self, edges_s: np.ndarray) -> np.ndarray:
        """The mean over time between each two neighbours of `edges_s`; shape (len(edges_s) − 1,)."""
        return np.diff(self.integral_to(edges_s)) / np.diff(edges_s)

    def max(self, until_s: float) -> float:
        """The largest value that lasts for more than an instant before `until_s`."""
        return max(0.0, float(self.value[self.time_s < until_s].max(initial=0.0)))


@dataclass(frozen=True)
class Timeline:
    """The step functions of one run.

    Args:
        held: GPUs that jobs and replicas hold.
        serving: of these, what replicas hold.
        ready: GPUs of nodes that are ready, or draining.
        active: jobs that have been submitted and are not done; without those that were rejected.
        queue: active jobs that hold no GPU.
    """

    held: Steps
    serving: Steps
    ready: Steps
    active: Steps
    queue: Steps
    end_s: float

    @classmethod
    def of(cls, run: Run) -> Timeline:
        """From the tables jobs, allocations and nodes."""
        jobs = run.columns("jobs", "submit_s", "finish_s", "state")
        nodes = run.columns("nodes", "num_gpus", "ready_s", "terminated_s")
        return cls.build(jobs, nodes, Moves.of(run), float(run.facts["end_s"]))

    @classmethod
    def build(
        cls, jobs: Mapping[str, np.ndarray], nodes: Mapping[str, np.ndarray], moves: Moves, end_s: float
    ) -> Timeline:
        """From columns of those tables."""
        came = nodes["ready_s"] < nodes["terminated_s"]
        size = nodes["num_gpus"][came].astype(np.float64)
        came_and_went_s = np.concatenate([nodes["ready_s"][came], nodes["terminated_s"][came]])
        time_s, change = job_changes(jobs)
        more = moves.num_gpus - moves.gpus_before
        is_job = moves.job < len(jobs["submit_s"])  # the others are replicas of services
        starts = (moves.num_gpus > 0).astype(np.int64) - (moves.gpus_before > 0)
        return cls(
            held=Steps.of(moves.time_s, more),
            serving=Steps.of(moves.time_s[~is_job], more[~is_job]),
            ready=Steps.of(came_and_went_s, np.concatenate([size, -size])),
            active=Steps.of(time_s, change),
            queue=Steps.of(np.concatenate([time_s, moves.time_s[is_job]]), np.concatenate([change, -starts[is_job]])),
            end_s=end_s,
        )

    def edges_s(self, until_s: float | None = None, num_buckets: int = MAX_BUCKETS) -> np.ndarray:
        """Equal buckets from 0 to the end of the run (or until `until_s`), for `Steps.means`."""
        return np.linspace(0.0, max(self.end_s if until_s is None else until_s, 1e-9), num_buckets + 1)
