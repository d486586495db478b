"""Karpenter: nodes for what waits, and fewer or cheaper ones for what runs."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import ClassVar

from policies.errors import PolicyError
from policies.quiet import Quiet, next_of
from policies.reasons import Reasons
from policies.registry import register
from policies.scaling.joint import a_pool
from policies.scaling.karpenter_disruption import Cluster, Command, budget, consolidation, emptiness, first_command
from policies.scaling.karpenter_scheduling import Batch, InstanceType, launched, schedule
from policies.scaling.options import bounded, bounds, require, require_bounds
from policies.scaling.packing import Room, Running, Waiting, coming, node_size, of_pool, rooms_of, state_of
from policies.ticks import after_turns
from policies.view import ClusterView, PoolView, Target

CONSOLIDATION = ("WhenEmptyOrUnderutilized", "WhenEmpty")
_REPLACE_WITHIN_S = 600.0  # else the nodes stay


@dataclass(frozen=True)
class _Replacing:
    """Nodes to take away once what replaces them is there."""

    nodes: tuple[int, ...]
    pools: tuple[str, ...]  # of those nodes
    by: str
    num_ready: int  # of that pool, with it
    since_s: float


@dataclass
class _Seen:
    """What follows from the jobs and nodes alone, as long as none of them changes."""

    state: Hashable
    cluster: Cluster
    meant: Collection[int]  # nodes on which something that waits would go
    launches: Mapping[str, int]
    nothing_for: Collection[int] | None = None  # candidates of which nothing came


@register("scaling", "karpenter")
@dataclass
class Karpenter:
    """Karpenter, with each pool an instance type (as of autumn 2026); for several see `policies.scaling.joint`.

    Up: once no job has come for `batch_idle_s`, or `batch_max_s` after the first, what waits is packed, the most CPU
    and then memory first, onto nodes that are there or on their way, else onto new ones, of the cheapest type that
    holds what they are to run. Down, every `disruption_s`, the first of these that has something to do: empty nodes;
    several nodes whose pods fit elsewhere, or with one new node that is cheaper; one such node. What would need two
    new ones is left. At most `budget_frac` of a pool's nodes are disrupted at a time, rounded up, and only what is
    still right `validate_s` later is done. A node counts `consolidate_after_s` after its pods have last changed.

    What runs on a node that goes is evicted when the pool's drain times out (`cluster.drain_timeout_s`); with none it
    is left to end, so that a replacement may stand empty for as long, and be taken away again. A gang is so many pods,
    each for itself. `WhenEmpty` is what suits jobs that can't be moved.
    """

    joins_pools: ClassVar[bool] = True

    consolidation: str = "WhenEmptyOrUnderutilized"
    consolidate_after_s: float = 0.0
    budget_frac: float = 0.1
    batch_idle_s: float = 1.0
    batch_max_s: float = 10.0
    disruption_s: float = 10.0
    validate_s: float = 15.0
    min_units: int = 0
    max_units: int | None = None
    period_s: float = 1.0
    _batch: Batch = field(init=False, repr=False, compare=False)
    _disrupt_s: float = field(default=-math.inf, init=False, repr=False, compare=False)  # when it is due
    _proposal: tuple[float, Command] | None = field(default=None, init=False, repr=False, compare=False)
    _replacing: _Replacing | None = field(default=None, init=False, repr=False, compare=False)
    _leaving: Sequence[int] = field(default=(), init=False, repr=False, compare=False)  # nodes to remove now
    _waiting: Waiting = field(default_factory=Waiting, init=False, repr=False, compare=False)
    _running: Running = field(default_factory=Running, init=False, repr=False, compare=False)
    _seen: _Seen | None = field(default=None, init=False, repr=False, compare=False)
    _asked_s: float = field(default=-math.inf, init=False, repr=False, compare=False)
    _acts: bool = field(default=False, init=False, repr=False, compare=False)  # did so when last asked
    _changed: dict[int, tuple[tuple[int, ...], float]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )  # node -> (its jobs, since when)

    def __post_init__(self) -> None:
        if self.consolidation not in CONSOLIDATION:
            raise PolicyError(
                f"karpenter: consolidation={self.consolidation!r}: must be one of {', '.join(CONSOLIDATION)}"
            )
        seconds = ("consolidate_after_s", "batch_idle_s", "batch_max_s", "disruption_s", "validate_s")
        rules = {name: (getattr(self, name), getattr(self, name) >= 0, "must be 0 or more") for name in seconds}
        rules["budget_frac"] = (self.budget_frac, 0 <= self.budget_frac <= 1, "must lie in 0..1")
        rules["period_s"] = (self.period_s, self.period_s > 0, "must be more than 0")
        require("karpenter", rules)
        require_bounds("karpenter", self.min_units, self.max_units)
        self._batch = Batch(self.batch_idle_s, self.batch_max_s)

    def desired(self, target: Target, view: ClusterView) -> int:
        return self.decide(view, [a_pool("karpenter", target)])[target.name]

    def decide(self, view: ClusterView, pools: Sequence[PoolView]) -> dict[str, int]:
        """How many nodes each of these pools should have, by name."""
        self._leaving = ()
        seen = self._look(view, pools)
        counts, why = {pool.name: pool.num_units for pool in pools}, view.explain
        is_over = self._batch.is_over(view.now_s, seen.cluster.waiting)
        if why:
            self._say_demand(why, view.now_s, seen, pools, is_over)
        if is_over:
            for name, more in seen.launches.items():
                counts[name] += more
        self._disrupt(view.now_s, pools, seen, counts, why)
        self._asked_s = view.now_s
        wanted = {pool.name: bounded(counts[pool.name], pool, self.min_units, self.max_units, why) for pool in pools}
        self._acts = any(wanted[pool.name] != pool.num_units for pool in pools)
        return wanted

    def _say_demand(self, why: Reasons, now_s: float, seen: _Seen, pools: Sequence[PoolView], is_over: bool) -> None:
        """What waits, which nodes it takes, and whether it is their time."""
        waiting = seen.cluster.waiting
        why.say("demand", pods=len(waiting), gpus=sum(pod.gpus for pod in waiting), holds=not waiting)
        if waiting and not is_over:
            why.say("wait", what="the end of the batch", left_s=self._batch.over_s(waiting) - now_s, holds=True)
        for pool in pools if waiting else ():
            more = seen.launches.get(pool.name, 0)
            why.say("recommendation", of=pool.name, count=pool.num_units + more, holds=not more)

    def drains(self, target: Target, view: ClusterView) -> Sequence[int]:
        return of_pool(self._leaving, target, view)

    def quiet(self, target: Target, view: ClusterView) -> Quiet | None:
        return self.rests(view, [a_pool("karpenter", target)])

    def rests(self, view: ClusterView, pools: Sequence[PoolView]) -> Quiet | None:
        """Until a job or a node comes, goes or changes, a batch is over, or nodes may be there to disrupt."""
        seen = self._seen
        if self._acts or seen is None or self._replacing:
            return None
        timers_s = [self._batch.over_s(seen.cluster.waiting), self._proposal[0] if self._proposal else math.inf]
        candidates = self._candidates(view.now_s, seen)
        if seen.nothing_for == [room.index for room in candidates]:
            timers_s += [since_s + self.consolidate_after_s for _, since_s in self._changed.values()]
        else:
            timers_s.append(self._disrupt_s)
        return Quiet(next_of(timers_s, view.now_s), by_jobs=True)

    def slept(self, last_tick_s: float) -> None:
        """Disruption was due now and then, and found nothing."""
        if not self._proposal:
            self._disrupt_s = after_turns(self._asked_s, self.period_s, self._disrupt_s, self.disruption_s, last_tick_s)

    def _look(self, view: ClusterView, pools: Sequence[PoolView]) -> _Seen:
        """Packs what waits, unless nothing has changed since that was done."""
        state = state_of(view, pools)
        if self._seen is None or self._seen.state != state:
            sizes = {pool.name: node_size(view, pool) for pool in pools}
            largest = max(sizes.values(), key=lambda size: size.num_gpus)
            cluster = Cluster(
                rooms=rooms_of(view, sizes, self._running),
                coming=[room for pool in pools for room in coming(pool, sizes[pool.name])],
                waiting=list(chain.from_iterable(self._waiting.gangs(view, largest))),
                types={pool.name: InstanceType(pool.name, sizes[pool.name], pool.usd_per_unit_h) for pool in pools},
                headroom={pool.name: self._most(pool) - pool.num_units for pool in pools},
            )
            filled = [room.copy() for room in (*cluster.rooms, *cluster.coming)]
            found = schedule(cluster.waiting, filled, list(cluster.types.values()), cluster.headroom)
            self._note(view.now_s, cluster.rooms)
            meant = {room.index for room, after in zip(cluster.rooms, filled, strict=False)
                     if len(after.pods) > len(room.pods)}  # fmt: skip
            self._seen = _Seen(state, cluster, meant, launched(found.claims))
        return self._seen

    def _most(self, pool: PoolView) -> int:
        return bounds(pool, self.min_units, self.max_units)[1]

    def _note(self, now_s: float, rooms: Sequence[Room]) -> None:
        """Since when each node has had the pods that it has."""
        changed = {}
        for room in rooms:
            jobs = tuple(pod.seq for pod in room.pods)
            before = self._changed.get(room.index)
            changed[room.index] = before if before and before[0] == jobs else (jobs, now_s)
        self._changed = changed

    def _disrupt(
        self, now_s: float, pools: Sequence[PoolView], seen: _Seen, counts: dict[str, int], why: Reasons | None
    ) -> None:
        """Goes on with what is under way, or looks for something; takes off and adds nodes."""
        if self._replacing:
            if why:
                why.say("wait", what=f"a node of {self._replacing.by}, which replaces others", holds=True)
            self._finish_replacing(now_s, {pool.name: pool for pool in pools}, counts)
            return
        due_s = self._proposal[0] if self._proposal else self._disrupt_s
        if now_s < due_s:
            if why:
                what = "the next look at what could go"
                if self._proposal:
                    what = f"a second look at {self._proposal[1].method} of {len(self._proposal[1].nodes)} nodes"
                why.say("wait", what=what, left_s=due_s - now_s, holds=True)
            return
        self._disrupt_s = now_s + self.disruption_s
        budgets = {
            pool.name: budget(self.budget_frac, pool.num_ready + pool.num_draining, pool.num_draining) for pool in pools
        }
        candidates = self._candidates(now_s, seen)
        if self._proposal:
            still = self._still(self._proposal[1], candidates, budgets, seen.cluster)
            self._proposal = None
            if why and still is None:
                why.say("note", text="what was to go is needed after all", holds=True)
            self._carry_out(now_s, still, pools, seen.cluster, counts, why)
            return
        looked_at = [room.index for room in candidates]
        found = None
        if looked_at != seen.nothing_for:
            found = first_command(candidates, budgets, seen.cluster, self.consolidation == "WhenEmpty")
        if found is None:
            seen.nothing_for = looked_at
            if why:
                why.say("note", text=f"of {len(looked_at)} nodes that are looked at none can go", holds=True)
        elif self.validate_s:
            self._proposal = now_s + self.validate_s, found
            if why:
                what = f"a second look at {found.method} of {len(found.nodes)} nodes"
                why.say("wait", what=what, left_s=self.validate_s, holds=True)
        else:
            self._carry_out(now_s, found, pools, seen.cluster, counts, why)

    def _candidates(self, now_s: float, seen: _Seen) -> list[Room]:
        """Nodes whose pods have been the same for long enough, and that nothing that waits is meant for."""
        return [
            room
            for room in seen.cluster.rooms
            if room.index not in seen.meant and now_s >= self._changed[room.index][1] + self.consolidate_after_s
        ]

    def _still(
        self, command: Command, candidates: Sequence[Room], budgets: Mapping[str, int], cluster: Cluster
    ) -> Command | None:
        """What is still right of a command found a while ago."""
        chosen = [room for room in candidates if room.index in command.nodes]
        if command.method == "emptiness":
            return emptiness(chosen, budgets)
        if len(chosen) < len(command.nodes) or any(
            sum(room.pool == pool for room in chosen) > left for pool, left in budgets.items()
        ):
            return None
        again = consolidation(chosen, cluster, command.method)
        return again if again and (again.replacement is None) == (command.replacement is None) else None

    def _carry_out(
        self, now_s: float, command: Command | None, pools: Sequence[PoolView], cluster: Cluster,
        counts: dict[str, int], why: Reasons | None,
    ) -> None:  # fmt: skip
        if command is None:
            return
        if why:
            instead = f", for one node of {command.replacement}" if command.replacement else ""
            why.say("note", text=f"{command.method}: nodes to go: {len(command.nodes)}{instead}")
        gone = tuple(room.pool for room in cluster.rooms if room.index in command.nodes)
        if command.replacement is None:
            self._leaving = command.nodes
            for name in gone:
                counts[name] -= 1
            return
        counts[command.replacement] += 1
        ready = next(_with_gpus(pool) for pool in pools if pool.name == command.replacement)
        self._replacing = _Replacing(command.nodes, gone, command.replacement, ready + 1, now_s)

    def _finish_replacing(self, now_s: float, pools: Mapping[str, PoolView], counts: dict[str, int]) -> None:
        """Takes the old nodes away once the new one is there."""
        replacing = self._replacing
        assert replacing is not None
        if _with_gpus(pools[replacing.by]) >= replacing.num_ready:
            self._leaving = replacing.nodes
            for name in replacing.pools:
                counts[name] -= 1
        elif now_s < replacing.since_s + _REPLACE_WITHIN_S:
            return
        self._replacing = None


def _with_gpus(pool: PoolView) -> int:
    return pool.num_ready - pool.num_without_gpus
