"""KEDA: from zero and back by events, between by a generated HPA."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from policies.reasons import Reasons
from policies.registry import register
from policies.scaling.hpa_behavior import STABILIZATION_S, Behavior
from policies.scaling.kubernetes_hpa import KubernetesHpa, MetricSpec
from policies.scaling.options import bounds, made, require
from policies.view import ClusterView, Target


@dataclass(frozen=True)
class Trigger:
    """One of a ScaledObject's triggers: active above `activation_threshold`, and with a target for the HPA."""

    metric: str = "queue_length"
    threshold: float = 5.0
    activation_threshold: float = 0.0
    metric_type: str = "AverageValue"  # or Value

    def is_active(self, value: float) -> bool:
        return value > self.activation_threshold


@dataclass
class GeneratedHpa(KubernetesHpa):
    """The HPA of a ScaledObject: a trigger that keeps failing reads as the load of `fallback_units`."""

    fallback_units: int = 0
    fallback_failures: int = 3
    _failures: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def _measured(self, spec: MetricSpec, target: Target, view: ClusterView) -> float | None:
        value = super()._measured(spec, target, view)
        failures = self._failures[spec.metric] = self._failures.get(spec.metric, 0) + 1 if value is None else 0
        if failures <= self.fallback_failures or not self.fallback_units or spec.target_type != "AverageValue":
            return value
        fallback = self.fallback_units * spec.target
        if view.explain:
            text = f"{spec.metric} has failed {failures} times in a row: it reads as {fallback:g}"
            view.explain.say("note", text=text)
        return fallback


@dataclass(frozen=True)
class Poll:
    """What one look at the triggers found."""

    is_active: bool
    has_error: bool
    is_over: bool  # the cool-down since the last activity


def polled(current: int, found: Poll, fewest: int, idle: int | None) -> tuple[int, bool]:
    """(what KEDA itself sets, whether that counts as activity)."""
    if found.is_active:
        if not current or (idle is not None and current < fewest):
            return max(1, fewest), True
        return current, not found.has_error
    if found.has_error:
        return current, False  # not Ready; or with a fallback, the HPA's
    if (idle is not None and current > idle) or (current > 0 and not fewest):
        return (idle or 0) if found.is_over else current, False
    return max(current, fewest), False


@register("scaling", "keda")
@dataclass
class Keda:
    """A KEDA ScaledObject (operator and defaults, as of autumn 2026).

    Every `polling_s` the triggers are looked at: one of them active brings the target from 0, or from `idle_units`, to
    its minimum, 1 at least; none for longer than `cooldown_s` takes it to 0, or to `idle_units`, past any limit of the
    HPA. Where none has ever been active `initial_cooldown_s` from the first look counts instead. A trigger without a
    number, or with one older than `stale_s`, is an error: it is no activity, and nothing goes to 0. Between, at each
    `period_s`, it is the HPA that KEDA generates (see `kubernetes_hpa`), with a minimum of 1 at least; what an instant
    of both brings is KEDA's. `fallback_units` is what the HPA goes by once a trigger has failed more than
    `fallback_failures` times in a row.

    It promises no quiet (`policies.quiet`): polls, and failures counted, follow from when it was asked.
    """

    triggers: Sequence[Trigger] = field(default_factory=lambda: [Trigger()])
    polling_s: float = 30.0
    cooldown_s: float = 300.0
    initial_cooldown_s: float = 0.0
    min_units: int = 0
    max_units: int = 100
    idle_units: int | None = None
    fallback_units: int = 0
    fallback_failures: int = 3
    behavior: Behavior | None = None
    tolerance: float = 0.1
    stabilization_s: float = STABILIZATION_S
    stale_s: float = math.inf
    period_s: float = 15.0
    _hpa: GeneratedHpa = field(init=False, repr=False, compare=False)
    _poll_s: float = field(default=-math.inf, init=False, repr=False, compare=False)  # when the next one is due
    _first_s: float = field(default=math.nan, init=False, repr=False, compare=False)
    _active_s: float | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.triggers = [made(Trigger, each, f"keda: triggers[{i}]") for i, each in enumerate(self.triggers)]
        seconds = ("polling_s", "cooldown_s", "initial_cooldown_s", "min_units", "fallback_units", "fallback_failures")
        rules = {name: (getattr(self, name), getattr(self, name) >= 0, "must be 0 or more") for name in seconds}
        idle = self.idle_units
        rules |= {
            "triggers": (self.triggers, bool(self.triggers), "must have one or more"),
            "max_units": (self.max_units, self.max_units >= max(self.min_units, 1), "must be min_units, or 1, or more"),
            "idle_units": (
                idle,
                idle is None or 0 <= idle < self.min_units,
                "must be 0 or more and less than min_units",
            ),
        }
        require("keda", rules)
        self._hpa = GeneratedHpa(
            metrics=[MetricSpec(each.metric, "External", each.metric_type, each.threshold) for each in self.triggers],
            behavior=self.behavior,
            tolerance=self.tolerance,
            stabilization_s=self.stabilization_s,
            stale_s=self.stale_s,
            min_units=max(1, self.min_units),
            max_units=self.max_units,
            period_s=self.period_s,
            fallback_units=self.fallback_units,
            fallback_failures=self.fallback_failures,
        )
        self.behavior = self._hpa.behavior

    def desired(self, target: Target, view: ClusterView) -> int:
        current = target.num_units
        if view.now_s >= self._poll_s:
            self._poll_s = view.now_s + self.polling_s
            replicas = self._poll(target, view)
            if replicas != current:
                return replicas
        return self._hpa.desired(target, view)

    def _poll(self, target: Target, view: ClusterView) -> int:
        """What KEDA itself sets."""
        now_s, current = view.now_s, target.num_units
        fewest, most = bounds(target, self.min_units, self.max_units)
        if math.isnan(self._first_s):
            self._first_s = now_s
        values = [(each, self._hpa.newest(each.metric, target, view)) for each in self.triggers]
        if self._active_s is None:
            is_over = now_s >= self._first_s + self.initial_cooldown_s
        else:
            is_over = self._active_s + self.cooldown_s < now_s
        found = Poll(
            is_active=any(value is not None and each.is_active(value) for each, value in values),
            has_error=any(value is None for _, value in values),
            is_over=is_over,
        )
        replicas, is_activity = polled(current, found, fewest, self.idle_units)
        replicas = min(replicas, max(most, current))
        if view.explain:
            self._say(view.explain, target, view, values, found, fewest, replicas)
        if is_activity:
            self._active_s = now_s
        return replicas

    def _say(
        self, why: Reasons, target: Target, view: ClusterView, values: Sequence[tuple[Trigger, float | None]],
        found: Poll, fewest: int, replicas: int,
    ) -> None:  # fmt: skip
        """What the triggers read, and what that brings; the HPA says the rest where it brings nothing."""
        current = target.num_units
        for each, value in values:
            why.measured(view, target.name, each.metric, value, holds=value is None)
            is_on = value is not None and each.is_active(value)
            why.say("alarm", direction="active", bound=each.activation_threshold, on=is_on)
        least = 0 if self.idle_units is None and not fewest else self.idle_units
        may_go = not (found.is_active or found.has_error) and least is not None and current > least
        if may_go and not found.is_over:
            until_s = self._first_s + self.initial_cooldown_s
            if self._active_s is not None:
                until_s = self._active_s + self.cooldown_s
            why.say("cool_down", direction=f"to {least}", left_s=until_s - view.now_s, holds=True)
        if replicas != current:
            why.say("recommendation", count=replicas, by="KEDA itself")
