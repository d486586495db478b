"""What a node pool is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from policies import NodeSize
from simulator.catalogue.offer import check_purchase
from simulator.errors import ConfigError
from simulator.pools.hazards import Failures, Spot
from simulator.pools.startup import NodeStartup
from simulator.pools.warm import WarmPool

SPOT, COMMITTED = "spot", "committed"


@dataclass(frozen=True)
class PoolSpec:
    """One pool: nodes of one kind, how many there may be, what they cost, how they come and what takes them away.

    Args:
        num_nodes: at the start, ready.
        min_nodes, max_nodes: what scaling keeps to; None: num_nodes.
        purchase: on_demand; spot, which may be reclaimed; or committed…, paid for as long as the run lasts, so that
            such a pool has one size, and a node that takes the place of one that failed is billed from its order on.
        gpu_memory_gib: of each GPU; inf: not known.
        network_gib_per_s: between nodes, a node.
        billing_granularity_s, billing_minimum_s: a step that has begun is billed whole, and so much at least.
        gpu_idle_w, gpu_peak_w: power of one GPU, idle and fully busy; None: not known, nor is energy then.
        provision_s: mean time from ordering a node to its being ready, billed from the order on; `provision_cv` is its
            coefficient of variation (0: constant, else log-normal). Counts only where `startup` has no stages.
        replaces: nodes that fail or are reclaimed are ordered anew at once; else scaling policies see to it.
        drain_timeout_s: jobs still there after that are preempted.
    """

    name: str = "default"
    num_nodes: int = 8
    min_nodes: int | None = None
    max_nodes: int | None = None
    gpus_per_node: int = 8
    cpus_per_node: float = math.inf
    memory_gib_per_node: float = math.inf
    gpu_memory_gib: float = math.inf
    network_gib_per_s: float = math.inf
    gpu_type: str = ""
    purchase: str = "on_demand"
    usd_per_node_h: float = 0.0
    price_source: str = ""
    billing_granularity_s: float = 0.0
    billing_minimum_s: float = 0.0
    gpu_idle_w: float | None = None
    gpu_peak_w: float | None = None
    provision_s: float = 300.0
    provision_cv: float = 0.0
    startup: NodeStartup = field(default_factory=NodeStartup)
    warm: WarmPool = field(default_factory=WarmPool)
    failures: Failures = field(default_factory=Failures)
    spot: Spot = field(default_factory=Spot)
    replaces: bool = True
    drain_timeout_s: float = math.inf

    def __post_init__(self) -> None:
        try:
            check_purchase(self.purchase)
        except ConfigError as error:
            raise ConfigError(f"cluster.{error}") from None
        rules = {
            "num_nodes": (self.num_nodes >= (self.max_nodes is None), "must be 1 or more, or 0 with a max_nodes"),
            "min_nodes": (0 <= self.fewest <= self.num_nodes, f"must lie in 0..num_nodes={self.num_nodes}"),
            "max_nodes": (
                self.most >= self.num_nodes,
                f"must be at least num_nodes={self.num_nodes}"
                + (f", and at least min_nodes={self.fewest}" if self.most < self.fewest else ""),
            ),
            "gpus_per_node": (self.gpus_per_node >= 1, "must be 1 or more"),
            "cpus_per_node": (self.cpus_per_node > 0, "must be more than 0"),
            "memory_gib_per_node": (self.memory_gib_per_node > 0, "must be more than 0"),
            "gpu_memory_gib": (self.gpu_memory_gib > 0, "must be more than 0"),
            "network_gib_per_s": (self.network_gib_per_s > 0, "must be more than 0"),
            "replaces": (
                self.replaces or not (self.is_committed or self.failures.repair_s is not None),
                "must be true where nodes are committed, or have a time to repair (failures.repair_s)",
            ),
            **{
                name: (0 <= getattr(self, name) < math.inf, "must be a number, 0 or more")
                for name in ("usd_per_node_h", "billing_granularity_s", "billing_minimum_s")
            },
            **{
                name: (value is None or 0 <= value < math.inf, "must be a number of watts, 0 or more")
                for name in ("gpu_idle_w", "gpu_peak_w")
                for value in [getattr(self, name)]
            },
            "provision_s": (0 <= self.provision_s < math.inf, "must be a number of seconds, 0 or more"),
            "provision_cv": (0 <= self.provision_cv < math.inf, "must be 0 or more"),
            "drain_timeout_s": (self.drain_timeout_s >= 0, "must be 0 or more (inf: wait for the jobs)"),
        }
        if self.is_committed and self.fewest != self.most:
            rule = "what is committed is paid for, used or not: min_nodes and max_nodes must be the same, or null"
            rules["purchase"] = (False, rule)
        elif self.is_committed and math.isinf(self.startup.retry_s):
            rules["purchase"] = (False, "what is committed is never given up: startup.retry_s must be finite")
        elif self.spot.is_on and not self.is_spot:
            rule = "such nodes are never reclaimed: leave spot.mean_life_s and spot.trace, or set spot"
            rules["purchase"] = (False, rule)
        if self.gpu_idle_w is not None and self.gpu_peak_w is not None and self.gpu_idle_w > self.gpu_peak_w:
            rules["gpu_idle_w"] = (False, f"must be at most gpu_peak_w={self.gpu_peak_w:g}")
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

    @property
    def is_spot(self) -> bool:
        return self.purchase == SPOT

    @property
    def is_committed(self) -> bool:
        return self.purchase.startswith(COMMITTED)

    @property
    def lead_s(self) -> float:
        """How long a node takes to come, as a rule: from the warm pool where there is one."""
        if self.warm.nodes:
            return self.warm.resume_s
        return self.startup.typical_s if self.startup.has_stages else self.provision_s
