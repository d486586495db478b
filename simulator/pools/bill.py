"""What one node costs, by the rule of its provider."""

from __future__ import annotations

import math

from simulator.billing import HOUR_S, billed_s
from simulator.pools.node import Node
from simulator.pools.spec import PoolSpec


class Bill:
    """Bills the nodes of a pool from launch to end: at its price, or at what the spot market asked meanwhile."""

    def __init__(self, spec: PoolSpec) -> None:
        self._spec = spec
        self.market = spec.spot.market()

    def of(self, node: Node) -> tuple[float, float, float]:
        """(seconds billed, USD, of which while it waited in the warm pool) of a node whose end is known."""
        spec, end_s = self._spec, node.terminated_s
        start_s, until_s = min(node.launched_s, end_s), min(node.warm_s, end_s)
        seconds = float(billed_s(start_s, until_s, spec.billing_granularity_s, spec.billing_minimum_s))
        warm_usd = (end_s - until_s) * (spec.warm.usd_per_node_h or 0.0) / HOUR_S
        if self.market is not None and self.market.usd_per_h:
            usd = self.market.usd(start_s, start_s + seconds)
        else:
            usd = seconds * spec.usd_per_node_h / HOUR_S
        return seconds, usd + warm_usd, warm_usd if math.isfinite(node.warm_s) else 0.0
