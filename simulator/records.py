"""What a run leaves behind: tables with one schema for both worlds, written as parquet while the run goes on.

| table | a row is |
|---|---|
| jobs | a submitted job, in submit order |
| allocations | a change of what one job holds: from `time_s` on it holds `num_gpus` on `nodes` |
| nodes | a node's life, from order to termination |
| decisions | a decision that changed something; where explained, also one that asked a scaling policy |
| metrics | one sample of monitoring of one pool, by its place in the configuration |
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from policies import METRICS, Placement
from simulator.pools import Node
from simulator.progress import SimJob
from simulator.tables import PARQUET, RowWriter
from workloads import JobTable

STATES = ("finished", "running", "pending", "rejected", "not_submitted", "failed")
FINISHED, RUNNING, PENDING, REJECTED, NOT_SUBMITTED, FAILED = range(len(STATES))

ALLOCATIONS = pa.schema(
    [
        ("time_s", pa.float64()),
        ("job", pa.int64()),  # row in jobs
        ("num_gpus", pa.int32()),
        ("rate", pa.float64()),  # work per second once the pause is over: 1 on the GPUs asked for
        ("pause_s", pa.float64()),  # how long this move takes
        ("work_left_s", pa.float64()),  # at the time of the change
        ("nodes", pa.list_(pa.int32())),
        ("gpus_on_node", pa.list_(pa.int32())),
    ]
)
DECISIONS = pa.schema(
    [
        ("time_s", pa.float64()),
        ("num_changes", pa.int32()),
        ("num_pending", pa.int32()),
        ("gpus_held", pa.int32()),
        ("gpus_capacity", pa.int32()),
    ]
)
REASONS = pa.field("reasons", pa.string())  # of decisions, where explained: see policies.reasons
_MOST_REASONS = 1 << 13  # in memory
METRIC_SAMPLES = pa.schema([("time_s", pa.float64()), ("pool", pa.int32()), *((m, pa.float64()) for m in METRICS)])


class AllocationWriter(RowWriter):
    """The same with a placement beside each row, ((node, GPUs), ...), which makes two columns of lists."""

    def __init__(self, schema: pa.Schema, path: Path | None) -> None:
        super().__init__(schema, path)
        self.placements: list[Placement] = []

    def _columns(self) -> list[pa.Array]:
        placements = self.placements
        sizes = np.fromiter(map(len, placements), np.int32, len(placements))
        offsets = pa.array(np.concatenate((np.zeros(1, np.int32), sizes.cumsum(dtype=np.int32))))
        parts = np.fromiter(chain.from_iterable(chain.from_iterable(placements)), np.int32)
        placements.clear()
        return super()._columns() + [pa.ListArray.from_arrays(offsets, pa.array(parts[i::2].copy())) for i in (0, 1)]


class ExplainedWriter(RowWriter):
    """The same with a text beside each row, its column being the last; empty ones are none."""

    def __init__(self, schema: pa.Schema, path: Path | None) -> None:
        super().__init__(schema, path)
        self.reasons: list[str] = []

    @property
    def is_full(self) -> bool:
        return len(self.reasons) >= _MOST_REASONS

    def _columns(self) -> list[pa.Array]:
        reasons = pa.array([text or None for text in self.reasons], pa.string())
        self.reasons.clear()
        return [*super()._columns(), reasons]


class Recorder:
    """Collects the tables of one run.

    Args:
        jobs: the trace; a job's row there is its row in the jobs table.
        folder: where the parquet files go; None keeps everything in memory.
        explained: whether the decisions have reasons.
    """

    def __init__(self, jobs: JobTable, folder: Path | None, explained: bool = False) -> None:
        self._jobs, self._folder = jobs, folder
        self.allocations = AllocationWriter(ALLOCATIONS, folder and folder / "allocations.parquet")
        path = folder and folder / "decisions.parquet"
        self.decisions = (
            RowWriter(DECISIONS, path) if not explained else ExplainedWriter(DECISIONS.append(REASONS), path)
        )
        self.metrics = RowWriter(METRIC_SAMPLES, folder and folder / "metrics.parquet")
        count = len(jobs)
        self._state = array("b", bytes([NOT_SUBMITTED]) * count)
        nan = array("d", [math.nan])
        self._start_s, self._finish_s = nan * count, nan * count
        zero = array("d", [0.0])
        self._held_gpu_s, self._overhead_gpu_s, self._lost_s = zero * count, zero * count, zero * count
        self._left_s = array("d", jobs.duration_s.tobytes())  # of jobs that don't finish
        self._preemptions, self._rescales = array("i", bytes(4 * count)), array("i", bytes(4 * count))

    @property
    def folder(self) -> Path | None:
        """Where the parquet files go."""
        return self._folder

    def flush_if_full(self) -> None:
        """Keeps memory flat on long runs."""
        for writer in (self.allocations, self.decisions, self.metrics):
            if writer.is_full:
                writer.flush()

    def reject(self, rows: Iterable[int]) -> None:
        """Marks jobs that can never run."""
        for row in rows:
            self._state[row] = REJECTED

    def finish(self, job: SimJob, finish_s: float, held_gpu_s: float) -> None:
        """Books a job that has done its work."""
        row = job.row
        self._state[row] = FINISHED
        self._start_s[row] = job.first_start_s
        self._finish_s[row] = finish_s
        self._held_gpu_s[row] = held_gpu_s
        if job.overhead_gpu_s or job.num_preemptions or job.num_rescales:
            self._book_moves(job)

    def leave(self, job: SimJob, state: int) -> None:
        """Books a job that is still there when the run ends (settled)."""
        row = job.row
        self._state[row] = state
        self._start_s[row] = job.first_start_s if job.first_start_s < math.inf else math.nan
        self._held_gpu_s[row] = job.service_at_since_gpu_s
        self._left_s[row] = job.left_s
        self._book_moves(job)

    def _book_moves(self, job: SimJob) -> None:
        row = job.row
        self._overhead_gpu_s[row] = job.overhead_gpu_s
        self._preemptions[row] = job.num_preemptions
        self._rescales[row] = job.num_rescales
        self._lost_s[row] = job.lost_s

    def close(
        self, nodes: Sequence[Node], bill_of: Callable[[Node], tuple[float, float, float]]
    ) -> dict[str, pa.Table]:
        """Writes what is left; the tables by name where no folder is given, else none.

        Args:
            bill_of: (seconds billed, USD, of which in the warm pool) of a node.
        """
        tables = {
            "allocations": self.allocations.close(),
            "decisions": self.decisions.close(),
            "metrics": self.metrics.close(),
            "jobs": self._keep("jobs", self._jobs_table()),
            "nodes": self._keep("nodes", _nodes_table(nodes, bill_of)),
        }
        return {name: table for name, table in tables.items() if table is not None}

    def _keep(self, name: str, table: pa.Table) -> pa.Table | None:
        if self._folder is None:
            return table
        pq.write_table(table, self._folder / f"{name}.parquet", **PARQUET)
        return None

    def _jobs_table(self) -> pa.Table:
        jobs, state = self._jobs, np.frombuffer(self._state, np.int8)
        columns: dict[str, Any] = {
            "job_id": pa.array(jobs.job_id),
            "submit_s": jobs.submit_s,
            "start_s": np.frombuffer(self._start_s),
            "finish_s": np.frombuffer(self._finish_s),
            "num_gpus": jobs.num_gpus,
            "num_preemptions": np.frombuffer(self._preemptions, np.int32),
            "num_rescales": np.frombuffer(self._rescales, np.int32),
            "state": pa.DictionaryArray.from_arrays(state, list(STATES)),
            "duration_s": jobs.duration_s,
            "work_left_s": np.where(state == FINISHED, 0.0, np.frombuffer(self._left_s)),
            "held_gpu_s": np.frombuffer(self._held_gpu_s),
            "overhead_gpu_s": np.frombuffer(self._overhead_gpu_s),
            "lost_work_s": np.frombuffer(self._lost_s),
            "min_gpus": jobs.min_gpus,
            "max_gpus": jobs.max_gpus,
            "gpu_utilisation_frac": jobs.gpu_utilisation_frac,
            "priority": jobs.priority,
            "weight": jobs.weight,
            "deadline_s": jobs.deadline_s,
            "tenant": pa.DictionaryArray.from_arrays(jobs.tenant.codes, list(jobs.tenant.names)),
            "model": pa.DictionaryArray.from_arrays(jobs.model.codes, list(jobs.model.names)),
        }
        return pa.table(columns)


def _nodes_table(nodes: Sequence[Node], bill_of: Callable[[Node], tuple[float, float, float]]) -> pa.Table:
    bills = np.array([bill_of(node) for node in nodes], np.float64).reshape(-1, 3)
    return pa.table(
        {
            "node": pa.array([node.index for node in nodes], pa.int32()),  # as in allocations; -1: never ready
            "pool": pa.array([node.pool.name for node in nodes], pa.string()),
            "purchase": pa.array([node.pool.purchase for node in nodes], pa.string()),
            "num_gpus": pa.array([node.pool.gpus_per_node for node in nodes], pa.int32()),
            "ordered_s": pa.array([node.ordered_s for node in nodes], pa.float64()),
            "launched_s": pa.array([node.launched_s for node in nodes], pa.float64()),  # billed from then on
            "warm_s": pa.array([node.warm_s for node in nodes], pa.float64()),  # waits in the warm pool from then on
            "ready_s": pa.array([node.ready_s for node in nodes], pa.float64()),
            "drain_s": pa.array([node.drain_s for node in nodes], pa.float64()),
            "terminated_s": pa.array([node.terminated_s for node in nodes], pa.float64()),
            "end": pa.array([node.end for node in nodes], pa.string()),
            "num_stockouts": pa.array([node.num_stockouts for node in nodes], pa.int32()),
            "usd_per_node_h": pa.array([node.pool.usd_per_node_h for node in nodes], pa.float64()),
            "billed_s": bills[:, 0],  # without the time in the warm pool
            "cost_usd": bills[:, 1],
            "cost_warm_usd": bills[:, 2],  # part of it
            "gpu_idle_w": pa.array([node.pool.gpu_idle_w for node in nodes], pa.float64()),
            "gpu_peak_w": pa.array([node.pool.gpu_peak_w for node in nodes], pa.float64()),
        }
    )
