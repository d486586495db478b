"""From what pods use to how many there should be: the arithmetic of the Kubernetes HPA (autoscaling/v2).

All in milli-units. A ContainerResource is a Resource here.

| source | target type | ratio | replicas |
|---|---|---|---|
| Resource | Utilization | used of what is requested, in percent, truncated, over the target | ratio · pods |
| Resource, Pods | AverageValue | mean of the pods over the target | ratio · pods |
| Object, External | Value | value over target | ratio · ready pods |
| Object, External | AverageValue | value over (target · replicas) | value / target |

Source: the controller's replica calculator, as of autumn 2026.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from policies.reasons import Reasons
from policies.view import PodSample

MILLI = 1000


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far the ratio may be from 1 before anything happens."""

    down: float = 0.1
    up: float = 0.1

    def holds(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up

    def say(self, why: Reasons, ratio: float, **facts: Any) -> None:
        """Says the ratio, and whether the tolerance holds."""
        why.say("ratio", ratio=ratio, **facts)
        why.say("tolerance", low=1.0 - self.down, high=1.0 + self.up, holds=self.holds(ratio))


class PodClass(Enum):
    """What is known of a pod when a metric is weighed."""

    IGNORED = "ignored"
    UNREADY = "unready"
    MISSING = "missing"
    READY = "ready"


def class_of(
    pod: PodSample, metric: str, now_s: float, is_cpu: bool, cpu_initialization_s: float, readiness_delay_s: float
) -> PodClass:
    """The first class whose rule holds; what CPU alone goes by follows its start and its readiness."""
    if pod.is_deleting or pod.phase == "failed":
        return PodClass.IGNORED
    if pod.phase == "pending":
        return PodClass.UNREADY
    if metric not in pod.values:
        return PodClass.MISSING
    if is_cpu:
        if pod.start_s is None:
            return PodClass.UNREADY
        if pod.start_s + cpu_initialization_s > now_s:
            if not pod.is_ready or pod.measured_s < pod.ready_changed_s + pod.window_s:
                return PodClass.UNREADY
        elif not pod.is_ready and pod.start_s + readiness_delay_s > pod.ready_changed_s:
            return PodClass.UNREADY
    return PodClass.READY


@dataclass(frozen=True, slots=True)
class Usage:
    """Pods of one class together."""

    num: int = 0
    used: int = 0  # milli
    requested: int = 0  # milli

    @classmethod
    def of(cls, pods: Iterable[PodSample], metric: str) -> Usage:
        each = [(pod.values.get(metric, 0.0), pod.requests.get(metric, 1.0)) for pod in pods]
        return cls(len(each), sum(milli(used) for used, _ in each), sum(milli(asked) for _, asked in each))


def milli(value: float) -> int:
    """In thousandths, truncated."""
    return math.floor(value * MILLI + 1e-6)


def usage_ratio(pods: Sequence[Usage], target: int, is_utilization: bool) -> float:
    """Of all these pods together; `target` in percent or in milli-units."""
    used = sum(each.used for each in pods)
    if is_utilization:
        requested = sum(each.requested for each in pods)
        return used * 100 // requested / target
    return used // sum(each.num for each in pods) / target


def by_pods(
    current: int, ready: Usage, unready: Usage, missing: Usage, target: int, is_utilization: bool,
    tolerance: Tolerance, why: Reasons | None = None,
) -> int | None:  # fmt: skip
    """Replicas by a metric that each pod has; None where no ready pod has it, or none requests any."""
    if not ready.num or (is_utilization and not ready.requested):
        if why:
            why.say("wait", what=_who_lacks(ready, unready, missing), holds=True)
        return None
    ratio = usage_ratio([ready], target, is_utilization)
    if not missing.num and not (unready.num and ratio > 1.0):
        if why:
            told = {"ready": ready.num, **({"unready": unready.num} if unready.num else {})}
            tolerance.say(why, ratio, **_goal(target, is_utilization), **told)
        return current if tolerance.holds(ratio) else math.ceil(ratio * ready.num)
    pods = [ready]
    if missing.num and not (is_utilization and ratio == 1.0):
        used = 0
        if ratio < 1.0:
            used = missing.requested * max(100, target) // 100 if is_utilization else missing.num * target
        pods.append(Usage(missing.num, used, missing.requested))
    if unready.num and ratio > 1.0:
        pods.append(Usage(unready.num, 0, unready.requested))
    again = usage_ratio(pods, target, is_utilization)
    if why:
        counted = _counted(ready, unready, missing, ratio, target, is_utilization)
        tolerance.say(why, again, **_goal(target, is_utilization), of_ready=ratio, **counted)
    if tolerance.holds(again):
        return current
    replicas = math.ceil(again * sum(each.num for each in pods))
    moves_against = (again < 1.0 and replicas > current) or (again > 1.0 and replicas < current)
    if moves_against or (ratio < 1.0 < again) or (again < 1.0 < ratio):
        if why:
            text = "counted with the pods that have no sample, or aren't ready, it no longer points the same way"
            why.say("note", text=text, holds=True)
        return current
    return replicas


def _who_lacks(ready: Usage, unready: Usage, missing: Usage) -> str:
    """What there is to wait for where no ready pod can be weighed."""
    if ready.num:
        return f"a request to be a share of: none of {ready.num} ready pods states one"
    return f"a ready pod with a sample (without one: {missing.num}, not ready: {unready.num})"


def _counted(
    ready: Usage, unready: Usage, missing: Usage, ratio: float, target: int, is_utilization: bool
) -> dict[str, Any]:
    """How many pods of each class, and as what those without a use of their own count (absent: they are left out)."""
    counted: dict[str, Any] = {"ready": ready.num, "unready": unready.num, "missing": missing.num}
    if unready.num and ratio > 1.0:
        counted["unready_as"] = 0
    if missing.num and not (is_utilization and ratio == 1.0):
        whole = max(100, target) if is_utilization else target / MILLI
        counted["missing_as"] = whole if ratio < 1.0 else 0
    return counted


def _goal(target: int, is_utilization: bool) -> dict[str, Any]:
    """A target as one sets it."""
    return {"target": target, "unit": "%"} if is_utilization else {"target": target / MILLI}


def by_value(
    current: int, num_ready: int, value: int, target: int, tolerance: Tolerance, why: Reasons | None = None
) -> int:
    """Replicas by one value of something outside; from 0 without tolerance."""
    ratio = value / target
    if not current:
        if why:
            why.say("ratio", ratio=ratio, target=target / MILLI)
        return math.ceil(ratio)
    if why:
        tolerance.say(why, ratio, target=target / MILLI)
    if tolerance.holds(ratio):
        return current
    return math.ceil(ratio * num_ready)


def by_average_value(current: int, value: int, target: int, tolerance: Tolerance, why: Reasons | None = None) -> int:
    """Replicas by a value that they share."""
    if why and current:
        tolerance.say(why, value / (target * current), target=target / MILLI, units=current)
    if current and tolerance.holds(value / (target * current)):
        return current
    return math.ceil(value / target)


def combined(current: int, wishes: Sequence[int | None], why: Reasons | None = None) -> int | None:
    """Of several metrics: the most that a valid one asks for; None, and nothing is to be done, where an invalid one
    may have asked for more."""
    valid = [wish for wish in wishes if wish is not None]
    is_doubtful = not valid or (len(valid) < len(wishes) and max(valid) < current)
    if why:
        if is_doubtful:
            why.say("wait", what="the metrics that are invalid: one may ask for more", holds=True)
        elif len(wishes) > 1:
            why.say("recommendation", count=max(valid), most_of=list(wishes))
    return None if is_doubtful else max(valid)
