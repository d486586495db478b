"""The loop that both worlds share: look, scale, allocate, place, and hand over a plan."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping

from policies.loops import NOT_ASKED, Loops
from policies.plan import NOTHING, Draft, Plan
from policies.protocols import AllocationPolicy, PlacementPolicy, ScalingPolicy
from policies.view import ClusterView


class Controller:
    """Turns a view into a plan. No clock, no I/O: the time is the view's.

    Args:
        allocation: which job gets how many GPUs; asked when something has happened, or when it wanted to be.
        placement: on which nodes.
        scaling: name of a pool or service -> how many nodes or replicas it should have; each is asked on its own
            period, from the first decision on: that is at second 0.
        skips_quiet: whether scaling policies may sleep while they would change nothing; see `policies.loops`.
    """

    def __init__(
        self,
        allocation: AllocationPolicy,
        placement: PlacementPolicy,
        scaling: Mapping[str, ScalingPolicy] | None = None,
        skips_quiet: bool = False,
    ) -> None:
        self._allocation, self._placement = allocation, placement
        self._skips = bool(getattr(allocation, "idle_without_pending", False))
        self._wake_s = math.inf  # when the allocation wants to be asked, whatever happens
        self.loops = Loops(scaling or {}, skips_quiet)

    @property
    def idle_without_pending(self) -> bool:
        """True if nothing that happens to jobs matters while none waits: no decision is needed then."""
        return self._skips

    def decide(self, view: ClusterView, has_changed: bool = True, version: Hashable = None) -> Plan:
        """One decision for one instant.

        Args:
            has_changed: whether anything has happened since the last one, but that time has passed.
            version: another value whenever a job or node has come, gone or changed; for policies that sleep.

        Raises:
            PlanError: an allocation that the jobs or the cluster rule out.
        """
        loops = self.loops
        scaled = loops.ask(view, version) if view.now_s >= loops.due_s else NOT_ASKED
        if has_changed or view.now_s >= self._wake_s:
            if not self._skips or view.pending.num:
                draft = Draft(view, self._placement)
                self._allocation.allocate(view, draft)
                self._wake_s = draft.wake_at_s
                if loops.due_s < draft.wake_at_s:
                    draft.wake_at_s = loops.due_s
                return draft.plan(scaled.nodes, scaled.replicas, scaled.drains)
            self._wake_s = math.inf
        if not loops and self._wake_s == math.inf:
            return NOTHING
        return Plan({}, scaled.nodes, min(loops.due_s, self._wake_s), scaled.replicas, drains=scaled.drains)
