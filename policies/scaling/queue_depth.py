"""Units by how much waits."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from policies.metrics_view import KEEP_S
from policies.quiet import Quiet, just_before
from policies.registry import register
from policies.scaling.load import ceil, units_measured
from policies.scaling.options import bounded, require, require_bounds, require_metric
from policies.scaling.recent import Recent
from policies.view import ClusterView, PoolView, Target

_CLEARLY = 1e-4  # how far above a whole number of units what needs one more is, beyond any doubt of rounding


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

    @property
    def sees_back_s(self) -> float:
        return self.window_s

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

    def quiet(self, target: Target, view: ClusterView) -> Quiet | None:
        """As long as samples call for one and the same number, as all of the window do, and the delay lasts."""
        name, since_s = target.name, view.now_s - self.window_s
        waiting = {value for _, value in view.metrics.since(name, self.metric, since_s)}
        if len(waiting) != 1:
            return None
        (queue,) = waiting
        bands = {self.metric: (queue, queue)}
        wanted, units = self._wanted.newest, units_measured(target)
        if self.counts_busy and units:
            busy = wanted - queue / self.per_unit  # rounded up from
            share = (busy - 1.0 + _CLEARLY) / units, busy / units
            shares = [value for _, value in view.metrics.since(name, _share_of(target), since_s)]
            if _share_of(target) == self.metric or min(shares) < share[0] or max(shares) > share[1]:
                return None
            bands[_share_of(target)] = share
        count, until_s = target.num_units, math.inf
        if bounded(wanted, target, self.min_units, self.max_units) < count:
            until_s = self._wanted.last_s(count) + self.delay_in_s
        newest_s, interval_s = view.metrics.newest_s(name), view.metrics.interval_s(name)
        assert newest_s is not None
        if interval_s is None or view.now_s - newest_s + interval_s > self.window_s:  # the window may be empty soon
            until_s = min(until_s, newest_s + self.window_s)
        return Quiet(just_before(until_s), bands)

    def slept(self, last_tick_s: float) -> None:
        self._wanted.extend(last_tick_s)

    def _busy(self, target: Target, view: ClusterView) -> float:
        """How many units serve, as measured over the window."""
        if not self.counts_busy:
            return 0.0
        share = view.metrics.mean(target.name, _share_of(target), view.now_s - self.window_s)
        return (share or 0.0) * units_measured(target)


def _share_of(target: Target) -> str:
    """The metric that says how much of a target serves."""
    return "gpu_allocation_frac" if isinstance(target, PoolView) else "gpu_utilisation_frac"
