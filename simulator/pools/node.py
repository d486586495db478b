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
LOST = (FAILED, RECLAIMED)


@dataclass(slots=True, eq=False)
class Node:
    """A row of nodes.parquet.

    | state | from | to |
    |---|---|---|
    | ordered | a plan, or the pool in place of what it lost | launched, cancelled, or never (stock-out) |
    | launched | the machine is there, and billed | ready or warm, cancelled, told of its reclaim |
    | warm | prepared, and stopped | resumed, told |
    | ready | takes jobs | draining, failed, told |
    | draining | finishes what it runs | drained, failed, told, or ready again |
    | told | finishes what it runs until it is reclaimed; nobody counts on it any more | reclaimed |
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
    is_spare: bool = False  # of the warm pool: policies don't count it
    num_stockouts: int = 0  # how often no machine was found for it

    @property
    def is_here(self) -> bool:
        """Ordered, and not gone."""
        return self.terminated_s == math.inf

    @property
    def is_launched(self) -> bool:
        """Its machine has been found."""
        return self.launched_s < math.inf
