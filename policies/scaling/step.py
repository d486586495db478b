"""Larger steps the further a metric is beyond its bound."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from policies.errors import PolicyError
from policies.quiet import Quiet
from policies.reasons import Reasons
from policies.registry import register
from policies.scaling.alarms import (
    MARGIN,
    Points,
    Side,
    data_points,
    inside,
    is_on,
    quiet_alarms,
    require_points,
    say_alarms,
)
from policies.scaling.cool_down import all_there, is_over
from policies.scaling.options import bounded, bounds, require, require_bounds, require_metric
from policies.view import ClusterView, Target

ADJUSTMENTS = ("change", "percent", "exact")
_ROUNDING = 1e-9  # 30% of 10 units is 3 units, and not 2.999…; 0.7 is 0.1 above 0.6
Steps = Mapping[float, float]  # how far beyond the bound a step begins -> its adjustment


def step_at(beyond: float, steps: Steps, above: bool) -> float | None:
    """The adjustment of a metric that lies `beyond` its bound (less than 0: below it); None where no step begins.

    A step lasts to where the next one begins. Above the bound it includes its lower end and not its upper one, below
    the bound it is the other way round.
    """
    reached = [begin for begin in steps if (begin <= beyond + _ROUNDING if above else begin >= beyond - _ROUNDING)]
    return steps[max(reached) if above else min(reached)] if reached else None


def adjusted(count: int, adjustment: float, kind: str, min_change: int = 1) -> int:
    """`count` after an adjustment of a kind in ADJUSTMENTS.

    A percentage is rounded towards 0, but to 1 unit at least; `min_change` may say more.
    """
    if kind == "exact":
        return int(adjustment)
    if kind == "change":
        return count + int(adjustment)
    change = count * adjustment / 100.0
    units = max(math.floor(abs(change) + _ROUNDING), min_change if change else 0)
    return count + int(math.copysign(units, change))


@register("scaling", "step")
@dataclass
class Step:
    """Step scaling (Amazon EC2 and Application Auto Scaling, step scaling policies, as of autumn 2026).

    Two alarms: `points_out` points in a row at `upper` or above, `points_in` at `lower` or below, a point being the
    mean of a stretch of `point_s`. How far the newest point lies beyond the bound chooses the step: `steps_out` and
    `steps_in` have where a step begins, counted from the bound, and its adjustment, as a `change` in units, a `percent`
    of them or an `exact` number. A missing point, or a newest one older than `late_s`, turns an alarm off.

    A step out counts from the units that are ready: those on the way are no part of the metric, but count as capacity,
    so that the same step again orders nothing, and a larger one the difference. While some are on the way none go.
    During the `cooldown_out_s` of a step out, steps count from the number before it, to the same end; after any step
    there is none in for `cooldown_in_s`.
    """

    metric: str = "gpu_utilisation_frac"
    upper: float = 0.6
    lower: float = 0.4
    steps_out: Mapping[float, float] = field(default_factory=lambda: {0.0: 10.0, 0.1: 30.0})
    steps_in: Mapping[float, float] = field(default_factory=lambda: {0.0: -10.0, -0.1: -30.0})
    adjustment: str = "percent"
    min_change: int = 1  # units, of a percentage that isn't 0
    points_out: int = 1
    points_in: int = 1
    point_s: float = 60.0
    late_s: float = 180.0
    cooldown_out_s: float = 300.0
    cooldown_in_s: float = 300.0
    min_units: int = 0
    max_units: int | None = None
    period_s: float = 60.0
    _last_out_s: float = field(default=-math.inf, init=False, repr=False, compare=False)
    _last_in_s: float = field(default=-math.inf, init=False, repr=False, compare=False)
    _points: Points = field(default=(), init=False, repr=False, compare=False)  # when last asked
    _before: int = field(default=0, init=False, repr=False, compare=False)  # units before the last step out

    def __post_init__(self) -> None:
        require_metric("step", self.metric)
        self.steps_out = {float(begin): float(value) for begin, value in self.steps_out.items()}
        self.steps_in = {float(begin): float(value) for begin, value in self.steps_in.items()}
        if self.adjustment not in ADJUSTMENTS:
            raise PolicyError(f"step: adjustment={self.adjustment!r}: must be one of {', '.join(ADJUSTMENTS)}")
        exact = self.adjustment == "exact"
        whole = self.adjustment == "percent" or all(
            value == int(value) for value in (*self.steps_out.values(), *self.steps_in.values())
        )
        rules = {
            "lower": (self.lower, self.lower < self.upper, "must be less than upper"),
            "steps_out": (self.steps_out, all(begin >= 0 for begin in self.steps_out), "must begin at 0 or above"),
            "steps_in": (self.steps_in, all(begin <= 0 for begin in self.steps_in), "must begin at 0 or below"),
            "min_change": (self.min_change, self.min_change >= 1, "must be 1 or more"),
            "adjustment": (self.adjustment, whole, "must be whole numbers of units"),
            "cooldown_out_s": (self.cooldown_out_s, self.cooldown_out_s >= 0, "must be 0 or more"),
            "cooldown_in_s": (self.cooldown_in_s, self.cooldown_in_s >= 0, "must be 0 or more"),
            "period_s": (self.period_s, self.period_s > 0, "must be more than 0"),
        }
        require("step", rules)
        ups, downs = self.steps_out.values(), self.steps_in.values()
        require("step", {"steps_out": (self.steps_out, all(up >= 0 for up in ups), "must not take units away")})
        rule = "must be 0 or more" if exact else "must not add units"
        require("step", {"steps_in": (self.steps_in, all((down >= 0) == exact or not down for down in downs), rule)})
        require_points("step", self.points_out, self.points_in, self.point_s, self.late_s)
        require_bounds("step", self.min_units, self.max_units)

    @property
    def sees_back_s(self) -> float:
        return self.late_s + self.point_s

    def desired(self, target: Target, view: ClusterView) -> int:
        now_s, count, why = view.now_s, target.num_units, view.explain
        num = max(self.points_out, self.points_in)
        points = self._points = data_points(target, view, self.metric, self.point_s, num, self.late_s)
        if why:
            self._say(why, target, view, points)
        wanted = count
        if is_on(points, self.points_out, self._is_above):
            rests = now_s < self._last_out_s + self.cooldown_out_s
            base = min(target.num_ready, self._before) if rests else target.num_ready
            step = step_at((points[0] or 0.0) - self.upper, self.steps_out, above=True)
            if step is not None:
                wanted = max(adjusted(base, step, self.adjustment, self.min_change), count)
            if why:
                kind = {"adjustment": step, "kind": self.adjustment, "base": base, "rests": rests}
                why.say("recommendation", count=wanted, **kind, holds=wanted == count)
        elif is_on(points, self.points_in, self._is_below):
            step = step_at((points[0] or 0.0) - self.lower, self.steps_in, above=False)
            fewer = count if step is None else min(adjusted(count, step, self.adjustment, self.min_change), count)
            if why:
                kind = {"adjustment": step, "kind": self.adjustment, "base": count}
                why.say("recommendation", count=fewer, **kind, holds=fewer == count)
            rested_s = max(self._last_in_s, self._last_out_s) + self.cooldown_in_s
            if step is not None and all_there(target, view) and is_over(rested_s, "in", view):
                wanted = fewer
        wanted = bounded(wanted, target, self.min_units, self.max_units, why)
        if wanted > count:
            if now_s >= self._last_out_s + self.cooldown_out_s:
                self._before = count
            self._last_out_s = now_s
        elif wanted < count:
            self._last_in_s = now_s
        return wanted

    def _is_above(self, value: float) -> bool:
        return value >= self.upper

    def _is_below(self, value: float) -> bool:
        return value <= self.lower

    def _say(self, why: Reasons, target: Target, view: ClusterView, points: Points) -> None:
        """The newest point, and what the alarms make of it."""
        why.measured(view, target.name, self.metric, points[0], window_s=self.point_s)
        say_alarms(
            why, points, (self.points_out, self.upper, self._is_above), (self.points_in, self.lower, self._is_below)
        )

    def quiet(self, target: Target, view: ClusterView) -> Quiet | None:
        """As long as no alarm that could do anything can go on; see `alarms.quiet_alarms`."""
        fewest, most = bounds(target, self.min_units, self.max_units)
        out = back = None
        if target.num_units < most:
            turn_s = self._last_out_s + self.cooldown_out_s  # before, steps count from another number
            out = Side(self.points_out, inside(self.upper, -MARGIN), lambda value: value >= self.upper, turn_s=turn_s)
        if target.num_units > fewest and not target.num_starting:
            rested_s = max(self._last_in_s, self._last_out_s) + self.cooldown_in_s
            back = Side(self.points_in, inside(self.lower, MARGIN), lambda value: value <= self.lower, rested_s)
        return quiet_alarms(target, view, self.metric, self._points, self.point_s, out, back)
