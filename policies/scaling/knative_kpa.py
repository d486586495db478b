"""Knative's pod autoscaler: a slow window, and a quick one for when load surges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from policies.metrics_view import KEEP_S
from policies.reasons import Reasons
from policies.registry import register
from policies.scaling.options import bounded, require, require_bounds, require_metric
from policies.view import ClusterView, Target

_LEAST_TARGET = 0.01
_DIGITS = 6  # averages are rounded to
_LOOK_BACK_S = 300.0


def window_average(samples: Sequence[tuple[float, float]], now_s: float, window_s: float, bucket_s: float) -> float:
    """Mean of the buckets of a window that ends now, from the first written one to the last; gaps between count as 0.

    `samples` are (time, value), oldest first, from before the window too: they say when writing began.
    """
    last, now = math.floor(samples[-1][0] / bucket_s), math.floor(now_s / bucket_s)
    num = max(math.ceil(window_s / bucket_s), 1)
    first = max(math.floor(samples[0][0] / bucket_s), now - num + 1)
    if last < first:
        return 0.0
    buckets: dict[int, list[float]] = {}
    for time_s, value in samples:
        buckets.setdefault(math.floor(time_s / bucket_s), []).append(value)
    total = sum(sum(values) / len(values) for bucket, values in buckets.items() if first <= bucket <= last)
    return round(total / (last - first + 1), _DIGITS)


def clamped(
    average: float, target: float, ready: float, max_up_rate: float, max_down_rate: float, reachable: bool = True,
    why: Reasons | None = None,
) -> int:  # fmt: skip
    """The replicas that an average asks for, within what the rates allow; of fractions the way up gets the next one."""
    up = math.ceil(max_up_rate * ready)
    down = math.floor(ready / max_down_rate) if reachable else 0
    wanted = math.ceil(average / target)
    count = min(max(wanted, down), up)
    if why:
        why.say("ratio", ratio=average / target, target=target)
        why.say("rate_limit", wanted=wanted, at_least=down, at_most=up, count=count, holds=count != wanted)
    return count


@register("scaling", "knative_kpa")
@dataclass
class KnativeKpa:
    """The Knative Pod Autoscaler (autoscaler and defaults, as of autumn 2026).

    A replica is to have `target` requests in flight (or a second, with `metric=request_rate_per_s`), of which it is
    loaded to `target_utilization`. The average of the stable window says how many; once that of the panic window asks
    for `panic_threshold` times those ready, it counts too and nothing goes down, until `stable_window_s` after it last
    did so. No data in the stable window: no decision. A cluster that begins with more than one ready replica begins in
    panic.

    Averages are over buckets of 1 s, or where monitoring samples less often of its interval; a window is one bucket
    at least. Emulated: 0 must be wanted for the whole of `grace_s` before the last replica goes, which Knative may cut
    short; and what waits for a replica that isn't there is seen at the next tick.

    It promises no quiet (`policies.quiet`): buckets of its windows run out between samples.
    """

    metric: str = "concurrency"
    target: float = 100.0
    target_utilization: float = 0.7
    stable_window_s: float = 60.0
    panic_window_frac: float = 0.1
    panic_threshold: float = 2.0
    max_up_rate: float = 1000.0
    max_down_rate: float = 2.0
    activation_scale: int = 1
    down_delay_s: float = 0.0
    grace_s: float = 30.0
    min_units: int = 0
    max_units: int | None = None
    period_s: float = 2.0
    _panic_s: float | None = field(default=None, init=False, repr=False, compare=False)  # since when; None: no panic
    _max_panic: int = field(default=0, init=False, repr=False, compare=False)
    _is_new: bool = field(default=True, init=False, repr=False, compare=False)
    _zero_s: float | None = field(default=None, init=False, repr=False, compare=False)  # 0 is wanted since
    _delayed: list[tuple[float, int]] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_metric("knative_kpa", self.metric)
        rules = {
            "target": (self.target, self.target > 0, "must be more than 0"),
            "target_utilization": (
                self.target_utilization,
                0 < self.target_utilization <= 1,
                "must lie in 0..1, not 0",
            ),
            "stable_window_s": (
                self.stable_window_s,
                6 <= self.stable_window_s <= KEEP_S,
                f"must lie in 6..{KEEP_S:g}",
            ),
            "panic_window_frac": (self.panic_window_frac, 0 < self.panic_window_frac <= 1, "must lie in 0..1, not 0"),
            "panic_threshold": (self.panic_threshold, self.panic_threshold > 1, "must be more than 1"),
            "max_up_rate": (self.max_up_rate, self.max_up_rate > 1, "must be more than 1"),
            "max_down_rate": (self.max_down_rate, self.max_down_rate > 1, "must be more than 1"),
            "activation_scale": (self.activation_scale, self.activation_scale >= 1, "must be 1 or more"),
            "down_delay_s": (self.down_delay_s, self.down_delay_s >= 0, "must be 0 or more"),
            "grace_s": (self.grace_s, self.grace_s >= 0, "must be 0 or more"),
            "period_s": (self.period_s, self.period_s > 0, "must be more than 0"),
        }
        require("knative_kpa", rules)
        require_bounds("knative_kpa", self.min_units, self.max_units)

    def desired(self, target: Target, view: ClusterView) -> int:
        now_s, why = view.now_s, view.explain
        if self._is_new:
            self._is_new = False
            if target.num_ready > 1:
                self._panic_s, self._max_panic = now_s, target.num_ready
        looked_back_s = max(2 * self.stable_window_s, _LOOK_BACK_S)  # to know when writing began, and how often it is
        samples = view.metrics.since(target.name, self.metric, now_s - looked_back_s)
        bucket_s = _interval_s(samples)
        if not samples or now_s - samples[-1][0] > max(self.stable_window_s, bucket_s):
            if why:
                why.measured(view, target.name, self.metric, None, window_s=self.stable_window_s, holds=True)
            return target.num_units
        windows = (self.stable_window_s, self.panic_window_frac * self.stable_window_s)
        stable, panic = (window_average(samples, now_s, window_s, bucket_s) for window_s in windows)
        if why:
            for value, window_s in zip((stable, panic), windows, strict=True):
                why.measured(view, target.name, self.metric, value, window_s=window_s)
        wanted = self._delay(now_s, self._decided(now_s, stable, panic, target.num_ready, why), why)
        wanted = self._last_one(now_s, wanted, target, why)
        return bounded(wanted, target, self.min_units, self.max_units, why)

    def _decided(self, now_s: float, stable: float, panic: float, num_ready: int, why: Reasons | None = None) -> int:
        """What the two averages come to, in panic or not."""
        goal, ready = max(_LEAST_TARGET, self.target * self.target_utilization), max(1, num_ready)
        wishes = []
        for average in (stable, panic):
            wish = clamped(average, goal, ready, self.max_up_rate, self.max_down_rate, why=why)
            wishes.append(max(wish, self.activation_scale) if self.activation_scale > 1 and average > 0 else wish)
        if math.ceil(panic / goal) / ready >= self.panic_threshold:
            self._panic_s = now_s
        elif self._panic_s is not None and self._panic_s + self.stable_window_s < now_s:
            self._panic_s, self._max_panic = None, 0
        if self._panic_s is None:
            if why:
                why.say("recommendation", count=wishes[0], by="the stable window")
            return wishes[0]
        self._max_panic = max(self._max_panic, *wishes)
        if why:
            why.say("recommendation", count=max(wishes), by="both windows, in panic")
            held = {"wanted": max(wishes), "count": self._max_panic, "window_s": self.stable_window_s}
            why.say("stabilisation", **held, holds=self._max_panic > max(wishes))
        return self._max_panic

    def _delay(self, now_s: float, wanted: int, why: Reasons | None) -> int:
        """The most that was wanted in the delay of the way down."""
        if not self.down_delay_s:
            return wanted
        self._delayed = [each for each in self._delayed if each[0] > now_s - self.down_delay_s] + [(now_s, wanted)]
        most = max(count for _, count in self._delayed)
        if why:
            why.say("stabilisation", wanted=wanted, count=most, window_s=self.down_delay_s, holds=most > wanted)
        return most

    def _last_one(self, now_s: float, wanted: int, target: Target, why: Reasons | None) -> int:
        """1 instead of 0 until 0 has been wanted for the grace."""
        if wanted or not target.num_units:
            self._zero_s = None
            return wanted
        self._zero_s = now_s if self._zero_s is None else self._zero_s
        is_over = now_s >= self._zero_s + self.grace_s
        if why:
            why.say(
                "delay", direction="to 0", have=now_s - self._zero_s, need=self.grace_s, unit="s", holds=not is_over
            )
        return 0 if is_over else 1


def _interval_s(samples: Sequence[tuple[float, float]]) -> float:
    """The least time between two of the last samples, 1 s at least."""
    times_s = [time_s for time_s, _ in samples[-8:]]
    return max(min((after - before for before, after in pairwise(times_s)), default=1.0), 1.0)
