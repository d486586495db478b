"""Ray Serve's request-based autoscaler."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from policies.metrics_view import KEEP_S
from policies.reasons import Reasons
from policies.registry import register
from policies.scaling.load import TOTALS, units_measured
from policies.scaling.options import bounded, require, require_metric
from policies.view import ClusterView, Target


def smoothed(current: int, raw: float, up_factor: float = 1.0, down_factor: float = 1.0) -> int:
    """`raw` replicas, of which a factor takes part of the way; rounded up, but never stuck on the way down."""
    factor = up_factor if raw > current else down_factor
    scaled = math.ceil(current + factor * (raw - current))
    return scaled - 1 if math.ceil(raw) < current and scaled == current else scaled


@register("scaling", "ray_serve")
@dataclass
class RayServe:
    """Ray Serve's default autoscaling policy (as of autumn 2026).

    Replicas for `target_ongoing_requests` each, by the mean of all requests in flight over `look_back_s`. More or fewer
    must be called for without a break for `upscale_delay_s` or `downscale_delay_s` since the first such decision; an
    opposite or an equal one starts that anew, and what is called for at the end counts. To 0 only from 1, after
    `downscale_to_zero_delay_s` (None: as any other step down). From 0, or while none is running yet, requests bring
    `upscaling_factor` replicas, rounded up, at once. Without any measurement nothing changes.

    Ray's loop runs every 0.1 s and its metrics come every 10 s; a slower `period_s` costs as much of the delays'
    precision.

    It promises no quiet (`policies.quiet`): it is of services, which are asked at each tick.
    """

    metric: str = "concurrency"
    target_ongoing_requests: float = 2.0
    look_back_s: float = 30.0
    upscale_delay_s: float = 30.0
    downscale_delay_s: float = 600.0
    downscale_to_zero_delay_s: float | None = None
    upscaling_factor: float = 1.0
    downscaling_factor: float = 1.0
    min_units: int = 1
    max_units: int | None = None
    period_s: float = 0.1
    _direction: int = field(default=0, init=False, repr=False, compare=False)  # of the last decisions
    _since_s: float = field(default=0.0, init=False, repr=False, compare=False)  # the first of them

    def __post_init__(self) -> None:
        require_metric("ray_serve", self.metric)
        zero_s = self.downscale_to_zero_delay_s
        goal = self.target_ongoing_requests
        rules = {
            "target_ongoing_requests": (goal, goal > 0, "must be more than 0"),
            "look_back_s": (self.look_back_s, 0 < self.look_back_s <= KEEP_S, f"must lie in 0..{KEEP_S:g}, not 0"),
            "upscale_delay_s": (self.upscale_delay_s, self.upscale_delay_s >= 0, "must be 0 or more"),
            "downscale_delay_s": (self.downscale_delay_s, self.downscale_delay_s >= 0, "must be 0 or more"),
            "downscale_to_zero_delay_s": (zero_s, zero_s is None or zero_s >= 0, "must be 0 or more"),
            "upscaling_factor": (self.upscaling_factor, self.upscaling_factor > 0, "must be more than 0"),
            "downscaling_factor": (self.downscaling_factor, self.downscaling_factor > 0, "must be more than 0"),
            "period_s": (self.period_s, self.period_s > 0, "must be more than 0"),
            "min_units": (self.min_units, self.min_units >= 0, "must be 0 or more"),
        }
        require("ray_serve", rules)
        most = self.max_units
        require(
            "ray_serve",
            {"max_units": (most, most is None or most >= max(self.min_units, 1), "must be min_units, or 1, or more")},
        )

    @property
    def sees_back_s(self) -> float:
        return self.look_back_s

    def desired(self, target: Target, view: ClusterView) -> int:
        running, current, why = target.num_ready, target.num_units, view.explain
        total = view.metrics.mean(target.name, self.metric, view.now_s - self.look_back_s)
        if why:
            why.measured(view, target.name, self.metric, total, window_s=self.look_back_s, holds=total is None)
        if total is None:
            return bounded(current, target, self.min_units, self.max_units, why)
        if self.metric not in TOTALS:
            total *= units_measured(target)
        if not running:
            wanted = max(math.ceil(self.upscaling_factor), current) if total > 0 else current
            if why:
                why.say("recommendation", count=wanted, by="whether there is any request, while no replica runs")
            return bounded(wanted, target, self.min_units, self.max_units, why)
        raw = total / self.target_ongoing_requests
        wanted = smoothed(running, raw, self.upscaling_factor, self.downscaling_factor)
        if why:
            why.say("ratio", ratio=raw / running, target=self.target_ongoing_requests, units=running)
            why.say("recommendation", count=wanted, unrounded=raw)
        wanted = bounded(wanted, target, self.min_units, self.max_units, why)
        return self._delayed(view.now_s, current, wanted, why)

    def _delayed(self, now_s: float, current: int, wanted: int, why: Reasons | None) -> int:
        """`wanted`, once its direction has been called for for long enough; until then what there is."""
        direction = (wanted > current) - (wanted < current)
        if direction != self._direction:
            self._direction, self._since_s = direction, now_s
        delay_s = self.upscale_delay_s
        if direction < 0:
            delay_s = self.downscale_delay_s
            if current == 1 and self.downscale_to_zero_delay_s is not None:
                delay_s = self.downscale_to_zero_delay_s
            wanted = max(wanted, 1) if current > 1 else wanted
        is_early = now_s < self._since_s + delay_s
        if why and direction:
            have = {"have": now_s - self._since_s, "need": delay_s, "unit": "s"}
            why.say("delay", direction="out" if direction > 0 else "in", **have, holds=is_early)
        if not direction or is_early:
            return current
        self._direction = 0
        return wanted
