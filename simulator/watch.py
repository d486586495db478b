"""Lets quiet time pass: wakes loops that sleep in time, and has monitoring catch up.

Whenever time is about to go on, from what has just happened to what happens next, all stays as it is until then. What
the ticks in between would have found is known at once: samples are all alike, and a loop that sleeps
(`policies.loops`) would have gone on doing nothing, unless its target has changed or a sample is none to sleep by. Then
its first tick from there on becomes a decision.
"""

from __future__ import annotations

import math
from collections.abc import Hashable

from policies import METRICS
from policies.loops import Loop, Loops
from simulator.clock import Clock
from simulator.cluster import Cluster
from simulator.monitor import Monitor
from simulator.readings import Pools


class Watch:
    """Is told by the clock before time passes, and by the cluster before a decision.

    Args:
        pools: their names, in the order of samples.
    """

    def __init__(self, clock: Clock, cluster: Cluster, loops: Loops, monitor: Monitor, pools: list[str]) -> None:
        self._clock, self._cluster, self._loops, self._monitor = clock, cluster, loops, monitor
        self._place = {(pool, metric): (i, j) for i, pool in enumerate(pools) for j, metric in enumerate(METRICS)}
        self._version: Hashable = None  # of jobs and nodes, when it last looked
        self._bands, self._checks = loops.bands, list[tuple[Loop, int, int, float, float]]()
        monitor.watch = self
        clock.on_pass, clock.pass_s = self._pass, 0.0
        cluster.on_ask = self._ask

    def _pass(self, until_s: float) -> None:
        """Nothing happens before `until_s`, unless a loop is woken."""
        loops = self._loops
        if self._clock.is_stirred or loops.heed_jobs:
            until_s = min(until_s, self._stir())
        pass_s = self._monitor.catch_up(until_s)
        self._clock.pass_s = min(until_s, pass_s) if loops.heed_jobs else pass_s

    def _ask(self) -> None:
        """A decision is about to be made; samples of this moment come before it."""
        loops = self._loops
        if self._clock.is_stirred or loops.heed_jobs:
            self._stir()
        pass_s = self._monitor.look()
        self._clock.pass_s = self._clock._now if loops.heed_jobs else pass_s

    def _stir(self) -> float:
        """Wakes those whose world has changed; returns when that brings a decision."""
        loops, due_s, cluster, from_s = self._loops, math.inf, self._cluster, self._clock._now
        version = cluster.version if loops.heed_jobs else None
        if not self._clock.is_stirred and version == self._version:
            return due_s
        self._clock.is_stirred, self._version = False, version
        if cluster.last_decision_s == from_s:  # their tick of this moment is over
            from_s = math.nextafter(from_s, math.inf)
        if loops.stir(cluster.view(), version, from_s):
            due_s = loops.due_s
            self._cluster.decide_at(due_s)
        if loops.bands:
            for pools in self._monitor.on_their_way():  # taken before a loop fell asleep, and not seen by then
                due_s = min(due_s, self.see(from_s, pools))
        return due_s

    # ---- for the monitor
    @property
    def is_needed(self) -> bool:
        return bool(self._loops.bands)

    @property
    def heeds_age(self) -> bool:
        """Whether a loop sleeps by the age of the queue, which differs from sample to sample."""
        return self._loops.heed_age

    def see(self, seen_s: float, pools: Pools) -> float:
        """Policies see a sample of these values at `seen_s`; returns when that brings a decision."""
        loops, due_s = self._loops, math.inf
        if loops.bands is not self._bands:
            self._bands = loops.bands
            self._checks = [(loop, *self._place[loop.name, metric], *band) for loop, metric, band in loops.bands]
        for loop, pool, index, low, high in self._checks:
            if not low <= pools[pool][index] <= high:
                loops.wake(loop, seen_s)
                self._cluster.decide_at(loops.due_s)
                due_s = loops.due_s
        return due_s
