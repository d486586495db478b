"""What a policy may look at."""

from __future__ import annotations

from dataclasses import dataclass

from policies.jobs_view import JobsView, Pending
from policies.metrics_view import MetricsView
from policies.nodes import Nodes


@dataclass(slots=True)
class PoolView:
    """A node pool: nodes of one size and price that a scaling policy may add to and take from."""

    name: str
    gpus_per_node: int
    min_nodes: int
    max_nodes: int
    usd_per_node_h: float = 0.0
    num_ready: int = 0  # take jobs
    num_starting: int = 0  # ordered, and not yet ready
    num_draining: int = 0  # finish what they run, then go

    @property
    def num_nodes(self) -> int:
        """Ready or on the way: what a wanted number is compared with."""
        return self.num_ready + self.num_starting


class ClusterView:
    """The state of a cluster at a decision: read-only, live, no copies. Valid only while the decision lasts."""

    __slots__ = ("free_gpus", "jobs", "metrics", "nodes", "now_s", "pending", "pools")

    def __init__(self, jobs: JobsView, nodes: Nodes, pools: dict[str, PoolView]) -> None:
        self.now_s = 0.0
        self.jobs = jobs  # pending and running, rows and columns
        self.pending = Pending()  # jobs that hold nothing, in submit order
        self.nodes = nodes
        self.pools = pools
        self.metrics = MetricsView()  # what monitoring has measured
        self.free_gpus = 0  # on open nodes; with pooled placement below 0 while draining nodes still run jobs

    @property
    def capacity_gpus(self) -> int:
        """GPUs of nodes that take jobs now."""
        return self.nodes.capacity_gpus
