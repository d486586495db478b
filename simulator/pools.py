"""Node pools: machines that are ordered, come after a while, are drained and let go, and cost money meanwhile."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from policies import Nodes, NodeSize, PoolView
from policies.nodes import bits
from simulator.clock import Clock
from simulator.errors import ConfigError


@dataclass(frozen=True)
class PoolSpec:
    """One pool: nodes of one kind, how many there may be, what they cost and how long they take to come.

    `provision_s` is the mean time from ordering a node to its being ready, billed from the order on;
    `provision_cv` its coefficient of variation (0: constant, else log-normal).
    """

    name: str = "default"
    num_nodes: int = 8  # at the start, ready
    min_nodes: int | None = None  # None: num_nodes
    max_nodes: int | None = None  # None: num_nodes
    gpus_per_node: int = 8
    cpus_per_node: float = math.inf
    memory_gib_per_node: float = math.inf
    gpu_memory_gib: float = math.inf  # of each GPU; inf: not known
    network_gib_per_s: float = math.inf  # between nodes, a node
    gpu_type: str = ""
    usd_per_node_h: float = 0.0
    price_source: str = ""
    provision_s: float = 300.0
    provision_cv: float = 0.0
    drain_timeout_s: float = math.inf  # jobs still there after that are preempted

    def __post_init__(self) -> None:
        rules = {
            "num_nodes": (self.num_nodes >= (self.max_nodes is None), "must be 1 or more, or 0 with a max_nodes"),
            "min_nodes": (0 <= self.fewest <= self.num_nodes, f"must lie in 0..num_nodes={self.num_nodes}"),
            "max_nodes": (self.most >= self.num_nodes, f"must be at least num_nodes={self.num_nodes}"),
            "gpus_per_node": (self.gpus_per_node >= 1, "must be 1 or more"),
            "cpus_per_node": (self.cpus_per_node > 0, "must be more than 0"),
            "memory_gib_per_node": (self.memory_gib_per_node > 0, "must be more than 0"),
            "gpu_memory_gib": (self.gpu_memory_gib > 0, "must be more than 0"),
            "network_gib_per_s": (self.network_gib_per_s > 0, "must be more than 0"),
            "usd_per_node_h": (0 <= self.usd_per_node_h < math.inf, "must be 0 or more"),
            "provision_s": (0 <= self.provision_s < math.inf, "must be a number of seconds, 0 or more"),
            "provision_cv": (0 <= self.provision_cv < math.inf, "must be 0 or more"),
            "drain_timeout_s": (self.drain_timeout_s >= 0, "must be 0 or more (inf: wait for the jobs)"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ConfigError(f"cluster.{name}={getattr(self, name)} (pool {self.name!r}): {rule}")

    @property
    def fewest(self) -> int:
        return self.num_nodes if self.min_nodes is None else self.min_nodes

    @property
    def most(self) -> int:
        return self.num_nodes if self.max_nodes is None else self.max_nodes

    @property
    def size(self) -> NodeSize:
        return NodeSize(self.gpus_per_node, self.cpus_per_node, self.memory_gib_per_node)


@dataclass(slots=True, eq=False)
class Node:
    """The life of one node; a row of nodes.parquet.

    | state | from | to |
    |---|---|---|
    | starting | ordered, billed | ready, or cancelled |
    | ready | takes jobs | draining |
    | draining | finishes what it runs | terminated, or ready again |
    """

    number: int  # in order of ordering
    pool: PoolSpec
    ordered_s: float
    ready_s: float = math.inf
    drain_s: float = math.inf
    terminated_s: float = math.inf
    index: int = -1  # in `Nodes`, once ready


class NodePools:
    """Moves pools towards the numbers that plans ask for.

    Args:
        on_change: called when capacity has changed, so that a decision follows.
        on_timeout: called with the index of a node whose drain has timed out.
        on_drain: called with the index of a node that begins to drain.
    """

    def __init__(
        self,
        clock: Clock,
        nodes: Nodes,
        specs: Mapping[str, PoolSpec],
        rngs: Mapping[str, np.random.Generator],
        on_change: Callable[[], None],
        on_timeout: Callable[[int], None],
        on_drain: Callable[[int], None] = lambda index: None,
    ) -> None:
        self._clock, self._nodes, self._specs, self._rngs = clock, nodes, specs, rngs
        self._on_change, self._on_timeout, self._on_drain = on_change, on_timeout, on_drain
        self.log: list[Node] = []
        self.draining: list[Node] = []
        self._starting: dict[str, list[Node]] = {name: [] for name in specs}
        self._ready: dict[int, Node] = {}  # by index
        self.views = {
            name: PoolView(
                name=name,
                gpus_per_unit=spec.gpus_per_node,
                min_units=spec.fewest,
                max_units=spec.most,
                usd_per_unit_h=spec.usd_per_node_h,
                lead_s=spec.provision_s,
            )
            for name, spec in specs.items()
        }
        self._begin()

    def _begin(self) -> None:
        """Makes the nodes that are there from the start."""
        for name, spec in self._specs.items():
            for _ in range(spec.num_nodes):
                self._make_ready(self._order(name))

    @property
    def num_starting(self) -> int:
        return sum(map(len, self._starting.values()))

    def scale(self, name: str, count: int) -> None:
        """Orders, cancels or drains nodes until ready and starting ones make `count`."""
        missing = count - self.views[name].num_units
        if missing > 0:
            for node in [node for node in self.draining if node.pool.name == name][::-1][:missing]:
                self._undrain(node)
                missing -= 1
                self._clock.until(self._clock.now, lambda _: self._on_change())  # there is room now
            for _ in range(missing):
                self._provision(self._order(name))
        elif missing < 0:
            starting = self._starting[name]
            cancelled = starting[missing:]  # the last ordered
            del starting[missing:]
            for node in cancelled:
                self._terminate(node)
            self.views[name].num_starting -= len(cancelled)
            for node in self._emptiest(name, -missing - len(cancelled)):
                self._drain(node)

    def release_drained(self, held_gpus: int, is_pooled: bool) -> None:
        """Lets go of draining nodes that run nothing any more."""
        spare = self._nodes.capacity_gpus + sum(node.pool.gpus_per_node for node in self.draining) - held_gpus
        for node in list(self.draining):
            size = node.pool.gpus_per_node
            if spare >= size if is_pooled else self._nodes.free[node.index] == size:
                spare -= size
                self._terminate(node)
                self.draining.remove(node)
                self.views[node.pool.name].num_draining -= 1

    def close(self, now_s: float) -> None:
        """Ends every node's bill: the run is over."""
        for node in self.log:
            node.terminated_s = min(node.terminated_s, now_s)

    def _order(self, name: str) -> Node:
        node = Node(len(self.log), self._specs[name], self._clock.now)
        self.log.append(node)
        self._starting[name].append(node)
        self.views[name].num_starting += 1
        return node

    def _provision(self, node: Node) -> None:
        """Sees to it that an ordered node comes, in time."""
        self._clock.process(self._start(node))

    def _terminate(self, node: Node) -> None:
        """Lets a node go; its bill ends."""
        node.terminated_s = self._clock.now

    def _start(self, node: Node) -> Generator[Any, Any, None]:
        spec = node.pool
        delay_s = spec.provision_s
        if spec.provision_cv and delay_s:
            sigma = math.sqrt(math.log1p(spec.provision_cv**2))
            delay_s *= math.exp(self._rngs[spec.name].normal(-sigma * sigma / 2, sigma))
        yield self._clock.timeout(delay_s)
        if node.terminated_s == math.inf:
            self._make_ready(node)
            self._on_change()

    def _make_ready(self, node: Node) -> None:
        view = self.views[node.pool.name]
        self._starting[node.pool.name].remove(node)
        view.num_starting -= 1
        view.num_ready += 1
        node.ready_s = self._clock.now
        node.index = self._nodes.add(node.pool.size, node.pool.name)
        self._ready[node.index] = node

    def _emptiest(self, name: str, count: int) -> list[Node]:
        """The nodes to drain: those that run the least, the youngest first."""
        mine = [node for i in bits(self._nodes.open_mask) if (node := self._ready[i]).pool.name == name]
        mine.sort(key=lambda node: (-self._nodes.free[node.index], -node.index))
        return mine[:count]

    def _drain(self, node: Node) -> None:
        self._nodes.close(node.index)
        node.drain_s = self._clock.now
        self.draining.append(node)
        view = self.views[node.pool.name]
        view.num_ready -= 1
        view.num_draining += 1
        self._on_drain(node.index)
        if node.pool.drain_timeout_s < math.inf:
            self._clock.process(self._time_out(node, node.drain_s))

    def _undrain(self, node: Node) -> None:
        self._nodes.reopen(node.index)
        node.drain_s = math.inf
        self.draining.remove(node)
        view = self.views[node.pool.name]
        view.num_ready += 1
        view.num_draining -= 1

    def _time_out(self, node: Node, drain_s: float) -> Generator[Any, Any, None]:
        yield self._clock.timeout(node.pool.drain_timeout_s)
        if node.drain_s == drain_s and node.terminated_s == math.inf:
            self._on_timeout(node.index)
