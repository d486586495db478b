"""Units by how much waits."""

from __future__ import annotations

from dataclasses import dataclass, field

from policies.metrics_view import KEEP_S
from policies.registry import register
from policies.scaling.load import ceil, units_measured
from policies.scaling.options import bounded, require, require_bounds, require_metric
from policies.scaling.recent import Recent
from policies.view import ClusterView, PoolView, Target


@register("scaling", "queue_depth")
@dataclass
class QueueDepth:
    """As many units as a queue takes, at `per_unit` a unit (the "backlog per instance" of Amazon SQS with EC2 Auto
    Scaling, as of autumn 2026).

    `metric`, such as `queue_length` or `pending_gpus`, is averaged over `window_s`. What is being served does not wait:
    with `counts_busy` the units that serve come on top, as measured (held GPUs of a pool, replicas at work); without,
    the queue alone counts, as in the source. Out at once; in to the largest number that was wanted in the last
    `delay_in_s`. Where nothing was measured in the window nothing changes.
    """

    metric: str = "queue_length"
    per_unit: float = 4.0
    counts_busy: bool = True
    window_s: float = 60.0
    delay_in_s: float = 300.0
    min_units: int = 0
    max_units: int | None = None
    period_s: float = 60.0
    _wanted: Recent = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_metric("queue_depth", self.metric)
        rules = {
            "per_unit": (self.per_unit, self.per_unit > 0, "must be more than 0"),
            "window_s": (self.window_s, 0 < self.window_s <= KEEP_S, f"must lie in 0..{KEEP_S:g}, and not be 0"),
            "delay_in_s": (self.delay_in_s, self.delay_in_s >= 0, "must be 0 or more"),
            "period_s": (self.period_s, self.period_s > 0, "must be more than 0"),
        }
        require("queue_depth", rules)
        require_bounds("queue_depth", self.min_units, self.max_units)
        self._wanted = Recent(self.delay_in_s)

    def desired(self, target: Target, view: ClusterView) -> int:
        why = view.explain
        waiting = view.metrics.mean(target.name, self.metric, view.now_s - self.window_s)
        if why:
            why.measured(view, target.name, self.metric, waiting, window_s=self.window_s, holds=waiting is None)
        wanted = target.num_units
        if waiting is not None:
            busy = self._busy(target, view)
            wanted = ceil(busy + waiting / self.per_unit)
            if why:
                why.say("ratio", ratio=waiting / self.per_unit, target=self.per_unit)
                why.say("recommendation", count=wanted, busy=busy)
            before = self._wanted.within(view.now_s, self.delay_in_s)
            self._wanted.add(view.now_s, wanted)
            if wanted < target.num_units:
                stable = min(max([wanted, *before]), target.num_units)
                if why:
                    held = {"wanted": wanted, "count": stable, "window_s": self.delay_in_s}
                    why.say("stabilisation", **held, holds=stable > wanted)
                wanted = stable
        return bounded(wanted, target, self.min_units, self.max_units, why)

    def _busy(self, target: Target, view: ClusterView) -> float:
        """How many units serve, as measured over the window."""
        if not self.counts_busy:
            return 0.0
        metric = "gpu_allocation_frac" if isinstance(target, PoolView) else "gpu_utilisation_frac"
        share = view.metrics.mean(target.name, metric, view.now_s - self.window_s)
        return (share or 0.0) * units_measured(target)
