"""Step up above a bound, step down below another."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from policies.metrics_view import KEEP_S
from policies.quiet import Band, Quiet, just_before
from policies.reasons import Reasons
from policies.registry import register
from policies.scaling.cool_down import is_over
from policies.scaling.options import bounded, bounds, require, require_bounds, require_metric
from policies.view import ClusterView, Target


@register("scaling", "threshold")
@dataclass
class Threshold:
    """Adds `step_out` units while a metric stays above `upper`, takes `step_in` away while it stays below `lower`.

    A bound counts as crossed only if every sample that stood in the last `sustained_s` lies beyond it, and measuring
    began before. After a step the policy rests: no step out for `cooldown_out_s` after one out, no step in for
    `cooldown_in_s` after any step. `metric` is any name in `policies.metrics_view`: in METRICS for a
    pool, in SERVICE_METRICS for a service. The bounds on the count are the target's unless `min_units` or `max_units`
    narrow them.
    """

    metric: str = "gpu_allocation_frac"
    upper: float = 0.8
    lower: float = 0.4
    step_out: int = 1
    step_in: int = 1
    sustained_s: float = 120.0
    cooldown_out_s: float = 300.0
    cooldown_in_s: float = 600.0
    min_units: int = 0
    max_units: int | None = None
    period_s: float = 60.0
    _last_out_s: float = field(default=-math.inf, init=False, repr=False, compare=False)
    _last_in_s: float = field(default=-math.inf, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_metric("threshold", self.metric)
        kept = f"must lie in 0..{KEEP_S:g}, as long as samples are kept"
        rules = {
            "lower": (self.lower, self.lower < self.upper, "must be less than upper"),
            "step_out": (self.step_out, self.step_out >= 0, "must be 0 or more"),
            "step_in": (self.step_in, self.step_in >= 0, "must be 0 or more"),
            "sustained_s": (self.sustained_s, 0 <= self.sustained_s <= KEEP_S, kept),
            "cooldown_out_s": (self.cooldown_out_s, self.cooldown_out_s >= 0, "must be 0 or more"),
            "cooldown_in_s": (self.cooldown_in_s, self.cooldown_in_s >= 0, "must be 0 or more"),
            "period_s": (self.period_s, self.period_s > 0, "must be more than 0"),
        }
        require("threshold", rules)
        require_bounds("threshold", self.min_units, self.max_units)

    def desired(self, target: Target, view: ClusterView) -> int:
        now_s, count, why = view.now_s, target.num_units, view.explain
        low, high = view.metrics.extremes(target.name, self.metric, now_s - self.sustained_s)
        if why:
            self._say(why, target, view, low, high)
        wanted = count
        if low is None or high is None:
            pass  # not measured for long enough
        elif low > self.upper:
            if is_over(self._last_out_s + self.cooldown_out_s, "out", view):
                wanted = count + self.step_out
        elif high < self.lower and is_over(max(self._last_in_s, self._last_out_s) + self.cooldown_in_s, "in", view):
            wanted = count - self.step_in
        wanted = bounded(wanted, target, self.min_units, self.max_units, why)
        if wanted > count:
            self._last_out_s = now_s
        elif wanted < count:
            self._last_in_s = now_s
        return wanted

    def _say(self, why: Reasons, target: Target, view: ClusterView, low: float | None, high: float | None) -> None:
        """What was measured, and which bound is crossed."""
        if low is None or high is None:
            why.measured(view, target.name, self.metric, None, window_s=self.sustained_s, holds=True)
            return
        value = view.metrics.latest(target.name, self.metric)
        why.measured(view, target.name, self.metric, value, window_s=self.sustained_s, lowest=low, highest=high)
        out, into = low > self.upper, high < self.lower
        why.say("alarm", direction="out", bound=self.upper, lowest=low, on=out, holds=not (out or into))
        why.say("alarm", direction="in", bound=self.lower, highest=high, on=into, holds=not (out or into))
        if out or into:
            count = target.num_units
            why.say("recommendation", count=count + self.step_out if out else count - self.step_in)

    def quiet(self, target: Target, view: ClusterView) -> Quiet | None:
        """While the metric is between the bounds, or it can't step; else until a step is due, if it stays there."""
        value = view.metrics.latest(target.name, self.metric)
        if value is None:
            return None
        fewest, most = bounds(target, self.min_units, self.max_units)
        goes_out, goes_in = target.num_units < most, target.num_units > fewest
        if value > self.upper and goes_out:
            return self._quiet_within(target, view, (self.upper, math.inf), self._last_out_s + self.cooldown_out_s)
        if value < self.lower and goes_in:
            rested_s = max(self._last_in_s, self._last_out_s) + self.cooldown_in_s
            return self._quiet_within(target, view, (-math.inf, self.lower), rested_s)
        band = self.lower if goes_in else -math.inf, self.upper if goes_out else math.inf
        return Quiet(bands={self.metric: band})

    def _quiet_within(self, target: Target, view: ClusterView, band: Band, rested_s: float) -> Quiet:
        """Until the metric has been in there for long enough, and it has rested."""
        back_to_s = view.now_s - self.sustained_s
        since_s = view.metrics.since_within(target.name, self.metric, *band, back_to_s)
        assert since_s is not None
        return Quiet(just_before(max(since_s + self.sustained_s, rested_s)), {self.metric: band})
