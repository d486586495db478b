"""The Kubernetes cluster-autoscaler."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain
from typing import ClassVar

import numpy as np

from policies.errors import PolicyError
from policies.nodes import NodeSize
from policies.quiet import Quiet, next_of
from policies.reasons import Reasons
from policies.registry import nearest, register
from policies.scaling.ca_scale_down import UnneededTimes, cropped, in_cooldown, unneeded
from policies.scaling.ca_scale_up import (
    EXPANDERS,
    Backoff,
    NodeGroup,
    Option,
    Orders,
    chosen,
    estimate,
    oldest,
    too_new,
)
from policies.scaling.joint import a_pool
from policies.scaling.options import bounded, bounds, require, require_bounds
from policies.scaling.packing import (
    Left,
    Pod,
    Room,
    Running,
    Waiting,
    coming,
    node_size,
    of_pool,
    rooms_of,
    state_of,
)
from policies.view import ClusterView, PoolView, Target


@dataclass
class _Group:
    """What is remembered of a pool."""

    backoff: Backoff
    orders: Orders = field(default_factory=Orders)
    num_failed: int = 0


@dataclass
class _Seen:
    """What follows from the jobs and nodes alone, as long as none of them changes."""

    state: Hashable
    rooms: Sequence[Room]  # with what waits where it fits
    left: Left  # what fits nowhere
    sizes: Mapping[str, NodeSize]
    unneeded: tuple[Collection[int], list[Room]] | None = None  # which could go before, and which can

    @cached_property
    def oldest_s(self) -> tuple[float, float]:
        """Of what is left, since when the oldest waits, and the oldest with a GPU."""
        return oldest(self.left.pods)


@register("scaling", "cluster_autoscaler")
@dataclass
class ClusterAutoscaler:
    """The Kubernetes cluster-autoscaler (as of autumn 2026); for several pools at once see `policies.scaling.joint`.

    Up: what waits and fits nowhere, on nodes that are there or on their way, is packed into new nodes of each pool;
    `expander`, a chain, chooses the pool. Nothing is added or removed while what waits is all younger than
    `new_gpu_pod_s`. Nodes that are not there after `max_provision_s`, or that failed to come, make the pool back off.

    Down, in loops that add none: a node is unneeded if at most `utilization_threshold` of its GPUs is held and its pods
    fit elsewhere. Unneeded for longer than `unneeded_s` without a break it goes, but not within `delay_after_add_s` of
    nodes added or `delay_after_delete_s` of nodes removed, and with at most `max_parallel` going at once, of which
    `max_drain` that still run something. Never below the pool's least number.

    A node that has joined and doesn't offer its GPUs yet counts as on its way with `waits_for_gpus`, the autoscaler's
    own remedy (utils/gpu); without, as where the node's label is missing, it is none, and more are ordered.

    What can't be said here: a gang is so many pods, each for itself; an elastic job waits for what it asks for. Nodes
    that hang are taken off the number, and it is the last ordered that the cluster cancels. Removals don't fail, so
    nothing waits after one that did. What still runs on a node that goes is evicted when its drain times out.
    """

    joins_pools: ClassVar[bool] = True

    expander: Sequence[str] = field(default_factory=lambda: ["least-waste"])
    priorities: Mapping[str, float] = field(default_factory=dict)  # pool -> the larger the better
    new_pod_s: float = 2.0
    new_gpu_pod_s: float = 30.0
    max_provision_s: float = 900.0
    backoff_s: float = 300.0
    max_backoff_s: float = 1800.0
    reset_backoff_s: float = 10800.0
    scale_down: bool = True
    utilization_threshold: float = 0.5
    unneeded_s: float = 600.0
    delay_after_add_s: float = 600.0
    delay_after_delete_s: float = 0.0
    max_parallel: int = 10
    max_drain: int = 1
    waits_for_gpus: bool = True
    min_units: int = 0
    max_units: int | None = None
    seed: int = 0  # of what is drawn where expanders tie
    period_s: float = 10.0
    _groups: dict[str, _Group] = field(default_factory=dict, init=False, repr=False, compare=False)
    _times: UnneededTimes = field(default_factory=UnneededTimes, init=False, repr=False, compare=False)
    _added_s: float = field(default=-math.inf, init=False, repr=False, compare=False)
    _deleted_s: float = field(default=-math.inf, init=False, repr=False, compare=False)
    _rng: np.random.Generator = field(init=False, repr=False, compare=False)
    _waiting: Waiting = field(default_factory=Waiting, init=False, repr=False, compare=False)
    _leaving: list[int] = field(default_factory=list, init=False, repr=False, compare=False)  # nodes to remove now
    _running: Running = field(default_factory=Running, init=False, repr=False, compare=False)
    _holds: Callable[[ClusterView], bool] | None = field(default=None, init=False, repr=False, compare=False)
    _seen: _Seen | None = field(default=None, init=False, repr=False, compare=False)
    _acts: bool = field(default=False, init=False, repr=False, compare=False)  # did so when last asked

    def __post_init__(self) -> None:
        for name in self.expander:
            if name not in EXPANDERS:
                raise PolicyError(f"cluster_autoscaler: unknown expander {name!r}: {nearest(name, EXPANDERS)}")
        seconds = [name for name in self.__dataclass_fields__ if name.endswith("_s") and not name.startswith("_")]
        counts = ("max_parallel", "max_drain", "seed")
        rules = {
            name: (getattr(self, name), getattr(self, name) >= 0, "must be 0 or more") for name in (*seconds, *counts)
        }
        threshold = self.utilization_threshold
        rules["utilization_threshold"] = (threshold, 0 <= threshold <= 1, "must lie in 0..1")
        rules["period_s"] = (self.period_s, self.period_s > 0, "must be more than 0")
        require("cluster_autoscaler", rules)
        require_bounds("cluster_autoscaler", self.min_units, self.max_units)
        self._rng = np.random.default_rng(self.seed)

    def desired(self, target: Target, view: ClusterView) -> int:
        return self.decide(view, [a_pool("cluster_autoscaler", target)])[target.name]

    def decide(self, view: ClusterView, pools: Sequence[PoolView]) -> dict[str, int]:
        """How many nodes each of these pools should have, by name."""
        now_s, why = view.now_s, view.explain
        self._leaving = []
        counts = {pool.name: pool.num_units - self._fail(now_s, pool, why) for pool in pools}
        self._holds = None if why else self._stuck(view, pools, counts)
        if self._holds:
            self._seen, self._acts = None, False
            self._times.update(now_s, ())
            return counts
        seen = self._look(view, pools)
        may_grow = any(bounds(pool, self.min_units, self.max_units)[1] > counts[pool.name] for pool in pools)
        option = None
        if why or may_grow:  # else nobody need look at all that is left
            waits = self._waits(now_s, seen)
            if why:
                self._say_demand(why, now_s, seen, waits)
            if seen.left.pods and not waits:
                option = self._grow(now_s, seen.left.pods, pools, counts, seen.sizes, why)
        if option:
            name = option.group.name
            counts[name] += option.num_nodes
            self._added_s = now_s
            self._groups[name].orders.add(now_s, option.num_nodes)
            if why:
                why.say("recommendation", of=name, count=counts[name], serves_pods=len(option.pods))
        elif self.scale_down:
            self._shrink(now_s, seen, pools, counts, why)
        elif why:
            why.say("note", text="scale_down=false: no nodes are taken away", holds=True)
        wanted = {pool.name: bounded(counts[pool.name], pool, self.min_units, self.max_units, why) for pool in pools}
        self._acts = any(wanted[pool.name] != pool.num_units for pool in pools)
        return wanted

    def _stuck(
        self, view: ClusterView, pools: Sequence[PoolView], counts: Mapping[str, int]
    ) -> Callable[[ClusterView], bool] | None:
        """Whether nothing can be added, or is asked for, and nothing taken away, without packing anything: what that
        hangs on of jobs and nodes; None: it isn't so."""
        may_wait = True
        for pool in pools:
            fewest, most = bounds(pool, self.min_units, self.max_units)
            count = counts[pool.name]
            if not fewest <= count <= most or count != pool.num_units:
                return None
            may_wait = may_wait and count == most
        least = min(pool.gpus_per_unit for pool in pools)  # with fewer free GPUs a node is used for more than that
        little = math.ceil((1.0 - self.utilization_threshold - 1e-9) * least) if self.scale_down else None
        holds = partial(_is_stuck, may_wait, little)
        return holds if holds(view) else None

    def _waits(self, now_s: float, seen: _Seen) -> bool:
        """Whether it waits for one more loop, since what is left is all new."""
        return bool(seen.left.pods) and too_new(*seen.oldest_s, now_s, self.new_pod_s, self.new_gpu_pod_s)

    def _say_demand(self, why: Reasons, now_s: float, seen: _Seen, waits: bool) -> None:
        """What fits nowhere, and whether it has waited for long enough."""
        left, (oldest_s, with_gpu_s) = seen.left.pods, seen.oldest_s
        why.say("demand", unplaced=len(left), gpus=sum(pod.gpus for pod in left), holds=not left)
        if waits:
            is_gpu = with_gpu_s + self.new_gpu_pod_s > now_s
            have_s, need_s = (with_gpu_s, self.new_gpu_pod_s) if is_gpu else (oldest_s, self.new_pod_s)
            why.say("delay", direction="out", have=now_s - have_s, need=need_s, unit="s", holds=True)

    def drains(self, target: Target, view: ClusterView) -> Sequence[int]:
        return of_pool(self._leaving, target, view)

    def quiet(self, target: Target, view: ClusterView) -> Quiet | None:
        return self.rests(view, [a_pool("cluster_autoscaler", target)])

    def rests(self, view: ClusterView, pools: Sequence[PoolView]) -> Quiet | None:
        """Until a job, a node or the time of one of its timers comes."""
        seen, since_s = self._seen, self._times.since_s
        if self._acts:
            return None
        timers_s = [
            *(group.orders.oldest_s + self.max_provision_s for group in self._groups.values()),
            *(group.backoff.until_s for group in self._groups.values()),
        ]
        if seen:
            if self.scale_down and not (seen.unneeded and seen.unneeded[0] == since_s.keys()):
                return None
            if seen.left.is_whole:
                timers_s += [seen.oldest_s[0] + self.new_pod_s, seen.oldest_s[1] + self.new_gpu_pod_s]
            timers_s += [
                *(self._added_s + self.delay_after_add_s, self._deleted_s + self.delay_after_delete_s),
                *(each + self.unneeded_s for each in since_s.values()),
            ]
        return Quiet(next_of(timers_s, view.now_s), by_jobs=True, holds=self._holds)

    def slept(self, last_tick_s: float) -> None:
        """What it remembers does not depend on how often it was asked."""

    def _look(self, view: ClusterView, pools: Sequence[PoolView]) -> _Seen:
        """Packs what waits into what is there, unless nothing has changed since that was done."""
        state = state_of(view, pools)
        if self._seen is None or self._seen.state != state:
            sizes = {pool.name: node_size(view, pool) for pool in pools}
            largest = max(sizes.values(), key=lambda size: size.num_gpus)
            rooms = rooms_of(view, sizes, self._running)
            upcoming = [room for pool in pools for room in coming(pool, sizes[pool.name], self.waits_for_gpus)]
            left = Left(chain.from_iterable(self._waiting.gangs(view, largest)), rooms + upcoming)
            self._seen = _Seen(state, rooms, left, sizes)
        return self._seen

    def _fail(self, now_s: float, pool: PoolView, why: Reasons | None) -> int:
        """Notes what came and what did not; how many nodes have been on their way for too long."""
        group = self._groups.get(pool.name)
        if group is None:
            backoff = Backoff(self.backoff_s, self.max_backoff_s, self.reset_backoff_s)
            group = self._groups[pool.name] = _Group(backoff, num_failed=pool.num_failed)
        was_waiting = group.orders.num > 0
        group.orders.update(now_s, pool.num_starting)
        overdue = group.orders.overdue(now_s, self.max_provision_s)
        if overdue or pool.num_failed > group.num_failed:
            group.backoff.fail(now_s)
        elif was_waiting and not group.orders.num:
            group.backoff.succeed()
        if why and overdue:
            text = f"{overdue} nodes have been on their way for more than {self.max_provision_s:g} s: they are given up"
            why.say("note", of=pool.name, text=text)
        group.num_failed = pool.num_failed
        return overdue

    def _grow(
        self, now_s: float, left: Sequence[Pod], pools: Sequence[PoolView], counts: Mapping[str, int],
        sizes: Mapping[str, NodeSize], why: Reasons | None,
    ) -> Option | None:  # fmt: skip
        """The nodes to add for what fits nowhere; None where no pool can serve any of it now."""
        options = []
        for pool in pools:
            headroom = bounds(pool, self.min_units, self.max_units)[1] - counts[pool.name]
            backoff, why_not = self._groups[pool.name].backoff, ""
            if headroom <= 0:
                why_not = "it has as many nodes as it may have"
            elif backoff.is_on(now_s):
                why_not = f"it backs off for {backoff.left_s(now_s):g} s, after nodes that did not come"
            else:
                group = NodeGroup(pool.name, sizes[pool.name], headroom, pool.usd_per_unit_h)
                if option := estimate(left, group):
                    options.append(option)
                else:
                    why_not = "none of what waits fits on a node of it"
            if why and why_not:
                why.say("note", of=pool.name, text=why_not, holds=True)
        option = chosen(options, self.expander, self.priorities, self._rng) if options else None
        if why and option and len(options) > 1:
            others = ", ".join(f"{each.num_nodes} of {each.group.name}" for each in options)
            why.say("note", text=f"{', '.join(self.expander)}: {option.group.name}, of {others}")
        return option

    def _shrink(
        self, now_s: float, seen: _Seen, pools: Sequence[PoolView], counts: dict[str, int], why: Reasons | None
    ) -> None:
        """Takes off the nodes that may go; none while the loop waits for more of what is new."""
        before = self._times.since_s.keys()
        if seen.unneeded is None or seen.unneeded[0] != before:
            seen.unneeded = set(before), unneeded(seen.rooms, self.utilization_threshold, before)
        found = seen.unneeded[1]
        self._times.update(now_s, found)
        if why:
            self._say_unneeded(why, now_s, found, pools)
        if not found:
            return
        waits = self._waits(now_s, seen)
        if waits or in_cooldown(
            now_s, self._added_s, self._deleted_s, self.delay_after_add_s, self.delay_after_delete_s
        ):
            if why and not waits:
                rested_s = max(self._added_s + self.delay_after_add_s, self._deleted_s + self.delay_after_delete_s)
                why.say("cool_down", direction="in", left_s=rested_s - now_s, holds=True)
            return
        long = self._times.for_longer_than(self.unneeded_s, now_s)
        spare = {pool.name: counts[pool.name] - bounds(pool, self.min_units, self.max_units)[0] for pool in pools}
        empty: list[Room] = []
        used: list[Room] = []
        for room in found:
            if room.index not in long:
                continue
            if spare[room.pool] > 0:
                spare[room.pool] -= 1
                (used if room.pods else empty).append(room)
            elif why:
                why.say("note", of=room.pool, text=f"node {room.index} stays: the pool is at its least", holds=True)
        num_draining = sum(pool.num_draining for pool in pools)
        num_empty, num_used = cropped(len(empty), len(used), num_draining, self.max_parallel, self.max_drain)
        if why and (empty or used):
            text = f"{num_empty} of {len(empty)} empty nodes and {num_used} of {len(used)} others may go at once"
            text += f" (max_parallel, max_drain), beside {num_draining} that drain"
            why.say("note", text=text, holds=num_empty + num_used < len(empty) + len(used))
        for room in empty[:num_empty] + used[:num_used]:
            counts[room.pool] -= 1
            self._leaving.append(room.index)
            self._deleted_s = now_s

    def _say_unneeded(self, why: Reasons, now_s: float, found: Sequence[Room], pools: Sequence[PoolView]) -> None:
        """Which nodes of each pool could go, and for how long that has been so."""
        long = self._times.for_longer_than(self.unneeded_s, now_s)
        for pool in pools:
            mine = [room.index for room in found if room.pool == pool.name]
            since_s = min((self._times.since_s[index] for index in mine), default=now_s)
            facts = {"nodes": len(mine), "have_s": now_s - since_s, "need_s": self.unneeded_s}
            why.say("idle", of=pool.name, **facts, holds=long.isdisjoint(mine))


def _is_stuck(may_wait: bool, little: int | None, view: ClusterView) -> bool:
    """Nothing waits, unless it may, and no open node has `little` free GPUs or more."""
    return (may_wait or not view.pending.num) and not (little is not None and any(view.nodes.masks[little:]))
