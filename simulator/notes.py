"""What a run tells its user in words, beside its numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from policies import Job
from policies.protocols import ShortSightedPolicy
from simulator.scenario import Scenario


def of_setup(scenario: Scenario, rejected: np.ndarray) -> list[str]:
    """What is odd about a scenario, known before anything has happened.

    Args:
        rejected: rows of jobs that can never run.
    """
    told = [of_rejected(scenario, rejected)] if rejected.size else []
    odd = (_of_unscalable, _of_too_many, _of_safe_spot, _of_one_machine, _of_free_warm, _of_blind)
    return told + [note for each in odd for note in each(scenario)]


def of_waiting(
    scenario: Scenario, starving: Sequence[Job], num_gpus: int, in_flight: Mapping[str, int], orders: Mapping[str, int]
) -> list[str]:
    """What still waited when nothing was left to happen.

    Args:
        starving: jobs that wait for GPUs.
        num_gpus: GPUs that there were at the end.
        in_flight: requests without an answer, by service.
        orders: nodes ordered that no machine was found for, by pool.
    """
    told = []
    if starving:
        shown = ", ".join(job.job_id for job in starving[:5]) + (", ..." if len(starving) > 5 else "")
        told.append(f"{len(starving):,} jobs never got the GPUs they waited for when all else ended: {shown}")
        short = [job for job in starving if job.num_gpus > num_gpus]
        if short and scenario.most_gpus > num_gpus:
            told.append(
                f"{len(short):,} of them ask for more GPUs than there were at the end ({num_gpus}), {short[0].job_id} "
                f"for {short[0].num_gpus}; nodes for {scenario.most_gpus} may be ordered, and weren't: explain=true "
                "records what the scaling policy saw"
            )
    waiting = {name: count for name, count in in_flight.items() if count}
    told += [
        f"service {name!r}: {count:,} requests had not been answered when all else ended"
        for name, count in waiting.items()
    ]
    if starving or waiting:
        told += [_of_stockout(scenario, name, count) for name, count in orders.items() if count]
    return told


def _of_blind(scenario: Scenario) -> list[str]:
    """Scaling policies whose samples come too late for them."""
    told, monitor = [], scenario.monitor
    sampled_s = {plan.spec.name: plan.spec.sample_s for plan in scenario.services}
    for name, policy in scenario.scaling.items():
        back_s = policy.sees_back_s if isinstance(policy, ShortSightedPolicy) else math.inf
        interval_s = sampled_s.get(name, monitor.interval_s)
        if monitor.perfect or monitor.delay_s + interval_s <= back_s or not monitor.delay_s:
            continue
        need_s = monitor.delay_s + interval_s
        often = "never sees any" if monitor.delay_s >= back_s else "often sees none"
        told.append(
            f"scaling of {name!r} goes by samples of the last {back_s:g} s, and they come {monitor.delay_s:g} s late "
            f"(monitor.delay_s), one every {interval_s:g} s: it {often}, and changes nothing; give it {need_s:g} s "
            "or more (its window_s, late_s, look_back_s or stale_s)"
        )
    return told


def _of_stockout(scenario: Scenario, name: str, count: int) -> str:
    """Of a pool that had orders open at the end which no machine was found for."""
    spec = next(pool for pool in scenario.pools if pool.name == name)
    why = [f"startup.stockout_frac={spec.startup.stockout_frac:g}"] if spec.startup.stockout_frac else []
    why += [f"spot.trace={spec.spot.trace}"] if spec.spot.trace else []
    return (
        f"pool {name!r}: no machine had been found for {count:,} of the nodes ordered when "
        f"the run ended ({', '.join(why)})"
    )


def _of_safe_spot(scenario: Scenario) -> list[str]:
    """Of spot machines that nothing takes away."""
    return [
        f"pool {pool.name!r} has spot machines that are never reclaimed; set spot.mean_life_s or spot.trace"
        for pool in scenario.pools
        if pool.is_spot and not pool.spot.is_on
    ]


def _of_one_machine(scenario: Scenario) -> list[str]:
    """Of markets in which one machine at most can be had, as they are read: their 0 and 1 may say whether any can."""
    return [
        f"pool {pool.name!r}: spot.trace has 0 and 1 alone, read as how many machines can be had, so never more than "
        "one; set spot.means=launched if 1 says that some can be had, spot.means=preempted if it says that none can"
        for pool in scenario.pools
        if pool.most > 1 and (market := pool.spot.market()) and set(market.available) <= {0.0, 1.0}
    ]


def _of_free_warm(scenario: Scenario) -> list[str]:
    """Of machines that wait for nothing, in pools whose nodes have a price."""
    return [
        f"pool {pool.name!r}: its warm machines (warm.nodes={pool.warm.nodes}) cost nothing while they wait; "
        "set cluster.warm.usd_per_node_h to what their disks cost, or to 0"
        for pool in scenario.pools
        if pool.warm.nodes and pool.warm.usd_per_node_h is None and pool.usd_per_node_h
    ]


def _of_unscalable(scenario: Scenario) -> list[str]:
    """Of pools and services that a policy is to scale, but that are as small and as large as they may be."""
    bounds: dict[str, tuple[int, int, str]] = {
        **{pool.name: (pool.fewest, pool.most, "cluster.{}_nodes") for pool in scenario.pools},
        **{plan.spec.name: (plan.spec.fewest, plan.spec.most, "service.{}_replicas") for plan in scenario.services},
    }
    told = []
    committed = {pool.name for pool in scenario.pools if pool.is_committed}
    for name, policy in scenario.scaling.items():
        if name in committed:
            continue  # of one size by its nature
        fewest, most, option = bounds[name]
        if policy.period_s < math.inf and fewest == most:
            kind, units = ("pool", "nodes") if "nodes" in option else ("service", "replicas")
            told.append(
                f"{kind} {name!r} can't be scaled: it has {fewest} {units} at least and at most; "
                f"set {option.format('min')} and {option.format('max')}"
            )
    return told


def _of_too_many(scenario: Scenario) -> list[str]:
    """Of services that begin with more replicas than there can be GPUs for."""
    told = []
    for plan in scenario.services:
        spec, most = plan.spec, scenario.most_gpus_of(plan.spec.pool)
        gpus = spec.replicas * spec.gpus_per_replica
        if gpus > most:
            where = f"pool {spec.pool!r}" if spec.pool else "the cluster"
            told.append(
                f"service {spec.name!r}: service.replicas={spec.replicas} take {gpus} GPUs; "
                f"{where} has {most} at most, the others wait"
            )
    return told


def of_rejected(scenario: Scenario, rows: np.ndarray) -> str:
    jobs = scenario.jobs
    row = int(rows[0])
    return (
        f"{rows.size:,} of {len(jobs):,} jobs can never run here and are rejected, the first {jobs.job_id[row]}: "
        f"it asks for {jobs.num_gpus[row]} GPUs, {jobs.cpus_per_gpu[row]:g} CPUs and "
        f"{jobs.memory_gib_per_gpu[row]:g} GiB a GPU; the cluster has {scenario.most_gpus} GPUs at most"
    )
