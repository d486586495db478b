"""Samples of nodes and of jobs, one by one: large tables, for those who ask for them.

| table | a row is |
|---|---|
| node_metrics | a sample of a node, ready or draining (`node` as in nodes): shares of what it has, 0 without limit |
| job_metrics | a sample of an active job (`job` as in allocations): what it holds and uses, how long it has waited |
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from policies.nodes import bits
from simulator.cluster import Cluster
from simulator.pools import PoolSpec
from simulator.tables import RowWriter
from simulator.usage import Usage

NODE_SAMPLES = pa.schema(
    [
        ("time_s", pa.float64()),
        ("node", pa.int32()),
        ("gpu_utilisation_frac", pa.float64()),
        ("gpu_allocation_frac", pa.float64()),
        ("gpu_memory_utilisation_frac", pa.float64()),
        ("cpu_utilisation_frac", pa.float64()),
        ("memory_utilisation_frac", pa.float64()),
        ("network_utilisation_frac", pa.float64()),
    ]
)
JOB_SAMPLES = pa.schema(
    [
        ("time_s", pa.float64()),
        ("job", pa.int64()),
        ("gpus_held", pa.int32()),
        ("gpu_utilisation_frac", pa.float64()),
        ("gpu_memory_gib", pa.float64()),
        ("cpus", pa.float64()),
        ("memory_gib", pa.float64()),
        ("network_gib_per_s", pa.float64()),
        ("wait_s", pa.float64()),
    ]
)


class UnitSamples:
    """Takes them of a cluster, as it is at the moment."""

    def __init__(
        self,
        cluster: Cluster,
        usage: Usage,
        pools: Mapping[str, PoolSpec],
        folder: Path | None,
        nodes: bool,
        jobs: bool,
    ) -> None:
        self._cluster, self._usage, self._pools = cluster, usage, pools
        self._nodes = RowWriter(NODE_SAMPLES, folder and folder / "node_metrics.parquet") if nodes else None
        self._jobs = RowWriter(JOB_SAMPLES, folder and folder / "job_metrics.parquet") if jobs else None

    def take(self, time_s: float) -> None:
        for writer, rows in ((self._nodes, self._of_nodes), (self._jobs, self._of_jobs)):
            if writer:
                for row in rows(time_s):
                    writer.numbers.extend((time_s, *row))
                if writer.is_full:
                    writer.flush()

    def close(self) -> dict[str, pa.Table]:
        """Writes what is left; the tables by name where no folder is given, else none."""
        writers = {"node_metrics": self._nodes, "job_metrics": self._jobs}
        tables = {name: writer.close() for name, writer in writers.items() if writer}
        return {name: table for name, table in tables.items() if table is not None}

    def _of_nodes(self, time_s: float) -> Iterator[tuple[float, ...]]:
        view = self._cluster.view()
        used: dict[int, list[float]] = {}
        for job in view.jobs:
            for node, gpus in job.nodes:
                sums = used.setdefault(node, [0.0] * 5)
                for index, amount in enumerate(self._usage.of_job(job, gpus)):
                    sums[index] += amount
        draining = [node.index for node in self._cluster.draining]  # type: ignore[attr-defined]
        for node in sorted([*bits(view.nodes.open_mask), *draining]):
            spec = self._pools[view.nodes.pools[node]]
            gpus = spec.gpus_per_node
            per_node = (spec.cpus_per_node, spec.memory_gib_per_node, spec.network_gib_per_s)
            has = (gpus, gpus * spec.gpu_memory_gib, *per_node)
            shares = [
                amount / most if most < math.inf else 0.0
                for amount, most in zip(used.get(node, [0.0] * 5), has, strict=True)
            ]
            yield node, shares[0], 1.0 - view.nodes.free[node] / gpus, *shares[1:]

    def _of_jobs(self, time_s: float) -> Iterator[tuple[float, ...]]:
        for job in self._cluster.view().jobs:
            held = job.gpus_held
            busy, *amounts = self._usage.of_job(job, held)
            wait_s = 0.0 if held else time_s - job.since_s
            yield job.record, held, busy / held if held else 0.0, *amounts, wait_s  # type: ignore[attr-defined]
