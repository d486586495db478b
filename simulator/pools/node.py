"""The life of one machine."""

from __future__ import annotations

import math
from dataclasses import dataclass

from simulator.pools.spec import PoolSpec

# How a node ended.
STILL_THERE, DRAINED, CANCELLED, STOCK_OUT, FAILED, RECLAIMED, RESUMED = ENDS = (
    "still_there",  # when the run did
    "drained",  # let go by a plan
    "cancelled",  # let go before it was ready
    "stock_out",  # never launched
    "failed",
    "reclaimed",  # by the provider, after its notice
    "resumed",  # was in the warm pool, and goes on as another row
)


@dataclass(slots=True, eq=False)
class Node:
    """A row of nodes.parquet.

    | state | from | to |
    |---|---|---|
    | ordered | a plan, or the pool in place of what it lost | launched, cancelled, or never (stock-out) |
    | launched | the machine is there, and billed | ready or warm, cancelled, failed, reclaimed |
    | warm | prepared, and stopped | resumed |
    | ready | takes jobs | draining, failed, told of its reclaim |
    | draining | finishes what it runs | terminated, or ready again |
    """

    number: int  # in order of ordering
    pool: PoolSpec
    ordered_s: float
    launched_s: float = math.inf
    warm_s: float = math.inf
    ready_s: float = math.inf
    drain_s: float = math.inf
    terminated_s: float = math.inf
    end: str = STILL_THERE
    index: int = -1  # in `Nodes`, once ready
    is_seen: bool = False  # policies count it as ready
    is_told: bool = False  # that it will be reclaimed
    waits: bool = False  # no machine was found: the order will be placed again

    @property
    def is_here(self) -> bool:
        """Ordered, and not gone."""
        return self.terminated_s == math.inf
