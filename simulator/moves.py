"""The table allocations as arrays: who held what from when to when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from simulator.run import Run


@dataclass(frozen=True)
class Moves:
    """One entry a row of the table allocations, in its order: by time; shape (R,) each."""

    time_s: np.ndarray
    job: np.ndarray  # row in jobs
    num_gpus: np.ndarray  # held from then on

    @classmethod
    def of(cls, run: Run) -> Moves:
        """From the table allocations."""
        return cls(**run.columns("allocations", "time_s", "job", "num_gpus"))

    @cached_property
    def next_row(self) -> np.ndarray:
        """The row of the same job's next move; R where there is none."""
        following = np.full(len(self.job), len(self.job))
        order = self.job.argsort(kind="stable")
        is_same = self.job[order[1:]] == self.job[order[:-1]]
        following[order[:-1][is_same]] = order[1:][is_same]
        return following

    @cached_property
    def gpus_before(self) -> np.ndarray:
        """What the job held until then."""
        before = np.zeros(len(self.job) + 1, np.int64)
        before[self.next_row] = self.num_gpus
        return before[:-1]


@dataclass(frozen=True)
class Stays:
    """Every stay of a job on a node: `num_gpus[k]` GPUs of node `node[k]` from row `row[k]` of moves on."""

    row: np.ndarray  # shape (K,)
    node: np.ndarray  # as in the table nodes
    num_gpus: np.ndarray

    @classmethod
    def of(cls, run: Run) -> Stays:
        """From the table allocations; empty where placement was pooled."""
        table = run.table("allocations", ["nodes", "gpus_on_node"]).combine_chunks()
        lists, gpus = (table[name].combine_chunks() for name in ("nodes", "gpus_on_node"))
        row = np.repeat(np.arange(len(lists)), lists.value_lengths().to_numpy(zero_copy_only=False))
        flat = (column.flatten().to_numpy(zero_copy_only=False) for column in (lists, gpus))
        return cls(row, *flat)


def job_changes(jobs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(times, +1 or −1): when jobs come into the system and leave it; without those rejected or never submitted."""
    arrived = (jobs["state"] != "rejected") & (jobs["state"] != "not_submitted")
    submit_s = jobs["submit_s"][arrived]
    done_s = jobs["finish_s"][arrived & np.isfinite(jobs["finish_s"])]
    change = np.ones(len(submit_s) + len(done_s), np.int64)
    change[len(submit_s) :] = -1
    return np.concatenate([submit_s, done_s]), change


def dot(a: np.ndarray, b: np.ndarray) -> float:
    """The sum of products, the same to the last bit on any number of cores (that of BLAS isn't)."""
    return float((a * b).sum())
