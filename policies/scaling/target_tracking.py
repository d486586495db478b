"""Keep a metric at a target, as one sets a thermostat."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter

from policies.quiet import Band, Quiet
from policies.registry import register
from policies.scaling.alarms import (
    MARGIN,
    Points,
    Side,
    averages,
    data_points,
    inside,
    is_on,
    quiet_alarms,
    require_points,
    say_alarms,
)
from policies.scaling.cool_down import all_there, is_over
from policies.scaling.load import FALLING, TOTALS, WAITING, as_average, ceil, units_for, units_measured
from policies.scaling.options import bounded, bounds, require, require_bounds, require_metric
from policies.view import ClusterView, PoolView, Target

_FULLNESS = ("gpu_allocation_frac", "gpu_utilisation_frac")
_WAITS = 0.5  # GPUs: one that waits is more


@register("scaling", "target_tracking")
@dataclass
class TargetTracking:
    """As many units as bring a metric to its target (Amazon EC2 and Application Auto Scaling, target tracking
    policies, as of autumn 2026).

    A data point is the mean of a stretch of `point_s`, of a metric that is a total its share a unit. Out when
    `points_out` points in a row lie above `target`, in when `points_in` lie below `scale_in_frac` of it; else, and
    where a point is missing or the newest one older than `late_s`, nothing happens. What it takes is proportional: load
    over target, the load being that of the units measured; units on the way are no part of it but count as capacity, so
    that a second alarm does not order them again. While units are on the way none are taken away. After a step out no
    other one for `cooldown_out_s`, after any step none in for `cooldown_in_s`.

    `also` has further metrics with their targets: out if any wants out, in only if all want in, and the largest number
    wins. None: where the metric says how full a pool is, `pending_gpus` at half a GPU, since what waits for more GPUs
    than there are fills none. With `points_out=1`, `points_in=1`, `scale_in_frac=1` and no cool-downs it is plain
    proportional control, at any `period_s`.

    Where there is no unit at all, any load is above target.

    Emulated: AWS does not say how large its steps are. A step out goes by the newest point, a step in by the highest
    of those that called for it, at most `max_step_in` units. The two alarms are those that it is commonly seen to make.
    """

    metric: str = "gpu_allocation_frac"
    target: float = 0.7
    also: Mapping[str, float] | None = None  # metric -> target
    scale_in_frac: float = 0.9
    points_out: int = 3
    points_in: int = 15
    point_s: float = 60.0
    late_s: float = 180.0
    cooldown_out_s: float = 300.0
    cooldown_in_s: float = 300.0
    max_step_in: int | None = None
    disable_scale_in: bool = False
    min_units: int = 0
    max_units: int | None = None
    period_s: float = 60.0
    _last_out_s: float = field(default=-math.inf, init=False, repr=False, compare=False)
    _last_in_s: float = field(default=-math.inf, init=False, repr=False, compare=False)
    _points: dict[str, Points] = field(default_factory=dict, init=False, repr=False, compare=False)  # when last asked

    def __post_init__(self) -> None:
        twice = f"must not have {self.metric}, which is the metric itself"
        also = self.also or {}
        require("target_tracking", {"also": (also, self.metric not in also, twice)})
        for metric, target in {**also, self.metric: self.target}.items():
            require_metric("target_tracking", metric)
            option = "target" if metric == self.metric else f"also.{metric}"
            require(
                "target_tracking",
                {
                    "metric": (metric, metric != FALLING, "falls while load rises: it can't be tracked"),
                    option: (target, 0 < target < math.inf, "must be more than 0"),
                },
            )
        step_in = self.max_step_in
        rules = {
            "scale_in_frac": (self.scale_in_frac, 0 <= self.scale_in_frac <= 1, "must lie in 0..1"),
            "cooldown_out_s": (self.cooldown_out_s, self.cooldown_out_s >= 0, "must be 0 or more"),
            "cooldown_in_s": (self.cooldown_in_s, self.cooldown_in_s >= 0, "must be 0 or more"),
            "max_step_in": (step_in, step_in is None or step_in >= 1, "must be 1 or more"),
            "period_s": (self.period_s, self.period_s > 0, "must be more than 0"),
        }
        require("target_tracking", rules)
        require_points("target_tracking", self.points_out, self.points_in, self.point_s, self.late_s)
        require_bounds("target_tracking", self.min_units, self.max_units)

    @property
    def sees_back_s(self) -> float:
        return self.late_s + self.point_s

    def desired(self, target: Target, view: ClusterView) -> int:
        now_s, count, why = view.now_s, target.num_units, view.explain
        wishes = [self._wish(target, view, metric, goal) for metric, goal in self._goals(target).items()]
        wanted = count
        highest = max(wishes)
        if why and len(wishes) > 1:
            why.say("recommendation", count=highest, most_of=wishes)
        if highest > count:
            if is_over(self._last_out_s + self.cooldown_out_s, "out", view):
                wanted = highest
        elif highest < count and self._may_go(target, view):
            wanted = max(highest, count - (self.max_step_in or count))
            if why and self.max_step_in:
                limit = count - self.max_step_in
                why.say("rate_limit", wanted=highest, at_least=limit, count=wanted, holds=wanted > highest)
        wanted = bounded(wanted, target, self.min_units, self.max_units, why)
        if wanted > count:
            self._last_out_s = now_s
        elif wanted < count:
            self._last_in_s = now_s
        return wanted

    def _may_go(self, target: Target, view: ClusterView) -> bool:
        """Whether units may be taken away now."""
        if self.disable_scale_in:
            if view.explain:
                view.explain.say("note", text="disable_scale_in: no units are taken away", holds=True)
            return False
        rested_s = max(self._last_in_s, self._last_out_s) + self.cooldown_in_s
        return all_there(target, view) and is_over(rested_s, "in", view)

    def _goals(self, target: Target) -> Mapping[str, float]:
        """What is tracked, and at which value."""
        also = self.also or {}
        if self.also is None and isinstance(target, PoolView) and self.metric in _FULLNESS:
            also = {WAITING: _WAITS}
        return {self.metric: self.target, **also}

    def _wish(self, target: Target, view: ClusterView, metric: str, goal: float) -> int:
        """What one metric asks for: more or fewer units than there are if its alarm is on, else what there is."""
        count, why = target.num_units, view.explain
        num = max(self.points_out, self.points_in)
        points = self._points[metric] = data_points(target, view, metric, self.point_s, num, self.late_s)
        height = averages(target, metric, points)
        bound = goal if count else 0.0
        lower = self.scale_in_frac * goal

        def is_above(value: float) -> bool:
            return value > bound

        def is_below(value: float) -> bool:
            return value < lower

        if why:
            why.measured(view, target.name, metric, height[0], window_s=self.point_s)
            if height[0] is not None:
                why.say("ratio", ratio=height[0] / goal, target=goal)
            say_alarms(why, height, (self.points_out, bound, is_above), (self.points_in, lower, is_below))
        wish = count
        if is_on(height, self.points_out, is_above):
            wish = max(ceil(units_for(target, view, metric, points[0] or 0.0, goal)), count)
        elif is_on(height, self.points_in, is_below):
            highest = max(filter(None, points[: self.points_in]), default=0.0)
            wish = min(ceil(units_for(target, view, metric, highest, goal)), count)
        if why:
            why.say("recommendation", count=wish, by=metric)
        return wish

    def quiet(self, target: Target, view: ClusterView) -> Quiet | None:
        """As long as no alarm of any metric adds units, and of one none takes units away; see `alarms.quiet_alarms`."""
        fewest, most = bounds(target, self.min_units, self.max_units)
        goes_out = target.num_units < most
        goes_in = target.num_units > fewest and not (target.num_starting or self.disable_scale_in)
        rested_out_s = self._last_out_s + self.cooldown_out_s
        rested_in_s = max(self._last_in_s, self._last_out_s) + self.cooldown_in_s
        promise, stays = Quiet(), Quiet(-math.inf) if goes_in else Quiet()
        for metric, goal in self._goals(target).items():
            low, high = self._bounds(target, metric, goal)
            look = partial(quiet_alarms, target, view, metric, self._points[metric], self.point_s)
            if goes_out:
                is_above = partial(_is_above, target, metric, goal if target.num_units else 0.0)
                promise = promise.but(look(Side(self.points_out, inside(high, -MARGIN), is_above, rested_out_s), None))
            if goes_in:
                low += 10 * MARGIN * max(1.0, abs(low))  # `ceil` forgives as much as MARGIN
                stays = max(
                    stays, look(None, Side(self.points_in, low, low.__ge__, rested_in_s)), key=attrgetter("until_s")
                )
        return promise.but(stays)

    def _bounds(self, target: Target, metric: str, goal: float) -> Band:
        """(up to which value an alarm is on and takes units away, above which one is on and adds some)."""
        count, units = target.num_units, units_measured(target)
        whole = 1.0 / as_average(target, metric, 1.0)  # what is held against the goal is an average
        low, high = self.scale_in_frac * goal * whole, goal * whole if count else 0.0
        if metric in TOTALS or (metric != WAITING and units):
            of_unit = goal if metric in TOTALS else goal / units  # that much calls for one
            low, high = min(low, (count - 1) * of_unit), max(high, count * of_unit)
        return low, high


def _is_above(target: Target, metric: str, bound: float, value: float) -> bool:
    return as_average(target, metric, value) > bound
