"""Takes nodes away: at random, by their spec's rates, or as traces say."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np

from simulator.clock import Clock
from simulator.pools.node import Node
from simulator.pools.node_pools import NodePools
from simulator.pools.spec import PoolSpec
from simulator.pools.traces import FailureTrace, Market

_STREAMS = ("spot", "market", "failures")


class FaultInjector:
    """Sees to the failures of ready nodes, and to the notices of spot ones from their launch on.

    Each node draws its own times when it is launched and when it is ready, in that order of nodes, so that what befalls
    the k-th node of a pool is the same under any policy. Which nodes a market takes has a stream of its own.

    Args:
        on_market: called when another number of machines can be had, so that a decision follows.
    """

    def __init__(
        self,
        clock: Clock,
        pools: NodePools,
        specs: Mapping[str, PoolSpec],
        streams: Callable[[str], np.random.Generator],
        on_market: Callable[[], None],
    ) -> None:
        self._clock, self._pools, self._on_market = clock, pools, on_market
        self._rngs = {(kind, name): streams(f"{kind} {name}") for kind in _STREAMS for name in specs}
        pools.on_launch, pools.on_ready = self._launched, self._ready
        for node in list(pools.log):  # those that are there from the start
            self._launched(node)
            if node.ready_s < math.inf:
                self._ready(node)
        for name, spec in specs.items():
            if (market := spec.spot.market()) is not None:
                clock.process(self._follow_market(name, market))
            if (failures := spec.failures.read()) is not None:
                clock.process(self._follow_failures(name, failures))

    def _launched(self, node: Node) -> None:
        mean_s = node.pool.spot.mean_life_s
        if mean_s < math.inf:
            at_s = self._clock.now + float(self._rngs["spot", node.pool.name].exponential(mean_s))
            self._clock.until(at_s, lambda _: self._pools.warn([node]))

    def _ready(self, node: Node) -> None:
        mean_s = node.pool.failures.mtbf_s
        if mean_s < math.inf:
            at_s = self._clock.now + float(self._rngs["failures", node.pool.name].exponential(mean_s))
            self._clock.until(at_s, lambda _: self._pools.fail(node))

    def _follow_market(self, name: str, market: Market) -> Generator[Any, Any, None]:
        """Reclaims what can no longer be had, any of the nodes alike, and tells policies what a node costs."""
        rng, view, before = self._rngs["market", name], self._pools.views[name], math.nan
        while True:
            now_s = self._clock.now
            if (price := market.price_at(now_s)) is not None:
                view.usd_per_unit_h = price
                self._clock.stir()
            mine = [node for node in self._pools.there(name) if not node.is_told]
            excess = len(mine) - market.available_at(now_s)
            if excess > 0:
                taken = rng.permutation(len(mine))[: math.ceil(excess)]
                self._pools.warn([mine[place] for place in taken.tolist()])
            if market.available_at(now_s) != before:
                before = market.available_at(now_s)
                self._on_market()
            next_s = market.next_change_s(now_s)
            if next_s == math.inf:
                return
            yield self._clock.until(next_s, _ignore)

    def _follow_failures(self, name: str, failures: FailureTrace) -> Generator[Any, Any, None]:
        for time_s, place in zip(failures.time_s, failures.node, strict=True):
            yield self._clock.until(time_s, _ignore)
            mine = [node for node in self._pools.there(name) if node.ready_s < math.inf]
            if mine:
                self._pools.fail(mine[place % len(mine)])


def _ignore(_: object) -> None:
    """What an event calls that a process waits for."""
