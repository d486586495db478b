"""Monitoring: what a scaling policy sees is sampled, and late, as in life."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from policies import METRICS, ClusterView, PoolView
from policies.nodes import bits
from simulator.clock import SAMPLE, Call, Clock
from simulator.cluster import Cluster
from simulator.errors import ConfigError
from simulator.pools import PoolSpec
from simulator.records import Recorder
from workloads import JobTable


@dataclass(frozen=True, slots=True)
class MonitorOptions:
    """Every `interval_s` a sample of each pool; policies see it `delay_s` later."""

    interval_s: float = 60.0
    delay_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.interval_s < math.inf:
            raise ConfigError(f"monitor.interval_s={self.interval_s}: must be a number of seconds, more than 0")
        if not 0 <= self.delay_s < math.inf:
            raise ConfigError(f"monitor.delay_s={self.delay_s}: must be a number of seconds, 0 or more")


class Monitor:
    """Samples every pool at an interval, into the view's metrics and the records.

    GPU figures are the pool's own. CPU, memory, network and how busy jobs keep their GPUs are known by job, not by
    node: they are averages over the cluster.
    """

    def __init__(
        self,
        clock: Clock,
        cluster: Cluster,
        table: JobTable,
        pools: Mapping[str, PoolSpec],
        recorder: Recorder,
        options: MonitorOptions,
    ) -> None:
        self._clock, self._cluster, self._table, self._pools = clock, cluster, table, pools
        self._recorder, self._options = recorder, options
        self._ticks = 0
        self._call = Call(self._tick)
        clock.call_at(0.0, self._call, SAMPLE)

    def _tick(self) -> None:
        view, options = self._cluster.view(), self._options
        for index, (name, values) in enumerate(self._sample(view).items()):
            self._recorder.metrics.numbers.extend((view.now_s, index, *(values[metric] for metric in METRICS)))
            if options.delay_s:
                delivery = partial(view.metrics.add, name, view.now_s, values)
                self._clock.call_at(view.now_s + options.delay_s, Call(delivery), SAMPLE)
            else:
                view.metrics.add(name, view.now_s, values)
        self._ticks += 1  # a product, not a running sum: no drift
        self._clock.call_at(self._ticks * options.interval_s, self._call, SAMPLE)

    def _sample(self, view: ClusterView) -> dict[str, dict[str, float]]:
        jobs, table = view.jobs, self._table
        held = jobs.gpus_held
        running = held > 0
        rows, gpus = jobs.row_in_table[running], held[running]
        held_gpus = int(gpus.sum())
        ready = {name: _num_offering(view.pools[name]) for name in self._pools}

        def used_of(per_gpu: np.ndarray, capacity_per_node: str) -> float:
            capacity = sum(getattr(self._pools[name], capacity_per_node) * count for name, count in ready.items())
            return float(per_gpu[rows] @ gpus) / capacity if 0 < capacity < math.inf else 0.0

        head = next(iter(view.pending), None)
        shared = {
            "cpu_utilisation_frac": used_of(table.cpus_per_gpu, "cpus_per_node"),
            "memory_utilisation_frac": used_of(table.memory_gib_per_gpu, "memory_gib_per_node"),
            "network_utilisation_frac": used_of(table.network_gib_per_s_per_gpu, "network_gib_per_s"),
            "queue_length": float(len(view.pending)),
            "queue_age_s": view.now_s - head.submit_s if head else 0.0,
            "pending_gpus": float(jobs.num_gpus[~running].sum()),
        }
        busy = float(table.gpu_utilisation_frac[rows] @ gpus) / held_gpus if held_gpus else 0.0
        samples = {}
        for name, count in ready.items():
            capacity = count * self._pools[name].gpus_per_node
            allocated = self._held_in(view, name, held_gpus) / capacity if capacity else 0.0
            samples[name] = shared | {
                "gpu_allocation_frac": allocated,
                "gpu_utilisation_frac": allocated * busy,
            }
        return samples

    def _held_in(self, view: ClusterView, name: str, held_gpus: int) -> float:
        """GPUs held in a pool; where placement is pooled, its share of those held anywhere."""
        nodes = view.nodes
        if len(self._pools) == 1:
            return held_gpus
        if not any(job.nodes for job in view.jobs if job.is_running):
            total = sum(nodes.sizes[i].num_gpus for i in bits(nodes.open_mask))
            mine = sum(nodes.sizes[i].num_gpus for i in bits(nodes.open_mask) if nodes.pools[i] == name)
            return held_gpus * mine / total if total else 0.0
        return sum(nodes.sizes[i].num_gpus - nodes.free[i] for i, pool in enumerate(nodes.pools) if pool == name)


def _num_offering(pool: PoolView) -> int:
    """Nodes whose GPUs are there, free or held."""
    return pool.num_ready - pool.num_without_gpus + pool.num_draining
