"""From what was measured to how many units it takes.

| metric | stands for | units wanted |
|---|---|---|
| `request_rate_per_s`, `concurrency`, `queue_length` | a total that units share | value / per unit |
| `pending_gpus` above what may wait | what free GPUs don't serve | ready + (value - what may wait) / GPUs of a unit |
| `pending_gpus` else | what waits beside what is held | (GPUs held + value) / GPUs of a unit |
| all others | an average over the units measured | units measured · value / per unit |
"""

from __future__ import annotations

import math

from policies.errors import PolicyError
from policies.view import ClusterView, PoolView, Target

TOTALS = frozenset({"request_rate_per_s", "concurrency", "queue_length"})
WAITING = "pending_gpus"
FALLING = "slo_attainment_frac"  # the only one that falls while load rises
_ROUNDING = 1e-9  # 10 units at 0.7, tracked to 0.7, are 10 units and not 11


def ceil(number: float) -> int:
    """The next whole number, where an error of rounding does not make one more."""
    return math.ceil(number - _ROUNDING * max(1.0, abs(number)))


def units_measured(target: Target) -> int:
    """Over how many units monitoring averages: draining nodes still run jobs; replicas are the ready ones, or 1."""
    if isinstance(target, PoolView):
        return target.num_ready + target.num_draining
    return max(target.num_ready, 1)


def as_average(target: Target, metric: str, value: float) -> float:
    """A total as its share a unit, so that it can be held against a target for one; else the value itself."""
    return value / max(units_measured(target), 1) if metric in TOTALS else value


def units_for(target: Target, view: ClusterView, metric: str, value: float, per_unit: float) -> float:
    """How many units bring `metric` from `value` to `per_unit`, if load stays as it is; not rounded.

    Raises:
        PolicyError: a metric that says nothing of how many.
    """
    if metric in TOTALS:
        return value / per_unit
    if metric == WAITING and isinstance(target, PoolView):
        if value > per_unit:
            return target.num_ready + (value - per_unit) / target.gpus_per_unit
        held_frac = view.metrics.latest(target.name, "gpu_allocation_frac") or 0.0
        return units_measured(target) * held_frac + value / target.gpus_per_unit
    if metric in (WAITING, FALLING):
        raise PolicyError(f"metric {metric!r} of {target.name!r} does not say how many units it takes")
    return units_measured(target) * value / per_unit
