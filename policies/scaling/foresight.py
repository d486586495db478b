"""Deciding by what will be needed: what policies that forecast, and the one that knows, have in common."""

from __future__ import annotations

from policies.errors import PolicyError
from policies.scaling.load import TOTALS, ceil, units_measured
from policies.view import ClusterView, PoolView, Target

DEMAND = "demand_gpus"  # of a pool: what its jobs would hold if all of them ran at once
LEAD_S = 300.0  # where nobody says how long units take to come
Sample = tuple[float, float]  # (when, load)


def units_of(load: float, per_unit: float) -> int:
    """How many units a load takes; less than none of it takes none."""
    return max(ceil(load / per_unit), 0)


def lead_of(target: Target, lead_s: float | None) -> float:
    """How long units take to come: as the option says, else as the target does, else `LEAD_S`."""
    if lead_s is not None:
        return lead_s
    return LEAD_S if target.lead_s is None else target.lead_s


def decided(count: int, later: int, until_then: int) -> int:
    """Out to what is needed once units ordered now would be there; in only to the most that is needed until then."""
    return later if later > count else min(count, max(later, until_then))


def effective_max(most: int, forecast: float, buffer_frac: float | None) -> int:
    """The upper bound, raised to a forecast above it and a share on top; None: it stays.

    Amazon EC2 Auto Scaling, predictive scaling, MaxCapacityBreachBehavior, as of autumn 2026.
    """
    return most if buffer_frac is None or forecast <= most else ceil(forecast * (1.0 + buffer_frac))


def capacity_of_unit(policy: str, target: Target, metric: str | None, per_unit: float | None) -> float:
    """How much load a unit takes: what the option says, or of a pool's demand for GPUs those of a node.

    Raises:
        PolicyError: neither is known.
    """
    if per_unit is not None:
        return per_unit
    if metric is None and isinstance(target, PoolView):
        return float(target.gpus_per_unit)
    raise PolicyError(f"{policy}: per_unit: is needed to scale {target.name!r}, as the load that one unit takes")


def loads(target: Target, view: ClusterView, metric: str | None, since_s: float) -> list[Sample]:
    """The load measured after a time, oldest first.

    A total is taken as it is, and an average times the units measured now. `metric` None is of a pool the GPUs that
    jobs hold or wait for, of a service the requests in flight.
    """
    name = target.name
    if metric is None and isinstance(target, PoolView):
        gpus = units_measured(target) * target.gpus_per_unit
        held = view.metrics.since(name, "gpu_allocation_frac", since_s)
        waiting = view.metrics.since(name, "pending_gpus", since_s)
        return [(time_s, share * gpus + more) for (time_s, share), (_, more) in zip(held, waiting, strict=True)]
    metric = metric or "concurrency"
    factor = 1.0 if metric in TOTALS else float(units_measured(target))
    return [(time_s, value * factor) for time_s, value in view.metrics.since(name, metric, since_s)]
