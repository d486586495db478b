"""Kubernetes' HorizontalPodAutoscaler."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from policies.quiet import Band, Quiet, alike, just_before
from policies.registry import register
from policies.scaling.hpa_behavior import STABILIZATION_S, Behavior, Normalizer
from policies.scaling.hpa_ratio import (
    PodClass,
    Tolerance,
    Usage,
    by_average_value,
    by_pods,
    by_value,
    class_of,
    combined,
    milli,
)
from policies.scaling.load import TOTALS, units_measured
from policies.scaling.options import bounds, made, require, require_metric, say_bound
from policies.view import ClusterView, PodSample, ServiceView, Target

_TARGETS = {
    "Resource": ("Utilization", "AverageValue"),
    "Pods": ("AverageValue",),
    "Object": ("Value", "AverageValue"),
    "External": ("Value", "AverageValue"),
}


@dataclass(frozen=True)
class MetricSpec:
    """One of an HPA's metrics: a name of `policies.metrics_view`, what kind of source it is to be, and its target.

    A Utilization is in percent of what pods request (of 1 where they don't say), all else in the metric's own unit.
    """

    metric: str = "gpu_utilisation_frac"
    source: str = "Resource"  # or Pods, Object, External; a ContainerResource is a Resource here
    target_type: str = "Utilization"  # or AverageValue, Value
    target: float = 80.0

    def __post_init__(self) -> None:
        require_metric("kubernetes_hpa", self.metric)
        types = _TARGETS.get(self.source, ())
        rules = {
            "metrics.source": (self.source, self.source in _TARGETS, f"must be one of {', '.join(_TARGETS)}"),
            "metrics.target_type": (
                self.target_type,
                self.target_type in types,
                f"must be {' or '.join(types)} with source={self.source}",
            ),
            "metrics.target": (self.target, 0 < self.target < math.inf, "must be more than 0"),
        }
        require("kubernetes_hpa", rules)

    @property
    def is_outside(self) -> bool:
        """Known without any pod."""
        return self.source in ("Object", "External")

    @property
    def is_cpu(self) -> bool:
        return self.source == "Resource" and self.metric.startswith("cpu_")


@register("scaling", "kubernetes_hpa")
@dataclass
class KubernetesHpa:
    """The Kubernetes HPA, autoscaling/v2 (controller and API defaults, as of autumn 2026).

    `metrics` are as in a manifest (see `MetricSpec`), `behavior` too: None leaves the controller's own limits, a
    mapping such as `{scale_down: {window_s: 60, policies: [{type: Percent, value: 10, period_s: 60}]}}` sets its parts,
    with the API's defaults for the rest. `min_units` 0 needs a metric from outside; where there are none and the
    minimum isn't 0 autoscaling is off. A metric whose newest sample is older than `stale_s` is invalid.

    A service that says what each of its replicas does (`ServiceView.pods`) is taken pod by pod. Of others averages are
    known: each ready unit is taken to be at the average, and each on the way is a pending pod. A total is spread over
    the units where a source asks for pods' values.
    """

    metrics: Sequence[MetricSpec] = field(default_factory=lambda: [MetricSpec()])
    behavior: Behavior | None = None
    tolerance: float = 0.1
    stabilization_s: float = STABILIZATION_S
    cpu_initialization_s: float = 300.0
    readiness_delay_s: float = 30.0
    stale_s: float = math.inf
    min_units: int = 1
    max_units: int | None = None
    period_s: float = 15.0
    _normalizer: Normalizer = field(init=False, repr=False, compare=False)
    _tolerance: Tolerance = field(init=False, repr=False, compare=False)
    _wishes: list[int | None] = field(default_factory=list, init=False, repr=False, compare=False)  # when last asked
    _recommends: bool = field(default=True, init=False, repr=False, compare=False)  # it did when last asked
    _bands: dict[tuple[MetricSpec, tuple[int, int, int], int | None], Band] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )  # (metric, units that are ready, starting, draining; what it asks for) -> values that ask for it

    def __post_init__(self) -> None:
        self.metrics = [made(MetricSpec, each, f"kubernetes_hpa: metrics[{i}]") for i, each in enumerate(self.metrics)]
        if self.behavior is not None:
            self.behavior = made(Behavior, self.behavior, "kubernetes_hpa: behavior")
        can_be_none = any(spec.is_outside for spec in self.metrics)
        least = 0 if can_be_none else 1
        why = "must be 0 or more" if can_be_none else "must be 1 or more: 0 needs an Object or External metric"
        rules: dict[str, tuple[Any, bool, str]] = {
            "metrics": (self.metrics, bool(self.metrics), "must have one or more"),
            "min_units": (self.min_units, self.min_units >= least, why),
            "max_units": (
                self.max_units,
                self.max_units is None or self.max_units >= max(self.min_units, 1),
                "must not be less than min_units, or 1",
            ),
        }
        seconds = ("stabilization_s", "cpu_initialization_s", "readiness_delay_s", "stale_s", "tolerance")
        rules |= {name: (getattr(self, name), getattr(self, name) >= 0, "must be 0 or more") for name in seconds}
        rules["period_s"] = (self.period_s, self.period_s > 0, "must be more than 0")
        require("kubernetes_hpa", rules)
        self._normalizer = Normalizer(self.behavior, self.stabilization_s)
        own = [rules.tolerance for rules in (self.behavior.scale_down, self.behavior.scale_up)] if self.behavior else []
        self._tolerance = Tolerance(*(self.tolerance if each is None else each for each in own or [None, None]))

    @property
    def wants_pods(self) -> bool:
        """Whether a metric is the pods' own."""
        return not all(spec.is_outside for spec in self.metrics)

    @property
    def sees_back_s(self) -> float:
        return self.stale_s

    def desired(self, target: Target, view: ClusterView) -> int:
        current, now_s, why = target.num_units, view.now_s, view.explain
        fewest, most = bounds(target, self.min_units, self.max_units)
        self._normalizer.start(now_s, current)
        self._recommends = bool(current or not fewest)
        if not self._recommends:
            if why:
                why.say("note", text="autoscaling is off where there is no replica and the minimum isn't 0", holds=True)
            return current
        if not fewest <= current <= most:
            replicas = min(max(current, fewest), most)
            if why:
                say_bound(why, target, current, fewest, most, replicas)
        else:
            self._wishes = [self._wish(spec, target, view) for spec in self.metrics]
            wanted = combined(current, self._wishes, why)
            if wanted is None:
                return current
            replicas = self._normalizer.normalized(now_s, current, wanted, fewest, most, why)
        self._normalizer.set(now_s, current, replicas)
        return replicas

    def quiet(self, target: Target, view: ClusterView) -> Quiet | None:
        """Of a pool: as long as each metric asks for what it asks for now, and what was recommended before holds; see
        `Normalizer.quiet_until_s`. Not while nodes are on their way, if a Value counts by those that are ready.

        All that is beyond a bound is one and the same, now and when it is remembered: bounds stay during a run.
        """
        current = target.num_units
        fewest, most = bounds(target, self.min_units, self.max_units)
        if not current and fewest:
            return Quiet()  # it is off
        if isinstance(target, ServiceView) or self.stale_s < math.inf:
            return None
        if target.num_starting and any(spec.target_type == "Value" for spec in self.metrics):
            return None
        wanted = combined(current, self._wishes)
        if wanted is None or None in self._wishes:
            return None

        def clipped(wish: int | None) -> int | None:
            return wish if wish is None else min(max(wish, fewest), most)

        promise = Quiet(just_before(self._normalizer.quiet_until_s(current, wanted, fewest, most)))
        for spec, wish in zip(self.metrics, self._wishes, strict=True):
            key = spec, (target.num_ready, target.num_starting, target.num_draining), clipped(wish)
            if key not in self._bands:
                value = view.metrics.latest(target.name, spec.metric)
                assert value is not None
                self._bands[key] = alike(partial(self._wish_at, spec, target, clipped), value)
            promise = promise.but(Quiet(bands={spec.metric: self._bands[key]}))
        return promise

    def slept(self, last_tick_s: float) -> None:
        if self._recommends:
            self._normalizer.slept(last_tick_s)

    def _wish(self, spec: MetricSpec, target: Target, view: ClusterView) -> int | None:
        """The replicas that one metric asks for; None where it is invalid."""
        current, why = target.num_units, view.explain
        wish: int | None
        if not spec.is_outside:
            ready, unready, missing = self._groups(spec, target, view)
            is_utilization = spec.target_type == "Utilization"
            goal = int(spec.target) if is_utilization else milli(spec.target)
            wish = by_pods(current, ready, unready, missing, goal, is_utilization, self._tolerance, why)
        elif (value := self._measured(spec, target, view)) is None:
            wish = None
        elif spec.target_type == "AverageValue":
            wish = by_average_value(current, milli(value), milli(spec.target), self._tolerance, why)
        else:
            wish = by_value(current, target.num_ready, milli(value), milli(spec.target), self._tolerance, why)
        if why and wish is not None:
            why.say("recommendation", count=wish, by=spec.metric)
        return wish

    def _wish_at(
        self, spec: MetricSpec, target: Target, clipped: Callable[[int | None], int | None], value: float
    ) -> int | None:
        """The same of a value, that of each unit that is ready where the metric is theirs; clipped."""
        if not spec.is_outside:
            is_utilization = spec.target_type == "Utilization"
            goal = int(spec.target) if is_utilization else milli(spec.target)
            ready, unready = self._average(spec, target, value), _unready(target)
            return clipped(by_pods(target.num_units, ready, unready, Usage(), goal, is_utilization, self._tolerance))
        if spec.target_type == "AverageValue":
            return clipped(by_average_value(target.num_units, milli(value), milli(spec.target), self._tolerance))
        return clipped(by_value(target.num_units, target.num_ready, milli(value), milli(spec.target), self._tolerance))

    def _average(self, spec: MetricSpec, target: Target, value: float) -> Usage:
        """All that are ready, each at the average."""
        if spec.metric in TOTALS:
            value /= max(units_measured(target), 1)
        num = target.num_ready
        return Usage(num, milli(value * num), 1000 * num)

    def newest(self, metric: str, target: Target, view: ClusterView) -> float | None:
        """The last value measured; None where there is none, it is too old, or not a number."""
        newest_s = view.metrics.newest_s(target.name)
        if newest_s is None or newest_s < view.now_s - self.stale_s:
            return None
        value = view.metrics.latest(target.name, metric)
        return None if value is None or math.isnan(value) else value

    def _measured(self, spec: MetricSpec, target: Target, view: ClusterView) -> float | None:
        value = self.newest(spec.metric, target, view)
        if view.explain:
            view.explain.measured(view, target.name, spec.metric, value, holds=value is None)
        return value

    def _groups(self, spec: MetricSpec, target: Target, view: ClusterView) -> tuple[Usage, Usage, Usage]:
        """The pods that are ready, unready and missing, as far as they are known one by one."""
        pods = target.pods if isinstance(target, ServiceView) else ()
        value = self._measured(spec, target, view)  # raises where nobody measures it
        if pods and (value is not None or view.metrics.newest_s(target.name) is None):
            classes: Mapping[PodClass, list[PodSample]] = {each: [] for each in PodClass}
            for pod in pods:
                times = (self.cpu_initialization_s, self.readiness_delay_s)
                classes[class_of(pod, spec.metric, view.now_s, spec.is_cpu, *times)].append(pod)
            ready, unready, missing = (
                Usage.of(classes[each], spec.metric) for each in (PodClass.READY, PodClass.UNREADY, PodClass.MISSING)
            )
            return ready, unready, missing
        num = target.num_ready
        starting = _unready(target)
        if value is None:
            return Usage(), starting, Usage(num, 0, 1000 * num)
        return self._average(spec, target, value), starting, Usage()


def _unready(target: Target) -> Usage:
    """Those on their way: pods that use nothing yet."""
    return Usage(target.num_starting, 0, 1000 * target.num_starting)
