"""The loop that both worlds share: look, scale, allocate, place, and hand over a plan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from policies.plan import NOTHING, Draft, Plan
from policies.protocols import AllocationPolicy, PlacementPolicy, ScalingPolicy
from policies.view import ClusterView


@dataclass(frozen=True, slots=True)
class _Scaled:
    nodes: dict[str, int] = field(default_factory=dict)  # by pool
    replicas: dict[str, int] = field(default_factory=dict)  # by service
    drains: dict[str, tuple[int, ...]] = field(default_factory=dict)  # by pool: nodes that go first


_UNSCALED = _Scaled()


class Controller:
    """Turns a view into a plan. No clock, no I/O: the time is the view's.

    Args:
        allocation: which job gets how many GPUs.
        placement: on which nodes.
        scaling: name of a pool or service -> how many nodes or replicas it should have; each is asked on its own
            period, from time 0 on.
    """

    def __init__(
        self,
        allocation: AllocationPolicy,
        placement: PlacementPolicy,
        scaling: Mapping[str, ScalingPolicy] | None = None,
    ) -> None:
        self._allocation, self._placement = allocation, placement
        self._scaling = dict(scaling or {})
        self._skips = bool(getattr(allocation, "idle_without_pending", False))
        self._due_s = dict.fromkeys(self._scaling, 0.0)
        self._next_due_s = 0.0 if self._scaling else math.inf

    @property
    def idle_without_pending(self) -> bool:
        """True if no decision would change anything while no job waits: it need not be asked for."""
        return self._skips and all(policy.period_s == math.inf for policy in self._scaling.values())

    def decide(self, view: ClusterView) -> Plan:
        """One decision for one instant.

        Raises:
            PlanError: an allocation that the jobs or the cluster rule out.
        """
        scaled = self._scale(view) if view.now_s >= self._next_due_s else _UNSCALED
        if self._skips and not view.pending.num:
            if not self._scaling:
                return NOTHING
            return Plan({}, scaled.nodes, self._next_due_s, scaled.replicas, drains=scaled.drains)
        draft = Draft(view, self._placement)
        self._allocation.allocate(view, draft)
        if self._next_due_s < draft.wake_at_s:
            draft.wake_at_s = self._next_due_s
        return draft.plan(scaled.nodes, scaled.replicas, scaled.drains)

    def _scale(self, view: ClusterView) -> _Scaled:
        """What is wanted of pools and services where it is another number."""
        scaled = _Scaled()
        for name, policy in self._scaling.items():
            if view.now_s < self._due_s[name]:
                continue
            target, why = view.target(name), view.explain
            if why:
                why.open(target)
            wanted = policy.desired(target, view)
            count = min(max(wanted, target.min_units), target.max_units)
            if why:
                why.close(target, wanted, count)
            if count != target.num_units:
                (scaled.replicas if name in view.services else scaled.nodes)[name] = count
                drains = getattr(policy, "drains", None)
                if drains is not None and count < target.num_units:
                    scaled.drains[name] = tuple(drains(target, view))[: target.num_units - count]
            self._due_s[name] = view.now_s + policy.period_s
        self._next_due_s = min(self._due_s.values())
        return scaled
