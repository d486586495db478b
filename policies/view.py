"""What a policy may look at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from policies.jobs_view import JobsView, Pending
from policies.metrics_view import MetricsView
from policies.nodes import Nodes
from policies.reasons import Reasons


@dataclass(slots=True, kw_only=True)
class Target:
    """Something that a scaling policy adds units to and takes units from: nodes of a pool, replicas of a service."""

    name: str
    gpus_per_unit: int
    min_units: int
    max_units: int
    usd_per_unit_h: float = 0.0
    lead_s: float | None = None  # how long a unit takes to come, as a rule; None: not known
    num_ready: int = 0  # take jobs, or requests
    num_starting: int = 0  # asked for, and not yet ready
    num_draining: int = 0  # finish what they have, then go
    num_failed: int = 0  # so far: asked for, and did not come

    @property
    def num_units(self) -> int:
        """Ready or on the way: what a wanted number is compared with."""
        return self.num_ready + self.num_starting


@dataclass(slots=True, kw_only=True)
class PoolView(Target):
    """A node pool: its units are nodes of one size and price."""

    num_without_gpus: int = 0  # of those ready: have joined the cluster, and don't offer their GPUs yet


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSample:
    """One replica as a container orchestrator sees it: its state, and what was last measured of it alone."""

    values: Mapping[str, float] = field(default_factory=dict)  # by metric; one that isn't there is missing
    requests: Mapping[str, float] = field(default_factory=dict)  # by metric: what was asked for; else 1
    phase: str = "running"  # or pending (not all of it has been started), or failed
    is_ready: bool = True
    is_deleting: bool = False
    start_s: float | None = None  # None: not yet
    ready_changed_s: float = -math.inf  # when `is_ready` last changed
    measured_s: float = math.inf  # when `values` were, over `window_s`
    window_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class ServiceView(Target):
    """An inference service: its units are replicas, each a gang of GPUs (`jobs` has them beside the training jobs)."""

    num_pending: int = 0  # of those starting: wait for GPUs
    pods: Sequence[PodSample] = ()  # its replicas one by one; empty where only averages are known


class ClusterView:
    """The state of a cluster at a decision: read-only, live, no copies. Valid only while the decision lasts."""

    __slots__ = ("explain", "free_gpus", "jobs", "metrics", "nodes", "now_s", "pending", "pools", "services")

    def __init__(
        self, jobs: JobsView, nodes: Nodes, pools: dict[str, PoolView], services: dict[str, ServiceView] | None = None
    ) -> None:
        self.now_s = 0.0
        self.jobs = jobs  # pending and running, rows and columns; replicas of services among them
        self.pending = Pending()  # jobs that hold nothing, in submit order
        self.nodes = nodes
        self.pools = pools
        self.services = services or {}
        self.metrics = MetricsView()  # what monitoring has measured
        self.explain: Reasons | None = None  # what scaling policies say their reasons to; None: nobody wants to know
        self.free_gpus = 0  # on open nodes; with pooled placement below 0 while draining nodes still run jobs

    def target(self, name: str) -> Target:
        """The service or pool of a name."""
        return self.services.get(name) or self.pools[name]

    @property
    def capacity_gpus(self) -> int:
        """GPUs of nodes that take jobs now."""
        return self.nodes.capacity_gpus
