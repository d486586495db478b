"""Node pools: machines that are ordered, come after a while, may be lost, are let go, and cost money meanwhile."""

from simulator.pools.hazards import Failures, Spot
from simulator.pools.node import Node
from simulator.pools.node_pools import NodePools
from simulator.pools.spec import PoolSpec
from simulator.pools.startup import NodeStartup
from simulator.pools.warm import WarmPool

__all__ = ["Failures", "Node", "NodePools", "NodeStartup", "PoolSpec", "Spot", "WarmPool"]
