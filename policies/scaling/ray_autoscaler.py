"""Ray's cluster autoscaler."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from policies.quiet import Quiet, next_of
from policies.registry import register
from policies.scaling.joint import a_pool
from policies.scaling.options import bounded, bounds, require, require_bounds
from policies.scaling.packing import Pod, Room, Running, Waiting, coming, fits_whole, node_size, rooms_of, state_of
from policies.view import ClusterView, PoolView, Target


def demands(gangs: Sequence[Sequence[Pod]]) -> list[Sequence[Pod]]:
    """Gangs of several pods before single ones, each the largest first, else in the order given."""
    return sorted(gangs, key=lambda gang: (len(gang) == 1, -sum(pod.gpus for pod in gang)))


def missing_nodes(gangs: Sequence[Sequence[Pod]], rooms: list[Room], empty: Room, at_most: int) -> int:
    """Puts gangs into rooms, with more of them where they take it; returns how many more.

    One that even with `at_most` more would not fit is passed over.
    """
    there = len(rooms)
    for gang in gangs:
        before = len(rooms)
        while not fits_whole(gang, rooms):
            if len(rooms) == there + at_most or len(rooms) == before + len(gang):
                del rooms[before:]
                break
            rooms.append(empty.copy())
    return len(rooms) - there


def launch_limit(upscaling_speed: float, num_running: int) -> int:
    """How many nodes of a type may be launched at once."""
    return max(1, math.ceil(upscaling_speed * max(num_running, 1)))


@register("scaling", "ray_autoscaler")
@dataclass
class RayAutoscaler:
    """The Ray cluster autoscaler, for one node type (as of autumn 2026).

    What waits is packed into what is free, on nodes that are there or on their way, gangs before single tasks; nodes
    are launched for what is left, at most `upscaling_speed` times those that run at each look. A node on which nothing
    has been seen to run for `idle_timeout_s` goes. A gang that even all nodes could not hold is passed over.

    A pool has one node type; of several pools Ray would choose the type that the demand uses best.
    """

    upscaling_speed: float = 1.0
    idle_timeout_s: float = 300.0
    min_units: int = 0
    max_units: int | None = None
    period_s: float = 5.0
    _idle_since_s: dict[int, float] = field(default_factory=dict, init=False, repr=False, compare=False)  # by node
    _waiting: Waiting = field(default_factory=Waiting, init=False, repr=False, compare=False)
    _running: Running = field(default_factory=Running, init=False, repr=False, compare=False)
    _seen: tuple[Hashable, set[int], set[int], int] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rules = {
            "upscaling_speed": (self.upscaling_speed, self.upscaling_speed >= 0, "must be 0 or more"),
            "idle_timeout_s": (self.idle_timeout_s, self.idle_timeout_s >= 0, "must be 0 or more"),
            "period_s": (self.period_s, self.period_s > 0, "must be more than 0"),
        }
        require("ray_autoscaler", rules)
        require_bounds("ray_autoscaler", self.min_units, self.max_units)

    def desired(self, target: Target, view: ClusterView) -> int:
        pool, why = a_pool("ray_autoscaler", target), view.explain
        count = pool.num_units
        state = state_of(view, [pool])
        if self._seen is None or self._seen[0] != state:
            self._seen = state, *self._look(view, pool)
        _, idle_nodes, spare_nodes, missing = self._seen
        limit = launch_limit(self.upscaling_speed, pool.num_ready)
        launched = min(missing, limit)
        spare = len(self._idle(view.now_s, idle_nodes) & spare_nodes)
        if why:
            why.say("demand", jobs=view.pending.num, nodes=missing, holds=not missing)
            most = {"at_most": count + limit, "count": count + launched}
            why.say("rate_limit", wanted=count + missing, **most, holds=launched < missing)
            since_s = min(self._idle_since_s.values(), default=view.now_s)
            facts = {"nodes": len(idle_nodes), "have_s": view.now_s - since_s, "need_s": self.idle_timeout_s}
            why.say("idle", **facts, going=spare, holds=not spare and bool(idle_nodes))
        return bounded(count + launched - spare, pool, self.min_units, self.max_units, why)

    def quiet(self, target: Target, view: ClusterView) -> Quiet | None:
        """Until a job or a node comes, goes or changes, or a node has been idle for long enough."""
        timers_s = [since_s + self.idle_timeout_s for since_s in self._idle_since_s.values()]
        return Quiet(next_of(timers_s, view.now_s), by_jobs=True)

    def _look(self, view: ClusterView, pool: PoolView) -> tuple[set[int], set[int], int]:
        """(nodes that nothing runs on, those of them that nothing that waits fits on, how many more it takes)."""
        size = node_size(view, pool)
        most = bounds(pool, self.min_units, self.max_units)[1]
        rooms = rooms_of(view, {pool.name}, self._running)
        idle = {room.index for room in rooms if not room.pods}
        gangs = demands(list(self._waiting.gangs(view, size)))
        missing = missing_nodes(gangs, rooms + coming(pool, size), Room.empty(size), max(most - pool.num_units, 0))
        return idle, {room.index for room in rooms if not room.pods}, missing

    def _idle(self, now_s: float, nodes: set[int]) -> set[int]:
        """The nodes that have been idle for longer than the timeout."""
        self._idle_since_s = {node: self._idle_since_s.get(node, now_s) for node in nodes}
        return {node for node, since_s in self._idle_since_s.items() if now_s > since_s + self.idle_timeout_s}
