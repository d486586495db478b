"""What monitoring would read of each pool at this moment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from policies import METRICS, PoolView
from policies.nodes import bits
from simulator.cluster import Cluster
from simulator.pools import PoolSpec
from simulator.usage import Usage

_EMPTY = 0.0, 0.0, 0.0
AGE_COLUMN = list(METRICS).index("queue_age_s")  # where a pool's values have the age of the queue
_PER_NODE = ("cpus_per_node", "memory_gib_per_node", "network_gib_per_s")


Queue = tuple[float, ...]  # its length, its age (left 0), the GPUs that it asks for
Pools = tuple[tuple[float, ...], ...]  # of each pool, its values in the order of METRICS


class Reading(NamedTuple):
    """What holds from some moment on, until something changes."""

    pools: Pools  # the age of the queue is left 0 ...
    head_s: float  # ... for it grows: since when the oldest job has waited; nan: none waits

    def at(self, time_s: float) -> Pools:
        """The values of each pool at a time."""
        if self.head_s != self.head_s:
            return self.pools
        return tuple((*values[:AGE_COLUMN], time_s - self.head_s, *values[AGE_COLUMN + 1 :]) for values in self.pools)


class Readings:
    """Reads the state of a cluster. What it is asked again while nothing has changed it knows already.

    GPU figures are a pool's own. CPU, memory, network, GPU memory and how busy jobs keep their GPUs are known by job:
    they are a pool's own too where jobs have nodes, or there is one pool; else averages over the cluster. What has no
    limit (or none that is known) reads 0. The queue is that of the whole cluster.
    """

    def __init__(self, cluster: Cluster, usage: Usage, pools: Mapping[str, PoolSpec]) -> None:
        view = cluster.view()
        self._cluster, self._usage, self._pending = cluster, usage, view.pending
        self._views: Sequence[PoolView] = [view.pools[name] for name in pools]
        self._specs = list(pools.values())
        self._state: tuple[object, ...] = ()  # of the last reading
        self._last = Reading((), math.nan)
        self._shares: dict[tuple[int, int], tuple[float, ...]] = {}  # by GPUs held and nodes, where these say all

    def now(self) -> Reading:
        """The same object as before if nothing has changed."""
        pending = self._pending
        first = pending.first if pending.num else None
        nodes = [view.num_ready - view.num_without_gpus + view.num_draining for view in self._views]
        state = self._cluster.held_gpus, self._usage.num_changes, pending.num, pending.num_gpus, first, nodes
        if state != self._state:
            self._state = state
            queue = _EMPTY if first is None else (float(pending.num), 0.0, float(pending.num_gpus))
            self._last = Reading(self._read(nodes, queue), math.nan if first is None else first.submit_s)
        return self._last

    def _read(self, nodes: Sequence[int], queue: Queue) -> Pools:
        usage, held = self._usage, self._cluster.held_gpus
        if len(nodes) == 1:
            if usage.is_needed:
                return (_values(self._specs[0], nodes[0], held, usage.used(0), queue),)
            shares = self._shares.get((held, nodes[0]))
            if shares is None:
                shares = self._shares[held, nodes[0]] = _values(self._specs[0], nodes[0], held, usage.used_by(held), ())
            return (shares + queue,)
        if not usage.unplaced_gpus:
            return tuple(
                _values(spec, count, usage.held_gpus(index), usage.used(index), queue)
                for index, (spec, count) in enumerate(zip(self._specs, nodes, strict=True))
            )
        return self._read_pooled(nodes, queue)

    def _read_pooled(self, nodes: Sequence[int], queue: Queue) -> Pools:
        """Where jobs have no nodes: a pool holds its share of all that is held, and uses what all do on average."""
        view = self._cluster.view()
        held, used = self._usage.in_all()
        open_gpus = {spec.name: 0 for spec in self._specs}
        for node in bits(view.nodes.open_mask):
            open_gpus[view.nodes.pools[node]] += view.nodes.sizes[node].num_gpus
        total = sum(open_gpus.values())
        share = [_over(amount, capacity) for amount, capacity in zip(used, self._capacities(nodes), strict=True)]
        busy = used[0] / held if held else 0.0
        found = []
        for spec, count in zip(self._specs, nodes, strict=True):
            allocated = _over(held * open_gpus[spec.name] / total if total else 0.0, count * spec.gpus_per_node)
            found.append((allocated * busy, allocated, *share[1:], *queue))
        return tuple(found)

    def _capacities(self, nodes: Sequence[int]) -> list[float]:
        """Of all pools together: GPUs, GPU memory, CPUs, memory, network."""
        each = [
            (spec.gpus_per_node, spec.gpus_per_node * spec.gpu_memory_gib, *(getattr(spec, n) for n in _PER_NODE))
            for spec in self._specs
        ]
        return [sum(amounts[i] * count for amounts, count in zip(each, nodes, strict=True) if count) for i in range(5)]


def _values(spec: PoolSpec, num_nodes: int, held: int, used: Sequence[float], queue: Queue) -> tuple[float, ...]:
    gpus = num_nodes * spec.gpus_per_node
    busy, gpu_memory_gib, cpus, memory_gib, network_gib_per_s = used
    return (
        busy / gpus if gpus else 0.0,
        held / gpus if gpus else 0.0,
        _over(gpu_memory_gib, gpus * spec.gpu_memory_gib) if gpus else 0.0,
        _over(cpus, num_nodes * spec.cpus_per_node) if num_nodes else 0.0,
        _over(memory_gib, num_nodes * spec.memory_gib_per_node) if num_nodes else 0.0,
        _over(network_gib_per_s, num_nodes * spec.network_gib_per_s) if num_nodes else 0.0,
        *queue,
    )


def _over(amount: float, capacity: float) -> float:
    """The share; 0 of nothing, or of what has no limit."""
    return amount / capacity if 0 < capacity < math.inf else 0.0
