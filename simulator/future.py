"""What will come, for policies that are told: the requests of services, and the demand of jobs for GPUs.

A bound on what any forecast is worth, and out of reach of a real cluster: only a policy that asks (`foresees`) is told.

The demand of jobs is what they would hold if none ever waited. Of those that had to wait, since the cluster was too
small when the run began or may not grow further, it knows nothing: `predictive` with the forecaster `oracle` counts
what waits too, `oracle` goes by the future alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from policies import ClairvoyantPolicy, ClusterView, ScalingPolicy
from policies.scaling.foresight import DEMAND
from simulator.errors import ConfigError
from simulator.serving.services import ServicePlan
from workloads import JobTable
from workloads.requests import Requests

MINUTE_S = 60.0
RATE = "request_rate_per_s"
_LONG_S = 1e9  # as long as a forecaster is to know that nothing comes any more
Course = tuple[list[float], list[float]]  # (times, values); a value stands until the next


def reveal(
    scaling: Mapping[str, ScalingPolicy],
    view: ClusterView,
    services: Sequence[ServicePlan],
    jobs: JobTable,
    training_pool: str,
    until_s: float,
    streams: Callable[[str], np.random.Generator],
) -> None:
    """Tells each policy that asks for it what will come until the run ends.

    Args:
        jobs: those that will run.
        streams: gives the random stream of a purpose: the requests are those of the run, drawn another time.

    Raises:
        ConfigError: a policy asks for what isn't settled before the run.
    """
    plans = {plan.spec.name: plan for plan in services}
    for name, policy in scaling.items():
        if not isinstance(policy, ClairvoyantPolicy) or not (wanted := policy.foresees(view.target(name))):
            continue
        if name in plans:
            _check_service(plans[name], wanted)
            chunks = plans[name].requests.chunks(streams(f"requests {name}"))
            policy.reveal(*request_rate(chunks, plans[name].spec.sample_s, until_s))
        else:
            _check_pool(name, wanted, view, services, training_pool)
            of_pool = training_pool in ("", name)
            policy.reveal(*gpu_demand(jobs if of_pool else JobTable.none(), until_s))


def _check_service(plan: ServicePlan, wanted: str) -> None:
    name = plan.spec.name
    if wanted != RATE:
        raise ConfigError(
            f"scaling of service {name!r}: the future {wanted} depends on how it is scaled and can't be revealed; "
            f"{RATE} can: set metric={RATE}, and per_unit to the requests a second of a replica"
        )
    if plan.route is not None:
        raise ConfigError(
            f"scaling of service {name!r}: which requests a site gets is settled as the run goes on: "
            "its future can't be revealed"
        )


def _check_pool(name: str, wanted: str, view: ClusterView, services: Sequence[ServicePlan], training_pool: str) -> None:
    if wanted != DEMAND:
        raise ConfigError(
            f"scaling of pool {name!r}: the future {wanted} depends on how it is scaled and can't be revealed; "
            "the GPUs that jobs ask for can: leave metric out"
        )
    if len(view.pools) > 1 and not training_pool:
        raise ConfigError(
            f"scaling of pool {name!r}: which pool a job is on is settled as the run goes on, so that its future "
            "can't be revealed; set training_pool"
        )
    shares = next((plan.spec.name for plan in services if plan.spec.pool in ("", name)), None)
    if shares is not None:
        raise ConfigError(
            f"scaling of pool {name!r}: how many replicas service {shares!r} has there is settled as the run goes on, "
            "so that its future can't be revealed; set service.pool to another"
        )


def request_rate(chunks: Iterable[Requests], interval_s: float, until_s: float = math.inf) -> Course:
    """Requests a second in each interval from 0 on, up to the last request or `until_s`, then none."""
    counts = np.zeros(1, np.int64)
    for chunk in chunks:
        number = (chunk.arrival_s[chunk.arrival_s < until_s] / interval_s).astype(np.int64)
        if number.size:
            new = np.bincount(number)
            if new.size > counts.size:
                counts = np.pad(counts, (0, new.size - counts.size))
            counts[: new.size] += new
        if number.size < len(chunk):
            break
    return _course(counts / interval_s, interval_s)


def gpu_demand(jobs: JobTable, until_s: float = math.inf) -> Course:
    """The most GPUs, within each minute, that jobs would hold if each ran from its submission on; then none."""
    rows = (jobs.submit_s < until_s).nonzero()[0]
    if not rows.size:
        return _course(np.zeros(0), MINUTE_S)
    begin_s, gpus = jobs.submit_s[rows], jobs.num_gpus[rows]
    at_s = np.concatenate((begin_s + jobs.duration_s[rows], begin_s))  # of those at one time, ends come first
    order = at_s.argsort(kind="stable")
    held = np.concatenate((-gpus, gpus))[order].cumsum()  # from each change on
    at_s = at_s[order]
    lasts = np.append(np.diff(at_s) > 0, True)  # of several changes at a time the last one counts
    at_s, held = at_s[lasts], held[lasts]
    minute = (at_s / MINUTE_S).astype(np.int64)
    most = np.zeros(int(minute[-1]) + 1, np.int64)
    np.maximum.at(most, minute, held)
    standing = at_s.searchsorted(np.arange(most.size) * MINUTE_S, "right") - 1  # the change that a minute begins with
    most = np.maximum(most, np.where(standing >= 0, held[standing], 0))
    if until_s < math.inf:
        most = most[: math.ceil(until_s / MINUTE_S)]
    return _course(most, MINUTE_S)


def _course(values: np.ndarray, step_s: float) -> Course:
    """These values from 0 on, and then 0 for good: what stands last is known for as long as what stands before it."""
    times_s = (np.arange(values.size + 1) * step_s).tolist()
    return [*times_s, times_s[-1] + _LONG_S], [*values.astype(float).tolist(), 0.0, 0.0]
